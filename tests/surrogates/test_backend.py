from __future__ import annotations

import hashlib
import zlib

import numpy as np
import pytest
from scipy.interpolate import interp1d

from hwnas.errors import InvalidInput, UnknownName
from hwnas.objectives import (
    parse_objectives,
)
from hwnas.spaces import GPTSpace
from hwnas.surrogates import Surrogate, surrogate
from hwnas.surrogates.published import DATA, SCALES
from hwnas.surrogates.quantiles import LEVELS


@pytest.fixture(scope="module")
def bench() -> Surrogate:
    return surrogate("gpt-s")


@pytest.fixture(scope="module")
def noisy(bench: Surrogate) -> Surrogate:
    return Surrogate(bench.space, noise=True)


def sample(bench: Surrogate, n: int, seed: int = 0) -> np.ndarray:
    return bench.space.sample(n, np.random.default_rng(seed))


def seeds_of(n: int) -> np.ndarray:
    return np.random.default_rng(99).integers(0, 2**64, n, dtype=np.uint64)


# -- quantiles and draws -----------------------------------------------------------------------


def test_quantiles_increase_and_agree_with_predict(bench: Surrogate) -> None:
    codes = sample(bench, 500)
    for name, metric in bench.metrics.items():
        if metric.quantiles:
            nine = bench.quantiles(codes, name)
            assert nine.shape == (500, 9)
            assert (np.diff(nine, axis=1) >= 0).all()
            assert np.array_equal(nine[:, 4], bench.predict(codes, [name])[:, 0])
            assert np.array_equal(nine[:, 8], bench.predict(codes, [f"{name}:p90"])[:, 0])


def test_levels_in_between_are_interpolated_linearly(bench: Surrogate) -> None:
    codes = sample(bench, 100)
    nine = bench.quantiles(codes, "energy@a100")
    levels = [0.01, 0.05, 0.1, 0.175, 0.5, 0.85, 0.99]
    actual = bench.quantiles(codes, "energy@a100", levels)
    line = interp1d(LEVELS, nine, fill_value="extrapolate", axis=1)
    np.testing.assert_allclose(actual, line(levels))
    assert np.array_equal(actual[:, [2, 4]], nine[:, [0, 4]])
    assert np.array_equal(actual[:, 5], bench.predict(codes, ["energy@a100:p85"])[:, 0])


def test_draws_follow_the_quantiles(bench: Surrogate) -> None:
    codes = sample(bench, 3)
    levels = [0.02, *LEVELS, 0.98]
    quantiles = bench.quantiles(codes, "latency@h100", levels)
    draws = bench.draw(codes, "latency@h100", np.random.default_rng(0), repeats=200_000)
    below = (draws[:, :, None] <= quantiles[:, None, :]).mean(axis=1)
    np.testing.assert_allclose(below, np.tile(levels, (3, 1)), atol=0.005)


def test_draws_depend_on_the_generator_only(bench: Surrogate) -> None:
    codes = sample(bench, 20)
    first, second, unlike = (
        bench.draw(codes, "energy@h100", np.random.default_rng(s), repeats=3) for s in (1, 1, 2)
    )
    assert first.shape == (20, 3)
    assert np.array_equal(first, second)
    assert not np.isin(first, unlike).any()


# -- evaluate ----------------------------------------------------------------------------------


def test_without_noise_values_are_medians(bench: Surrogate) -> None:
    codes = sample(bench, 50)
    names = ("perplexity", "latency@rtx3080", "energy@a40:p90", "float16_memory")
    actual = bench.evaluate(codes, parse_objectives(names), seeds=seeds_of(50))
    assert np.array_equal(actual.values, bench.predict(codes, names))
    assert actual.std is None
    assert bench.fidelities is None
    assert not bench.metrics["latency@rtx3080"].fidelity_dependent


def test_only_latency_and_energy_are_noisy(bench: Surrogate, noisy: Surrogate) -> None:
    codes = sample(bench, 50)
    names = ("perplexity", "latency@rtx3080", "energy@a40", "bfloat16_memory")
    actual = noisy.evaluate(codes, parse_objectives(names), seeds=seeds_of(50))
    exact = bench.predict(codes, names)
    assert actual.std is not None
    assert np.array_equal(actual.values[:, [0, 3]], exact[:, [0, 3]])
    assert (actual.std[:, [0, 3]] == 0).all()
    assert (actual.values[:, [1, 2]] != exact[:, [1, 2]]).all()
    assert (actual.std[:, [1, 2]] > 0).all()
    assert noisy.fidelities == (1, 3, 9, 27, 81)
    dependent = {k.partition("@")[0] for k, m in noisy.metrics.items() if m.fidelity_dependent}
    assert dependent == {"latency", "energy"}


