"""Checks of an optimizer's quality, by comparison with random searches; see `baseline`.

The name of each function, with hyphens, is that of its check; its docstring is the requirement.
"""

from __future__ import annotations

import numpy as np

from hwnas.testing.baseline import RandomSearchComparison
from hwnas.testing.checks import CheckFailed, NotJudged, require
from hwnas.testing.harness import OptimizerUnderTest, find_refusal
from hwnas.testing.simulated_run import equal_proposals
from hwnas.testing.synthetic_problems import FIDELITIES, SyntheticProblem

_SIGNIFICANT_SCORE = 3.0  # standard deviations of what random searches reach
_MAX_SHIFT = 0.25  # of proposals along the front, in [0, 1], between two units of a loss
_MIN_EVALUATIONS = 25  # before the first comparison of feasible shares
_MAX_SPACE_SHARE = 0.25  # of a space: its feasible architectures may be exhausted beyond


def minimises(subject: OptimizerUnderTest) -> str:
    """It finds more hypervolume of the losses than of their negatives."""
    comparison = subject.comparison(SyntheticProblem(subject.space))
    for stage in comparison.stages:
        comparison.advance(stage)
        if not all(run.measured for run in comparison.runs):
            raise NotJudged("it measured nothing at the top fidelity")
        # A sign error shows as a negative difference. The first clear one decides.
        scores = comparison.standard_scores(stage) - comparison.standard_scores(stage, -1)
        observation = f"{np.median(scores):+.1f} standard deviations of random search at {stage}"
        if scores.min() > _SIGNIFICANT_SCORE:
            return observation
        require(scores.max() >= -_SIGNIFICANT_SCORE, f"{observation}, so it maximizes")
    require(np.median(scores) >= -_SIGNIFICANT_SCORE, f"{observation}, so it maximizes")
    return f"{observation}: no clear direction"


def beats_random(subject: OptimizerUnderTest) -> str:
    """Unless it claims otherwise, every seed finds more than each of 20 random searches."""
    if not subject.claims_to_beat_random:
        raise NotJudged("it does not claim to (claims_to_beat_random = False)")
    comparison = subject.comparison(SyntheticProblem(subject.space))
    # A failure is reported at the last stage, where the optimizer had every chance.
    stage = comparison.winning_stage
    if stage is None:
        stage = comparison.stages[-1]
        volumes = ", ".join(f"{volume:.3f}" for volume in comparison.hypervolumes(stage))
        best = comparison.baseline.hypervolumes(stage)[-1]
        raise CheckFailed(
            f"hypervolume {volumes} after {stage}, the best random search {best:.3f}; an optimizer "
            "that need not beat random search declares claims_to_beat_random = False"
        )
    worst, best = (
        comparison.hypervolumes(stage).min(),
        comparison.baseline.hypervolumes(stage)[-1],
    )
    return f"hypervolume at least {worst:.3f} after {stage}, the best random search {best:.3f}"


def units(subject: OptimizerUnderTest) -> str:
    """A loss in a unit a thousand times smaller or larger gives the same, or as good, proposals."""
    problems = (
        SyntheticProblem(subject.space, scale=1e3, offset=1e4),
        SyntheticProblem(subject.space, scale=1e-3),
    )
    # Equal proposals are the usual case, and cheap to see.
    if all(
        equal_proposals(subject.reference_run, subject.advance(subject.start(problem), share=0.8))
        for problem in problems
    ):
        return "the same architectures"
    # Otherwise compare the quality; a second stage confirms a failure.
    comparison = subject.comparison(SyntheticProblem(subject.space))
    first = comparison.stages.index(comparison.informative_stage)
    for stage in comparison.stages[first : first + 2]:
        observation, equivalent = _compare_units(
            comparison, [subject.comparison(problem) for problem in problems], stage
        )
        if equivalent:
            return observation
    raise CheckFailed(observation)


