"""Many networks and what is known of them, for plots that show a space rather than a search."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.backends import Backend, all_metrics
from hwnas.runner.evaluation import measure
from hwnas.errors import InvalidInput
from hwnas.objectives import Objective
from hwnas.runner.results import Result
from hwnas.spaces import Codes, SearchSpace
from hwnas.typing import Array

SAMPLES = 2000  # random networks that stand for a space
ASPECTS = ("embed_dim", "n_layer", "mlp_ratio", "n_head", "bias")

_FEW = 6  # values that can be told apart, one by one


@dataclass(frozen=True, eq=False)
class Population:
    """Networks of a space with some of their metrics.

    Attributes
    ----------
    space
    codes : (n, d) int8
    objectives
        The m metrics, without sign and bound.
    values : (n, m)
        In raw units.
    source
        What they are, for a title: ``"2,000 random networks"``.
    """

    space: SearchSpace
    codes: Codes
    objectives: tuple[Objective, ...]
    values: Array
    source: str

    def __len__(self) -> int:
        return len(self.codes)

    def column(self, objective: Objective) -> Array:
        """Values (n,) of one of the metrics."""
        return self.values[:, self.objectives.index(objective)]

    def first(self, n: int) -> Population:
        """The first networks of them."""
        if len(self) <= n:
            return self
        source = self.source.replace(f"{len(self):,}", f"{n:,}", 1)
        return Population(self.space, self.codes[:n], self.objectives, self.values[:n], source)

    def only(self, objectives: Sequence[Objective]) -> Population:
        """The same networks with some of the metrics."""
        at = [self.objectives.index(objective) for objective in objectives]
        return Population(
            self.space, self.codes, tuple(objectives), self.values[:, at], self.source
        )


def drawn_at_random(backend: Backend, n: int = SAMPLES, seed: int = 0) -> Population:
    """Random networks of a backend's space with all metrics that it has, `params` and `flops` too.

    Parameters
    ----------
    backend
        Without noise.
    n
        How many.
    seed
        Of the choice.
    """
    codes = backend.space.sample(n, np.random.default_rng(seed))
    wanted = tuple(map(Objective.parse, all_metrics(backend)))
    values = measure(backend, codes, wanted).values
    some = np.isfinite(values).all(axis=1)
    source = f"{some.sum():,} random networks of {backend.space.name}"
    return Population(backend.space, codes[some], wanted, values[some], source)


def measured_in(result: Result) -> Population:
    """The networks that a run measured, in full and with its objectives; of repeats, the last.

    Raises
    ------
    InvalidInput
        None was measured.
    """
    m = len(result.objectives)
    kept = [(cell.trials, result.has_full_fidelity(cell)) for cell in result.searches]
    kept = [(trials, rows) for trials, rows in kept if rows.any()]
    if not kept:
        raise InvalidInput(f"{result.path}: no network was measured here yet")
    codes = np.concatenate([trials.codes[rows] for trials, rows in kept])
    values = np.concatenate([trials.values[rows, :m] for trials, rows in kept])
    last = len(codes) - 1 - np.unique(codes[::-1], axis=0, return_index=True)[1]
    objectives = tuple(objective.value for objective in result.objectives)
    source = f"{len(last):,} networks that were measured"
    return Population(result.space, codes[last], objectives, values[last], source)


def population_of(result: Result) -> Population:
    """What stands for the space of a run.

    Random networks of a backend that knows its own front, for it has an answer for each; otherwise
    what the run measured, for more may take hours.
    """
    if result.reference.best is None:
        return measured_in(result)
    return drawn_at_random(result.problem.truth)


def aspects(space: SearchSpace, codes: Codes) -> dict[str, Array]:
    """What people ask of a network in few numbers, of codes (n, d): an array (n,) for each.

    Of choices that each layer has, the mean over its layers. What a space leaves no choice of is
    left out.
    """
    found: dict[str, Array] = {}
    active = space.active(codes)
    for name in ASPECTS:
        choices = np.array(getattr(space, name), dtype=np.float64)
        columns = [j for j, c in enumerate(space.columns) if c == name or c.startswith(f"{name}_")]
        if len(choices) < 2 or not columns:
            continue
        chosen = np.where(active[:, columns], choices[codes[:, columns]], 0.0)
        mean = chosen.sum(axis=1) / np.maximum(active[:, columns].sum(axis=1), 1)
        found[name if name in space.columns else f"mean {name}"] = mean
    return found


def grouped(values: Array) -> list[tuple[str, NDArray[np.bool_]]]:
    """Networks by an aspect (n,): its values where they are few, its thirds where they are many.

    Returns
    -------
    list of (str, (n,) bool)
        A name for each group, ascending, and who belongs to it.
    """
    distinct = np.unique(values)
    if len(distinct) <= _FEW:
        return [(f"{value:g}", values == value) for value in distinct]
    edges = [-np.inf, *np.quantile(values, (1 / 3, 2 / 3)), np.inf]
    out = []
    for low, high in itertools.pairwise(edges):
        inside = (values > low) & (values <= high)
        if inside.any():
            ends = values[inside].min(), values[inside].max()
            out.append((f"{ends[0]:.3g} to {ends[1]:.3g}", inside))
    return out


def kendall(values: Array) -> Array:
    """Rank correlations (m, m) of the columns of values (n, m): Kendall's tau-b.

    Every pair of networks is compared, in O(n² m²): of 1,000 networks in a second. NaN of a column
    whose values are all alike.

    References
    ----------
    Kendall, "A new measure of rank correlation", Biometrika 1938; ties as in Kendall 1945.
    """
    first, second = np.triu_indices(len(values), 1)
    signs = np.sign(values[first] - values[second]).astype(np.float32)  # (pairs, m)
    agreeing = (signs.T @ signs).astype(np.float64)
    untied = np.sqrt(agreeing.diagonal())
    untied[untied == 0] = np.nan  # a column that does not vary goes with nothing
    return np.asarray(agreeing / untied[:, None] / untied)
