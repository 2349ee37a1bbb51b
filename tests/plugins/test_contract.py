"""What every optimizer owes the loop, whatever it is inside."""

from __future__ import annotations

import inspect
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hwnas.errors import MissingExtra, SpaceExhausted, UnknownName
from hwnas.optimizers import Optimizer
from hwnas.registry import lookup, names, optimizer, settings_of
from hwnas.spaces import Codes, SearchSpace
from hwnas.typing import Array

NAMES = names("optimizer")
MODELS = {"ehvi", "parego", "lsbo", "rsbo", "motpe", "gp"}  # a model at every step: few of them
every = pytest.mark.parametrize("name", NAMES)


def class_of(name: str) -> type[Any]:
    try:
        return lookup("optimizer", name)
    except MissingExtra as missing:
        pytest.skip(str(missing))


def made(name: str, space: SearchSpace, m: int = 2, *, seed: int = 0, c: int = 0) -> Optimizer:
    """An optimizer whose generations, if it has any, are small enough to come to several."""
    known = settings_of(class_of(name))
    wanted = {"pop_size": 5, "initial": 3, "candidates": 16, "rounds": 1, "samples": 4}
    small: dict[str, Any] = {key: value for key, value in wanted.items() if key in known}
    return optimizer(name, space, m, seed=seed, n_constraints=c, **small)


def proposals(optimizer: Optimizer, n: int) -> Codes:
    """What `optimizer` asks for, without the fidelity, once its form is checked."""
    asked: Any = optimizer.ask(n)
    codes: Codes = asked[0] if isinstance(asked, tuple) else asked
    assert isinstance(codes, np.ndarray)
    assert codes.dtype == np.int8
    assert codes.ndim == 2
    assert codes.shape[1] == len(optimizer.space.columns)
    assert len(codes) <= n
    assert optimizer.space.is_valid(codes).all()
    return codes


def figures(codes: Codes, width: int, levels: int = 1000) -> Array:
    """Made-up results (k, width): whole numbers below `levels`, so that few levels make ties."""
    weights = np.random.default_rng(width).integers(1, 1000, size=(codes.shape[1], width))
    return np.asarray((codes.astype(int) @ weights) % levels, dtype=float)


def dominated(losses: Array) -> NDArray[np.bool_]:
    """By the definition: some other row is nowhere worse and somewhere better."""
    other, mine = losses[:, None], losses[None]
    worse = (other <= mine).all(axis=2) & (other < mine).any(axis=2)
    return np.asarray(worse.any(axis=0))


class Search:
    """An optimizer at work, and what it must keep to at every ask."""

    def __init__(self, optimizer: Optimizer, levels: int = 1000) -> None:
        self.optimizer, self.levels = optimizer, levels
        self.waiting: list[Codes] = []  # (d,) each: proposed, and neither told nor failed
        self.lost: list[Codes] = []  # of those, what will come late, if ever
        self.known: set[bytes] = set()  # proposed or told
        self.exhausted = False

    def ask(self, n: int) -> Codes:
        try:
            codes = proposals(self.optimizer, n)
        except SpaceExhausted:
            assert len(self.known) == self.optimizer.space.size
            self.exhausted = True
            return self.optimizer.space.encode([])
        assert len(codes) or self.waiting or self.lost, "nothing, and nothing to wait for"
        keys = set(map(bytes, codes))
        assert len(keys) == len(codes), "one network twice in an ask"
        assert not keys & self.known, "a network again"
        self.known |= keys
        self.waiting += list(codes.copy())
        return codes

    def tell(self, codes: Codes) -> None:
        violations = figures(codes, self.optimizer.n_constraints, self.levels) - self.levels // 2
        self.optimizer.tell(
            codes,
            figures(codes, self.optimizer.n_objectives, self.levels),
            constraints=violations if self.optimizer.n_constraints else None,
        )
        self.known |= set(map(bytes, codes))

    def take(self, n: int, rng: np.random.Generator) -> Codes:
        """Some that are waiting, in any order, no longer waiting."""
        order = rng.permutation(len(self.waiting))
        taken = [self.waiting[i] for i in order[:n]]
        self.waiting = [self.waiting[i] for i in sorted(order[n:])]
        return np.array(taken, dtype=np.int8).reshape(-1, len(self.optimizer.space.columns))


def choices(*values: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True).map(sorted)


SPACES = st.builds(
    SearchSpace,
    st.just("small"),
    embed_dim=choices(8, 16),
    n_layer=choices(1, 2),
    mlp_ratio=choices(1, 2),
    n_head=st.just([1]) | st.just([1, 3]),
    bias=st.sampled_from([[True], [False], [False, True]]),
).filter(lambda space: space.size <= 48)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "tell", "tell", "fail", "lose", "warm"]), st.integers(0, 9)
    ),
    max_size=15,
)


