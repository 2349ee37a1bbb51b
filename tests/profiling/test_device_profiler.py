"""A device with its meters."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

import hwnas
from hwnas.errors import InvalidInput, UnknownName
from hwnas.profiling import device_profiler
from hwnas.profiling.device_profiler import Bench
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
def bench() -> Bench:
    return Bench(device="cpu", passes=PassSettings(batch_size=1), within=0.5, max_seconds=0.1)


def test_latency(bench: Bench) -> None:
    model = bench.built(hwnas.space(SPACE), ARCH)
    found = bench.measure(model, "latency")
    assert found.value == found.quantile(0.5) > 0
    assert found.quantile(0.1) <= found.value <= found.quantile(0.9)
    assert 0 <= found.std < found.value
    assert bench.metrics["latency@cpu"].quantiles
    with pytest.raises(UnknownName, match="unknown measure 'latncy'; did you mean 'latency'"):
        bench.measure(model, "latncy")  # type: ignore[arg-type]


def test_energy_is_there_where_it_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(device: Any) -> None:
        raise NoMeter("nothing counts it")

    monkeypatch.setattr(device_profiler, "energy_meter", none)
    bench = Bench(device="cpu")
    assert set(bench.metrics) == {"latency@cpu", "peak_memory@cpu"}
    assert bench.missing == {"energy@cpu": "nothing counts it"}
    with pytest.raises(NoMeter, match="nothing counts it"):
        bench.measure(bench.built(hwnas.space(SPACE), ARCH), "energy")


def test_idle_power_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    found = SimpleNamespace(mwh=2.0, error=0.0196)

    class Meter:
        def idle(self) -> float:
            calls.append("idle")
            return 70.0

        def measure(self, model: object, passes: object, **how: Any) -> Any:
            assert how["idle"] == 70.0
            assert how["min_seconds"] <= how["max_seconds"] == 3.0
            return found

    monkeypatch.setattr(device_profiler, "energy_meter", lambda device: Meter())
    bench = Bench(device="cpu", max_seconds=3.0)
    assert "energy@cpu" in bench.metrics
    model = bench.built(hwnas.space(SPACE), ARCH)
    for _ in range(2):
        energy = bench.measure(model, "energy")
        assert energy.value == 2.0
        assert energy.std == pytest.approx(0.02)
    assert calls == ["idle"]
    with pytest.raises(InvalidInput, match="expected a latency, found SimpleNamespace"):
        energy.quantile(0.9)


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("tpu", "cpu:0", "cuda:x", "cuda:-1", ""):
        with pytest.raises(InvalidInput, match="device: expected auto, cpu, cuda or cuda:1"):
            Bench(device=wrong)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    made = {name: Bench(device=name) for name in ("auto", "cuda", "cuda:0")}
    assert {name: (b.name, b.device.index) for name, b in made.items()} == {
        "auto": ("cuda", 1),
        "cuda": ("cuda", 1),
        "cuda:0": ("cuda:0", 0),
    }
    assert "latency@cuda:0" in made["cuda:0"].metrics
    with pytest.raises(InvalidInput, match="torch finds 2 CUDA devices here, found 'cuda:2'"):
        Bench(device="cuda:2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Bench().name == "cpu"
    with pytest.raises(InvalidInput, match="torch finds 0 CUDA devices here, found 'cuda'"):
        Bench(device="cuda")
