"""The meters on a real GPU; on other machines all of it is skipped."""

from __future__ import annotations

import gc

import pytest
import torch

from hwnas.profiling.gpt import GPT
from hwnas.profiling.meters.energy import energy_meter
from hwnas.profiling.meters.forward_pass import Mode, PassSettings, forward_pass
from hwnas.profiling.meters.latency import latency
from hwnas.profiling.meters.memory import peak_memory
from hwnas.profiling.meters.nvml import board
from hwnas.spaces.architecture import Architecture

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def network(n_layer: int = 12) -> GPT:
    arch = Architecture("x", 768, n_layer, (4,) * n_layer, (12,) * n_layer, True)
    return GPT(arch, device="cuda")


@pytest.mark.parametrize("mode", ["graph", "eager", "compiled"])
def test_latency(mode: Mode) -> None:
    found = latency(network(), PassSettings(mode=mode))
    assert found.protocol.mode == mode
    assert 0.1 < found.median < 1000
    assert found.precise
    assert found.steady
    assert found.environment.cuda


def test_a_graph_is_replayed() -> None:
    """What stands in memory afterwards is what an eager pass computes."""
    model = network(2)
    found: list[torch.Tensor] = []
    model.head.register_forward_hook(lambda module, inputs, output: found.append(output))
    with forward_pass(model, PassSettings(mode="graph", batch_size=1)) as ready:
        captured = found[-1]
        captured.zero_()
        ready.run()
        torch.cuda.synchronize()
        by_graph = captured.clone()
    with forward_pass(model, PassSettings(mode="eager", batch_size=1)) as ready:
        ready.run()
    assert torch.allclose(by_graph.float(), found[-1].float(), atol=1e-2)


def test_latency_again() -> None:
    one, other = (latency(network()).median for _ in range(2))
    assert one == pytest.approx(other, rel=0.03)


def test_energy() -> None:
    pytest.importorskip("pynvml")
    model = network()
    found = energy_meter("cuda").measure(model)
    assert found.precise
    assert found.power > found.idle.watts > 5
    assert 0 < found.net_joules < found.joules
    assert found.seconds * 1e3 == pytest.approx(latency(model).median, rel=0.2)
    again = energy_meter("cuda").measure(model)
    assert again.joules == pytest.approx(found.joules, rel=0.05)


def test_peak_memory() -> None:
    gc.collect()
    torch.cuda.empty_cache()
    small, large = (peak_memory(network(n)) for n in (2, 12))
    assert small.reserved is not None
    assert small.before <= small.value <= small.reserved
    assert large.value - small.value >= 0.9 * (large.before - small.before) > 0
    assert large.value >= 4 * network(12).params / 1e6


def test_peak_memory_does_not_depend_on_what_was_measured_before() -> None:
    first = peak_memory(network(2)).value
    for n_layer in (1, 3, 1, 3):
        latency(network(n_layer), max_seconds=0.2)
    assert peak_memory(network(2)).value == pytest.approx(first, rel=0.001)


def test_the_board() -> None:
    pytest.importorskip("pynvml")
    state = board(torch.device("cuda:0")).state()
    assert state.clock
    assert state.temperature
