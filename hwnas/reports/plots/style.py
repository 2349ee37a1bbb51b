"""Common style of all plots: colors, markers, sizes, and labels with units."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatter

from hwnas.errors import InvalidInput
from hwnas.files import atomic_writer, check_output
from hwnas.objectives import UNITS, Objective
from hwnas.typing import Array

# The palette of Okabe and Ito can be distinguished with every kind of color vision. Its yellow is
# left out because it is invisible on white paper. Three dark colors of Paul Tol follow, for
# comparisons of more than seven optimizers.
COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#882255",
    "#999933",
    "#332288",
)
# The numbers of colors, markers and dashes are 10, 9 and 4: 180 optimizers get different styles.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1, 1, 1)))
GREY = "#777777"

# Colormaps that also suit every kind of color vision.
SEQUENTIAL = "cividis"
DIVERGING = "PuOr_r"  # for numbers around 0: purple below, orange above

_TITLE_LETTERS = 12.5  # of a figure's title, an inch

# Sizes of a legend in inches, which `legend_below` needs before the figure is drawn.
_HANDLE_WIDTH, _LETTER_WIDTH, _LINE_HEIGHT = 0.6, 0.068, 0.17

_MAX_TEXT = 24  # characters of a user's own text in a plot

_NO_UNITS: Mapping[str, str] = MappingProxyType({})


def line_style(index: int) -> dict[str, Any]:
    """Return color, marker and line style of the optimizer at an index.

    Examples
    --------
    >>> line_style(0)
    {'color': '#0072B2', 'marker': 'o', 'linestyle': '-'}
    """
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": DASHES[index % len(DASHES)],
    }


def unit(objective: Objective, units: Mapping[str, str] = _NO_UNITS) -> str:
    """Return the unit of an objective; empty where it has none.

    Parameters
    ----------
    objective
        Objective or constraint.
    units
        Units by metric, as a run recorded them. For others they are those of hwnas's own metrics;
        worst ratios over several devices have none.
    """
    if str(objective.value) in units:
        return units[str(objective.value)]
    # Runs of earlier versions did not record the units of their metrics.
    return "" if len(objective.devices) > 1 else UNITS.get(objective.metric, "")


def axis_label(objective: Objective, units: Mapping[str, str] = _NO_UNITS) -> str:
    """Return the name of an objective with its unit, see `unit`.

    Examples
    --------
    >>> axis_label(Objective.parse("latency@h100"))
    'latency@h100 (ms)'
    >>> axis_label(Objective.parse("kv_cache.serve"))
    'kv_cache.serve (MB)'
    """
    suffix = plain(unit(objective, units))
    return f"{objective.value} ({suffix})" if suffix else str(objective.value)


def plain(text: str) -> str:
    """Return a user's own text as Matplotlib shows it as it is, cut to a few characters.

    >>> plain("$x$"), plain("a" * 30)
    ('\\\\$x\\\\$', 'aaaaaaaaaaaaaaaaaaaaaaa…')
    """
    text = " ".join(text.split())
    text = text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"
    return text.replace("$", r"\$")  # else it would be a formula


def legend_text(text: str) -> str:
    """Return `plain` text for a legend, which leaves out labels that begin with an underscore."""
    return f" {plain(text)}" if text.startswith("_") else plain(text)


def make_figure(
    columns: int, title: str, *, rows: int = 1, width: float = 5.4, height: float = 4.2
) -> Figure:
    """Return an empty figure for rows and columns of panels, each of a size in inches."""
    size = (width * columns, height * rows)
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    room = int(_TITLE_LETTERS * size[0])
    lines = [textwrap.fill(line, room) for line in title.split("\n")]
    figure.suptitle("\n".join(lines), fontsize=11)
    return figure


def make_grid(
    n: int, title: str, *, columns: int = 3, width: float = 5.4, height: float = 4.2
) -> tuple[Figure, list[Axes]]:
    """Return a figure with n panels, at most `columns` a row, each of a size in inches."""
    columns = min(n, columns)
    rows = math.ceil(n / columns)
    figure = make_figure(columns, title, rows=rows, width=width, height=height)
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(n)]


def format_axes(axes: Axes, *, title: str = "", x: str = "", y: str = "") -> None:
    """Set title and labels of axes, and add a light grid."""
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(True, which="major", color="#e3e3e3", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def format_log_axis(axis: Axis, form: str) -> None:
    """Write the ticks of a logarithmic axis as plain numbers, minor ones where they fit."""
    axis.set_major_formatter(form)
    axis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(1, 0.4)))


def save(figure: Figure, file: Path) -> Path:
    """Write a figure atomically, in the format that the suffix of the file names.

    Raises
    ------
    InvalidInput
        The directory is missing, or the file cannot be written.
    """
    # The atomic writer would make the directory: a mistyped path should be an error instead.
    check_output(file)
    try:
        with atomic_writer(file) as stream:
            figure.savefig(stream, format=file.suffix.lstrip(".").lower())
    except OSError as error:
        raise InvalidInput(f"{file}: cannot be written: {error.strerror}") from error
    return file


def legend(parent: Axes | Figure, *entries: Any, **layout: Any) -> None:
    """Add a legend to axes or to a figure, unless nothing has a label.

    Parameters
    ----------
    parent
        Axes or figure of the legend.
    entries
        Handles and labels; those of the axes by default.
    layout
        ``loc``, ``ncols``.

    Notes
    -----
    Of equal lines only the last can be seen: its label names the first, see `name_equal_lines`.
    """
    handles, labels = entries or parent.get_legend_handles_labels()  # type: ignore[union-attr]
    labels = name_equal_lines(handles, labels)
    if labels:
        parent.legend(handles, labels, frameon=False, fontsize=8, **layout)


def name_equal_lines(handles: Sequence[Artist], labels: Sequence[str]) -> list[str]:
    """Return the labels of artists; a line equal to an earlier one names that one.

    Examples
    --------
    >>> from matplotlib.lines import Line2D
    >>> first, second = Line2D([0, 1], [2, 3]), Line2D([0, 1], [2, 3])
    >>> name_equal_lines([first, second], ["random", "nsga2"])
    ['random', 'nsga2 (same line as random)']
    """
    names = list(labels)
    lines = [(i, h) for i, h in enumerate(handles) if isinstance(h, Line2D)]
    for (i, first), (j, second) in itertools.combinations(lines, 2):
        # A third equal line names the first one, too.
        if names[j] == labels[j] and np.array_equal(first.get_xydata(), second.get_xydata()):
            shape = "points" if second.get_linestyle() == "None" else "line"
            names[j] = f"{labels[j]} (same {shape} as {labels[i]})"
    return names


def legend_below(figure: Figure, axes: Axes) -> None:
    """Add a legend of some axes below all panels, in as few rows as fit.

    The figure becomes higher by the height of the legend.
    """
    handles, labels = axes.get_legend_handles_labels()
    names = name_equal_lines(handles, labels)
    n = len(names)
    # Try the widest legend first. Matplotlib fills a legend column by column, the first ones with
    # one entry more where it does not come out even.
    lengths = np.array([len(name) for name in names])
    for columns in range(n, 0, -1):
        rows = math.ceil(n / columns)
        widest = [int(column.max()) for column in np.array_split(lengths, columns)]
        width = sum(_HANDLE_WIDTH + _LETTER_WIDTH * letters for letters in widest)
        if columns == 1 or width <= figure.get_figwidth():
            figure.set_figheight(figure.get_figheight() + _LINE_HEIGHT * rows)
            legend(figure, handles, labels, loc="outside lower center", ncols=columns)
            return


def plot_steps(axes: Axes, values: Array, objectives: tuple[Objective, ...], **style: Any) -> None:
    """Plot the border of the region that points with values (n, 2) dominate, in raw units.

    Between two neighbors the dominated region ends at the corner that is worse in both objectives.
    """
    values = values[np.argsort(values[:, 0], kind="stable")]
    # With x minimized, the left neighbor determines y up to the right one; otherwise vice versa.
    step: Literal["pre", "post"] = "pre" if objectives[0].maximise else "post"
    axes.step(values[:, 0], values[:, 1], where=step, **style)


def unique_names(names: Sequence[str]) -> list[str]:
    """Return the distinct names in the order of their first occurrence.

    Examples
    --------
    >>> unique_names(["nsga2", "random", "nsga2"])
    ['nsga2', 'random']
    """
    return list(dict.fromkeys(names))
