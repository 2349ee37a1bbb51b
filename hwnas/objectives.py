"""Metrics, objectives and constraints, and the grammar in which objectives are written.

::

    objective   = ["-"] metric ["." workload] ["@" device {"+" device}] [":" statistic]
    constraint  = objective ("<=" | ">=") number
    statistic   = "median" | "p01" ... "p99"

``latency@h100:p90`` is the 0.9 quantile of the latency on an H100, ``latency@h100+rtx3080`` the
worst ratio to each device's own optimum, ``tpot.serve@cuda`` the time of a decoding step of the
workload ``serve`` (`hwnas.workloads`), ``-flops`` is maximized, ``params <= 1e8`` is a constraint.
Values are stored in the metric's own unit; `Objective.loss` is the only function that changes a
sign.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from hwnas.deprecation import warn_renamed
from hwnas.errors import InvalidInput, describe_value
from hwnas.typing import Array

# The grammar as one regular expression; see the top of this module.
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_DEVICE = r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?::\d+)?"  # "cuda:1" is a device
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_GRAMMAR = re.compile(
    rf"(?P<minus>-)?\s*(?P<metric>{_NAME})(?:\.(?P<workload>{_NAME}))?"
    rf"(?:@(?P<devices>{_DEVICE}(?:\+{_DEVICE})*))?"
    r"(?::(?P<statistic>median|p\d\d))?"
    rf"(?:\s*(?P<relation><=|>=)\s*(?P<bound>{_NUMBER}))?",
    re.ASCII,
)
_FORM = (
    "expected [-]METRIC[.WORKLOAD][@DEVICE[+DEVICE]][:pNN], for a constraint with <= or >= and a "
    "number"
)
_RELATION = re.compile(
    rf"(?P<objective>[^<>=≤≥]+?)\s*(?P<relation>=<|=>|==|<|>|=|≤|≥)\s*(?P<bound>{_NUMBER})",
    re.ASCII,
)
_UNIT = re.compile(
    rf"(?P<bounded>.*(?:<=|>=)\s*(?P<number>{_NUMBER}))\s*(?P<unit>[^\d\s<>=.+-][^\s<>=]*)",
    re.ASCII,
)
# Multiples in which people write numbers of parameters and operations.
_PREFIXES = {"k": 1e3, "K": 1e3, "M": 1e6, "m": 1e6, "G": 1e9, "B": 1e9, "b": 1e9, "T": 1e12}

# Units of the metrics of our own backends, for error texts. A plain number has none.
UNITS = {
    "latency": "ms",
    "energy": "mWh",
    "ttft": "ms",
    "tpot": "ms",
    "throughput": "tokens/s",
    "energy_per_token": "mJ",
    "kv_cache": "MB",
    "weight_memory": "MB",
    "peak_memory": "MB",
    "float16_memory": "MB",
    "bfloat16_memory": "MB",
    "bits_per_byte": "bits",
    "perplexity": "",
    "params": "",
    "flops": "",
}


@dataclass(frozen=True, slots=True)
class Metric:
    """Metric that a backend offers.

    Attributes
    ----------
    unit
        ``"ms"``; empty for a plain number.
    cost
        ``"free"`` (computed), ``"cheap"`` (a measurement) or ``"expensive"`` (a training). The
        former name of the last one, ``"dear"``, is accepted with a `DeprecationWarning`.
    fidelity_dependent
        Whether the value changes with the fidelity, and so must be measured again at a higher one.
    quantiles
        Whether ``metric:p90`` is offered.
    meaning
        Short text on the measurement, for people: batch, tokens, precision, corpus. ``hwnas list
        metrics`` and reports print it.

    Examples
    --------
    >>> Metric("ms", quantiles=True).cost
    'cheap'
    >>> Metric("ms", meaning="one forward pass of 8 sequences").meaning
    'one forward pass of 8 sequences'
    """

    unit: str = ""
    cost: Literal["free", "cheap", "expensive"] = "cheap"
    fidelity_dependent: bool = False
    quantiles: bool = False
    meaning: str = ""

    def __post_init__(self) -> None:
        cost: str = self.cost
        if cost == "dear":
            # The generated __init__ lies between this method and the author's line.
            warn_renamed('the cost class "dear" of a metric', '"expensive"', stacklevel=4)
            object.__setattr__(self, "cost", "expensive")  # the dataclass is frozen


@dataclass(frozen=True, slots=True)
class Objective:
    """Objective to optimize, or constraint to satisfy.

    Attributes
    ----------
    metric
        ``"latency"``.
    devices
        Devices on which it is measured: none for ``perplexity``, several for the worst ratio over
        them.
    level
        Probability of the quantile; ``None`` for the metric itself (the median).
    maximise
        Whether larger values are better.
    relation, bound
        For a constraint, ``"<="`` or ``">="`` and the number in the metric's unit; else ``None``.
    workload
        Name of the workload, ``"serve"``; ``None`` for a metric without one.

    Examples
    --------
    >>> Objective.parse("latency@h100:p90 <= 20")  # doctest: +NORMALIZE_WHITESPACE
    Objective(metric='latency', devices=('h100',), level=0.9, maximise=False, relation='<=',
              bound=20.0, workload=None)
    """

    metric: str
    devices: tuple[str, ...] = ()
    level: float | None = None
    maximise: bool = False
    relation: Literal["<=", ">="] | None = None
    bound: float | None = None
    workload: str | None = None  # last, so that positional arguments keep their meaning

    @classmethod
    def parse(cls, text: str) -> Objective:
        """Parse an objective or a constraint; ``str`` returns its shortest spelling.

        Raises
        ------
        InvalidInput
            The text does not follow the grammar.

        Examples
        --------
        >>> Objective.parse("latency@h100:p90 <= 20").level
        0.9
        >>> Objective.parse("tpot.serve@cuda").workload
        'serve'
        >>> str(Objective.parse("params<=1e8"))
        'params <= 100000000'
        """
        if not isinstance(text, str):
            raise InvalidInput(
                f"expected the text of a metric, such as latency@h100, found {describe_value(text)}"
            )
        subject = "constraint" if set(text) & set("<>=≤≥") else "objective"
        match = _GRAMMAR.fullmatch(text.strip())
        if match is None:
            hint = _relation_hint(text) or _unit_hint(text)
            raise InvalidInput(f"{subject} {describe_value(text)}: {hint or _FORM}")

        # The grammar accepts more than has a meaning: repeated devices, p00, infinite bounds.
        devices = tuple(match["devices"].split("+")) if match["devices"] else ()
        if len(set(devices)) != len(devices):
            raise InvalidInput(f"{subject} {text!r}: expected distinct devices")
        level = None
        if (statistic := match["statistic"]) and statistic not in ("median", "p50"):
            level = int(statistic[1:]) / 100
            if level == 0:
                raise InvalidInput(f"{subject} {text!r}: expected a statistic from p01 to p99")
        bound = None
        if match["relation"]:
            bound = float(match["bound"])
            if not math.isfinite(bound):
                raise InvalidInput(f"{subject} {text!r}: expected a finite bound")
            if match["minus"]:
                raise InvalidInput(f"{subject} {text!r}: expected no '-' in a constraint; use >=")
        # The grammar has no other relations.
        relation: Literal["<=", ">="] | None = match["relation"]  # type: ignore[assignment]
        is_negative, workload = bool(match["minus"]), match["workload"]
        return cls(match["metric"], devices, level, is_negative, relation, bound, workload)

    def __str__(self) -> str:
        text = ("-" if self.maximise else "") + self.key
        if self.level is not None:
            text += f":p{round(self.level * 100):02d}"
        if self.relation is not None:
            # 12 digits are enough for people; all of them where parsing would change the number.
            rounded = f"{self.bound:.12g}"
            bound = rounded if float(rounded) == self.bound else repr(self.bound)
            text += f" {self.relation} {bound}"
        return text

    @property
    def quantity(self) -> str:
        """Metric and workload without devices: ``"tpot.serve"``."""
        return self.metric if self.workload is None else f"{self.metric}.{self.workload}"

    @property
    def key(self) -> str:
        """Metric, workload and devices, by which a backend offers it: ``"latency@h100"``."""
        return self.quantity + ("@" + "+".join(self.devices) if self.devices else "")

    @property
    def keys(self) -> tuple[str, ...]:
        """One name for each device: ``("latency@h100", "latency@rtx3080")``."""
        return tuple(f"{self.quantity}@{d}" for d in self.devices) or (self.quantity,)

    @property
    def value(self) -> Objective:
        """The measured value alone: the objective without sign and bound."""
        return replace(self, maximise=False, relation=None, bound=None)

    def loss(self, values: Array) -> Array:
        """Return values as losses to minimize; a second call returns the values.

        Parameters
        ----------
        values : any shape, in the metric's unit

        Examples
        --------
        >>> import numpy as np
        >>> Objective.parse("-flops").loss(np.array([1.0, 2.0])).tolist()
        [-1.0, -2.0]
        """
        return -values if self.maximise else values

    def violation(self, values: Array) -> Array:
        """Return the constraint violations g(x) in the metric's unit, feasible where g(x) <= 0.

        Raises
        ------
        InvalidInput
            The objective has no bound.

        Examples
        --------
        >>> import numpy as np
        >>> Objective.parse("latency@h100 <= 20").violation(np.array([18.0, 25.0])).tolist()
        [-2.0, 5.0]
        """
        if self.bound is None:
            raise InvalidInput(f"{self} has no bound")
        # The same sign for both relations: positive outside the bound.
        return values - self.bound if self.relation == "<=" else self.bound - values


def _relation_hint(text: str) -> str:
    """Return how to mend a constraint by another relation; empty if that is not its fault."""
    match = _RELATION.fullmatch(text.strip())
    if not match or not _GRAMMAR.fullmatch(match["objective"]):
        return ""
    relation_text = match["relation"]
    if relation_text in ("=", "=="):
        return f"expected <= or >=, found {relation_text!r}"
    relation = "<=" if "<" in relation_text or relation_text == "≤" else ">="
    corrected = f"{match['objective']} {relation} {match['bound']}"
    return f"use {relation} in place of {relation_text!r}, as in {corrected!r}"


def _unit_hint(text: str) -> str:
    """Return how to mend a constraint whose bound has a unit; empty if that is not its fault."""
    match = _UNIT.fullmatch(text.strip())
    constraint = match and _GRAMMAR.fullmatch(match["bounded"])
    if not match or not constraint:
        return ""
    metric, written_unit = constraint["metric"], match["unit"]
    if metric not in UNITS:
        return f"leave the unit {written_unit!r} out; the bound is in the unit of {metric}"
    unit = UNITS[metric]
    if not unit:
        quantity = metric + (f".{constraint['workload']}" if constraint["workload"] else "")
        factor = _PREFIXES.get(written_unit, 1.0)
        bound = match["number"] if factor == 1 else f"{float(match['number']) * factor:g}"
        return (
            f"{metric} is a plain number; write the bound without {written_unit!r}, as in "
            f"'{quantity} {constraint['relation']} {bound}'"
        )
    if written_unit.lower() == unit.lower():
        return f"leave the unit out, as in {match['bounded']!r}; it is {unit}"
    return f"expected the bound of {metric} in {unit}, without a unit, found {written_unit!r}"


def parse_objectives(texts: list[str] | tuple[str, ...]) -> tuple[Objective, ...]:
    """Parse objectives that are optimized together.

    Raises
    ------
    InvalidInput
        An objective does not follow the grammar, has a bound, or is repeated (also with the
        opposite sign).

    Examples
    --------
    >>> [objective.maximise for objective in parse_objectives(["perplexity", "-accuracy"])]
    [False, True]
    """
    objectives = tuple(map(Objective.parse, texts))
    for text, objective in zip(texts, objectives, strict=True):
        if objective.bound is not None:
            raise InvalidInput(
                f"objective {text!r}: expected no bound; bounds belong to constraints"
            )
    # Without their signs, so that minimizing and maximizing the same value is refused too.
    if len({o.value for o in objectives}) != len(objectives):
        raise InvalidInput(f"expected distinct objectives, found {', '.join(texts)}")
    return objectives


def parse_constraints(texts: list[str] | tuple[str, ...]) -> tuple[Objective, ...]:
    """Parse constraints.

    Raises
    ------
    InvalidInput
        A constraint does not follow the grammar, has no bound, or is repeated.

    Examples
    --------
    >>> (limit,) = parse_constraints(["params <= 1e8"])
    >>> limit.relation, limit.bound
    ('<=', 100000000.0)
    """
    constraints = tuple(map(Objective.parse, texts))
    for text, constraint in zip(texts, constraints, strict=True):
        if constraint.bound is None:
            raise InvalidInput(
                f"constraint {text!r}: expected <= or >= and a number, found no bound"
            )
    if len(set(constraints)) != len(constraints):
        raise InvalidInput(f"expected distinct constraints, found {', '.join(texts)}")
    return constraints


def as_objectives(names: Sequence[str | Objective]) -> list[Objective]:
    """Return objectives, those that are texts parsed.

    Raises
    ------
    InvalidInput
        A single text in place of a list, or one that does not follow the grammar.

    Examples
    --------
    >>> [objective.metric for objective in as_objectives(["params", Objective("flops")])]
    ['params', 'flops']
    """
    if isinstance(names, str | Objective):
        raise InvalidInput(f"expected a list of metrics, as in ['{names}'], found '{names}'")
    return [name if isinstance(name, Objective) else Objective.parse(name) for name in names]


def losses_of(objectives: tuple[Objective, ...], values: Array) -> Array:
    """Return raw values (n, m) as losses (n, m), all to be minimized.

    >>> losses_of(parse_objectives(["error", "-speed"]), np.array([[0.25, 3.0]]))
    array([[ 0.25, -3.  ]])
    """
    return np.stack([o.loss(values[:, j]) for j, o in enumerate(objectives)], axis=1)


def constraint_violations(constraints: tuple[Objective, ...], values: Array) -> Array:
    """Return the violations (n, c) of raw values (n, c); an architecture is feasible if all <= 0.

    Examples
    --------
    >>> import numpy as np
    >>> limits = parse_constraints(["params <= 10", "accuracy >= 0.5"])
    >>> constraint_violations(limits, np.array([[8.0, 0.75]])).tolist()
    [[-2.0, -0.25]]
    """
    violations = [c.violation(values[:, j]) for j, c in enumerate(constraints)]
    # Without constraints there is nothing to stack.
    return np.stack(violations, axis=1) if violations else np.empty((len(values), 0))
