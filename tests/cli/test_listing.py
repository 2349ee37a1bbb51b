"""Tables of the command line: their values are those of the surrogate benchmark."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import hwnas
from hwnas import registry
from hwnas.cli import listing
from hwnas.errors import InvalidInput, MissingExtra, UnknownName
from hwnas.shipped_experiments import shipped_experiments
from hwnas.spaces import GPT_SPACES, LanguageModelSpace, families, load_space
from hwnas.spaces.arch_input import LocatedArchitecture
from hwnas.surrogates import Surrogate
from hwnas.surrogates.device_library import shipped_devices, shipped_names
from hwnas.surrogates.devices import DEVICES, Device, device
from hwnas.surrogates.protocol import BATCH_SIZES
from hwnas.surrogates.published import SCALES

BENCH = hwnas.surrogate("gpt-s")


def sample_located(n: int, name: str = "gpt-s") -> list[LocatedArchitecture]:
    space = hwnas.space(name)
    archs = space.decode(space.sample(n, np.random.default_rng(0)))
    return [LocatedArchitecture(arch, f"line {i}") for i, arch in enumerate(archs, 1)]


def test_every_device_is_described() -> None:
    assert set(DEVICES) == set(BENCH.devices)
    assert {d.kind for d in DEVICES.values()} == {"GPU", "CPU"}
    assert device("my-board") == Device()


@pytest.mark.parametrize("scale", ["gpt-s", "gpt-m", "gpt-l"])
def test_devices_of_every_scale(scale: str) -> None:
    header, rows = listing.listing("devices", scale=scale)
    assert header[4:] == [f"ms on {scale}", f"mWh on {scale}"]
    bench = hwnas.surrogate(scale)
    names = tuple(row[0] for row in rows)
    assert names == (*bench.devices, *(n for n in bench.added.names if n in shipped_names()))
    for row in rows[: len(bench.devices)]:
        for metric, text in zip(("latency", "energy"), row[4:], strict=True):
            limits = [float(value) for value in text.split(" to ")]
            np.testing.assert_allclose(limits, bench.range(f"{metric}@{row[0]}"), rtol=5e-3)


@pytest.mark.parametrize("scale", ["gpt-s", "gpt-m", "gpt-l"])
def test_metrics_say_what_they_measure(scale: str) -> None:
    header, rows = listing.listing("metrics", scale=scale)
    table = [dict(zip(header, row, strict=True)) for row in rows]
    assert {row["backend"] for row in table} == {"all", "surrogate", "profile"}
    assert all(row["meaning"] for row in table)
    (latency,) = (r for r in table if (r["backend"], r["name"]) == ("surrogate", "latency@DEVICE"))
    assert f"{BATCH_SIZES[scale]} x 1,024" in latency["meaning"]
    assert "float32 on CPUs" in latency["meaning"]


def test_devices_in_detail_say_what_was_measured() -> None:
    header, rows = listing.listing("devices", verbose=True)
    for row in rows[: len(DEVICES)]:
        cells = dict(zip(header, row, strict=True))
        assert cells["precision"] == DEVICES[cells["name"]].precision
        for metric in ("latency", "energy"):
            assert cells[metric] == BENCH.metrics[f"{metric}@{cells['name']}"].meaning


def test_spaces_say_whether_there_are_figures() -> None:
    header, rows = listing.listing("spaces")
    for row in rows:
        cells = dict(zip(header, row, strict=True))
        try:
            bench = hwnas.surrogate(cells["name"])
        except InvalidInput:
            is_model = isinstance(hwnas.space(cells["name"]), LanguageModelSpace)
            way = ": measure with the profile backend" if is_model else ""
            assert cells["figures"] == f"none{way}"
        else:
            published = ["published"] if cells["name"] in SCALES else []
            measured = [n for n in shipped_names() if n in bench.added.names]
            assert cells["figures"] == ", ".join([*published, *measured])


def test_spaces_of_all_families_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pair(hwnas.SearchSpace):
        named: ClassVar[dict[str, Any]] = {"pair-50": {"size": 50}, "pair-2": {"size": 2}}

        def __init__(self, name: str, *, size: int) -> None:
            others = {f"c{i}": [0, 1] for i in range(20)}
            super().__init__(name, {"a": range(size), "b": ["x", "y"], **others})

    monkeypatch.setattr(families, "registered", {**families.registered, "pair": Pair})
    header, rows = listing.listing("spaces")
    assert header == ["name", "family", "members", "choices", "figures"]
    table = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert list(table)[: len(GPT_SPACES)] == list(GPT_SPACES)
    assert table.keys() == families.named_spaces().keys()
    for name, cells in table.items():
        assert families.named_spaces()[name] is families.family(cells["family"])
        assert float(cells["members"]) == pytest.approx(hwnas.space(name).size, rel=5e-3)
    assert table["pair-50"]["choices"] == "a 0 ... 49 (50 values); b x y; c0 ... c19 0 1"
    assert table["zdt4"]["choices"] == (
        "x1 0.0 ... 1.0 (64 values); x2 ... x10 -5.0 ... 5.0 (64 values)"
    )
    assert max(len(cells["choices"]) for cells in table.values()) < 150
    assert table["llama-s"]["choices"].count("a layer: mlp_dim 512 1024 1536; n_head") == 1
    # A family that cannot be loaded is named in the list.
    monkeypatch.setattr("hwnas.cli.components.family", load_all_but_pair)
    rows = listing.listing("spaces")[1]
    assert ["", "pair", "", 'x needs y: pip install "hwnas[z]"', ""] in rows


def load_all_but_pair(name: str) -> Any:
    return families.family(name) if name != "pair" else raise_missing()


@pytest.mark.parametrize("name", families.named_spaces())
def test_metrics_of_spaces_without_figures(name: str) -> None:
    if not isinstance(hwnas.space(name), LanguageModelSpace):
        with pytest.raises(InvalidInput, match=f"{name}': its metrics are those of your own"):
            listing.listing("metrics", scale=name)
        return
    header, rows = listing.listing("metrics", scale=name)
    table = [dict(zip(header, row, strict=True)) for row in rows]
    names = [(cells["backend"], cells["name"]) for cells in table]
    assert names[:2] == [("all", "params"), ("all", "flops")]
    assert {("profile", "perplexity"), ("profile", "latency@DEVICE")} <= set(names)
    is_measured = any(device.figures for device in shipped_devices(hwnas.space(name)).values())
    has_figures = name in SCALES or is_measured
    assert any(backend == "surrogate" for backend, _ in names) == has_figures
    assert all(cells["meaning"] for cells in table)
    assert listing.fit(name).lines.get("space", name) == name
    if not has_figures:
        with pytest.raises(InvalidInput, match="published figures"):
            listing.listing("devices", scale=name)


def test_figures_are_of_gpt_alone(tmp_path: Path) -> None:
    own = hwnas.space({"name": "own", "choices": {"size": [1, 2]}})
    llama = hwnas.space({**hwnas.space("llama-s").to_dict(), "name": "wide", "embed_dim": [320]})
    for space, way in ((llama, "profile"), (own, "python or a plugin of yours")):
        (member,) = space.decode(space.sample(1, np.random.default_rng(0)))
        located = LocatedArchitecture(member, "line 1")
        message = rf"'{space.name}': published figures are of GPT .*, gpt-s, .* backend {way}$"
        with pytest.raises(InvalidInput, match=message):
            listing.figures([located], ["perplexity"], space=space)
        with pytest.raises(InvalidInput, match=message):
            listing.figures_of_one(located, devices=["h100"], space=space)
        file = tmp_path / "own.yaml"
        file.write_text(json.dumps(space.to_dict()))
        with pytest.raises(InvalidInput, match="published figures are of GPT"):
            listing.exact_front(str(file), ["params", "perplexity"], [])


def test_figures_of_a_space_in_a_file(tmp_path: Path) -> None:
    choices = {"embed_dim": [192], "n_layer": [10], "mlp_ratio": [2, 4], "n_head": [4]}
    file = tmp_path / "small.yaml"
    file.write_text(json.dumps({"name": "small", **choices}))
    front = listing.exact_front(str(file), ["params", "perplexity"], [])
    assert front.space == "small"
    located = [LocatedArchitecture(arch, "line 1") for arch in front.archs]
    _, rows = listing.figures(located, ["params", "perplexity"], space=load_space(str(file)))
    assert [row[1:] for row in rows] == front.front.values.tolist() == front.values


@pytest.mark.parametrize("objectives", [["params", "perplexity"], ["perplexity", "-flops"]])
def test_numbers_of_parameters_and_operations_are_integers(objectives: list[str]) -> None:
    front = listing.exact_front("gpt-s", objectives, ["params <= 3e7"], best=3)
    _, rows = listing.figures(
        [LocatedArchitecture(arch, "line 1") for arch in front.archs],
        [name.strip("-") for name in objectives],
    )
    assert front.values == [row[1:] for row in rows]
    types = [[type(value) for value in row] for row in front.values]
    assert types == [[type(value) for value in row[1:]] for row in rows]
    assert {type(row[objectives.index(name)]) for row in front.values for name in objectives} == {
        int,
        float,
    }


def test_loggers_are_described() -> None:
    header, rows = listing.listing("loggers")
    assert header == ["name", "what it is"]
    described = {str(name): str(text) for name, text in rows}
    assert set(described) >= {"mlflow", "tensorboard", "wandb"}
    assert described["mlflow"].startswith("MLflow: runs of searches and of trials")


def test_experiments_are_described() -> None:
    header, rows = listing.listing("experiments")
    table = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert set(table) == set(shipped_experiments())
    assert table["quickstart"]["optimizers"] == "random, nsga2, additive, moasha"
    assert table["quickstart"]["budget of a search"] == "150 evaluations"
    hardware = {name: cells["hardware"] for name, cells in table.items()}
    assert hardware.pop("hardware/gpu") == "cuda"
    assert hardware.pop("hardware/cpu-tiny") == "cpu"
    assert hardware.pop("hardware/llama-cpu") == "cpu"
    assert set(hardware.values()) == {"none"}
    # One sentence, without the mark of a comment.
    for cells in table.values():
        assert cells["what it is"]
        assert "#" not in cells["what it is"]


def test_optimizers_in_detail_say_how_they_treat_constraints() -> None:
    header, rows = listing.listing("optimizers", verbose=True)
    table = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert table.keys() == set(registry.names("optimizer"))
    for name, cells in table.items():
        if cells["settings"]:
            handles = registry.lookup("optimizer", name).handles_constraints
            assert cells["constraints"] == ("yes" if handles else "ignored")
    assert {cells["constraints"] for cells in table.values()} >= {"yes", "ignored"}


def test_a_missing_library_is_named_in_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    for verbose in (False, True):
        with monkeypatch.context() as patch:
            patch.setattr(registry, "documentation", raise_missing)
            header, rows = listing.listing("optimizers", verbose=verbose)
        assert all(len(row) == len(header) for row in rows)
        assert {row[1] for row in rows} == {'x needs y: pip install "hwnas[z]"'}


def raise_missing(*arguments: Any) -> str:
    raise MissingExtra("x", "y", "z")


def test_ranges_are_tight() -> None:
    choices = {"embed_dim": [192, 768], "n_layer": [10], "mlp_ratio": [2, 4], "n_head": [4]}
    small = hwnas.surrogate(hwnas.space({"name": "small", **choices}))
    layers = np.array(list(itertools.product((0, 1), repeat=10)), dtype=np.int8)
    codes = np.zeros((4, len(layers), len(small.space.columns)), dtype=np.int8)
    codes[:, :, 0] = np.array([0, 0, 1, 1])[:, None]
    codes[:, :, 2] = np.array([0, 1, 0, 1])[:, None]
    codes[:, :, 3::2] = layers
    codes = codes.reshape(-1, codes.shape[-1])
    assert len(codes) == small.space.size
    for name in ("perplexity", "params", "latency@h100", "energy@P100:p90"):
        values = small.predict(codes, [name])
        assert small.range(name) == pytest.approx((values.min(), values.max()), rel=1e-12)
    with pytest.raises(InvalidInput, match="unknown metric 'latncy'"):
        small.range("latncy@h100")


def test_fit_shows_provenance() -> None:
    fit = listing.fit("gpt-m")
    provenance = hwnas.surrogate("gpt-m").provenance
    title, (header, rows) = next(iter(fit.tables.items()))
    assert title == "held out error percent"
    assert {row[0] for row in rows} == set(BENCH.devices)
    errors = provenance["held_out_error_percent"]
    (row,) = (row for row in rows if row[0] == "h100")
    assert row[header.index("latency median")] == str(errors["latency@h100"])
    assert f"perplexity {errors['perplexity']}" in fit.lines[title]
    assert fit.lines["space"] == "gpt-m"
    assert provenance["source"]["sha256"] in fit.lines["source"]
    for key in ("method", "licence", "notice", "citation"):
        assert fit.lines[key] == provenance[key]


def test_fit_shows_unknown_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    provenance: dict[str, Any] = {
        "held_out_error_percent": {"latency@h100": 1.0, "latency@new:p90": 2.0},
        "in_noise": {"energy@h100": 0.5},
        "remark": "none",
    }
    monkeypatch.setattr(Surrogate, "provenance", provenance)
    fit = listing.fit("gpt-s")
    assert fit.tables["held out error percent"] == (
        ["device", "latency median", "latency p90"],
        [["h100", "1.0", ""], ["new", "", "2.0"]],
    )
    assert fit.tables["in noise"] == (["device", "energy median"], [["h100", "0.5"]])
    assert fit.lines == {"space": "gpt-s", "remark": "none"}


def test_figures_equal_benchmark() -> None:
    located = sample_located(50)
    header, rows = listing.figures(located)
    assert [row[0] for row in rows] == [str(item.arch) for item in located]
    assert len(header) == 1 + len(BENCH.metrics) + 2
    codes = BENCH.space.encode([item.arch for item in located])
    values = BENCH.predict(codes, header[1:])
    assert [row[1:] for row in rows] == values.tolist()
    assert all(type(row[header.index(name)]) is int for row in rows for name in ("params", "flops"))


@pytest.mark.parametrize(
    ("metrics", "devices", "columns"),
    [
        (["perplexity"], [], ["perplexity"]),
        (["perplexity"], ["h100"], ["perplexity"]),
        (["latency@h100:median"], [], ["latency@h100"]),
        (["energy:p90"], ["v100", "h100"], ["energy@v100:p90", "energy@h100:p90"]),
        (["latency@a40", "latency"], ["h100", "a40"], ["latency@a40", "latency@h100"]),
        (["latency"], [], [name for name in BENCH.metrics if name.startswith("latency@")]),
    ],
)
def test_columns_of_selected_metrics(
    metrics: list[str], devices: list[str], columns: list[str]
) -> None:
    assert listing.figures(sample_located(2), metrics, devices)[0] == ["arch", *columns]


def test_single_architecture_has_quantiles() -> None:
    (located,) = sample_located(1)
    header, rows = listing.figures_of_one(located, ["h100"])
    assert header == ["metric", "unit", "median", "p10", "p90"]
    by_metric = {row[0]: row[1:] for row in rows}
    assert by_metric["perplexity"][2:] == ["", ""]
    codes = BENCH.space.encode([located.arch])
    quantiles = BENCH.quantiles(codes, "latency@h100", levels=[0.5, 0.1, 0.9])[0].tolist()
    assert by_metric["latency@h100"] == ["ms", *quantiles]
    assert "latency@a100" not in by_metric


def test_wrong_arguments_raise() -> None:
    with pytest.raises(InvalidInput, match=r"line 1: .*'gpt-s' as in line 1, found 'gpt-m'"):
        listing.figures(sample_located(1) + sample_located(1, "gpt-m"))
    with pytest.raises(InvalidInput, match="'gpt-m-wide': there are no published figures"):
        listing.figures(sample_located(1, "gpt-m-wide"))
    with pytest.raises(UnknownName, match="unknown device 'h10'"):
        listing.figures(sample_located(1), devices=["h10"])
    for metric, message in {"flops <= 1": "nor bound", "latency@h100+a40": "one device"}.items():
        with pytest.raises(InvalidInput, match=message):
            listing.figures(sample_located(1), [metric])


def test_unavailable_fronts_raise() -> None:
    with pytest.raises(InvalidInput, match="expected at least one objective, found none"):
        BENCH.front([])
    with pytest.raises(UnknownName, match="unknown device 'h10'; did you mean 'h100'"):
        BENCH.front(["perplexity", "latency@a100+h10"])
    with pytest.raises(InvalidInput, match="worst ratio over devices takes upper bounds alone"):
        listing.exact_front("gpt-s", ["perplexity"], ["latency@a100+h100 >= 2"])
    assert BENCH.front(["perplexity"], ["latency@a100+h100 >= 2"]) is None
