"""Tables of what can be named in an experiment: optimizers, backends, and shipped experiments."""

from __future__ import annotations

import inspect
import re
from itertools import takewhile
from typing import Any

from hwnas import registry
from hwnas.errors import HwnasError
from hwnas.experiment import Budget, read_experiment, shipped_experiments

Table = tuple[list[str], list[list[Any]]]


def component_table(kind: registry.Kind, verbose: bool = False) -> Table:
    """Return a row for each registered optimizer or backend.

    Parameters
    ----------
    kind
        ``"optimizer"`` or ``"backend"``.
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
