from __future__ import annotations

import os
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from hwnas.errors import InvalidInput
from hwnas.profiling import cuda_graph
from hwnas.profiling.errors import OutOfMemory
from hwnas.profiling.gpt import GPT
from hwnas.profiling.meters.forward_pass import (
    PassSettings,
    Protocol,
    environment,
    prepare_forward_pass,
    resolve_protocol,
)
from hwnas.spaces.architecture import Architecture


def test_defaults_are_those_of_hw_gpt_bench() -> None:
    model = GPT(Architecture.parse("x-1-32-2-1-True"), vocab_size=9)
    protocol = resolve_protocol(model, PassSettings(threads=2))
    assert protocol == Protocol("cpu", "eager", 8, 1024, "float32", "float32", 2, None)


def test_default_on_cuda_is_a_graph_in_bfloat16(
    model: GPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GPT, "device", torch.device("cuda:1"))
    protocol = resolve_protocol(model, PassSettings())
    assert protocol == Protocol("cuda:1", "graph", 8, 64, "bfloat16", "float32", None, None)


def test_pass_runs_the_model(model: GPT) -> None:
    with prepare_forward_pass(model, PassSettings(batch_size=3, tokens=5)) as forward_pass:
        first, second = forward_pass.run(), forward_pass.run()
    assert isinstance(first, torch.Tensor)
    assert isinstance(second, torch.Tensor)
    assert first.shape == (3, 5, 257)
    assert first.dtype == torch.float32
    assert not first.requires_grad
    assert torch.equal(first, second)


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
def test_bfloat16_by_cast_or_by_weights(model: GPT, weights: torch.dtype) -> None:
    settings = PassSettings(batch_size=1, precision="bfloat16")
    with prepare_forward_pass(model.to(weights), settings) as forward_pass:
        output = forward_pass.run()
    assert isinstance(output, torch.Tensor)
    assert output.dtype == torch.bfloat16
    expected = ("bfloat16", str(weights).removeprefix("torch."))
    assert (forward_pass.protocol.precision, forward_pass.protocol.weights) == expected


def test_threads_are_restored(model: GPT) -> None:
    with prepare_forward_pass(model, PassSettings(threads=2)):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 1


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity here")
def test_affinity_is_restored(model: GPT) -> None:
    previous = os.sched_getaffinity(0)
    cpus = (max(previous),)
    with prepare_forward_pass(model, PassSettings(cpus=cpus)) as forward_pass:
        assert os.sched_getaffinity(0) == set(cpus)
    assert os.sched_getaffinity(0) == previous
    assert forward_pass.protocol.cpus == cpus


def test_threads_are_restored_after_a_failure(model: GPT) -> None:
    def fail() -> None:
        with prepare_forward_pass(model, PassSettings(threads=2)):
            raise torch.OutOfMemoryError("too much")

    with pytest.raises(OutOfMemory, match=r"measuring tiny-.*: not enough memory on cpu: too much"):
        fail()
    assert torch.get_num_threads() == 1


def test_mode_compiled_calls_torch_compile(model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def fake_compile(model: GPT, *, dynamic: bool) -> GPT:
        calls.append(dynamic)
        return model

    monkeypatch.setattr(torch, "compile", fake_compile)
    with prepare_forward_pass(model, PassSettings(mode="compiled", batch_size=1)) as forward_pass:
        forward_pass.run()
    assert calls == [False]
    assert forward_pass.protocol.mode == "compiled"


def test_graph_is_captured_after_three_passes_on_a_side_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log: list[str] = []

    class Stream:
        def __init__(self, name: str = "side") -> None:
            self.name = name

        def wait_stream(self, stream: Stream) -> None:
            log.append(f"{self.name} waits for {stream.name}")

    class Graph:
        def replay(self) -> None:
            log.append("replay")

        def __enter__(self) -> None:
            log.append("begin")

        def __exit__(self, *error: object) -> None:
            log.append("end")

    monkeypatch.setattr(cuda_graph, "_capture_stream", lambda index: Stream())
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: Stream("main"))
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph: graph)
    replay = cuda_graph.capture_graph(lambda: log.append("run"))
    warm_up = ["side waits for main", "run", "run", "run", "main waits for side"]
    assert log == [*warm_up, "begin", "run", "end"]
    replay()
    replay()
    assert log[8:] == ["replay", "replay"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size: expected a positive integer, found 0"),
        ({"batch_size": None}, "batch_size: expected a positive integer, found None"),
        ({"threads": True}, "threads: expected a positive integer, found True"),
        ({"tokens": 65}, "tokens: expected at most 64, the model's context, found 65"),
        (
            {"precision": "int8"},
            "precision: expected one of auto, float32, bfloat16, found 'int8'",
        ),
        ({"mode": "fast"}, "mode: expected one of auto, graph, eager, compiled, found 'fast'"),
        ({"mode": "graph"}, "mode: graph needs a CUDA device, found cpu"),
        ({"cpus": ()}, r"cpus: expected some of \[.*\], found \(\)"),
        ({"cpus": (-1,)}, r"cpus: expected some of \[.*\], found \(-1,\)"),
    ],
)
def test_invalid_settings(model: GPT, settings: Any, message: str) -> None:
    def enter() -> None:
        with prepare_forward_pass(model, PassSettings(**settings)):
            raise AssertionError("no error")

    with pytest.raises(InvalidInput, match=message):
        enter()


def test_settings_that_do_not_fit_the_model(model: GPT) -> None:
    with pytest.raises(InvalidInput, match="precision: float32 does not fit weights in bfloat16"):
        resolve_protocol(model.bfloat16(), PassSettings(precision="float32"))
    meta = GPT(Architecture.parse("x-1-32-2-1-True"), device="meta")

    def enter() -> None:
        with prepare_forward_pass(meta, PassSettings()):
            pass

    with pytest.raises(InvalidInput, match="expected a model with weights, found one on meta"):
        enter()


def test_environment_of_a_cpu() -> None:
    result = environment(torch.device("cpu"))
    assert result.device_name
    assert result.torch == torch.__version__
    assert 1 <= result.cpu_count <= (os.cpu_count() or 1)
    assert (result.driver, result.state) == (None, None)
