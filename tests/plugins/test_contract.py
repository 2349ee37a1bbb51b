"""Tests of the contract that every optimizer fulfils."""

from __future__ import annotations

import inspect
import random
from typing import Any

import numpy as np
import pytest
from by_cost import by_cost
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hwnas.errors import MissingExtra, SpaceExhausted, UnknownName
from hwnas.form_errors import MAX_SEED
from hwnas.optimizers import Optimizer
from hwnas.registry import lookup, names, optimizer, settings_of
from hwnas.spaces import Codes, GPTSpace, SearchSpace
from hwnas.typing import Array

NAMES = names("optimizer")
# These fit a model at every step, so that few examples and steps are affordable.
MODELS = {"ehvi", "parego", "lsbo", "rsbo", "motpe", "gp"}
every = pytest.mark.parametrize("name", by_cost(NAMES))


def class_of(name: str) -> type[Any]:
    try:
        return lookup("optimizer", name)
    except MissingExtra as missing:
        pytest.skip(str(missing))


def create(name: str, space: SearchSpace, m: int = 2, *, seed: int = 0, c: int = 0) -> Optimizer:
    """Return an optimizer with settings so small that a test has several generations."""
    settings_by_name = settings_of(class_of(name))
    small_settings = {"pop_size": 5, "initial": 3, "candidates": 16, "rounds": 1, "samples": 4}
    small: dict[str, Any] = {
        key: value for key, value in small_settings.items() if key in settings_by_name
    }
    return optimizer(name, space, m, seed=seed, n_constraints=c, **small)


def proposals(optimizer: Optimizer, n: int) -> Codes:
    """Return the checked proposals of `optimizer`, without a fidelity."""
    reply: Any = optimizer.ask(n)
    codes: Codes = reply[0] if isinstance(reply, tuple) else reply
    assert isinstance(codes, np.ndarray)
    assert codes.dtype == np.int8
    assert codes.ndim == 2
    assert codes.shape[1] == len(optimizer.space.columns)
    assert len(codes) <= n
    assert optimizer.space.is_valid(codes).all()
    return codes


def synthetic_results(codes: Codes, width: int, levels: int = 1000) -> Array:
    """Return integers (k, width) below `levels` as results; few levels make ties."""
    weights = np.random.default_rng(width).integers(1, 1000, size=(codes.shape[1], width))
    return np.asarray((codes.astype(int) @ weights) % levels, dtype=float)


def dominated(losses: Array) -> NDArray[np.bool_]:
    """Return by definition whether another row is nowhere worse and somewhere better."""
    # Compare all pairs of rows.
    first, second = losses[:, None], losses[None]
    worse = (first <= second).all(axis=2) & (first < second).any(axis=2)
    return np.asarray(worse.any(axis=0))


class Search:
    """A search with one optimizer, and the requirements at every ask."""

    def __init__(self, optimizer: Optimizer, levels: int = 1000) -> None:
        self.optimizer, self.levels = optimizer, levels
        self.pending: list[Codes] = []  # (d,) each: proposed, without a result
        self.lost: list[Codes] = []  # those whose results come at the end
        self.known: set[bytes] = set()  # proposed, or with a result
        self.exhausted = False

    def ask(self, n: int) -> Codes:
        try:
            codes = proposals(self.optimizer, n)
        except SpaceExhausted:
            assert len(self.known) == self.optimizer.space.size
            self.exhausted = True
            return self.optimizer.space.encode([])
        assert len(codes) or self.pending or self.lost, "no proposals and no pending results"
        # No repetition, within an ask or of an earlier proposal or result.
        keys = set(map(bytes, codes))
        assert len(keys) == len(codes), "an architecture twice in one ask"
        assert not keys & self.known, "an architecture proposed again"
        self.known |= keys
        self.pending += list(codes.copy())
        return codes

    def tell(self, codes: Codes) -> None:
        violations = (
            synthetic_results(codes, self.optimizer.n_constraints, self.levels) - self.levels // 2
        )
        self.optimizer.tell(
            codes,
            synthetic_results(codes, self.optimizer.n_objectives, self.levels),
            constraints=violations if self.optimizer.n_constraints else None,
        )
        self.known |= set(map(bytes, codes))

    def take(self, n: int, rng: np.random.Generator) -> Codes:
        """Remove up to `n` random architectures from those that wait, and return them."""
        order = rng.permutation(len(self.pending))
        picked = [self.pending[i] for i in order[:n]]
        self.pending = [self.pending[i] for i in sorted(order[n:])]
        return np.array(picked, dtype=np.int8).reshape(-1, len(self.optimizer.space.columns))


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


