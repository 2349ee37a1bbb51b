"""Weights of one byte: latency, memory and perplexity of trained networks; writes precision.md.

    python benchmarks/precision.py measure --text FOLDER --vocabulary gpt2.tiktoken --seconds 400
    python benchmarks/precision.py report

``measure`` trains random networks of a space, one after the other, and measures each with weights
in bfloat16, int8 and fp8; it appends rows to ``precision.csv`` and skips networks that are there.
``report`` writes the page with the front on which precision and architecture are chosen together.
``--device cpu --small`` tries the script without a GPU.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

import hwnas
from hwnas.profiling import TrainingSettings, perplexity, train
from hwnas.profiling.data.corpus import Corpus, load_corpus
from hwnas.profiling.device_profiler import DeviceProfiler
from hwnas.profiling.language_model import LanguageModel
from hwnas.profiling.meters.forward_pass import environment
from hwnas.spaces import LanguageModelSpace
from hwnas.workloads import BUILT_IN, Workload, weight_memory

HERE = Path(__file__).parent
PRECISIONS = ("bfloat16", "int8", "fp8")
TIMES = ("ttft.chat", "tpot.chat", "ttft.serve", "tpot.serve")
COLUMNS = (
    "arch", "precision", "perplexity", *TIMES, "weight_memory", "steps", "card", "torch", "date",
)  # fmt: skip
TINY = {
    "name": "tiny", "embed_dim": [32, 64], "n_layer": [1, 2], "mlp_ratio": [1, 2], "n_head": [2, 4],
    "head_size": 16, "context": 64, "vocab_size": 257,
}  # fmt: skip


def main() -> None:
    """Measure or report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=("measure", "report"))
    parser.add_argument("--space", default="gpt-s")
    parser.add_argument("--text", default="pydoc")
    parser.add_argument("--vocabulary", help="a file gpt2.tiktoken; without it tokens are bytes")
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=500.0, help="nothing is begun after them")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny networks, to try the script")
    parser.add_argument("--out", type=Path, default=HERE / "precision.csv")
    options = parser.parse_args()
    if options.task == "report":
        (HERE / "precision.md").write_text(page(read(options.out)), encoding="utf-8")
    else:
        measure(options)


def measure(options: argparse.Namespace) -> None:
    """Train and measure networks until the time is over."""
    end = time.monotonic() + options.seconds
    space = hwnas.space(TINY if options.small else options.space)
    assert isinstance(space, LanguageModelSpace)
    corpus = load_corpus(
        space,
        options.text,
        tokenizer_name="gpt2" if options.vocabulary else "bytes",
        vocabulary=options.vocabulary,
    )
    workloads = {name: BUILT_IN[name] for name in ("chat", "serve")}
    if options.small:
        workloads = {"chat": Workload(20, 10, 1), "serve": Workload(30, 6, 4)}
    profiler = DeviceProfiler(device=options.device)
    finished = {row["arch"] for row in read(options.out)}
    longest = 0.0
    # Distinct seeds of the sample would give other networks: the sample is the same in each piece.
    archs = space.decode(space.sample(options.count, np.random.default_rng(0)))
    for i, arch in enumerate(archs):
        if str(arch) in finished or time.monotonic() + longest > end:
            continue
        start = time.monotonic()
        model = profiler.build_model(space, arch, seed=i)
        settings = TrainingSettings(
            steps=options.steps, batch_size=2 if options.small else 8, learning_rate=6e-4, seed=i
        )
        progress = train(model, corpus.train, settings)
        rows = measured_rows(space, profiler, model, corpus, workloads)
        append(options.out, [{**row, "steps": options.steps} for row in rows])
        profiler.release()
        longest = max(longest, time.monotonic() - start)
        print(
            f"{i + 1} of {len(archs)}: {arch}, {progress.step} steps, {longest:.0f} s", flush=True
        )
        print("   ", [f"{row['precision']} {row['perplexity']}" for row in rows], flush=True)


def measured_rows(
    space: LanguageModelSpace,
    profiler: DeviceProfiler,
    model: LanguageModel,
    corpus: Corpus,
    workloads: dict[str, Workload],
) -> list[dict[str, object]]:
    """Measure a trained network in each precision."""
    machine = environment(model.device)
    rows: list[dict[str, object]] = []
    for precision in PRECISIONS:
        weights = profiler.inference_model(model, precision)
        held_out = perplexity(weights, corpus.held_out, batch_size=8, precision="float32")
        row: dict[str, object] = {"arch": str(model.arch), "precision": precision}
        row["perplexity"] = f"{held_out.value:.6g}"
        for name in TIMES:
            metric, _, workload = name.partition(".")
            requests = workloads[workload]
            used = Workload(requests.prompt, requests.generate, requests.batch, precision)
            row[name] = f"{profiler.measure(model, metric, used).value:.6g}"  # type: ignore[arg-type]
        codes = space.encode([model.arch])
        row["weight_memory"] = f"{weight_memory(space, codes, used)[0]:.6g}"
        row["card"], row["torch"] = machine.device_name, torch.__version__
        row["date"] = datetime.now(UTC).date().isoformat()
        rows.append(row)
    return rows


def append(file: Path, rows: Sequence[dict[str, object]]) -> None:
    """Append rows to a CSV file, which gets a header if it is new."""
    is_new = not file.exists()
    with file.open("a", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


def read(file: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file; none if it does not exist."""
    if not file.exists():
        return []
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def page(rows: Sequence[dict[str, str]]) -> str:
    """Return the page: ratios to bfloat16, and the fronts over precisions and architectures."""
    from hwnas.pareto import non_dominated  # needs moocore, which a machine that measures may lack

    by_precision = {p: {r["arch"]: r for r in rows if r["precision"] == p} for p in PRECISIONS}
    archs = [
        arch
        for arch in by_precision["bfloat16"]
        if all(arch in by_precision[p] for p in PRECISIONS)
    ]
    columns = ("perplexity", *TIMES, "weight_memory")
    lines = [
        "# Weights of one byte",
        "",
        f"{len(archs)} random networks, trained for {rows[0]['steps']} steps, on {rows[0]['card']} "
        f"with torch {rows[0]['torch']}, {rows[0]['date']}. Made by `benchmarks/precision.py`.",
        "",
        "Ratio to the same network with weights in bfloat16: median, and the smallest and largest.",
        "",
        f"| | {' | '.join(columns)} |",
        f"|---|{'---|' * len(columns)}",
    ]
    for precision in PRECISIONS[1:]:
        cells = []
        for column in columns:
            ratios = np.array(
                [
                    float(by_precision[precision][a][column])
                    / float(by_precision["bfloat16"][a][column])
                    for a in archs
                ]
            )
            cells.append(f"{np.median(ratios):.4f} ({ratios.min():.4f} to {ratios.max():.4f})")
        lines.append(f"| {precision} | {' | '.join(cells)} |")
    for metric, unit in (("tpot.chat", "ms"), ("tpot.serve", "ms"), ("weight_memory", "MB")):
        lines += ["", f"## Front of perplexity and `{metric}`", ""]
        lines += [
            f"| perplexity | {metric}, {unit} | precision | architecture |",
            "|---|---|---|---|",
        ]
        complete = [r for r in rows if r["arch"] in archs]
        values = np.array([[float(r["perplexity"]), float(r[metric])] for r in complete])
        for i in sorted(np.flatnonzero(non_dominated(values)), key=lambda i: values[i, 1]):
            row = complete[i]
            cells = f"{values[i, 0]:.2f} | {values[i, 1]:.4g} | {row['precision']}"
            lines.append(f"| {cells} | `{row['arch']}` |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
