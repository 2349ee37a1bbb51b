"""Meter of requests, of real models on a CPU."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from hwnas.profiling.errors import OutOfMemory
from hwnas.profiling.generation import Generator
from hwnas.profiling.gpt import GPT
from hwnas.profiling.meters import requests as module
from hwnas.profiling.meters.energy import Power
from hwnas.profiling.meters.forward_pass import PassSettings
from hwnas.profiling.meters.request_memory import model_bytes
from hwnas.profiling.meters.requests import RequestMeter
from hwnas.workloads import Workload

WORKLOAD = Workload(prompt=16, generate=9, batch=2, precision="float32")


@pytest.fixture
def meter(model: GPT) -> RequestMeter:
    return RequestMeter(model, PassSettings(threads=1), within=0.5, max_seconds=0.2)


def test_latency_is_that_of_its_parts(meter: RequestMeter, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []

    class Counting(Generator):
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            opened.append(settings["positions"])
            super().__init__(*arguments, **settings)

    monkeypatch.setattr(module, "Generator", Counting)
    first, steps, whole = meter.ttft(WORKLOAD), meter.tpot(WORKLOAD), meter.latency(WORKLOAD)
    assert whole.value == first.value + 8 * steps.value
    assert whole.std == pytest.approx(math.hypot(first.std, 8 * steps.std))
    assert whole.ttft is first.ttft
    assert whole.tpot is steps.tpot
    assert first.tpot is None
    assert steps.ttft is None
    assert whole.precise == (first.precise and steps.precise)
    assert opened == [25]  # one cache for all
    assert (whole.protocol.mode, whole.protocol.batch, whole.protocol.threads) == ("eager", 2, 1)
    meter.close()
    assert meter.latency(WORKLOAD) == whole


def test_a_request_of_one_token_has_no_steps(meter: RequestMeter) -> None:
    whole = meter.latency(Workload(8, 1, 1, "float32"))
    assert whole.tpot is None
    assert whole.ttft is not None
    assert whole.value == whole.ttft.median


def test_times_of_requests(meter: RequestMeter) -> None:
    times = meter.times(WORKLOAD)
    assert len(times.ttft) == len(times.tpot) == len(times.latency) > 1
    assert (times.tpot > 0).all()
    assert meter.times(WORKLOAD) is times


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16", "int8"])
def test_the_model_is_not_changed(model: GPT, precision: str) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    workload = Workload(4, 3, 1, precision)
    with RequestMeter(model, PassSettings(threads=1), within=0.5, max_seconds=0.1) as meter:
        assert meter.tpot(workload).value > 0
        cast = meter.inference_model(precision)
        assert (cast is model) == (precision == "float32")
        assert meter.inference_model(precision) is cast
        assert model_bytes(cast) <= model_bytes(model)
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.requires_grad for p in model.parameters())


def test_energy_is_measured_once(meter: RequestMeter, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Workload] = []

    def request_energy(
        energy_meter: Any, passes: Any, workload: Workload, *a: Any, **k: Any
    ) -> Any:
        assert isinstance(passes, Generator)
        assert (k["within"], k["idle"].watts) == (0.03, 50.0)
        calls.append(workload)
        return "energy"

    monkeypatch.setattr(module, "request_energy", request_energy)
    for _ in range(2):
        result: Any = meter.energy(WORKLOAD, None, within=0.03, idle=Power(50.0, 0.0))  # type: ignore[arg-type]
        assert result == "energy"
    assert calls == [WORKLOAD]


def test_memory_of_a_process(meter: RequestMeter) -> None:
    peak = meter.peak_memory(WORKLOAD)
    assert 0 < peak.before <= peak.value < 5000
    assert peak.protocol.mode == "eager"
    assert meter.peak_memory(WORKLOAD) is peak


def test_errors_release_the_cache(meter: RequestMeter, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **settings: Any) -> None:
        raise torch.OutOfMemoryError("no memory")

    meter.ttft(WORKLOAD)
    assert meter._generator is not None
    monkeypatch.setattr(module, "step_times", fail)
    with pytest.raises(OutOfMemory, match="measuring tiny-2-32"):
        meter.tpot(WORKLOAD)
    assert meter._generator is None
