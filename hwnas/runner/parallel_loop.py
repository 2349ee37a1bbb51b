"""The search loop with evaluations in parallel: ask while results are outstanding.

An asynchronous optimizer is asked whenever a slot is free, and told each result as it comes. Any
other is asked once all its results are told, and told them in the order of its proposals: its
search is the same as with evaluations one after another. Every call of `ask` is stored before its
proposals are evaluated, and every trial before it is told, in the order in which trials end. A
resumed search replays both, and evaluates again what was in flight.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from hwnas.errors import InvalidInput, SpaceExhausted
from hwnas.experiment import Budget
from hwnas.optimizers import Optimizer
from hwnas.problem import Problem
from hwnas.runner.ask_and_tell import (
    MAX_REFUSALS,
    checked_ask,
    continues_for_free,
    fitting_count,
    propose,
    refuse,
    tell_and_recommend,
)
from hwnas.runner.budget import BudgetTracker
from hwnas.runner.evaluation_cache import EvaluationCache, TrialPlan
from hwnas.runner.executors.interface import Executor, TrialOutcome
from hwnas.runner.failures import FailureLog
from hwnas.runner.open_ask import OpenAsk, TrialKey, record_outcome, trial_key
from hwnas.runner.replay import ReplayLog
from hwnas.runner.stopping import StoppingRule
from hwnas.runner.storage import AskRecord, Store, Trials
from hwnas.runner.warm_start import WarmStart
from hwnas.typing import Codes


class ParallelLoop:
    """Search whose trials are evaluated by an executor.

    Parameters
    ----------
    problem
        Problem to evaluate.
    optimizer
        Optimizer in its initial state.
    budget
        Limits of the search. No trial is started once one of them is reached; those in flight are
        waited for.
    store
        Store of the search, with the trials and asks that a resumed search replays.
    executor
        Executor of the trials, which the caller closes.
    seed
        Seed of the trials' noise.
    batch
        Largest number of codes of one ask. By default an asynchronous optimizer is asked for as
        many as there are free slots, any other for its preferred number.
    prior
        Trials that the optimizer is told before its first ask.
    report
        Called with the number of evaluations so far.
    failures
        Log that records the errors of the backend.
    stopping
        Rule that ends the search once little is missing: nothing is started from then on.
    """

    def __init__(
        self,
        problem: Problem,
        optimizer: Optimizer,
        budget: Budget,
        store: Store,
        executor: Executor,
        *,
        seed: int,
        batch: int | None = None,
        prior: WarmStart | None = None,
        report: Callable[[int], None] = lambda evaluations: None,
        failures: FailureLog | None = None,
        stopping: StoppingRule | None = None,
    ) -> None:
        self.stopping = stopping
        self.problem, self.optimizer, self.store = problem, optimizer, store
        self.executor, self.batch, self.report, self.failures = executor, batch, report, failures
        self._stored = store.trials()
        elapsed = float(self._stored.elapsed[-1]) if len(self._stored) else 0.0
        self.tracker = BudgetTracker(budget, executor.now() - elapsed, executor.now)
        self.cache = EvaluationCache(problem, seed, failures)
        if prior is not None:
            prior.tell(optimizer, problem)
        self._n_asks = self._n_tells = self._n_requests = 0
        self._open: dict[int, OpenAsk] = {}  # by number of the ask
        self._places: dict[TrialKey, tuple[int, int]] = {}  # ask and index of what has no result
        self._queue: deque[tuple[int, int]] = deque()  # accepted proposals, not yet submitted
        self._in_flight: dict[int, tuple[int, int]] = {}  # ask and index by number of the request
        self._leftover: Codes = optimizer.space.encode([])  # proposed, but beyond the budget
        self._n_resubmitted = 0  # requests still to submit that were in flight before
        self._reserved = 0  # evaluations of proposals without a told result
        self._asked_in_vain_at = -1  # number of tells at which an ask brought nothing to evaluate
        self._is_exhausted = False

    def run(self) -> None:
        """Run the search to the end of its budget or its space."""
        self._replay()
        while self._fill_slots():
            self._collect(self.executor.wait())
        # A limit of time or cost can fall within a proposal: what has ended is told.
        for ask in [*self._open.values()]:
            self._tell_ask(ask)
        if self.stopping is not None and self.stopping.reached:
            self.stopping.note_end()
        if self._is_exhausted and self._evaluations_left > 0:
            self.store.set_meta("exhausted", "true")
        # The final recommendation is the result of a noisy search.
        if self.problem.noisy and len(self.cache):
            self.store.recommend(len(self.cache), self.optimizer.recommend())

    # -- propose and submit ------------------------------------------------------------------------

    def _fill_slots(self) -> bool:
        """Submit trials to the free slots; return whether any is in flight."""
        while (free := max(1, self.executor.slots) - len(self._in_flight)) > 0:
            if self._queue:
                if self._n_resubmitted == 0 and self._limit_is_reached():
                    break
                self._submit(*self._queue.popleft())
            elif not (self._may_ask() and self._ask(free)):
                break
        return bool(self._in_flight)

    def _submit(self, ask: int, i: int) -> None:
        self._n_resubmitted = max(0, self._n_resubmitted - 1)
        opened = self._open[ask]
        self._in_flight[opened.first + i] = ask, i
        self.executor.submit(opened.request(i, self._columns(opened.plan, i)))

    def _columns(self, plan: TrialPlan, i: int) -> tuple[int, ...]:
        """Return the indices of the values that a planned trial measures."""
        if plan.continues[i]:
            return tuple(self.problem.fidelity_dependent)
        return tuple(range(len(self.problem.measured)))

    @property
    def _evaluations_left(self) -> float:
        return self.tracker.evaluations_left - self._reserved

    def _limit_is_reached(self) -> bool:
        """Return whether the limit of time, that of cost, or little that is missing is reached."""
        if self.stopping is not None and self.stopping.reached:
            return True
        untold = sum(t.seconds.sum() for a in self._open.values() for t in a.results.values())
        return self.tracker.time_is_up() or self.tracker.cost_is_spent(untold)

    def _may_ask(self) -> bool:
        """Return whether the optimizer can be asked now, and the budget has room for an answer."""
        if self._open and not self.optimizer.asynchronous:
            return False
        if self._open and self._asked_in_vain_at == self._n_tells:
            return False
        free = continues_for_free(self.optimizer, self.problem)
        return (self._evaluations_left > 0 or free) and not self._limit_is_reached()

    def _ask(self, free: int) -> bool:
        """Ask for proposals, store them and queue those that fit; return whether any does.

        Parameters
        ----------
        free
            Number of free slots.
        """
        n_left = self._evaluations_left
        records: list[AskRecord] = []
        if self.optimizer.asynchronous:
            n = min(free, self.batch or free)
        else:
            n = self.batch or self.optimizer.batch
        for _ in range(MAX_REFUSALS if n_left > 0 else 1):
            # Proposals beyond an earlier budget come first.
            codes, fidelity, requested = self._leftover, None, 0
            if len(codes) == 0:
                codes, fidelity = self._proposals(n)
                requested = n
            n_fitting = fitting_count(codes, fidelity, max(n, len(codes)), n_left, self.cache)
            refuse(self.optimizer, codes[n_fitting:], fidelity)
            number = self._n_asks + len(records)
            records.append(AskRecord(number, self._n_tells, requested, fidelity, codes, n_fitting))
            if n_fitting or len(codes) == 0:
                break
        self.store.add_asks(records)
        for record in records:
            self._accept(record)
        return records[-1].accepted > 0

    def _proposals(self, n: int) -> tuple[Codes, int | None]:
        """Return up to `n` proposals; none where the optimizer waits or has nothing new."""
        try:
            self._is_exhausted = False
            return checked_ask(self.optimizer, n, is_waiting=bool(self._open))
        except SpaceExhausted:
            self._is_exhausted = True
            return self.optimizer.space.encode([]), None

    def _accept(self, record: AskRecord) -> None:
        """Queue the proposals of an ask that fit the budget."""
        self._n_asks = record.ask + 1
        is_cut = record.fidelity is None and record.accepted < len(record.codes)
        self._leftover = record.codes[record.accepted if is_cut else len(record.codes) :]
        if not record.accepted:
            self._asked_in_vain_at = self._n_tells
            return
        self._asked_in_vain_at = -1
        plan = self.cache.plan(record.codes[: record.accepted], record.fidelity)
        self.cache.reserve(plan)
        ask = self._open[record.ask] = OpenAsk(record, self._n_requests, plan)
        self._n_requests += record.accepted
        self._reserved += int(plan.evaluations.sum())
        for i in range(record.accepted):
            self._places[ask.key(i)] = record.ask, i
            self._queue.append((record.ask, i))

    # -- collect and tell --------------------------------------------------------------------------

    def _collect(self, outcomes: Sequence[TrialOutcome]) -> None:
        """Store the trials that have ended, and tell them."""
        ended = [outcome for outcome in outcomes if not outcome.ends_search]
        slots = [self._in_flight.pop(outcome.number) for outcome in ended]
        elapsed = self.executor.now() - self.tracker.start
        trials: list[Trials] = []
        for outcome, (number, i) in zip(ended, slots, strict=True):
            ask = self._open[number]
            # Each trial has a tell of its own, or one with its whole ask.
            tell = self._n_tells + (len(trials) if self.optimizer.asynchronous else 0)
            columns = self._columns(ask.plan, i)
            trials.append(ask.trial(i, outcome, columns, tell=tell, elapsed=elapsed))
        if trials:
            self.store.add(Trials.concatenate(trials))
        for (number, i), trial in zip(slots, trials, strict=True):
            self._add_result(number, i, trial)
        for outcome in outcomes:
            record_outcome(outcome, self.failures)
        self.report(self.tracker.evaluations)

    def _add_result(self, number: int, i: int, trial: Trials) -> None:
        """Add a stored trial to its ask; tell it, or the whole ask once it is complete."""
        ask = self._open[number]
        del self._places[ask.key(i)]
        self.cache.add(trial)
        ask.results[i] = trial
        if self.optimizer.asynchronous:
            self._tell(trial)
            if ask.is_complete:
                del self._open[number]
            else:
                ask.results[i] = trial[:0]  # told: what is kept is that it has ended
        elif ask.is_complete:
            self._tell_ask(ask)

    def _tell_ask(self, ask: OpenAsk) -> None:
        """Tell the results of an ask in the order of its proposals."""
        del self._open[ask.record.ask]
        untold = [ask.results[i] for i in sorted(ask.results) if len(ask.results[i])]
        if untold:
            self._tell(Trials.concatenate(untold))

    def _tell(self, trials: Trials) -> None:
        self._reserved -= int(trials.evaluations.sum())
        tell_and_recommend(self.optimizer, self.problem, trials, self.tracker, self.store)
        self._n_tells += 1
        if self.stopping is not None:
            self.stopping.update(trials)

    # -- replay ------------------------------------------------------------------------------------

    def _replay(self) -> None:
        """Replay the stored asks and trials; queue what was in flight."""
        stored, records = self._stored, self.store.asks(len(self.optimizer.space.columns))
        # 1. Trials that were evaluated one after another come first.
        n_serial = len(stored)
        if records:
            n_serial = int(np.count_nonzero(stored.ask < records[0].ask))
        self._replay_serial(ReplayLog(stored[:n_serial]))
        # 2. Asks and tells in their order.
        remaining = deque(records)

        def replay_asks() -> None:
            while remaining and remaining[0].tells_before <= self._n_tells:
                self._replay_ask(remaining.popleft())

        for row in range(n_serial, len(stored)):
            replay_asks()
            trial = stored[row : row + 1]
            key = trial_key(trial.codes[0], trial.repeat[0], int(trial.fidelity[0]))
            if key not in self._places:
                raise InvalidInput(f"{self.store.path}: damaged: trial {row} was never asked for")
            self._add_result(*self._places[key], trial)
        replay_asks()
        # 3. What has no trial was in flight, as far as there were slots.
        self._queue = deque(
            (a, i) for a, i in self._queue if a in self._open and i not in self._open[a].results
        )
        self._n_resubmitted = min(self.executor.slots, len(self._queue))
        if len(stored):
            self.report(self.tracker.evaluations)

    def _replay_ask(self, record: AskRecord) -> None:
        if record.requested:
            codes, _ = self._proposals(record.requested)
            self._note_divergence(np.array_equal(codes, record.codes))
            refuse(self.optimizer, record.codes[record.accepted :], record.fidelity)
        self._accept(record)

    def _replay_serial(self, replay: ReplayLog) -> None:
        """Replay trials that were evaluated one after another; keep what is left of their ask."""
        batch = self.batch or self.optimizer.batch
        for ask in range(replay.n_asks):
            trials = replay.trials(ask)
            try:
                proposal = propose(self.optimizer, batch, np.inf, self.cache)
            except SpaceExhausted:
                proposal = None
            codes = trials.codes if proposal is None else proposal[0]
            self._note_divergence(proposal is not None and replay.is_faithful(ask, codes))
            self.cache.add(trials)
            if proposal is not None and proposal[1] is None:
                self._leftover = replay.unstored(ask, codes)
            tell_and_recommend(self.optimizer, self.problem, trials, self.tracker, self.store)
            self._n_asks, self._n_tells = ask + 1, self._n_tells + 1
            if self.stopping is not None:
                self.stopping.update(trials)

    def _note_divergence(self, is_faithful: bool) -> None:
        """Note in the store from which trial on a replayed proposal differs."""
        if not is_faithful and "diverged" not in self.store.meta:
            self.store.set_meta("diverged", str(len(self.cache)))
