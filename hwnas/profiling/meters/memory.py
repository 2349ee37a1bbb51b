"""Peak memory of a forward pass of a batch.

MB are 10**6 bytes, as in HW-GPT-Bench. The memory that HW-GPT-Bench publishes is a different
quantity: the memory that remains allocated after a forward pass.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hwnas.profiling.errors import OutOfMemory, TimedOut, TrialFailed
from hwnas.profiling.language_model import LanguageModel, import_model_class
from hwnas.profiling.meters.forward_pass import (
    Environment,
    PassSettings,
    environment,
    prepare_forward_pass,
    resolve_protocol,
)
from hwnas.profiling.meters.request_protocol import AnyProtocol
from hwnas.spaces.architecture import Architecture

MB = 1e6
_CHILD = "from {} import child_main; child_main()"  # a module whose function is to run


@dataclass(frozen=True, slots=True)
class PeakMemory:
    """Peak memory of a forward pass or of a request, in MB of 10**6 bytes.

    Attributes
    ----------
    value
        CUDA: memory allocated by torch, including the weights of the model. CPU: resident memory of
        a process that builds the model and runs it, including Python and torch.
    reserved
        CUDA: memory that torch reserved on the device. CPU: None.
    before
        CUDA: memory allocated before the pass. If it exceeds the weights, other tensors are alive,
        and `value` is too large by their size. CPU: peak of the process after a run of a minimal
        model; the difference to `value` belongs to the measured model.
    protocol, environment
        Settings, hardware and software of the measurement.
    """

    value: float
    reserved: float | None
    before: float
    protocol: AnyProtocol
    environment: Environment


def peak_memory(
    model: LanguageModel, settings: PassSettings | None = None, *, time_limit: float = 600.0
) -> PeakMemory:
    """Measure the peak memory of a model.

    A CUDA graph allocates its memory when it is captured. Therefore the same pass is measured
    without a graph, and the protocol says so.

    Parameters
    ----------
    model
        Model on a CUDA device, or on the CPU or meta. In the latter case a separate process builds
        it again, so the values of its weights have no effect.
    settings
        Forward pass to measure.
    time_limit
        Maximum duration of the separate process in seconds.

    Raises
    ------
    OutOfMemory, TimedOut, TrialFailed
        The measurement failed.
    InvalidInput
        The settings do not fit the model or its device.

    Examples
    --------
    >>> from hwnas.profiling import GPT
    >>> from hwnas.spaces.architecture import Architecture
    >>> arch = Architecture.parse("tiny-1-32-2-1-True")
    >>> model = GPT(arch, head_size=16, context=8, vocab_size=50)
    >>> peak_memory(model, PassSettings(batch_size=1, tokens=100))
    Traceback (most recent call last):
    hwnas.errors.InvalidInput: tokens: expected at most 8, the model's context, found 100
    """
    settings = settings or PassSettings()
    if model.device.type == "cuda":
        return _measure_on_cuda(model, settings)
    return _measure_on_cpu(model, settings, time_limit)


def _measure_on_cuda(model: LanguageModel, settings: PassSettings) -> PeakMemory:
    if settings.mode in ("auto", "graph"):
        settings = replace(settings, mode="eager")
    with prepare_forward_pass(model, settings) as forward_pass:
        device = forward_pass.device
        # Workspaces of the streams of earlier measurements are not part of this one. The first pass
        # allocates those that it needs itself.
        torch._C._cuda_clearCublasWorkspaces()
        forward_pass.run()
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        # The peak is that of the second pass.
        allocated = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        forward_pass.run()
        torch.cuda.synchronize(device)
        return PeakMemory(
            torch.cuda.max_memory_allocated(device) / MB,
            torch.cuda.max_memory_reserved(device) / MB,
            allocated / MB,
            forward_pass.protocol,
            forward_pass.environment,
        )


def _measure_on_cpu(model: LanguageModel, settings: PassSettings, time_limit: float) -> PeakMemory:
    protocol = replace(resolve_protocol(model, settings), device="cpu")
    # The number of threads must be explicit: the default of the child may differ.
    settings = replace(settings, threads=protocol.threads)
    task = {
        **model_description(model),
        "weights": protocol.weights,
        "settings": asdict(settings),
    }
    # The peak of a process never decreases, so each measurement needs a new process.
    peak, baseline = run_child(__name__, task, f"peak memory of {model.arch}", time_limit)
    return PeakMemory(peak / MB, None, baseline / MB, protocol, environment(torch.device("cpu")))


def run_child(
    module: str, task: Mapping[str, Any], action: str, time_limit: float
) -> tuple[int, int]:
    """Call ``child_main`` of a module in a new process; return its peak and its baseline, in bytes.

    Parameters
    ----------
    module
        Name of the module.
    task
        What JSON can represent; the function finds it on the command line.
    action
        Description of the measurement for error messages.
    time_limit
        Maximum duration of the process in seconds.

    Raises
    ------
    OutOfMemory, TimedOut, TrialFailed
        The measurement failed.
    """
    try:
        process = subprocess.run(
            [sys.executable, "-c", _CHILD.format(module), json.dumps(task)],
            capture_output=True,
            text=True,
            timeout=time_limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TimedOut(f"{action}: the time limit of {time_limit:g} s is over") from None
    # Translate a failure of the child into the errors of trials.
    if process.returncode:
        # The last line of a traceback is the error.
        status = f"exit status {process.returncode}"
        reason = (process.stderr.strip().splitlines() or [status])[-1]
        # Linux kills a process if no memory is left.
        is_killed = process.returncode == -signal.SIGKILL
        if is_killed or re.search("OutOfMemory|MemoryError|can't allocate memory", reason):
            raise OutOfMemory(f"{action}: not enough memory on cpu: {reason}")
        raise TrialFailed(f"{action}: {reason}")
    peak, baseline = json.loads(process.stdout.splitlines()[-1])
    return peak, baseline


def child_main() -> None:
    """Run the model that is described on the command line; print peak and baseline, in bytes."""
    task = json.loads(sys.argv[1])
    cpus = task["settings"].pop("cpus")
    settings = PassSettings(**task["settings"], cpus=None if cpus is None else tuple(cpus))
    _run_passes(minimal_model(), task["weights"], replace(settings, batch_size=1, tokens=1))
    baseline = peak_resident_memory()
    _run_passes(described_model(task), task["weights"], settings)
    print(json.dumps([peak_resident_memory(), baseline]))


def model_description(model: LanguageModel) -> dict[str, Any]:
    """Return what `described_model` needs to build a model again, with other weights."""
    return {
        "class": f"{type(model).__module__}:{type(model).__qualname__}",
        "arch": str(model.arch),
        "model": {name: getattr(model, name) for name in model.settings},
    }


def described_model(task: Mapping[str, Any]) -> LanguageModel:
    """Build the model of `model_description`."""
    cls = import_model_class(task["class"])
    model: LanguageModel = cls(cls.arch_type.parse(task["arch"]), **task["model"])
    return model


def minimal_model() -> LanguageModel:
    """Return a model whose process shows the memory of Python, torch and its libraries.

    It is a GPT for all families, so that the baseline does not differ between them.
    """
    gpt = import_model_class("hwnas.profiling.gpt:GPT")
    model: LanguageModel = gpt(
        Architecture("minimal", 4, 1, (1,), (1,), True), head_size=4, vocab_size=4
    )
    return model


def _run_passes(model: LanguageModel, weights: str, settings: PassSettings) -> None:
    with prepare_forward_pass(model.to(getattr(torch, weights)), settings) as forward_pass:
        forward_pass.run()
        forward_pass.run()


def peak_resident_memory() -> int:
    """Return the peak resident memory of this process, in bytes."""
    # On Linux getrusage is unsuitable: its value includes the peak of the parent process.
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return parse_peak(status)
    except (OSError, ValueError):
        import resource  # not available on Windows

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak


def parse_peak(status: str) -> int:
    """Return the peak resident memory in a text like ``/proc/self/status``, in bytes.

    Raises
    ------
    ValueError
        The text contains no peak.

    Examples
    --------
    >>> parse_peak("VmHWM:   12 kB")
    12288
    """
    match = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    if match is None:
        raise ValueError("no VmHWM")
    return 1024 * int(match[1])
