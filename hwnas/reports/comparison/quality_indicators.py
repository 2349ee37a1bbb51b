"""Quality indicators of fronts on one problem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hwnas import pareto
from hwnas.runner.reference_point import Reference
from hwnas.runner.results import Result
from hwnas.typing import Array

# Metrics of a comparison, in the order of tables; the first is the default.
METRICS = ("normalised", "hypervolume", "igd_plus", "epsilon", "r2")
LARGER_IS_BETTER = ("normalised", "hypervolume")  # the other metrics are distances


def metric_in_prose(metric: str) -> str:
    """Return a metric as sentences name it; columns keep the name that files have.

    >>> metric_in_prose("normalised"), metric_in_prose("epsilon")
    ('normalized hypervolume', 'epsilon')
    """
    return "normalized hypervolume" if metric == "normalised" else metric


@dataclass(frozen=True, eq=False)
class QualityIndicators:
    """Indicators that score every front of a problem on the same scale.

    All indicators but the hypervolume are computed from losses that are scaled so that the
    reference's ideal is at 0 and its nadir at 1.

    Attributes
    ----------
    reference
        Scale and reference point.
    reference_front : (k, m)
        Losses of the backend's own front, or of the union of all fronts.
    best_hypervolume
        Hypervolume of `reference_front`.
    """

    reference: Reference
    reference_front: Array
    best_hypervolume: float

    @classmethod
    def of_runs(cls, results: Sequence[Result]) -> QualityIndicators:
        """Return the indicators for runs of one problem, on the scale of the first run."""
        first = results[0]
        # The backend knows its front, at least approximately.
        if first.reference.best is not None:
            return cls(first.reference, first.best_known, first.best_hypervolume)
        # No front is known in advance: score against the union of all fronts.
        union = np.concatenate(
            [search.front.losses for result in results for search in result.searches]
        )
        union = union[pareto.non_dominated(union)]
        return cls(first.reference, union, pareto.hypervolume(union, first.reference.point))

    def values(self, losses: Array) -> dict[str, float]:
        """Return all indicators of a front with losses (n, m), by metric.

        Distances are infinite for an empty front, or where the reference front is empty.
        """
        hypervolume = self.hypervolume(losses)
        # Distances need a member on either side.
        comparable = len(losses) > 0 and len(self.reference_front) > 0
        return {
            "normalised": self.normalized(hypervolume),
            "hypervolume": hypervolume,
            "igd_plus": self.igd_plus(losses) if comparable else float("inf"),
            "epsilon": self.epsilon(losses) if comparable else float("inf"),
            "r2": self.r2(losses) if comparable else float("inf"),
        }

    def hypervolume(self, losses: Array) -> float:
        """Return the hypervolume of losses (n, m) up to the reference point."""
        return pareto.hypervolume(losses, self.reference.point)

    def normalized(self, hypervolume: float) -> float:
        """Return a hypervolume relative to that of the reference front."""
        return hypervolume / self.best_hypervolume if self.best_hypervolume > 0 else 0.0

    def igd_plus(self, losses: Array) -> float:
        """Return the IGD+ distance of losses (n, m) from the reference front."""
        return pareto.igd_plus(self.reference.scaled(losses), self._scaled_front)

    def epsilon(self, losses: Array) -> float:
        """Return the additive epsilon of losses (n, m) to the reference front."""
        return pareto.epsilon(self.reference.scaled(losses), self._scaled_front)

    def r2(self, losses: Array) -> float:
        """Return the R2 indicator of losses (n, m)."""
        # The ideal of R2 must bound all fronts, but a front can surpass a measured reference.
        ideal = np.minimum(self._scaled_front.min(axis=0), 0.0)
        return pareto.r2(self.reference.scaled(losses), ideal)

    @cached_property
    def _scaled_front(self) -> Array:
        """Scaled losses (k, m) of the reference front."""
        return self.reference.scaled(self.reference_front)