# -- asks and tells in any order -----------------------------------------------------------------


def examples(name: str, n: int) -> int:
    """How many examples to try: few of an optimizer that fits a model at every step."""
    return 2 if name in MODELS else n


def spaces_for(name: str) -> st.SearchStrategy[SearchSpace]:
    """Spaces that are quickly exhausted, and for such an optimizer more quickly still."""
    return SPACES.filter(lambda space: name not in MODELS or space.size <= 12)


@every
def test_any_order_of_asks_and_tells(name: str) -> None:
    numbers = st.integers(2, 5), st.integers(0, 2), st.sampled_from([1, 3, 999])

    @given(st.tuples(spaces_for(name), STEPS, *numbers, st.data()))
    @settings(max_examples=examples(name, 50))
    def check(drawn: tuple[Any, ...]) -> None:
        any_order(name, *drawn)

    check()


def any_order(
    name: str,
    space: SearchSpace,
    steps: list[tuple[str, int]],
    m: int,
    c: int,
    levels: int,
    data: st.DataObject,
) -> None:
    seed = data.draw(st.integers(0, 2**32 - 1), label="seed")
    rng = np.random.default_rng(seed)
    search = Search(made(name, space, m, seed=seed, c=c), levels)
    for step, n in steps:
        if step == "ask":
            search.ask(max(n, 1))
        elif step == "tell":
            search.tell(search.take(n, rng))
        elif step == "fail":
            search.optimizer.fail(search.take(n, rng), "made up")
        elif step == "warm":
            search.tell(space.sample(n, rng))
        else:
            search.lost += list(search.take(n, rng))

    while not search.exhausted:
        search.ask(1 + seed % 8)
        if not search.waiting:  # nothing more until the lost ones come
            search.waiting, search.lost = search.lost, []
            seed += 1
        some = search.take(1 + seed % 8, rng)
        if seed % 3:
            search.tell(some)
        else:
            search.optimizer.fail(some, "made up")
    search.tell(np.concatenate([space.encode([]), *[row[None] for row in search.lost]]))


@every
def test_a_space_is_exhausted_exactly(name: str) -> None:
    @given(spaces_for(name), st.integers(0, 99), st.integers(1, 70))
    @settings(max_examples=examples(name, 10))
    def check(space: SearchSpace, seed: int, n: int) -> None:
        search = Search(made(name, space, seed=seed))
        while not search.exhausted:
            search.tell(search.ask(n))
        assert len(search.known) == len(search.optimizer.history) == space.size
        for _ in range(2):
            with pytest.raises(SpaceExhausted):
                search.optimizer.ask(1)

    check()


@every
def test_nothing_works(name: str, small_space: SearchSpace) -> None:
    """Every evaluation fails, and still every network is tried once."""
    search = Search(made(name, small_space))
    while not search.exhausted:
        search.optimizer.fail(search.ask(50), "made up")
    assert len(search.optimizer.recommend()) == 0


@every
def test_what_others_found_is_not_proposed(name: str, small_space: SearchSpace) -> None:
    """A warm start, then tells of others' networks between asks and tells of its own."""
    search = Search(made(name, small_space))
    rest = np.random.default_rng(0).permutation(np.concatenate(list(small_space.enumerate())))
    search.tell(rest[:100])
    for i in range(100, 100 + 10 * examples(name, 10), 10):
        codes = search.ask(3)  # `Search` sees that these are new
        search.tell(rest[i : i + 10])
        search.tell(codes)


@every
def test_being_told_nothing(name: str, small_space: SearchSpace) -> None:
    search = Search(made(name, small_space))
    nothing = small_space.encode([])
    search.tell(nothing)
    search.tell(search.ask(4))
    search.tell(nothing)
    assert len(search.ask(4))


# -- chance --------------------------------------------------------------------------------------


def played(name: str, space: SearchSpace, seed: int) -> list[Any]:
    """The proposals of a search with partial tells, failures and a warm start."""
    search = Search(made(name, space, seed=seed))
    rng = np.random.default_rng(0)
    search.tell(next(space.enumerate())[:2])
    asked = []
    for _ in range(examples(name, 9) + 1):
        asked.append(search.ask(5).tolist())
        search.optimizer.fail(search.take(1, rng), "made up")
        search.tell(search.take(3, rng))
    return asked


