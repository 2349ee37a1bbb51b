"""Critical-difference diagram: mean ranks on a line, with bars over equivalent optimizers."""

from __future__ import annotations

# First, because it imports Matplotlib for any value of MPLBACKEND.
from hwnas.reports.plots import style

# isort: split
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from hwnas import statistics
from hwnas.errors import InvalidInput
from hwnas.files import check_output
from hwnas.reports.comparison.comparison import Comparison
from hwnas.reports.comparison.notes import format_count
from hwnas.typing import Array

SUFFIXES = (".png", ".pdf", ".svg")

# Sizes in inches.
_ROW_HEIGHT = 0.24  # of a name
_BAR_HEIGHT = 0.13
_AXIS_WIDTH = 4.6
_LETTER_WIDTH = 0.073  # mean over the letters of names

_METRIC_LABELS = {
    "normalised": "normalized hypervolume",
    "hypervolume": "hypervolume",
    "igd_plus": "IGD+",
    "epsilon": "additive epsilon",
    "r2": "R2",
}


def plot_critical_difference(
    axes: Axes, names: Sequence[str], ranks: ArrayLike, cliques: Sequence[tuple[int, ...]]
) -> None:
    """Plot mean ranks on a line, the best to the left, and a bar over each clique.

    Each name has its own row, half of them to the left and half to the right, so that none
    overlaps another. Names lie outside the axes, so the figure needs a constrained layout.

    Parameters
    ----------
    axes
        Axes to draw in, as high as `diagram_height`.
    names
        Names of k optimizers.
    ranks : (k,)
        Mean ranks, from 1 to k.
    cliques
        Indices of optimizers that do not differ, see `hwnas.reports.comparison.cliques.cliques`.

    References
    ----------
    Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7, 2006.
    """
    mean = np.asarray(ranks, dtype=np.float64)
    max_rank = max(2, len(mean))
    # Bars are directly below the line of ranks, names below the bars.
    spans, rows = _bars(mean, cliques)
    _plot_names(axes, names, mean, _BAR_HEIGHT * (1 + len(set(rows))))
    for span, row in zip(spans, rows, strict=True):
        y = _BAR_HEIGHT * (row + 1)
        (bar,) = axes.plot(span, [y, y], color="black", linewidth=3.5, zorder=3)
        bar.set(solid_capstyle="butt", clip_on=False)
    # One unit of y is one inch, from the line of ranks at the top downwards.
    axes.set_xlim(1, max_rank)
    axes.set_ylim(diagram_height(mean, cliques), 0)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=16))
    axes.xaxis.tick_top()
    axes.spines[["left", "right", "bottom"]].set_visible(False)


