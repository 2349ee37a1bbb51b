"""Values of configurations of spaces that bring their own: tables, test problems, closed forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from hwnas import registry
from hwnas.backends import Backend, Evaluation, all_metrics, is_closed_form, metric_of
from hwnas.cli.components import Table
from hwnas.errors import InvalidInput
from hwnas.objectives import Metric, Objective
from hwnas.runner.evaluation import measure
from hwnas.spaces import GPTSpace, SearchSpace
from hwnas.spaces import space as named_space
from hwnas.spaces.arch_input import LocatedArchitecture
from hwnas.typing import Codes
from hwnas.workloads import BUILT_IN, Workload

# Families whose spaces are all that the backend of the same name needs.
_OWN_BACKENDS = ("table", "problem")


class ClosedForms(Backend):
    """Backend of a space whose closed forms are all that is known; it has no metrics itself."""

    metrics: Mapping[str, Metric] = MappingProxyType({})

    def evaluate(self, codes: Any, objectives: Any, **others: Any) -> Evaluation:
        """Return no values, as nothing else can be asked for."""
        return Evaluation(np.empty((len(codes), 0)))


def backend_of(
    space: SearchSpace,
    metrics: Sequence[str] = (),
    workloads: Mapping[str, Workload] = BUILT_IN,
) -> Backend | None:
    """Return the backend that a space brings along; ``None`` if its values must be measured.

    Parameters
    ----------
    space
        Search space.
    metrics
        Metrics that are asked for. Closed forms alone need no other backend.
    workloads
        Workloads that metrics may name.

    Examples
    --------
    >>> import hwnas
    >>> sorted(all_metrics(backend_of(hwnas.space("llama-s"))))
    ['flops', 'params']
    """
    objectives = [Objective.parse(text) for text in metrics]
    are_closed_forms = metrics and all(is_closed_form(space, o) for o in objectives)
    if isinstance(space, GPTSpace) and not are_closed_forms:  # its figures are the surrogate's
        return None
    family = space.to_dict().get("family")
    if family in _OWN_BACKENDS:
        return registry.backend(family, space)
    if not space.closed_forms:
        return None
    backend = ClosedForms(space)
    backend.workloads = workloads
    return backend


def space_of(archs: Sequence[LocatedArchitecture], space: SearchSpace | None) -> SearchSpace:
    """Return the one space of architectures: the given one, or that which all of them name.

    Raises
    ------
    InvalidInput
        They are of several spaces, or of one that has no such name.
    """
    if space is not None:
        return space
    name = _space_name(archs[0])
    for item in archs:
        if _space_name(item) != name:
            raise InvalidInput(
                f"{item.location}: expected architectures of one space, {name!r} as in "
                f"{archs[0].location}, found {_space_name(item)!r}"
            )
    try:
        return named_space(name)  # by its name alone: data name no files
    except InvalidInput as error:
        raise InvalidInput(f"{archs[0].location}: {error}") from None


def _space_name(item: LocatedArchitecture) -> str:
    """Return the name of the space of an architecture or configuration."""
    space = item.arch.space
    return space if isinstance(space, str) else str(space.name)


def encode(archs: Sequence[LocatedArchitecture], space: SearchSpace) -> Codes:
    """Return the codes (n, d) of architectures; an error names the location of the first one."""
    try:
        return space.encode([item.arch for item in archs])
    except InvalidInput:
        # Encode one by one to find the location of the error.
        for item in archs:
            try:
                space.encode([item.arch])
            except InvalidInput as error:
                raise InvalidInput(f"{item.location}: {error}") from None
        raise


def values_of(
    archs: Sequence[LocatedArchitecture], metrics: Sequence[str], backend: Backend
) -> Table:
    """Return the values of configurations, a row for each; empty cells where there are none.

    Parameters
    ----------
    archs
        Configurations of the backend's space.
    metrics
        Names of metrics; all by default.
    backend
        What has the values.

    Raises
    ------
    InvalidInput
        A configuration is not in the space, or a metric does not exist.
    """
    objectives = [Objective.parse(name) for name in metrics or all_metrics(backend)]
    for objective in objectives:
        if objective != objective.value:
            raise InvalidInput(f"metric {str(objective)!r}: expected neither sign nor bound")
        metric_of(backend, objective)
    codes = encode(archs, backend.space)
    values = measure(backend, codes, objectives).values
    columns = [
        [_cell(value, objective.key in backend.space.closed_forms) for value in column]
        for objective, column in zip(objectives, values.T.tolist(), strict=True)
    ]
    names = [str(item.arch) for item in archs]
    header = ["arch", *map(str, objectives)]
    return header, [list(row) for row in zip(names, *columns, strict=True)]


def has_metrics(backend: Backend, metrics: Sequence[str]) -> bool:
    """Return whether a backend has all of the metrics by name, or is to say why it lacks one."""
    names = {name.partition("@")[0] for name in all_metrics(backend)}
    objectives = [Objective.parse(text) for text in metrics]
    return all(o.workload is not None or o.metric in names for o in objectives)


def _cell(value: float, is_count: bool) -> Any:
    """Return a value as it is printed: closed forms are counts, a missing value is empty."""
    if not np.isfinite(value):
        return ""
    return int(value) if is_count else value
