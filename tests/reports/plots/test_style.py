"""Names of equal lines in legends, and figures without a backend of the environment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hwnas.reports.plots import kinds, style
from hwnas.runner.results import Result

ROOT = Path(__file__).resolve().parents[3]


def legend_labels(figure: Figure) -> list[list[str]]:
    """Return the labels of each legend of a figure."""
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    return [[text.get_text() for text in legend.get_texts()] for legend in legends if legend]


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_equal_optimizers_are_named_in_every_legend(twins: Result, kind: str) -> None:
    labels = legend_labels(kinds.KINDS[kind].figure(twins))
    named = [legend for legend in labels if any(label.startswith("twin") for label in legend)]
    if kind in ("fronts", "hypervolume", "ranks", "attainment"):
        assert named, "a legend names the optimizers"
    for legend in named:
        what = "points" if kind == "fronts" else "line"
        assert f"twin (same {what} as random)" in legend
        assert {"random", "uniform"} <= set(legend)


def test_names_of_equal_lines() -> None:
    values = np.array([1.0, 2.0, 3.0])
    marks = {"linestyle": "none", "marker": "o"}
    lines: list[Artist] = [
        Line2D(values, values),
        Line2D(values, values),
        Line2D(values, values),
        Line2D(values, values + 1),
        Line2D(values, values + 1, **marks),
        Line2D(values[:2], values[:2]),
        Patch(),
    ]
    assert style.name_equal_lines(lines, list("abcdefg")) == [
        "a",
        "b (same line as a)",
        "c (same line as a)",
        "d",
        "e (same points as d)",
        "f",
        "g",
    ]


@pytest.mark.parametrize("n", [1, 2, 5, 6, 7, 11])
@pytest.mark.parametrize("letters", [3, 30, 60])
def test_legends_below_are_inside_the_page(n: int, letters: int) -> None:
    figure = style.make_figure(2, "title")
    axes = figure.subplots(1, 2)[0]
    for i in range(n):
        name = f"{i} ".ljust(letters if i % 2 else 4, "m" if letters < 10 else "n")
        axes.plot([0, 1], [i, i], **style.line_style(i), label=name)
    style.legend_below(figure, axes)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    box = figure.legends[0].get_window_extent(canvas.get_renderer())
    width, height = canvas.get_width_height()
    assert 0 <= box.x0 < box.x1 <= width
    assert 0 <= box.y0 < box.y1 <= height / 2


# One module of the package of plots, and all others that import Matplotlib.
IMPORTERS = [
    "hwnas.reports.plots.kinds",
    *(
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in sorted((ROOT / "hwnas").rglob("*.py"))
        if "\nfrom matplotlib" in file.read_text(encoding="utf-8") and file.parent.name != "plots"
    ),
]


@pytest.mark.parametrize("module", IMPORTERS)
@pytest.mark.parametrize(
    ("backend", "kept"),
    [
        ("no_such_backend", "agg"),
        # Matplotlib refuses this one where it is not installed, others only when they are used.
        ("module://matplotlib_inline.backend_inline", "agg|inline"),
        ("module://no_such_module", "module://no_such_module"),
        ("svg", "svg"),
    ],
)
def test_any_backend_of_the_environment_will_do(
    tmp_path: Path, module: str, backend: str, kept: str
) -> None:
    script = (
        f"import {module}, os, sys\n"
        "from pathlib import Path\n"
        "from hwnas.reports.plots import style\n"
        "style.save(style.make_figure(1, 'title'), Path(sys.argv[1]))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "import matplotlib\n"
        "print(os.environ['MPLBACKEND'], matplotlib.get_backend())\n"
    )
    file = tmp_path / "figure.png"
    done = subprocess.run(
        [sys.executable, "-c", script, str(file)],
        env={**os.environ, "MPLBACKEND": backend, "DISPLAY": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    # The environment is as before, and a backend that exists is still chosen.
    assert re.fullmatch(f"{backend} ({kept})", done.stdout.strip())
    assert file.read_bytes().startswith(b"\x89PNG")
