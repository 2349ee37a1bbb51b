"""What an optimizer makes of results: those that come late, or never, or are not its own."""

from __future__ import annotations

import numpy as np

from hwnas.errors import InvalidInput
from hwnas.spaces import Codes
from hwnas.testing.checks import CheckFailed, demand, seed_global_randomness
from hwnas.testing.harness import Contestant, Play, refusal, same
from hwnas.testing.synthetic_problems import SMALL, Problem, field_of

_ENOUGH = 0.95  # of the hypervolume that it was told, what it recommends has at least


def order(contestant: Contestant) -> str:
    """Results may come in any order, in part, late, or never."""
    rng = np.random.default_rng(0)

    def jumbled(play: Play, n: int) -> None:
        play.some(n)
        rows = _waiting(play)
        play.tell(rows[rng.permutation(len(rows))[: (len(rows) + 1) // 2]])

    play = contestant.run(contestant.play(), jumbled)
    late = _waiting(play)
    play.tell(late[::-1].copy())
    nothing = play.optimizer.space.encode([])
    play.optimizer.tell(nothing, np.empty((0, play.problem.m)))
    play.some(3)
    contestant.nothing_twice(play)
    return f"{len(play.proposed)} networks, the last {len(late)} results late"


def foreign(contestant: Contestant) -> str:
    """It takes results of networks that it did not propose, and then does not propose them."""
    play = contestant.play(Problem(SMALL))
    everything = np.concatenate(list(SMALL.enumerate()))
    others = np.random.default_rng(0).permutation(everything)
    told = {row.tobytes() for row in others[:40]}
    play.tell(others[:40])
    for i in range(40, 52, 4):
        codes = play.some(3)
        again = [row.tolist() for row in codes if row.tobytes() in told]
        demand(not again, f"proposed a network that it had been told of: {again[:1]}")
        more = others[[j for j in range(i, i + 4) if others[j].tobytes() not in play.waiting]]
        play.tell(more)
        told |= {row.tobytes() for row in more}
        play.tell(codes)
    return f"{len(told)} results of others"


def failures(contestant: Contestant) -> str:
    """It goes on when evaluations fail, and does not propose again what failed."""
    play = contestant.play()

    def failing(play: Play, n: int) -> None:
        codes = play.some(n)
        lost = len(codes) if len(play.asks) <= 3 else (len(codes) + 1) // 2
        given = codes[:lost].copy()
        play.fail(given)
        demand(np.array_equal(given, codes[:lost]), "fail changed the codes that it was given")
        play.tell(codes[lost:])

    contestant.run(play, failing)
    contestant.nothing_twice(play)
    return f"{len(play.proposed)} networks, more than half of which failed"


def refusals(contestant: Contestant) -> str:
    """A tell that makes no sense raises InvalidInput and leaves no trace."""
    seed_global_randomness(0)
    play = contestant.run(contestant.play(), share=0.5)
    optimizer, m = play.optimizer, play.problem.m
    known = len(optimizer.history)
    codes = optimizer.space.sample(2, np.random.default_rng(0))
    fine = np.ones((2, m))
    wrong = codes.copy()
    wrong[:, 0] = 99
    nan, infinite = fine.copy(), fine.copy()
    nan[1, 0], infinite[0, 1] = np.nan, np.inf
    for what, told, losses in (
        ("a loss of NaN", codes, nan),
        ("an infinite loss", codes, infinite),
        ("a loss too few", codes, fine[:, 1:]),
        ("a code out of range", wrong, fine),
    ):
        try:
            optimizer.tell(told, losses)
        except InvalidInput:
            continue
        raise CheckFailed(f"tell took {what}")
    demand(len(optimizer.history) == known, "a refused tell is among what it was told")
    contestant.must_repeat()
    contestant.run(play)
    demand(same(play, contestant.plain), "after refused tells it proposed other networks")
    return "refused, and the same networks afterwards"


def flat(contestant: Contestant) -> str:
    """It goes on when all losses are equal."""
    play = contestant.run(contestant.play(Problem(contestant.space, flat=True)))
    return f"{len(play.proposed)} networks"


def noise(contestant: Contestant) -> str:
    """It takes noisy losses with their standard errors, and says what it recommends."""
    play = contestant.run(contestant.play(std=0.1), share=0.7)
    _recommended(play)
    return f"{len(play.proposed)} evaluations"


def objectives(contestant: Contestant) -> str:
    """It takes 2 to 5 objectives, or refuses a number by InvalidInput when it is made."""
    seen = []
    for m in range(2, 6):
        problem = Problem(contestant.space, m)
        if m > 2 and refusal(contestant, problem):
            seen.append(f"{m} refused")
            continue
        try:
            play = contestant.run(contestant.play(problem), share=0.4)
            _recommended(play)
        except Exception as error:
            raise CheckFailed(f"{m} objectives: {type(error).__name__}: {error}") from error
        seen.append(str(m))
    return ", ".join(seen)


def recommends(contestant: Contestant) -> str:
    """Without noise it recommends the best that it was told, of feasible ones if there are any."""
    demand(len(contestant.play().optimizer.recommend()) == 0, "networks, before any was told")
    play = contestant.plain
    found = _recommended(play)
    field = field_of(play.problem.space)
    told = np.array(play.full, dtype=np.int8).reshape(-1, found.shape[1])
    there, kept = (field.volume(play.problem.losses(codes)) for codes in (told, found))
    share = kept / there if there else 1.0
    demand(
        share >= _ENOUGH,
        f"recommends {len(found)} networks with {share:.0%} of the hypervolume of those told",
    )
    constrained = Problem(contestant.space, c=1)
    if refusal(contestant, constrained) is None:
        play = contestant.play(constrained)
        play.step(10)  # of which some will be feasible
        contestant.run(play, share=0.7)
        if (constrained.violations(play.proposed) <= 0).any():
            broken = (constrained.violations(_recommended(play)) > 0).any(axis=1).sum()
            demand(broken == 0, f"recommends {broken} infeasible networks, and knows feasible ones")
    return f"{len(found)} networks with {share:.0%} of the hypervolume of those told"


def _recommended(play: Play) -> Codes:
    """What an optimizer that was told something recommends, in good form."""
    optimizer = play.optimizer
    found = optimizer.recommend()
    demand(isinstance(found, np.ndarray), f"recommend() answered a {type(found).__name__}")
    form = found.ndim == 2 and found.shape[1] == len(optimizer.space.columns)
    demand(form, f"recommend() answered an array of shape {found.shape}")
    demand(len(found), "recommend() answered nothing, though results were told")
    demand(optimizer.space.is_valid(found).all(), "recommend() answered codes not canonical")
    demand(len(np.unique(found, axis=0)) == len(found), "recommend() has a network twice")
    demand(len(optimizer.recommend(1)) == 1, "recommend(1) answered not one network")
    return found


def _waiting(play: Play) -> Codes:
    width = len(play.optimizer.space.columns)
    return np.array(list(play.waiting.values()), dtype=np.int8).reshape(-1, width)


TRIALS = (order, foreign, failures, refusals, flat, noise, objectives, recommends)
