"""Asks whose trials are evaluated in parallel, until all results are told."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hwnas.errors import HwnasError
from hwnas.runner.evaluation_cache import TrialPlan
from hwnas.runner.executors.interface import TrialOutcome, TrialRequest
from hwnas.runner.failures import FailureLog, RemoteError
from hwnas.runner.storage import AskRecord, Trials
from hwnas.typing import Codes

TrialKey = tuple[bytes, int, int]  # code, repeat and fidelity, which identify a trial


@dataclass
class OpenAsk:
    """Proposals of one ask, until all of their results are told.

    Attributes
    ----------
    record
        The ask.
    first
        Number of the request of its first proposal.
    plan
        Evaluations of its accepted proposals.
    results
        Trials that have ended, by the index of the proposal.
    """

    record: AskRecord
    first: int
    plan: TrialPlan
    results: dict[int, Trials] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether all of its trials have ended."""
        return len(self.results) == len(self.plan.codes)

    def key(self, i: int) -> TrialKey:
        """Return what identifies the trial of the i-th proposal."""
        return trial_key(self.plan.codes[i], self.plan.repeat[i], self.plan.fidelity)

    def request(self, i: int, columns: tuple[int, ...]) -> TrialRequest:
        """Return the request of the i-th proposal, which measures some columns."""
        plan = self.plan
        return TrialRequest(
            self.first + i,
            plan.codes[i].tobytes(),
            int(plan.repeat[i]),
            int(plan.seeds[i]),
            plan.fidelity,
            columns,
        )

    def trial(
        self, i: int, outcome: TrialOutcome, columns: tuple[int, ...], *, tell: int, elapsed: float
    ) -> Trials:
        """Return the trial of the i-th proposal from its outcome.

        Parameters
        ----------
        i
            Index of the proposal.
        outcome, columns
            Outcome, and the columns that it has values of.
        tell
            Number of the tell of its result.
        elapsed
            Seconds since the start of the search.
        """
        plan = self.plan
        values, std = plan.values[[i]], plan.std[[i]]  # copies, of a lower fidelity if there is one
        values[0, list(columns)], std[0, list(columns)] = outcome.values, outcome.std
        return Trials(
            codes=plan.codes[[i]],
            values=values,
            std=std,
            repeat=plan.repeat[[i]],
            fidelity=np.array([-1 if plan.fidelity is None else plan.fidelity]),
            evaluations=plan.evaluations[[i]],
            seconds=np.array([outcome.seconds]),
            ask=np.array([self.record.ask]),
            tells_before=np.array([self.record.tells_before]),
            tell=np.array([tell]),
            elapsed=np.array([elapsed]),
            status=[outcome.status],
            reason=[outcome.reason],
        )


def trial_key(code: Codes, repeat: int, fidelity: int | None) -> TrialKey:
    """Return what identifies a trial: its code (d,), repeat and fidelity."""
    return code.tobytes(), int(repeat), -1 if fidelity is None else fidelity


def record_outcome(outcome: TrialOutcome, failures: FailureLog | None) -> None:
    """Record in the log, if there is one, whether a trial has failed.

    Raises
    ------
    HwnasError
        The trial's error, if nothing can be evaluated any more.
    Exception
        The first error, once the first ten evaluations have all failed by programming errors.
    """
    if outcome.ends_search and outcome.error is not None:
        raise (outcome.error.kind or HwnasError)(outcome.error.text)
    if failures is None:
        return
    if outcome.error is None:
        failures.has_success |= outcome.status == "ok"
        return
    failures.record(RemoteError(outcome.error), is_programming_error=outcome.is_programming_error)
