"""Tests of the additive optimizer: fronts, constraints, pending results, noise, odd spaces."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
import pytest
from hwnas_plugins._initial_design import corner_design
from hwnas_plugins.additive import Additive, _most_promising
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas import pareto
from hwnas.errors import InvalidInput
from hwnas.optimizers import Optimizer
from hwnas.registry import optimizer
from hwnas.spaces import Codes, GPTSpace, SearchSpace
from hwnas.typing import Array


@cache
def small_bench() -> SearchSpace:
    """Return a space of 18,144 architectures."""
    return GPTSpace(
        "x", embed_dim=[8, 16], n_layer=[4, 5], mlp_ratio=[1, 2, 3], n_head=[1, 2], bias=[True]
    )


@cache
def all_codes() -> Codes:
    return np.concatenate(list(small_bench().enumerate()))


def losses(codes: Codes, m: int = 2) -> Array:
    """Return (n, m): an error, mostly of early layers; a cost; heads; width against depth."""
    # Choices (n, L) of mlp_ratio and n_head; layers beyond the depth have no effect.
    ratio, head = np.swapaxes(codes[:, 3:].reshape(len(codes), -1, 2), 0, 2).astype(float)
    ratio, head = ratio.T, head.T  # (n, L)
    present = np.arange(5) < np.array([4, 5])[codes[:, 1]][:, None]
    width = codes[:, 0].astype(float)
    gain = (1 + 1.3 * np.sqrt(ratio) + 0.4 * head) * (1 - 0.1 * np.arange(5))
    error = 100 - 12 * width - (gain * present).sum(axis=1) * (1 + width) ** 0.5
    cost = ((1 + 2 * ratio + head) * present).sum(axis=1) * (1 + width) + 20 * width
    heads = ((3 - 2 * head + 0.1 * ratio * np.arange(5)) * present).sum(axis=1)
    curvature = ((ratio - 1) ** 2 * present).sum(axis=1) - 2 * width
    return np.stack([error, cost, heads, curvature], axis=1)[:, :m]


def create(n_constraints: int = 0, *, m: int = 2, seed: int = 0, **settings: Any) -> Additive:
    return Additive(small_bench(), m, seed=seed, n_constraints=n_constraints, **settings)


def run_search(search: Optimizer, n: int, at_once: int = 4, units: float = 1.0) -> Codes:
    """Return the first `n` proposals, several asked for at once."""
    parts: list[Codes] = []
    while (missing := n - sum(map(len, parts))) > 0:
        parts.append(search.ask(min(at_once, missing)))
        search.tell(parts[-1], losses(parts[-1], search.n_objectives) * units)
    return np.concatenate(parts)


def hypervolume_share(codes: Codes, m: int = 2) -> float:
    """Return the share of the exact front's hypervolume."""
    all_losses = losses(all_codes(), m)
    reference = all_losses.max(axis=0)
    exact = pareto.hypervolume(all_losses[pareto.non_dominated(all_losses)], reference)
    return pareto.hypervolume(losses(codes, m), reference) / exact


# -- fronts --------------------------------------------------------------------------------------


def test_the_exact_front() -> None:
    """All 51 points of the front of 18,144 architectures, within 160 evaluations."""
    search = create()
    codes = run_search(search, 160)
    all_losses = losses(all_codes())
    front = all_losses[pareto.non_dominated(all_losses)]
    recommended = losses(search.recommend())
    missed = [p for p in front if np.abs(recommended - p).sum(axis=1).min() > 1e-9]
    assert len(front) == 51
    assert len(missed) <= 1
    assert hypervolume_share(codes) > 0.9999
    assert hypervolume_share(codes[:60]) > 0.98
    assert hypervolume_share(run_search(optimizer("random", small_bench(), 2, seed=0), 160)) < 0.95


@pytest.mark.parametrize("m", [3, 4])
def test_more_objectives(m: int) -> None:
    share = hypervolume_share(run_search(create(m=m, draws=4, tables=4), 40), m)
    assert share > 0.95
    assert (
        share
        > hypervolume_share(run_search(optimizer("random", small_bench(), m, seed=0), 40), m) + 0.05
    )


@pytest.mark.parametrize("settings", [{"draws": 0}, {"tables": 0}, {"draws": 0, "tables": 0}])
def test_fewer_draws_suffice(settings: dict[str, int]) -> None:
    assert hypervolume_share(run_search(create(**settings), 60)) > 0.97


