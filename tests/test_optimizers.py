from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hwnas.errors import HwnasError, InvalidInput, SpaceExhausted
from hwnas.optimizers import MultiFidelityOptimizer, Optimizer, UniqueSampler
from hwnas.spaces import Codes, GPTSpace, SearchSpace


class Minimal(Optimizer):
    """All that a plugin author must write."""

    def ask(self, n: int) -> Codes:
        return self.space.sample(n, self.rng)


class Listening(Minimal):
    """Keeps what its `tell` was given; told must be complete by then."""

    def __init__(self, space: SearchSpace, n_objectives: int, **rest: Any) -> None:
        super().__init__(space, n_objectives, **rest)
        self.heard: list[tuple[Any, ...]] = []

    def tell(self, codes: Codes, losses: Any, *, std: Any = None, constraints: Any = None) -> None:
        self.heard.append((codes, losses, std, constraints, len(self.history)))


class Deferring(Listening):
    """Calls its parent's `tell`, which is wrapped too, and that one's parent's."""

    def tell(self, codes: Codes, losses: Any, *, std: Any = None, constraints: Any = None) -> None:
        super().tell(codes, losses, std=std, constraints=constraints)


class Own(Minimal):
    """Settings of its own."""

    def __init__(self, space: SearchSpace, n_objectives: int, *, seed: int, width: int = 3) -> None:
        super().__init__(space, n_objectives, seed=seed)
        self.width = width


KINDS = [Minimal, Listening, Deferring, Own]


def results(
    space: SearchSpace, n: int = 6, m: int = 2, seed: int = 0
) -> tuple[Codes, NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    return space.sample(n, rng), rng.random((n, m))


# -- told ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_told_is_kept_once_and_in_order(
    small_space: SearchSpace, kind: type[Optimizer]
) -> None:
    codes, losses = results(small_space)
    optimizer = kind(small_space, 2, seed=0)
    assert len(optimizer.history) == 0
    assert optimizer.history.codes.shape == (0, 9)
    assert optimizer.history.losses.shape == (0, 2)
    for part in (slice(0, 1), slice(1, 1), slice(1, 4), slice(4, 6)):
        optimizer.tell(codes[part], losses[part])
        assert len(optimizer.history) == part.stop
        np.testing.assert_array_equal(optimizer.history.codes, codes[: part.stop])
    np.testing.assert_array_equal(optimizer.history.losses, losses)
    np.testing.assert_array_equal(optimizer.history.std, np.zeros((6, 2)))
    assert optimizer.history.constraints.shape == (6, 0)
    assert optimizer.history.codes.dtype == np.int8
    assert optimizer.history.losses.dtype == np.float64


@pytest.mark.parametrize("kind", [Minimal, Listening, Deferring])
def test_noise_and_constraints_are_kept(small_space: SearchSpace, kind: type[Optimizer]) -> None:
    codes, losses = results(small_space)
    optimizer = kind(small_space, 2, seed=0, n_constraints=1)
    optimizer.tell(codes, losses, std=losses / 10, constraints=losses[:, :1] - 0.5)
    optimizer.tell(codes, losses, constraints=losses[:, :1])
    np.testing.assert_array_equal(optimizer.history.std, np.vstack([losses / 10, losses * 0]))
    np.testing.assert_array_equal(
        optimizer.history.constraints, np.vstack([losses[:, :1] - 0.5, losses[:, :1]])
    )


def test_averaged(small_space: SearchSpace) -> None:
    """Every network once, as first told: means, and errors that fall with the root of counts."""
    b, c, a = next(small_space.enumerate())[:3]
    optimizer = Minimal(small_space, 2, seed=0, n_constraints=1)
    assert [part.shape for part in optimizer.history.averaged()] == [(0, 9), (0, 2), (0, 2), (0, 1)]
    optimizer.tell([a, b, a], [[1, 5], [2, 2], [3, 6]], constraints=[[-1], [1], [2]])
    optimizer.tell([c, b], [[0, 0], [4, 2]], std=[[9, 1], [3, 4]], constraints=[[0], [0]])
    optimizer.tell([b], [[0, -1]], std=[[4, 0]], constraints=[[-7]])
    codes, losses, std, violations = optimizer.history.averaged()
    np.testing.assert_array_equal(codes, [a, b, c])
    np.testing.assert_array_equal(losses, [[2, 5.5], [2, 1], [0, 0]])
    np.testing.assert_allclose(std, [[0, 0], [5 / 3, 4 / 3], [9, 1]])
    np.testing.assert_array_equal(violations, [[0.5], [-2], [0]])
    assert codes.dtype == np.int8
    assert len(optimizer.history) == 6


