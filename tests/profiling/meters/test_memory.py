from __future__ import annotations

import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hwnas.errors import InvalidInput
from hwnas.profiling.errors import OutOfMemory, TimedOut, TrialFailed
from hwnas.profiling.gpt import GPT
from hwnas.profiling.meters import memory
from hwnas.profiling.meters.forward_pass import PassSettings
from hwnas.profiling.meters.memory import parse_peak, peak_memory, peak_resident_memory
from hwnas.spaces.architecture import Architecture


def test_peak_grows_with_the_weights() -> None:
    arch = Architecture("x", 1024, 3, (4, 4, 4), (1, 1, 1), True)
    large = GPT(arch, head_size=16, context=16, vocab_size=1000, device="meta")
    result = peak_memory(large, PassSettings(batch_size=1, threads=1))
    weights = 4 * large.params / 1e6  # 109 MB
    assert weights <= result.value - result.before <= 1.3 * weights + 30
    assert result.before > 50  # torch itself
    assert result.reserved is None
    assert (result.protocol.device, result.protocol.mode, result.protocol.tokens) == (
        "cpu",
        "eager",
        16,
    )


def test_settings_are_checked_before_the_process_starts(
    model: GPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "subprocess", None)
    with pytest.raises(InvalidInput, match="tokens: expected at most 64"):
        peak_memory(model, PassSettings(tokens=65))


@pytest.mark.parametrize(
    ("code", "stderr", "error", "message"),
    [
        (-9, "", OutOfMemory, "peak memory of tiny-.*: not enough memory on cpu: exit status -9"),
        (1, "Traceback\nMemoryError\n", OutOfMemory, "not enough memory on cpu: MemoryError"),
        (1, "RuntimeError: can't allocate memory: 9 GB", OutOfMemory, "not enough memory on cpu"),
        (1, "Traceback\nKeyError: 'x'\n", TrialFailed, "peak memory of tiny-.*: KeyError: 'x'"),
    ],
)
def test_failures_of_the_process(
    model: GPT,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    stderr: str,
    error: type[Exception],
    message: str,
) -> None:
    process = SimpleNamespace(returncode=code, stderr=stderr, stdout="")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: process)
    with pytest.raises(error, match=message) as exception:
        peak_memory(model)
    assert exception.type is error


def test_time_limit(model: GPT) -> None:
    with pytest.raises(
        TimedOut, match=r"peak memory of tiny-.*: the time limit of 0\.01 s is over"
    ):
        peak_memory(model, time_limit=0.01)


def test_peak_resident_memory() -> None:
    status = "Name:\tpython\nVmPeak:\t  999999 kB\nVmHWM:\t   12345 kB\nVmRSS:\t   11111 kB\n"
    assert parse_peak(status) == 12345 * 1024
    with pytest.raises(ValueError, match="no VmHWM"):
        parse_peak("Name:\tpython\n")
    peak = peak_resident_memory()
    torch.ones(peak // 4)  # as large as the peak
    assert peak_resident_memory() > 1.2 * peak > 50e6


def test_cuda_peak_is_measured_after_a_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    sizes = {"memory_allocated": 2e6, "max_memory_allocated": 7e6, "max_memory_reserved": 9e6}
    for name in ("synchronize", "empty_cache", "reset_peak_memory_stats", *sizes):

        def fake(*device: object, name: str = name) -> float:
            log.append(name)
            return sizes.get(name, 0)

        monkeypatch.setattr(torch.cuda, name, fake)
    clear = "_cuda_clearCublasWorkspaces"
    monkeypatch.setattr(torch._C, clear, lambda: log.append(clear), raising=False)
    modes: list[str] = []

    class FakePass:
        device, protocol, environment = torch.device("cuda"), "protocol", "environment"

        def __init__(self, model: object, settings: PassSettings) -> None:
            modes.append(settings.mode)

        def __enter__(self) -> FakePass:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def run(self) -> None:
            log.append("run")

    monkeypatch.setattr(memory, "prepare_forward_pass", FakePass)
    model: Any = SimpleNamespace(device=torch.device("cuda"))
    for mode in ("auto", "graph", "eager", "compiled"):
        result = peak_memory(model, PassSettings(mode=mode))  # type: ignore[arg-type]
    assert (result.value, result.reserved, result.before) == (7.0, 9.0, 2.0)
    assert modes == ["eager", "eager", "eager", "compiled"]
    reset = log.index("reset_peak_memory_stats")
    assert log[reset + 1 : reset + 3] == ["run", "synchronize"]
    assert "run" in log[:reset]
    assert log[0] == clear
