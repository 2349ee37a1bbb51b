from __future__ import annotations

import os
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from hwnas.errors import InvalidInput
from hwnas.profiling.errors import OutOfMemory
from hwnas.profiling.gpt import GPT
from hwnas.profiling.meters import forward_pass as passes
from hwnas.profiling.meters.forward_pass import (
    PassSettings,
    Protocol,
    environment,
    forward_pass,
    protocol_of,
)
from hwnas.spaces.architecture import Architecture


def test_defaults_are_hw_gpt_benchs() -> None:
    model = GPT(Architecture.parse("x-1-32-2-1-True"), vocab_size=9)
    protocol = protocol_of(model, PassSettings(threads=2))
    assert protocol == Protocol("cpu", "eager", 8, 1024, "float32", "float32", 2, None)


def test_on_cuda_it_is_a_graph_in_bfloat16(model: GPT) -> None:
    model.cos = torch.empty(0)

    class Elsewhere:
        device = torch.device("cuda:1")

    object.__setattr__(model, "_buffers", {"cos": Elsewhere()})
    protocol = protocol_of(model, PassSettings())
    assert protocol == Protocol("cuda:1", "graph", 8, 64, "bfloat16", "float32", None, None)


def test_a_pass_is_the_networks(model: GPT) -> None:
    with forward_pass(model, PassSettings(batch_size=3, tokens=5)) as ready:
        first, second = ready.run(), ready.run()
    assert isinstance(first, torch.Tensor)
    assert isinstance(second, torch.Tensor)
    assert first.shape == (3, 5, 257)
    assert first.dtype == torch.float32
    assert not first.requires_grad
    assert torch.equal(first, second)


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
def test_bfloat16_by_casts_or_by_weights(model: GPT, weights: torch.dtype) -> None:
    settings = PassSettings(batch_size=1, precision="bfloat16")
    with forward_pass(model.to(weights), settings) as ready:
        out = ready.run()
    assert isinstance(out, torch.Tensor)
    assert out.dtype == torch.bfloat16
    expected = ("bfloat16", str(weights).removeprefix("torch."))
    assert (ready.protocol.precision, ready.protocol.weights) == expected


def test_threads_are_as_before_when_it_is_over(model: GPT) -> None:
    with forward_pass(model, PassSettings(threads=2)):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 1


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity here")
def test_processors_are_as_before_when_it_is_over(model: GPT) -> None:
    before = os.sched_getaffinity(0)
    one = (max(before),)
    with forward_pass(model, PassSettings(cpus=one)) as ready:
        assert os.sched_getaffinity(0) == set(one)
    assert os.sched_getaffinity(0) == before
    assert ready.protocol.cpus == one


def test_a_failure_leaves_nothing_pinned(model: GPT) -> None:
    def failing() -> None:
        with forward_pass(model, PassSettings(threads=2)):
            raise torch.OutOfMemoryError("too much")

    with pytest.raises(OutOfMemory, match=r"measuring tiny-.*: not enough memory on cpu: too much"):
        failing()
    assert torch.get_num_threads() == 1


def test_compiled_is_asked_of_torch(model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def compiled(network: GPT, *, dynamic: bool) -> GPT:
        asked.append(dynamic)
        return network

    monkeypatch.setattr(torch, "compile", compiled)
    with forward_pass(model, PassSettings(mode="compiled", batch_size=1)) as ready:
        ready.run()
    assert asked == [False]
    assert ready.protocol.mode == "compiled"


def test_a_graph_is_taken_after_three_passes_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []

    class Stream:
        def __init__(self, name: str = "side") -> None:
            self.name = name

        def wait_stream(self, other: Stream) -> None:
            log.append(f"{self.name} waits for {other.name}")

    class Graph:
        def replay(self) -> None:
            log.append("replay")

        def __enter__(self) -> None:
            log.append("begin")

        def __exit__(self, *error: object) -> None:
            log.append("end")

    monkeypatch.setattr(passes, "_side", lambda index: Stream())
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: Stream("main"))
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph: graph)
    ready = passes._graph(lambda: log.append("run"))
    beside = ["side waits for main", "run", "run", "run", "main waits for side"]
    assert log == [*beside, "begin", "run", "end"]
    ready()
    ready()
    assert log[8:] == ["replay", "replay"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size: expected a positive integer, found 0"),
        ({"batch_size": None}, "batch_size: expected a positive integer, found None"),
        ({"threads": True}, "threads: expected a positive integer, found True"),
        ({"tokens": 65}, "tokens: expected at most 64, the network's context, found 65"),
        ({"precision": "int8"}, "precision: expected one of auto, float32, bfloat16, found 'int8'"),
        ({"mode": "fast"}, "mode: expected one of auto, graph, eager, compiled, found 'fast'"),
        ({"mode": "graph"}, "mode: graph needs a CUDA device, found cpu"),
        ({"cpus": ()}, r"cpus: expected some of \[.*\], found \(\)"),
        ({"cpus": (-1,)}, r"cpus: expected some of \[.*\], found \(-1,\)"),
    ],
)
def test_what_is_no_setting(model: GPT, settings: Any, message: str) -> None:
    def enter() -> None:
        with forward_pass(model, PassSettings(**settings)):
            raise AssertionError("it went on")

    with pytest.raises(InvalidInput, match=message):
        enter()


def test_what_does_not_fit_the_network(model: GPT) -> None:
    with pytest.raises(InvalidInput, match="precision: float32 does not fit weights in bfloat16"):
        protocol_of(model.bfloat16(), PassSettings(precision="float32"))
    meta = GPT(Architecture.parse("x-1-32-2-1-True"), device="meta")

    def enter() -> None:
        with forward_pass(meta, PassSettings()):
            pass

    with pytest.raises(InvalidInput, match="expected a network with weights, found one on meta"):
        enter()


def test_the_environment_of_a_processor() -> None:
    found = environment(torch.device("cpu"))
    assert found.device_name
    assert found.torch == torch.__version__
    assert 1 <= found.cpu_count <= (os.cpu_count() or 1)
    assert (found.driver, found.state) == (None, None)
