from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.profiling.meters.energy_counter import (
    Counter,
    PackageCounter,
    next_tick,
    package_zones,
    relative_error,
    ticks,
    unwrapped,
)
from hwnas.profiling.meters.nvml import NoMeter


def test_a_counter_that_wraps() -> None:
    assert unwrapped([[90], [95], [3], [3], [50]], [100]).tolist() == [0, 5, 13, 13, 60]
    assert unwrapped([[1, 9], [2, 1]], [10, 10]).tolist() == [0, 3]


@given(st.lists(st.lists(st.integers(0, 999), min_size=2, max_size=2), max_size=20))
def test_unwrapping_gives_back_what_was_added(steps: list[list[int]]) -> None:
    moduli = np.array([1000, 1300])
    start = np.array([[999, 17]])
    true = np.concatenate((start, start + np.cumsum(np.array(steps).reshape(-1, 2), axis=0)))
    found = unwrapped(true % moduli, moduli)
    assert found.tolist() == (true - start).sum(axis=1).tolist()


@given(st.floats(0.05, 0.2), st.floats(0.001, 0.02), st.floats(0, 0.1))
def test_ticks_are_where_they_are_said_to_be(period: float, gap: float, offset: float) -> None:
    begun = np.arange(0, 1, gap)
    ended = begun + gap / 3
    readings = np.floor((begun + gap / 6 + offset) / period)  # each looked at in the middle
    times, violations, values = ticks(begun, ended, readings)
    true = np.array([period * k - offset for k in values])
    assert (abs(times - true) <= violations + 1e-12).all()
    assert (violations <= 0.7 * gap).all()
    assert len(values) == readings[-1] - readings[0]


def test_no_ticks_in_a_counter_that_stands_still() -> None:
    times, violations, values = ticks([0, 1, 2], [0.5, 1.5, 2.5], [7, 7, 7])
    assert len(times) == len(violations) == len(values) == 0


class Stairs(Counter):
    """3 J every 0.1 s of a clock that each look at it moves on."""

    name = "stairs"

    def __init__(self, joules: float = 3.0) -> None:
        self.now, self.joules = 0.03, joules

    def clock(self) -> float:
        self.now += 1e-4
        return self.now

    def read(self) -> float:
        return self.joules * math.floor(self.now / 0.1)


def test_the_next_tick() -> None:
    counter = Stairs()
    found = [next_tick(counter, lambda: None, clock=counter.clock) for _ in range(3)]
    for k, tick in enumerate(found, 1):
        assert abs(tick.time - 0.1 * k) <= tick.violation <= 5e-4
        assert tick.joules == 3.0 * k


def test_a_counter_that_is_dead() -> None:
    counter = Stairs(joules=0)
    with pytest.raises(NoMeter, match="stairs: the counter has not moved for 5 s"):
        next_tick(counter, lambda: None, clock=counter.clock)


def test_error_of_a_mean() -> None:
    ratios = [1.0, 2.0, 3.0, 2.0, 2.0]  # standard deviation sqrt(1/2)
    expected = 1.96 * math.sqrt(0.5 / 5) / 2 + 0.01 / 4
    assert relative_error(ratios, 0.01, 4.0) == pytest.approx(expected)
    assert relative_error(ratios[:4], 0.0, 1.0) == math.inf
    assert relative_error([0.0] * 9, 0.0, 1.0) == math.inf


def zone(folder: Path, directory: str, name: str, energy: int, largest: int = 999_999) -> Path:
    path = folder / directory
    path.mkdir()
    for file, value in (("name", name), ("energy_uj", energy), ("max_energy_range_uj", largest)):
        (path / file).write_text(f"{value}\n", encoding="utf-8")
    return path


def test_each_package_counts_once(tmp_path: Path) -> None:
    (tmp_path / "intel-rapl").mkdir()  # the control type has no name of its own
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", 0)
    zone(tmp_path, "intel-rapl:0", "package-0", 0)
    zone(tmp_path, "intel-rapl:0:0", "core", 0)
    zone(tmp_path, "intel-rapl:0:1", "dram", 0)
    zone(tmp_path, "intel-rapl:1", "package-1", 0)
    zone(tmp_path, "intel-rapl:2", "psys", 0)
    assert [z.name for z in package_zones(tmp_path)] == ["intel-rapl:0", "intel-rapl:1"]


def test_packages_add_up_and_wrap(tmp_path: Path) -> None:
    one = zone(tmp_path, "intel-rapl:0", "package-0", 900_000)
    two = zone(tmp_path, "intel-rapl:1", "package-1", 5_000_000, largest=9_999_999)
    counter = PackageCounter(tmp_path)
    assert counter.name == "RAPL, 2 packages"
    found = [counter.read()]
    for energies in ((950_000, 5_500_000), (50_000, 5_500_000), (60_000, 500_000)):
        for path, energy in zip((one, two), energies, strict=True):
            (path / "energy_uj").write_text(str(energy), encoding="utf-8")
        found.append(counter.read())
    assert found[0] == 0
    assert [b - a for a, b in pairwise(found)] == pytest.approx([0.55, 0.1, 5.01])


def test_why_there_is_no_counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoMeter, match=r"no RAPL package in .*nowhere"):
        PackageCounter(tmp_path / "nowhere")
    path = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    (path / "energy_uj").write_text("nothing", encoding="utf-8")
    with pytest.raises(NoMeter, match="energy_uj: invalid literal"):
        PackageCounter(tmp_path)
    read = Path.read_text

    def forbidden(file: Path, *rest: str, **more: str) -> str:
        if file.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return read(file, *rest, **more)

    monkeypatch.setattr(Path, "read_text", forbidden)
    with pytest.raises(NoMeter, match=r"no permission for .*energy_uj; the administrator"):
        PackageCounter(tmp_path)
