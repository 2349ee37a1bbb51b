"""Tests of the profiler of a device."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

import hwnas
from hwnas.errors import InvalidInput, UnknownName
from hwnas.profiling import device_profiler
from hwnas.profiling.device_profiler import DeviceProfiler
from hwnas.profiling.meters.forward_pass import PassSettings
from hwnas.profiling.meters.nvml import NoMeter
from hwnas.spaces.architecture import Architecture

SPACE = {
    "name": "tiny",
    "embed_dim": [16],
    "n_layer": [2],
    "mlp_ratio": [1],
    "n_head": [2],
    "head_size": 8,
    "context": 16,
    "vocab_size": 50,
}
ARCH = Architecture.parse("tiny-2-16-1-1-2-2-True")


@pytest.fixture
def profiler() -> DeviceProfiler:
    return DeviceProfiler(
        device="cpu", passes=PassSettings(batch_size=1), within=0.5, max_seconds=0.1
    )


def test_latency(profiler: DeviceProfiler) -> None:
    model = profiler.build_model(hwnas.space(SPACE), ARCH)
    result = profiler.measure(model, "latency")
    assert result.value == result.quantile(0.5) > 0
    assert result.quantile(0.1) <= result.value <= result.quantile(0.9)
    assert 0 <= result.std < result.value
    assert profiler.metrics["latency@cpu"].quantiles
    with pytest.raises(UnknownName, match="unknown measure 'latncy'; did you mean 'latency'"):
        profiler.measure(model, "latncy")  # type: ignore[arg-type]


def test_device_without_energy_meter(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_meter(device: Any) -> None:
        raise NoMeter("nothing counts it")

    monkeypatch.setattr(device_profiler, "energy_meter", no_meter)
    profiler = DeviceProfiler(device="cpu")
    assert set(profiler.metrics) == {"latency@cpu", "peak_memory@cpu"}
    assert profiler.missing == {"energy@cpu": "nothing counts it"}
    with pytest.raises(NoMeter, match="nothing counts it"):
        profiler.measure(profiler.build_model(hwnas.space(SPACE), ARCH), "energy")


def test_idle_power_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    result = SimpleNamespace(mwh=2.0, error=0.0196)

    class Meter:
        def idle(self) -> float:
            calls.append("idle")
            return 70.0

        def measure(self, model: object, passes: object, **options: Any) -> Any:
            assert options["idle"] == 70.0
            assert options["min_seconds"] <= options["max_seconds"] == 3.0
            return result

    monkeypatch.setattr(device_profiler, "energy_meter", lambda device: Meter())
    profiler = DeviceProfiler(device="cpu", max_seconds=3.0)
    assert "energy@cpu" in profiler.metrics
    model = profiler.build_model(hwnas.space(SPACE), ARCH)
    for _ in range(2):
        energy = profiler.measure(model, "energy")
        assert energy.value == 2.0
        assert energy.std == pytest.approx(0.02)
    assert calls == ["idle"]
    with pytest.raises(InvalidInput, match="expected a latency, found SimpleNamespace"):
        energy.quantile(0.9)


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("tpu", "cpu:0", "cuda:x", "cuda:-1", ""):
        with pytest.raises(InvalidInput, match="device: expected auto, cpu, cuda or cuda:1"):
            DeviceProfiler(device=wrong)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    profilers = {name: DeviceProfiler(device=name) for name in ("auto", "cuda", "cuda:0")}
    assert {name: (p.name, p.device.index) for name, p in profilers.items()} == {
        "auto": ("cuda", 1),
        "cuda": ("cuda", 1),
        "cuda:0": ("cuda:0", 0),
    }
    assert "latency@cuda:0" in profilers["cuda:0"].metrics
    with pytest.raises(InvalidInput, match="torch finds 2 CUDA devices here, found 'cuda:2'"):
        DeviceProfiler(device="cuda:2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert DeviceProfiler().name == "cpu"
    with pytest.raises(InvalidInput, match="torch finds 0 CUDA devices here, found 'cuda'"):
        DeviceProfiler(device="cuda")


def test_metrics_say_which_pass_is_measured() -> None:
    passes = PassSettings(batch_size=3, tokens=16, precision="bfloat16")
    for name, metric in DeviceProfiler(device="cpu", passes=passes).metrics.items():
        assert "3 x 16 tokens, bfloat16" in metric.meaning, name
