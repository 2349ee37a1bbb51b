"""Page on the outside confirmation, from the rows of ``confirmation.py``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from confirmation_rows import Row, chosen_pairs, read_rows
from workloads_rows import Pair

import hwnas

OURS = "hwnas"
_TITLES = {
    "cuda": "In transformers, on a GPU",
    "cpu": "In transformers, on a CPU",
    "gguf": "In llama.cpp, on a CPU",
}
_NOTES = {
    "cuda": (
        "The exported networks as `AutoModelForCausalLM` loads them, with the code beside their "
        "weights, since layers differ. `static cache`: transformers' static cache, the step a CUDA "
        "graph, no sampling, as for ours. `generate`: greedy `model.generate` with the default "
        "cache, which grows; the time of a whole request less one of a single token. `generate "
        'compiled`: with `cache_implementation="static"`, which compiles the step.'
    ),
    "cpu": "As on a GPU, without graphs.",
    "gguf": (
        "llama.cpp has no parallel blocks, so each network is replaced by its Llama twin with the "
        "same width, layers and heads and as many weights. The perplexities are those of the GPTs; "
        "the twins were not trained. llama.cpp computes with weights in float16, ours in float32. "
        "The pairs were chosen by times of an H100, not of this CPU: what llama.cpp can confirm "
        "here is our own measurement of the same twins, not the prediction."
    ),
}


def gains(
    rows: Sequence[Row], method: str, pairs: Sequence[Pair]
) -> dict[Pair, tuple[float, float]]:
    """Return the times of the first and the second network of each complete pair, in ms.

    A network of several pairs is measured once for all of them; of several rows the last counts.
    """
    times = {
        row["arch"]: float(row["tpot"])
        for row in rows
        if row["way"] == method and row["tpot"] and not row["failed"]
    }
    return {
        pair: (times[pair.first], times[pair.second])
        for pair in pairs
        if pair.first in times and pair.second in times
    }


def gain(times: tuple[float, float]) -> float:
    """Return how much slower the first network is, relative to the second.

    >>> gain((3.0, 2.0))
    0.5
    """
    return times[0] / times[1] - 1


def write_page(folder: Path, target: Path) -> None:
    """Write the page."""
    lines = [
        "# Decoding by other software",
        "",
        "Written by `benchmarks/confirmation.py report`. Ten pairs of networks, five of gpt-s and "
        "five of gpt-l, evenly spaced along the front of perplexity and the latency of a forward "
        "pass: the first is on that front, the second is the fastest at decoding (`tpot.serve`) "
        "of at most the same published perplexity. Both were chosen by models that were fitted to "
        "measurements of an H100. Weights are random. The **gain** is how much longer the first "
        "takes for a step of decoding than the second; where it is above 0, the order is the "
        "predicted one.",
    ]
    for name, title in _TITLES.items():
        rows = read_rows([folder / f"{name}.csv"])
        if rows:
            lines += ["", f"## {title}", "", *section(rows, _NOTES[name])]
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(target)


def section(rows: Sequence[Row], note: str) -> list[str]:
    """Return the lines of one device: a table of pairs, and one of agreement with ours."""
    methods = list(dict.fromkeys(row["way"] for row in rows))
    pairs = chosen_pairs()
    by_method = {method: gains(rows, method, pairs) for method in methods}
    shown_pairs = sorted({pair for pair_times in by_method.values() for pair in pair_times})
    first = rows[0]
    workloads = " or ".join(dict.fromkeys(row["workload"] for row in rows))
    lines = [
        f"{first['card']}, torch {first['torch']}, {first['library']}, {first['date']}; "
        f"{workloads}. {note}",
        "",
        "| pair | perplexities | "
        + " | ".join(f"{method}, ms | gain" for method in methods)
        + " |",
        "|---|---|" + "---|---|" * len(methods),
    ]
    for pair in shown_pairs:
        values = perplexities(pair.space, [pair.first, pair.second])
        cells = [f"{pair.space} {pair.number}", " / ".join(f"{value:.2f}" for value in values)]
        for method in methods:
            times = by_method[method].get(pair)
            cells += (
                ["-", "-"]
                if times is None
                else [f"{times[0]:.3f} / {times[1]:.3f}", f"{100 * gain(times):+.1f} %"]
            )
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "| way | pairs | in the predicted order | in the order of ours | mean gain | mean gain of "
        "ours on these | largest difference of the two |",
        "|---|---|---|---|---|---|---|",
    ]
    for method in methods:
        common = [pair for pair in by_method[method] if pair in by_method[OURS]]
        if not common:
            continue
        here = np.array([gain(by_method[method][pair]) for pair in common])
        ours = np.array([gain(by_method[OURS][pair]) for pair in common])
        lines.append(
            f"| {method} | {len(here)} | {int((here > 0).sum())} | "
            f"{int(((here > 0) == (ours > 0)).sum())} | {100 * here.mean():.1f} % | "
            f"{100 * ours.mean():.1f} % | {100 * np.abs(here - ours).max():.1f} points |"
        )
    errors = [float(row["std"]) / float(row["tpot"]) for row in rows if row["tpot"] and row["std"]]
    if errors:
        lines += [
            "",
            f"Half of the range of repeats, of ours the standard error, is {np.median(errors):.1%} "
            f"of a time in the median, at most {max(errors):.1%}.",
        ]
    if reasons := sorted({f"{row['way']}: {row['failed']}" for row in rows if row["failed"]}):
        lines += ["", "Failed: " + "; ".join(reasons)]
    return lines


def perplexities(space: str, archs: Sequence[str]) -> list[float]:
    """Return published perplexities of architectures."""
    members = hwnas.space(space)
    codes = members.encode([members.parse(arch) for arch in archs])
    values: list[float] = hwnas.surrogate(space).predict(codes, ["perplexity"])[:, 0].tolist()
    return values
