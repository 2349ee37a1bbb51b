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
    find_ticks,
    package_zones,
    relative_error,
    unwrap,
    wait_for_tick,
)
from hwnas.profiling.meters.nvml import NoMeter


def test_unwrap() -> None:
    assert unwrap([[90], [95], [3], [3], [50]], [100]).tolist() == [0, 5, 13, 13, 60]
    assert unwrap([[1, 9], [2, 1]], [10, 10]).tolist() == [0, 3]


@given(st.lists(st.lists(st.integers(0, 999), min_size=2, max_size=2), max_size=20))
def test_unwrap_is_the_inverse_of_wrapping(steps: list[list[int]]) -> None:
    moduli = np.array([1000, 1300])
    start = np.array([[999, 17]])
    true = np.concatenate((start, start + np.cumsum(np.array(steps).reshape(-1, 2), axis=0)))
    energies = unwrap(true % moduli, moduli)
    assert energies.tolist() == (true - start).sum(axis=1).tolist()


@given(st.floats(0.05, 0.2), st.floats(0.001, 0.02), st.floats(0, 0.1))
def test_ticks_are_within_their_uncertainty(period: float, gap: float, offset: float) -> None:
    starts = np.arange(0, 1, gap)
    ends = starts + gap / 3
    readings = np.floor((starts + gap / 6 + offset) / period)  # read in the middle of each query
    times, uncertainties, values = find_ticks(starts, ends, readings)
    true = np.array([period * k - offset for k in values])
    assert (abs(times - true) <= uncertainties + 1e-12).all()
    assert (uncertainties <= 0.7 * gap).all()
    assert len(values) == readings[-1] - readings[0]


def test_constant_counter_has_no_ticks() -> None:
    times, uncertainties, values = find_ticks([0, 1, 2], [0.5, 1.5, 2.5], [7, 7, 7])
    assert len(times) == len(uncertainties) == len(values) == 0


class Stairs(Counter):
    """Counter of 3 J every 0.1 s, by a clock that advances with each query."""

    name = "stairs"

    def __init__(self, joules: float = 3.0) -> None:
        self.now, self.joules = 0.03, joules

    def clock(self) -> float:
        self.now += 1e-4
        return self.now

    def read(self) -> float:
        return self.joules * math.floor(self.now / 0.1)


def test_wait_for_tick() -> None:
    counter = Stairs()
    ticks = [wait_for_tick(counter, lambda: None, clock=counter.clock) for _ in range(3)]
    for k, tick in enumerate(ticks, 1):
        assert abs(tick.time - 0.1 * k) <= tick.uncertainty <= 5e-4
        assert tick.joules == 3.0 * k


def test_dead_counter() -> None:
    counter = Stairs(joules=0)
    with pytest.raises(NoMeter, match="stairs: the counter has not moved for 5 s"):
        wait_for_tick(counter, lambda: None, clock=counter.clock)


def test_relative_error() -> None:
    ratios = [1.0, 2.0, 3.0, 2.0, 2.0]  # standard deviation sqrt(1/2)
    expected = 1.96 * math.sqrt(0.5 / 5) / 2 + 0.01 / 4
    assert relative_error(ratios, 0.01, 4.0) == pytest.approx(expected)
    assert relative_error(ratios[:4], 0.0, 1.0) == math.inf
    assert relative_error([0.0] * 9, 0.0, 1.0) == math.inf


def create_zone(
    folder: Path, directory: str, name: str, energy: int, max_energy: int = 999_999
) -> Path:
    path = folder / directory
    path.mkdir()
    for file, value in (("name", name), ("energy_uj", energy), ("max_energy_range_uj", max_energy)):
        (path / file).write_text(f"{value}\n", encoding="utf-8")
    return path


def test_each_package_counts_once(tmp_path: Path) -> None:
    (tmp_path / "intel-rapl").mkdir()  # the control type has no name of its own
    create_zone(tmp_path, "intel-rapl-mmio:0", "package-0", 0)
    create_zone(tmp_path, "intel-rapl:0", "package-0", 0)
    create_zone(tmp_path, "intel-rapl:0:0", "core", 0)
    create_zone(tmp_path, "intel-rapl:0:1", "dram", 0)
    create_zone(tmp_path, "intel-rapl:1", "package-1", 0)
    create_zone(tmp_path, "intel-rapl:2", "psys", 0)
    assert [z.name for z in package_zones(tmp_path)] == ["intel-rapl:0", "intel-rapl:1"]


def test_energy_is_the_sum_of_packages_that_wrap(tmp_path: Path) -> None:
    first = create_zone(tmp_path, "intel-rapl:0", "package-0", 900_000)
    second = create_zone(tmp_path, "intel-rapl:1", "package-1", 5_000_000, max_energy=9_999_999)
    counter = PackageCounter(tmp_path)
    assert counter.name == "RAPL, 2 packages"
    totals = [counter.read()]
    for energies in ((950_000, 5_500_000), (50_000, 5_500_000), (60_000, 500_000)):
        for path, energy in zip((first, second), energies, strict=True):
            (path / "energy_uj").write_text(str(energy), encoding="utf-8")
        totals.append(counter.read())
    assert totals[0] == 0
    assert [b - a for a, b in pairwise(totals)] == pytest.approx([0.55, 0.1, 5.01])


def test_unreadable_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoMeter, match=r"no RAPL package in .*nowhere"):
        PackageCounter(tmp_path / "nowhere")
    path = create_zone(tmp_path, "intel-rapl:0", "package-0", 0)
    (path / "energy_uj").write_text("nothing", encoding="utf-8")
    with pytest.raises(NoMeter, match="energy_uj: invalid literal"):
        PackageCounter(tmp_path)
    read_text = Path.read_text

    def forbidden(file: Path, *arguments: str, **options: str) -> str:
        if file.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return read_text(file, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", forbidden)
    with pytest.raises(NoMeter, match=r"no permission for .*energy_uj; the administrator"):
        PackageCounter(tmp_path)