def diagram_height(ranks: ArrayLike, cliques: Sequence[tuple[int, ...]]) -> float:
    """Return the height in inches of the rows of names and bars of a diagram."""
    mean = np.asarray(ranks, dtype=np.float64)
    # One row of bars for each level, and as many rows of names as the longer side has.
    n_rows = len(set(_bars(mean, cliques)[1]))
    return _BAR_HEIGHT * (n_rows + 1) + _ROW_HEIGHT * ((len(mean) + 1) // 2 + 0.2)


def critical_difference_figure(comparison: Comparison) -> Figure:
    """Return the diagram of a comparison, with the metric, problems and tests in its title.

    With too few problems for tests the diagram has no bars, and its title says so.

    Raises
    ------
    InvalidInput
        Fewer than two optimizers are ranked, or there is only one problem.
    """
    names, ranks, cliques = comparison.optimizers, comparison.ranks, comparison.cliques
    if len(names) < 2:
        raise InvalidInput(
            f"a diagram of ranks: expected two optimizers on all problems, found {len(names)}"
        )
    if len(comparison.problems) < 2:
        needed = statistics.problems_needed(len(names), comparison.level)
        raise InvalidInput(
            "a diagram of ranks: expected several problems to rank over, found 1; significant "
            f"differences of {len(names)} optimizers need at least {needed}"
        )
    # The figure is as wide as the line of ranks with the longest name on either side.
    n_left = (len(names) + 1) // 2
    sides = (names[:n_left], names[n_left:])
    width = _AXIS_WIDTH + sum(max(map(len, side)) * _LETTER_WIDTH + 0.6 for side in sides)
    title = "\n".join(
        textwrap.fill(line, int(width / (1.1 * _LETTER_WIDTH))) for line in _title(comparison)
    )
    title_height = 0.55 + 0.18 * (1 + title.count("\n"))
    size = (width, title_height + diagram_height(ranks, cliques))
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    figure.suptitle(title, fontsize=10)
    plot_critical_difference(figure.subplots(), names, ranks, cliques)
    return figure


def draw(comparison: Comparison, file: Path) -> Path:
    """Draw the diagram of a comparison to a file.

    Raises
    ------
    InvalidInput
        The suffix of the file is not in `SUFFIXES`, its directory is missing, it cannot be
        written, fewer than two optimizers are ranked, or there is only one problem.
    """
    check_output(file, SUFFIXES)
    return style.save(critical_difference_figure(comparison), file)


def _title(comparison: Comparison) -> list[str]:
    """Return the two lines of the title: ranks, and the meaning of a bar or the lack of tests."""
    budget = "" if comparison.at is None else f" after {comparison.at:,} evaluations"
    n_problems = format_count(len(comparison.problems), "problems")
    ranks = f"Mean rank by {_METRIC_LABELS[comparison.metric]}{budget} over {n_problems}"
    if not comparison.pairs:
        needed = statistics.problems_needed(len(comparison.optimizers), comparison.level)
        return [
            ranks,
            f"No test: significant differences of {len(comparison.optimizers)} optimizers need at "
            f"least {needed} problems",
        ]
    return [
        ranks,
        f"Joined: no significant difference at {100 * comparison.level:g} % by Wilcoxon's "
        "signed-rank tests with Holm's correction",
    ]


def _plot_names(axes: Axes, names: Sequence[str], mean: Array, top: float) -> None:
    """Plot names with their ranks in rows that start at `top`, joined to the line of ranks."""
    k, max_rank = len(mean), max(2, len(mean))
    n_left = (k + 1) // 2
    transform = axes.get_yaxis_transform()  # x in fractions of the axes, y in data
    for i, member in enumerate(np.argsort(mean, kind="stable").tolist()):
        on_left = i < n_left
        # The best and the worst rank are in the first row, so that no two lines cross.
        y = top + _ROW_HEIGHT * ((i if on_left else k - 1 - i) + 0.6)
        x, edge = (mean[member] - 1) / (max_rank - 1), 0.0 if on_left else 1.0
        axes.plot(
            [x, x, edge],
            [0, y, y],
            color=style.GREY,
            linewidth=1.1,
            transform=transform,
            clip_on=False,
        )
        # A line leads from the rank down and out to the name at the edge.
        rank, name = f"{mean[member]:.2f}", names[member]
        axes.annotate(
            f"{name}  {rank}" if on_left else f"{rank}  {name}",
            (edge, y),
            xycoords=transform,
            xytext=(-4 if on_left else 4, 0),
            textcoords="offset points",
            ha="right" if on_left else "left",
            va="center",
            fontsize=9,
            annotation_clip=False,
        )


def _bars(
    mean: Array, cliques: Sequence[tuple[int, ...]]
) -> tuple[list[tuple[float, float]], list[int]]:
    """Return the ends of each clique's bar, and a row in which it overlaps no other bar."""
    margin = 0.012 * (max(2, len(mean)) - 1)  # keeps the bar of equal ranks visible
    spans = [(float(mean[list(c)].min()), float(mean[list(c)].max())) for c in cliques]
    spans = [(low - margin, high + margin) for low, high in spans]
    rows: list[int] = []
    row_ends: list[float] = []
    # Greedy: the first row whose last bar ends before this one starts, else a new row.
    for low, high in spans:
        row = next((i for i, end in enumerate(row_ends) if low > end + margin), len(row_ends))
        row_ends[row : row + 1] = [high]
        rows.append(row)
    return spans, rows
