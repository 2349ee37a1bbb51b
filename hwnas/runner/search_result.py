"""Results of one search: its trials, its front and how its hypervolume grew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwnas.fronts import Front
from hwnas.runner.storage import Trials
from hwnas.typing import Array, BoolArray, Codes, IndexArray, IntArray


@dataclass(frozen=True)
class Trajectory:
    """Hypervolume of a search as a step function, one row a step.

    Attributes
    ----------
    evaluations, cost, seconds : (k,)
        Evaluations, seconds spent in evaluations, and seconds since the start at each step. The
        last row is the end of the search.
    hypervolume : (k,)
        In the product of the objectives' units. Under noise it is the true one: of the current
        recommendation, valued by medians, which can also fall.
    normalised : (k,)
        `hypervolume` relative to the best known one.
    observed : (k,), optional
        Under noise, the hypervolume of the noisy observations.
    measured : (k,), optional
        Under noise, the true hypervolume of the members of the recommendation that were measured.
    """

    evaluations: IntArray
    cost: Array
    seconds: Array
    hypervolume: Array
    normalised: Array
    observed: Array | None = None
    measured: Array | None = None

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return the columns of ``hypervolume.csv``."""
        start: dict[str, NDArray[Any]] = {
            "evaluations": self.evaluations,
            "cost": self.cost,
            "seconds": self.seconds,
        }
        if self.observed is None or self.measured is None:
            return {**start, "hypervolume": self.hypervolume, "normalised": self.normalised}
        return {
            **start,
            "observed": self.observed,
            "true": self.hypervolume,
            "measured": self.measured,
            "normalised": self.normalised,
        }


class Recommendation(NamedTuple):
    """Recommendation of a search under noise, with its true values.

    Attributes
    ----------
    n_trials
        Number of trials after which it was given.
    losses : (r, m)
        NaN where a constraint is violated.
    constraints : (r, c)
        Values of the constraints, in raw units.
    measured : (r,)
        Whether each architecture is one of these trials.
    """

    n_trials: int
    losses: Array
    constraints: Array
    measured: BoolArray


@dataclass(frozen=True)
class SearchResult:
    """Results of one optimizer with one seed.

    Attributes
    ----------
    optimizer, seed
        Name of the optimizer in the run, and its seed.
    path
        Directory of the search.
    trials
        All its trials.
    losses : (n, m)
        Losses of the trials, NaN where a trial failed or violates a constraint.
    front
        Feasible non-dominated architectures. Under noise those of the final recommendation, valued
        by medians.
    front_trials : (k,)
        First trial of each member of the front, -1 of one that was recommended unmeasured.
    front_constraints : (k, c)
        Values of the constraints of each member of the front, in raw units; under noise medians.
    recommended
        Recommendations in order; none without noise.
    meta
        Texts stored beside the trials.
    """

    optimizer: str
    seed: int
    path: Path
    trials: Trials
    losses: Array
    front: Front
    front_trials: IndexArray
    front_constraints: Array
    recommended: list[Recommendation]
    meta: dict[str, str]

    @property
    def status(self) -> str:
        """State of the search in a word or a short sentence."""
        if "finished" not in self.meta:  # an error of an earlier attempt may have been mended
            error = " ".join(self.meta.get("error", "").split())  # one line, for tables
            return f"error: {error}" if error else "unfinished"
        status = "exhausted" if "exhausted" in self.meta else "done"
        words = self.trials.status
        counts = {"failed": words.count("failed"), "stopped": words.count("infeasible")}
        return ", ".join([status, *(f"{n} {word}" for word, n in counts.items() if n)])

    @property
    def n_unmeasured(self) -> int:
        """Number of members of the front that were recommended without a measurement."""
        return int((self.front_trials < 0).sum())

    @property
    def measured_losses(self) -> Array:
        """True losses (k, m) of what was measured of the front; what it dominates may be there too.

        Under noise, of the recommendation without its unmeasured members: those count as well that
        only an unmeasured member dominates.
        """
        if not self.recommended:
            return self.front.losses
        last = self.recommended[-1]
        return last.losses[last.measured & np.isfinite(last.losses).all(axis=1)]

    @property
    def first_failure(self) -> str:
        """Reason of the first failed trial; empty where none failed."""
        words, reasons = self.trials.status, self.trials.reason
        return next((r for r, word in zip(reasons, words, strict=True) if word == "failed"), "")

    @property
    def seconds_saved(self) -> float:
        """Estimate of the seconds that were saved by stopping trials at violated constraints.

        Each stopped trial would have taken as long as the mean of the complete ones that started
        anew; 0 where none was stopped or none was complete.
        """
        complete = self.trials.ok & (self.trials.evaluations > 0)
        stopped = np.array([word == "infeasible" for word in self.trials.status], dtype=bool)
        if not complete.any() or not stopped.any():
            return 0.0
        mean = float(self.trials.seconds[complete].mean())
        return max(0.0, float((mean - self.trials.seconds[stopped]).sum()))


def first_rows(members: tuple[Codes, Array], trials: tuple[Codes, Array]) -> IndexArray:
    """Return the first trial of each member by codes (k, d) and values (k, m), -1 without one.

    >>> codes, values = np.array([[1], [2], [1]], dtype=np.int8), np.zeros((3, 1))
    >>> first_rows((codes[2:], values[2:]), (codes, values))
    array([0])
    """
    # Only members are kept by key, because there can be a million trials.
    keys = [*_keys(*members)]
    first = dict.fromkeys(keys, -1)
    for i, key in enumerate(_keys(*trials)):
        if first.get(key) == -1:
            first[key] = i
    return np.array([first[key] for key in keys], dtype=np.intp)


def _keys(codes: Codes, values: Array) -> Iterator[bytes]:
    """Yield a key of each row of codes (n, d) and values (n, m)."""
    return (a.tobytes() + b.tobytes() for a, b in zip(codes, values, strict=True))
