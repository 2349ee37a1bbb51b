"""Page of ``shrink.py``: what was wanted beside what was measured."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from hwnas import pareto
from hwnas.files import write_text
from hwnas.typing import Array

METHODS = ("shrink", "additive", "nsga2", "random", "homogeneous-width", "homogeneous-depth",
           "homogeneous-both")  # fmt: skip
WANTED = (
    "Spearman within equal depth of 30 random members at least 0.9; more hypervolume with 60 "
    "evaluations than nsga2 with 1,000; at least 5 % less time than homogeneous pruning at equal "
    "perplexity; healing with 5 million tokens recovers at least half of what a member at 70 % of "
    "the time has lost; memory of the scores at most 20 % above that of the model's own evaluation."
)

Row = dict[str, str]


def write(folder: Path, out: Path, max_perplexity: float) -> str:
    """Write the page of the CSV files in a folder, and return it."""
    members, healed, costs = (
        _read(folder / f"{name}.csv") for name in ("members", "healed", "costs")
    )
    problems = list(dict.fromkeys((r["study"], r["seed"], r["workload"]) for r in members))
    lines = ["# Smaller versions of a trained model", "", f"Wanted: {WANTED}", ""]
    lines += ["Times are predicted by tables of measured networks; `benchmarks/shrink.py` is the "
              "program. Perplexities above three times the model's are out of the hypervolume. The "
              "scores, which cost as many passes as they have entries, of half of the layers on "
              "average, count as no evaluations.", ""]  # fmt: skip
    lines += ["## Predicted and real loss", "", *_agreement(members, problems), ""]
    lines += ["## Hypervolume", "", *_hypervolumes(members, problems, max_perplexity), ""]
    lines += ["## Homogeneous pruning", "", *_homogeneous(members, problems, max_perplexity), ""]
    lines += ["## Healing", "", *_healing(healed), ""]
    lines += ["## Costs", "", *_costs(costs)]
    text = "\n".join(lines) + "\n"
    write_text(out, text)
    return text


def _agreement(members: list[Row], problems: list[Any]) -> Iterator[str]:
    yield "| study | seed | workload | members | prediction | Spearman within equal depth | all |"
    yield "|---|---|---|---|---|---|---|"
    names = {
        "random-30-scores": "30 random | sum of scores",
        "random-30": "30 random | corrected by the search",
        "shrink-scores": "those of the search | sum of scores",
        "shrink": "those of the search | corrected, before each evaluation",
    }
    for problem in problems:
        for method, label in names.items():
            rows = [r for r in _of(members, problem, method) if r["predicted"]]
            rows = rows[1:] if method.startswith("shrink") else rows
            if len(rows) > 2:
                depth, real, predicted = (
                    np.array([float(r[name]) for r in rows])
                    for name in ("depth", "loss", "predicted")
                )
                within = _within_depth(depth, predicted, real)
                overall = float(spearmanr(predicted, real).statistic)
                yield f"| {' | '.join(problem)} | {label} | {within:.3f} | {overall:.3f} |"


def _within_depth(depth: Array, predicted: Array, real: Array) -> float:
    """Return the mean rank correlation over depths, weighted by pairs."""
    total = weight = 0.0
    for value in np.unique(depth):
        rows = depth == value
        n = int(rows.sum())
        if n >= 3 and np.ptp(real[rows]) > 0 < np.ptp(predicted[rows]):
            total += n * (n - 1) * float(spearmanr(predicted[rows], real[rows]).statistic)
            weight += n * (n - 1)
    return total / weight if weight else math.nan


def _hypervolumes(members: list[Row], problems: list[Any], limit: float) -> Iterator[str]:
    yield "| study | seed | workload | method | evaluations | hypervolume | at 60 evaluations |"
    yield "|---|---|---|---|---|---|---|"
    for problem in problems:
        for method in METHODS:
            if rows := _of(members, problem, method):
                points, original = _points(rows), _whole(members, problem)
                values = [_hypervolume(p, original, limit) for p in (points, points[:60])]
                early = f"{values[1]:.4f}" if len(rows) > 60 else ""
                yield _line(*problem, method, len(rows), f"{values[0]:.4f}", early)


def _hypervolume(points: Array, original: Array, limit: float) -> float:
    """Return the hypervolume of perplexity ratio and share of the time, over the largest there is.

    The whole model counts for every method.
    """
    shares = np.stack([np.exp(points[:, 0]), points[:, 1] / original[1]], axis=1)
    shares = np.concatenate([shares, [[1.0, 1.0]]])
    reference = np.array([limit, 1.05])
    shares = shares[(shares < reference).all(axis=1)]
    return float(pareto.hypervolume(shares, reference)) / ((limit - 1) * 1.05)


def _homogeneous(members: list[Row], problems: list[Any], limit: float) -> Iterator[str]:
    yield ("Time of the fastest evaluated member that loses no more, over that of each homogeneous "
           "member that no other of its kind dominates; in the last column the fastest of the "
           "members of all methods, but for those of its kind.")  # fmt: skip
    yield ""
    yield _line("study", "seed", "workload", "kind", "members", "median", "worst",
                "at most 0.95", "median of all")  # fmt: skip
    yield "|---|---|---|---|---|---|---|---|---|"
    for problem in problems:
        ours = _points(_of(members, problem, "shrink"))
        for kind in ("width", "depth", "both"):
            method = f"homogeneous-{kind}"
            theirs = _points(_of(members, problem, method))
            if not len(theirs) or not len(ours):
                continue
            theirs = theirs[pareto.non_dominated(theirs)]
            theirs = theirs[theirs[:, 0] <= math.log(limit)]
            ratios = _time_ratios(ours, theirs)
            if len(ratios):
                share = np.mean(ratios <= 0.95)
                numbers = f"{np.median(ratios):.3f}", f"{ratios.max():.3f}", f"{share:.0%}"
                everyone = _points(_others(members, problem, method))
                bound = f"{np.median(_time_ratios(everyone, theirs)):.3f}"
                yield _line(*problem, kind, len(ratios), *numbers, bound)


def _time_ratios(ours: Array, theirs: Array) -> Array:
    """Return the time of our fastest that loses no more, over that of each of theirs."""
    return np.array(
        [ours[ours[:, 0] <= loss, 1].min() / time for loss, time in theirs
         if (ours[:, 0] <= loss).any()]
    )  # fmt: skip


def _others(members: list[Row], problem: Any, method: str) -> list[Row]:
    """Return the rows of a problem that are of other members than those of a method."""
    own = {row["arch"] for row in _of(members, problem, method)}
    return [row for row in _of(members, problem) if row["arch"] not in own]


def _healing(rows: list[Row]) -> Iterator[str]:
    names = ("study", "seed", "workload")
    yield _line(*names, "tokens", "time", "model", "before", "after", "recovered", "seconds")
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for r in rows:
        values = [float(r[name]) for name in ("whole", "before", "after")]
        original, pruned, healed = values
        recovered = (pruned - healed) / (pruned - original) if pruned > original else math.nan
        cells = [f"{int(r['tokens']):,}", f"{float(r['share']):.0%}"]
        cells += [f"{value:.2f}" for value in values]
        yield _line(*(r[n] for n in names), *cells, f"{recovered:.0%}", r["seconds"])


def _costs(rows: list[Row]) -> Iterator[str]:
    names = ("study", "seed", "workload", "piece", "evaluations", "seconds")
    yield _line(*names, "peak MB", "evaluation alone, MB", "error of times", "device")
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for r in rows:
        memory = [f"{float(r[name]):.0f}" if r[name] else "" for name in ("memory", "own_memory")]
        error = f"{float(r['error']):.1%}" if r["error"] else ""
        yield _line(*(r[name] for name in names), *memory, error, r["device"])


def _line(*cells: object) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def _of(members: list[Row], problem: Any, method: str | None = None) -> list[Row]:
    """Return the rows of a problem, of one method or of all."""
    names = ("study", "seed", "workload")
    rows = [row for row in members if tuple(row[name] for name in names) == problem]
    return [row for row in rows if method in (None, row["method"])]


def _points(rows: list[Row]) -> Array:
    """Return added loss and time of rows, (n, 2)."""
    return np.array([[float(r["loss"]), float(r["time"])] for r in rows]).reshape(-1, 2)


def _whole(members: list[Row], problem: Any) -> Array:
    """Return added loss and time of the whole model, which the search evaluates first."""
    point: Array = _points(_of(members, problem, "shrink"))[0]
    return point


def _read(file: Path) -> list[Row]:
    if not file.exists():
        return []
    with open(file, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))
