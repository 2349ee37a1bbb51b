"""Executors of trials: what every one of them implements, and what passes between processes.

The search loop submits a `TrialRequest` for each free slot, waits for any `TrialOutcome`, stores it
and tells the optimizer. Requests and outcomes are plain data. Where the trial is evaluated, an
`EvaluatorFactory` has built the problem once: it is handed over as bytes and called by
`load_evaluator`.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hwnas import registry
from hwnas.backends import Status
from hwnas.errors import MachineFailed
from hwnas.experiment import Experiment, run_plugin_files
from hwnas.function_source import Function, defined_here, functions_here
from hwnas.problem import Problem, build_problem
from hwnas.runner.evaluation import measure
from hwnas.runner.executors.threads import one_thread
from hwnas.runner.failures import PROGRAMMING_ERRORS, Failure, FailureLog


@dataclass(frozen=True, slots=True)
class TrialRequest:
    """One evaluation of one architecture.

    Attributes
    ----------
    number
        Number of the request in its search; no two requests have the same, also after a resume.
    code
        Bytes of the canonical int8 code.
    repeat
        Number of earlier evaluations of the same code. Code, repeat and fidelity identify a trial.
    seed
        Seed of its noise, below 2**64.
    fidelity
        One of the backend's; ``None`` for a plain evaluation.
    columns
        Indices of `Problem.measured` to measure: all, or those that change with the fidelity where
        the trial continues from a lower one.
    """

    number: int
    code: bytes
    repeat: int
    seed: int
    fidelity: int | None
    columns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """Result of a `TrialRequest`.

    Attributes
    ----------
    number
        Number of the request.
    values, std
        One for each of the request's columns, in raw units; NaN where there is no value, and a
        standard error of 0 where the value is exact.
    status, reason
        As in `hwnas.Evaluation`.
    seconds
        Duration of the evaluation.
    error
        Error of the backend, where that is the reason.
    is_programming_error
        Whether no architecture causes that error: every evaluation would fail by it.
    ends_search
        Whether nothing can be measured any more, so that the search ends with `error`.
    """

    number: int
    values: tuple[float, ...]
    std: tuple[float, ...]
    status: Status
    reason: str
    seconds: float
    error: Failure | None = None
    is_programming_error: bool = False
    ends_search: bool = False

    @classmethod
    def failed(cls, request: TrialRequest, reason: str, seconds: float = 0.0) -> TrialOutcome:
        """Return the outcome of a trial that was not evaluated to its end.

        Examples
        --------
        >>> request = TrialRequest(0, b"", 0, 1, None, (0,))
        >>> TrialOutcome.failed(request, "timed out after 60 s", 60.0).status
        'failed'
        """
        n = len(request.columns)
        return cls(request.number, (math.nan,) * n, (0.0,) * n, "failed", reason, seconds)


class Executor(ABC):
    """Evaluates trials, several at once.

    Attributes
    ----------
    slots
        Number of trials that can be evaluated at once, at least 1; it may change while a search
        runs, as nodes come and go.
    folder
        Directory in which the evaluators' backends keep files; ``None`` for that of the search.
    """

    slots: int = 1
    folder: Path | None = None

    @classmethod  # noqa: B027 - most have nothing to check
    def check(cls, **settings: Any) -> None:
        """Check settings, before a run starts.

        Raises
        ------
        InvalidInput
            Naming the setting.
        """

    @abstractmethod
    def submit(self, request: TrialRequest) -> None:
        """Start a trial, without waiting for it. At most `slots` are submitted and not returned.

        What happens to a submitted trial is an outcome of `wait`; a worker that dies, a node that
        is lost or a time-out never raises.
        """

    @abstractmethod
    def wait(self, timeout: float | None = None) -> Sequence[TrialOutcome]:
        """Return the outcomes that have come since the last call, in the order of completion.

        Blocks until there is at least one. Returns an empty list once `timeout` seconds have
        passed, and also when there are more slots than before. Every submitted request has exactly
        one outcome, and no other is returned.

        Raises
        ------
        HwnasError
            No trial can be evaluated any more: no worker can be started, or the cluster is gone.
        """

    @abstractmethod
    def close(self) -> None:
        """End all trials and workers at once; can be called twice."""

    def now(self) -> float:
        """Return the clock of the search in seconds; a simulated executor has its own."""
        return time.perf_counter()

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


Evaluator = Callable[[TrialRequest], TrialOutcome]


@dataclass(frozen=True)
class EvaluatorFactory:
    """Everything that another process needs in order to evaluate trials of a search.

    Parameters
    ----------
    experiment
        Experiment, with its plugin files.
    folder
        Directory of the search, in which a backend keeps what must outlast a process.
    classes
        Registered classes of no plugin file, by kind and name; those of this process by default.
    functions
        Functions by name that no import can reach; those in use in this process by default.
    """

    experiment: Experiment
    folder: Path
    classes: dict[Any, dict[str, type]] = field(default_factory=lambda: _classes_to_hand_over())
    functions: dict[str, Function] = field(default_factory=functions_here)

    def __call__(self) -> Evaluator:
        """Build the problem and return the function that evaluates its trials."""
        registry.replace_registered(self.classes)
        with defined_here(self.functions):
            run_plugin_files(self.experiment)
            problem = build_problem(self.experiment)
            problem.backend.on_start(self.folder)  # loads the function, if it calls one
        return TrialEvaluator(problem)

    def to_bytes(self) -> bytes:
        """Return the factory for `load_evaluator`; what scripts and notebooks define by value.

        Raises
        ------
        NotPicklable
            A registered class cannot be handed to another process.
        """
        from hwnas.runner.workers import pickled

        return pickled(self)


def load_evaluator(data: bytes) -> Evaluator:
    """Return the evaluator of a pickled factory; called once in a process that evaluates trials.

    The process then has one numerical thread.

    Parameters
    ----------
    data
        What `EvaluatorFactory.to_bytes` returned in the process of the search.
    """
    import pickle

    evaluator: Evaluator = pickle.loads(data)()
    one_thread().__enter__()  # after the problem has loaded its libraries; never left
    return evaluator


class TrialEvaluator:
    """Evaluates requests on a problem of this process; errors become outcomes.

    Parameters
    ----------
    problem
        Problem to evaluate.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def __call__(self, request: TrialRequest) -> TrialOutcome:
        """Evaluate a trial; an exception of the backend becomes an outcome with its text."""
        start = time.perf_counter()
        errors = _ErrorRecord(type(self.problem.backend))
        try:
            answer = measure(
                self.problem.backend,
                np.frombuffer(request.code, dtype=np.int8)[None],
                [self.problem.measured[j] for j in request.columns],
                seeds=np.array([request.seed], dtype=np.uint64),
                fidelity=request.fidelity,
                failures=errors,
            )
        except MachineFailed as error:
            failure = Failure.of(error, type(self.problem.backend))
            spent = time.perf_counter() - start
            n = len(request.columns)
            return TrialOutcome(
                request.number,
                (math.nan,) * n,
                (0.0,) * n,
                "failed",
                str(failure),
                spent,
                error=failure,
                ends_search=True,
            )
        assert answer.status
        assert answer.reasons
        assert answer.seconds is not None
        std = np.zeros_like(answer.values) if answer.std is None else answer.std
        return TrialOutcome(
            request.number,
            tuple(answer.values[0].tolist()),
            tuple(std[0].tolist()),
            answer.status[0],
            answer.reasons[0],
            float(answer.seconds[0]),
            errors.failure,
            errors.is_programming_error,
        )


class _ErrorRecord(FailureLog):
    """Record of the error of a single evaluation; the log is kept where the search is.

    Parameters
    ----------
    backend
        Class of the backend, whose file is looked for in tracebacks.
    """

    def __init__(self, backend: type) -> None:
        super().__init__(Path(), backend)
        self.failure: Failure | None = None
        self.is_programming_error = False

    def add(self, error: Exception) -> str:
        """Keep the error as text and return its reason in one line."""
        self.failure = Failure.of(error, self.backend)
        self.is_programming_error = isinstance(error, PROGRAMMING_ERRORS)
        return str(self.failure)


def _classes_to_hand_over() -> dict[Any, dict[str, type]]:
    """Return the classes that decorators registered outside plugin files."""
    from hwnas.runner.workers import registered_here

    return registered_here()
