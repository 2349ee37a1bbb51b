"""Tests of NSGA-II, and of generations in general."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import hwnas
from hwnas import pareto
from hwnas.errors import HwnasError, InvalidInput
from hwnas.fronts import reference_point
from hwnas.optimizers import Optimizer
from hwnas.registry import lookup, optimizer
from hwnas.spaces import Codes, GPTSpace, SearchSpace
from hwnas.surrogates import Surrogate

pytest.importorskip("pymoo")

OBJECTIVES = ["perplexity", "latency@rtx3080"]


@pytest.fixture(scope="module")
def bench() -> Surrogate:
    return hwnas.surrogate("gpt-s")


def create(space: SearchSpace | str = "gpt-s", seed: int = 0, **settings: Any) -> Optimizer:
    return optimizer("nsga2", space, 2, seed=seed, **settings)


def run_search(search: Optimizer, bench: Surrogate, n: int, at_once: int) -> Codes:
    """Return the first `n` proposals, each with results before the next ask."""
    parts: list[Codes] = []
    while (missing := n - sum(map(len, parts))) > 0:
        parts.append(search.ask(min(at_once, missing)))
        search.tell(parts[-1], bench.predict(parts[-1], OBJECTIVES))
    return np.concatenate(parts)


def normalized_hypervolume(bench: Surrogate, codes: Codes) -> float:
    front = bench.front(OBJECTIVES)
    assert front is not None
    reference = reference_point(front.losses)
    volume = pareto.hypervolume(bench.predict(codes, OBJECTIVES), reference)
    return volume / pareto.hypervolume(front.losses, reference)


# -- fronts --------------------------------------------------------------------------------------


def test_nsga2_beats_random_search(bench: Surrogate) -> None:
    random = run_search(optimizer("random", "gpt-s", 2, seed=1), bench, 2000, 100)
    evolved = run_search(create(seed=1), bench, 2000, 100)
    assert normalized_hypervolume(bench, evolved[:16]) < 0.9  # random
    assert normalized_hypervolume(bench, evolved) > 0.96
    assert normalized_hypervolume(bench, evolved) > normalized_hypervolume(bench, random) + 0.03


@pytest.mark.slow
def test_a_hundred_evaluations_with_defaults() -> None:
    """The first generation is a small part of them: ahead of random search on 20 of 24 problems."""
    devices = ["rtx2080", "rtx3080", "a6000", "a100", "v100", "P100", "h100", "cpu_xeon_gold"]
    n_ahead = 0
    for space, device in itertools.product(("gpt-s", "gpt-m", "gpt-l"), devices):
        bench, objectives = hwnas.surrogate(space), ["perplexity", f"latency@{device}"]
        front = bench.front(objectives)
        assert front is not None
        reference = reference_point(front.losses)
        means = {}
        for name in ("nsga2", "random"):
            volumes = []
            for seed in range(3):
                search = optimizer(name, space, 2, seed=seed)
                while (missing := 100 - len(search.history)) > 0:
                    codes = search.ask(min(search.batch, missing))
                    search.tell(codes, bench.predict(codes, objectives))
                volumes.append(pareto.hypervolume(search.history.losses, reference))
            means[name] = np.mean(volumes)
        n_ahead += bool(means["nsga2"] > means["random"])
    assert n_ahead >= 20


def test_exact_front_of_a_small_space() -> None:
    space = GPTSpace("gpt-s", embed_dim=[768], n_layer=[10, 11], mlp_ratio=[3, 4], n_head=[4])
    bench = Surrogate(space)
    exact = bench.front(OBJECTIVES)
    assert exact is not None
    assert (space.size, len(exact)) == (6144, 43)
    search = create(space, seed=1, pop_size=60)
    run_search(search, bench, 1500, 60)
    recommended = bench.predict(search.recommend(), OBJECTIVES)
    np.testing.assert_allclose(np.unique(recommended, axis=0), np.unique(exact.values, axis=0))


def test_constraints_are_met(bench: Surrogate) -> None:
    search = create(n_constraints=1, pop_size=50)
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
def test_generations_do_not_depend_on_the_batch(bench: Surrogate, at_once: int) -> None:
    generations = run_search(create(pop_size=20), bench, 200, 20)
    np.testing.assert_array_equal(run_search(create(pop_size=20), bench, 200, at_once), generations)


def test_the_next_generation_needs_all_results(bench: Surrogate) -> None:
    piecemeal, complete = create(pop_size=20), create(pop_size=20)
    codes = np.concatenate([piecemeal.ask(15), piecemeal.ask(15)])
    np.testing.assert_array_equal(codes, complete.ask(99))
    losses = bench.predict(codes, OBJECTIVES)
    complete.tell(codes, losses)
    # No proposals until the last result of the generation.
    for i in range(20):
        assert len(piecemeal.ask(1)) == 0
        piecemeal.tell(codes[i : i + 1], losses[i : i + 1])
    np.testing.assert_array_equal(piecemeal.ask(20), complete.ask(20))


def test_search_continues_after_a_failed_generation(bench: Surrogate) -> None:
    search = create(pop_size=20)
    evaluated = run_search(search, bench, 200, 20)
    initial = normalized_hypervolume(bench, evaluated)
    search.fail(search.ask(20), "synthetic")
    codes = search.ask(20)
    search.fail(codes[3:], "synthetic")
    search.tell(codes[:3], bench.predict(codes[:3], OBJECTIVES))
    assert len(codes) == 20
    proposals = run_search(search, bench, 400, 20)
    assert normalized_hypervolume(bench, np.concatenate([evaluated, proposals])) > initial + 0.01


def test_failures_of_the_first_generation_are_replaced(bench: Surrogate) -> None:
    """Otherwise the population would consist of a single survivor."""
    search = create(pop_size=20)
    search.fail(search.ask(20), "synthetic")
    codes = search.ask(20)
    assert len(codes) == 20
    search.fail(codes[1:], "synthetic")
    search.tell(codes[:1], bench.predict(codes[:1], OBJECTIVES))
    codes = search.ask(20)
    assert len(codes) == 19
    assert set(codes[:, 0]) == {0, 1, 2}  # of all widths, not the survivor's alone


def test_warm_start_is_the_first_population(bench: Surrogate) -> None:
    narrow = bench.space.sample(200, np.random.default_rng(0))
    # Architectures of the smallest width alone.
    narrow = narrow[narrow[:, 0] == 0][:20]
    search = create(pop_size=20)
    search.tell(narrow, bench.predict(narrow, OBJECTIVES))
    assert (search.ask(20)[:, 0] == 0).mean() > 0.8  # a third without the warm start


def test_queued_architectures_with_results_are_not_proposed(bench: Surrogate) -> None:
    informed, fresh = create(pop_size=20), create(pop_size=20)
    codes = fresh.ask(20)
    np.testing.assert_array_equal(informed.ask(5), codes[:5])
    informed.tell(codes[7:9], np.ones((2, 2)))
    np.testing.assert_array_equal(informed.ask(20), codes[[5, 6, *range(9, 20)]])
    assert len(informed.ask(1)) == 0


# -- settings ------------------------------------------------------------------------------------


def test_population_size(small_space: SearchSpace) -> None:
    search = create(small_space, pop_size=3)
    assert search.batch == 3
    for _ in range(5):
        codes = search.ask(50)
        assert len(codes) == 3
        search.tell(codes, codes[:, :2].astype(float))


@pytest.mark.parametrize("pop_size", [1, 0, -3])
def test_population_too_small(small_space: SearchSpace, pop_size: int) -> None:
    with pytest.raises(InvalidInput, match=f"pop_size: expected 2 to 100000, found {pop_size}"):
        lookup("optimizer", "nsga2")(small_space, 2, seed=0, pop_size=pop_size)


@pytest.mark.parametrize("pop_size", ["20", 2.5, True, None])
def test_population_size_is_an_integer(small_space: SearchSpace, pop_size: Any) -> None:
    with pytest.raises(HwnasError, match="pop_size"):
        create(small_space, pop_size=pop_size)


def test_population_larger_than_the_space(small_space: SearchSpace) -> None:
    search = create(small_space, pop_size=1000)
    codes = search.ask(5000)
    assert len(np.unique(codes, axis=0)) == small_space.size


def test_constant_losses(small_space: SearchSpace) -> None:
    search = create(small_space, pop_size=10)
    for _ in range(10):
        codes = search.ask(10)
        search.tell(codes, np.ones((len(codes), 2)))
    assert len(search.recommend()) == len(search.history) > 90
