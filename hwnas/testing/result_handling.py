"""Checks of how an optimizer handles results: late, missing, invalid, noisy or not its own.

The name of each function, with hyphens, is that of its check; its docstring is the requirement.
"""

from __future__ import annotations

import numpy as np

from hwnas.errors import InvalidInput
from hwnas.testing.baseline import baseline_of
from hwnas.testing.checks import CheckFailed, require, seed_global_rngs
from hwnas.testing.harness import OptimizerUnderTest, find_refusal
from hwnas.testing.simulated_run import SimulatedRun, equal_proposals
from hwnas.testing.synthetic_problems import SMALL, SyntheticProblem
from hwnas.typing import Array, Codes

_MIN_HYPERVOLUME_SHARE = 0.95  # of the recommendations, in that of all observations
_NOISE_STD = 0.1
_N_OUTSTANDING = 6  # results of an asynchronous search
_N_ASYNCHRONOUS_ASKS = 22
_FAILING_SHARE = 0.1
_MAX_EMPTY_SHARE = 0.1  # of the asks while results are outstanding


def order(subject: OptimizerUnderTest) -> str:
    """Results may come in any order, in part, late, or never."""
    rng = np.random.default_rng(0)

    def tell_half(run: SimulatedRun, n: int) -> None:
        run.ask_nonempty(n)
        pending = run.pending_codes
        run.tell(pending[rng.permutation(len(pending))[: (len(pending) + 1) // 2]])

    run = subject.advance(subject.start(), tell_half)
    # All late results at once, in reverse; then an empty tell.
    late_codes = run.pending_codes
    run.tell(late_codes[::-1].copy())
    run.optimizer.tell(run.optimizer.space.encode([]), np.empty((0, run.problem.m)))
    run.ask_nonempty(3)
    subject.require_distinct(run)
    return f"{len(run.proposals)} architectures, the last {len(late_codes)} results late"


def asynchronous(subject: OptimizerUnderTest) -> str:
    """If it declares `asynchronous`, it proposes new architectures while results are outstanding.

    Results come one by one, in any order, and some evaluations fail. A run with the same order of
    results repeats its proposals.
    """
    if not subject.cls.asynchronous:
        return "not declared: all results of an ask are waited for"
    runs = []
    for _ in range(2):
        seed_global_rngs(0)
        rng = np.random.default_rng(0)
        run = subject.start()
        run.ask_nonempty(_N_OUTSTANDING)
        while len(run.records) < _N_ASYNCHRONOUS_ASKS:
            if len(pending := run.pending_codes):
                code = pending[[rng.integers(len(pending))]]
                report = run.fail if rng.random() < _FAILING_SHARE else run.tell
                report(code)
            run.ask_nonempty(1)
        runs.append(run)
    n_empty = sum(len(record.codes) == 0 for record in runs[0].records)
    require(
        n_empty <= _MAX_EMPTY_SHARE * len(runs[0].records),
        f"answered nothing to {n_empty} of {len(runs[0].records)} asks with results outstanding",
    )
    subject.require_distinct(runs[0])
    if equal_proposals(subject.reference_run, subject.repeated_run):
        require(equal_proposals(*runs), "the same order of results led to other architectures")
    return f"{len(runs[0].proposals)} architectures, {_N_OUTSTANDING} outstanding"


def foreign(subject: OptimizerUnderTest) -> str:
    """It accepts results of architectures that it did not propose, and does not propose them."""
    run = subject.start(SyntheticProblem(SMALL))
    codes = np.random.default_rng(0).permutation(np.concatenate(list(SMALL.enumerate())))
    # A warm start ...
    observed = {row.tobytes() for row in codes[:40]}
    run.tell(codes[:40])
    # ... and further foreign results between its own proposals and their results.
    for i in range(40, 52, 4):
        proposals = run.ask_nonempty(3)
        repeated = [row.tolist() for row in proposals if row.tobytes() in observed]
        require(not repeated, f"proposed an architecture that it had observed: {repeated[:1]}")
        batch = codes[[j for j in range(i, i + 4) if codes[j].tobytes() not in run.pending]]
        run.tell(batch)
        observed |= {row.tobytes() for row in batch}
        run.tell(proposals)
    return f"{len(observed)} foreign results"


def failures(subject: OptimizerUnderTest) -> str:
    """It continues when evaluations fail, and does not propose the failed architectures again."""
    run = subject.start()

    def fail_half(run: SimulatedRun, n: int) -> None:
        codes = run.ask_nonempty(n)
        # All of the first three answers fail, then half of each.
        n_failures = len(codes) if len(run.records) <= 3 else (len(codes) + 1) // 2
        failed = codes[:n_failures].copy()
        run.fail(failed)
        require(np.array_equal(failed, codes[:n_failures]), "fail changed its argument")
        run.tell(codes[n_failures:])

    subject.advance(run, fail_half)
    subject.require_distinct(run)
    return f"{len(run.proposals)} architectures, more than half of which failed"


def refusals(subject: OptimizerUnderTest) -> str:
    """An invalid tell raises InvalidInput and has no other effect."""
    seed_global_rngs(0)
    run = subject.advance(subject.start(), share=0.5)
    optimizer = run.optimizer
    # Each kind of fault, in the middle of a run.
    n_observations = len(optimizer.history)
    codes = optimizer.space.sample(2, np.random.default_rng(0))
    for fault, invalid_codes, losses in _invalid_observations(codes, run.problem.m):
        try:
            optimizer.tell(invalid_codes, losses)
        except InvalidInput:
            continue
        raise CheckFailed(f"tell accepted {fault}")
    # Neither the history nor the further proposals may show it.
    require(len(optimizer.history) == n_observations, "a refused result is in the history")
    subject.require_repeatable()
    subject.advance(run)
    require(
        equal_proposals(run, subject.reference_run),
        "after refused results it proposed other architectures",
    )
    return "refused, and the same architectures afterwards"


def _invalid_observations(codes: Codes, m: int) -> list[tuple[str, Codes, Array]]:
    """Return a name, codes (2, d) and losses of each kind of fault."""
    losses = np.ones((2, m))
    with_nan, with_infinity, with_invalid_code = losses.copy(), losses.copy(), codes.copy()
    with_nan[1, 0] = np.nan
    with_infinity[0, 1] = np.inf
    with_invalid_code[:, 0] = 99
    return [
        ("a loss of NaN", codes, with_nan),
        ("an infinite loss", codes, with_infinity),
        ("a loss too few", codes, losses[:, 1:]),
        ("a code out of range", with_invalid_code, losses),
    ]


def flat(subject: OptimizerUnderTest) -> str:
    """It continues when all losses are equal."""
    run = subject.advance(subject.start(SyntheticProblem(subject.space, constant=True)))
    return f"{len(run.proposals)} architectures"


def noise(subject: OptimizerUnderTest) -> str:
    """It accepts noisy losses with their standard errors, and recommends architectures."""
    run = subject.advance(subject.start(std=_NOISE_STD), share=0.7)
    _valid_recommendations(run)
    return f"{len(run.proposals)} evaluations"


def objectives(subject: OptimizerUnderTest) -> str:
    """It accepts 2 to 5 objectives, or its constructor refuses a number by InvalidInput."""
    observations = []
    for m in range(2, 6):
        problem = SyntheticProblem(subject.space, m)
        # Two objectives are what every optimizer must accept.
        if m > 2 and find_refusal(subject, problem):
            observations.append(f"{m} refused")
            continue
        try:
            _valid_recommendations(subject.advance(subject.start(problem), share=0.4))
        except Exception as error:
            raise CheckFailed(f"{m} objectives: {type(error).__name__}: {error}") from error
        observations.append(str(m))
    return ", ".join(observations)


def recommends(subject: OptimizerUnderTest) -> str:
    """Without noise it recommends the best observed architectures, feasible ones if there are any.

    A recommendation has at least 95 % of the hypervolume of all observations.
    """
    n_initial = len(subject.start().optimizer.recommend())
    require(n_initial == 0, "recommends architectures before any result was told")
    run = subject.reference_run
    recommendations = _valid_recommendations(run)
    # What was measured below the top fidelity does not count as observed.
    baseline = baseline_of(run.problem.space)
    total, volume = (
        baseline.hypervolume(run.problem.losses(codes))
        for codes in (run.measured_codes(), recommendations)
    )
    share = volume / total if total else 1.0
    observation = (
        f"{len(recommendations)} architectures with {share:.0%} of the observed hypervolume"
    )
    require(share >= _MIN_HYPERVOLUME_SHARE, f"recommends {observation}")
    _check_feasible_recommendations(subject)
    return observation


def _check_feasible_recommendations(subject: OptimizerUnderTest) -> None:
    problem = SyntheticProblem(subject.space, c=1)
    if find_refusal(subject, problem) is not None:
        return
    run = subject.start(problem)
    run.ask_and_tell(10)  # some of them are feasible, as a fifth of the space is
    subject.advance(run, share=0.7)
    # Without a feasible observation there is nothing to compare with.
    if (problem.violations(run.proposals) <= 0).any():
        violated = (problem.violations(_valid_recommendations(run)) > 0).any(axis=1)
        require(
            not violated.any(),
            f"recommends {violated.sum()} infeasible architectures, and has observed feasible ones",
        )


def _valid_recommendations(run: SimulatedRun) -> Codes:
    """Return the recommendations after some results, and require a valid form."""
    optimizer = run.optimizer
    codes = optimizer.recommend()
    require(isinstance(codes, np.ndarray), f"recommend() answered a {type(codes).__name__}")
    valid_shape = codes.ndim == 2 and codes.shape[1] == len(optimizer.space.columns)
    require(valid_shape, f"recommend() answered an array of shape {codes.shape}")
    require(len(codes), "recommend() answered nothing, though results were told")
    require(optimizer.space.is_valid(codes).all(), "recommend() answered codes not canonical")
    distinct = len(np.unique(codes, axis=0)) == len(codes)
    require(distinct, "recommend() answered an architecture twice")
    n_single = len(optimizer.recommend(1))
    require(n_single == 1, f"recommend(1) answered {n_single} architectures")
    return codes


RESULT_CHECKS = (
    order,
    asynchronous,
    foreign,
    failures,
    refusals,
    flat,
    noise,
    objectives,
    recommends,
)
