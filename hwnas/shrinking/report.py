"""Report of evaluated members: predictions against real losses, and the front."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from hwnas.files import write_text
from hwnas.shrinking.backend import TIMES, Shrink
from hwnas.shrinking.evaluations import evaluated_losses
from hwnas.shrinking.front_search import SearchedFront
from hwnas.spaces import ShrunkLlamaSpace
from hwnas.surrogates.device_file import TABLES, DeviceFigure, DeviceFile, read_device_file
from hwnas.typing import Array, Codes

_MIN_GROUP = 3  # members of a depth from which a rank correlation is computed


@dataclass(frozen=True)
class Agreement:
    """Agreement of predicted and real losses of members.

    Attributes
    ----------
    spearman
        Rank correlation within equal numbers of layers, mean over these weighted by pairs; NaN
        where none has three members.
    overall
        Rank correlation of all.
    error
        Mean absolute error in nats per token.
    n
        Number of members.
    """

    spearman: float
    overall: float
    error: float
    n: int


def agreement(space: ShrunkLlamaSpace, codes: Codes, predicted: Array, real: Array) -> Agreement:
    """Return how well predictions (n,) agree with real losses (n,) of members (n, d).

    Examples
    --------
    >>> space = ShrunkLlamaSpace("mine", embed_dim=64, n_layer=3, mlp_dim=[0, 64, 128],
    ...                          n_head=[0, 2, 4])
    >>> codes, loss = space.sample(20, np.random.default_rng(0)), np.arange(20.0)
    >>> agreement(space, codes, 2 * loss, loss).spearman
    1.0
    """
    depths, total, weight = space.depth_of(codes), 0.0, 0.0
    for depth in np.unique(depths):
        rows = depths == depth
        if (count := int(rows.sum())) >= _MIN_GROUP:
            value = _rank_correlation(predicted[rows], real[rows])
            if math.isfinite(value):
                total, weight = total + value * count * (count - 1), weight + count * (count - 1)
    overall = _rank_correlation(predicted, real)
    error = float(np.abs(predicted - real).mean()) if len(real) else math.nan
    return Agreement(total / weight if weight else math.nan, overall, error, len(real))


def _rank_correlation(a: Array, b: Array) -> float:
    """Return Spearman's correlation of values (n,); NaN where all of one are equal."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(spearmanr(a, b).statistic)


def write_results(folder: Path, backend: Shrink, search: SearchedFront, objective: str) -> None:
    """Write ``front.csv``, ``tables.npz`` and ``report.md`` of a search."""
    space = backend.members
    full_loss = _whole_loss(backend, search)
    write_text(folder / "front.csv", _front_csv(space, search, objective, full_loss))
    _write_tables(folder, backend, search)
    text = report_text(space, search, objective, full_loss)
    figure = backend.times.figures[objective]
    text += (
        f"\nTimes are predicted from {figure.points} measured networks, with an expected error of "
        f"{figure.error:.1%}; losses are real.\n"
    )
    write_text(folder / "report.md", text)


def report_text(
    space: ShrunkLlamaSpace, search: SearchedFront, objective: str, full_loss: float
) -> str:
    """Return the report in Markdown.

    Parameters
    ----------
    search
        Evaluated members.
    objective
        The time that was minimized.
    full_loss
        Loss of the whole model, in nats per token.
    """
    lines = [f"# Smaller versions of {space.name}", ""]
    lines += [
        f"{len(search.codes)} members of {space.size:,} were evaluated; the model has perplexity "
        f"{math.exp(full_loss):.4g} and {objective} {search.times[0]:.4g} ms.",
        "",
        "## Predicted and real loss",
        "",
        "| prediction | members | Spearman within equal depth | Spearman | mean error, nats |",
        "|---|---|---|---|---|",
    ]
    for name, values in (
        ("sum of the scores", search.scored),
        ("corrected, before each evaluation", search.predicted),
    ):
        ranks = agreement(space, search.codes[1:], values[1:], search.added[1:])
        numbers = f"{ranks.spearman:.3f} | {ranks.overall:.3f} | {ranks.error:.4f}"
        lines.append(f"| {name} | {ranks.n} | {numbers} |")
    lines += [
        "",
        "## Front",
        "",
        f"| {objective}, ms | share | perplexity | predicted | layers | architecture |",
        "|---|---|---|---|---|---|",
    ]
    depths = space.depth_of(search.codes)
    for i in search.front:
        arch = space.decode(search.codes[i : i + 1])[0]
        lines.append(
            f"| {search.times[i]:.4g} | {search.times[i] / search.times[0]:.0%} | "
            f"{math.exp(full_loss + search.added[i]):.4g} | "
            f"{math.exp(full_loss + search.predicted[i]):.4g} | {depths[i]} | `{arch}` |"
        )
    return "\n".join(lines) + "\n"


def _front_csv(
    space: ShrunkLlamaSpace, search: SearchedFront, objective: str, full_loss: float
) -> str:
    """Return the front as CSV; ``hwnas query`` and ``hwnas profile`` read its architectures."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["arch", "perplexity", objective, "layers"])
    depths = space.depth_of(search.codes)
    for i in search.front:
        arch = space.decode(search.codes[i : i + 1])[0]
        value = math.exp(full_loss + search.added[i])
        writer.writerow([arch, f"{value:.6g}", f"{search.times[i]:.6g}", depths[i]])
    return stream.getvalue()


def _write_tables(folder: Path, backend: Shrink, search: SearchedFront) -> None:
    """Write the tables of times, and of the corrected sum that ranks losses."""
    space, corrected = backend.members, search.corrected
    ranks = agreement(space, search.codes[1:], search.predicted[1:], search.added[1:])
    # Of a table that only ranks: its error is that of the ranks, not of values.
    figure = DeviceFigure(
        space,
        "added_loss",
        corrected.table,
        len(search.codes),
        0.0,
        ranks.spearman,
        unit="nats",
        protocol=f"the loss is {corrected.factor:.4g} * added_loss ** {corrected.power:.4g}",
    )
    times = read_device_file(folder / TIMES).figures
    DeviceFile("tables", (figure, *times), kind=TABLES).write(folder / "tables.npz")


def _whole_loss(backend: Shrink, search: SearchedFront) -> float:
    """Return the loss of the whole model on the held-out documents."""
    losses = evaluated_losses(backend.bench.folder)
    return losses[str(backend.members.decode(search.codes[:1])[0])]
