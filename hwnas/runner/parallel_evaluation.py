"""Evaluation of given architectures, several at once, outside a search."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from hwnas.problem import Problem
from hwnas.runner.evaluation_cache import EvaluationCache
from hwnas.runner.executors.interface import Executor
from hwnas.runner.failures import FailureLog
from hwnas.runner.open_ask import OpenAsk, record_outcome
from hwnas.runner.storage import AskRecord, Trials
from hwnas.typing import Codes


def evaluate_in_parallel(
    problem: Problem, codes: Codes, executor: Executor, failures: FailureLog
) -> Iterator[Trials]:
    """Evaluate distinct architectures and yield the trial of each, in their order.

    Parameters
    ----------
    problem
        Problem whose objectives and constraints are the first that the executor's evaluators have.
    codes : (n, d) int8
    executor
        Executor; its caller closes it.
    failures
        Log that records the errors of the backend.

    Raises
    ------
    HwnasError
        Nothing can be evaluated any more.
    Exception
        The first error, once the first ten evaluations have all failed by programming errors.
    """
    columns = tuple(range(len(problem.measured)))
    plan = EvaluationCache(problem, 0).plan(codes, None)
    ask = OpenAsk(AskRecord(0, 0, len(codes), None, codes, len(codes)), 0, plan)
    waiting, n_yielded, start = deque(range(len(codes))), 0, executor.now()
    in_flight: set[int] = set()
    while n_yielded < len(codes):
        while waiting and len(in_flight) < executor.slots:
            i = waiting.popleft()
            executor.submit(ask.request(i, columns))
            in_flight.add(i)
        for outcome in executor.wait():
            in_flight.discard(outcome.number)
            record_outcome(outcome, failures)
            elapsed = executor.now() - start
            ask.results[outcome.number] = ask.trial(
                outcome.number, outcome, columns, tell=0, elapsed=elapsed
            )
        while n_yielded in ask.results:
            yield ask.results[n_yielded]
            n_yielded += 1
