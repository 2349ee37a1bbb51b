"""Tests of the optimizers around Optuna: fronts, states of trials, settings."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import hwnas
from hwnas import pareto
from hwnas.errors import HwnasError, InvalidInput
from hwnas.fronts import reference_point
from hwnas.registry import optimizer
from hwnas.spaces import Codes, GPTSpace, SearchSpace
from hwnas.surrogates import Surrogate

optuna = pytest.importorskip("optuna")

OBJECTIVES = ["perplexity", "latency@rtx3080"]
SMALL: dict[str, dict[str, Any]] = {"motpe": {}, "gp": {"candidates": 64, "samples": 8}}
both = pytest.mark.parametrize("name", ["motpe", pytest.param("gp", marks=pytest.mark.slow)])


@cache
def small() -> Surrogate:
    """Return a benchmark of 6,144 architectures, 40 of them on the front."""
    return Surrogate(
        GPTSpace("gpt-s", embed_dim=[768], n_layer=[10, 11], mlp_ratio=[3, 4], n_head=[4])
    )


def create(name: str, bench: Surrogate, n_constraints: int = 0, **settings: Any) -> Any:
    settings = {"initial": 6, **SMALL[name], **settings}
    return optimizer(name, bench.space, 2, seed=0, n_constraints=n_constraints, **settings)


def run_search(search: Any, bench: Surrogate, n: int) -> Codes:
    """Return the first `n` proposals, each with results before the next ask."""
    parts = []
    for _ in range(n):
        parts.append(search.ask(1))
        search.tell(parts[-1], bench.predict(parts[-1], OBJECTIVES))
    return np.concatenate(parts)


def normalized_hypervolume(bench: Surrogate, codes: Codes) -> float:
    front = bench.front(OBJECTIVES)
    assert front is not None
    reference = reference_point(front.losses)
    volume = pareto.hypervolume(bench.predict(codes, OBJECTIVES), reference)
    return volume / pareto.hypervolume(front.losses, reference)


def trial_states(search: Any) -> list[str]:
    return [trial.state.name for trial in search._study.trials]


# -- fronts --------------------------------------------------------------------------------------


def test_motpe_on_gpt_s() -> None:
    """Optuna's own loop, with a random start, reaches 0.924 after 200 evaluations."""
    bench = hwnas.surrogate("gpt-s")
    assert (
        normalized_hypervolume(bench, run_search(create("motpe", bench, initial=16), bench, 100))
        > 0.93
    )


@both
def test_most_of_a_front(name: str) -> None:
    assert normalized_hypervolume(small(), run_search(create(name, small()), small(), 20)) > 0.9


@both
def test_constraints_are_met(name: str) -> None:
    codes = small().space.sample(40, np.random.default_rng(0))
    bound = np.quantile(small().predict(codes, ["perplexity"]), 0.3)
    search = create(name, small(), n_constraints=1)
    search.tell(
        codes,
        small().predict(codes, ["latency@rtx3080", "energy@rtx3080"]),
        constraints=small().predict(codes, ["perplexity"]) - bound,
    )
    assert len(search.ask(6)) == 6  # the start
    proposals = search.ask(8)
    assert (small().predict(proposals, ["perplexity"]) <= bound).mean() >= 0.5


# -- trials --------------------------------------------------------------------------------------


@both
def test_states_of_trials(name: str) -> None:
    search = create(name, small(), initial=3)
    codes = search.ask(3)
    assert trial_states(search) == ["RUNNING"] * 3
    search.tell(codes[1:2], np.ones((1, 2)))
    # One trial of each state.
    search.fail(codes[:1], "synthetic")
    assert trial_states(search) == ["FAIL", "COMPLETE", "RUNNING"]
    added = small().space.sample(2, np.random.default_rng(0))
    search.tell(added, np.array([[1.0, 2.0], [3.0, 4.0]]))
    search.tell(codes[1:2], np.zeros((1, 2)))  # a repeated result, as under noise
    assert trial_states(search)[3:] == ["COMPLETE"] * 3
    assert [trial.values for trial in search._study.trials[3:]] == [[1, 2], [3, 4], [0, 0]]
    params = [search._study.trials[3].params[column] for column in small().space.columns]
    np.testing.assert_array_equal(params, added[0])


def test_trials_have_all_layers(small_space: SearchSpace) -> None:
    search = optimizer("motpe", small_space, 2, seed=0, initial=1)
    search.tell(search.ask(5), np.ones((5, 2)))
    for trial in search._study.trials:  # type: ignore[attr-defined]
        assert tuple(trial.params) == small_space.columns


@both
def test_known_proposals_are_replaced_by_neighbours(name: str, small_space: SearchSpace) -> None:
    """All architectures but the neighbours of one have results."""
    codes = np.concatenate(list(small_space.enumerate()))
    # Every proposal of the sampler but these neighbours has a result already.
    neighbours = {row.tobytes() for row in small_space.neighbours(codes[-1])}
    evaluated = codes[[row.tobytes() not in neighbours for row in codes]]
    search = optimizer(name, small_space, 2, seed=0, initial=1, **SMALL[name])
    search.tell(evaluated, evaluated[:, :2].astype(float))
    proposals = search.ask(1000)
    assert {row.tobytes() for row in proposals} == neighbours


@both
def test_the_log_level_of_optuna_is_unchanged(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)
    capfd.readouterr()
    run_search(create(name, small(), initial=2), small(), 4)
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == optuna.logging.INFO


# -- settings ------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("setting", ["initial", "candidates"])
def test_numbers_below_one(name: str, setting: str) -> None:
    with pytest.raises(InvalidInput, match=f"{setting}: expected at least 1, found 0"):
        create(name, small(), **{setting: 0})
    with pytest.raises(HwnasError, match=setting):
        create(name, small(), **{setting: "many"})


@both
@pytest.mark.parametrize("n_objectives", [1, 6])
def test_two_to_five_objectives(name: str, n_objectives: int, small_space: SearchSpace) -> None:
    message = f"n_objectives: expected 2 to 5, found {n_objectives}"
    with pytest.raises(InvalidInput, match=message):
        optimizer(name, small_space, n_objectives, seed=0)


def test_settings_reach_the_samplers() -> None:
    sampler = create("gp", small(), candidates=33, samples=44)._study.sampler
    default = optuna.samplers.GPSampler()
    assert (sampler._n_preliminary_samples, sampler._n_qmc_samples_ehvi) == (33, 44)
    assert (default._n_preliminary_samples, default._n_qmc_samples_ehvi) == (2048, 128)
    assert create("motpe", small(), candidates=33)._study.sampler._n_ei_candidates == 33
