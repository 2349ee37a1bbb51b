"""How every plot looks: colours, marks, sizes, names with units."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from numpy.typing import NDArray

from hwnas.errors import InvalidInput
from hwnas.objectives import Objective

# Okabe and Ito's palette, told apart by every kind of colour vision; yellow is left out because it
# vanishes on paper. Then three dark ones of Paul Tol's, for those who compare more.
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
MARKS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1, 1, 1)))
GREY = "#777777"
ORDERED = "cividis"  # for numbers, also seen alike by every kind of colour vision
DIVERGING = "PuOr_r"  # for numbers about 0: purple below, orange above

_HANDLE, _LETTER, _LINE = 0.6, 0.068, 0.17  # of a legend, inches

_UNITS = {
    "latency": "ms",
    "energy": "mWh",
    "float16_memory": "MB",
    "bfloat16_memory": "MB",
    "peak_memory": "MB",
}


def look(index: int) -> dict[str, Any]:
    """Colour, mark and dash of the optimizer at an index."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKS[index % len(MARKS)],
        "linestyle": DASHES[index % len(DASHES)],
    }


def unit(objective: Objective) -> str:
    """The unit of what an objective measures; empty where it has none."""
    return "" if len(objective.devices) > 1 else _UNITS.get(objective.metric, "")


def label(objective: Objective) -> str:
    """An objective's name with its unit, for an axis."""
    of = unit(objective)
    return f"{objective.value} ({of})" if of else str(objective.value)


def figure(
    columns: int, title: str, *, rows: int = 1, width: float = 5.4, height: float = 4.2
) -> Figure:
    """A figure for rows of panels, of a size in inches each."""
    size = (width * columns, height * rows)
    made = Figure(figsize=size, dpi=150, layout="constrained")
    made.suptitle(title, fontsize=11)
    return made


def grid(
    n: int, title: str, *, columns: int = 3, width: float = 5.4, height: float = 4.2
) -> tuple[Figure, list[Axes]]:
    """A figure with n panels in rows of at most so many, of a size in inches each."""
    columns = min(n, columns)
    rows = math.ceil(n / columns)
    made = figure(columns, title, rows=rows, width=width, height=height)
    return made, [made.add_subplot(rows, columns, i + 1) for i in range(n)]


def tidy(axes: Axes, *, title: str = "", x: str = "", y: str = "") -> None:
    """Labels and a light grid."""
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(True, which="major", color="#e3e3e3", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def plain_logs(axis: Axis, form: str) -> None:
    """Ticks of a logarithmic axis as plain numbers, those between powers where there is room."""
    axis.set_major_formatter(form)
    axis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(1, 0.4)))


def save(made: Figure, file: Path) -> Path:
    """Write a figure into a file of the type that its name says, whole or not at all.

    Raises
    ------
    InvalidInput
        The file cannot be written.
    """
    draft = file.with_name(file.name + ".part")
    try:
        made.savefig(draft, format=file.suffix.lstrip(".").lower())
        draft.replace(file)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise InvalidInput(f"{file}: cannot be written: {error.strerror}") from error
    return file


def legend(place: Axes | Figure, *entries: Any, **where: Any) -> None:
    """A legend in axes or beside them in a figure, where anything has a name.

    Parameters
    ----------
    place
        Where to put it.
    entries
        Handles and labels; those of the axes by default.
    where
        ``loc``, ``ncols``.
    """
    handles, labels = entries or place.get_legend_handles_labels()  # type: ignore[union-attr]
    if labels:
        place.legend(handles, labels, frameon=False, fontsize=8, **where)


def steps(
    axes: Axes, values: NDArray[np.float64], objectives: tuple[Objective, ...], **look: Any
) -> None:
    """A line along what values (n, 2) dominate.

    What lies between two members is dominated up to the corner that is worse in both.
    """
    values = values[np.argsort(values[:, 0], kind="stable")]
    where: Literal["pre", "post"] = "pre" if objectives[0].maximise else "post"
    axes.step(values[:, 0], values[:, 1], where=where, **look)


def legend_below(made: Figure, axes: Axes) -> None:
    """A legend of some axes below all panels, in as few rows as fit, for which it makes room."""
    handles, labels = axes.get_legend_handles_labels()
    n = len(labels)
    for columns in range(n, 0, -1):
        rows = math.ceil(n / columns)
        widest = [max(map(len, labels[i : i + rows])) for i in range(0, n, rows)]
        inches = sum(_HANDLE + _LETTER * letters for letters in widest)
        if columns == 1 or inches <= made.get_figwidth():
            made.set_figheight(made.get_figheight() + _LINE * rows)
            legend(made, handles, labels, loc="outside lower center", ncols=columns)
            return


def names(items: Sequence[str]) -> list[str]:
    """The distinct items, in order."""
    return list(dict.fromkeys(items))
