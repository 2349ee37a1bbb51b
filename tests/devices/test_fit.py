"""Fits of tables to few measurements: known answers, tables, intervals, storage."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest

import hwnas
import hwnas.workloads
from hwnas.devices.add import device_of_measurements
from hwnas.devices.fit import FittedMetric, fit_tables
from hwnas.devices.fit_known import known_prior, known_tables
from hwnas.devices.fit_posterior import fit_posterior, mix_posteriors
from hwnas.devices.fit_prior import Prior
from hwnas.devices.fit_terms import Terms
from hwnas.errors import InvalidInput
from hwnas.surrogates.layer_layout import LayerLayout
from hwnas.surrogates.published import load_figures
from hwnas.typing import Array, Codes

SPACES = ("gpt-s", "gpt-l-wide", "llama-s")


def physical(space: hwnas.SearchSpace, codes: Codes) -> Array:
    """A latency: bytes and arithmetic, and an overhead for each layer."""
    assert isinstance(space, hwnas.spaces.LanguageModelSpace)
    depth = space.depths[codes[:, space.depth_column].astype(int)]
    return np.asarray(space.flops(codes) / 1e11 + 0.05 * depth)


def fitted(name: str, n: int, seed: int = 0) -> tuple[FittedMetric, Codes, Array]:
    space = hwnas.space(name)
    rng = np.random.default_rng(seed)
    codes = space.sample(n, rng)
    fit = fit_tables(space, codes, physical(space, codes))
    test = space.sample(300, rng)
    return fit, test, physical(space, test)


@pytest.mark.parametrize("name", SPACES)
def test_a_physical_metric_is_found_from_few_points(name: str) -> None:
    errors = []
    for n in (8, 20, 60):
        fit, codes, values = fitted(name, n)
        errors.append(np.abs(fit.predict(codes) / values - 1).mean())
    assert errors[0] < 0.1
    assert errors[1] < 0.01
    assert errors[2] < 0.003


@pytest.mark.parametrize(
    "layers",
    [
        {"n_layer": [1], "mlp_ratio": [1, 2, 4], "n_head": [1, 2, 4]},
        {"n_layer": [2, 4, 6], "mlp_ratio": [2], "n_head": [4]},
    ],
    ids=["one layer", "no choice of a layer"],
)
def test_spaces_of_equal_or_single_layers_are_fitted(layers: dict[str, list[int]]) -> None:
    space = hwnas.spaces.GPTSpace("few", embed_dim=[32, 64, 96], bias=[False, True], **layers)
    codes = np.unique(np.concatenate(list(space.enumerate())), axis=0)
    values = space.flops(codes) / 1e6
    fit = fit_tables(space, codes[::2], values[::2])
    np.testing.assert_allclose(fit.predict(codes), values, rtol=0.05)


@pytest.mark.parametrize("name", SPACES)
def test_tables_add_up_to_predictions(name: str) -> None:
    fit, codes, _ = fitted(name, 12)
    assert isinstance(fit.space, hwnas.spaces.LanguageModelSpace)
    packed = LayerLayout(fit.space).pack(codes)
    np.testing.assert_allclose(fit.tables.predict(packed), fit.predict(codes), rtol=1e-12)


def test_a_stored_fit_is_the_same() -> None:
    fit, codes, _ = fitted("gpt-s", 40)
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **fit.to_arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        again = FittedMetric.from_arrays(fit.space, dict(arrays))
    np.testing.assert_array_equal(again.predict(codes), fit.predict(codes))
    np.testing.assert_array_equal(again.interval(codes), fit.interval(codes))
    assert (again.n_points, again.error, again.metric) == (40, fit.error, "latency")


def test_a_fit_of_another_space_is_refused() -> None:
    arrays = fitted("gpt-s", 8)[0].to_arrays()
    with pytest.raises(InvalidInput, match="fitted for another space"):
        FittedMetric.from_arrays(hwnas.space("llama-s"), arrays)
    with pytest.raises(InvalidInput, match="needs noise"):
        FittedMetric.from_arrays(
            hwnas.space("gpt-s"), {k: v for k, v in arrays.items() if k != "noise"}
        )
    with pytest.raises(InvalidInput, match="finite"):
        FittedMetric.from_arrays(hwnas.space("gpt-s"), {**arrays, "noise": np.full(3, np.nan)})
    with pytest.raises(InvalidInput, match="noise: expected shape"):
        FittedMetric.from_arrays(hwnas.space("gpt-s"), {**arrays, "noise": np.ones(2)})


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("n", [12, 60])
def test_intervals_hold_measurements(n: int, name: str) -> None:
    space = hwnas.space(name)
    covered = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        codes = space.sample(n + 400, rng)
        values = physical(space, codes) * np.exp(0.01 * rng.standard_normal(len(codes)))
        fit = fit_tables(space, codes[:n], values[:n])
        low, high = fit.interval(codes[n:]).T
        covered.append(((low <= values[n:]) & (values[n:] <= high)).mean())
        wide = fit.interval(codes[n:], 0.99)
        assert (wide[:, 0] <= low).all()
        assert (wide[:, 1] >= high).all()
    assert 0.8 < np.mean(covered) < 0.98


def test_a_unit_changes_nothing_else() -> None:
    space = hwnas.space("gpt-s")
    codes = space.sample(20, np.random.default_rng(0))
    values = physical(space, codes)
    one, other = fit_tables(space, codes, values), fit_tables(space, codes, 1e6 * values)
    np.testing.assert_allclose(other.predict(codes), 1e6 * one.predict(codes), rtol=1e-6)
    assert other.error == pytest.approx(one.error, rel=1e-4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones(5), "at least 6 different architectures"),
        (np.r_[np.ones(9), 0.0], "above 0, found 0.0"),
        (np.r_[np.ones(9), np.nan], "above 0, found nan"),
    ],
)
def test_unusable_measurements_are_refused(values: Array, message: str) -> None:
    space = hwnas.space("gpt-s")
    with pytest.raises(InvalidInput, match=message):
        fit_tables(space, space.sample(len(values), np.random.default_rng(0)), values)


def test_a_space_without_layers_is_refused() -> None:
    space = hwnas.SearchSpace("flat", {"x": list(range(20))})
    with pytest.raises(InvalidInput, match="expected layers"):
        fit_tables(space, space.sample(10, np.random.default_rng(0)), np.ones(10))


def test_known_devices_help_and_are_stored() -> None:
    space = hwnas.spaces.require_gpt(hwnas.space("gpt-s"))
    figures = load_figures(space)
    tables = [figures.quantile_tables("latency", name)[4] for name in figures.devices]
    prior = Prior.from_tables(Terms(space), tables[1:])
    codes = space.sample(308, np.random.default_rng(0))
    values = tables[0].predict(codes)
    fits = [fit_tables(space, codes[:8], values[:8], prior=p) for p in (prior, None)]
    errors = [np.abs(fit.predict(codes[8:]) / values[8:] - 1).mean() for fit in fits]
    assert errors[0] < 0.5 * errors[1]
    again = FittedMetric.from_arrays(space, fits[0].to_arrays())
    np.testing.assert_array_equal(again.predict(codes), fits[0].predict(codes))
    np.testing.assert_allclose(again.tables.predict(codes), again.predict(codes), rtol=1e-12)


def test_known_devices_are_not_used_where_they_mislead() -> None:
    space = hwnas.spaces.require_gpt(hwnas.space("gpt-s"))
    codes = space.sample(320, np.random.default_rng(1))
    # Many heads are cheap and few are dear: no published device is like this.
    heads = codes[:, space.layer_columns[:, 1]].sum(axis=1)
    values = physical(space, codes) + 0.1 * (40 - heads)
    prior = known_prior(space, "latency")
    fits = [fit_tables(space, codes[:20], values[:20], prior=p) for p in (prior, None)]
    assert fits[0].known < 0.01
    np.testing.assert_array_equal(fits[0].predict(codes), fits[1].predict(codes))


def test_a_doubtful_prior_is_averaged() -> None:
    space = hwnas.space("gpt-s")
    terms, codes = Terms(space), space.sample(8, np.random.default_rng(0))
    values = physical(space, codes)
    first, second = (
        dataclasses.replace(p, evidence=0.0)
        for p in (
            fit_posterior(terms, codes, values, 0 * values, known_prior(space, "latency")),
            fit_posterior(terms, codes, values, 0 * values, None),
        )
    )
    mixed = mix_posteriors(first, second, 0.25)
    np.testing.assert_allclose(
        mixed.coefficients, 0.75 * first.coefficients + 0.25 * second.coefficients
    )
    # The variance of a mixture: the mean of variances, and the spread of means.
    shift = (first.coefficients - second.coefficients).ravel()
    variances = [(p.factor**2).sum(axis=1) for p in (first, second)]
    np.testing.assert_allclose(
        (mixed.factor**2).sum(axis=1),
        0.75 * variances[0] + 0.25 * variances[1] + 0.1875 * shift**2,
    )
    assert mix_posteriors(first, second, 0.999) is second


def test_layers_that_differ_are_found() -> None:
    space = hwnas.space("gpt-s")
    terms, rng = Terms(space), np.random.default_rng(0)
    coefficients = np.zeros((3, len(terms)))
    coefficients[:, 0] = [1.0, 2.0, 3.0]
    coefficients[:, terms.n_smooth :] = 0.1 * rng.standard_normal((3, len(terms) - terms.n_smooth))
    table = terms.table(coefficients)
    codes = space.sample(700, rng)
    values = table.predict(terms.layout.pack(codes))
    fit = fit_tables(space, codes[:400], values[:400])
    errors = np.abs(fit.predict(codes[400:]) / values[400:] - 1)
    # Terms that are smooth over layers leave what the free ones describe.
    smooth = terms(codes)[:, : terms.n_smooth]
    rests = []
    for e in range(3):
        own, seen = codes[:, 0] == e, np.arange(700) < 400
        weights = np.linalg.lstsq(smooth[own & seen], values[own & seen], rcond=None)[0]
        rests.append(np.abs(smooth[own & ~seen] @ weights / values[own & ~seen] - 1))
    assert errors.mean() < 0.002
    assert errors.mean() < 0.1 * np.concatenate(rests).mean()


def test_noise_of_small_networks_may_be_larger() -> None:
    space = hwnas.space("gpt-s")
    rng = np.random.default_rng(0)
    codes = space.sample(150, rng)
    std = np.array([0.04, 0.02, 0.01])
    values = physical(space, codes) * np.exp(std[codes[:, 0]] * rng.standard_normal(150))
    np.testing.assert_allclose(fit_tables(space, codes, values).noise, std, rtol=0.35)


def test_known_devices_are_those_of_the_metric(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    space = hwnas.space("gpt-s")
    assert len(known_tables(space, "latency")) == 13
    assert known_tables(space, "tpot.serve") == {}
    assert known_prior(space, "tpot.serve") is None
    assert known_prior(hwnas.space("llama-s"), "latency") is None
    codes = space.sample(12, np.random.default_rng(0))
    lines = [f"{a},{v}" for a, v in zip(space.decode(codes), physical(space, codes), strict=True)]
    file = tmp_path / "own.csv"
    file.write_text("arch,tpot.serve\n" + "\n".join(lines))
    for name in ("one", "two", "three"):
        device_of_measurements(name, [file]).write(tmp_path / f"hwnas/devices/{name}.npz")
    assert [*known_tables(space, "tpot.serve", exclude="two")] == ["one", "three"]
    assert known_prior(space, "tpot.serve") is not None
    # Another workload of that name is another metric.
    other = dataclasses.replace(hwnas.workloads.BUILT_IN["serve"], batch=2)
    assert known_tables(space, "tpot.serve", other) == {}