@pytest.mark.parametrize("kind", [Listening, Deferring])
def test_a_tell_hears_what_was_told_and_finds_it_kept(
    small_space: SearchSpace, kind: type[Listening]
) -> None:
    codes, losses = results(small_space)
    optimizer = kind(small_space, 2, seed=0)
    optimizer.tell(codes.tolist(), losses.tolist())
    optimizer.tell(codes, losses, std=losses)
    first, second = optimizer.heard
    np.testing.assert_array_equal(first[0], codes)
    assert first[0].dtype == np.int8
    np.testing.assert_array_equal(first[1], losses)
    assert first[2:] == (None, None, 6)
    np.testing.assert_array_equal(second[2], losses)
    assert second[3:] == (None, 12)


def test_told_is_not_the_callers_array(small_space: SearchSpace) -> None:
    codes, losses = results(small_space)
    optimizer = Minimal(small_space, 2, seed=0)
    given = codes.copy(), losses.copy()
    optimizer.tell(*given)
    given[0][:], given[1][:] = 1, -1
    np.testing.assert_array_equal(optimizer.history.codes, codes)
    np.testing.assert_array_equal(optimizer.history.losses, losses)


def test_optimizers_share_nothing(small_space: SearchSpace) -> None:
    one, other = (Minimal(small_space, 2, seed=0) for _ in range(2))
    one.tell(*results(small_space))
    assert len(other.history) == 0


def test_a_tell_that_raises_spoils_no_later_one(small_space: SearchSpace) -> None:
    class Moody(Minimal):
        mood = "bad"

        def tell(self, codes: Codes, losses: Any, *, std: Any = None, **_: Any) -> None:
            if self.mood == "bad":
                raise RuntimeError("not today")

    optimizer = Moody(small_space, 2, seed=0)
    with pytest.raises(RuntimeError, match="not today"):
        optimizer.tell(*results(small_space))
    before = len(optimizer.history)
    optimizer.mood = "good"
    optimizer.tell(*results(small_space))
    assert len(optimizer.history) == before + 6


@pytest.mark.parametrize("kind", [Minimal, Deferring])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"losses": np.ones((6, 3))}, r"losses of shape \(6, 2\), found \(6, 3\)"),
        ({"losses": np.ones((5, 2))}, r"losses of shape \(6, 2\), found \(5, 2\)"),
        ({"losses": np.ones(6)}, r"losses of shape \(6, 2\), found \(6,\)"),
        ({"losses": np.full((6, 2), np.nan)}, "finite losses"),
        ({"losses": np.full((6, 2), -np.inf)}, "finite losses"),
        ({"std": np.ones((6, 1))}, r"std of shape \(6, 2\), found \(6, 1\)"),
        ({"constraints": np.ones((6, 2))}, r"constraints of shape \(6, 1\), found \(6, 2\)"),
        ({"constraints": None}, r"constraints of shape \(6, 1\), found none"),
        ({"codes": np.zeros((6, 8), dtype=np.int8)}, r"\(6, 8\)"),
        ({"codes": np.zeros(6, dtype=np.int8)}, r"\(6,\)"),
    ],
)
def test_what_cannot_be_told(
    small_space: SearchSpace, kind: type[Optimizer], change: dict[str, Any], message: str
) -> None:
    codes, losses = results(small_space)
    optimizer = kind(small_space, 2, seed=0, n_constraints=1)
    how = {"codes": codes, "losses": losses, "constraints": losses[:, :1], **change}
    with pytest.raises(InvalidInput, match=message) as caught:
        optimizer.tell(how.pop("codes"), how.pop("losses"), **how)
    assert "\n" not in str(caught.value)
    assert len(optimizer.history) == 0
    optimizer.tell(codes, losses, constraints=losses[:, :1])
    assert len(optimizer.history) == 6


def test_constraints_that_nobody_expects(small_space: SearchSpace) -> None:
    codes, losses = results(small_space)
    with pytest.raises(InvalidInput, match=r"constraints of shape \(6, 0\), found \(6, 1\)"):
        Minimal(small_space, 2, seed=0).tell(codes, losses, constraints=losses[:, :1])


