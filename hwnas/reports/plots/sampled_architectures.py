"""Many architectures of a space with their metrics, for plots of a space rather than a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hwnas.backends import Backend, all_metrics, is_closed_form, metric_of
from hwnas.errors import InvalidInput
from hwnas.objectives import Objective
from hwnas.runner.evaluation import measure
from hwnas.runner.results import Result
from hwnas.spaces import LanguageModelSpace, SearchSpace
from hwnas.typing import Array, Codes

N_SAMPLES = 2000  # random architectures that represent a space


@dataclass(frozen=True, eq=False)
class SampledArchitectures:
    """Architectures of a space with some of their metrics.

    Attributes
    ----------
    space
    codes : (n, d) int8
    objectives
        The m metrics, without direction and bound.
    values : (n, m)
        In raw units.
    source
        Description for a title: ``"2,000 random architectures of gpt-s"``.
    units
        Units of the metrics by their names.
    """

    space: SearchSpace
    codes: Codes
    objectives: tuple[Objective, ...]
    values: Array
    source: str
    units: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.codes)

    def column(self, objective: Objective) -> Array:
        """Return the values (n,) of one of the metrics."""
        return self.values[:, self.objectives.index(objective)]

    def head(self, n: int) -> SampledArchitectures:
        """Return the first n architectures."""
        if len(self) <= n:
            return self
        source = self.source.replace(f"{len(self):,}", f"{n:,}", 1)
        return replace(self, codes=self.codes[:n], values=self.values[:n], source=source)

    def select(self, objectives: Sequence[Objective]) -> SampledArchitectures:
        """Return the same architectures with some of the metrics."""
        columns = [self.objectives.index(objective) for objective in objectives]
        return replace(self, objectives=tuple(objectives), values=self.values[:, columns])


def members_name(space: SearchSpace) -> str:
    """Return what the members of a space are called: architectures, or configurations.

    >>> import hwnas
    >>> members_name(hwnas.space("gpt-s"))
    'architectures'
    """
    return "architectures" if isinstance(space, LanguageModelSpace) else "configurations"


def sample_architectures(
    backend: Backend,
    n: int = N_SAMPLES,
    seed: int = 0,
    *,
    closed_forms: Sequence[Objective] = (),
) -> SampledArchitectures:
    """Sample architectures of a backend's space, with all of its metrics and closed forms.

    Architectures with a metric that is not finite are left out.

    Parameters
    ----------
    backend
        A backend without noise.
    n
        Number of architectures.
    seed
        Seed of the sample.
    closed_forms
        Closed forms of workloads to add to the backend's metrics.

    Examples
    --------
    >>> import hwnas
    >>> sample_architectures(hwnas.surrogate("gpt-s"), 10).source
    '10 random architectures of gpt-s'
    """
    codes = backend.space.sample(n, np.random.default_rng(seed))
    metrics = {str(o): metric_of(backend, o) for o in closed_forms} | all_metrics(backend)
    objectives = tuple(map(Objective.parse, metrics))
    values = measure(backend, codes, objectives).values
    finite = np.isfinite(values).all(axis=1)
    members = f"{members_name(backend.space)} of {backend.space.name}"
    return SampledArchitectures(
        backend.space,
        codes[finite],
        objectives,
        values[finite],
        f"{finite.sum():,} random {members}",
        {name: metric.unit for name, metric in metrics.items()},
    )


def measured_architectures(result: Result) -> SampledArchitectures:
    """Return the architectures that a run measured completely, with the last value of each.

    Raises
    ------
    InvalidInput
        No architecture was measured.
    """
    m = len(result.objectives)
    masks = [(search.trials, result.has_full_fidelity(search)) for search in result.searches]
    masks = [(trials, mask) for trials, mask in masks if mask.any()]
    if not masks:
        raise InvalidInput(f"{result.path}: no architecture has been measured yet")
    codes = np.concatenate([trials.codes[mask] for trials, mask in masks])
    values = np.concatenate([trials.values[mask, :m] for trials, mask in masks])
    # `unique` returns first occurrences: in the reversed order these are the last ones.
    last = len(codes) - 1 - np.unique(codes[::-1], axis=0, return_index=True)[1]
    objectives = tuple(objective.value for objective in result.objectives)
    source = f"{len(last):,} measured {members_name(result.space)}"
    return SampledArchitectures(
        result.space, codes[last], objectives, values[last], source, result.units
    )


def representative_architectures(result: Result) -> SampledArchitectures:
    """Return architectures that represent the space of a run.

    If the backend knows its own front, it answers at once: the architectures are random ones.
    Otherwise they are those that the run measured, because to measure others may take hours.
    """
    if result.reference.best is None:
        return measured_architectures(result)
    # Those without a workload are among the backend's metrics.
    closed_forms = [
        o.value for o in result.objectives if o.workload and is_closed_form(result.space, o)
    ]
    return sample_architectures(result.problem.truth, closed_forms=closed_forms)