def test_noise_depends_only_on_seed_and_metric(noisy: Surrogate) -> None:
    codes, seeds = sample(noisy, 40), seeds_of(40)
    both = parse_objectives(["latency@h100", "perplexity", "energy@h100"])
    together = noisy.evaluate(codes, both, seeds=seeds, fidelity=3).values
    for rows in (slice(0, 1), slice(7, 30), slice(None, None, -1)):
        part = noisy.evaluate(codes[rows], both, seeds=seeds[rows], fidelity=3).values
        assert np.array_equal(part, together[rows])
    alone = noisy.evaluate(codes, both[2:], seeds=seeds, fidelity=3).values
    assert np.array_equal(alone[:, 0], together[:, 2])
    rerun = Surrogate(noisy.space, noise=True).evaluate(codes, both, seeds=seeds, fidelity=3)
    assert np.array_equal(rerun.values, together)


def test_noise_of_metrics_and_seeds_is_independent(noisy: Surrogate) -> None:
    codes = np.repeat(sample(noisy, 1), 2000, axis=0)
    names = ["latency@h100", "energy@h100", "latency@a100"]
    actual = noisy.evaluate(codes, parse_objectives(names), seeds=seeds_of(2000)).values
    ranks = actual.argsort(axis=0).argsort(axis=0)
    correlation = np.corrcoef(ranks.T)[np.triu_indices(3, k=1)]
    assert np.abs(correlation).max() < 0.1
    assert len(np.unique(actual[:, 0])) > 1900


def test_a_higher_fidelity_continues_the_same_draws(noisy: Surrogate) -> None:
    codes, seeds = sample(noisy, 30), seeds_of(30)
    objectives = parse_objectives(["latency@rtx2080"])
    at = {
        r: noisy.evaluate(codes, objectives, seeds=seeds, fidelity=r).values[:, 0]
        for r in range(1, 4)
    }
    # The median of two draws is their mean, which gives the second; of three, the middle one.
    second = 2 * at[2] - at[1]
    between = np.sort(np.stack([at[1], second, at[3]]), axis=0)
    np.testing.assert_allclose(
        np.minimum(np.abs(at[3] - at[1]), np.abs(at[3] - second))
        * (at[3] != between[1]), 0, atol=1e-9
    )  # fmt: skip
    assert len({tuple(v) for v in at.values()}) == 3


def test_fidelities_may_differ_between_trials(noisy: Surrogate) -> None:
    codes, seeds = sample(noisy, 6), seeds_of(6)
    objectives = parse_objectives(["latency@rtx2080", "energy@a100"])
    fidelity = np.array([1, 2, 3, 9, 27, 81])
    actual = noisy.evaluate(codes, objectives, seeds=seeds, fidelity=fidelity)
    for i, r in enumerate(fidelity.tolist()):
        single = noisy.evaluate(codes[i : i + 1], objectives, seeds=seeds[i : i + 1], fidelity=r)
        assert actual.std is not None
        assert single.std is not None
        assert np.array_equal(single.values[0], actual.values[i])
        assert np.array_equal(single.std[0], actual.std[i])


@pytest.mark.parametrize(("repeats", "within"), [(1, 0.03), (9, 0.35), (81, 0.35)])
def test_std_is_that_of_observed_values(noisy: Surrogate, repeats: int, within: float) -> None:
    codes = np.repeat(sample(noisy, 1), 4000, axis=0)
    objectives = parse_objectives(["latency@a6000"])
    actual = noisy.evaluate(codes, objectives, seeds=seeds_of(4000), fidelity=repeats)
    assert actual.std is not None
    # In closed form for one draw; for medians, the formula for a normal sample.
    assert actual.values.std() == pytest.approx(actual.std[0, 0], rel=within)
    median = noisy.predict(codes[:1], objectives)[0, 0]
    assert np.median(actual.values) == pytest.approx(median, rel=0.01)


def test_the_median_of_many_draws_converges(noisy: Surrogate) -> None:
    codes = sample(noisy, 5)
    objectives = parse_objectives(["energy@v100"])
    actual = noisy.evaluate(codes, objectives, seeds=seeds_of(5), fidelity=100_001)
    np.testing.assert_allclose(actual.values, noisy.predict(codes, objectives), rtol=0.01)


