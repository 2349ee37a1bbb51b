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

Array = NDArray[np.float64]

NAMES = names("optimizer")
every = pytest.mark.parametrize("name", NAMES)


def class_of(name: str) -> type[Any]:
    try:
        return lookup("optimizer", name)
    except MissingExtra as missing:
        pytest.skip(str(missing))


def made(name: str, space: SearchSpace, m: int = 2, *, seed: int = 0, c: int = 0) -> Optimizer:
    """An optimizer whose generations, if it has any, are small enough to come to several."""
    small = {"pop_size": 4} if "pop_size" in settings_of(class_of(name)) else {}
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
    found: NDArray[np.bool_] = ((other <= mine).all(axis=2) & (other < mine).any(axis=2)).any(axis=0)
    return found


class Search:
    """An optimizer at work, and what it must keep to at every ask."""

    def __init__(self, optimizer: Optimizer, levels: int = 1000) -> None:
        self.optimizer, self.levels = optimizer, levels
        self.waiting: list[Codes] = []  # (d,) each: proposed, and neither told nor failed
        self.known: set[bytes] = set()  # proposed or told
        self.exhausted = False

    def ask(self, n: int) -> Codes:
        try:
            codes = proposals(self.optimizer, n)
        except SpaceExhausted:
            assert len(self.known) == self.optimizer.space.size
            self.exhausted = True
            return self.optimizer.space.encode([])
        assert len(codes) or self.waiting, "nothing proposed while no result is outstanding"
        keys = set(map(bytes, codes))
        assert len(keys) == len(codes), "one network twice in an ask"
        assert not keys & self.known, "a network again"
        self.known |= keys
        self.waiting += list(codes.copy())
        return codes

    def tell(self, codes: Codes) -> None:
        slacks = figures(codes, self.optimizer.n_constraints, self.levels) - self.levels // 2
        self.optimizer.tell(
            codes,
            figures(codes, self.optimizer.n_objectives, self.levels),
            constraints=slacks if self.optimizer.n_constraints else None,
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


@every
@given(SPACES, STEPS, st.integers(2, 5), st.integers(0, 2), st.sampled_from([1, 3, 1000]), st.data())
@settings(max_examples=25)
def test_any_order_of_asks_and_tells(
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
    lost: list[Codes] = []
    for step, n in steps:
        if step == "ask" and not search.exhausted:
            search.ask(max(n, 1))
        elif step == "tell":
            search.tell(search.take(n, rng))
        elif step == "fail":
            search.optimizer.fail(search.take(n, rng), "made up")
        elif step == "warm":
            search.tell(space.sample(n, rng))
        elif step == "lose":
            lost += list(search.take(n, rng))

    # To the end, and those that were lost come last, if at all.
    while not search.exhausted:
        search.waiting += lost
        new = search.ask(int(rng.integers(1, 9)))
        search.waiting = search.waiting[len(search.waiting) - len(new) :] if len(new) else []
        if len(new):
            search.tell(search.take(len(new), rng))
        elif not search.exhausted:
            late, lost = lost, []
            if seed % 2:
                search.tell(np.array(late))
            else:
                search.optimizer.fail(np.array(late), "lost")
    assert len(search.known) == space.size
