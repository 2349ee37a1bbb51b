"""Transfer of fronts: what the front for one metric is worth by another.

A front is found for one device or workload and deployed on another. Its members, judged by the
other metric, are compared with that metric's own front: by the hypervolume that is missing, and by
the excess over the best architecture of at most the same perplexity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwnas import pareto
from hwnas.errors import InvalidInput
from hwnas.fronts import Front, reference_point
from hwnas.objectives import Objective, losses_of
from hwnas.surrogates.backend import Surrogate
from hwnas.surrogates.metrics import transfer_notes
from hwnas.typing import Array


@dataclass(frozen=True, slots=True)
class Loss:
    """Loss by a front that was found for one metric and is judged by another.

    Attributes
    ----------
    hypervolume
        Share of the hypervolume of the other metric's own front that is missing.
    mean, worst
        Relative excess over the best architecture of at most the same perplexity: mean over the
        front, and maximum.
    """

    hypervolume: float
    mean: float
    worst: float


@dataclass(frozen=True)
class Transfer:
    """Losses between fronts of several metrics.

    Attributes
    ----------
    space
        Name of the space.
    against
        Objective that all fronts share, such as perplexity.
    metrics
        The k metrics that fronts are found for, and judged by.
    losses
        k rows, one for each metric that a front is found for, of k losses.
    members
        Number of members of each front.
    epsilon
        Largest proved epsilon of the fronts, 0 where all are exact.
    notes
        Notes on the metrics, for people.
    """

    space: str
    against: Objective
    metrics: tuple[Objective, ...]
    losses: tuple[tuple[Loss, ...], ...]
    members: tuple[int, ...]
    epsilon: float
    notes: tuple[str, ...] = ()

    def matrix(self, name: str) -> Array:
        """Return an attribute of the losses (k, k), ``"hypervolume"``, ``"mean"`` or ``"worst"``.

        Rows are the metrics that a front was found for, columns those by which it is judged.
        """
        return np.array([[getattr(loss, name) for loss in row] for row in self.losses])


def transfer(
    bench: Surrogate, metrics: Sequence[str], against: str | Objective = "perplexity"
) -> Transfer:
    """Return what the front for each metric loses by each other one.

    Parameters
    ----------
    bench
        Surrogate of a space.
    metrics
        Metrics on one device each, two or more: ``"latency@a100"``, ``"tpot.serve@mine"``.
    against
        Other objective of all fronts.

    Raises
    ------
    InvalidInput
        Fewer than two metrics, one that does not exist, has several devices or equals `against`, or
        no front that is known.

    Examples
    --------
    >>> import hwnas
    >>> result = transfer(hwnas.surrogate("gpt-s"), ["latency@h100", "latency@cpu_xeon_gold"])
    >>> result.matrix("hypervolume").diagonal().tolist()
    [0.0, 0.0]
    >>> bool(0 < result.matrix("hypervolume")[0, 1] < 0.2)
    True
    """
    second = against if isinstance(against, Objective) else Objective.parse(against)
    chosen = _distinct(metrics, second)
    fronts = [_front_of(bench, second, metric) for metric in chosen]
    rows = []
    for front in fronts:
        values = bench.predict(front.codes, [second.value, *(metric.value for metric in chosen)])
        losses = losses_of((second, *chosen), values)
        rows.append(
            tuple(
                Loss(0.0, 0.0, 0.0)
                if own is front
                else loss(losses[:, [0, j]], own.losses, is_maximised=chosen[j - 1].maximise)
                for j, own in enumerate(fronts, start=1)
            )
        )
    return Transfer(
        bench.space.name,
        second,
        chosen,
        tuple(rows),
        tuple(map(len, fronts)),
        max(front.epsilon or 0.0 for front in fronts),
        tuple(transfer_notes(chosen, bench.added.origin)),
    )


def loss(points: Array, best: Array, *, is_maximised: bool = False) -> Loss:
    """Return what points lose against a front.

    Parameters
    ----------
    points : (n, 2) float64
        Losses to be minimized: perplexities, and values of a metric.
    best : (k, 2) float64
        The front.
    is_maximised
        Whether the metric is one to be maximized, so that its losses are negative. The excess is
        then that of its inverse, as of the time if it is a throughput.

    Examples
    --------
    One of two members, and one that is half as slow again as the other:

    >>> best = np.array([[10.0, 2.0], [20.0, 1.0]])
    >>> result = loss(np.array([[10.0, 3.0], [20.0, 1.0]]), best)
    >>> result.mean, result.worst
    (0.25, 0.5)
    """
    ratio = points[:, 1] / best_at(points[:, 0], best)
    excess = (1 / ratio if is_maximised else ratio) - 1
    return Loss(hypervolume_lost(points, best), float(excess.mean()), float(excess.max()))


def hypervolume_lost(points: Array, best: Array) -> float:
    """Return the share of a front's hypervolume that points do not reach.

    Parameters
    ----------
    points : (n, m) float64
        Losses, to be minimized.
    best : (k, m) float64
        The front; its reference point is `hwnas.fronts.reference_point`. Of a front that spans no
        volume, all is lost unless a point is as good as one of it.

    Examples
    --------
    >>> best = np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> round(hypervolume_lost(best[:1], best), 3)
    0.476
    """
    reference = reference_point(best)
    volume = pareto.hypervolume(best, reference)
    if volume == 0:
        return float(not (points[:, None] <= best).all(axis=2).any())
    return float(max(0.0, 1 - pareto.hypervolume(points, reference) / volume))


def best_at(perplexities: Array, front: Array) -> Array:
    """Return the least value (n,) of a front (m, 2) at perplexities of at most those given (n,).

    Where the front has none of at most a perplexity, it is that of its first member.

    Examples
    --------
    >>> best_at(np.array([10.0, 15.0, 20.0]), np.array([[20.0, 1.0], [10.0, 2.0]])).tolist()
    [2.0, 2.0, 1.0]
    """
    ordered = front[np.argsort(front[:, 0])]
    running_minimum = np.minimum.accumulate(ordered[:, 1])
    at = np.searchsorted(ordered[:, 0], perplexities, side="right") - 1
    return np.asarray(running_minimum[np.maximum(at, 0)])


def _distinct(metrics: Sequence[str], against: Objective) -> tuple[Objective, ...]:
    """Return the parsed metrics after a check that fronts of them can be compared."""
    chosen = tuple(dict.fromkeys(map(Objective.parse, metrics)))
    if len(chosen) < 2:
        names = ", ".join(map(str, chosen)) or "none"
        raise InvalidInput(f"expected at least two metrics to transfer between, found {names}")
    for objective in chosen:
        if len(objective.devices) > 1 or objective.bound is not None:
            raise InvalidInput(f"{objective}: expected a metric on one device, without a bound")
        if objective.value == against.value:
            raise InvalidInput(f"{objective}: is the other objective of all fronts already")
    return chosen


def _front_of(bench: Surrogate, against: Objective, metric: Objective) -> Front:
    """Return the front of two objectives."""
    front = bench.front([against, metric])
    if front is None:
        raise InvalidInput(f"no front is known of {against} and {metric}")
    return front
