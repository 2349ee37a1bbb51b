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
from hwnas.profiling.meters.memory import peak_in, peak_memory, resident_peak
from hwnas.spaces.architecture import Architecture


def test_it_grows_with_the_network() -> None:
    arch = Architecture("x", 1024, 3, (4, 4, 4), (1, 1, 1), True)
    large = GPT(arch, head_size=16, context=16, vocab_size=1000, device="meta")
    found = peak_memory(large, PassSettings(batch_size=1, threads=1))
    own = 4 * large.params / 1e6  # 109 MB
    assert own <= found.value - found.before <= 1.3 * own + 30
    assert found.before > 50  # torch itself
    assert found.reserved is None
    assert (found.protocol.device, found.protocol.mode, found.protocol.tokens) == (
        "cpu",
        "eager",
        16,
    )


def test_what_does_not_fit_is_known_before(model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_why_the_other_process_failed(
    model: GPT,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    stderr: str,
    error: type[Exception],
    message: str,
) -> None:
    done = SimpleNamespace(returncode=code, stderr=stderr, stdout="")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    with pytest.raises(error, match=message) as found:
        peak_memory(model)
    assert found.type is error


def test_a_time_limit(model: GPT) -> None:
    with pytest.raises(TimedOut, match=r"peak memory of tiny-.*: 0\.01 s are over"):
        peak_memory(model, time_limit=0.01)


def test_the_peak_of_a_process() -> None:
    status = "Name:\tpython\nVmPeak:\t  999999 kB\nVmHWM:\t   12345 kB\nVmRSS:\t   11111 kB\n"
    assert peak_in(status) == 12345 * 1024
    with pytest.raises(ValueError, match="no VmHWM"):
        peak_in("Name:\tpython\n")
    before = resident_peak()
    torch.ones(before // 4)  # as much as all there was
    assert resident_peak() > 1.2 * before > 50e6


def test_on_cuda_it_is_the_peak_after_a_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    sizes = {"memory_allocated": 2e6, "max_memory_allocated": 7e6, "max_memory_reserved": 9e6}
    for name in ("synchronize", "empty_cache", "reset_peak_memory_stats", *sizes):

        def called(*device: object, name: str = name) -> float:
            log.append(name)
            return sizes.get(name, 0)

        monkeypatch.setattr(torch.cuda, name, called)
    clear = "_cuda_clearCublasWorkspaces"
    monkeypatch.setattr(torch._C, clear, lambda: log.append(clear), raising=False)
    modes: list[str] = []

    class Ready:
        device, protocol, environment = torch.device("cuda"), "protocol", "environment"

        def __init__(self, model: object, settings: PassSettings) -> None:
            modes.append(settings.mode)

        def __enter__(self) -> Ready:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def run(self) -> None:
            log.append("run")

    monkeypatch.setattr(memory, "forward_pass", Ready)
    model: Any = SimpleNamespace(cos=SimpleNamespace(device=torch.device("cuda")))
    for mode in ("auto", "graph", "eager", "compiled"):
        found = peak_memory(model, PassSettings(mode=mode))  # type: ignore[arg-type]
    assert (found.value, found.reserved, found.before) == (7.0, 9.0, 2.0)
    assert modes == ["eager", "eager", "eager", "compiled"]
    reset = log.index("reset_peak_memory_stats")
    assert log[reset + 1 : reset + 3] == ["run", "synchronize"]
    assert "run" in log[:reset]
    assert log[0] == clear
