"""What a GPU's board says of itself through NVML: energy, clocks, temperature, throttling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

import torch

from hwnas.errors import HwnasError

# Bits of nvmlDeviceGetCurrentClocksEventReasons (NVML API reference, nvmlClocksEventReasons).
REASONS = {
    0x1: "gpu_idle",
    0x2: "applications_clocks_setting",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}
# The power cap is none of them: a board at its limit is there in every repetition, and belongs to
# what is measured.
_PASSING = {
    "hw_slowdown",
    "sw_thermal_slowdown",
    "hw_thermal_slowdown",
    "hw_power_brake_slowdown",
}


class NoMeter(HwnasError):
    """Something cannot be measured here. Its text is the reason, in one line."""


@dataclass(frozen=True, slots=True)
class BoardState:
    """A board at one moment; None or empty where it does not say.

    Attributes
    ----------
    clock, memory_clock
        Of the multiprocessors and of the memory, in MHz.
    temperature
        In degrees Celsius.
    power
        In W.
    reasons
        Why the clock is not higher, as in `REASONS`.
    """

    clock: int | None
    memory_clock: int | None
    temperature: int | None
    power: float | None
    reasons: tuple[str, ...]


def throttled(state: BoardState) -> bool:
    """Whether heat or its supply slows the board down, which may pass: the sample is repeated."""
    return not _PASSING.isdisjoint(state.reasons)


def reasons_of(bits: int) -> tuple[str, ...]:
    """Names of the reasons in a mask; a bit without a name stands as a number."""
    named = [name for bit, name in REASONS.items() if bits & bit]
    rest = bits & ~sum(REASONS)
    return (*named, hex(rest)) if rest else tuple(named)


class Board:
    """One board, by the library that reads it."""

    def __init__(self, library: Any, handle: Any) -> None:
        self._library, self._handle = library, handle

    def state(self) -> BoardState:
        """What the board is doing now."""
        nvml = self._library
        power = self._ask("nvmlDeviceGetPowerUsage")
        bits = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons")
        if bits is None:  # its name since CUDA 12
            bits = self._ask("nvmlDeviceGetCurrentClocksEventReasons")
        return BoardState(
            self._ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM),
            self._ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_MEM),
            self._ask("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
            None if power is None else power / 1e3,
            reasons_of(bits or 0),
        )

    def energy(self) -> int:
        """Energy since the driver was loaded, in mJ.

        Raises
        ------
        NoMeter
            The board does not count it.
        """
        try:
            return int(self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        except self._library.NVMLError as error:
            raise NoMeter(f"NVML has no energy counter for this GPU: {error}") from None

    @property
    def is_shared(self) -> bool:
        """Whether the board is split into instances (MIG), which have no counters of their own."""
        mode = self._ask("nvmlDeviceGetMigMode")
        return mode is not None and bool(mode[0])

    @property
    def driver(self) -> str:
        """Version of the driver."""
        return str(self._library.nvmlSystemGetDriverVersion())

    def _ask(self, name: str, *more: object) -> Any:
        function: Callable[..., Any] | None = getattr(self._library, name, None)
        try:
            return None if function is None else function(self._handle, *more)
        except self._library.NVMLError:  # not on this board
            return None


def board(device: torch.device) -> Board:
    """The board of a CUDA device.

    Raises
    ------
    NoMeter
        pynvml is missing, there is no driver, or it does not know the device.
    """
    nvml = _nvml()
    try:
        nvml.nvmlInit()
        uuid = torch.cuda.get_device_properties(device).uuid
        return Board(nvml, nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}"))
    except nvml.NVMLError as error:
        raise NoMeter(f"NVML does not reach {device}: {error}") from None


@lru_cache
def _nvml() -> ModuleType:
    try:
        return import_module("pynvml")
    except ImportError:
        raise NoMeter('reading the GPU needs pynvml: pip install "hwnas[profile]"') from None
