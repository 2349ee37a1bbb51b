"""Where the time of a training step goes: kernels by kind, of single networks and of a supernet.

A step of the largest and of the smallest network alone, of a supernet, and of one without
distillation; the last shows what the teacher's logits cost.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from supernet_cost import BATCH, device_name, missing_pieces, words
from torch.profiler import ProfilerActivity, profile

from hwnas.profiling import TrainingSettings, build_model, train
from hwnas.profiling.supernet.config import SupernetSettings
from hwnas.profiling.supernet.extremes import largest, smallest
from hwnas.profiling.supernet.parallel import process_group
from hwnas.profiling.supernet.shared_weights import SharedWeights
from hwnas.profiling.supernet.train_loop import train_supernet
from hwnas.profiling.survey.csv_log import CsvLog
from hwnas.spaces import LanguageModelSpace, load_space, require_language_model

COLUMNS = ("space", "batch", "what", "kind", "kernel", "milliseconds", "count", "device", "torch")
STEPS = 5  # of a profile
REPORTS = 8  # of `STEPS` steps each: code is loaded, then one is timed, and the last one profiled
NAMED = 0.01  # share of a step from which on a kernel is named
_LENGTH = 120  # of a name
# Kinds of kernels by their names; the first that matches counts.
KINDS = {
    "attention": r"flash|fmha|attention|sdpa",
    "loss": r"softmax|logsumexp|gather|_arange|_eq",
    "matrix products": r"gemm|nvjet|cutlass|cublas|xmma|::(add)?b?mm",
    "optimizer": r"multi_tensor|foreach|adam|clip_grad",
    "compiled": r"triton",
    "elementwise": r"mem(cpy|set)|copy|fill|cat|elementwise",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodicSettings(SupernetSettings):
    """Settings with the same architectures in every report, so that all can be compared."""

    def architectures(self, space: LanguageModelSpace, step: int) -> list[Any]:
        """Return the architectures of a step."""
        return SupernetSettings.architectures(self, space, step % STEPS)


@dataclass
class StepProfile:
    """Report function that times `STEPS` steps of a training, and profiles as many after them."""

    device: torch.device
    calls: int = 0
    begin: float = 0.0
    milliseconds: float = 0.0  # of a step, without the profiler
    kernels: list[tuple[str, float, int]] = field(default_factory=list)  # name, ms a step, count

    def __post_init__(self) -> None:
        self.is_cuda = self.device.type == "cuda"
        self.profiler = profile(
            activities=[ProfilerActivity.CUDA if self.is_cuda else ProfilerActivity.CPU]
        )

    def __call__(self, progress: object) -> None:
        """Begin or end the timing or the profile, depending on the number of calls."""
        if self.is_cuda:
            torch.cuda.synchronize()
        self.calls += 1
        if self.calls == REPORTS - 2:
            self.begin = time.perf_counter()
        elif self.calls == REPORTS - 1:
            self.milliseconds = 1e3 * (time.perf_counter() - self.begin) / STEPS
            self.profiler.start()
        elif self.calls == REPORTS:
            self.profiler.stop()
            attribute = "self_device_time_total" if self.is_cuda else "self_cpu_time_total"
            self.kernels = [
                (event.key, getattr(event, attribute) / 1e3 / STEPS, event.count // STEPS)
                for event in self.profiler.key_averages()
            ]


def kind_of(kernel: str) -> str:
    """Return the kind of a kernel.

    >>> kind_of("nvjet_hsh_256x128_64x4_1x2_h_bz_coopA_NTT"), kind_of("Memset (Device)")
    ('matrix products', 'elementwise')
    """
    kinds = (kind for kind, pattern in KINDS.items() if re.search(pattern, kernel.lower()))
    return next(kinds, "other")


def rows_of(
    milliseconds: float, kernels: Iterable[tuple[str, float, int]]
) -> list[dict[str, object]]:
    """Return a row for each kind, one for idle time, and one for each of the long kernels.

    Parameters
    ----------
    milliseconds
        Duration of a step.
    kernels
        Name, milliseconds and number in a step of each kernel.
    """
    kernels = sorted(kernels, key=lambda kernel: -kernel[1])
    sums: dict[str, list[float]] = {}
    for name, duration, count in kernels:
        total = sums.setdefault(kind_of(name), [0.0, 0])
        total[0], total[1] = total[0] + duration, total[1] + count
    sums["idle"] = [max(0.0, milliseconds - sum(duration for _, duration, _ in kernels)), 0]
    rows = [
        _row(kind, "", *values) for kind, values in sorted(sums.items(), key=lambda i: -i[1][0])
    ]
    named = (kernel for kernel in kernels if kernel[1] >= NAMED * milliseconds)
    rows += [_row(kind_of(name), name[:_LENGTH], *values) for name, *values in named]
    return rows


def _row(kind: str, kernel: str, milliseconds: float, count: float) -> dict[str, object]:
    return {
        "kind": kind,
        "kernel": kernel,
        "milliseconds": f"{milliseconds:.4g}",
        "count": int(count),
    }


def run(
    name: str,
    device: str,
    out: Path,
    remaining_seconds: Callable[[], float],
    batch_size: int | None,
) -> None:
    """Profile whatever the file does not have yet, until the time is over."""
    space = require_language_model(load_space(name))
    log = CsvLog(out / "profile.csv", COLUMNS)
    batch = batch_size or BATCH
    with process_group(device) as group:
        card = device_name(group.device)
        common = {"space": name, "batch": batch, "device": card, "torch": torch.__version__}
        for what in missing_pieces(log, _CASES, space=name, batch=batch, device=card):
            if remaining_seconds() < 45:
                break
            report = StepProfile(group.device)
            _CASES[what](space, group.device, batch, report)
            rows = rows_of(report.milliseconds, report.kernels)
            for row in rows:
                log.append({**common, "what": what, **row})
            kinds = (f"{row['kind']} {row['milliseconds']}" for row in rows if not row["kernel"])
            print(f"{name}, {what}: {report.milliseconds:.1f} ms: {', '.join(kinds)}", flush=True)


def alone(choose: Callable[[LanguageModelSpace], Any], code: str) -> Callable[..., None]:
    """Return a function that trains the network that `choose` returns."""

    def measure(
        space: LanguageModelSpace, device: torch.device, batch: int, report: StepProfile
    ) -> None:
        model = build_model(space, choose(space), device=device)
        settings = _training(device, batch, code)
        train(model, words(space), settings, report=report, report_every=STEPS)

    return measure


def supernet(**settings: Any) -> Callable[..., None]:
    """Return a function that trains a supernet."""

    def measure(
        space: LanguageModelSpace, device: torch.device, batch: int, report: StepProfile
    ) -> None:
        shared = SharedWeights(space, device=device)
        shared.reset(0)
        training = _training(device, batch, "blocks")
        train_supernet(
            shared,
            words(space),
            PeriodicSettings(training=training, **settings),
            report=report,
            report_every=STEPS,
            log=lambda line: print(line, flush=True),
        )

    return measure


def _training(device: torch.device, batch: int, code: str) -> TrainingSettings:
    compile: Any = code if device.type == "cuda" else "off"
    return TrainingSettings(steps=STEPS * REPORTS, batch_size=batch, compile=compile)


_CASES: dict[str, Callable[..., None]] = {
    "supernet": supernet(),
    "largest alone, whole": alone(largest, "whole"),
    "supernet, no distillation": supernet(distillation=0.0),
    "smallest alone, whole": alone(smallest, "whole"),
}
