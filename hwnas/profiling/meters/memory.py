"""The most memory that one forward pass of a batch takes.

MB are 10**6 bytes, as in HW-GPT-Bench; its own figures are another thing, namely what stays
allocated after a forward pass.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from hwnas.profiling.errors import OutOfMemory, TimedOut, TrialFailed
from hwnas.profiling.gpt import GPT
from hwnas.profiling.meters.forward_pass import (
    Environment,
    PassSettings,
    Protocol,
    environment,
    forward_pass,
    protocol_of,
)
from hwnas.spaces.architecture import Architecture

MB = 1e6
_CHILD = "import sys; from hwnas.profiling.meters.memory import _child; _child(sys.argv[1])"


@dataclass(frozen=True, slots=True)
class PeakMemory:
    """The most memory that a forward pass takes, in MB of 10**6 bytes.

    Attributes
    ----------
    value
        CUDA: allocated by torch, the network's weights included. CPU: resident memory of a process
        that builds the network and runs it, Python and torch included.
    reserved
        CUDA: what torch took from the device for it. CPU: None.
    before
        CUDA: allocated before the pass; more than the weights if something else is alive there,
        and then `value` is too high by it. CPU: the peak of the process when it has run a network
        of next to no size, so the rest is the network's own.
    protocol, environment
        How and on what it was measured.
    """

    value: float
    reserved: float | None
    before: float
    protocol: Protocol
    environment: Environment


def peak_memory(
    model: GPT, settings: PassSettings | None = None, *, time_limit: float = 600.0
) -> PeakMemory:
    """Measure the peak memory of a network.

    A CUDA graph has its memory from the moment it is taken, so what is measured instead is the same
    pass without one; the protocol says so.

    Parameters
    ----------
    model
        On a CUDA device, or on the CPU or meta: then a process of its own builds it again, so the
        weights' values do not matter.
    settings
        What is measured.
    time_limit
        Seconds that the other process may take.

    Raises
    ------
    OutOfMemory, TimedOut, TrialFailed
    InvalidInput
        The settings do not fit the network or its device.
    """
    settings = settings or PassSettings()
    if model.cos.device.type == "cuda":
        return _on_cuda(model, settings)
    return _on_cpu(model, settings, time_limit)


def _on_cuda(model: GPT, settings: PassSettings) -> PeakMemory:
    if settings.mode in ("auto", "graph"):
        settings = replace(settings, mode="eager")
    with forward_pass(model, settings) as ready:
        device = ready.device
        torch._C._cuda_clearCublasWorkspaces()  # of other streams, which earlier networks ran on
        ready.run()  # libraries take their working space at the first one
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        ready.run()
        torch.cuda.synchronize(device)
        return PeakMemory(
            torch.cuda.max_memory_allocated(device) / MB,
            torch.cuda.max_memory_reserved(device) / MB,
            before / MB,
            ready.protocol,
            ready.environment,
        )


def _on_cpu(model: GPT, settings: PassSettings, time_limit: float) -> PeakMemory:
    protocol = replace(protocol_of(model, settings), device="cpu")
    settings = replace(settings, threads=protocol.threads)  # the child's default may be another
    network = {name: getattr(model, name) for name in ("head_size", "context", "vocab_size")}
    task = {
        "arch": str(model.arch),
        "network": network,
        "weights": protocol.weights,
        "settings": asdict(settings),
    }
    what = f"peak memory of {model.arch}"
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, json.dumps(task)],
            capture_output=True,
            text=True,
            timeout=time_limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TimedOut(f"{what}: {time_limit:g} s are over") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        # The system kills a process for which no memory is left.
        killed = done.returncode == -signal.SIGKILL
        if killed or re.search("OutOfMemory|MemoryError|can't allocate memory", reason):
            raise OutOfMemory(f"{what}: not enough memory on cpu: {reason}")
        raise TrialFailed(f"{what}: {reason}")
    peak, before = json.loads(done.stdout.splitlines()[-1])
    return PeakMemory(peak / MB, None, before / MB, protocol, environment(torch.device("cpu")))


def _child(text: str) -> None:
    """Run a network that is described in JSON; print the peak after and before, in bytes."""
    task = json.loads(text)
    cpus = task["settings"].pop("cpus")
    settings = PassSettings(**task["settings"], cpus=None if cpus is None else tuple(cpus))
    smallest = GPT(Architecture("smallest", 4, 1, (1,), (1,), True), head_size=4, vocab_size=4)
    _run(smallest, task["weights"], replace(settings, batch_size=1, tokens=1))
    before = resident_peak()
    _run(GPT(Architecture.parse(task["arch"]), **task["network"]), task["weights"], settings)
    print(json.dumps([resident_peak(), before]))


def _run(model: GPT, weights: str, settings: PassSettings) -> None:
    with forward_pass(model.to(getattr(torch, weights)), settings) as ready:
        ready.run()
        ready.run()


def resident_peak() -> int:
    """The most resident memory that this process has had, in bytes.

    On Linux from ``/proc``: what getrusage says there is never less than what the process had that
    started this one.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return peak_in(status)
    except (OSError, ValueError):
        import resource  # there is none on Windows

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak


def peak_in(status: str) -> int:
    """The peak that a text as ``/proc/self/status`` gives, in bytes; ValueError without one."""
    found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise ValueError("no VmHWM")
    return 1024 * int(found[1])
