"""Tables of what can be named in an experiment: optimizers, backends, spaces, experiments."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import groupby, takewhile
from typing import Any

from hwnas import registry
from hwnas.errors import HwnasError
from hwnas.experiment import Budget, read_experiment
from hwnas.shipped_experiments import shipped_experiments
from hwnas.spaces import LanguageModelSpace, SearchSpace
from hwnas.spaces import space as named_space
from hwnas.spaces.choices import Value
from hwnas.spaces.families import family, family_names
from hwnas.surrogates.device_library import shipped_devices
from hwnas.surrogates.published import SCALES

Table = tuple[list[str], list[list[Any]]]

_MAX_VALUES = 8  # of a choice, that are all listed
_MAX_CHOICES = 8  # of a space, that are all listed


def component_table(kind: registry.Kind, verbose: bool = False) -> Table:
    """Return a row for each registered optimizer, backend or logger.

    Parameters
    ----------
    kind
        ``"optimizer"``, ``"backend"`` or ``"logger"``.
    verbose
        Whether to add settings with defaults, references, and how an optimizer treats constraints.
        This imports the libraries of all components, which takes seconds.

    Examples
    --------
    >>> header, rows = component_table("optimizer")
    >>> ["random", "Random search"] in rows
    True
    """
    header = ["name", "what it is"]
    if verbose:
        constraints = ["constraints"] if kind == "optimizer" else []
        header += ["settings", *constraints, "reference"]
    rows = []
    for name in registry.names(kind):
        try:
            text = registry.documentation(kind, name)
            row = [name, text.partition("\n")[0].rstrip(".")]
            if verbose:
                row += _details(kind, registry.lookup(kind, name), text)
        except HwnasError as error:
            # An optional library is missing: say so in the list, and go on.
            row = [name, str(error)] + [""] * (len(header) - 2)
        rows.append(row)
    return header, rows


def _details(kind: registry.Kind, cls: type[Any], text: str) -> list[str]:
    """Return settings and references of a component, and how an optimizer treats constraints."""
    settings = ", ".join(
        key if p.default is inspect.Parameter.empty else f"{key}={p.default!r}"
        for key, p in registry.settings_of(cls).items()
    )
    constraints = []
    if kind == "optimizer":
        constraints = ["yes" if cls.handles_constraints else "ignored"]
    _, _, reference = text.partition("References\n----------\n")
    return [settings, *constraints, " ".join(reference.split())]


def space_table() -> Table:
    """Return a row for each named space of each family.

    Examples
    --------
    >>> header, rows = space_table()
    >>> dict(zip(header, rows[0]))["choices"].split("; ")[2:]
    ['bias False True', 'a layer: mlp_ratio 2 3 4', 'n_head 4 8 12']
    """
    rows = []
    for family_name in dict.fromkeys(["gpt", *family_names()]):
        try:
            names = family(family_name).named
        except HwnasError as error:
            # A package is broken: say so in the list, and go on.
            rows.append(["", family_name, "", str(error), ""])
            continue
        rows += [_space_row(family_name, named_space(name)) for name in names]
    return ["name", "family", "members", "choices", "figures"], rows


def _space_row(family_name: str, space: SearchSpace) -> list[str]:
    """Return name, family, number of members, choices and the source of figures of a space."""
    parts = [*_choice_texts(space.choices)]
    if space.layers:
        first, *others = _choice_texts(space.layers)
        parts += [f"a layer: {first}", *others]
    # Only spaces with figures can be searched without hardware.
    sources = ["published"] if space.name in SCALES else []
    sources += [name for name, device in shipped_devices(space).items() if device.figures]
    way = ": measure with the profile backend" if isinstance(space, LanguageModelSpace) else ""
    figures = ", ".join(sources) or f"none{way}"
    return [space.name, family_name, _size(space.size), "; ".join(parts), figures]


def _size(size: int) -> str:
    """Return a number of members with three digits, however great it is.

    >>> _size(18), _size(10**400)
    ('18', '1.00e+400')
    """
    # Very great numbers are no floats.
    return f"{size:.3g}" if size < 10**300 else f"{Decimal(size):.2e}"


def _choice_texts(choices: Mapping[str, Sequence[Value]]) -> list[str]:
    """Return name and values of each choice; the ends alone where there are many.

    >>> _choice_texts({"kind": ["a", "b"], "size": range(1, 41)})
    ['kind a b', 'size 1 ... 40 (40 values)']
    >>> _choice_texts({"x1": [0, 1], "x2": [0, 1], "x3": [0, 1]})
    ['x1 ... x3 0 1']
    """
    texts: list[str] = []
    # Choices with the same values, one after another, share an entry.
    for values, group in groupby(choices, lambda name: tuple(choices[name])):
        names = [*group]
        if len(names) > 2:
            names = [f"{names[0]} ... {names[-1]}"]
        listed = " ".join(map(str, values))
        if len(values) > _MAX_VALUES:
            listed = f"{values[0]} ... {values[-1]} ({len(values)} values)"
        texts += [f"{name} {listed}" for name in names]
    more = len(texts) - _MAX_CHOICES
    return [*texts[:_MAX_CHOICES], f"and {more} more"] if more > 0 else texts


def experiment_table() -> Table:
    """Return a row for each experiment that comes with hwnas.

    Examples
    --------
    >>> header, rows = experiment_table()
    >>> [row[3:] for row in rows if row[0] == "quickstart"]
    [['150 evaluations', 'none']]
    """
    rows = []
    for name, file in shipped_experiments().items():
        experiment, _ = read_experiment(file)
        backend = experiment.backend
        hardware = "none"
        if backend.type == "profile":
            hardware = str(backend.settings.get("device", "this machine"))
        rows.append(
            [
                name,
                _first_sentence(file.read_text(encoding="utf-8")),
                ", ".join(entry.name for entry in experiment.optimizers),
                _budget(experiment.budget),
                hardware,
            ]
        )
    return ["name", "what it is", "optimizers", "budget of a search", "hardware"], rows


def _first_sentence(text: str) -> str:
    """Return the first sentence of the comment at the top of a file."""
    lines = takewhile(lambda line: line.startswith("#"), text.splitlines())
    comment = " ".join(line.lstrip("# ") for line in lines)
    return re.split(r"\.(?:\s|$)", comment, maxsplit=1)[0]


def _budget(budget: Budget) -> str:
    limits = {
        "evaluations": budget.evaluations,
        "s of evaluations": budget.cost,
        "s": budget.seconds,
    }
    return ", ".join(f"{limit:g} {unit}" for unit, limit in limits.items() if limit is not None)
