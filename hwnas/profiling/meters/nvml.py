"""State of a GPU as NVML reports it: energy, clocks, temperature, throttling."""

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
CLOCK_EVENT_REASONS = {
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
# Reasons that are temporary, so that a repeated measurement is not affected. The power cap is not
# among them: it limits a GPU under load in every repetition, so it is part of the result.
_TRANSIENT_REASONS = {
    "hw_slowdown",
    "sw_thermal_slowdown",
    "hw_thermal_slowdown",
    "hw_power_brake_slowdown",
}


class NoMeter(HwnasError):
    """Quantity that cannot be measured on this machine; the message is the reason, in one line."""


@dataclass(frozen=True, slots=True)
class GpuState:
    """State of a GPU at one time; None or empty where NVML does not report a value.

    Attributes
    ----------
    clock, memory_clock
        Clocks of the multiprocessors and of the memory, in MHz.
    temperature
        In degrees Celsius.
    power
        In W.
    reasons
        Reasons that limit the clock, named as in `CLOCK_EVENT_REASONS`.
    """

    clock: int | None
    memory_clock: int | None
    temperature: int | None
    power: float | None
    reasons: tuple[str, ...]


def is_throttled(state: GpuState) -> bool:
    """Return whether heat or the power supply temporarily slows the GPU down."""
    return not _TRANSIENT_REASONS.isdisjoint(state.reasons)


def reason_names(bits: int) -> tuple[str, ...]:
    """Return the names of the reasons in a bit mask; bits without a name become one number.

    Examples
    --------
    >>> reason_names(0x1 | 0x8 | 0x4000)
    ('gpu_idle', 'hw_slowdown', '0x4000')
    """
    names = [name for bit, name in CLOCK_EVENT_REASONS.items() if bits & bit]
    unnamed = bits & ~sum(CLOCK_EVENT_REASONS)
    return (*names, hex(unnamed)) if unnamed else tuple(names)


class NvmlDevice:
    """GPU that is read through NVML.

    Parameters
    ----------
    library
        Module with the functions of NVML, usually pynvml.
    handle
        Handle of the device in that library.
    """

    def __init__(self, library: Any, handle: Any) -> None:
        self._library, self._handle = library, handle

    def state(self) -> GpuState:
        """Return the current state."""
        nvml = self._library
        power = self._query("nvmlDeviceGetPowerUsage")  # in mW
        # The function was renamed with CUDA 12; newer libraries may lack the former name.
        bits = self._query("nvmlDeviceGetCurrentClocksThrottleReasons")
        if bits is None:
            bits = self._query("nvmlDeviceGetCurrentClocksEventReasons")
        return GpuState(
            self._query("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM),
            self._query("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_MEM),
            self._query("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
            None if power is None else power / 1e3,
            reason_names(bits or 0),
        )

    def energy(self) -> int:
        """Return the energy since the driver was loaded, in mJ.

        Raises
        ------
        NoMeter
            The GPU has no energy counter.
        """
        try:
            return int(self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        except self._library.NVMLError as error:
            raise NoMeter(f"NVML has no energy counter for this GPU: {error}") from None

    @property
    def is_shared(self) -> bool:
        """True if the GPU is split into instances (MIG), which have no counters of their own."""
        mode = self._query("nvmlDeviceGetMigMode")
        return mode is not None and bool(mode[0])

    @property
    def driver(self) -> str:
        """Version of the driver."""
        return str(self._library.nvmlSystemGetDriverVersion())

    def _query(self, name: str, *arguments: object) -> Any:
        """Call a function of NVML for this device; return None if it is not supported."""
        function: Callable[..., Any] | None = getattr(self._library, name, None)
        try:
            return None if function is None else function(self._handle, *arguments)
        except self._library.NVMLError:
            return None


def nvml_device(device: torch.device) -> NvmlDevice:
    """Return the NVML device of a CUDA device.

    Raises
    ------
    NoMeter
        pynvml is missing, there is no driver, or NVML does not know the device.
    """
    nvml = _import_pynvml()
    try:
        nvml.nvmlInit()  # may be called repeatedly
        # By UUID: CUDA_VISIBLE_DEVICES changes the indices of torch but not those of NVML.
        uuid = torch.cuda.get_device_properties(device).uuid
        return NvmlDevice(nvml, nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}"))
    except nvml.NVMLError as error:
        raise NoMeter(f"NVML does not reach {device}: {error}") from None


def state_reader(device: torch.device) -> Callable[[], GpuState] | None:
    """Return a function that reads the state of a GPU; None if it cannot be read."""
    if device.type != "cuda":
        return None
    try:
        return nvml_device(device).state
    except NoMeter:
        return None


@lru_cache
def _import_pynvml() -> ModuleType:
    try:
        return import_module("pynvml")
    except ImportError:
        raise NoMeter('reading the GPU needs pynvml: pip install "hwnas[profile]"') from None
