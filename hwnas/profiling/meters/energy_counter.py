"""Counters of energy and the times of their ticks.

A counter adds up energy but is updated only now and then. Between two updates its reading is out of
date by an unknown amount, so energy is measured from one update, a tick, to another.
"""

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

from hwnas.profiling.meters.nvml import NoMeter, NvmlDevice
from hwnas.typing import Array, IntArray

POWERCAP = Path("/sys/class/powercap")
_TIMEOUT = 5.0  # seconds without a tick after which a counter is considered dead


class Counter(ABC):
    """Energy since some fixed time.

    Attributes
    ----------
    name
        The counted quantity and its source.
    """

    name: str

    @abstractmethod
    def read(self) -> float:
        """Return the energy in J; it never decreases."""


class NvmlCounter(Counter):
    """Energy of a complete GPU board, from NVML; on an H100 it ticks every 100 ms."""

    name = "NVML total energy"

    def __init__(self, gpu: NvmlDevice) -> None:
        self._gpu = gpu

    def read(self) -> float:
        """Return the energy in J."""
        return self._gpu.energy() / 1e3


class PackageCounter(Counter):
    """Energy of all processor packages, from RAPL through Linux's powercap; it ticks every ms.

    Memory (zone dram) is separate from the packages and is not counted.

    Parameters
    ----------
    folder
        Folder with the zones of powercap.

    Raises
    ------
    NoMeter
        There are no zones, or they cannot be read.
    """

    def __init__(self, folder: Path = POWERCAP) -> None:
        # A reading of `max_energy_range_uj` is followed by 0, so the modulus is one more.
        self._files = [zone / "energy_uj" for zone in package_zones(folder)]
        self._moduli = [
            _read_integer(file.with_name("max_energy_range_uj")) + 1 for file in self._files
        ]
        self._last = self._read_zones()
        self._total = 0.0
        self.name = f"RAPL, {len(self._files)} package{'s' * (len(self._files) > 1)}"

    def read(self) -> float:
        """Return the energy in J since this object was created.

        A zone wraps to 0 after some minutes; it must not wrap twice between two calls.
        """
        readings = self._read_zones()
        self._total += float(unwrap([self._last, readings], self._moduli)[-1]) / 1e6
        self._last = readings
        return self._total

    def _read_zones(self) -> list[int]:
        return [_read_integer(file) for file in self._files]


def package_zones(folder: Path = POWERCAP) -> list[Path]:
    """Return the zones of the processor packages, one for each package.

    The parts of a package are zones with other names (core, dram), and the zone of the complete
    platform (psys) contains the packages. The same package may appear twice, through model-specific
    registers and through memory-mapped registers (``intel-rapl-mmio:0``).

    Raises
    ------
    NoMeter
        There is none.
    """
    zones: dict[str, Path] = {}
    # Of two zones of the same package the first counts: sort "intel-rapl:0" before
    # "intel-rapl-mmio:0".
    for zone in sorted(folder.glob("*:*"), key=lambda zone: ("mmio" in zone.name, zone.name)):
        try:
            name = (zone / "name").read_text(encoding="utf-8").strip()
        except OSError:
            continue
        if name.startswith("package-"):
            zones.setdefault(name, zone)
    if not zones:
        raise NoMeter(f"the processor's energy cannot be read: no RAPL package in {folder}")
    return list(zones.values())


def _read_integer(file: Path) -> int:
    try:
        return int(file.read_text(encoding="utf-8"))
    except PermissionError:
        # Linux restricts RAPL to root since CVE-2020-8694.
        raise NoMeter(
            f"the processor's energy cannot be read: no permission for {file}; the administrator "
            "can give it"
        ) from None
    except (OSError, ValueError) as error:
        raise NoMeter(f"the processor's energy cannot be read: {file}: {error}") from None


