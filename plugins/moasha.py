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
from hwnas.spaces import SearchSpace
from hwnas.typing import Array, Codes


@dataclass
class _Run:
    """State of one architecture in the schedule."""

    trial: Trial
    rung: int = 0  # index of the fidelity that was asked for last
    losses: Array | None = None  # latest result, None before the first
    violation: float = 0.0  # total violation of that result
    measured_rung: int = -1  # rung of that result


class MOASHA(MultiFidelityOptimizer):
    """Multi-objective asynchronous successive halving.

    New architectures are random and start at the lowest fidelity. The best of a rung, by
    non-dominated sorting, are promoted to the next. With a single fidelity it is random search.

    Parameters
    ----------
    reduction_factor
        Ratio of the size of a rung to the number of promotions from it.

    References
    ----------
    Schmucker, Donini, Zafar, Salinas and Archambeau, "Multi-objective asynchronous successive
    halving", arXiv:2106.12639, 2021.
    """

    # Several at once: the first results of a rung are always promoted, having no competitors.
    batch = 9
    asynchronous = True
    # Its architectures are random ones; it saves measurements instead.
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
        self._promoted: deque[bytes] = deque()
        self._runs: dict[bytes, _Run] = {}
        self._outstanding: set[bytes] = set()
        # syne-tune draws from numpy's global generator, whatever seed it is given.
        # That and the scheduler take seeds of 32 bits.
        small_seed = (
            seed if seed < 2**32 else int(np.random.SeedSequence(seed).generate_state(1)[0])
        )
        self._global_state = np.random.RandomState(small_seed).get_state()
        self._metrics = [*(f"loss-{j}" for j in range(n_objectives)), "violation"]
        with self._own_global_rng():
            self._scheduler = Scheduler(
                {},
                self._metrics,
                time_attr="fidelity",
                multiobjective_priority=NondominatedRanks(),
                max_t=self.fidelities[-1],
                grace_period=max(1, self.fidelities[0]),
                reduction_factor=reduction_factor,
                random_seed=small_seed,
            )
        # syne-tune computes rungs in floating point, which can lose the top one: set exact ones.
        (bracket,) = self._scheduler.brackets
        bracket.rungs = [(fidelity, {}) for fidelity in reversed(self.fidelities)]

    def ask(self, n: int) -> tuple[Codes, int]:  # type: ignore[override]
        """Return promoted architectures of one rung; if there are none, new ones."""
        if self._promoted:
            # All architectures of one `ask` have the same fidelity: that of the first promoted one.
            rung = self._runs[self._promoted[0]].rung + 1
            keys = [key for key in self._promoted if self._runs[key].rung + 1 == rung][:n]
            for key in keys:
                self._promoted.remove(key)
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
            self._add_trials(codes)
        self._outstanding.update(row.tobytes() for row in codes)
        return codes, self.fidelities[rung]

    def _add_trials(self, codes: Codes) -> None:
        """Register new architectures (k, d) with the scheduler, at the lowest rung."""
        for row in codes:
            trial = Trial(len(self._runs), {}, datetime.min)
            self._runs[row.tobytes()] = _Run(trial)
            with self._own_global_rng():
                self._scheduler.on_trial_add(trial)

    def update(
        self,
        codes: Codes,
        losses: Array,
        *,
        std: Array | None = None,
        constraints: Array | None = None,
    ) -> None:
        """Report the results to the scheduler, which decides on promotions."""
        self._sampler.take(codes)
        violations = np.zeros(len(codes))
        if constraints is not None:
            violations = np.maximum(constraints, 0).sum(axis=1)
        for row, loss, violation in zip(codes, losses, violations.tolist(), strict=True):
            key = row.tobytes()
            if key not in self._outstanding:
                continue  # not asked for, so its fidelity is unknown
            self._outstanding.discard(key)
            run = self._runs[key]
            run.losses, run.violation, run.measured_rung = loss, violation, run.rung
            result = dict(zip(self._metrics, [*loss.tolist(), violation], strict=True))
            result["fidelity"] = self.fidelities[run.rung]
            with self._own_global_rng():
                decision = self._scheduler.on_trial_result(run.trial, result)
            if decision == SchedulerDecision.CONTINUE and run.rung + 1 < len(self.fidelities):
                self._promoted.append(key)

    def start_with(self, codes: Codes) -> None:
        """Put the architectures on the lowest rung, as if they had been proposed."""
        codes = self._sampler.take(codes)
        self._add_trials(codes)
        self._outstanding.update(row.tobytes() for row in codes)

    def fail(self, codes: Codes, reason: str) -> None:
        """End the measurements of failed architectures; earlier results stay."""
        self._sampler.take(codes)
        self._outstanding.difference_update(row.tobytes() for row in codes)

    def recommend(self, n: int | None = None) -> Codes:
        """Return the feasible non-dominated architectures, those of higher fidelity first.

        Architectures are compared at the highest measured rung, then the remaining ones at the
        rung below, and so on. A result of low fidelity thus extends the front but does not replace
        a result of higher fidelity.
        """
        # Infeasible architectures count only if no feasible one is measured.
        measured = [(key, run) for key, run in self._runs.items() if run.losses is not None]
        feasible = [pair for pair in measured if pair[1].violation <= 0] or measured
        recommended: list[bytes] = []
        front = np.empty((0, self.n_objectives))
        for rung in reversed(range(len(self.fidelities))):
            results = [(key, run.losses) for key, run in feasible if run.measured_rung == rung]
            if not results:
                continue
            losses = np.array([loss for _, loss in results])
            mask = pareto.non_dominated(np.concatenate([front, losses]), keep_equal=True)
            mask = mask[len(front) :]
            recommended += [key for (key, _), new in zip(results, mask, strict=True) if new]
            front = np.concatenate([front, losses[mask]])
        codes = np.frombuffer(b"".join(recommended), dtype=np.int8)
        return codes.reshape(-1, len(self.space.columns))[:n].copy()

    @contextlib.contextmanager
    def _own_global_rng(self) -> Iterator[None]:
        """Give numpy's global generator this optimizer's own state, and restore it at the end."""
        state = np.random.get_state()  # noqa: NPY002
        np.random.set_state(self._global_state)  # noqa: NPY002
        try:
            yield
        finally:
            self._global_state = np.random.get_state()  # noqa: NPY002
            np.random.set_state(state)  # noqa: NPY002


class NondominatedRanks(MOPriority):
    """Non-dominated sorting of syne-tune, as ranks.

    `NonDominatedPriority` (0.16) returns the order of items, best first, but the scheduler expects
    a priority of each item. Its spread within a front also depends on the units of objectives.
    Infeasible items rank behind feasible ones, by their violation.
    """

    def priority_unsafe(self, objectives: Array) -> Array:
        """Return the ranks (n,) of losses and violations (n, m + 1), 0 for the best."""
        losses, violation = objectives[:, :-1], objectives[:, -1]
        feasible = np.flatnonzero(violation <= 0)
        # By violation first; the feasible ones are then reordered among themselves.
        order = list(np.argsort(violation, kind="stable"))
        if len(feasible):
            values = losses[feasible]
            low, high = values.min(axis=0), values.max(axis=0)
            scaled = (values - low) / np.where(high > low, high - low, 1.0)
            order[: len(feasible)] = feasible[nondominated_sort(scaled, dim=0)]
        ranks = np.empty(len(objectives))
        ranks[order] = np.arange(len(objectives))
        return ranks