def test_products_are_modeled() -> None:
    """Objectives that multiply the effects of layers."""

    def product_losses(codes: Codes) -> Array:
        return np.exp(losses(codes) / [20.0, 15.0])

    search = create()
    while len(search.history) < 60:
        codes = search.ask(4)
        search.tell(codes, product_losses(codes))
    assert hypervolume_share(search.history.codes) > 0.97


# -- constraints ---------------------------------------------------------------------------------


def test_constraints_are_met() -> None:
    """A bound on the cost that a fifth of all architectures meet: the front below it is found."""
    all_losses = losses(all_codes(), 3)
    bound = np.quantile(all_losses[:, 1], 0.2)
    search = create(1)
    while len(search.history) < 70:
        codes = search.ask(4)
        values = losses(codes, 3)
        search.tell(codes, values[:, [0, 2]], constraints=values[:, 1:2] - bound)
    history = search.history
    feasible = history.constraints[:, 0] <= 0
    allowed = all_losses[all_losses[:, 1] <= bound][:, [0, 2]]
    reference = allowed.max(axis=0)
    exact = pareto.hypervolume(allowed, reference)
    assert pareto.hypervolume(history.losses[feasible], reference) > 0.995 * exact
    np.testing.assert_array_less(losses(search.recommend(), 2)[:, 1], bound + 1e-9)


def test_feasibility_comes_first() -> None:
    """While nothing is feasible, the violation alone is improved."""
    codes = small_bench().sample(30, np.random.default_rng(0))
    values = losses(codes, 3)
    bound = np.quantile(losses(all_codes())[:, 0], 0.002)
    assert values[:, 0].min() > bound + 0.5
    search = create(1)
    # Skip the initial design, so that the model has only infeasible architectures.
    search.fail(search.ask(50), "synthetic")
    search.tell(codes, values[:, 1:], constraints=values[:, :1] - bound)
    proposals = search.ask(4)
    assert losses(proposals)[:, 0].min() <= bound
    assert not search._current_models()[-1].scale.logarithmic  # a logarithm never reaches 0
    search.tell(
        proposals, losses(proposals, 3)[:, 1:], constraints=losses(proposals)[:, :1] - bound
    )
    assert (losses(search.recommend())[:, 0] <= bound).all()


def test_one_feasible_architecture_is_improved() -> None:
    """A single point spans no front; points that trade one objective for another still count."""
    values = losses(all_codes(), 3)
    infeasible = np.random.default_rng(0).permutation(np.flatnonzero(values[:, 2] > 14))[:30]
    feasible = np.flatnonzero(np.isclose(values[:, 2], 9, atol=0.2))[0]
    codes = all_codes()[[*infeasible, feasible]]
    search = create(1)
    search.fail(search.ask(50), "synthetic")
    search.tell(codes, losses(codes), constraints=losses(codes, 3)[:, 2:] - 10)
    proposals = search.ask(8)
    base = losses(codes[-1:])[0]
    proposed = losses(proposals)[losses(proposals, 3)[:, 2] <= 10]
    assert len(proposed) >= 6
    assert ((proposed < base).any(axis=1) & (proposed > base).any(axis=1)).sum() >= 6


# -- pending architectures -----------------------------------------------------------------------


def test_the_most_promising_candidates() -> None:
    """Feasible ones by their gain; a quarter are others by their violation, or as many as lack."""
    gains = np.array([1.0, 4.0, 2.0, 3.0, 9.0, 9.0])
    violation = np.array([0.0, 0.0, 0.0, 0.0, 0.2, 0.1])
    assert _most_promising(gains, violation, 4).tolist() == [1, 3, 2, 5]
    assert _most_promising(gains, violation[::-1], 4).tolist() == [4, 5, 3, 0]
    assert _most_promising(gains, np.zeros(6), 2).tolist() == [4, 5]
    assert _most_promising(gains, violation, 9).tolist() == [1, 3, 2, 0, 5, 4]


def test_pending_architectures_are_not_proposed_again() -> None:
    search = create()
    run_search(search, 30)
    proposals = np.concatenate([search.ask(3) for _ in range(4)])
    assert len(np.unique(proposals, axis=0)) == 12
    evaluated = set(map(bytes, search.history.codes))
    assert not evaluated & set(map(bytes, proposals))


