"""Multi-objective asynchronous successive halving (syne-tune)."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from syne_tune.backend.trial_status import Trial
from syne_tune.optimizer.scheduler import SchedulerDecision
from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA as Scheduler
from syne_tune.optimizer.schedulers.multiobjective.multiobjective_priority import MOPriority
from syne_tune.optimizer.schedulers.multiobjective.non_dominated_priority import nondominated_sort

from hwnas import pareto
from hwnas.errors import InvalidInput, SpaceExhausted
from hwnas.optimizers import MultiFidelityOptimizer, UniqueSampler
from hwnas.spaces import Codes, SearchSpace
from hwnas.typing import Array


@dataclass
class _Run:
    """A network on its way up the rungs."""

    trial: Trial
    rung: int = 0  # of the fidelities, the one asked for last
    losses: Array | None = None  # at the last rung that was told
    violation: float = 0.0
    told: int = -1  # rung of `losses`


class MOASHA(MultiFidelityOptimizer):
    """Multi-objective asynchronous successive halving.

    New networks come at random and at the lowest fidelity; one that is among the best of its rung,
    by non-dominated sorting, goes on to the next. Without several fidelities it is random search.

    Parameters
    ----------
    reduction_factor
        One in so many goes on from a rung.

    References
    ----------
    Schmucker, Donini, Zafar, Salinas and Archambeau, "Multi-objective asynchronous successive
    halving", arXiv:2106.12639, 2021.
    """

    # Several at once, so that the first ones do not climb to the top for want of company.
    batch = 9
    # Its networks are random ones; what it saves is measurements.
    claims_to_beat_random = False

    def __init__(
        self,
        space: SearchSpace,
        n_objectives: int,
        *,
        seed: int,
        fidelities: Sequence[int],
        n_constraints: int = 0,
        reduction_factor: float = 3.0,
    ) -> None:
        super().__init__(
            space, n_objectives, seed=seed, fidelities=fidelities, n_constraints=n_constraints
        )
        if reduction_factor <= 1:
            raise InvalidInput(f"reduction_factor: expected above 1, found {reduction_factor}")
        self._sampler = UniqueSampler(space, self.rng)
        self._going_on: deque[bytes] = deque()
        self._runs: dict[bytes, _Run] = {}
        self._outstanding: set[bytes] = set()
        # syne-tune draws from numpy's global generator, whatever seed it is given.
        self._global_state = np.random.RandomState(seed).get_state()
        self._metrics = [*(f"loss-{j}" for j in range(n_objectives)), "violation"]
        with self._seeded():
            self._scheduler = Scheduler(
                {},
                self._metrics,
                time_attr="fidelity",
                multiobjective_priority=Ranks(),
                max_t=self.fidelities[-1],
                grace_period=self.fidelities[0],
                reduction_factor=reduction_factor,
                random_seed=seed,
            )
        # It computes rungs in floating point, which can lose the top one: put the exact ones.
        (bracket,) = self._scheduler.brackets
        bracket.rungs = [(fidelity, {}) for fidelity in reversed(self.fidelities)]

    def ask(self, n: int) -> tuple[Codes, int]:  # type: ignore[override]
        """Networks that go on, those of one rung together; if there are none, new ones."""
        if self._going_on:
            rung = self._runs[self._going_on[0]].rung + 1
            keys = [key for key in self._going_on if self._runs[key].rung + 1 == rung][:n]
            for key in keys:
                self._going_on.remove(key)
                self._runs[key].rung = rung
            codes = np.frombuffer(b"".join(keys), dtype=np.int8).reshape(len(keys), -1)
        else:
            rung = 0
            try:
                codes = self._sampler.sample(n)
            except SpaceExhausted:
                if self._outstanding:
                    return self.space.encode([]), self.fidelities[0]
                raise
            for row in codes:
                trial = Trial(len(self._runs), {}, datetime.min)
                self._runs[row.tobytes()] = _Run(trial)
                with self._seeded():
                    self._scheduler.on_trial_add(trial)
        self._outstanding.update(row.tobytes() for row in codes)
        return codes, self.fidelities[rung]

    def update(
        self,
        codes: Codes,
        losses: Array,
        *,
        std: Array | None = None,
        constraints: Array | None = None,
    ) -> None:
        """Let the scheduler say which networks go on."""
        self._sampler.take(codes)
        violations = np.zeros(len(codes))
        if constraints is not None:
            violations = np.maximum(constraints, 0).sum(axis=1)
        for row, loss, violation in zip(codes, losses, violations.tolist(), strict=True):
            key = row.tobytes()
            if key not in self._outstanding:
                continue  # somebody else's result, at a fidelity unknown
            self._outstanding.discard(key)
            run = self._runs[key]
            run.losses, run.violation, run.told = loss, violation, run.rung
            result = dict(zip(self._metrics, [*loss.tolist(), violation], strict=True))
            result["fidelity"] = self.fidelities[run.rung]
            with self._seeded():
                decision = self._scheduler.on_trial_result(run.trial, result)
            if decision == SchedulerDecision.CONTINUE and run.rung + 1 < len(self.fidelities):
                self._going_on.append(key)

    def fail(self, codes: Codes, reason: str) -> None:
        """Stop measuring these networks; what they had reached stays."""
        self._sampler.take(codes)
        self._outstanding.difference_update(row.tobytes() for row in codes)

    def recommend(self, n: int | None = None) -> Codes:
        """The feasible non-dominated of what was measured best.

        Networks are compared at the highest rung that at least one reached, then, of those left,
        at the one below, and so on: a lucky value at a low rung does not displace a sure one, but
        fills a gap that none fills.
        """
        told = [(key, run) for key, run in self._runs.items() if run.losses is not None]
        feasible = [pair for pair in told if pair[1].violation <= 0] or told
        chosen: list[bytes] = []
        front = np.empty((0, self.n_objectives))
        for rung in reversed(range(len(self.fidelities))):
            here = [(key, run.losses) for key, run in feasible if run.told == rung]
            if not here:
                continue
            losses = np.array([loss for _, loss in here])
            keep = pareto.non_dominated(np.concatenate([front, losses]), keep_equal=True)
            new = keep[len(front) :]
            chosen += [key for (key, _), kept in zip(here, new, strict=True) if kept]
            front = np.concatenate([front, losses[new]])
        codes = np.frombuffer(b"".join(chosen), dtype=np.int8)
        return codes.reshape(-1, len(self.space.columns))[:n].copy()

    @contextlib.contextmanager
    def _seeded(self) -> Iterator[None]:
        """Within, numpy's global generator is this optimizer's own; afterwards as it was."""
        before = np.random.get_state()  # noqa: NPY002
        np.random.set_state(self._global_state)  # noqa: NPY002
        try:
            yield
        finally:
            self._global_state = np.random.get_state()  # noqa: NPY002
            np.random.set_state(before)  # noqa: NPY002


class Ranks(MOPriority):
    """syne-tune's non-dominated sorting, as the ranks that its scheduler takes it for.

    `NonDominatedPriority` (0.16) returns the order, the index of the best first, where a priority
    for each item is wanted; and its spread within a front depends on the objectives' units. What
    breaks a constraint ranks behind what keeps them, by how much it does.
    """

    def priority_unsafe(self, objectives: Array) -> Array:
        """Rank (n,) of each of the losses and violations (n, m + 1), 0 the best."""
        losses, violation = objectives[:, :-1], objectives[:, -1]
        feasible = np.flatnonzero(violation <= 0)
        order = list(np.argsort(violation, kind="stable"))
        if len(feasible):
            kept = losses[feasible]
            low, high = kept.min(axis=0), kept.max(axis=0)
            scaled = (kept - low) / np.where(high > low, high - low, 1.0)
            order[: len(feasible)] = feasible[nondominated_sort(scaled, dim=0)]
        ranks = np.empty(len(objectives))
        ranks[order] = np.arange(len(objectives))
        return ranks
