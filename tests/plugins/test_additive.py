"""What the additive optimizer finds, and what it makes of results."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
import pytest
from hwnas_plugins.additive import Additive, start
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas import pareto
from hwnas.errors import InvalidInput, SpaceExhausted
from hwnas.optimizers import Optimizer
from hwnas.registry import optimizer
from hwnas.spaces import Codes, SearchSpace, space
from hwnas.typing import Array


@cache
def bench() -> SearchSpace:
    """18,144 networks."""
    return SearchSpace(
        "x", embed_dim=[8, 16], n_layer=[4, 5], mlp_ratio=[1, 2, 3], n_head=[1, 2], bias=[True]
    )


@cache
def everything() -> Codes:
    return np.concatenate(list(bench().enumerate()))


def losses(codes: Codes, m: int = 2) -> Array:
    """An error, which early layers lower most; a cost; heads; and width against depth, (n, m)."""
    ratio, head = np.swapaxes(codes[:, 3:].reshape(len(codes), -1, 2), 0, 2).astype(float)
    ratio, head = ratio.T, head.T  # (n, L)
    there = np.arange(5) < np.array([4, 5])[codes[:, 1]][:, None]
    wide = codes[:, 0].astype(float)
    gain = (1 + 1.3 * np.sqrt(ratio) + 0.4 * head) * (1 - 0.1 * np.arange(5))
    error = 100 - 12 * wide - (gain * there).sum(axis=1) * (1 + wide) ** 0.5
    cost = ((1 + 2 * ratio + head) * there).sum(axis=1) * (1 + wide) + 20 * wide
    fewest = ((3 - 2 * head + 0.1 * ratio * np.arange(5)) * there).sum(axis=1)
    late = ((ratio - 1) ** 2 * there).sum(axis=1) - 2 * wide
    return np.stack([error, cost, fewest, late], axis=1)[:, :m]


def made(n_constraints: int = 0, *, m: int = 2, seed: int = 0, **settings: Any) -> Additive:
    return Additive(bench(), m, seed=seed, n_constraints=n_constraints, **settings)


def searched(search: Optimizer, n: int, at_once: int = 4, units: float = 1.0) -> Codes:
    """The first `n` proposals, several asked for at once."""
    parts: list[Codes] = []
    while (missing := n - sum(map(len, parts))) > 0:
        parts.append(search.ask(min(at_once, missing)))
        search.tell(parts[-1], losses(parts[-1], search.n_objectives) * units)
    return np.concatenate(parts)


def share(codes: Codes, m: int = 2) -> float:
    """Of the hypervolume of the exact front."""
    everywhere = losses(everything(), m)
    reference = everywhere.max(axis=0)
    whole = pareto.hypervolume(everywhere[pareto.non_dominated(everywhere)], reference)
    return pareto.hypervolume(losses(codes, m), reference) / whole


# -- what it finds -------------------------------------------------------------------------------


def test_the_exact_front() -> None:
    """All of 51 points, of 18,144 networks, within 160."""
    search = made()
    codes = searched(search, 160)
    everywhere = losses(everything())
    front = everywhere[pareto.non_dominated(everywhere)]
    found = losses(search.recommend())
    missed = [p for p in front if np.abs(found - p).sum(axis=1).min() > 1e-9]
    assert len(front) == 51
    assert len(missed) <= 1
    assert share(codes) > 0.9999
    assert share(codes[:60]) > 0.98
    assert share(searched(optimizer("random", bench(), 2, seed=0), 160)) < 0.95


@pytest.mark.parametrize("m", [3, 4])
def test_more_objectives(m: int) -> None:
    found = share(searched(made(m=m, draws=4, tables=4), 40), m)
    assert found > 0.95
    assert found > share(searched(optimizer("random", bench(), m, seed=0), 40), m) + 0.05


@pytest.mark.parametrize("settings", [{"draws": 0}, {"tables": 0}, {"draws": 0, "tables": 0}])
def test_fewer_draws_do(settings: dict[str, int]) -> None:
    assert share(searched(made(**settings), 60)) > 0.97


def test_products_are_modelled_too() -> None:
    """A cost that multiplies what layers add."""

    def found(codes: Codes) -> Array:
        return np.exp(losses(codes) / [20.0, 15.0])

    search = made()
    while len(search.history) < 60:
        codes = search.ask(4)
        search.tell(codes, found(codes))
    assert share(search.history.codes) > 0.97


# -- constraints ---------------------------------------------------------------------------------


def test_constraints_are_heeded() -> None:
    """A bound on the cost that a fifth of all networks meet: the front below it is found."""
    third = losses(everything(), 3)
    bound = np.quantile(third[:, 1], 0.2)
    search = made(1)
    while len(search.history) < 70:
        codes = search.ask(4)
        values = losses(codes, 3)
        search.tell(codes, values[:, [0, 2]], constraints=values[:, 1:2] - bound)
    told = search.history
    kept = told.constraints[:, 0] <= 0
    allowed = third[third[:, 1] <= bound][:, [0, 2]]
    reference = allowed.max(axis=0)
    whole = pareto.hypervolume(allowed, reference)
    assert pareto.hypervolume(told.losses[kept], reference) > 0.995 * whole
    np.testing.assert_array_less(losses(search.recommend(), 2)[:, 1], bound + 1e-9)


def test_feasible_first() -> None:
    """While nothing is feasible, only that is what is improved."""
    codes = bench().sample(30, np.random.default_rng(0))
    values = losses(codes, 3)
    bound = np.quantile(losses(everything())[:, 0], 0.002)
    assert values[:, 0].min() > bound + 0.5
    search = made(1)
    search.fail(search.ask(50), "made up")
    search.tell(codes, values[:, 1:], constraints=values[:, :1] - bound)
    asked = search.ask(4)
    assert losses(asked)[:, 0].min() <= bound
    assert not search._current()[-1].scale.logarithmic  # whose zero would be out of reach
    search.tell(asked, losses(asked, 3)[:, 1:], constraints=losses(asked)[:, :1] - bound)
    assert (losses(search.recommend())[:, 0] <= bound).all()


def test_one_that_is_feasible_is_not_the_end() -> None:
    """A single point spans no front, and still what trades one objective for another counts."""
    values = losses(everything(), 3)
    few = np.random.default_rng(0).permutation(np.flatnonzero(values[:, 2] > 14))[:30]
    middle = np.flatnonzero(np.isclose(values[:, 2], 9, atol=0.2))[0]
    codes = everything()[[*few, middle]]
    search = made(1)
    search.fail(search.ask(50), "made up")
    search.tell(codes, losses(codes), constraints=losses(codes, 3)[:, 2:] - 10)
    asked = search.ask(8)
    mine = losses(codes[-1:])[0]
    found = losses(asked)[losses(asked, 3)[:, 2] <= 10]
    assert len(found) >= 6
    assert ((found < mine).any(axis=1) & (found > mine).any(axis=1)).sum() >= 6


# -- networks in flight ----------------------------------------------------------------------------


def test_what_is_pending_is_not_proposed_again() -> None:
    search = made()
    searched(search, 30)
    asked = np.concatenate([search.ask(3) for _ in range(4)])
    assert len(np.unique(asked, axis=0)) == 12
    told = set(map(bytes, search.history.codes))
    assert not told & set(map(bytes, asked))


@pytest.mark.parametrize("at_once", [6, 1])
def test_what_one_promises_others_do_not_promise_again(at_once: int) -> None:
    """Heads do not matter here, so that every network has 15 twins at least."""

    def figures(codes: Codes) -> Array:
        codes = codes.copy()
        codes[:, 4::2] = 0
        return losses(codes)

    search = made()
    while len(search.history) < 20:
        codes = search.ask(4)
        search.tell(codes, figures(codes))
    asked = np.concatenate([search.ask(at_once) for _ in range(6 // at_once)])
    assert len(asked) == 6
    assert len(np.unique(figures(asked).round(9), axis=0)) == 6


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=5)
def test_tells_in_any_order(seed: int) -> None:
    """Late, one by one, or never: nothing comes twice, and nothing is left pending."""
    rng, search = np.random.default_rng(seed), made(draws=4, tables=2)
    waiting: list[Codes] = []
    asked: set[bytes] = set()
    for _ in range(14):
        codes = search.ask(int(rng.integers(1, 5)))
        assert bench().is_valid(codes).all()
        assert not asked & set(map(bytes, codes))
        asked |= set(map(bytes, codes))
        waiting += list(codes)
        for _ in range(int(rng.integers(0, 6))):
            if waiting:
                code = waiting.pop(int(rng.integers(len(waiting))))[None]
                if rng.random() < 0.8:
                    search.tell(code, losses(code))
                else:
                    search.fail(code, "made up")
    for code in waiting:
        search.fail(code[None], "made up")
    assert not search._pending
    assert len(search.ask(2)) == 2


def test_what_was_planned_and_then_told_is_not_proposed() -> None:
    """More is planned than asked for once much is known."""
    search = made()
    codes = bench().sample(200, np.random.default_rng(0))
    search.fail(search.ask(50), "made up")
    search.tell(codes, losses(codes))
    first = search.ask(1)
    planned = search._planned.copy()
    assert len(planned) > 1
    search.tell(planned[:1], losses(planned[:1]))
    np.testing.assert_array_equal(search.ask(1), planned[1:2])
    assert bytes(first[0]) not in set(map(bytes, planned))


def test_the_start_is_asked_for_once() -> None:
    first = start(bench())
    search = made()
    search.tell(first[:2], losses(first[:2]))
    np.testing.assert_array_equal(search.ask(3), first[2:5])
    search.fail(first[5:6], "made up")
    np.testing.assert_array_equal(search.ask(50), first[6:])


# -- noise ---------------------------------------------------------------------------------------


def noisy(search: Optimizer, n: int) -> Codes:
    rng, codes = np.random.default_rng(1), bench().sample(n, np.random.default_rng(0))
    std = np.broadcast_to(0.3 * losses(everything()).std(axis=0), (n, 2))
    search.tell(codes, rng.normal(losses(codes), std), std=std)
    return codes


def test_noise_is_seen_through() -> None:
    """What the model recommends is nearer to the front than what was luckiest."""
    search, seen = made(), made(unseen=False)
    codes = noisy(search, 80)
    noisy(seen, 80)
    everywhere = losses(everything())

    def beaten(chosen: Codes) -> float:
        mine = losses(chosen)
        return float((everywhere[:, None] < mine[None]).all(axis=2).mean())

    best, kept = search.recommend(), seen.recommend()
    told = set(map(bytes, codes))
    assert set(map(bytes, best)) - told
    assert set(map(bytes, kept)) <= told
    assert beaten(kept) < beaten(Optimizer.recommend(search))
    assert beaten(best) < 0.5 * beaten(kept)
    assert share(best) > share(kept)
    np.testing.assert_array_equal(search.recommend(3), best[:3])


def test_without_noise_only_what_was_told_is_recommended() -> None:
    search = made()
    codes = searched(search, 40)
    mine = pareto.non_dominated(losses(codes), keep_equal=True)
    assert set(map(bytes, search.recommend())) == set(map(bytes, codes[mine]))


def test_what_failed_is_not_recommended() -> None:
    search = made()
    told = set(map(bytes, noisy(search, 80)))
    fresh = np.array([code for code in search.recommend() if bytes(code) not in told])
    search.fail(fresh, "made up")
    assert not set(map(bytes, fresh)) & set(map(bytes, search.recommend()))


def test_noise_does_not_stop_it() -> None:
    rng, search = np.random.default_rng(0), made()
    std = 0.05 * losses(everything()).std(axis=0)
    while len(search.history) < 60:
        codes = search.ask(4)
        search.tell(codes, rng.normal(losses(codes), std), std=np.tile(std, (len(codes), 1)))
    assert share(search.history.codes) > 0.95


# -- the start -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt-s", "gpt-l-wide"])
def test_the_corners_of_every_width(name: str) -> None:
    own = space(name)
    codes = start(own)
    assert own.is_valid(codes).all()
    assert len(np.unique(codes, axis=0)) == len(codes)
    top = own.cardinalities - 1
    most = [
        arch for arch, code in zip(own.decode(codes), codes, strict=True) if (code == top).sum()
    ]
    assert most
    for width in own.embed_dim:
        mine = [arch for arch in own.decode(codes) if arch.embed_dim == width]
        corners = {(a.n_layer, min(a.mlp_ratio), max(a.n_head)) for a in mine}
        low, high = own.mlp_ratio[0], own.mlp_ratio[-1]
        few, many = own.n_head[0], own.n_head[-1]
        deep, shallow = own.n_layer[-1], own.n_layer[0]
        assert corners >= {(deep, high, many), (shallow, low, few), (deep, high, few)}
        assert corners >= {(deep, low, many)}
        assert all(len(set(a.mlp_ratio)) == len(set(a.n_head)) == 1 for a in mine)
    assert {arch.bias for arch in own.decode(codes)} == set(own.bias)


# -- odd spaces and objectives ---------------------------------------------------------------------


USUAL: dict[str, Any] = {
    "embed_dim": [8, 16],
    "n_layer": [1, 2],
    "mlp_ratio": [1, 2],
    "n_head": [1, 2],
    "bias": [False, True],
}
ODD: dict[str, dict[str, Any]] = {
    "usual": {},
    "one option": {"mlp_ratio": [1], "n_head": [2], "n_layer": [1, 2, 9]},
    "one width": {"embed_dim": [8]},
    "one depth": {"n_layer": [2]},
    "one layer": {"n_layer": [1]},
    "bias alone": {"embed_dim": [8], "n_layer": [1], "mlp_ratio": [1], "n_head": [1]},
    "one network": {
        "embed_dim": [8],
        "n_layer": [1],
        "mlp_ratio": [1],
        "n_head": [1],
        "bias": [True],
    },
}


def figures(codes: Codes, m: int, kind: str) -> Array:
    """Results (n, m) that are hard on a model."""
    values = np.random.default_rng(0).standard_normal((codes.shape[1], m)).cumsum(axis=0)
    sums: Array = (codes + 1.0) @ values
    if kind == "constant":
        return np.full(sums.shape, 0.1)
    if kind == "one constant":
        sums[:, 0] = 0.3
    elif kind == "identical":
        sums[:] = sums[:, :1]
    elif kind == "huge":
        sums = 1e12 * sums + 1e15
    elif kind == "tiny":
        sums = 1e-30 * np.exp(sums)
    elif kind == "steep":
        sums = np.exp(5 * sums)
    return sums


@pytest.mark.parametrize("name", ODD)
def test_every_network_once_and_then_no_more(name: str) -> None:
    own = SearchSpace("odd", **(USUAL | ODD[name]))
    search = Additive(own, 2, seed=0, draws=4, tables=2)
    asked: list[bytes] = []
    while len(asked) < min(own.size, 60):
        codes = search.ask(6)
        assert len(codes)
        asked += map(bytes, codes)
        search.tell(codes, figures(codes, 2, "usual"))
        search.diagnostics()
    assert len(asked) == len(set(asked))
    if len(asked) == own.size:
        for _ in range(2):
            with pytest.raises(SpaceExhausted):
                search.ask(1)


def test_nothing_while_all_that_is_left_is_pending() -> None:
    own = SearchSpace("odd", **(USUAL | ODD["bias alone"]))
    search = Additive(own, 2, seed=0)
    codes = search.ask(5)
    assert len(codes) == own.size == 2
    assert len(search.ask(1)) == 0
    search.tell(codes, figures(codes, 2, "usual"))
    with pytest.raises(SpaceExhausted):
        search.ask(1)


@pytest.mark.parametrize(
    "kind", ["usual", "constant", "one constant", "identical", "huge", "tiny", "steep"]
)
@pytest.mark.parametrize(("m", "c", "draws"), [(2, 1, 4), (2, 0, 0), (3, 0, 4), (5, 2, 4)])
def test_objectives_that_are_hard_on_a_model(kind: str, m: int, c: int, draws: int) -> None:
    """It goes on, with new networks only; a warm start is all it knows at first."""
    search = made(c, m=m, draws=draws, tables=2)
    codes = bench().sample(2, np.random.default_rng(0))
    search.fail(search.ask(50), "made up")
    seen = list(map(bytes, codes))
    for _ in range(4):
        values = figures(codes, m + c, kind)
        violations = values[:, m:] - figures(codes[:1], m + c, kind)[:, m:]
        search.tell(codes, values[:, :m], constraints=violations if c else None)
        codes = search.ask(5)
        assert 1 <= len(codes) <= 5
        seen += map(bytes, codes)
    assert len(seen) == len(set(seen))
    assert len(search.recommend())
    assert len(search.diagnostics()) == 1


def test_what_is_known_before_the_first_ask() -> None:
    """A warm start is learned from, and not proposed."""
    codes = start(bench())[::2]
    search = made()
    search.tell(codes, losses(codes))
    asked = searched(search, 60)
    assert not set(map(bytes, codes)) & set(map(bytes, asked))
    assert share(asked) > 0.97


def test_an_objective_that_turns_negative() -> None:
    """Its logarithm was modelled, and can be no longer."""
    codes = bench().sample(40, np.random.default_rng(0))
    search = made()
    search.fail(search.ask(50), "made up")
    values = np.exp(losses(codes) / 20)
    search.tell(codes[:39], values[:39])
    assert len(search.ask(2)) == 2
    search.tell(codes[39:], -values[39:])
    assert len(search.ask(2)) == 2


# -- how it takes what it is told ------------------------------------------------------------------


@pytest.mark.parametrize("m", [2, 3])
def test_units_do_not_matter(m: int) -> None:
    """Powers of two, so that hardly a rounding changes."""
    here = searched(made(m=m, draws=4, tables=4), 24)
    there = searched(made(m=m, draws=4, tables=4), 24, units=2.0**-20)
    np.testing.assert_array_equal(there, here)


def test_the_seed_is_the_only_chance() -> None:
    np.random.seed(0)  # noqa: NPY002 - the global generator must not matter
    first = searched(made(seed=3), 30)
    np.testing.assert_array_equal(searched(made(seed=3), 30), first)
    assert (searched(made(seed=4), 30) != first).any()


def test_notes_say_how_much_adds_up() -> None:
    search = made()
    assert search.diagnostics() == []
    searched(search, 40)
    (note,) = search.diagnostics()
    shares = [float(part) for part in re.findall(r"([\d.]+) %", note)]
    assert len(shares) == 2
    assert min(shares) > 98
    assert max(shares) <= 100


# -- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["tables", "draws"])
def test_numbers_below_none(setting: str) -> None:
    with pytest.raises(InvalidInput, match=f"{setting}: expected at least 0, found -1"):
        made(**{setting: -1})


@pytest.mark.parametrize("m", [0, 6])
def test_numbers_of_objectives(m: int) -> None:
    with pytest.raises(InvalidInput, match=rf"n_objectives: expected 2 to 5, found {m}"):
        made(m=m)


def test_by_its_name() -> None:
    search = optimizer("additive", bench(), 2, seed=0, tables=1, draws=0, unseen=False)
    assert isinstance(search, Additive)
    assert (search.tables, search.draws, search.unseen) == (1, 0, False)
