"""What the tables of the command line say is what the benchmark says."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import hwnas
from hwnas.cli import listing
from hwnas.errors import InvalidInput, UnknownName
from hwnas.spaces.arch_input import LocatedArchitecture
from hwnas.surrogates import Surrogate
from hwnas.surrogates.devices import DEVICES, Device, device

BENCH = hwnas.surrogate("gpt-s")


def sampled(n: int, name: str = "gpt-s") -> list[LocatedArchitecture]:
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
    assert tuple(row[0] for row in rows) == bench.devices
    for row in rows:
        for metric, text in zip(("latency", "energy"), row[4:], strict=True):
            said = [float(value) for value in text.split(" to ")]
            np.testing.assert_allclose(said, bench.range(f"{metric}@{row[0]}"), rtol=5e-3)


def test_ranges_are_reached_and_not_left() -> None:
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


def test_fit_shows_all_that_is_known() -> None:
    fit = listing.fit("gpt-m")
    known = hwnas.surrogate("gpt-m").provenance
    ((title, (header, rows)),) = fit.tables.items()
    assert title == "held out error percent"
    assert {row[0] for row in rows} == set(BENCH.devices)
    errors = known["held_out_error_percent"]
    (row,) = (row for row in rows if row[0] == "h100")
    assert row[header.index("latency median")] == str(errors["latency@h100"])
    assert f"perplexity {errors['perplexity']}" in fit.lines[title]
    assert fit.lines["space"] == "gpt-m"
    assert known["source"]["sha256"] in fit.lines["source"]
    for key in ("method", "licence", "notice", "citation"):
        assert fit.lines[key] == known[key]


def test_fit_takes_whatever_else_will_be_known(monkeypatch: pytest.MonkeyPatch) -> None:
    more: dict[str, Any] = {
        "held_out_error_percent": {"latency@h100": 1.0, "latency@new:p90": 2.0},
        "in_noise": {"energy@h100": 0.5},
        "remark": "none",
    }
    monkeypatch.setattr(Surrogate, "provenance", more)
    fit = listing.fit("gpt-s")
    assert fit.tables["held out error percent"] == (
        ["device", "latency median", "latency p90"],
        [["h100", "1.0", ""], ["new", "", "2.0"]],
    )
    assert fit.tables["in noise"] == (["device", "energy median"], [["h100", "0.5"]])
    assert fit.lines == {"space": "gpt-s", "remark": "none"}


def test_figures_are_those_of_the_benchmark() -> None:
    given = sampled(50)
    header, rows = listing.figures(given)
    assert [row[0] for row in rows] == [str(one.arch) for one in given]
    assert len(header) == 1 + len(BENCH.metrics) + 2
    codes = BENCH.space.encode([one.arch for one in given])
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
        (["latency"], [], [f"latency@{name}" for name in BENCH.devices]),
    ],
)
def test_columns(metrics: list[str], devices: list[str], columns: list[str]) -> None:
    assert listing.figures(sampled(2), metrics, devices)[0] == ["arch", *columns]


def test_one_has_quantiles() -> None:
    (one,) = sampled(1)
    header, rows = listing.figures_of_one(one, ["h100"])
    assert header == ["metric", "unit", "median", "p10", "p90"]
    known = {row[0]: row[1:] for row in rows}
    assert known["perplexity"][2:] == ["", ""]
    codes = BENCH.space.encode([one.arch])
    middle = BENCH.quantiles(codes, "latency@h100", levels=[0.5, 0.1, 0.9])[0].tolist()
    assert known["latency@h100"] == ["ms", *middle]
    assert "latency@a100" not in known


def test_wrong_figures() -> None:
    with pytest.raises(InvalidInput, match=r"line 1: .*'gpt-s' as in line 1, found 'gpt-m'"):
        listing.figures(sampled(1) + sampled(1, "gpt-m"))
    with pytest.raises(InvalidInput, match="'gpt-xl': there are no published figures"):
        listing.figures(sampled(1, "gpt-xl"))
    with pytest.raises(UnknownName, match="unknown device 'h10'"):
        listing.figures(sampled(1), devices=["h10"])
    for metric, message in {"flops <= 1": "nor bound", "latency@h100+a40": "one device"}.items():
        with pytest.raises(InvalidInput, match=message):
            listing.figures(sampled(1), [metric])


def test_fronts_that_there_are_not() -> None:
    with pytest.raises(InvalidInput, match="expected at least one objective, found none"):
        BENCH.front([])
    with pytest.raises(UnknownName, match="unknown device 'h10'; did you mean 'h100'"):
        BENCH.front(["perplexity", "latency@a100+h10"])
    with pytest.raises(InvalidInput, match="a worst ratio is no sum over layers"):
        listing.exact_front("gpt-s", ["perplexity", "latency@a100+h100"], [])
    assert BENCH.front(["perplexity", "latency@a100+h100"]) is None