# -- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("perplexty", UnknownName, "did you mean 'perplexity'"),
        ("latency@rtx308", UnknownName, "did you mean 'rtx3080'"),
        ("latency", InvalidInput, "needs a device"),
        ("perplexity@h100", InvalidInput, "takes no device"),
        ("perplexity:p90", InvalidInput, "has no quantiles"),
        ("latency@h100+a100", InvalidInput, "expected one device"),
    ],
)
def test_predict_refuses_unknown_metrics(
    bench: Surrogate, name: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        bench.predict(sample(bench, 1), [name])


@pytest.mark.parametrize(
    ("name", "levels", "message"),
    [
        ("perplexity", None, "no quantiles"),
        ("params", None, "no quantiles"),
        ("latency@h100:p90", None, "expected 'latency@h100' and its levels"),
        ("latency@h100", [0.005], r"level 0.005 of latency@h100: expected 0.01 to 0.99"),
        ("latency@h100", [float("nan")], "level nan"),
    ],
)
def test_quantiles_refuses_unknown_quantiles(
    bench: Surrogate, name: str, levels: list[float] | None, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        bench.quantiles(sample(bench, 1), name, levels)


def test_a_quantile_of_a_noisy_metric_is_refused(noisy: Surrogate) -> None:
    (p90,) = parse_objectives(["latency@h100:p90"])
    with pytest.raises(InvalidInput, match="with noise, expected 'latency@h100'"):
        noisy.evaluate(sample(noisy, 1), [p90], seeds=seeds_of(1))
    with pytest.raises(InvalidInput, match="with noise, expected 'latency@h100'"):
        noisy.front(["perplexity", p90])


def test_data_hash_differs_between_scales() -> None:
    hashes = {surrogate(s).data_hash() for s in ("gpt-s", "gpt-m", "gpt-l")}
    assert {len(h) for h in hashes} == {64}
    assert len(hashes) == 3
    part = GPTSpace("s", embed_dim=[192, 768], n_layer=[10, 11], mlp_ratio=[2, 4], n_head=[8])
    assert surrogate(part).data_hash() == surrogate("gpt-s").data_hash()


@pytest.mark.parametrize("scale", SCALES)
def test_data_hash_is_that_of_the_file(scale: str) -> None:
    expected = hashlib.sha256((DATA / f"{scale}.npz").read_bytes()).hexdigest()
    assert surrogate(scale).data_hash() == expected


# -- in detail ---------------------------------------------------------------------------


@pytest.mark.parametrize("scale", SCALES)
def test_quantiles_never_cross(scale: str) -> None:
    backend = surrogate(scale)
    codes = sample(backend, 300)
    levels = [k / 100 for k in range(1, 100)]  # every level that an objective can name
    names = [name for name, metric in backend.metrics.items() if metric.quantiles]
    assert len([name for name in names if name not in backend.added.figures]) == 26
    for name in names:
        assert (np.diff(backend.quantiles(codes, name, levels), axis=1) >= 0).all(), name


def extended(nine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the knots of one architecture's quantile function: levels and values."""
    ends = [nine[0] - 0.9 * (nine[1] - nine[0]), nine[8] + 0.9 * (nine[8] - nine[7])]
    return np.array([0.01, *LEVELS, 0.99]), np.array([ends[0], *nine, ends[1]])


@pytest.mark.parametrize("fidelity", [1, 2, 3, 9, 27, 81])
def test_a_noisy_value_is_the_median_of_the_first_draws(noisy: Surrogate, fidelity: int) -> None:
    codes, seeds, name = sample(noisy, 20), seeds_of(20), "latency@cpu_xeon_gold"
    objectives = parse_objectives([name])
    actual = noisy.evaluate(codes, objectives, seeds=seeds, fidelity=fidelity).values[:, 0]
    # The random stream is pinned: the noise of a seed must stay the same in later releases.
    stream = zlib.crc32(name.encode())
    for value, seed, nine in zip(actual, seeds.tolist(), noisy.quantiles(codes, name), strict=True):
        uniforms = np.random.default_rng([seed, stream]).random(81)
        draws = np.interp(uniforms, *extended(nine))
        assert value == pytest.approx(np.median(draws[:fidelity]), rel=1e-12)


def test_std_of_one_draw_is_that_of_its_distribution(noisy: Surrogate) -> None:
    codes = sample(noisy, 20)
    for name in ("latency@P100", "energy@cpu_amd_7513"):
        actual = noisy.evaluate(codes, parse_objectives([name]), seeds=seeds_of(20)).std
        assert actual is not None
        middles = (np.arange(200_000) + 0.5) / 200_000
        for std, nine in zip(actual[:, 0], noisy.quantiles(codes, name), strict=True):
            # np.interp stays at its ends, as draws do.
            assert std == pytest.approx(np.interp(middles, *extended(nine)).std(), rel=1e-4)
