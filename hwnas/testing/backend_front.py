"""Check of the Pareto fronts that a backend knows.

The name of the function is that of its check; its docstring is the requirement.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwnas.fronts import Front
from hwnas.objectives import Objective, constraint_violations
from hwnas.pareto import non_dominated
from hwnas.testing.backend_harness import BackendUnderTest
from hwnas.testing.checks import CheckFailed, require
from hwnas.typing import Array, Codes

# Relative tolerance: a front may come from another formula than the values of its architectures.
_TOLERANCE = 1e-6


def front(subject: BackendUnderTest) -> str:
    """The members of a front that it knows have these values, and none dominates another."""
    pair = tuple(subject.objectives[:2])
    # The optimum of one objective, and the front of two.
    queries = [pair[:1], pair] if len(pair) > 1 else [pair]
    observations = []
    for objectives in queries:
        names = " and ".join(objective.key for objective in objectives)
        known_front = subject.noiseless.front(objectives)
        if known_front is None:
            observations.append(f"none of {names}")
            continue
        _require_valid_front(subject, known_front, objectives, names)
        observations.append(f"{len(known_front.codes)} architectures of {names}")
    _require_feasible_front(subject, pair)
    return "; ".join(observations)


def _require_feasible_front(subject: BackendUnderTest, objectives: tuple[Objective, ...]) -> None:
    """Require that a constrained front is feasible, at a bound that half of the codes satisfy."""
    median = float(np.median(subject.reference_values[:, 0]))
    bound = Objective.parse(f"{objectives[0].key} <= {median:.12g}")
    known_front = subject.noiseless.front(objectives, (bound,))
    if known_front is None:
        return
    violations = constraint_violations(
        (bound,), _evaluate(subject, known_front.codes, [bound.value])
    )
    infeasible = (violations > _TOLERANCE * abs(median)).any()
    require(not infeasible, f"an architecture of the front violates {bound}")


def _require_valid_front(
    subject: BackendUnderTest, known_front: Front, objectives: Sequence[Objective], names: str
) -> None:
    """Require canonical codes with the right values, mutually non-dominated, and the epsilon."""
    require(len(known_front.codes), f"an empty front of {names}")
    require(
        subject.space.is_valid(known_front.codes).all(), f"codes of {names} that are not canonical"
    )
    # The members evaluate to the values of the front.
    values = _evaluate(subject, known_front.codes, objectives)
    wrong = ~np.isclose(values, known_front.values, rtol=_TOLERANCE, atol=0).all(axis=1)
    if wrong.any():
        i = int(wrong.argmax())
        raise CheckFailed(
            f"{names} of an architecture of the front is {known_front.values[i].tolist()}, "
            f"and {values[i].tolist()} when evaluated"
        )
    require(
        non_dominated(known_front.values).all(), f"the front of {names} has dominated architectures"
    )
    # No sampled architecture is better than a member by more than epsilon in every objective.
    if known_front.epsilon is None:
        return
    samples = subject.reference_values[:, : len(objectives)]
    margin = known_front.epsilon * np.ptp(known_front.values, axis=0) + _TOLERANCE * np.abs(samples)
    better = ((samples + margin)[:, None] < known_front.values[None]).all(axis=2).any()
    require(not better, f"a sampled architecture is better than one of the front of {names}")


def _evaluate(subject: BackendUnderTest, codes: Codes, objectives: Sequence[Objective]) -> Array:
    seeds = np.zeros(len(codes), dtype=np.uint64)
    answer = subject.noiseless.evaluate(codes.copy(), list(objectives), seeds=seeds)
    return np.asarray(answer.values, dtype=np.float64)