# -- order of asks and results -------------------------------------------------------------------


def max_examples_of(name: str, n: int) -> int:
    """Return the number of examples: two for an optimizer that fits a model at every step."""
    return 2 if name in MODELS else n


def spaces_for(name: str) -> st.SearchStrategy[SearchSpace]:
    """Return small spaces, at most 12 architectures for an optimizer that fits models."""
    return SPACES.filter(lambda space: name not in MODELS or space.size <= 12)


@every
def test_any_order_of_asks_and_tells(name: str) -> None:
    numbers = st.integers(2, 5), st.integers(0, 2), st.sampled_from([1, 3, 999])

    @given(st.tuples(spaces_for(name), STEPS, *numbers, st.data()))
    @settings(max_examples=max_examples_of(name, 50))
    def check(arguments: tuple[Any, ...]) -> None:
        run_in_any_order(name, *arguments)

    check()


def run_in_any_order(
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
    search = Search(create(name, space, m, seed=seed, c=c), levels)
    for step, n in steps:
        if step == "ask":
            search.ask(max(n, 1))
        elif step == "tell":
            search.tell(search.take(n, rng))
        elif step == "fail":
            search.optimizer.fail(search.take(n, rng), "synthetic")
        elif step == "warm":
            search.tell(space.sample(n, rng))
        else:
            search.lost += list(search.take(n, rng))

    # Then ask until the space is exhausted; every third batch fails.
    while not search.exhausted:
        search.ask(1 + seed % 8)
        if not search.pending:  # no proposals before the last results
            search.pending, search.lost = search.lost, []
            seed += 1
        batch = search.take(1 + seed % 8, rng)
        if seed % 3:
            search.tell(batch)
        else:
            search.optimizer.fail(batch, "synthetic")
    search.tell(np.concatenate([space.encode([]), *[row[None] for row in search.lost]]))


@every
def test_a_space_is_exhausted_exactly(name: str) -> None:
    @given(spaces_for(name), st.integers(0, 99), st.integers(1, 70))
    @settings(max_examples=max_examples_of(name, 10))
    def check(space: SearchSpace, seed: int, n: int) -> None:
        search = Search(create(name, space, seed=seed))
        while not search.exhausted:
            search.tell(search.ask(n))
        assert len(search.known) == len(search.optimizer.history) == space.size
        for _ in range(2):
            with pytest.raises(SpaceExhausted):
                search.optimizer.ask(1)

    check()


@every
def test_all_evaluations_fail(name: str, small_space: SearchSpace) -> None:
    """Every architecture is still proposed once."""
    search = Search(create(name, small_space))
    while not search.exhausted:
        search.optimizer.fail(search.ask(50), "synthetic")
    assert len(search.optimizer.recommend()) == 0


@every
def test_architectures_with_results_are_not_proposed(name: str, small_space: SearchSpace) -> None:
    """A warm start, then results that were not asked for, between asks and results."""
    search = Search(create(name, small_space))
    shuffled = np.random.default_rng(0).permutation(np.concatenate(list(small_space.enumerate())))
    search.tell(shuffled[:100])
    for i in range(100, 100 + 10 * max_examples_of(name, 10), 10):
        codes = search.ask(3)  # `Search` checks that these are new
        search.tell(shuffled[i : i + 10])
        search.tell(codes)


@every
def test_empty_results(name: str, small_space: SearchSpace) -> None:
    search = Search(create(name, small_space))
    empty = small_space.encode([])
    search.tell(empty)
    search.tell(search.ask(4))
    search.tell(empty)
    assert len(search.ask(4))


# -- randomness ----------------------------------------------------------------------------------


def proposal_sequence(name: str, space: SearchSpace, seed: int) -> list[Any]:
    """Return the proposals of a search with partial results, failures and a warm start."""
    search = Search(create(name, space, seed=seed))
    rng = np.random.default_rng(0)
    search.tell(next(space.enumerate())[:2])
    proposed = []
    for _ in range(max_examples_of(name, 9) + 1):
        proposed.append(search.ask(5).tolist())
        search.optimizer.fail(search.take(1, rng), "synthetic")
        search.tell(search.take(3, rng))
    return proposed


@every
def test_the_seed_determines_the_search(name: str, small_space: SearchSpace) -> None:
    runs = []
    # Global generators must neither be used nor changed.
    for global_seed in (1, 2):
        np.random.seed(global_seed)  # noqa: NPY002 - the global generator is what this is about
        random.seed(global_seed)
        states = np.random.get_state(legacy=False), random.getstate()  # noqa: NPY002
        runs.append(proposal_sequence(name, small_space, 7))
        end_states = np.random.get_state(legacy=False), random.getstate()  # noqa: NPY002
        np.testing.assert_equal(end_states, states)
    assert runs[0] == runs[1]
    assert proposal_sequence(name, small_space, 8) != runs[0]


@every
def test_any_seed_of_an_experiment_is_taken(name: str, small_space: SearchSpace) -> None:
    for seed in (2**32, MAX_SEED):
        again = [Search(create(name, small_space, seed=seed)).ask(3) for _ in range(2)]
        np.testing.assert_array_equal(*again)


@every
def test_two_instances_are_independent(name: str, small_space: SearchSpace) -> None:
    searches = [Search(create(name, small_space, seed=3)) for _ in range(2)]
    for _ in range(max_examples_of(name, 5)):
        first, second = (search.ask(3) for search in searches)
        np.testing.assert_array_equal(first, second)
        for search, codes in zip(searches, (first, second), strict=True):
            search.tell(codes)


# -- recommendations -----------------------------------------------------------------------------


@every
@pytest.mark.parametrize("c", [0, 1])
@pytest.mark.parametrize("m", [2, 3, 4, 5])
def test_the_non_dominated_are_recommended(
    name: str, small_space: SearchSpace, m: int, c: int
) -> None:
    search = Search(create(name, small_space, m, seed=m, c=c), levels=30)
    if name in MODELS:  # a model for every proposal would take long
        all_codes = np.concatenate(list(small_space.enumerate()))
        search.tell(np.random.default_rng(m).permutation(all_codes)[:40])
    while len(search.optimizer.history) < 40:
        search.tell(search.ask(10))
    history = search.optimizer.history
    indices = np.flatnonzero((history.constraints <= 0).all(axis=1))
    assert c == 0 or 0 < len(indices) < len(history)
    indices = indices[~dominated(history.losses[indices])]
    recommended = search.optimizer.recommend()
    assert set(map(bytes, recommended)) == set(map(bytes, history.codes[indices]))
    assert len(recommended) == len(indices)
    assert len(search.optimizer.recommend(1)) == 1


@every
def test_the_feasible_come_first(name: str, small_space: SearchSpace) -> None:
    optimizer = create(name, small_space, c=2)
    codes = proposals(optimizer, 3)
    while len(codes) < 3:
        codes = np.concatenate([codes, proposals(optimizer, 3 - len(codes))])
    optimizer.tell(codes[:2], np.zeros((2, 2)), constraints=np.array([[1, 0], [-9, 1e-9]]))
    assert len(optimizer.recommend()) == 2  # none is feasible
    optimizer.tell(codes[2:], np.ones((1, 2)), constraints=np.array([[0, -1]]))
    np.testing.assert_array_equal(optimizer.recommend(), codes[2:])


# -- declarations --------------------------------------------------------------------------------


def proposals_told(
    name: str, space: SearchSpace, *, sign: int = 1, c: int = 0, violation_sign: int = 1
) -> tuple[list[list[int]], int]:
    """Return the proposals of a search whose results have these signs, and its `n_initial`."""
    settings_by_name = settings_of(class_of(name))
    small_settings = {"pop_size": 4, "initial": 4, "candidates": 16, "rounds": 1, "samples": 4}
    small: dict[str, Any] = {k: v for k, v in small_settings.items() if k in settings_by_name}
    search = optimizer(name, space, 2, seed=0, n_constraints=c, fidelities=(1, 3), **small)
    proposed: list[list[int]] = []
    while len(proposed) < search.n_initial + 12:
        codes = proposals(search, 1)
        proposed += codes.tolist()
        violations = violation_sign * (synthetic_results(codes, 1) - 500) if c else None
        search.tell(codes, sign * synthetic_results(codes, 2), constraints=violations)
    return proposed, search.n_initial


@every
def test_the_initial_design_depends_on_no_result(name: str, small_space: SearchSpace) -> None:
    (first, n), (second, _) = (proposals_told(name, small_space, sign=sign) for sign in (1, -1))
    assert first[:n] == second[:n]
    # Optimizers that learn differ after it.
    assert (first != second) == (name not in ("random", "uniform"))
    assert (n > 0) == (name not in ("random", "uniform", "moasha"))


@every
def test_constraints_change_proposals_as_declared(name: str, small_space: SearchSpace) -> None:
    first, second = (
        proposals_told(name, small_space, c=1, violation_sign=sign)[0] for sign in (1, -1)
    )
    assert (first != second) == class_of(name).handles_constraints


@pytest.mark.parametrize("pop_size", [4, 30])
@pytest.mark.parametrize("name", ["nsga2", "nsga3", "moead", "smsemoa"])
def test_a_generation_is_proposed_before_its_results(
    name: str, pop_size: int, small_space: SearchSpace
) -> None:
    class_of(name)
    search = optimizer(name, small_space, 2, seed=0, pop_size=pop_size)
    sizes = []
    for _ in range(3):
        codes = proposals(search, 1000)
        sizes.append(len(codes))
        assert len(proposals(search, 1)) == 0  # none without the results
        search.tell(codes, synthetic_results(codes, 2))
    assert sizes == [search.n_initial, search.generation, search.generation]


# -- form and ownership --------------------------------------------------------------------------


@every
def test_form(name: str, small_space: SearchSpace) -> None:
    cls = class_of(name)
    assert inspect.getdoc(cls)
    for parameter in inspect.signature(cls).parameters.values():
        assert parameter.kind is not parameter.VAR_POSITIONAL
    assert create(name, small_space).batch >= 1
    with pytest.raises(UnknownName, match="pop_sze"):
        optimizer(name, small_space, 2, seed=0, pop_sze=4)


@every
def test_arrays_may_be_overwritten_by_the_caller(name: str, small_space: SearchSpace) -> None:
    intact, overwritten = (Search(create(name, small_space)) for _ in range(2))
    # Overwritten proposals and losses must not change the second search.
    for _ in range(4):
        codes, same = intact.ask(3), overwritten.ask(3)
        np.testing.assert_array_equal(codes, same)
        losses = synthetic_results(codes, 2)
        for search, own in ((intact, codes), (overwritten, same)):
            search.optimizer.tell(own, losses)
            np.testing.assert_array_equal(own, codes)
            np.testing.assert_array_equal(losses, synthetic_results(codes, 2))
        same[:], losses[:] = 0, 0


@pytest.mark.parametrize("name", ["additive", "nsga2", "smsemoa"])
def test_models_learn_from_infeasible_architectures(name: str) -> None:
    """One architecture in fifty is feasible; the search learns from violations alone."""
    space = GPTSpace(
        "ten", embed_dim=[8, 16], n_layer=[10], mlp_ratio=[1, 2, 3], n_head=[1, 2, 3], head_size=4
    )
    # The bound is the 2 % quantile of the parameter counts.
    params = space.params(space.sample(4000, np.random.default_rng(1))).astype(float)
    bound = float(np.quantile(params, 0.02))
    search = create(name, space, c=1)
    shares = []
    for _ in range(30):
        codes = proposals(search, 5)
        violations = space.params(codes)[:, None] - bound
        mask = violations[:, 0] <= 0
        shares += mask.tolist()
        search.tell(codes[mask], synthetic_results(codes[mask], 2), constraints=violations[mask])
        for i in np.flatnonzero(~mask):
            search.tell_infeasible(codes[i : i + 1], violations[i : i + 1])
    assert np.mean(shares[75:]) > 0.2
