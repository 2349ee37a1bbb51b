"""Critical-difference diagrams."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from hwnas.errors import InvalidInput
from hwnas.reports.comparison import critical_difference
from hwnas.reports.comparison.comparison import Comparison, compare_problems
from hwnas.reports.comparison.pairwise import PairwiseTest

sys.path.insert(0, str(Path(__file__).parent))
from score_builders import problem_of, random_problems

NAMES = [f"optimizer_{i}" for i in range(16)]


def ranked_comparison(k: int, ranks: Any, differ: Any) -> Comparison:
    """Return a comparison over 24 problems; `differ` decides pairs by their rank difference."""
    pairs = tuple(
        PairwiseTest(NAMES[i], NAMES[j], 24, 20, 0.1, p, p)
        for i in range(k)
        for j in range(i + 1, k)
        for p in [0.01 if differ(abs(ranks[i] - ranks[j])) else 0.5]
    )
    problems = tuple(problem_of(f"p{i}") for i in range(24))
    array = np.array(ranks, dtype=float)
    return Comparison(problems, "normalised", None, 0.05, tuple(NAMES[:k]), array, 0.01, pairs, ())


@pytest.mark.parametrize("k", [2, 3, 5, 16])
@pytest.mark.parametrize("case", ["apart", "one clique", "equal", "close", "chain"])
def test_names_do_not_overlap(k: int, case: str) -> None:
    ranks = {
        "equal": np.full(k, (k + 1) / 2),
        "close": (k + 1) / 2 + np.linspace(-0.01, 0.01, k),
    }.get(case, np.arange(1.0, k + 1))
    differ = {"apart": lambda d: True, "chain": lambda d: d > 1.5}.get(case, lambda d: False)
    comparison = ranked_comparison(k, ranks, differ)
    figure = critical_difference.critical_difference_figure(comparison)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert [text.get_text().split("  ")[i % k >= (k + 1) // 2] for i, text in enumerate(axes.texts)]
    assert len(boxes) == k
    # No text may overlap another or leave the figure.
    ticks = [label.get_window_extent() for label in axes.get_xticklabels()]
    title = figure._suptitle.get_window_extent()  # type: ignore[attr-defined]
    everything = [*boxes, *ticks, title]
    for i, box in enumerate(everything):
        assert not any(box.overlaps(other_box) for other_box in everything[i + 1 :])
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y1 <= figure.bbox.height
    bars = [line for line in axes.lines if line.get_linewidth() > 3]
    expected = {"apart": 0, "chain": k - 1}.get(case, 1)
    assert len(bars) == len(comparison.cliques) == expected


def test_bars_join_cliques_and_do_not_overlap() -> None:
    axes = Figure().subplots()
    critical_difference.plot_critical_difference(
        axes, "abcde", [1, 2, 3, 4, 5], [(0, 1, 2), (2, 3), (3, 4)]
    )
    bars = [line for line in axes.lines if line.get_linewidth() > 3]
    for bar, (low, high) in zip(bars, [(1, 3), (3, 4), (4, 5)], strict=True):
        start, end = bar.get_xdata()
        assert low - 0.1 < start < low
        assert high < end < high + 0.1
    # Overlapping bars are in different rows; a free row is used again.
    rows = [bar.get_ydata()[0] for bar in bars]
    assert rows[0] == rows[2] < rows[1]
    assert [text.get_text() for text in axes.texts] == [
        "a  1.00",
        "b  2.00",
        "c  3.00",
        "4.00  d",
        "5.00  e",
    ]


def test_title() -> None:
    title = critical_difference._title(ranked_comparison(3, [1, 2, 3], lambda d: True))
    assert title == [
        "Mean rank by normalized hypervolume over 24 problems",
        "Joined: no significant difference at 5 % by Wilcoxon's signed-rank tests with Holm's "
        "correction",
    ]
    comparison = compare_problems(random_problems(8), metric="r2", at=100, level=0.1)
    title = critical_difference._title(comparison)
    assert title[0] == "Mean rank by R2 after 100 evaluations over 8 problems"
    assert "at 10 % by Wilcoxon's signed-rank tests with Holm's correction" in title[1]


@pytest.mark.parametrize("n", [1, 2, 7])
def test_too_few_problems_are_refused_or_marked(n: int, tmp_path: Path) -> None:
    comparison = compare_problems(random_problems(n, seeds=10))
    if n == 1:
        with pytest.raises(InvalidInput, match=r"found 1; .* of 4 optimizers need at least 8"):
            critical_difference.draw(comparison, tmp_path / "ranks.png")
        return
    figure = critical_difference.critical_difference_figure(comparison)
    title = figure.get_suptitle()
    assert f"over {n} problems" in title
    assert "No test: significant differences of 4 optimizers need at least 8 problems" in title
    assert not any(line.get_linewidth() > 3 for line in figure.axes[0].lines)


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_diagram_files(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"ranks.{suffix}"
    assert critical_difference.draw(compare_problems(random_problems(5)), file) == file
    begins = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[suffix]
    assert file.read_bytes().startswith(begins)


def test_diagram_files_refused(tmp_path: Path) -> None:
    comparison = compare_problems(random_problems(5))
    with pytest.raises(InvalidInput, match=r"ranks.gif: expected a name that ends in .png, .pdf"):
        critical_difference.draw(comparison, tmp_path / "ranks.gif")
    with pytest.raises(InvalidInput, match="there is no directory"):
        critical_difference.draw(comparison, tmp_path / "none" / "ranks.png")
