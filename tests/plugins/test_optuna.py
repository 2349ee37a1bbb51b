"""What Optuna's samplers find through hwnas, and how their trials end."""

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
from hwnas.spaces import Codes, SearchSpace
from hwnas.surrogates import Surrogate

optuna = pytest.importorskip("optuna")

OBJECTIVES = ["perplexity", "latency@rtx3080"]
SMALL: dict[str, dict[str, Any]] = {"motpe": {}, "gp": {"candidates": 64, "samples": 8}}
both = pytest.mark.parametrize("name", ["motpe", "gp"])


@cache
def small() -> Surrogate:
    """6,144 networks, 40 of them on the front."""
    return Surrogate(
        SearchSpace("gpt-s", embed_dim=[768], n_layer=[10, 11], mlp_ratio=[3, 4], n_head=[4])
    )


def made(name: str, bench: Surrogate, n_constraints: int = 0, **settings: Any) -> Any:
    settings = {"initial": 6, **SMALL[name], **settings}
    return optimizer(name, bench.space, 2, seed=0, n_constraints=n_constraints, **settings)


def searched(search: Any, bench: Surrogate, n: int) -> Codes:
    """The first `n` proposals, each told before the next ask."""
    parts = []
    for _ in range(n):
        parts.append(search.ask(1))
        search.tell(parts[-1], bench.predict(parts[-1], OBJECTIVES))
    return np.concatenate(parts)


def normalised(bench: Surrogate, codes: Codes) -> float:
    front = bench.front(OBJECTIVES)
    assert front is not None
    reference = reference_point(front.losses)
    found = pareto.hypervolume(bench.predict(codes, OBJECTIVES), reference)
    return found / pareto.hypervolume(front.losses, reference)


def states(search: Any) -> list[str]:
    return [trial.state.name for trial in search._study.trials]


# -- what they find ------------------------------------------------------------------------------


def test_motpe_on_gpt_s() -> None:
    """Optuna's own loop, which begins at random, has 0.924 after 200."""
    bench = hwnas.surrogate("gpt-s")
    assert normalised(bench, searched(made("motpe", bench, initial=16), bench, 100)) > 0.93


@both
def test_most_of_a_front(name: str) -> None:
    assert normalised(small(), searched(made(name, small()), small(), 20)) > 0.9


@both
def test_constraints_are_heeded(name: str) -> None:
    codes = small().space.sample(40, np.random.default_rng(0))
    bound = np.quantile(small().predict(codes, ["perplexity"]), 0.3)
    search = made(name, small(), n_constraints=1)
    search.tell(
        codes,
        small().predict(codes, ["latency@rtx3080", "energy@rtx3080"]),
        constraints=small().predict(codes, ["perplexity"]) - bound,
    )
    assert len(search.ask(6)) == 6  # the start
    asked = search.ask(8)
    assert (small().predict(asked, ["perplexity"]) <= bound).mean() >= 0.5


# -- trials --------------------------------------------------------------------------------------


@both
def test_how_trials_end(name: str) -> None:
    search = made(name, small(), initial=3)
    codes = search.ask(3)
    assert states(search) == ["RUNNING"] * 3
    search.tell(codes[1:2], np.ones((1, 2)))
    search.fail(codes[:1], "made up")
    assert states(search) == ["FAIL", "COMPLETE", "RUNNING"]
    others = small().space.sample(2, np.random.default_rng(0))
    search.tell(others, np.array([[1.0, 2.0], [3.0, 4.0]]))
    search.tell(codes[1:2], np.zeros((1, 2)))  # a network again, as under noise
    assert states(search)[3:] == ["COMPLETE"] * 3
    assert [trial.values for trial in search._study.trials[3:]] == [[1, 2], [3, 4], [0, 0]]
    found = [search._study.trials[3].params[column] for column in small().space.columns]
    np.testing.assert_array_equal(found, others[0])


def test_a_trial_has_every_layer(small_space: SearchSpace) -> None:
    search = optimizer("motpe", small_space, 2, seed=0, initial=1)
    search.tell(search.ask(5), np.ones((5, 2)))
    for trial in search._study.trials:  # type: ignore[attr-defined]
        assert tuple(trial.params) == small_space.columns


@both
def test_known_networks_lead_to_those_beside_them(name: str, small_space: SearchSpace) -> None:
    """All but the neighbours of one network are known."""
    codes = np.concatenate(list(small_space.enumerate()))
    near = {row.tobytes() for row in small_space.neighbours(codes[-1])}
    known = codes[[row.tobytes() not in near for row in codes]]
    search = optimizer(name, small_space, 2, seed=0, initial=1, **SMALL[name])
    search.tell(known, known[:, :2].astype(float))
    asked = search.ask(1000)
    assert {row.tobytes() for row in asked} == near


@both
def test_optuna_is_left_as_it_was(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)
    capfd.readouterr()
    searched(made(name, small(), initial=2), small(), 4)
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == optuna.logging.INFO


# -- settings ------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("setting", ["initial", "candidates"])
def test_numbers_below_one(name: str, setting: str) -> None:
    with pytest.raises(InvalidInput, match=f"{setting}: expected at least 1, found 0"):
        made(name, small(), **{setting: 0})
    with pytest.raises(HwnasError, match=setting):
        made(name, small(), **{setting: "many"})


@both
@pytest.mark.parametrize("n_objectives", [1, 6])
def test_two_to_five_objectives(name: str, n_objectives: int, small_space: SearchSpace) -> None:
    message = f"n_objectives: expected 2 to 5, found {n_objectives}"
    with pytest.raises(InvalidInput, match=message):
        optimizer(name, small_space, n_objectives, seed=0)


def test_settings_arrive_where_optuna_reads_them() -> None:
    sampler = made("gp", small(), candidates=33, samples=44)._study.sampler
    fresh = optuna.samplers.GPSampler()
    assert (sampler._n_preliminary_samples, sampler._n_qmc_samples_ehvi) == (33, 44)
    assert (fresh._n_preliminary_samples, fresh._n_qmc_samples_ehvi) == (2048, 128)
    assert made("motpe", small(), candidates=33)._study.sampler._n_ei_candidates == 33
