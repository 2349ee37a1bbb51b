"""Check of an optimizer on other spaces than that of most checks.

The name of the function is that of its check; its docstring is the requirement.
"""

from __future__ import annotations

import numpy as np

from hwnas.testing.checks import CheckFailed, require, seed_global_rngs
from hwnas.testing.harness import OptimizerUnderTest, find_refusal
from hwnas.testing.simulated_run import SimulatedRun, equal_proposals, find_duplicate
from hwnas.testing.synthetic_problems import FLAT, LAYERED, PAIR, SyntheticProblem

_N_LEARNED = 8  # evaluations after the initial design


def spaces(subject: OptimizerUnderTest) -> str:
    """It searches layered, flat and tiny spaces of any choices, or refuses one by InvalidInput.

    The layered one has texts, a condition and allowed combinations; the flat one has texts and a
    condition; the tiny one has 20 members in two columns.
    """
    observations = []
    for label, space in (("layered", LAYERED), ("flat", FLAT), ("tiny", PAIR)):
        problem = SyntheticProblem(space)
        if refusal := find_refusal(subject, problem):
            observations.append(f"{label} refused: {refusal}")
            continue
        try:
            runs = [_run(subject, problem) for _ in range(2)]
        except CheckFailed:
            raise
        except Exception as error:
            raise CheckFailed(f"{label}: {type(error).__name__}: {error}") from error
        _require_proposals(subject, runs, label)
        observations.append(label)
    return ", ".join(observations)


def _run(subject: OptimizerUnderTest, problem: SyntheticProblem) -> SimulatedRun:
    """Return a run that is a few evaluations longer than the initial design."""
    seed_global_rngs(0)
    run = subject.start(problem)
    length = min(run.optimizer.n_initial + _N_LEARNED, problem.space.size // 2)
    # Empty answers are legal, so that the number of asks is bounded as well.
    for _ in range(10 * length):
        if len(run.proposals) >= length:
            break
        run.ask_and_tell(3)
    return run


def _require_proposals(subject: OptimizerUnderTest, runs: list[SimulatedRun], label: str) -> None:
    """Require what the reference run does as well: canonical, distinct and repeated proposals."""
    first, second = runs
    reference = subject.reference_run
    if _first_invalid(reference) is None:
        invalid = _first_invalid(first)
        require(invalid is None, f"{label}: {invalid} is not canonical")
    if find_duplicate(reference) is None:
        duplicate = find_duplicate(first)
        require(duplicate is None, f"{label}: {duplicate}")
    if equal_proposals(reference, subject.repeated_run):
        require(equal_proposals(first, second), f"{label}: other proposals with the same seed")
    recommended = first.optimizer.recommend()
    valid = first.optimizer.space.is_valid(recommended)
    require(valid.all(), f"{label}: recommends a code that is not canonical")


def _first_invalid(run: SimulatedRun) -> list[int] | None:
    """Return the first proposal of a run that is no canonical code, None without one."""
    for record in run.records:
        answer = np.asarray(record.answer)
        valid = run.optimizer.space.is_valid(answer)
        if not valid.all():
            code: list[int] = answer[int(np.argmin(valid))].tolist()
            return code
    return None


SPACE_CHECKS = (spaces,)
