"""Comparison of an optimizer with random search on a synthetic problem of two losses.

The hypervolume of each run is compared with that of 20 random searches after as many evaluations,
at a few stages: 15, 25, ... 400 evaluations, more for a large population. An optimizer that is
ahead at an early stage needs no later one, so that a method that fits a model for every proposal
need not do so 400 times.
"""

from __future__ import annotations

import contextlib
from functools import cache, cached_property

import numpy as np

from hwnas import pareto
from hwnas.errors import SpaceExhausted
from hwnas.spaces import SearchSpace
from hwnas.testing.simulated_run import SimulatedRun
from hwnas.testing.synthetic_problems import FIDELITIES, SyntheticProblem
from hwnas.typing import Array

_STAGES = (15, 25, 50, 100, 200, 400)  # evaluations
_N_RANDOM_SEARCHES = 20
_RANDOM_SEARCH_LENGTH = 1000  # evaluations
_MIN_STAGE = 50  # for an optimizer that does not claim to beat random search
_MAX_BATCH = 250


class RandomSearchBaseline:
    """Hypervolumes of random searches on a problem of two losses.

    Parameters
    ----------
    problem
        Problem in its own units and without constraints.
    """

    def __init__(self, problem: SyntheticProblem) -> None:
        rng = np.random.default_rng(0)
        self._runs = [
            problem.losses(problem.space.sample(_RANDOM_SEARCH_LENGTH, rng), FIDELITIES[-1])
            for _ in range(_N_RANDOM_SEARCHES)
        ]
        # The reference points, for the losses and their negatives, are the worst values of all.
        losses = np.concatenate(self._runs)
        self._reference_points = {1: losses.max(axis=0), -1: (-losses).max(axis=0)}
        self._hypervolumes: dict[tuple[int, int], Array] = {}

    def hypervolume(self, losses: Array, sign: int = 1) -> float:
        """Return the hypervolume of losses (n, 2), or with `sign` -1 of their negatives."""
        return pareto.hypervolume(sign * losses, self._reference_points[sign])

    def hypervolumes(self, n: int, sign: int = 1) -> Array:
        """Return the hypervolume of each random search after `n` evaluations, ascending."""
        if (n, sign) not in self._hypervolumes:
            volumes = sorted(self.hypervolume(run[:n], sign) for run in self._runs)
            self._hypervolumes[n, sign] = np.array(volumes)
        return self._hypervolumes[n, sign]

    def standard_score(self, losses: Array, n: int, sign: int = 1) -> float:
        """Return the distance of a hypervolume from the random searches' mean, in their std."""
        volumes = self.hypervolumes(n, sign)
        # The floor avoids a division by zero where all random searches agree.
        difference = self.hypervolume(losses, sign) - volumes.mean()
        return float(difference / max(volumes.std(), 1e-9))


@cache
def baseline_of(space: SearchSpace) -> RandomSearchBaseline:
    """Return the random searches on the synthetic problem of a space, computed once."""
    return RandomSearchBaseline(SyntheticProblem(space))


class RandomSearchComparison:
    """Runs of an optimizer with a few seeds, compared with random searches stage by stage.

    Parameters
    ----------
    runs
        New runs, one for each seed.
    problem
        Problem of these runs, with two losses.
    claims_to_beat_random
        Whether the optimizer claims to beat random search.

    Attributes
    ----------
    stages : list of int
        Numbers of evaluations at which runs are compared, ascending.
    baseline : RandomSearchBaseline
    """

    def __init__(
        self, runs: list[SimulatedRun], problem: SyntheticProblem, *, claims_to_beat_random: bool
    ) -> None:
        self.runs = runs
        self.batch = max(1, min(runs[0].optimizer.batch, _MAX_BATCH))
        # An optimizer with a population is not judged by its first generation.
        last_stage = max(_STAGES[-1], 4 * self.batch)
        self.stages = sorted({*(n for n in _STAGES if n >= 2 * self.batch), last_stage})
        self.baseline = baseline_of(problem.space)
        # Runs on a scaled problem are judged in the units of the baseline.
        self._problem = problem.unscaled()
        self._claims_to_beat_random = claims_to_beat_random

    def advance(self, evaluations: int) -> None:
        """Continue every run until it has cost that many evaluations or exhausted the space."""
        for run in self.runs:
            with contextlib.suppress(SpaceExhausted):
                while run.cost < evaluations:
                    n_left = int(evaluations - run.cost)
                    run.ask_and_tell(max(1, min(self.batch, n_left)))

    def losses(self, run: SimulatedRun, evaluations: int) -> Array:
        """Return exact losses (k, 2), unscaled, of what a run measured at the top fidelity."""
        return self._problem.losses(run.measured_codes(evaluations))

    def standard_scores(self, evaluations: int, sign: int = 1) -> Array:
        """Return the standard score of each run, see `RandomSearchBaseline.standard_score`."""
        self.advance(evaluations)
        scores = [
            self.baseline.standard_score(self.losses(run, evaluations), evaluations, sign)
            for run in self.runs
        ]
        return np.array(scores)

    def hypervolumes(self, evaluations: int) -> Array:
        """Return the hypervolume of each run."""
        self.advance(evaluations)
        losses = [self.losses(run, evaluations) for run in self.runs]
        return np.array([self.baseline.hypervolume(rows) for rows in losses])

    def front_position(self, evaluations: int) -> float:
        """Return the mean position along the front, in [0, 1], of the later half of proposals."""
        self.advance(evaluations)
        # The later half, as the first proposals are an initial design.
        proposals = [run.proposals[:evaluations] for run in self.runs]
        later_half = np.concatenate([codes[len(codes) // 2 :] for codes in proposals])
        return float(self._problem.front_positions(later_half).mean())

    @cached_property
    def winning_stage(self) -> int | None:
        """First stage at which every run is ahead of every random search, ``None`` without one."""
        for stage in self.stages:
            if self.hypervolumes(stage).min() > self.baseline.hypervolumes(stage)[-1]:
                return stage
        return None

    @property
    def informative_stage(self) -> int:
        """First stage at which a difference in quality would be visible."""
        if self._claims_to_beat_random:
            return self.winning_stage or self.stages[-1]
        return next(stage for stage in self.stages if stage >= _MIN_STAGE)
