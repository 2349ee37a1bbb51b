from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import hwnas
from hwnas import pareto
from hwnas.errors import HwnasError, InvalidInput
from hwnas.fronts import reference_point
from hwnas.optimizers import Optimizer
from hwnas.registry import lookup, optimizer
from hwnas.spaces import Codes, SearchSpace
from hwnas.surrogates import Surrogate

pytest.importorskip("pymoo")

OBJECTIVES = ["perplexity", "latency@rtx3080"]


@pytest.fixture(scope="module")
def bench() -> Surrogate:
    return hwnas.surrogate("gpt-s")


def made(space: SearchSpace | str = "gpt-s", seed: int = 0, **settings: Any) -> Optimizer:
    return optimizer("nsga2", space, 2, seed=seed, **settings)


def searched(search: Optimizer, bench: Surrogate, n: int, at_once: int) -> Codes:
    """The first `n` proposals, each told before the next ask."""
    parts: list[Codes] = []
    while (missing := n - sum(map(len, parts))) > 0:
        parts.append(search.ask(min(at_once, missing)))
        search.tell(parts[-1], bench.predict(parts[-1], OBJECTIVES))
    return np.concatenate(parts)


def normalised(bench: Surrogate, codes: Codes) -> float:
    front = bench.front(OBJECTIVES)
    assert front is not None
    reference = reference_point(front.losses)
    found = pareto.hypervolume(bench.predict(codes, OBJECTIVES), reference)
    return found / pareto.hypervolume(front.losses, reference)


# -- what it finds -------------------------------------------------------------------------------


def test_it_beats_random(bench: Surrogate) -> None:
    random = searched(optimizer("random", "gpt-s", 2, seed=1), bench, 2000, 100)
    evolved = searched(made(seed=1), bench, 2000, 100)
    assert normalised(bench, evolved[:100]) < 0.9  # it begins at random
    assert normalised(bench, evolved) > 0.96
    assert normalised(bench, evolved) > normalised(bench, random) + 0.03


def test_it_finds_the_whole_front_of_a_small_space() -> None:
    space = SearchSpace("gpt-s", embed_dim=[768], n_layer=[10, 11], mlp_ratio=[3, 4], n_head=[4])
    bench = Surrogate(space)
    exact = bench.front(OBJECTIVES)
    assert exact is not None
    assert (space.size, len(exact)) == (6144, 43)
    search = made(space, seed=1, pop_size=60)
    searched(search, bench, 1500, 60)
    found = bench.predict(search.recommend(), OBJECTIVES)
    np.testing.assert_allclose(np.unique(found, axis=0), np.unique(exact.values, axis=0))


def test_it_heeds_constraints(bench: Surrogate) -> None:
    search = made(n_constraints=1, pop_size=50)
    shares = []
    for _ in range(15):
        codes = search.ask(50)
        violations = bench.predict(codes, ["bfloat16_memory"]) - 150
        search.tell(codes, bench.predict(codes, OBJECTIVES), constraints=violations)
        shares.append((violations <= 0).mean())
    assert shares[0] < 0.3  # random
    assert np.mean(shares[-5:]) > 0.75
    assert (bench.predict(search.recommend(), ["bfloat16_memory"]) <= 150).all()


# -- generations ---------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_generations_do_not_depend_on_how_they_are_asked(bench: Surrogate, at_once: int) -> None:
    whole = searched(made(pop_size=20), bench, 200, 20)
    np.testing.assert_array_equal(searched(made(pop_size=20), bench, 200, at_once), whole)


def test_a_generation_is_told_when_it_is_complete(bench: Surrogate) -> None:
    piecemeal, whole = made(pop_size=20), made(pop_size=20)
    codes = np.concatenate([piecemeal.ask(15), piecemeal.ask(15)])
    np.testing.assert_array_equal(codes, whole.ask(99))
    losses = bench.predict(codes, OBJECTIVES)
    whole.tell(codes, losses)
    for i in range(20):
        assert len(piecemeal.ask(1)) == 0
        piecemeal.tell(codes[i : i + 1], losses[i : i + 1])
    np.testing.assert_array_equal(piecemeal.ask(20), whole.ask(20))


def test_a_failed_generation_does_not_stop_it(bench: Surrogate) -> None:
    search = made(pop_size=20)
    seen = searched(search, bench, 200, 20)
    before = normalised(bench, seen)
    search.fail(search.ask(20), "made up")
    codes = search.ask(20)
    search.fail(codes[3:], "made up")
    search.tell(codes[:3], bench.predict(codes[:3], OBJECTIVES))
    assert len(codes) == 20
    after = searched(search, bench, 400, 20)
    assert normalised(bench, np.concatenate([seen, after])) > before + 0.01


def test_a_first_generation_is_made_up_for(bench: Surrogate) -> None:
    """What fails before there is a population is replaced, or a lone survivor would be all."""
    search = made(pop_size=20)
    search.fail(search.ask(20), "made up")
    codes = search.ask(20)
    assert len(codes) == 20
    search.fail(codes[1:], "made up")
    search.tell(codes[:1], bench.predict(codes[:1], OBJECTIVES))
    codes = search.ask(20)
    assert len(codes) == 19
    assert set(codes[:, 0]) == {0, 1, 2}  # of all widths, not the survivor's alone


def test_a_warm_start_is_where_it_starts(bench: Surrogate) -> None:
    narrow = bench.space.sample(200, np.random.default_rng(0))
    narrow = narrow[narrow[:, 0] == 0][:20]
    search = made(pop_size=20)
    search.tell(narrow, bench.predict(narrow, OBJECTIVES))
    assert (search.ask(20)[:, 0] == 0).mean() > 0.8  # a third, if it had not listened


def test_what_is_told_before_its_turn_is_not_proposed(bench: Surrogate) -> None:
    told, fresh = made(pop_size=20), made(pop_size=20)
    codes = fresh.ask(20)
    np.testing.assert_array_equal(told.ask(5), codes[:5])
    told.tell(codes[7:9], np.ones((2, 2)))
    np.testing.assert_array_equal(told.ask(20), codes[[5, 6, *range(9, 20)]])
    assert len(told.ask(1)) == 0


# -- settings ------------------------------------------------------------------------------------


def test_the_population(small_space: SearchSpace) -> None:
    assert made(small_space).batch == 100
    search = made(small_space, pop_size=3)
    assert search.batch == 3
    for _ in range(5):
        codes = search.ask(50)
        assert len(codes) == 3
        search.tell(codes, codes[:, :2].astype(float))


@pytest.mark.parametrize("pop_size", [1, 0, -3])
def test_too_small_a_population(small_space: SearchSpace, pop_size: int) -> None:
    with pytest.raises(InvalidInput, match=f"pop_size: expected at least 2, found {pop_size}"):
        lookup("optimizer", "nsga2")(small_space, 2, seed=0, pop_size=pop_size)


@pytest.mark.parametrize("pop_size", ["20", 2.5, True, None])
def test_a_population_is_a_whole_number(small_space: SearchSpace, pop_size: Any) -> None:
    with pytest.raises(HwnasError, match="pop_size"):
        made(small_space, pop_size=pop_size)


def test_a_population_beyond_the_space(small_space: SearchSpace) -> None:
    search = made(small_space, pop_size=1000)
    codes = search.ask(5000)
    assert len(np.unique(codes, axis=0)) == small_space.size


def test_constant_losses(small_space: SearchSpace) -> None:
    search = made(small_space, pop_size=10)
    for _ in range(10):
        codes = search.ask(10)
        search.tell(codes, np.ones((len(codes), 2)))
    assert len(search.recommend()) == len(search.history) > 90
