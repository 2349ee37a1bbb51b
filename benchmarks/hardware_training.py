"""Training speed beside a plain GPT; measuring and training the largest architecture.

A variant is ``plain``, the plain GPT; ``compile`` or ``eager``, `hwnas.profiling.train`; or
``tuned``: torch.compile chooses among kernels of its own as well (max-autotune).
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hardware_common import Work, homogeneous, peak_of, percent, save, table
from hardware_meters import meter_of
from plain_gpt import PlainGPT, Size
from plain_gpt import train as train_plain

from hwnas.profiling import (
    GPT,
    EnergyMeter,
    OutOfMemory,
    Progress,
    Tokens,
    TrainingSettings,
    build_gpt,
    latency,
    peak_memory,
    train,
)

VARIANTS = ("compile", "plain", "eager")
EVERY = 10  # steps between two looks at the loss; the first ten are not timed
GB = 1e9

Look = Callable[[int, float], None]


def words(n: int, vocab_size: int) -> Tokens:
    """Random tokens, some of which are frequent and most rare, as in text (Zipf's law)."""
    shares = 1 / np.arange(1, vocab_size + 1)
    rng = np.random.default_rng(0)
    ids = rng.choice(vocab_size, size=n, p=shares / shares.sum()).astype(np.uint16)
    return Tokens(ids, 4 * n, vocab_size, vocab_size - 1)


# -- training --------------------------------------------------------------------------------------


def training(
    work: Work,
    out: Path,
    *,
    batch_sizes: Sequence[int],
    variants: Sequence[str],
    rounds: int,
    steps: int,
    seconds: float,
    kernels: bool,
) -> None:
    """Train variants in turn, again and again; writes training-BATCH.json for each batch size.

    Parameters
    ----------
    steps
        Timed ones.
    seconds
        No further variant is begun after so many.
    kernels
        Look also at which kernels take the time, in a run of its own.
    """
    begin = time.perf_counter()
    for batch_size in batch_sizes:
        runs: list[dict[str, Any]] = []
        results: dict[str, Any] = {"batch_size": batch_size, "steps": steps, "runs": runs}
        for variant in [*variants] * rounds:
            if time.perf_counter() - begin > seconds:
                print(f"{seconds:g} s are over: {variant} at batch size {batch_size} is left out")
                continue
            runs.append(trained(work, variant, batch_size, steps))
            print(runs[-1], flush=True)
            save(out, f"training-{batch_size}", work, results)
        for variant in variants if kernels else ():
            if time.perf_counter() - begin <= seconds:
                kernel_rows = results.setdefault("kernels", {})[variant] = kernels_of(
                    work, variant, batch_size
                )
                save(out, f"training-{batch_size}", work, results)
                print(table(("kernel", "share", "ms a step", "calls a step"), kernel_rows))
        header, rows = training_table(results)
        print(table(header, rows), end="\n\n", flush=True)


def trained(
    work: Work, variant: str, batch_size: int, steps: int, look: Look | None = None
) -> dict[str, Any]:
    """Train a variant for a while: tokens a second, utilisation, seconds for the whole, memory."""
    row: dict[str, Any] = {"variant": variant}
    cuda = torch.device(work.device).type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    begin = time.perf_counter()
    function = _train_plain if variant == "plain" else _train_ours
    try:
        rate, flops = function(work, variant, batch_size, EVERY + steps, look)
    except (OutOfMemory, torch.OutOfMemoryError):
        return row | {"failed": "not enough memory"}
    finally:
        gc.collect()
        torch.compiler.reset()
        if cuda:
            torch.cuda.empty_cache()
    peak = peak_of(work.device)
    row |= {"tokens_per_second": rate, "seconds": time.perf_counter() - begin}
    row |= {"utilisation": rate * flops / peak if peak else None}
    return row | {"peak_gb": torch.cuda.max_memory_allocated() / GB if cuda else None}


def _train_ours(
    work: Work, variant: str, batch_size: int, steps: int, look: Look | None
) -> tuple[float, int]:
    model = build_gpt(work.space, homogeneous(work.space, 1), device=work.device)
    if variant == "tuned":
        loss = torch.compile(model.loss, dynamic=False, mode="max-autotune-no-cudagraphs")
        model.loss = loss  # type: ignore[method-assign]
    settings = TrainingSettings(steps=steps, batch_size=batch_size, compile=variant == "compile")
    end = train(
        model,
        words(1_000_000, model.vocab_size),
        settings,
        report=None if look is None else lambda progress: look(progress.step, progress.loss),
        report_every=EVERY,
    )
    assert end.tokens_per_second is not None
    return end.tokens_per_second, model.training_flops_per_token()


def _train_plain(
    work: Work, variant: str, batch_size: int, steps: int, look: Look | None
) -> tuple[float, int]:
    arch, space = homogeneous(work.space, 1), work.space
    size = Size(
        vocab_size=-(-space.vocab_size // 64) * 64,
        context=space.context,
        n_layer=arch.n_layer,
        n_head=arch.n_head[0],
        width=arch.embed_dim,
    )
    torch.set_float32_matmul_precision("high")
    model = PlainGPT(size).to(work.device)
    ids = words(1_000_000, space.vocab_size).ids
    rate = train_plain(model, ids, steps=steps, batch_size=batch_size, every=EVERY, report=look)
    return rate, size.training_flops_per_token()


def kernels_of(work: Work, variant: str, batch_size: int, max_kernels: int = 14) -> list[list[Any]]:
    """The kernels that take most time in a step: name, share, ms and calls a step."""
    on_cuda = torch.device(work.device).type == "cuda"
    activity = torch.profiler.ProfilerActivity
    profiler = torch.profiler.profile(activities=[activity.CUDA if on_cuda else activity.CPU])

    def look(step: int, loss: float) -> None:
        if step == EVERY:
            profiler.start()
        elif step == 2 * EVERY:
            profiler.stop()

    if "failed" in trained(work, variant, batch_size, EVERY, look):
        return []
    name = "self_device_time_total" if on_cuda else "self_cpu_time_total"
    spent = {e.key: (getattr(e, name), e.count) for e in profiler.key_averages()}
    total = sum(us for us, _ in spent.values()) or 1.0
    dearest = sorted(spent.items(), key=lambda item: -item[1][0])[:max_kernels]
    dearest.insert(0, ("all", (total, sum(count for us, count in spent.values() if us))))
    return [
        [key[:60].replace("|", "/"), us / total, us / 1e3 / EVERY, count / EVERY]
        for key, (us, count) in dearest
    ]


def training_table(results: dict[str, Any]) -> tuple[list[str], list[list[object]]]:
    """Header and rows, the runs in the order in which they were."""
    header = [
        "batch",
        "variant",
        "tokens/s",
        "of plain",
        "utilisation",
        "peak GB",
        "seconds in all",
    ]
    plain = rates(results, "plain")
    rows: list[list[object]] = []
    for run in results["runs"]:
        start: list[object] = [results["batch_size"], run["variant"]]
        if "failed" in run:
            rows.append([*start, run["failed"], None, None, None, None])
            continue
        ratio = run["tokens_per_second"] / float(np.median(plain)) if plain else None
        shares = [percent(ratio, 1), percent(run["utilisation"], 1)]
        numbers = [run["tokens_per_second"], *shares, run["peak_gb"], run["seconds"]]
        rows.append([*start, *numbers])
    return header, rows


def rates(results: dict[str, Any], variant: str) -> list[float]:
    """Tokens a second of all runs of a variant."""
    runs = [run for run in results["runs"] if run["variant"] == variant]
    return [run["tokens_per_second"] for run in runs if "failed" not in run]


# -- largest ---------------------------------------------------------------------------------------


def largest(work: Work, out: Path, *, accumulate: int, compiled: bool) -> None:
    """Measure and train the largest network of gpt-xl; writes largest.json."""
    arch = homogeneous(work.largest, 1)
    model = _large(work)
    results: dict[str, Any] = {"arch": str(arch), "params": model.params, "passes": []}
    for weights in ("float32", "bfloat16"):
        if weights == "bfloat16":
            model.bfloat16()
        results["passes"].append({"weights": weights} | _measured(work, model))
        print(results["passes"][-1], flush=True)
        save(out, "largest", work, results)
    del model
    gc.collect()
    results["training"] = _ten_steps(work, accumulate, compiled)
    save(out, "largest", work, results)
    for header, rows in largest_tables(results):
        print(table(header, rows), end="\n\n")


def _large(work: Work) -> GPT:
    space = work.largest
    numbers = {name: getattr(space, name) for name in ("head_size", "context", "vocab_size")}
    return GPT(homogeneous(space, 1), device=work.device, **numbers)


def _measured(work: Work, model: GPT) -> dict[str, Any]:
    time_of = latency(model)
    row = {"latency_ms": time_of.median, "precise": time_of.precise, "repeats": time_of.repeats}
    row |= {"peak_mb": peak_memory(model).value}
    meter = meter_of(work.device)
    if isinstance(meter, EnergyMeter):
        energy = meter.measure(model)
        row |= {"joules": energy.joules, "error": energy.error, "watts": energy.power}
    return row


def _ten_steps(work: Work, accumulate: int, compiled: bool) -> dict[str, Any]:
    """Ten steps, the batch in more and more parts until memory is enough."""
    failed = []
    while accumulate <= work.batch_size:
        reports: list[Progress] = []
        model = _large(work)
        settings = TrainingSettings(
            steps=10,
            batch_size=work.batch_size,
            accumulate=accumulate,
            learning_rate=2e-4,
            compile=compiled,
        )
        cuda = model.cos.device.type == "cuda"
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        data = words(1_000_000, model.vocab_size)
        peak = peak_of(work.device)
        try:
            end = train(
                model, data, settings, peak_flops=peak, report=reports.append, report_every=1
            )
        except OutOfMemory:
            failed.append(accumulate)
            accumulate *= 2
            continue
        return {
            "batch_size": work.batch_size,
            "accumulate": accumulate,
            "not_enough_memory_at": failed,
            "compile": compiled,
            "steps": end.step,
            "first_loss": reports[0].loss,
            "last_loss": reports[-1].loss,
            "tokens_per_second": end.tokens_per_second,
            "utilisation": end.utilisation,
            "peak_gb": torch.cuda.max_memory_allocated() / GB if cuda else None,
        }
    return {"not_enough_memory_at": failed}


def largest_tables(
    results: dict[str, Any],
) -> Iterator[tuple[list[str], list[list[object]]]]:
    """Header and rows of the forward passes, and of the training."""
    header = ["weights", "latency, ms", "energy, J", "its error", "power, W", "peak memory, MB"]
    rows: list[list[object]] = [
        [
            result["weights"],
            result["latency_ms"],
            result.get("joules"),
            percent(result.get("error")),
            result.get("watts"),
            result["peak_mb"],
        ]
        for result in results["passes"]
    ]
    yield header, rows
    if "steps" in (run := results.get("training", {})):
        header = ["steps", "batch", "in parts", "first loss", "last loss", "tokens/s"]
        keys = ["steps", "batch_size", "accumulate", "first_loss", "last_loss", "tokens_per_second"]
        end = [percent(run["utilisation"], 1), run["peak_gb"]]
        yield [*header, "utilisation", "peak GB"], [[*(run[key] for key in keys), *end]]
