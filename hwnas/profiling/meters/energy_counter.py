"""Counters of energy, and when they tick. What a counter counts stands in its class."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.profiling.meters.nvml import Board, NoMeter

POWERCAP = Path("/sys/class/powercap")
_LONGEST = 5.0  # seconds without a tick after which a counter is held to be dead


class Counter(ABC):
    """Energy since some moment.

    Attributes
    ----------
    name
        What is counted, and by what.
    """

    name: str

    @abstractmethod
    def read(self) -> float:
        """Energy in J; it never falls."""


class BoardCounter(Counter):
    """The whole GPU board's energy, from NVML; on an H100 it ticks every 100 ms."""

    name = "NVML total energy"

    def __init__(self, board: Board) -> None:
        self._board = board

    def read(self) -> float:
        """Energy in J."""
        return self._board.energy() / 1e3


class PackageCounter(Counter):
    """The energy of all processor packages, from RAPL through Linux's powercap; ticks every ms.

    Memory (zone dram) stands beside the packages and is not counted.

    Parameters
    ----------
    folder
        Where powercap shows its zones.

    Raises
    ------
    NoMeter
        There are none, or they cannot be read.
    """

    def __init__(self, folder: Path = POWERCAP) -> None:
        self._files = [zone / "energy_uj" for zone in package_zones(folder)]
        self._moduli = [_number(file.with_name("max_energy_range_uj")) + 1 for file in self._files]
        self._last = self._readings()
        self._total = 0.0
        self.name = f"RAPL, {len(self._files)} package{'s' * (len(self._files) > 1)}"

    def read(self) -> float:
        """Energy in J since this object was made; to be called before a zone wraps twice."""
        now = self._readings()
        self._total += float(unwrapped([self._last, now], self._moduli)[-1]) / 1e6
        self._last = now
        return self._total

    def _readings(self) -> list[int]:
        return [_number(file) for file in self._files]


def package_zones(folder: Path = POWERCAP) -> list[Path]:
    """The zones of processor packages, each package once.

    Their parts are zones with other names (core, dram); the whole platform (psys) holds the
    packages; and one package may be there twice, by model-specific registers and by
    memory-mapped ones (``intel-rapl-mmio:0``).

    Raises
    ------
    NoMeter
        There is none.
    """
    found: dict[str, Path] = {}
    # "intel-rapl-mmio:0" comes before "intel-rapl:0", which is to be kept.
    for zone in sorted(folder.glob("*:*"), key=lambda zone: ("mmio" in zone.name, zone.name)):
        try:
            name = (zone / "name").read_text(encoding="utf-8").strip()
        except OSError:
            continue
        if name.startswith("package-"):
            found.setdefault(name, zone)
    if not found:
        raise NoMeter(f"the processor's energy cannot be read: no RAPL package in {folder}")
    return list(found.values())


def _number(file: Path) -> int:
    try:
        return int(file.read_text(encoding="utf-8"))
    except PermissionError:
        raise NoMeter(
            f"the processor's energy cannot be read: no permission for {file}; the administrator "
            "can give it"
        ) from None
    except (OSError, ValueError) as error:
        raise NoMeter(f"the processor's energy cannot be read: {file}: {error}") from None


def unwrapped(readings: ArrayLike, moduli: ArrayLike) -> NDArray[np.int64]:
    """Energy since the first reading, where counters begin again at 0.

    Parameters
    ----------
    readings : (n, z) integers
        Of z counters; no counter goes round twice between two of them.
    moduli : (z,) integers
        Numbers of values of each counter.

    Returns
    -------
    (n,) int64
        Sum over the counters, from 0.
    """
    array = np.asarray(readings, dtype=np.int64)
    steps = np.diff(array, axis=0) % np.asarray(moduli, dtype=np.int64)
    return np.concatenate(([0], steps.sum(axis=1).cumsum()))


def ticks(
    begun: ArrayLike, ended: ArrayLike, readings: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[Any]]:
    """When a counter ticked, from a series of looks at it.

    Parameters
    ----------
    begun, ended : (n,) float64
        When each look began and ended, in s.
    readings : (n,) numbers

    Returns
    -------
    times, violations, values : (k,) each
        The tick lies within `violations` of `times`, and the counter says `values` after it.
    """
    begun, ended, readings = np.asarray(begun), np.asarray(ended), np.asarray(readings)
    after = np.flatnonzero(np.diff(readings) != 0) + 1
    first, last = begun[after - 1], ended[after]
    return (first + last) / 2, (last - first) / 2, readings[after]


@dataclass(frozen=True, slots=True)
class Tick:
    """A tick of a counter: seconds, how far off they may be, and the energy in J after it."""

    time: float
    violation: float
    joules: float


def next_tick(
    counter: Counter,
    meanwhile: Callable[[], object],
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Tick:
    """Look at a counter until it ticks.

    Parameters
    ----------
    meanwhile
        Called between two looks.

    Raises
    ------
    NoMeter
        It does not tick.
    """
    began = clock()
    before = (began, counter.read(), clock())
    while True:
        meanwhile()
        begin = clock()
        now = (begin, counter.read(), clock())
        if now[1] != before[1]:
            begun, readings, ended = zip(before, now, strict=True)
            times, violations, _ = ticks(begun, ended, readings)
            return Tick(float(times[0]), float(violations[0]), now[1])
        if now[2] - began > _LONGEST:
            raise NoMeter(f"{counter.name}: the counter has not moved for {_LONGEST:g} s")
        before = now


def relative_error(ratios: ArrayLike, violation: float, seconds: float) -> float:
    """How far the mean of a window may be off, with 95 % confidence, as a share of it.

    Parameters
    ----------
    ratios : (n,) float64
        Of each segment of the window.
    violation
        By how much both ends of the window may be off together, in s.
    seconds
        Length of the window.

    Returns
    -------
    float
        Half the normal interval of the mean and the ends' share; infinite for fewer than five
        segments.
    """
    array = np.asarray(ratios, dtype=np.float64)
    mean = array.mean() if len(array) >= 5 else 0.0
    if mean <= 0:
        return math.inf
    return float(1.96 * array.std(ddof=1) / math.sqrt(len(array)) / mean) + violation / seconds