def _compare_units(
    usual: RandomSearchComparison, scaled: list[RandomSearchComparison], stage: int
) -> tuple[str, bool]:
    """Return an observation, and whether both scaled problems were solved as well as the usual.

    The scaled runs may lose half of the advantage over random search, or an insignificant amount
    of hypervolume, and must explore the same part of the front.
    """
    usual_volume = usual.hypervolumes(stage).mean()
    volume = min(comparison.hypervolumes(stage).mean() for comparison in scaled)
    random_volumes = usual.baseline.hypervolumes(stage)
    tolerance = max(
        (usual_volume - random_volumes.mean()) / 2, _SIGNIFICANT_SCORE * random_volumes.std()
    )
    positions = [comparison.front_position(stage) for comparison in scaled]
    observation = (
        f"hypervolume {volume:.3f} after {stage}, {usual_volume:.3f} in the usual unit; later "
        f"proposals at {positions[0]:.2f} and {positions[1]:.2f} along the front"
    )
    same_part = abs(positions[0] - positions[1]) <= _MAX_SHIFT
    return observation, bool(volume >= usual_volume - tolerance and same_part)


def constraints(subject: OptimizerUnderTest) -> str:
    """It accepts constraint violations, and if it handles constraints prefers feasible ones.

    Its later proposals must be feasible clearly more often than those of random search, at one of
    the stages of `RandomSearchComparison`. Recommendations are left to `recommends`: they must be
    feasible in either case.
    """
    problem = SyntheticProblem(subject.space, c=1)
    if refusal := find_refusal(subject, problem):
        return f"refused: {refusal}"
    if not subject.cls.handles_constraints:
        subject.advance(subject.start(problem))
        return "accepted; its proposals need not be feasible (handles_constraints = False)"
    comparison = subject.comparison(problem)
    max_evaluations = _MAX_SPACE_SHARE * subject.space.size
    stages = [n for n in comparison.stages if _MIN_EVALUATIONS <= n <= max_evaluations]
    if not stages:
        raise NotJudged(f"{subject.space.size} architectures are too few to search among")
    # A uniform sample of architectures has a binomial number of feasible ones.
    random_share = problem.feasible_share
    for stage in stages:
        comparison.advance(stage)
        # The later half, as the first proposals are an initial design.
        proposals = [run.proposals for run in comparison.runs]
        later_half = np.concatenate([codes[len(codes) // 2 :] for codes in proposals])
        share = float((problem.violations(later_half) <= 0).mean())
        deviation = np.sqrt(random_share * (1 - random_share) / len(later_half))
        observation = (
            f"{share:.0%} of its later proposals up to {stage} are feasible, {random_share:.0%} of "
            "the space is"
        )
        # The first clear difference decides.
        if share > random_share + _SIGNIFICANT_SCORE * deviation:
            return observation
        if share < random_share - _SIGNIFICANT_SCORE * deviation:
            break
    raise CheckFailed(
        f"{observation}; an optimizer whose proposals disregard constraints declares "
        "handles_constraints = False"
    )


def rungs(subject: OptimizerUnderTest) -> str:
    """A multi-fidelity optimizer asks for its fidelities, ascending, up to the last."""
    if not subject.multi_fidelity:
        raise NotJudged("it is not a MultiFidelityOptimizer")
    fidelities: dict[bytes, int] = {}  # highest so far of each code
    for record in subject.reference_run.records:
        level = record.fidelity
        valid = isinstance(level, int | np.integer) and level in FIDELITIES
        require(valid, f"asked for fidelity {level!r}, expected one of {FIDELITIES}")
        for row in record.codes:
            previous = fidelities.get(row.tobytes(), 0)
            require(
                level > previous, f"asked for fidelity {level} of a code measured at {previous}"
            )
            fidelities[row.tobytes()] = level
    n_top = sum(level == FIDELITIES[-1] for level in fidelities.values())
    require(
        n_top, f"none of {len(fidelities)} architectures was asked for at fidelity {FIDELITIES[-1]}"
    )
    return f"{n_top} of {len(fidelities)} architectures reached fidelity {FIDELITIES[-1]}"


QUALITY_CHECKS = (minimises, beats_random, units, constraints, rungs)
