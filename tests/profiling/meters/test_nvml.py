from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hwnas.profiling.meters import nvml
from hwnas.profiling.meters.nvml import (
    CLOCK_EVENT_REASONS,
    GpuState,
    NoMeter,
    NvmlDevice,
    is_throttled,
    nvml_device,
    reason_names,
)


class Library:
    """NVML with a GPU on which each query can be unsupported."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    class NVMLError(Exception):
        pass

    def __init__(self, **settings: Any) -> None:
        self.settings = {"energy": 1234567, "bits": 0x24, "power": 350_500, "mig": None, **settings}

    def _setting(self, name: str) -> Any:
        if self.settings[name] is None:
            raise self.NVMLError("Not Supported")
        return self.settings[name]

    def nvmlInit(self) -> None:
        if "init" in self.settings:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        return uuid

    def nvmlSystemGetDriverVersion(self) -> str:
        return "570.1"

    def nvmlDeviceGetClockInfo(self, handle: str, kind: int) -> int:
        return {1: 1980, 2: 2619}[kind]

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:
        return 61

    def nvmlDeviceGetPowerUsage(self, handle: str) -> Any:
        return self._setting("power")

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: str) -> Any:
        return self._setting("bits")

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> Any:
        return self._setting("energy")

    def nvmlDeviceGetMigMode(self, handle: str) -> Any:
        return self._setting("mig")


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    fake = Library()
    monkeypatch.setattr(nvml, "_import_pynvml", lambda: fake)
    properties = SimpleNamespace(uuid="1-2-3")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    return fake


def test_state_and_energy(library: Library) -> None:
    gpu = nvml_device(torch.device("cuda:0"))
    assert gpu._handle == "GPU-1-2-3"
    reasons = ("sw_power_cap", "sw_thermal_slowdown")
    assert gpu.state() == GpuState(1980, 2619, 61, 350.5, reasons)
    assert gpu.energy() == 1234567
    assert gpu.driver == "570.1"
    assert not gpu.is_shared


def test_unsupported_queries(library: Library) -> None:
    library.settings |= {"power": None, "bits": None, "energy": None, "mig": [1, 1]}
    gpu = nvml_device(torch.device("cuda:0"))
    assert gpu.state() == GpuState(1980, 2619, 61, None, ())
    assert gpu.is_shared
    with pytest.raises(NoMeter, match="no energy counter for this GPU: Not Supported"):
        gpu.energy()


def test_without_a_driver(library: Library) -> None:
    library.settings["init"] = False
    with pytest.raises(NoMeter, match="NVML does not reach cuda:0: Driver Not Loaded"):
        nvml_device(torch.device("cuda:0"))


def test_without_pynvml(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml._import_pynvml.cache_clear()
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(NoMeter, match=r'needs pynvml: pip install "hwnas\[profile\]"'):
        nvml_device(torch.device("cuda:0"))


def test_names_of_reasons() -> None:
    for bit, name in CLOCK_EVENT_REASONS.items():
        assert reason_names(bit) == (name,)
    assert reason_names(0) == ()
    assert reason_names(0x1 | 0x8 | 0x4000) == ("gpu_idle", "hw_slowdown", "0x4000")


@pytest.mark.parametrize(
    ("bits", "expected"),
    [(0, False), (0x1, False), (0x4, False), (0x8, True), (0x20, True), (0x44, True), (0x80, True)],
)
def test_power_cap_is_not_throttling(bits: int, expected: bool) -> None:
    assert is_throttled(GpuState(1, 1, 1, 1.0, reason_names(bits))) is expected


def test_library_without_the_former_function() -> None:
    class Newer(Library):
        nvmlDeviceGetCurrentClocksThrottleReasons = None  # type: ignore[assignment]

        def nvmlDeviceGetCurrentClocksEventReasons(self, handle: str) -> int:
            return 0x40

    assert NvmlDevice(Newer(), "handle").state().reasons == ("hw_thermal_slowdown",)
