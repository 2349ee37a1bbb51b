"""The critical-difference diagram: mean ranks on a line, and who cannot be told apart."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from hwnas.errors import InvalidInput
from hwnas.reports.comparison.comparison import Comparison, counted
from hwnas.reports.plots import style

SUFFIXES = (".png", ".pdf", ".svg")

_ROW = 0.24  # inches of a name's row
_BAR = 0.13  # of a bar's
_LINE = 4.6  # of the line of ranks
_LETTER = 0.073  # of a name's letter, on average

_METRICS = {
    "normalised": "normalised hypervolume",
    "hypervolume": "hypervolume",
    "igd_plus": "IGD+",
    "epsilon": "additive epsilon",
    "r2": "R2",
}


def critical_differences(
    axes: Axes, names: Sequence[str], ranks: ArrayLike, cliques: Sequence[tuple[int, ...]]
) -> None:
    """Mean ranks on a line, the best to the left, and a bar over each clique.

    Each name has a row of its own, half of them to the left and half to the right, so that none
    covers another. They lie outside the axes, which a constrained layout makes room for.

    Parameters
    ----------
    axes
        Where to draw; `height` says how high it should be.
    names
        Of k optimizers.
    ranks : (k,)
        Their mean ranks, from 1 to k.
    cliques
        Indices of those that do not differ, see `hwnas.statistics.cliques`.

    References
    ----------
    Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7, 2006.
    """
    mean = np.asarray(ranks, dtype=np.float64)
    k, last = len(mean), max(2, len(mean))
    spans, levels = _bars(mean, cliques)
    below = _BAR * (1 + len(set(levels)))
    across = axes.get_yaxis_transform()  # x in fractions of the axes, y in data
    for i, member in enumerate(np.argsort(mean, kind="stable").tolist()):
        left = i < (k + 1) // 2
        down = below + _ROW * ((i if left else k - 1 - i) + 0.6)
        at, end = (mean[member] - 1) / (last - 1), 0.0 if left else 1.0
        axes.plot(
            [at, at, end],
            [0, down, down],
            color=style.GREY,
            linewidth=1.1,
            transform=across,
            clip_on=False,
        )
        rank, name = f"{mean[member]:.2f}", names[member]
        axes.annotate(
            f"{name}  {rank}" if left else f"{rank}  {name}",
            (end, down),
            xycoords=across,
            xytext=(-4 if left else 4, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            fontsize=9,
            annotation_clip=False,
        )
    for span, level in zip(spans, levels, strict=True):
        (bar,) = axes.plot(span, [_BAR * (level + 1)] * 2, color="black", linewidth=3.5, zorder=3)
        bar.set(solid_capstyle="butt", clip_on=False)
    axes.set_xlim(1, last)
    axes.set_ylim(height(mean, cliques), 0)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=16))
    axes.xaxis.tick_top()
    axes.spines[["left", "right", "bottom"]].set_visible(False)


def height(ranks: ArrayLike, cliques: Sequence[tuple[int, ...]]) -> float:
    """Inches that the rows of names and bars of a diagram take."""
    mean = np.asarray(ranks, dtype=np.float64)
    bars = len(set(_bars(mean, cliques)[1]))
    return _BAR * (bars + 1) + _ROW * ((len(mean) + 1) // 2 + 0.2)


def rankings_figure(comparison: Comparison) -> Figure:
    """The diagram of a comparison; its title says what is ranked and tested.

    Raises
    ------
    InvalidInput
        Fewer than two optimizers are ranked.
    """
    names, ranks, cliques = comparison.optimizers, comparison.ranks, comparison.cliques
    if len(names) < 2:
        raise InvalidInput(
            f"a diagram of ranks: expected two optimizers on all problems, found {len(names)}"
        )
    left, right = names[: (len(names) + 1) // 2], names[(len(names) + 1) // 2 :]
    width = _LINE + sum(max(map(len, side)) * _LETTER + 0.6 for side in (left, right))
    title = "\n".join(
        textwrap.fill(line, int(width / (1.1 * _LETTER))) for line in _title(comparison)
    )
    top = 0.55 + 0.18 * (1 + title.count("\n"))
    made = Figure(figsize=(width, top + height(ranks, cliques)), dpi=150, layout="constrained")
    made.suptitle(title, fontsize=10)
    critical_differences(made.subplots(), names, ranks, cliques)
    return made


def draw(comparison: Comparison, file: Path) -> Path:
    """Draw the diagram of a comparison into a file.

    Raises
    ------
    InvalidInput
        The file's name ends otherwise than in one of `SUFFIXES`, its folder is missing, it cannot
        be written, or fewer than two optimizers are ranked.
    """
    if file.suffix.lower() not in SUFFIXES:
        raise InvalidInput(f"{file}: expected a name that ends in {', '.join(SUFFIXES)}")
    if not file.parent.is_dir():
        raise InvalidInput(f"{file}: there is no folder {file.parent}")
    return style.save(rankings_figure(comparison), file)


def _title(comparison: Comparison) -> list[str]:
    """What is ranked, and what a bar says."""
    after = "" if comparison.at is None else f" after {comparison.at:,} evaluations"
    tests = {(pair.over, pair.n) for pair in comparison.pairs}
    tested = " or ".join(counted(n, over) for over, n in sorted(tests))
    over = f" over {tested}" if tests - {(comparison.over, comparison.blocks)} else ""
    return [
        f"Mean rank by {_METRICS[comparison.metric]}{after} over {comparison.ranked_over}",
        f"Joined: not told apart at {100 * comparison.level:g} % by Wilcoxon's signed-rank tests"
        f"{over} with Holm's correction",
    ]


def _bars(
    mean: NDArray[np.float64], cliques: Sequence[tuple[int, ...]]
) -> tuple[list[tuple[float, float]], list[int]]:
    """From where to where each clique's bar goes, and in which row it is clear of the others."""
    over = 0.012 * (max(2, len(mean)) - 1)  # beyond the members, so that one of equals is seen
    spans = [(float(mean[list(of)].min()), float(mean[list(of)].max())) for of in cliques]
    spans = [(low - over, high + over) for low, high in spans]
    levels: list[int] = []
    ends: list[float] = []
    for low, high in spans:
        row = next((i for i, end in enumerate(ends) if low > end + over), len(ends))
        ends[row : row + 1] = [high]
        levels.append(row)
    return spans, levels
