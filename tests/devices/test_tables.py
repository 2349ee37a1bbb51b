"""Tables of any metric: from CSVs and runs to exact fronts, and what is refused on the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwnas
from hwnas.devices.figures import validate
from hwnas.devices.groups import average_repeats, limit_points
from hwnas.devices.measurements import Measurements
from hwnas.errors import HwnasWarning, InvalidInput, UnknownName
from hwnas.objectives import parse_objectives
from hwnas.pareto import non_dominated
from hwnas.spaces import LanguageModelSpace
from hwnas.surrogates import surrogate
from hwnas.surrogates.device_file import (
    TABLES,
    DeviceFigure,
    DeviceFile,
    metric_key,
    read_device_file,
)
from hwnas.surrogates.device_library import load_device
from hwnas.surrogates.tables import AdditiveTable

TINY = {
    "name": "tiny",
    "embed_dim": [64, 128],
    "n_layer": [2, 3],
    "mlp_ratio": [1, 2],
    "n_head": [1, 2],
}
RUN: dict[str, Any] = {
    "name": "short",
    "space": "gpt-s",
    "objectives": ["perplexity", "latency@h100"],
    "optimizers": ["random"],
    "budget": {"evaluations": 20},
    "seeds": 2,
}


@pytest.fixture(autouse=True)
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def language_models(source: Any) -> LanguageModelSpace:
    space = hwnas.space(source)
    assert isinstance(space, LanguageModelSpace)
    return space


def write_csv(path: Path, source: Any, columns: str, n: int = 20, seed: int = 0) -> Path:
    """Values that are exactly additive: operations, and operations less than a constant."""
    space = language_models(source)
    codes = space.sample(n, np.random.default_rng(seed))
    flops = space.flops(codes) / 1e10
    values = np.stack([flops, 40 - 20 * flops / flops.max()], axis=1)[:, : columns.count(",") + 1]
    rows = [
        ",".join([str(a), *map(repr, v)])
        for a, v in zip(space.decode(codes), values.tolist(), strict=True)
    ]
    path.write_text("\n".join([f"arch,{columns}", *rows]) + "\n")
    return path


def known_tables(source: Any, path: Path, **metrics: float) -> str:
    """Write tables of metrics that are the operations times a factor, exactly."""
    space = language_models(source)
    table = AdditiveTable.from_function(space, lambda codes: space.flops(codes) / 2.0**30)
    figures = tuple(
        DeviceFigure(space, key.replace("_at_", "@"), factor * table, 20, 0.01)
        for key, factor in metrics.items()
    )
    DeviceFile(path.stem, figures, "0", kind=TABLES).write(path)
    return str(path)


@pytest.mark.parametrize("source", ["gpt-s", "gpt-xl", "gpt-s-wide", "llama-s"])
def test_any_metric_of_any_space_has_exact_fronts(source: str, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "m.csv", source, "speed,perplexity", 30)
    tables = hwnas.fit(file, ["speed", "perplexity"], tmp_path / "t.npz")
    assert [(f.quantity, f.points) for f in tables.figures] == [("speed", 30), ("perplexity", 30)]
    bench = surrogate(source, tables=str(tmp_path / "t.npz"))
    codes = bench.space.sample(50, np.random.default_rng(3))
    flops = bench.predict(codes, ["flops"]) / 1e10
    np.testing.assert_allclose(bench.predict(codes, ["speed"]), flops, rtol=0.05)
    for objectives in (["speed", "params"], ["perplexity"]):
        front = bench.front(objectives)
        assert front is not None
        assert front.epsilon == 0


def test_fronts_are_those_of_all_members(tmp_path: Path) -> None:
    file = known_tables(TINY, tmp_path / "t.npz", quality=-1.0, latency_at_mine=2.0)
    bench = surrogate(hwnas.space(TINY), tables=file)
    front = bench.front(["quality", "latency@mine"])
    assert front is not None
    codes = np.concatenate(list(bench.space.enumerate()))
    values = bench.predict(codes, ["quality", "latency@mine"])
    expected = np.unique(values[non_dominated(values)], axis=0)
    np.testing.assert_array_equal(np.unique(front.values, axis=0), expected)


def test_tables_take_the_place_of_published_metrics(tmp_path: Path) -> None:
    file = known_tables("gpt-s", tmp_path / "t.npz", perplexity=1.0, latency_at_h100=3.0)
    bench, published = surrogate("gpt-s", tables=file), surrogate("gpt-s")
    codes = bench.space.sample(20, np.random.default_rng(0))
    flops = bench.predict(codes, ["flops"])[:, 0] / 2.0**30
    np.testing.assert_allclose(bench.predict(codes, ["perplexity"])[:, 0], flops)
    np.testing.assert_allclose(bench.predict(codes, ["latency@h100"])[:, 0], 3 * flops)
    same = ["latency@a100", "latency@a100:p90"]
    np.testing.assert_array_equal(bench.predict(codes, same), published.predict(codes, same))
    with pytest.raises(InvalidInput, match="latency@h100 has no quantiles"):
        bench.front(["latency@h100:p90"])
    (note,) = bench.notes(parse_objectives(["latency@h100+a100"]))
    assert "a100 as published by HW-GPT-Bench, h100 as measured by a user" in note
    trees = surrogate("gpt-s", tables=file, model="trees")
    np.testing.assert_allclose(trees.predict(codes, ["perplexity"])[:, 0], flops)
    assert trees.front(["perplexity", "latency@a100"]) is None


def test_with_noise_values_of_tables_are_exact(tmp_path: Path) -> None:
    file = known_tables("gpt-s", tmp_path / "t.npz", latency_at_h100=3.0)
    bench = hwnas.surrogate("gpt-s", tables=file, noise=True)
    codes = bench.space.sample(4, np.random.default_rng(0))
    seeds = np.arange(4, dtype=np.uint64)
    found = bench.evaluate(codes, parse_objectives(["latency@h100"]), seeds=seeds)
    np.testing.assert_array_equal(found.values, bench.predict(codes, ["latency@h100"]))
    assert found.std is not None
    assert not found.std.any()


def test_a_metric_that_is_missing_names_what_is_there(tmp_path: Path) -> None:
    file = known_tables("gpt-m-wide", tmp_path / "t.npz", speed=1.0)
    bench = surrogate("gpt-m-wide", tables=file)
    with pytest.raises(UnknownName, match=r"unknown metric 'accuracy'; known: flops, .*speed"):
        bench.front(["accuracy"])
    with pytest.raises(InvalidInput, match="no published figures of gpt-m-wide"):
        bench.front(["perplexity"])
    with pytest.raises(InvalidInput, match=r"t\.npz: has speed; add it with: hwnas fit SOURCE"):
        bench.front(["tpot.serve"])
    with pytest.raises(InvalidInput, match=r"nothing for gpt-s; .* was measured on gpt-m-wide"):
        surrogate("gpt-s", tables=file)
    other = known_tables("gpt-m-wide", tmp_path / "other.npz", speed=1.0)
    with pytest.raises(InvalidInput, match="found speed in two files"):
        surrogate("gpt-m-wide", tables=(file, other))
    with pytest.raises(InvalidInput, match="twice"):
        surrogate("gpt-m-wide", tables=(file, file))
    with pytest.raises(InvalidInput, match="holds tables of metrics and is no device"):
        load_device(file)


def test_a_device_serves_as_tables_too(tmp_path: Path) -> None:
    space = language_models("gpt-m-wide")
    table = AdditiveTable.from_function(space, space.params)
    figure = DeviceFigure(space, "latency", table, 20, 0.01)
    DeviceFile("mine", (figure,), "0").write(tmp_path / "mine.npz")
    bench = surrogate("gpt-m-wide", tables=str(tmp_path / "mine.npz"))
    assert list(bench.metrics) == ["latency@mine"]


def test_a_run_gives_the_metrics_of_its_trials(tmp_path: Path) -> None:
    result = hwnas.run(RUN, tmp_path / "run", draw=False)
    tables = hwnas.fit(result.path, ["perplexity", "latency@h100"])
    assert [(f.quantity, f.points, f.unit) for f in tables.figures] == [
        ("perplexity", 40, ""),
        ("latency@h100", 40, "ms"),
    ]
    assert tables.figures[0].error < 0.02
    assert "run run; OpenWebText" in tables.figures[0].protocol
    assert "hwnas" in tables.figures[0].versions
    # The same run twice is no more than once: equal values of equal architectures are no repeats.
    twice = hwnas.fit([result.path, result.path], "perplexity")
    assert twice.figures[0].points == 40
    with pytest.raises(UnknownName, match="unknown metric 'latency'; did you mean 'latency@h100'"):
        hwnas.fit(result.path, "latency")


def test_noise_of_trials_is_told_apart_from_errors_of_the_fit(tmp_path: Path) -> None:
    noisy = {**RUN, "noise": True, "budget": {"evaluations": 60}}
    result = hwnas.run(noisy, tmp_path / "run", draw=False)
    (figure,) = hwnas.fit(result.path, "latency@h100", tmp_path / "t.npz").figures
    bench, fitted = surrogate("gpt-s"), surrogate("gpt-s", tables=str(tmp_path / "t.npz"))
    codes = bench.space.sample(500, np.random.default_rng(1))
    truth = bench.predict(codes, ["latency@h100"])
    error = float(np.abs(fitted.predict(codes, ["latency@h100"]) / truth - 1).mean())
    draws = bench.draw(codes, "latency@h100", np.random.default_rng(2))
    noise = float(np.abs(draws / truth - 1).mean())
    assert figure.error < noise
    assert error / 2.5 < figure.error < error * 2.5


def test_a_run_is_not_resumed_with_other_tables(tmp_path: Path) -> None:
    known_tables("gpt-s", tmp_path / "t.npz", quality=1.0)
    yaml = tmp_path / "e.yaml"
    yaml.write_text(
        "name: e\nspace: gpt-s\nobjectives: [quality, -params]\noptimizers: [random]\n"
        "backend: {type: surrogate, tables: t.npz}\nbudget: {evaluations: 10}\nseeds: 1\n"
    )
    result = hwnas.run(yaml, tmp_path / "run", draw=False)
    assert str(tmp_path / "t.npz") in (result.path / "experiment.yaml").read_text()
    hwnas.resume(result.path, overrides={"budget.evaluations": 12}, draw=False)
    known_tables("gpt-s", tmp_path / "t.npz", quality=1.5)
    with pytest.raises(InvalidInput, match="other data"):
        hwnas.resume(result.path, overrides={"budget.evaluations": 14}, draw=False)
    yaml.write_text(yaml.read_text().replace("t.npz", "[t.npz, 5]"))
    with pytest.raises(InvalidInput, match=r"setting 'tables'.*expected a text or a list of texts"):
        hwnas.run(yaml, tmp_path / "other", draw=False)


def test_repeats_are_averaged_and_tell_of_the_noise() -> None:
    space = language_models("gpt-s")
    codes = space.sample(20, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    truth = space.flops(codes) / 1e10
    values = truth.repeat(4) * (1 + 0.05 * rng.standard_normal(80))
    group = Measurements(space, "latency", codes.repeat(4, axis=0), values, None, None, {})
    averaged = average_repeats(group)
    assert averaged.std is not None
    assert len(averaged.values) == 20
    np.testing.assert_allclose(averaged.std / averaged.values, 0.025, rtol=0.2)
    known = replace(group, std=0.5 * values)
    assert (average_repeats(known).std > averaged.std).all()  # type: ignore[operator]
    distinct = replace(group, codes=codes, values=truth)
    assert average_repeats(distinct) is distinct


def test_more_points_than_a_fit_can_take_are_sampled_with_a_warning() -> None:
    space = language_models("gpt-s")
    codes = space.sample(50, np.random.default_rng(0))
    group = Measurements(space, "x", codes, np.arange(1.0, 51.0), np.ones(50), None, {})
    with pytest.warns(HwnasWarning, match="20 of 50 architectures are used"):
        few = limit_points(group, 20)
    assert len(few.values) == len(few.codes) == 20
    assert (few.codes == codes[few.values.astype(int) - 1]).all()


def test_intervals_cover_what_a_fit_has_not_seen() -> None:
    space = language_models("gpt-s")
    codes = space.sample(60, np.random.default_rng(0))
    noise = np.random.default_rng(1).normal(1, 0.02, 60)
    group = Measurements(space, "x", codes, space.flops(codes) * noise / 1e10, None, None, {})
    kendall, coverage = validate(group)
    assert 0.5 < kendall < 1
    assert 0.8 <= coverage <= 1
    few = replace(group, codes=codes[:8], values=group.values[:8])
    assert all(np.isnan(validate(few)))


GOOD = "gpt-s-10-192-2-2-2-2-2-2-2-2-2-2-4-4-4-4-4-4-4-4-4-4-True"


@pytest.mark.parametrize(
    ("text", "metrics", "message"),
    [
        (f"arch,quality\n{GOOD},good\n", "quality", "line 2, column quality: expected a positive"),
        (f"arch,quality\n{GOOD},-1\n", "quality", "line 2, column quality: expected a positive"),
        (f"arch,quality\n{GOOD},1,2\n", "quality", "line 2: expected 2 cells"),
        (f"arch,quality\n{GOOD},1\n", "quality", "at least 6 different architectures, found 1"),
        (f"arch,quality\n{GOOD},1\n", "qualty", "unknown metric 'qualty'; did you mean 'quality'"),
        (f"arch,quality\n{GOOD},\n", "quality", "expected rows with values, found none"),
        (f"arch,quality\n{GOOD},1\n", "params", "params is exact already"),
        (f"arch,quality\n{GOOD},1\n", "kv_cache.serve", "kv_cache.serve is exact already"),
        (f"arch,latency\n{GOOD},1\n", "latency@a+b", "expected a metric on one device or none"),
        (f"arch,latency\n{GOOD},1\n", "latency <= 3", "expected a metric on one device or none"),
        (f"arch,tpot.odd\n{GOOD},1\n", "tpot.odd", "unknown workload 'odd'"),
        ("quality\n1\n", "quality", "line 1: expected a column arch"),
        (f"arch,latency\n{GOOD},1\n", ["latency@a", "latency@b"], "both are the column latency"),
    ],
)
def test_malformed_sources_are_refused_and_nothing_is_written(
    text: str, metrics: Any, message: str, tmp_path: Path
) -> None:
    file, out = tmp_path / "m.csv", tmp_path / "t.npz"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=message):
        hwnas.fit(file, metrics, out)
    assert not out.exists()


def test_a_device_in_the_name_of_a_metric_may_lack_in_the_column(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "m.csv", "gpt-s", "tpot.serve,latency@cuda")
    tables = hwnas.fit(file, ["tpot.serve@mine", "-latency@cuda"])
    assert [f.quantity for f in tables.figures] == ["tpot.serve@mine", "latency@cuda"]
    assert tables.figures[0].workload is not None


def test_spaces_of_one_name_are_not_mixed(tmp_path: Path) -> None:
    space = language_models(TINY)
    other = language_models({**TINY, "n_head": [1, 4]})
    groups = []
    for one in (space, other):
        codes = one.sample(8, np.random.default_rng(0))
        groups.append(Measurements(one, "x", codes, np.ones(8), None, None, {}))
    from hwnas.devices.add import tables_of_measurements

    with pytest.raises(InvalidInput, match="different spaces of the name 'tiny'"):
        tables_of_measurements(groups)


def test_a_file_that_cannot_be_written_is_refused_before_the_fit(tmp_path: Path) -> None:
    for out, message in (("t.csv", "ends in .npz"), ("no/t.npz", "there is no directory")):
        with pytest.raises(InvalidInput, match=message):
            hwnas.fit(tmp_path / "missing.csv", "x", tmp_path / out)
    with pytest.raises(InvalidInput, match="expected a source and a metric"):
        hwnas.fit([], "x")


def test_a_file_keeps_unit_coverage_and_kind(tmp_path: Path) -> None:
    file = tmp_path / "t.npz"
    known_tables(TINY, file, quality=1.0)
    written = read_device_file(file)
    figure = replace(written.figures[0], unit="points", coverage=0.9)
    replace(written, figures=(figure,)).write(file)
    read = read_device_file(file)
    assert (read.kind, read.figures[0].unit, read.figures[0].coverage) == (TABLES, "points", 0.9)
    assert surrogate(hwnas.space(TINY), tables=str(file)).metrics["quality"].unit == "points"


@pytest.mark.parametrize(
    "changes", [{"quantity": "params"}, {"quantity": "x@a+b"}, {"coverage": 2.0}], ids=str
)
def test_wrong_descriptions_are_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "t.npz"
    known_tables(TINY, file, quality=1.0)
    written = read_device_file(file)
    replace(written, figures=(replace(written.figures[0], **changes),)).write(file)
    with pytest.raises(InvalidInput, match=str(file)):
        read_device_file(file)


def test_keys_of_metrics() -> None:
    assert metric_key("-accuracy") == "accuracy"
    with pytest.raises(InvalidInput, match="without a statistic"):
        metric_key("latency@h100:p90")


@hwnas.register_space("odd-gpt")
class OddGPT(type(hwnas.space("gpt-s"))):  # type: ignore[misc]
    """A family of the user's own, whose members are GPTs."""

    family = "odd-gpt"
    named: dict[str, Any] = {}  # noqa: RUF012

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "family": self.family}