# -- recommend -----------------------------------------------------------------------------------


@given(st.data())
def test_recommend_is_the_non_dominated_by_observed_means(
    small_space: SearchSpace, data: st.DataObject
) -> None:
    n = data.draw(st.integers(0, 12))
    few = next(small_space.enumerate())[:5]
    codes = few[data.draw(st.lists(st.integers(0, len(few) - 1), min_size=n, max_size=n))]
    numbers = st.lists(st.integers(-2, 2), min_size=2, max_size=2)
    losses = np.array(data.draw(st.lists(numbers, min_size=n, max_size=n)), dtype=float)
    violations = np.array(data.draw(st.lists(numbers, min_size=n, max_size=n)), dtype=float)
    losses, violations = losses.reshape(n, 2), violations.reshape(n, 2)

    optimizer = Minimal(small_space, 2, seed=0, n_constraints=2)
    cut = data.draw(st.integers(0, n))
    optimizer.tell(codes[:cut], losses[:cut], constraints=violations[:cut])
    optimizer.tell(codes[cut:], losses[cut:], constraints=violations[cut:])

    means = {}
    for key in set(map(bytes, codes)):
        mine = [bytes(code) == key for code in codes]
        means[key] = losses[mine].mean(axis=0), violations[mine].mean(axis=0)
    feasible = {key for key, (_, violation) in means.items() if (violation <= 0).all()} or set(
        means
    )
    expected = {
        key
        for key in feasible
        if not any(
            (means[other][0] <= means[key][0]).all() and (means[other][0] < means[key][0]).any()
            for other in feasible
        )
    }
    found = optimizer.recommend()
    assert found.dtype == np.int8
    assert found.shape == (len(expected), 9)
    assert set(map(bytes, found)) == expected
    for most in (0, 1, 3, 100):
        np.testing.assert_array_equal(optimizer.recommend(most), found[:most])


def test_recommend_by_hand(small_space: SearchSpace) -> None:
    a, b, c = next(small_space.enumerate())[:3]
    optimizer = Minimal(small_space, 2, seed=0)
    assert optimizer.recommend().shape == (0, 9)
    optimizer.tell([a, b, c], [[0, 0], [1, 1], [2, 0.5]])
    assert optimizer.recommend().tolist() == [a.tolist()]
    optimizer.tell([a], [[4, 4]])  # a was luck: its mean is (2, 2)
    assert optimizer.recommend().tolist() == [b.tolist(), c.tolist()]


def test_recommend_takes_the_feasible_first(small_space: SearchSpace) -> None:
    a, b = next(small_space.enumerate())[:2]
    optimizer = Minimal(small_space, 1, seed=0, n_constraints=1)
    optimizer.tell([a], [[0]], constraints=[[1]])
    assert optimizer.recommend().tolist() == [a.tolist()]  # better than nothing
    optimizer.tell([b], [[9]], constraints=[[0]])
    assert optimizer.recommend().tolist() == [b.tolist()]


# -- the bases -----------------------------------------------------------------------------------


def test_an_optimizer_must_ask(small_space: SearchSpace) -> None:
    class Unfinished(Optimizer):
        pass

    with pytest.raises(TypeError, match="ask"):
        Unfinished(small_space, 2, seed=0)  # type: ignore[abstract]


def test_settings_are_named(small_space: SearchSpace) -> None:
    assert Own(small_space, 2, seed=0, width=5).width == 5
    with pytest.raises(TypeError, match="widht"):
        Own(small_space, 2, seed=0, widht=5)  # type: ignore[call-arg]


def test_the_seed_is_the_only_chance(small_space: SearchSpace) -> None:
    first, second, other = (Minimal(small_space, 2, seed=seed) for seed in (1, 1, 2))
    np.random.seed(0)  # noqa: NPY002 - the global generator must not matter
    asked = first.ask(50)
    np.testing.assert_array_equal(asked, second.ask(50))
    assert (asked != other.ask(50)).any()


def test_defaults(small_space: SearchSpace) -> None:
    optimizer = Minimal(small_space, 2, seed=0)
    assert (optimizer.batch, optimizer.n_objectives, optimizer.n_constraints) == (1, 2, 0)
    assert (optimizer.generation, optimizer.n_initial) == (1, 0)
    assert optimizer.claims_to_beat_random
    assert optimizer.handles_constraints
    assert optimizer.space is small_space
    optimizer.fail(optimizer.ask(2), "broken")
    assert len(optimizer.history) == 0


