"""Number formats that a processor has no instructions for, so that torch emulates them."""

from __future__ import annotations

import time
import warnings
from functools import cache
from pathlib import Path

import torch
from torch.nn import functional as F

from hwnas.errors import HwnasWarning
from hwnas.profiling.meters.forward_pass import thread_settings

# Flags of /proc/cpuinfo, of which one suffices: x86, then Arm.
_INSTRUCTIONS = {
    "bfloat16": {"avx512_bf16", "amx_bf16", "bf16"},
    "float16": {"avx512_fp16", "amx_fp16", "fphp", "asimdhp"},
}
_COMPUTED_IN = {"int8": "bfloat16", "fp8": "bfloat16"}  # weights of one byte
_SHAPES = ((1, 768, 3072), (128, 768, 768))  # rows, inputs, outputs: a step and a prompt
_SLOWER = 2.0  # ratio from which it is worth a warning


def warn_if_emulated(device: torch.device, precision: str) -> None:
    """Warn that a precision is emulated on a CPU, where that makes it slower than float32.

    Where the instructions of the processor are unknown, nothing is said.

    Examples
    --------
    >>> warn_if_emulated(torch.device("cpu"), "float32")
    """
    if device.type != "cpu":
        return
    number_format = _COMPUTED_IN.get(precision, precision)
    ratio = emulation_ratio(number_format)
    if ratio >= _SLOWER:
        warnings.warn(
            f"{number_format} is emulated on this processor: its matrix products take up to "
            f"{ratio:.0f} times as long as in float32; a workload with precision: float32 is "
            "faster here",
            HwnasWarning,
            stacklevel=2,
        )


@cache  # of this processor, so that it is measured and printed once
def emulation_ratio(number_format: str) -> float:
    """Return the times that matrix products take, relative to float32; 1 if none are emulated.

    It is the larger ratio of two products, those of one row and of 128 rows. They run in one
    thread, since several threads of a busy processor wait for each other.
    """
    instructions = _INSTRUCTIONS.get(number_format)
    if instructions is None or not (flags := cpu_flags()) or flags & instructions:
        return 1.0
    dtype = getattr(torch, number_format)
    with thread_settings(1, None):
        return max(_seconds(shape, dtype) / _seconds(shape, torch.float32) for shape in _SHAPES)


def cpu_flags(file: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Return the names of a processor's instruction sets; none where they cannot be read."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    names = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return set(next(names, "").split())


def _seconds(shape: tuple[int, int, int], dtype: torch.dtype) -> float:
    """Return the shortest time of a matrix product."""
    rows, inputs, outputs = shape
    x, weight = torch.ones(rows, inputs, dtype=dtype), torch.ones(outputs, inputs, dtype=dtype)
    times = []
    for _ in range(6):  # the first prepares torch's kernels, and is seldom the shortest
        start = time.perf_counter()
        F.linear(x, weight)
        times.append(time.perf_counter() - start)
    return min(times)