def test_families_of_the_user_have_tables_too(tmp_path: Path) -> None:
    source = {**TINY, "family": "odd-gpt", "name": "odd"}
    file = known_tables(source, tmp_path / "t.npz", quality=-1.0)
    bench = surrogate(hwnas.space(source), tables=file)
    front = bench.front(["quality", "params"])
    assert front is not None
    assert front.epsilon == 0


def test_quantiles_tell_of_the_error_of_the_fit(tmp_path: Path) -> None:
    """Nine in ten architectures lie below the p90, and fronts of quantiles are exact."""
    space = language_models("gpt-s")
    codes = space.sample(400, np.random.default_rng(0))
    truth = space.flops(codes) / 1e10 * np.random.default_rng(1).normal(1, 0.03, 400)
    rows = [f"{a},{v}" for a, v in zip(space.decode(codes[:60]), truth[:60], strict=True)]
    (tmp_path / "m.csv").write_text("\n".join(["arch,latency", *rows]))
    (figure,) = hwnas.fit(tmp_path / "m.csv", "latency@mine", tmp_path / "t.npz").figures
    assert 0.02 < figure.spread < 0.05
    bench = surrogate("gpt-s", tables=str(tmp_path / "t.npz"))
    low, high = (bench.predict(codes[60:], [f"latency@mine:p{p}"])[:, 0] for p in (10, 90))
    assert 0.84 < (truth[60:] <= high).mean() < 0.96
    assert 0.04 < (truth[60:] <= low).mean() < 0.16
    quantiles = bench.quantiles(codes, "latency@mine")
    assert (np.diff(quantiles, axis=1) > 0).all()
    np.testing.assert_allclose(quantiles[:, 4], bench.predict(codes, ["latency@mine"])[:, 0])
    front = bench.front(["perplexity", "latency@mine:p90"], ["latency@mine:p95 <= 100"])
    assert front is not None
    assert front.epsilon == 0
    # Errors of a fit are no noise, which would be another at each evaluation.
    noisy = hwnas.surrogate("gpt-s", tables=str(tmp_path / "t.npz"), noise=True)
    seeds = np.arange(5, dtype=np.uint64)
    found = noisy.evaluate(codes[:5], parse_objectives(["latency@mine"]), seeds=seeds)
    np.testing.assert_array_equal(found.values, bench.predict(codes[:5], ["latency@mine"]))