def test_multi_fidelity(small_space: SearchSpace) -> None:
    class Halving(MultiFidelityOptimizer):
        def ask(self, n: int) -> tuple[Codes, int]:  # type: ignore[override]
            return self.space.sample(n, self.rng), self.fidelities[0]

    optimizer = Halving(small_space, 2, seed=0, fidelities=[1, 3, 9], n_constraints=1)
    assert optimizer.fidelities == (1, 3, 9)
    codes, fidelity = optimizer.ask(4)
    assert fidelity == 1
    optimizer.tell(codes, np.ones((4, 2)), constraints=np.zeros((4, 1)))
    assert len(optimizer.history) == 4


# -- unseen --------------------------------------------------------------------------------------


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(1, 120), min_size=1, max_size=8),
)
def test_unseen_never_repeats_and_ends_exactly(
    small_space: SearchSpace, seed: int, sizes: list[int]
) -> None:
    unseen = UniqueSampler(small_space, np.random.default_rng(seed))
    seen: set[bytes] = set()
    for n in [*sizes, small_space.size]:
        if len(seen) == small_space.size:
            break
        codes = unseen.sample(n)
        assert codes.dtype == np.int8
        assert small_space.is_valid(codes).all()
        assert len(codes) == min(n, small_space.size - len(seen))
        fresh = set(map(bytes, codes))
        assert len(fresh) == len(codes)
        assert not fresh & seen
        seen |= fresh
        assert len(unseen) == len(seen)
    assert len(seen) == small_space.size
    with pytest.raises(SpaceExhausted, match="all 272 architectures of tiny are taken"):
        unseen.sample(1)


