"""Cost of supernets on one device: steps beside those of the largest network, and evaluations.

The time of a step is weighted by its arithmetic: operations per second of the largest network's own
training over those of the supernet's. 1 would mean that all networks of a step are trained as
efficiently as the largest one alone; at most 1.25 is wanted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hwnas.profiling import Tokens, TrainingSettings, build_model, train
from hwnas.profiling.errors import OutOfMemory
from hwnas.profiling.peak_flops import peak_flops
from hwnas.profiling.supernet.config import SupernetSettings
from hwnas.profiling.supernet.evaluation import inherited_perplexities, sample_architectures
from hwnas.profiling.supernet.extremes import largest
from hwnas.profiling.supernet.parallel import process_group
from hwnas.profiling.supernet.shared_weights import SharedWeights
from hwnas.profiling.supernet.train_loop import SupernetProgress, train_supernet
from hwnas.profiling.survey.csv_log import CsvLog
from hwnas.spaces import LanguageModelSpace, load_space, require_language_model

COLUMNS = ("space", "what", "batch", "steps", "tflops", "utilization", "per_minute", "memory_gb")
COLUMNS += ("device", "torch")
EVALUATED = 200_000  # held-out tokens
STEPS = 60
BATCH = 16  # sequences, unless said
N_EVALUATED = 40  # architectures
# Operations per second are read off as the share of a peak of one.
ONE = 1.0


def run(
    name: str,
    device: str,
    out: Path,
    remaining_seconds: Callable[[], float],
    batch_size: int | None,
) -> None:
    """Measure whatever the file does not have yet, until the time is over."""
    space = require_language_model(load_space(name))
    log = CsvLog(out / "cost.csv", COLUMNS)
    batch = batch_size or BATCH
    with process_group(device) as group:
        card = device_name(group.device)
        for piece in missing_pieces(log, _PIECES, space=name, batch=batch, device=card):
            measure = _PIECES[piece]
            if remaining_seconds() < 60:
                break
            _reset(group.device)
            start = time.monotonic()
            try:
                values = measure(space, group.device, batch)
            except OutOfMemory as error:
                print(f"{piece}: {error}", flush=True)
                continue
            peak = peak_flops(card, "bfloat16")
            rate = values.get("rate")
            row = {
                "space": name,
                "what": piece,
                "batch": batch,
                "steps": STEPS,
                "tflops": "" if rate is None else f"{rate / 1e12:.4g}",
                "utilization": "" if rate is None or peak is None else f"{rate / peak:.4f}",
                "per_minute": "" if rate is not None else f"{values['per_minute']:.1f}",
                "memory_gb": _memory(group.device),
                "device": card,
                "torch": torch.__version__,
            }
            print(log.append(row), f"{time.monotonic() - start:.0f} s", flush=True)


def missing_pieces(
    log: CsvLog, pieces: Iterable[str], *, space: str, batch: int, device: str
) -> list[str]:
    """Return the pieces, of the column ``what``, that a file has no row of."""
    here = (space, str(batch), device)
    finished = {r["what"] for r in log.rows if (r["space"], r["batch"], r["device"]) == here}
    return [piece for piece in pieces if piece not in finished]


def whole(space: LanguageModelSpace, device: torch.device, batch: int) -> dict[str, float]:
    """Return operations per second of the largest network's own training, compiled as a whole."""
    model = build_model(space, largest(space), device=device)
    settings = TrainingSettings(steps=STEPS, batch_size=batch, compile=_compile(device, "whole"))
    progress = train(model, words(space), settings, peak_flops=ONE)
    return {"rate": progress.utilisation or float("nan")}


def blocks(space: LanguageModelSpace, device: torch.device, batch: int) -> dict[str, float]:
    """Return those of the same network in the code of supernets."""
    # Almost all steps are those in which the largest network is trained alone.
    return _supernet(space, device, batch, order=1 - 0.5 / STEPS)


def sandwich(space: LanguageModelSpace, device: torch.device, batch: int) -> dict[str, float]:
    """Return those of a supernet: the largest, the smallest and two random networks."""
    return _supernet(space, device, batch)


def evaluation(space: LanguageModelSpace, device: torch.device, batch: int) -> dict[str, float]:
    """Return the number of architectures evaluated in a minute."""
    shared = SharedWeights(space, device=device)
    shared.reset(0)
    archs = sample_architectures(space, N_EVALUATED + 1, seed=0)
    held_out = words(space, EVALUATED)
    # The first one selects kernels.
    list(inherited_perplexities(shared, archs[:1], held_out))
    start = time.perf_counter()
    list(inherited_perplexities(shared, archs[1:], held_out))
    return {"per_minute": 60 * (len(archs) - 1) / (time.perf_counter() - start)}


_PIECES: dict[str, Callable[[LanguageModelSpace, torch.device, int], dict[str, float]]] = {
    "largest alone, whole": whole,
    "supernet": sandwich,
    "evaluation": evaluation,
    "largest alone, blocks": blocks,
}


def words(space: LanguageModelSpace, n: int = 2_000_000) -> Tokens:
    """Return random tokens, some frequent and most rare, as in text (Zipf's law)."""
    shares = 1 / np.arange(1, space.vocab_size)
    ids = np.random.default_rng(0).choice(len(shares), size=n, p=shares / shares.sum())
    return Tokens(ids.astype(np.uint16), 4 * n, space.vocab_size, space.vocab_size - 1)


def device_name(device: torch.device) -> str:
    """Return the name of a device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _supernet(
    space: LanguageModelSpace, device: torch.device, batch: int, *, order: float = 0.0
) -> dict[str, float]:
    shared = SharedWeights(space, device=device)
    shared.reset(0)
    training = TrainingSettings(steps=STEPS, batch_size=batch, compile=_compile(device, "blocks"))
    reports: list[SupernetProgress] = []

    settings = SupernetSettings(training=training, order=order)
    train_supernet(
        shared, words(space), settings, peak_flops=ONE, report=reports.append, log=_print
    )
    # The first reports include the loading of compiled code.
    seconds = np.diff([progress.seconds for progress in reports])[1:]
    rates = [progress.utilisation or float("nan") for progress in reports[2:]]
    return {"rate": float(np.average(rates, weights=seconds))}


def _compile(device: torch.device, kind: str) -> Any:
    return kind if device.type == "cuda" else "off"


def _reset(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _memory(device: torch.device) -> str:
    if device.type != "cuda":
        return ""
    return f"{torch.cuda.max_memory_allocated(device) / 1e9:.1f}"


def _print(line: str) -> None:
    print(line, flush=True)
