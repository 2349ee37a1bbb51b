"""What is asked of a network: objectives and constraints, and how they are written.

::

    objective   = ["-"] metric ["@" device {"+" device}] [":" statistic]
    constraint  = objective ("<=" | ">=") number
    statistic   = "median" | "p01" ... "p99"

``latency@h100:p90`` is the 0.9 quantile of the latency on an H100, ``latency@h100+rtx3080`` the
worst ratio to each device's own optimum, ``-flops`` is maximised, ``params <= 1e8`` is a
constraint. Values are kept in the metric's own unit; `Objective.loss` is the one place that turns
a sign.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import InvalidInput

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_DEVICE = r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?::\d+)?"  # "cuda:1" is a device
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_GRAMMAR = re.compile(
    rf"(?P<minus>-)?\s*(?P<metric>{_NAME})"
    rf"(?:@(?P<devices>{_DEVICE}(?:\+{_DEVICE})*))?"
    r"(?::(?P<statistic>median|p\d\d))?"
    rf"(?:\s*(?P<relation><=|>=)\s*(?P<bound>{_NUMBER}))?"
)
_FORM = "expected [-]METRIC[@DEVICE[+DEVICE]][:pNN], for a constraint with <= or >= and a number"


@dataclass(frozen=True, slots=True)
class Objective:
    """One thing that is measured of a network, and what is wanted of it.

    Attributes
    ----------
    metric
        ``"latency"``.
    devices
        Where it is measured: none for ``perplexity``, several for the worst ratio over them.
    level
        Probability of the quantile that is asked for; ``None`` for the metric itself (the median).
    maximise
        Whether more is better.
    relation, bound
        For a constraint, ``"<="`` or ``">="`` and the number in the metric's unit; else ``None``.
    """

    metric: str
    devices: tuple[str, ...] = ()
    level: float | None = None
    maximise: bool = False
    relation: Literal["<=", ">="] | None = None
    bound: float | None = None

    @classmethod
    def parse(cls, text: str) -> Objective:
        """Read an objective or a constraint; ``str`` gives its shortest spelling back.

        Raises
        ------
        InvalidInput
            The text does not follow the grammar.

        Examples
        --------
        >>> Objective.parse("latency@h100:p90 <= 20").level
        0.9
        """
        match = _GRAMMAR.fullmatch(text.strip())
        if match is None:
            raise InvalidInput(f"objective {text!r}: {_FORM}")
        devices = tuple(match["devices"].split("+")) if match["devices"] else ()
        if len(set(devices)) != len(devices):
            raise InvalidInput(f"objective {text!r}: expected distinct devices")
        level = None
        if (statistic := match["statistic"]) and statistic not in ("median", "p50"):
            level = int(statistic[1:]) / 100
            if level == 0:
                raise InvalidInput(f"objective {text!r}: expected a statistic from p01 to p99")
        bound = None
        if match["relation"]:
            bound = float(match["bound"])
            if not math.isfinite(bound):
                raise InvalidInput(f"objective {text!r}: expected a finite bound")
            if match["minus"]:
                raise InvalidInput(f"objective {text!r}: a constraint takes no '-'; use >=")
        relation: Literal["<=", ">="] | None = match["relation"]  # type: ignore[assignment]
        return cls(match["metric"], devices, level, bool(match["minus"]), relation, bound)

    def __str__(self) -> str:
        text = ("-" if self.maximise else "") + self.key
        if self.level is not None:
            text += f":p{round(self.level * 100):02d}"
        if self.relation is not None:
            short = f"{self.bound:.12g}"
            bound = short if float(short) == self.bound else repr(self.bound)
            text += f" {self.relation} {bound}"
        return text

    @property
    def key(self) -> str:
        """Metric and devices, the name under which a backend knows it: ``"latency@h100"``."""
        return self.metric + ("@" + "+".join(self.devices) if self.devices else "")

    @property
    def keys(self) -> tuple[str, ...]:
        """One name for each device: ``("latency@h100", "latency@rtx3080")``."""
        return tuple(f"{self.metric}@{d}" for d in self.devices) or (self.metric,)

    @property
    def value(self) -> Objective:
        """What is measured, without what is wanted of it: neither sign nor bound."""
        return replace(self, maximise=False, relation=None, bound=None)

    def loss(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values turned so that less is better; applied twice it gives the values back."""
        return -values if self.maximise else values

    def violation(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Signed distance to the bound in the metric's unit: at most 0 where it is kept.

        Raises
        ------
        InvalidInput
            The objective has no bound.
        """
        if self.bound is None:
            raise InvalidInput(f"{self} has no bound")
        return values - self.bound if self.relation == "<=" else self.bound - values


def parse_objectives(texts: list[str] | tuple[str, ...]) -> tuple[Objective, ...]:
    """Read objectives that are searched together.

    Raises
    ------
    InvalidInput
        One does not follow the grammar, has a bound, or comes twice (also with another sign).
    """
    objectives = tuple(map(Objective.parse, texts))
    for text, objective in zip(texts, objectives, strict=True):
        if objective.bound is not None:
            raise InvalidInput(f"objective {text!r} has a bound; bounds belong to constraints")
    if len({o.value for o in objectives}) != len(objectives):
        raise InvalidInput(f"expected distinct objectives, found {', '.join(texts)}")
    return objectives


def parse_constraints(texts: list[str] | tuple[str, ...]) -> tuple[Objective, ...]:
    """Read constraints.

    Raises
    ------
    InvalidInput
        One does not follow the grammar, has no bound, or comes twice.
    """
    constraints = tuple(map(Objective.parse, texts))
    for text, constraint in zip(texts, constraints, strict=True):
        if constraint.bound is None:
            raise InvalidInput(f"constraint {text!r} has no bound; expected <= or >= and a number")
    if len(set(constraints)) != len(constraints):
        raise InvalidInput(f"expected distinct constraints, found {', '.join(texts)}")
    return constraints


def losses_of(
    objectives: tuple[Objective, ...], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Raw values (n, m) as losses (n, m), all minimised."""
    return np.stack([o.loss(values[:, j]) for j, o in enumerate(objectives)], axis=1)


def constraint_violations(
    constraints: tuple[Objective, ...], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Raw values (n, c) as signed violations (n, c), at most 0 where kept."""
    violations = [c.violation(values[:, j]) for j, c in enumerate(constraints)]
    return np.stack(violations, axis=1) if violations else np.empty((len(values), 0))