@given(
    st.lists(st.tuples(st.sampled_from(["take", "sample"]), st.integers(1, 80)), max_size=10),
    st.integers(0, 99),
)
def test_unseen_heeds_what_others_took(
    small_space: SearchSpace, steps: list[tuple[str, int]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    unseen = UniqueSampler(small_space, rng)
    seen: set[bytes] = set()
    for step, n in steps:
        if len(seen) == small_space.size:
            break
        if step == "sample":
            fresh = list(map(bytes, unseen.sample(n)))
        else:
            given_ = small_space.sample(n, rng)
            fresh = list(map(bytes, unseen.take(given_)))
            expected = [key for key in dict.fromkeys(map(bytes, given_)) if key not in seen]
            assert fresh == expected
        assert not seen & set(fresh)
        seen |= set(fresh)
    assert len(unseen) == len(seen)


def test_unseen_is_deterministic(small_space: SearchSpace) -> None:
    def taken(seed: int) -> list[Any]:
        unseen = UniqueSampler(small_space, np.random.default_rng(seed))
        return [unseen.sample(n).tolist() for n in (3, 100, 50, 119)]

    assert taken(5) == taken(5)
    assert taken(5) != taken(6)


def test_the_last_unseen_come_in_no_order(small_space: SearchSpace) -> None:
    everything = np.concatenate(list(small_space.enumerate()))
    unseen = UniqueSampler(small_space, np.random.default_rng(0))
    unseen.take(everything[::2])
    unseen.sample(10)  # more than half is seen from here on
    rank = {bytes(code): i for i, code in enumerate(everything)}
    ranks = [rank[bytes(code)] for code in unseen.sample(100)]
    assert abs(np.corrcoef(ranks, np.arange(100))[0, 1]) < 0.4


def test_unseen_knows_its_own(small_space: SearchSpace) -> None:
    unseen = UniqueSampler(small_space, np.random.default_rng(0))
    (code,) = unseen.sample(1)
    (other,) = small_space.neighbours(code)[:1]
    assert code in unseen
    assert other not in unseen
    assert unseen.take(np.array([other, code, other])).tolist() == [other.tolist()]
    assert other in unseen


def test_unseen_of_none(small_space: SearchSpace) -> None:
    unseen = UniqueSampler(small_space, np.random.default_rng(0))
    assert unseen.sample(0).shape == (0, 9)
    assert unseen.take(small_space.encode([])).shape == (0, 9)
    assert len(unseen) == 0


@pytest.mark.parametrize("depths", [[1], [2], [1, 2]])
def test_unseen_of_tiny_spaces(depths: list[int]) -> None:
    space = GPTSpace("x", embed_dim=[64], n_layer=depths, mlp_ratio=[1, 2], n_head=[1], bias=[True])
    unseen = UniqueSampler(space, np.random.default_rng(0))
    codes = np.concatenate([unseen.sample(1) for _ in range(space.size)])
    assert len(np.unique(codes, axis=0)) == space.size
    with pytest.raises(HwnasError):
        unseen.sample(1)


def test_unseen_of_a_vast_space_lists_nothing() -> None:
    space = GPTSpace(
        "vast", embed_dim=[64], n_layer=[1, 500], mlp_ratio=[1, 2, 3], n_head=[1, 2, 3]
    )
    unseen = UniqueSampler(space, np.random.default_rng(0))
    # Half of the draws are of the 18 shallow networks, which are soon all taken.
    codes = unseen.sample(300)
    assert len(np.unique(codes, axis=0)) == 300


def test_a_constructor_that_leaves_out_the_base_is_named(small_space: SearchSpace) -> None:
    class Forgetful(Optimizer):
        def __init__(self, space: SearchSpace) -> None:
            self.mine = space

        def ask(self, n: int) -> Codes:
            return self.space.sample(n, self.rng)

    optimizer = Forgetful(small_space)
    codes = small_space.sample(2, np.random.default_rng(0))
    for use in (lambda: optimizer.ask(1), lambda: optimizer.tell(codes, np.ones((2, 2)))):
        with pytest.raises(AttributeError, match=r"Forgetful has no .*must call super\(\)"):
            use()
    with pytest.raises(AttributeError, match="object has no attribute 'nothing'"):
        _ = optimizer.nothing


def test_hooks_of_former_names_still_serve(small_space: SearchSpace) -> None:
    with pytest.warns(DeprecationWarning, match="is now called") as warned:

        class Former(Optimizer):
            def __init__(self, space: SearchSpace) -> None:
                super().__init__(space, 2, seed=0)
                self.received: list[str] = []

            def ask(self, n: int) -> Codes:
                return self.space.sample(n, self.rng)

            def tell(self, codes: Codes, losses: Any, **_: Any) -> None:
                self.received.append("tell")

            def stopped(self, codes: Codes, constraints: Any) -> None:
                self.received.append("stopped")

            def notes(self) -> list[str]:
                return ["a note"]

    assert len(warned) == 3
    optimizer = Former(small_space)
    codes = optimizer.ask(2)
    optimizer.tell(codes, np.ones((2, 2)))
    optimizer.tell_infeasible(codes, np.ones((2, 0)))
    assert optimizer.received == ["tell", "stopped"]
    assert optimizer.diagnostics() == ["a note"]
    assert len(optimizer.history) == 2
    with pytest.warns(DeprecationWarning, match="history"):
        assert optimizer.told is optimizer.history


def test_former_hooks_may_call_those_of_their_parent(small_space: SearchSpace) -> None:
    class Current(Minimal):
        def __init__(self, space: SearchSpace) -> None:
            super().__init__(space, 2, seed=0)
            self.received: list[str] = []

        def update(self, codes: Codes, losses: Any, **_: Any) -> None:
            self.received.append("parent")

        def tell_infeasible(self, codes: Codes, constraints: Any) -> None:
            self.received.append("parent")

        def diagnostics(self) -> list[str]:
            return ["parent"]

    with pytest.warns(DeprecationWarning, match="is now called"):

        class Former(Current):
            def tell(self, codes: Codes, losses: Any, **kwargs: Any) -> None:
                super().tell(codes, losses, **kwargs)
                self.received.append("child")

            def stopped(self, codes: Codes, constraints: Any) -> None:
                super().stopped(codes, constraints)
                self.received.append("child")

            def notes(self) -> list[str]:
                return [*super().notes(), "child"]

    optimizer = Former(small_space)
    codes = small_space.sample(2, np.random.default_rng(0))
    optimizer.tell(codes, np.ones((2, 2)))
    assert optimizer.received == ["parent", "child"]
    assert len(optimizer.history) == 2
    with pytest.warns(DeprecationWarning, match="tell_infeasible"):
        optimizer.tell_infeasible(codes, np.ones((2, 0)))
    assert optimizer.received == ["parent", "child"] * 2
    with pytest.warns(DeprecationWarning, match="diagnostics"):
        assert optimizer.diagnostics() == ["parent", "child"]
