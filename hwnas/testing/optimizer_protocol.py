"""What an optimizer owes the loop: its own randomness, and codes in good form."""

from __future__ import annotations

import numpy as np

from hwnas.errors import SpaceExhausted
from hwnas.spaces import Codes
from hwnas.testing.checks import (
    MADE_UP,
    CheckFailed,
    NotJudged,
    changed_randomness,
    demand,
    global_randomness,
    refuses,
    seed_global_randomness,
    set_global_randomness,
    well_formed,
)
from hwnas.testing.harness import Contestant, Play, again, same
from hwnas.testing.synthetic_problems import TINY, Problem


def settings(contestant: Contestant) -> str:
    """It has a docstring, named and annotated settings, and refuses unknown ones."""
    required = ("space", "n_objectives", "seed", "n_constraints")
    well_formed(contestant, required + ("fidelities",) * contestant.multi_fidelity)
    how = {"fidelities": (1,)} if contestant.multi_fidelity else {}
    refuses(lambda: contestant.cls(contestant.space, 2, seed=0, **how, **{MADE_UP: 1}))
    made = contestant.made(Problem(contestant.space))
    demand(isinstance(made.batch, int) and made.batch >= 1, f"batch is {made.batch!r}")
    return f"batch {made.batch}"


def seed(contestant: Contestant) -> str:
    """Two of one seed begin with the same networks."""
    begun = []
    for _ in range(2):
        seed_global_randomness(0)
        play = contestant.play(seed=7)
        for n in (2, 5, 3):
            play.ask(n)
        begun.append(play)
    demand(same(*begun), f"{_difference(*begun)}, nothing told")
    return f"the same {len(begun[0].proposed)} networks"


def another_seed(contestant: Contestant) -> str:
    """Another seed gives another run."""
    seed_global_randomness(1)
    other = contestant.run(contestant.play(seed=1), share=0.6)
    demand(not same(contestant.plain, other), "seeds 0 and 1 proposed the same networks throughout")
    return "other networks"


def replays(contestant: Contestant) -> str:
    """A fresh instance of the seed that is asked and told the same proposes the same."""
    try:
        seed(contestant)
    except CheckFailed:
        raise NotJudged("it does not even begin alike") from None
    first, second = contestant.plain, contestant.replay
    demand(same(first, second), f"{_difference(first, second)}, all told alike")
    return f"the same {len(first.proposed)} networks"


def alone(contestant: Contestant) -> str:
    """Another instance at work beside it changes nothing."""
    contestant.must_repeat()
    seed_global_randomness(0)
    play = contestant.run(contestant.play(), share=0.5)
    paused = global_randomness()
    contestant.run(contestant.play(seed=1), share=0.3)
    set_global_randomness(paused)
    contestant.run(play)
    demand(same(play, contestant.plain), f"{_difference(play, contestant.plain)}, beside another")
    return "the same networks"


def global_random(contestant: Contestant) -> str:
    """It neither reads nor changes the global generators of random, numpy and torch."""
    contestant.must_repeat()
    seed_global_randomness(1)  # the plain run had another state
    before = global_randomness()
    run = contestant.run(contestant.play(), share=0.7)
    changed = changed_randomness(before)
    demand(not changed, f"the global state of {', '.join(changed)} was changed")
    shown = _difference(run, contestant.plain)
    demand(same(run, contestant.plain), f"{shown}, as the global generators were in another state")
    return "neither read nor changed"


def codes(contestant: Contestant) -> str:
    """It proposes at most n canonical codes of the space, as (k, d) int8, C-contiguous."""
    space = contestant.space
    for asked in contestant.plain.asks:
        raw = asked.raw
        demand(isinstance(raw, np.ndarray), f"ask({asked.n}) answered a {type(raw).__name__}")
        demand(raw.dtype == np.int8, f"ask({asked.n}) answered codes of {raw.dtype}")
        demand(asked.in_order, f"ask({asked.n}) answered codes that are not C-contiguous")
        demand(len(raw) <= asked.n, f"ask({asked.n}) answered {len(raw)} codes")
        valid = space.is_valid(raw)
        if not valid.all():
            bad = raw[int(np.argmin(valid))].tolist()
            demand(False, f"ask({asked.n}) answered {bad}, not canonical in space {space.name}")
    return f"{len(contestant.plain.proposed)} codes"


def duplicates(contestant: Contestant) -> str:
    """Without noise it proposes no network twice, in one ask or in several."""
    twice = again(contestant.plain)
    demand(twice is None, str(twice))
    return f"{len(contestant.plain.proposed)} different networks"


def waiting(contestant: Contestant) -> str:
    """An ask is answered by no codes only while results are outstanding."""
    for i, asked in enumerate(contestant.plain.asks):
        empty = len(asked.codes) == 0 and asked.waiting == 0
        demand(not empty, f"ask {i + 1} answered no codes, and every result had been told")
    return f"{len(contestant.plain.asks)} asks"


def exhausted(contestant: Contestant) -> str:
    """It proposes every network of a small space, and then raises SpaceExhausted."""
    play = contestant.play(Problem(TINY))
    most = 20 * TINY.size
    for _ in range(most):
        try:
            play.tell(play.ask(3))
        except SpaceExhausted:
            break
    else:
        found = len(np.unique(play.proposed, axis=0))
        demand(False, f"no SpaceExhausted in {most} asks; {found} of {TINY.size} networks proposed")
    found = len(np.unique(play.proposed, axis=0))
    demand(found == TINY.size, f"SpaceExhausted after {found} of {TINY.size} networks")
    try:
        after = play.ask(1)
    except SpaceExhausted:
        after = TINY.encode([])
    demand(len(after) == 0, f"SpaceExhausted, and the next ask answered {len(after)} codes")
    return f"SpaceExhausted after {found} of {TINY.size} networks"


def inputs(contestant: Contestant) -> str:
    """What it hands over and what it is told belong to the caller, who may change it."""
    contestant.must_repeat()
    seed_global_randomness(0)
    play = contestant.run(contestant.play(), _scribbling)
    shown = _difference(play, contestant.plain)
    demand(same(play, contestant.plain), f"{shown}, as the caller overwrote its own arrays")
    return "nothing changed, nothing kept"


def _scribbling(play: Play, n: int) -> None:
    codes = play.some(n).copy()
    if isinstance(play.handed, np.ndarray) and play.handed.flags.writeable:
        play.handed[:] = 0
    if len(codes) == 0:
        return
    given: Codes = codes.copy()
    losses = np.concatenate([play.losses(row[None]) for row in codes])
    told = losses.copy()
    play.optimizer.tell(given, told)
    unchanged = np.array_equal(given, codes) and np.array_equal(told, losses)
    demand(unchanged, "tell changed the arrays that it was given")
    given[:], told[:] = 0, 0
    play.forget(codes)


def _difference(first: Play, second: Play) -> str:
    for i, (a, b) in enumerate(zip(first.asks, second.asks, strict=False)):
        if not np.array_equal(a.codes, b.codes) or a.fidelity != b.fidelity:
            return f"ask {i + 1} was answered otherwise"
    return "no difference"


MANNERS = (
    settings,
    seed,
    another_seed,
    replays,
    alone,
    global_random,
    codes,
    duplicates,
    waiting,
    exhausted,
    inputs,
)
