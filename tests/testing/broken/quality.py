"""Optimizers that follow the protocol and search badly."""

from __future__ import annotations

from typing import Any

import numpy as np

from broken.correct import AllFidelities, HillClimber, RandomSearch
from hwnas import pareto
from hwnas.typing import Codes


class SignError(HillClimber):
    """Maximizes the losses."""

    # Otherwise `beats-random` would fail, too.
    claims_to_beat_random = False

    def parents(self) -> Codes:
        return self.history.codes[pareto.non_dominated(-self.history.losses)]


class LearnsNothing(RandomSearch):
    """Random search that claims to beat random search."""

    claims_to_beat_random = True


class UnscaledSum(HillClimber):
    """Continues from the least sums of losses, whatever their units."""

    def parents(self) -> Codes:
        history = self.history
        penalty = 1e9 * (history.constraints > 0).sum(axis=1)
        score = history.losses.sum(axis=1) + penalty
        return history.codes[np.argsort(score, kind="stable")[:5]]


class IgnoresConstraints(HillClimber):
    """Searches without regard to the constraints, and recommends feasible architectures."""

    def parents(self) -> Codes:
        return self.history.codes[pareto.non_dominated(self.history.losses)]


class SamplesUniformly(RandomSearch):
    """Random search that claims to handle constraints."""

    handles_constraints = True


class NeverTopFidelity(AllFidelities):
    """Stays at the lowest fidelity."""

    def update(
        self, codes: Codes, losses: Any, *, std: Any = None, constraints: Any = None
    ) -> None:
        self._sampler.take(codes)
        for code in codes:
            self._rungs.pop(code.tobytes(), None)


class InvalidFidelity(AllFidelities):
    """Asks for a fidelity that it was not offered."""

    def level(self, rung: int) -> int:
        # 2 lies between the first two fidelities of the checks.
        return self.fidelities[rung] if rung else 2