@pytest.mark.parametrize("at_once", [6, 1])
def test_equal_outcomes_are_proposed_once(at_once: int) -> None:
    """Heads have no effect here, so that every architecture has at least 15 equals."""

    def results(codes: Codes) -> Array:
        codes = codes.copy()
        codes[:, 4::2] = 0
        return losses(codes)

    search = create()
    while len(search.history) < 20:
        codes = search.ask(4)
        search.tell(codes, results(codes))
    proposals = np.concatenate([search.ask(at_once) for _ in range(6 // at_once)])
    assert len(proposals) == 6
    assert len(np.unique(results(proposals).round(9), axis=0)) == 6


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=5)
def test_results_in_any_order(seed: int) -> None:
    """Results come late, one by one, or never: no repeats, and nothing stays pending."""
    rng, search = np.random.default_rng(seed), create(draws=4, tables=2)
    pending: list[Codes] = []
    proposals: set[bytes] = set()
    for _ in range(14):
        codes = search.ask(int(rng.integers(1, 5)))
        assert small_bench().is_valid(codes).all()
        assert not proposals & set(map(bytes, codes))
        proposals |= set(map(bytes, codes))
        pending += list(codes)
        for _ in range(int(rng.integers(0, 6))):
            if pending:
                code = pending.pop(int(rng.integers(len(pending))))[None]
                if rng.random() < 0.8:
                    search.tell(code, losses(code))
                else:
                    search.fail(code, "synthetic")
    for code in pending:
        search.fail(code[None], "synthetic")
    assert not search._pending
    assert len(search.ask(2)) == 2


def test_planned_architectures_with_results_are_not_proposed() -> None:
    """With many results, more is planned than asked for."""
    search = create()
    codes = small_bench().sample(200, np.random.default_rng(0))
    search.fail(search.ask(50), "synthetic")
    search.tell(codes, losses(codes))
    # 200 results: eight proposals are planned at once, one is asked for.
    first = search.ask(1)
    planned = search._planned.copy()
    assert len(planned) > 1
    search.tell(planned[:1], losses(planned[:1]))
    np.testing.assert_array_equal(search.ask(1), planned[1:2])
    assert bytes(first[0]) not in set(map(bytes, planned))


def test_the_initial_design_is_proposed_once() -> None:
    first = corner_design(small_bench())
    search = create()
    search.tell(first[:2], losses(first[:2]))
    np.testing.assert_array_equal(search.ask(3), first[2:5])
    search.fail(first[5:6], "synthetic")
    np.testing.assert_array_equal(search.ask(50), first[6:])


# -- noise ---------------------------------------------------------------------------------------


def tell_noisy(search: Optimizer, n: int) -> Codes:
    rng, codes = np.random.default_rng(1), small_bench().sample(n, np.random.default_rng(0))
    std = np.broadcast_to(0.3 * losses(all_codes()).std(axis=0), (n, 2))
    search.tell(codes, rng.normal(losses(codes), std), std=std)
    return codes


def test_the_model_averages_noise() -> None:
    """The model recommends better architectures than those of the best noisy results."""
    search, measured_only = create(), create(unseen=False)
    codes = tell_noisy(search, 80)
    tell_noisy(measured_only, 80)
    all_losses = losses(all_codes())

    def dominated_share(chosen: Codes) -> float:
        chosen_losses = losses(chosen)
        return float((all_losses[:, None] < chosen_losses[None]).all(axis=2).mean())

    best, recommended = search.recommend(), measured_only.recommend()
    measured = set(map(bytes, codes))
    assert set(map(bytes, best)) - measured
    assert set(map(bytes, recommended)) <= measured
    assert dominated_share(recommended) < dominated_share(Optimizer.recommend(search))
    # Up to the last unmeasured one, it is the front of the means.
    n_front = 1 + max(i for i, code in enumerate(best) if bytes(code) not in measured)
    assert dominated_share(best[:n_front]) < 0.5 * dominated_share(recommended)
    assert hypervolume_share(best) > hypervolume_share(recommended)
    np.testing.assert_array_equal(search.recommend(3), best[:3])
    # A prediction hides no measured architecture.
    assert n_front < len(best)
    assert set(map(bytes, recommended)) == set(map(bytes, best)) & measured


def test_without_noise_only_measured_architectures_are_recommended() -> None:
    search = create()
    codes = run_search(search, 40)
    mask = pareto.non_dominated(losses(codes), keep_equal=True)
    assert set(map(bytes, search.recommend())) == set(map(bytes, codes[mask]))


def test_failed_architectures_are_not_recommended() -> None:
    search = create()
    measured = set(map(bytes, tell_noisy(search, 80)))
    fresh = np.array([code for code in search.recommend() if bytes(code) not in measured])
    search.fail(fresh, "synthetic")
    assert not set(map(bytes, fresh)) & set(map(bytes, search.recommend()))


def test_search_under_noise() -> None:
    rng, search = np.random.default_rng(0), create()
    # Noise of a twentieth of each objective's standard deviation.
    std = 0.05 * losses(all_codes()).std(axis=0)
    while len(search.history) < 60:
        codes = search.ask(4)
        search.tell(codes, rng.normal(losses(codes), std), std=np.tile(std, (len(codes), 1)))
    assert hypervolume_share(search.history.codes) > 0.95


# -- results in advance --------------------------------------------------------------------------


def test_warm_start() -> None:
    """Results before the first ask train the model and are not proposed."""
    codes = corner_design(small_bench())[::2]
    search = create()
    search.tell(codes, losses(codes))
    proposals = run_search(search, 60)
    assert not set(map(bytes, codes)) & set(map(bytes, proposals))
    assert hypervolume_share(proposals) > 0.97


def test_an_objective_that_turns_negative() -> None:
    """The logarithm was modeled and no longer exists."""
    codes = small_bench().sample(40, np.random.default_rng(0))
    search = create()
    search.fail(search.ask(50), "synthetic")
    values = np.exp(losses(codes) / 20)
    search.tell(codes[:39], values[:39])
    assert len(search.ask(2)) == 2
    search.tell(codes[39:], -values[39:])
    assert len(search.ask(2)) == 2


# -- units, seeds and diagnostics ----------------------------------------------------------------


@pytest.mark.parametrize("m", [2, 3])
def test_units_do_not_matter(m: int) -> None:
    """Powers of two change hardly any rounding."""
    expected = run_search(create(m=m, draws=4, tables=4), 24)
    scaled = run_search(create(m=m, draws=4, tables=4), 24, units=2.0**-20)
    np.testing.assert_array_equal(scaled, expected)


def test_the_seed_determines_the_search() -> None:
    np.random.seed(0)  # noqa: NPY002 - the global generator must not matter
    first = run_search(create(seed=3), 30)
    np.testing.assert_array_equal(run_search(create(seed=3), 30), first)
    assert (run_search(create(seed=4), 30) != first).any()


def test_diagnostics_report_additive_shares() -> None:
    search = create()
    assert search.diagnostics() == []
    run_search(search, 40)
    (note,) = search.diagnostics()
    pattern = r"([\d.]+) % (?:of the differences )?in objective (\d)"
    shares = {int(number): float(share) for share, number in re.findall(pattern, note)}
    assert list(shares) == [1, 2]
    assert all(98 < share <= 100 for share in shares.values())
    assert "between architectures of equal embed_dim" in note
    assert "100 %: exactly, 0 %: not at all" in note


@pytest.mark.parametrize("m", [2, 3, 5])
def test_diagnostics_name_every_objective(m: int) -> None:
    search = optimizer("additive", "gpt-s", m, seed=0)
    codes = search.ask(14)
    search.tell(codes, np.random.default_rng(0).random((len(codes), m)))
    (note,) = search.diagnostics()
    assert re.findall(r"objective (\d)", note) == [str(j) for j in range(1, m + 1)]
    assert re.search(rf"objective {m - 1} and [\d.]+ % in objective {m} between", note)


# -- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["tables", "draws"])
def test_negative_numbers(setting: str) -> None:
    with pytest.raises(InvalidInput, match=f"{setting}: expected at least 0, found -1"):
        create(**{setting: -1})


@pytest.mark.parametrize("m", [0, 6])
def test_numbers_of_objectives(m: int) -> None:
    with pytest.raises(InvalidInput, match=rf"n_objectives: expected 2 to 5, found {m}"):
        create(m=m)


def test_registered_name() -> None:
    search = optimizer("additive", small_bench(), 2, seed=0, tables=1, draws=0, unseen=False)
    assert isinstance(search, Additive)
    assert (search.tables, search.draws, search.unseen) == (1, 0, False)