@every
def test_the_seed_is_the_only_chance(name: str, small_space: SearchSpace) -> None:
    runs = []
    for elsewhere in (1, 2):
        np.random.seed(elsewhere)  # noqa: NPY002 - the global generator is what this is about
        random.seed(elsewhere)
        before = np.random.get_state(legacy=False), random.getstate()  # noqa: NPY002
        runs.append(played(name, small_space, 7))
        after = np.random.get_state(legacy=False), random.getstate()  # noqa: NPY002
        np.testing.assert_equal(after, before)
    assert runs[0] == runs[1]
    assert played(name, small_space, 8) != runs[0]


@every
def test_two_at_once_do_not_meet(name: str, small_space: SearchSpace) -> None:
    searches = [Search(made(name, small_space, seed=3)) for _ in range(2)]
    for _ in range(examples(name, 5)):
        first, second = (search.ask(3) for search in searches)
        np.testing.assert_array_equal(first, second)
        for search, codes in zip(searches, (first, second), strict=True):
            search.tell(codes)


# -- what is recommended -------------------------------------------------------------------------


@every
@pytest.mark.parametrize("c", [0, 1])
@pytest.mark.parametrize("m", [2, 3, 4, 5])
def test_the_non_dominated_are_recommended(
    name: str, small_space: SearchSpace, m: int, c: int
) -> None:
    search = Search(made(name, small_space, m, seed=m, c=c), levels=30)
    if name in MODELS:  # which would fit a model for every proposal
        everything = np.concatenate(list(small_space.enumerate()))
        search.tell(np.random.default_rng(m).permutation(everything)[:40])
    while len(search.optimizer.history) < 40:
        search.tell(search.ask(10))
    told = search.optimizer.history
    keep = np.flatnonzero((told.constraints <= 0).all(axis=1))
    assert c == 0 or 0 < len(keep) < len(told)
    keep = keep[~dominated(told.losses[keep])]
    found = search.optimizer.recommend()
    assert set(map(bytes, found)) == set(map(bytes, told.codes[keep]))
    assert len(found) == len(keep)
    assert len(search.optimizer.recommend(1)) == 1


@every
def test_the_feasible_come_first(name: str, small_space: SearchSpace) -> None:
    optimizer = made(name, small_space, c=2)
    codes = proposals(optimizer, 3)
    while len(codes) < 3:
        codes = np.concatenate([codes, proposals(optimizer, 3 - len(codes))])
    optimizer.tell(codes[:2], np.zeros((2, 2)), constraints=np.array([[1, 0], [-9, 1e-9]]))
    assert len(optimizer.recommend()) == 2  # better than nothing
    optimizer.tell(codes[2:], np.ones((1, 2)), constraints=np.array([[0, -1]]))
    np.testing.assert_array_equal(optimizer.recommend(), codes[2:])


# -- manners -------------------------------------------------------------------------------------


@every
def test_form(name: str, small_space: SearchSpace) -> None:
    cls = class_of(name)
    assert inspect.getdoc(cls)
    for parameter in inspect.signature(cls).parameters.values():
        assert parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    assert made(name, small_space).batch >= 1
    with pytest.raises(UnknownName, match="pop_sze"):
        optimizer(name, small_space, 2, seed=0, pop_sze=4)


@every
def test_what_is_handed_over_belongs_to_the_caller(name: str, small_space: SearchSpace) -> None:
    kept, spoilt = (Search(made(name, small_space)) for _ in range(2))
    for _ in range(4):
        codes, same = kept.ask(3), spoilt.ask(3)
        np.testing.assert_array_equal(codes, same)
        losses = figures(codes, 2)
        for search, mine in ((kept, codes), (spoilt, same)):
            search.optimizer.tell(mine, losses)
            np.testing.assert_array_equal(mine, codes)
            np.testing.assert_array_equal(losses, figures(codes, 2))
        same[:], losses[:] = 0, 0


@pytest.mark.parametrize("name", ["additive", "nsga2", "smsemoa"])
def test_stopped_networks_teach_what_is_feasible(name: str) -> None:
    """One network in fifty keeps the bound; without their violations no search could find more."""
    space = SearchSpace(
        "ten", embed_dim=[8, 16], n_layer=[10], mlp_ratio=[1, 2, 3], n_head=[1, 2, 3], head_size=4
    )
    params = space.params(space.sample(4000, np.random.default_rng(1))).astype(float)
    bound = float(np.quantile(params, 0.02))
    searching = made(name, space, c=1)
    feasible = []
    for _ in range(30):
        codes = proposals(searching, 5)
        violations = space.params(codes)[:, None] - bound
        kept = violations[:, 0] <= 0
        feasible += kept.tolist()
        searching.tell(codes[kept], figures(codes[kept], 2), constraints=violations[kept])
        for i in np.flatnonzero(~kept):
            searching.tell_infeasible(codes[i : i + 1], violations[i : i + 1])
    assert np.mean(feasible[75:]) > 0.2
