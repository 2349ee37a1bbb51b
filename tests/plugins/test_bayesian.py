"""Tests of the optimizers with BoTorch models: fronts, constraints, pending results, noise."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from by_cost import by_cost

from hwnas import pareto
from hwnas.errors import HwnasError, InvalidInput
from hwnas.fronts import reference_point
from hwnas.optimizers import Optimizer
from hwnas.registry import lookup, optimizer
from hwnas.spaces import Codes, GPTSpace
from hwnas.surrogates import Surrogate

torch = pytest.importorskip("torch")
pytest.importorskip("botorch")

OBJECTIVES = ["perplexity", "latency@rtx3080"]
NAMES = ["ehvi", "parego", "lsbo", "rsbo"]
every = pytest.mark.parametrize("name", NAMES)
SMALL = {"initial": 6, "candidates": 64, "rounds": 2, "samples": 16}


@cache
def bench() -> Surrogate:
    """Return a benchmark of 6,144 architectures, 40 of them on the front."""
    return Surrogate(
        GPTSpace("gpt-s", embed_dim=[768], n_layer=[10, 11], mlp_ratio=[3, 4], n_head=[4])
    )


def create(name: str, n_constraints: int = 0, **settings: Any) -> Optimizer:
    return optimizer(
        name, bench().space, 2, seed=0, n_constraints=n_constraints, **(SMALL | settings)
    )


def run_search(search: Optimizer, n: int, at_once: int = 5, units: float = 1.0) -> Codes:
    """Return the first `n` proposals, several asked for at once."""
    parts: list[Codes] = []
    while (missing := n - sum(map(len, parts))) > 0:
        parts.append(search.ask(min(at_once, missing)))
        search.tell(parts[-1], bench().predict(parts[-1], OBJECTIVES) * units)
    return np.concatenate(parts)


def normalized_hypervolume(codes: Codes) -> float:
    front = bench().front(OBJECTIVES)
    assert front is not None
    reference = reference_point(front.losses)
    volume = pareto.hypervolume(bench().predict(codes, OBJECTIVES), reference)
    return volume / pareto.hypervolume(front.losses, reference)


# -- fronts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "minimum"),
    [
        pytest.param("ehvi", 0.98, marks=pytest.mark.slow),
        ("parego", 0.95),
        pytest.param("rsbo", 0.94, marks=pytest.mark.slow),
    ],
)
def test_most_of_a_front(name: str, minimum: float) -> None:
    assert (
        normalized_hypervolume(run_search(optimizer("random", bench().space, 2, seed=0), 35)) < 0.85
    )
    assert normalized_hypervolume(run_search(create(name), 35)) > minimum


def test_the_best_weighted_sum_is_found() -> None:
    """One of the best six of 6,144 architectures, by the weights, within 30 evaluations."""
    all_codes = np.concatenate(list(bench().space.enumerate()))
    losses = bench().predict(all_codes, OBJECTIVES)
    # The reference is the same sum over all architectures.
    scaled = losses / np.ptp(losses, axis=0)
    for weights in ((3.0, 1.0), (0.0, 1.0)):
        codes = run_search(create("lsbo", weights=weights), 30)
        sums = (bench().predict(codes, OBJECTIVES) / np.ptp(losses, axis=0)) @ weights
        assert sums.min() <= np.partition(scaled @ weights, 5)[5]


def test_random_weights_spread_proposals() -> None:
    spread = {}
    for name in ("lsbo", "rsbo"):
        search = create(name)
        run_search(search, 15)
        spread[name] = bench().predict(search.ask(10), ["perplexity"]).std()
    assert spread["rsbo"] > 2 * spread["lsbo"]


@pytest.mark.parametrize("name", by_cost(NAMES, ["ehvi"]))
def test_constraints_are_met(name: str) -> None:
    """A bound on perplexity that a third of all architectures meet, and few fast ones."""
    space = bench().space
    codes = space.sample(30, np.random.default_rng(0))
    bound = np.quantile(bench().predict(codes, ["perplexity"]), 0.3)
    search = create(name, n_constraints=1)
    violations = bench().predict(codes, ["perplexity"]) - bound
    losses = bench().predict(codes, ["latency@rtx3080", "energy@rtx3080"])
    search.tell(codes, losses, constraints=violations)
    assert len(search.ask(50)) == SMALL["initial"]
    proposals = search.ask(8)
    assert (bench().predict(proposals, ["perplexity"]) <= bound).mean() >= 0.5


def test_feasibility_comes_first() -> None:
    """While nothing is feasible, the violation alone is improved."""
    codes = bench().space.sample(30, np.random.default_rng(0))
    perplexity = bench().predict(codes, ["perplexity"])
    search = create("ehvi", n_constraints=1)
    search.tell(
        codes,
        bench().predict(codes, ["latency@rtx3080", "energy@rtx3080"]),
        constraints=perplexity - perplexity.min() + 1e-6,
    )
    search.fail(search.ask(50), "synthetic")
    assert bench().predict(search.ask(1), ["perplexity"]) < perplexity.min()


# -- units, pending results and noise ------------------------------------------------------------


@every
def test_units_do_not_matter(name: str) -> None:
    """Powers of two change no rounding."""
    expected = run_search(create(name), 15)
    np.testing.assert_array_equal(run_search(create(name), 15, units=2.0**-20), expected)


def test_the_initial_design_is_proposed_once() -> None:
    search, same = create("ehvi"), create("ehvi")
    start = same.ask(50)
    assert len(start) == 6
    search.tell(start[:2], np.zeros((2, 2)))
    np.testing.assert_array_equal(search.ask(50), start[2:])


def test_proposals_do_not_wait_for_results() -> None:
    search = create("ehvi")
    run_search(search, 12)
    proposals = np.concatenate([search.ask(3), search.ask(2)])
    assert len(np.unique(proposals, axis=0)) == 5
    search.fail(proposals[:2], "synthetic")
    search.tell(proposals[:1:-1], bench().predict(proposals[:1:-1], OBJECTIVES))
    assert not search._pending  # type: ignore[attr-defined]


@every
def test_the_model_averages_noise(name: str) -> None:
    """The model recommends better architectures than those of the best noisy results."""
    rng = np.random.default_rng(0)
    search = create(name)
    codes = bench().space.sample(80, rng)
    losses = bench().predict(codes, OBJECTIVES)
    # Noise of a third of each objective's standard deviation.
    std = np.broadcast_to(0.3 * losses.std(axis=0), losses.shape)
    search.tell(codes, rng.normal(losses, std), std=std)

    def mean_dominators(chosen: Codes) -> float:
        chosen_losses = bench().predict(chosen, OBJECTIVES)
        return float((losses[:, None] < chosen_losses[None]).all(axis=2).sum(axis=0).mean())

    assert mean_dominators(search.recommend()) < 0.7 * mean_dominators(Optimizer.recommend(search))


@every
def test_the_global_generator_of_torch_is_unchanged(name: str) -> None:
    torch.manual_seed(3)
    # The optimizers neither use nor change torch's global generator.
    state = torch.random.get_rng_state()
    first = run_search(create(name), 9)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(4)
    np.testing.assert_array_equal(run_search(create(name), 9), first)


# -- settings ------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("setting", ["initial", "candidates", "rounds", "samples"])
def test_numbers_below_one(name: str, setting: str) -> None:
    with pytest.raises(InvalidInput, match=f"{setting}: expected at least 1, found 0"):
        create(name, **{setting: 0})
    with pytest.raises(HwnasError, match=setting):
        create(name, **{setting: 2.5})


@every
def test_one_objective(name: str) -> None:
    with pytest.raises(InvalidInput, match="n_objectives: expected at least 2, found 1"):
        lookup("optimizer", name)(bench().space, 1, seed=0)


def test_six_objectives() -> None:
    with pytest.raises(InvalidInput, match="n_objectives: expected 2 to 5, found 6"):
        lookup("optimizer", "ehvi")(bench().space, 6, seed=0)


@pytest.mark.parametrize("weights", [(1.0,), (1.0, -1.0), (0.0, 0.0), (1.0, 2.0, 3.0)])
def test_weights_that_do_not_fit(weights: tuple[float, ...]) -> None:
    with pytest.raises(InvalidInput, match="weights: expected 2 numbers"):
        create("lsbo", weights=weights)