MLP: dict[str, Any] = {
    "name": "mlp",
    "choices": {"optimizer": ["adam", "sgd"], "depth": [1, 2], "rate": [0.1, 0.01, -1.0]},
    "layers": {"width": [8, 16], "heads": [1, 2], "norm": [True, False]},
    "allowed": [[8, 1, True], [8, 1, False], [16, 1, True], [16, 2, True], [16, 2, False]],
}
DEEP = {"name": "deep", "choices": {"depth": [1, 2, 3]}, "layers": {"width": [8, 16, 32]}}


def size_of(space: hwnas.SearchSpace, codes: Any) -> Any:
    """Return a metric that is a sum over layers: weights and squares of all their choices."""
    active = space.active(codes)
    return 1.0 + (codes.astype(float) ** 2 * active) @ np.arange(1.0, len(space.columns) + 1)


@pytest.mark.parametrize("source", [MLP, DEEP], ids=lambda s: s["name"])
def test_any_space_with_layers_has_tables(source: dict[str, Any], tmp_path: Path) -> None:
    space = hwnas.space(source)
    table = AdditiveTable.from_function(space, lambda codes: size_of(space, codes))
    costs = AdditiveTable.from_function(space, lambda codes: 9 - size_of(space, codes) ** 0.0)
    figures = [DeviceFigure(space, k, t, 9, 0.1) for k, t in (("a", table), ("b", costs))]
    DeviceFile("t", tuple(figures), "0", kind=TABLES).write(tmp_path / "t.npz")
    bench = surrogate(space, tables=str(tmp_path / "t.npz"))
    codes = np.concatenate(list(space.enumerate()))
    np.testing.assert_allclose(bench.predict(codes, ["a"])[:, 0], size_of(space, codes))
    front = bench.front(["a", "b"])
    assert front is not None
    values = bench.predict(codes, ["a", "b"])
    expected = np.unique(values[non_dominated(values)], axis=0)
    np.testing.assert_array_equal(np.unique(front.values, axis=0), expected)
    assert space.is_valid(front.codes).all()