def unwrap(readings: ArrayLike, moduli: ArrayLike) -> IntArray:
    """Return the energy since the first reading, for counters that wrap to 0.

    Parameters
    ----------
    readings : (n, z) integers
        Readings of z counters; no counter wraps twice between two of them.
    moduli : (z,) integers
        Number of values of each counter.

    Returns
    -------
    (n,) int64
        Sum over the counters, starting at 0.

    Examples
    --------
    >>> unwrap([[90], [95], [3]], [100]).tolist()
    [0, 5, 13]
    """
    array = np.asarray(readings, dtype=np.int64)
    # After a wrap the difference is negative; modulo the number of values it is the energy.
    steps = np.diff(array, axis=0) % np.asarray(moduli, dtype=np.int64)
    return np.concatenate(([0], steps.sum(axis=1).cumsum()))


def find_ticks(
    starts: ArrayLike, ends: ArrayLike, readings: ArrayLike
) -> tuple[Array, Array, NDArray[Any]]:
    """Return the times at which a counter ticked, from a series of queries.

    Parameters
    ----------
    starts, ends : (n,) float64
        Start and end of each query, in s.
    readings : (n,) numbers
        Results of the queries.

    Returns
    -------
    times, uncertainties, values : (k,) each
        The tick lies within `uncertainties` of `times`; `values` are the readings after it.

    Examples
    --------
    >>> times, uncertainties, values = find_ticks([0, 1, 2], [0.5, 1.5, 2.5], [7, 7, 9])
    >>> times.tolist(), uncertainties.tolist(), values.tolist()
    ([1.75], [0.75], [9])
    """
    starts, ends, readings = np.asarray(starts), np.asarray(ends), np.asarray(readings)
    changed = np.flatnonzero(np.diff(readings) != 0) + 1  # (k,) first queries with a new reading
    # The tick is after the start of the last query with the old reading, before the end of the
    # first one with the new reading.
    earliest, latest = starts[changed - 1], ends[changed]
    return (earliest + latest) / 2, (latest - earliest) / 2, readings[changed]


@dataclass(frozen=True, slots=True)
class Tick:
    """Tick of a counter.

    Attributes
    ----------
    time, uncertainty
        In s; the tick lies within `uncertainty` of `time`.
    joules
        Reading after the tick, in J.
    """

    time: float
    uncertainty: float
    joules: float


def wait_for_tick(
    counter: Counter,
    wait: Callable[[], object],
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Tick:
    """Query a counter until it ticks.

    Parameters
    ----------
    wait
        Function called between two queries.

    Raises
    ------
    NoMeter
        The counter does not tick.
    """
    start = clock()
    previous = (start, counter.read(), clock())  # start, reading and end of a query
    while True:
        wait()
        query_start = clock()
        current = (query_start, counter.read(), clock())
        if current[1] != previous[1]:
            starts, readings, ends = zip(previous, current, strict=True)
            times, uncertainties, _ = find_ticks(starts, ends, readings)
            return Tick(float(times[0]), float(uncertainties[0]), current[1])
        if current[2] - start > _TIMEOUT:
            raise NoMeter(f"{counter.name}: the counter has not moved for {_TIMEOUT:g} s")
        previous = current


def relative_error(ratios: ArrayLike, uncertainty: float, seconds: float) -> float:
    """Return the relative error of the mean over a window, with 95 % confidence.

    Parameters
    ----------
    ratios : (n,) float64
        Ratio of each segment of the window.
    uncertainty
        Uncertainty of the length of the window, from the ticks at both ends, in s.
    seconds
        Length of the window.

    Returns
    -------
    float
        Half of the normal interval of the mean, plus the relative uncertainty of the length;
        infinite for fewer than five segments.
    """
    # A standard deviation of fewer than five values is too uncertain for a normal interval.
    array = np.asarray(ratios, dtype=np.float64)
    mean = array.mean() if len(array) >= 5 else 0.0
    if mean <= 0:
        return math.inf
    return float(1.96 * array.std(ddof=1) / math.sqrt(len(array)) / mean) + uncertainty / seconds
