"""Whether an optimizer optimizes: judged beside random searches, early where that is clear.

Each seed's hypervolume is compared with that of 20 random searches after as many evaluations, at
15, 25, ... 400 (more for a large population). Whoever is ahead at an early stage is done; so a
method that fits a model at every step is not made to do so 400 times.
"""

from __future__ import annotations

import numpy as np

from hwnas.testing.checks import CheckFailed, NotJudged, demand
from hwnas.testing.harness import Contestant, refusal, same
from hwnas.testing.synthetic_problems import FIDELITIES, Problem

_CLEAR = 3.0  # standard deviations of random search's hypervolume
_MOVED = 0.25  # of the way along the front, by which late proposals lie elsewhere
_LONG_ENOUGH = 25  # evaluations, half of which tell chance from a rush into the infeasible
_FEWEST_FEASIBLE = 0.15  # of late proposals; half of all networks are feasible


def minimises(contestant: Contestant) -> str:
    """It finds more when judged by the losses it is told than by these turned around."""
    race = contestant.race(Problem(contestant.space))
    for stage in race.stages:
        race.to(stage)
        if not all(play.full for play in race.plays):
            raise NotJudged("it measured nothing in full")
        edges = race.standings(stage) - race.standings(stage, -1)
        seen = f"{np.median(edges):+.1f} standard deviations of random search at {stage}"
        if edges.min() > _CLEAR:
            return seen
        demand(edges.max() >= -_CLEAR, f"{seen}, so it maximises")
    demand(np.median(edges) >= -_CLEAR, f"{seen}, so it maximises")
    return f"{seen}: neither"


def beats_random(contestant: Contestant) -> str:
    """Unless it claims otherwise, every seed finds more than each of 20 random searches."""
    if not contestant.claims:
        raise NotJudged("it does not claim to (claims_to_beat_random = False)")
    race = contestant.race(Problem(contestant.space))
    stage = race.leads_at
    if stage is None:
        last = race.stages[-1]
        found = ", ".join(f"{v:.3f}" for v in race.volumes(last))
        best = race.field.volumes(last)[-1]
        raise CheckFailed(f"hypervolume {found} after {last}, the best random search {best:.3f}")
    found, best = race.volumes(stage).min(), race.field.volumes(stage)[-1]
    return f"hypervolume at least {found:.3f} after {stage}, the best random search {best:.3f}"


def units(contestant: Contestant) -> str:
    """A loss in a unit a thousand times more or less gives the same networks, or as good ones."""
    more, less = (
        Problem(contestant.space, scale=1e3, offset=1e4),
        Problem(contestant.space, scale=1e-3),
    )
    if all(
        same(contestant.plain, contestant.run(contestant.play(p), share=0.8)) for p in (more, less)
    ):
        return "the same networks"
    race = contestant.race(Problem(contestant.space))
    first = race.stages.index(race.judged_at)
    for stage in race.stages[first : first + 2]:  # a second look before it is condemned
        races = [contestant.race(problem) for problem in (more, less)]
        usual, found = race.volumes(stage).mean(), min(r.volumes(stage).mean() for r in races)
        rivals = race.field.volumes(stage)
        allowed = max((usual - rivals.mean()) / 2, _CLEAR * rivals.std())
        places = [r.place(stage) for r in races]
        seen = (
            f"hypervolume {found:.3f} after {stage}, {usual:.3f} in the usual unit; late proposals "
            f"at {places[0]:.2f} and {places[1]:.2f} of the way along the front"
        )
        if found >= usual - allowed and abs(places[0] - places[1]) <= _MOVED:
            return seen
    raise CheckFailed(seen)


def constraints(contestant: Contestant) -> str:
    """It takes violations, and does not run into the infeasible for the sake of the losses."""
    problem = Problem(contestant.space, c=1)
    if why := refusal(contestant, problem):
        return f"refused: {why}"
    race = contestant.race(problem, seeds=(0,))
    race.to(max(_LONG_ENOUGH, contestant.race(Problem(contestant.space)).judged_at))
    proposed = race.plays[0].proposed
    late = proposed[len(proposed) // 2 :]
    feasible = float((problem.violations(late) <= 0).mean())
    seen = f"{feasible:.0%} of its later proposals are feasible, half of all networks are"
    demand(feasible >= _FEWEST_FEASIBLE, seen)
    return seen


def rungs(contestant: Contestant) -> str:
    """A multi-fidelity optimizer asks for fidelities it was given, upwards, to the last."""
    if not contestant.multi_fidelity:
        raise NotJudged("it is not a MultiFidelityOptimizer")
    reached: dict[bytes, int] = {}
    for asked in contestant.plain.asks:
        level = asked.fidelity
        exact = isinstance(level, int | np.integer) and level in FIDELITIES
        demand(exact, f"asked for fidelity {level!r}, expected one of {FIDELITIES}")
        for row in asked.codes:
            before = reached.get(row.tobytes(), 0)
            demand(level > before, f"asked for fidelity {level} of what was measured at {before}")
            reached[row.tobytes()] = level
    top = sum(level == FIDELITIES[-1] for level in reached.values())
    demand(top, f"none of {len(reached)} networks was asked for at fidelity {FIDELITIES[-1]}")
    return f"{top} of {len(reached)} networks reached fidelity {FIDELITIES[-1]}"


QUALITY = (minimises, beats_random, units, constraints, rungs)