def test_a_function_of_layers_that_was_minimized_has_tables(tmp_path: Path) -> None:
    def train(config: Any) -> dict[str, float]:
        width = sum(config["width"])
        return {"loss": 10 - config["depth"] - width / 100, "cost": 1 + width}

    result = hwnas.minimize(
        train, {"depth": [1, 2, 3]}, ["loss", "cost"], layers={"width": [8, 16, 32]},
        optimizers="random", budget=25, seeds=1, out=tmp_path / "run", draw=False,
    )  # fmt: skip
    figures = hwnas.fit(result.path, ["loss", "cost"], tmp_path / "t.npz").figures
    assert all(figure.error < 0.1 for figure in figures)
    bench = surrogate(result.space, tables=str(tmp_path / "t.npz"))
    front = bench.front(["loss", "cost"])
    assert front is not None
    assert front.epsilon == 0


@pytest.mark.parametrize(
    "choices", [{"depth": [0, 1]}, {"rate": [1, 2]}], ids=["no layers at all", "no depth"]
)
def test_spaces_without_layers_have_no_tables(choices: dict[str, Any], tmp_path: Path) -> None:
    layers = {"layers": {"width": [8, 16]}} if "depth" in choices else {}
    space = hwnas.space({"name": "flat", "choices": choices, **layers})
    codes = space.sample(1, np.random.default_rng(0))
    (tmp_path / "m.csv").write_text(f"arch,x\n{space.decode(codes)[0]},1\n")
    with pytest.raises(InvalidInput, match="expected one or more layers"):
        hwnas.fit(tmp_path / "m.csv", "x", space=space)
