"""Many architectures of a space with their metrics, for plots of a space rather than a search."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwnas.backends import Backend, all_metrics
from hwnas.errors import InvalidInput
from hwnas.objectives import Objective
from hwnas.runner.evaluation import measure
from hwnas.runner.results import Result
from hwnas.spaces import SearchSpace
from hwnas.typing import Array, BoolArray, Codes

N_SAMPLES = 2000  # random architectures that represent a space
FEATURES = ("embed_dim", "n_layer", "mlp_ratio", "n_head", "bias")

_MAX_VALUES = 6  # of a feature, that are groups of their own


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
    """

    space: SearchSpace
    codes: Codes
    objectives: tuple[Objective, ...]
    values: Array
    source: str

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
        return SampledArchitectures(
            self.space, self.codes[:n], self.objectives, self.values[:n], source
        )

    def select(self, objectives: Sequence[Objective]) -> SampledArchitectures:
        """Return the same architectures with some of the metrics."""
        columns = [self.objectives.index(objective) for objective in objectives]
        return SampledArchitectures(
            self.space, self.codes, tuple(objectives), self.values[:, columns], self.source
        )


def sample_architectures(
    backend: Backend, n: int = N_SAMPLES, seed: int = 0
) -> SampledArchitectures:
    """Sample architectures of a backend's space, with all of its metrics, `params` and `flops`.

    Architectures with a metric that is not finite are left out.

    Parameters
    ----------
    backend
        A backend without noise.
    n
        Number of architectures.
    seed
        Seed of the sample.

    Examples
    --------
    >>> import hwnas
    >>> sample_architectures(hwnas.surrogate("gpt-s"), 10).source
    '10 random architectures of gpt-s'
    """
    codes = backend.space.sample(n, np.random.default_rng(seed))
    objectives = tuple(map(Objective.parse, all_metrics(backend)))
    values = measure(backend, codes, objectives).values
    finite = np.isfinite(values).all(axis=1)
    source = f"{finite.sum():,} random architectures of {backend.space.name}"
    return SampledArchitectures(backend.space, codes[finite], objectives, values[finite], source)


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
    source = f"{len(last):,} measured architectures"
    return SampledArchitectures(result.space, codes[last], objectives, values[last], source)


def representative_architectures(result: Result) -> SampledArchitectures:
    """Return architectures that represent the space of a run.

    If the backend knows its own front, it answers at once: the architectures are random ones.
    Otherwise they are those that the run measured, because to measure others may take hours.
    """
    if result.reference.best is None:
        return measured_architectures(result)
    return sample_architectures(result.problem.truth)


def architecture_features(space: SearchSpace, codes: Codes) -> dict[str, Array]:
    """Return a few numbers (n,) that describe each architecture of codes (n, d), by their names.

    A choice that each layer has is averaged over the active layers. Choices that a space leaves
    with one value are left out.
    """
    features: dict[str, Array] = {}
    active = space.active(codes)
    for name in FEATURES:
        choices = np.array(getattr(space, name), dtype=np.float64)
        # One column for the architecture, or one for each layer: "n_head_0", "n_head_1", ...
        columns = [j for j, c in enumerate(space.columns) if c == name or c.startswith(f"{name}_")]
        if len(choices) < 2 or not columns:
            continue
        # Inactive layers have a code as well, which must not count.
        values = np.where(active[:, columns], choices[codes[:, columns]], 0.0)
        mean = values.sum(axis=1) / np.maximum(active[:, columns].sum(axis=1), 1)
        features[name if name in space.columns else f"mean {name}"] = mean
    return features


def feature_groups(values: Array) -> list[tuple[str, BoolArray]]:
    """Return groups of architectures by a feature (n,): by value, or in thirds if there are many.

    Returns
    -------
    list of (str, (n,) bool)
        Name and members of each group, ascending.

    Examples
    --------
    >>> [(name, mask.tolist()) for name, mask in feature_groups(np.array([3.0, 1.0, 3.0]))]
    [('1', [False, True, False]), ('3', [True, False, True])]
    """
    distinct = np.unique(values)
    if len(distinct) <= _MAX_VALUES:
        return [(f"{value:g}", values == value) for value in distinct]
    edges = [-np.inf, *np.quantile(values, (1 / 3, 2 / 3)), np.inf]
    groups = []
    for low, high in itertools.pairwise(edges):
        inside = (values > low) & (values <= high)
        # A third can be empty where many values are equal.
        if inside.any():
            ends = values[inside].min(), values[inside].max()
            groups.append((f"{ends[0]:.3g} to {ends[1]:.3g}", inside))
    return groups
