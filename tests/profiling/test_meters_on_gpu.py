"""Tests of the meters on a GPU, skipped on other machines."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from hwnas.profiling.generation import Generator
from hwnas.profiling.gpt import GPT
from hwnas.profiling.llama import Llama
from hwnas.profiling.meters.energy import energy_meter
from hwnas.profiling.meters.forward_pass import Mode, PassSettings, prepare_forward_pass
from hwnas.profiling.meters.latency import latency
from hwnas.profiling.meters.memory import peak_memory
from hwnas.profiling.meters.nvml import nvml_device
from hwnas.profiling.meters.request_memory import model_bytes
from hwnas.profiling.meters.requests import RequestMeter
from hwnas.spaces import LlamaArchitecture
from hwnas.spaces.architecture import Architecture
from hwnas.workloads import Workload

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def new_model(n_layer: int = 12) -> GPT:
    arch = Architecture("x", 768, n_layer, (4,) * n_layer, (12,) * n_layer, True)
    return GPT(arch, device="cuda")


@pytest.mark.parametrize("mode", ["graph", "eager", "compiled"])
def test_latency(mode: Mode) -> None:
    result = latency(new_model(), PassSettings(mode=mode))
    assert result.protocol.mode == mode
    assert 0.1 < result.median < 1000
    assert result.precise
    assert result.steady
    assert result.environment.cuda


@pytest.mark.parametrize("n_kv_head", [8, 2, 1])
@torch.no_grad()
def test_llama_computes_as_on_a_cpu(n_kv_head: int) -> None:
    arch = LlamaArchitecture("x", 256, 2, (512, 512), (8, 8), (n_kv_head,) * 2, True)
    on_cpu, on_gpu = (Llama(arch, context=128, vocab_size=500, device=d) for d in ("cpu", "cuda"))
    on_gpu.load_state_dict(on_cpu.state_dict())
    tokens = torch.arange(128)[None]
    expected = on_cpu(tokens)
    assert torch.allclose(on_gpu(tokens.cuda()).cpu(), expected, atol=1e-3)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        logits = on_gpu(tokens.cuda())
    assert logits.dtype == torch.bfloat16
    assert torch.allclose(logits.cpu().float(), expected, atol=0.05)
    assert latency(on_gpu, PassSettings(precision="float32")).protocol.mode == "graph"


def test_graph_is_replayed() -> None:
    """Replay writes the output of an eager pass into the memory of the captured output."""
    model = new_model(2)
    with prepare_forward_pass(model, PassSettings(mode="graph", batch_size=1)) as forward_pass:
        captured = forward_pass.run()
        assert isinstance(captured, torch.Tensor)
        captured.zero_()
        forward_pass.run()
        torch.cuda.synchronize()
        by_graph = captured.clone()
    with prepare_forward_pass(model, PassSettings(mode="eager", batch_size=1)) as forward_pass:
        eager = forward_pass.run()
        assert isinstance(eager, torch.Tensor)
    assert torch.allclose(by_graph.float(), eager.float(), atol=1e-2)


def test_latency_is_reproducible() -> None:
    first, second = (latency(new_model()).median for _ in range(2))
    assert first == pytest.approx(second, rel=0.03)


def test_energy() -> None:
    pytest.importorskip("pynvml")
    model = new_model()
    energy = energy_meter("cuda").measure(model)
    assert energy.precise
    assert energy.power > energy.idle.watts > 5
    assert 0 < energy.net_joules < energy.joules
    assert energy.seconds * 1e3 == pytest.approx(latency(model).median, rel=0.2)
    repeated = energy_meter("cuda").measure(model)
    assert repeated.joules == pytest.approx(energy.joules, rel=0.05)


def test_peak_memory() -> None:
    gc.collect()
    torch.cuda.empty_cache()
    small, large = (peak_memory(new_model(n)) for n in (2, 12))
    assert small.reserved is not None
    assert small.before <= small.value <= small.reserved
    assert large.value - small.value >= 0.9 * (large.before - small.before) > 0
    assert large.value >= 4 * new_model(12).params / 1e6


def test_peak_memory_does_not_depend_on_earlier_measurements() -> None:
    first = peak_memory(new_model(2)).value
    for n_layer in (1, 3, 1, 3):
        latency(new_model(n_layer), max_seconds=0.2)
    assert peak_memory(new_model(2)).value == pytest.approx(first, rel=0.001)


def test_gpu_state() -> None:
    pytest.importorskip("pynvml")
    state = nvml_device(torch.device("cuda:0")).state()
    assert state.clock
    assert state.temperature


# -- requests ------------------------------------------------------------------------------------

CHAT = Workload(prompt=512, generate=256, batch=1)


@pytest.fixture
def meter() -> Iterator[RequestMeter]:
    with RequestMeter(new_model(4), PassSettings(), max_seconds=3.0) as meter:
        yield meter


def test_times_of_a_request(meter: RequestMeter) -> None:
    first, steps, whole = meter.ttft(CHAT), meter.tpot(CHAT), meter.latency(CHAT)
    assert first.precise
    assert steps.precise
    assert 0.01 < steps.value < first.value < 100
    assert first.protocol.mode == "graph"
    assert steps.tpot is not None
    assert [row.bucket.steps for row in steps.tpot.buckets] == [128, 127]
    assert all(timing.replays > 1 for timing in steps.tpot.timings)
    # A request without pauses takes as long as its parts.
    times = meter.times(CHAT)
    assert np.median(times.latency) == pytest.approx(whole.value, rel=0.05)
    assert np.median(times.tpot) == pytest.approx(steps.value, rel=0.05)


def test_times_of_requests_are_reproducible() -> None:
    values = []
    for _ in range(2):
        with RequestMeter(new_model(4), PassSettings(), max_seconds=3.0) as meter:
            values.append((meter.ttft(CHAT).value, meter.tpot(CHAT).value))
    assert values[0] == pytest.approx(values[1], rel=0.03)


def test_energy_of_requests(meter: RequestMeter) -> None:
    pytest.importorskip("pynvml")
    counter = energy_meter("cuda")
    idle = counter.idle()
    energy = meter.energy(CHAT, counter, within=0.03, idle=idle)
    assert energy.seconds == pytest.approx(meter.latency(CHAT).value / 1e3, rel=0.1)
    assert energy.power > idle.watts
    assert 0 < energy.net_joules < energy.joules
    assert energy.window > 0.5


def test_peak_memory_of_a_request(meter: RequestMeter) -> None:
    workload = Workload(prompt=256, generate=32, batch=8)
    peak = meter.peak_memory(workload)
    model = meter.inference_model("bfloat16")
    cache = Generator(model, batch=8, positions=288, mode="eager").cache_bytes
    assert peak.value >= (model_bytes(model) + cache) / 1e6
    assert peak.value < 2 * (model_bytes(model) + cache) / 1e6 + 500
    assert peak.before == model_bytes(model) / 1e6


def test_memory_is_released() -> None:
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    model = new_model(4)
    meter = RequestMeter(model, PassSettings(), max_seconds=0.5, within=0.5)
    meter.latency(Workload(prompt=256, generate=32, batch=8))
    meter.close()
    del meter, model
    gc.collect()
    torch.cuda.empty_cache()
    # Workspaces of libraries stay.
    assert torch.cuda.memory_allocated() - before < 100e6
