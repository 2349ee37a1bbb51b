"""Tests of the profiler of a device."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import hwnas
from hwnas.errors import InvalidInput, UnknownName
from hwnas.profiling import device_profiler
from hwnas.profiling.device_profiler import DeviceProfiler, fitting_workloads, workload_of
from hwnas.profiling.meters.forward_pass import PassSettings
from hwnas.profiling.meters.latency import Latency
from hwnas.profiling.meters.nvml import NoMeter
from hwnas.spaces.architecture import Architecture
from hwnas.workloads import BUILT_IN, Workload

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
    # One interrupted pass can take longer than all others: the deviation has no upper bound.
    assert 0 <= result.std < float("inf")
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
    with pytest.raises(
        InvalidInput, match="expected a latency with samples, found SimpleNamespace"
    ):
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
    with pytest.raises(InvalidInput, match="one of the 2 CUDA devices here, found 'cuda:2'"):
        DeviceProfiler(device="cuda:2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert DeviceProfiler().name == "cpu"
    with pytest.raises(InvalidInput, match="without a CUDA device here, found 'cuda'"):
        DeviceProfiler(device="cuda")


def test_metrics_say_which_pass_is_measured() -> None:
    passes = PassSettings(batch_size=3, tokens=16, precision="bfloat16")
    for name, metric in DeviceProfiler(device="cpu", passes=passes).metrics.items():
        assert "3 x 16 tokens, bfloat16" in metric.meaning, name


# -- workloads -----------------------------------------------------------------------------------

SMALL = Workload(prompt=6, generate=5, batch=2, precision="float32")
ONE_PASS = Workload(prompt=16, generate=0, batch=2, precision="float32")


@pytest.fixture
def workload_profiler() -> DeviceProfiler:
    return DeviceProfiler(
        device="cpu", within=0.5, max_seconds=0.1, workloads={"small": SMALL, "pass": ONE_PASS}
    )


def test_metrics_of_workloads(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_meter(device: Any) -> None:
        raise NoMeter("nothing counts it")

    monkeypatch.setattr(device_profiler, "energy_meter", no_meter)
    profiler = DeviceProfiler(device="cpu", workloads={"small": SMALL, "pass": ONE_PASS})
    names = ("latency", "peak_memory", "latency.pass")
    names += tuple(f"{m}.small" for m in ("peak_memory", "ttft", "tpot", "latency", "throughput"))
    assert set(profiler.metrics) == {f"{name}@cpu" for name in names}
    missing = ("energy", "energy.pass", "energy_per_token.small")
    assert profiler.missing == {f"{name}@cpu": "nothing counts it" for name in missing}
    model = profiler.build_model(hwnas.space(SPACE), ARCH)
    with pytest.raises(NoMeter, match="nothing counts it"):
        profiler.measure(model, "energy_per_token", SMALL)


def test_times_of_a_workload(workload_profiler: DeviceProfiler) -> None:
    model = workload_profiler.build_model(hwnas.space(SPACE), ARCH)
    values = {
        m: workload_profiler.measure(model, m, SMALL)
        for m in ("ttft", "tpot", "latency", "throughput")
    }
    ttft, tpot, latency, throughput = values.values()
    assert latency.value == ttft.value + 4 * tpot.value
    assert throughput.value == pytest.approx(1e3 * 2 * 5 / latency.value)
    assert throughput.std / throughput.value == pytest.approx(latency.std / latency.value)
    assert all(isinstance(result.precise, bool) for result in values.values())
    with pytest.raises(InvalidInput, match="expected a latency with samples"):
        latency.quantile(0.9)
    requests = workload_profiler.measure(model, "latency", SMALL, quantiles=True)
    assert requests.value == latency.value
    assert 0 < requests.quantile(0.1) <= requests.quantile(0.9)
    workload_profiler.release()
    assert workload_profiler.measure(model, "latency", SMALL).value != latency.value


def test_a_workload_of_one_pass(workload_profiler: DeviceProfiler) -> None:
    model = workload_profiler.build_model(hwnas.space(SPACE), ARCH)
    result = workload_profiler.measure(model, "latency", ONE_PASS)
    assert isinstance(result.record, Latency)
    protocol = result.record.protocol
    assert (protocol.batch_size, protocol.tokens, protocol.precision) == (2, 16, "float32")
    for measure in ("tpot", "throughput"):
        with pytest.raises(InvalidInput, match=f"{measure}: expected a workload that generates"):
            workload_profiler.measure(model, measure, ONE_PASS)  # type: ignore[arg-type]


def test_energy_per_token(monkeypatch: pytest.MonkeyPatch) -> None:
    class Meter:
        def idle(self) -> float:
            return 70.0

    monkeypatch.setattr(device_profiler, "energy_meter", lambda device: Meter())
    energy = SimpleNamespace(joules=0.5, error=0.0196, precise=True)
    monkeypatch.setattr(
        device_profiler.RequestMeter, "energy", lambda self, workload, meter, **options: energy
    )
    profiler = DeviceProfiler(device="cpu", workloads={"small": SMALL})
    assert "energy_per_token.small@cpu" in profiler.metrics
    model = profiler.build_model(hwnas.space(SPACE), ARCH)
    result = profiler.measure(model, "energy_per_token", SMALL)
    assert result.value == pytest.approx(500 / 10)  # mJ over 2 x 5 tokens
    assert result.std == pytest.approx(0.01 * result.value)
    with pytest.raises(InvalidInput, match="energy: expected a workload of one forward pass"):
        profiler.measure(model, "energy", SMALL)


def test_workloads_that_do_not_fit() -> None:
    space = hwnas.space(SPACE)
    half = Workload(prompt=8, generate=0, batch=1, precision="float16")
    fitting, reasons = fitting_workloads(space, {"small": SMALL, "half": half, **BUILT_IN})
    assert list(fitting) == ["small"]
    assert "context of tiny" in reasons["chat"]
    assert "precision: expected one of auto, float32, bfloat16" in reasons["half"]


def test_a_precision_that_the_architecture_chooses() -> None:
    space: Any = hwnas.space(SPACE)
    assert workload_of(space, ARCH, SMALL) is SMALL
    choosing: Any = SimpleNamespace(
        choices={"embed_dim": (16,), "precision": ("bfloat16", "int8")},
        encode=lambda archs: np.array([[0, 1]]),
    )
    assert workload_of(choosing, ARCH, SMALL) == Workload(6, 5, 2, "int8")
