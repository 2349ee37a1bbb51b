"""Comparisons as Markdown."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from hwnas.reports.comparison import export, latex
from hwnas.reports.comparison.comparison import compare, compare_problems

sys.path.insert(0, str(Path(__file__).parent))
from score_builders import graded_problem, problem_of, random_problems, special_comparison


def test_markdown_is_escaped() -> None:
    text = export.markdown(special_comparison())
    assert r"| a\_b%&{c} | 10 | 100 | **4.50 ± 3.03** |" in text
    assert r"| b | 10 | 100 | 4.85 ± 3.01\* |" in text
    assert "| c | 10 | 100 | 24.50 ± 3.03 |" in text
    assert "- 3 optimizers on 1 problem: tests over problems need at least 7 for p \\< 0.05" in text
    assert "**bold**: best mean; \\*: not clearly worse by r2" in text
    for table in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_chosen_columns() -> None:
    text = export.markdown(special_comparison(), ["epsilon", "seeds"])
    assert "| optimizer | epsilon | seeds |" in text
    assert r"| a\_b%&{c} | **4.50 ± 3.03** | 10 |" in text
    # The star belongs to the metric of the comparison.
    assert r"4.85 ± 3.01\*" not in text


def test_export_of_one_optimizer(make_run: Any) -> None:
    comparison = compare([make_run("one", optimizers=["random"])])
    for text in (export.markdown(comparison), latex.latex(comparison)):
        assert "ne optimizer: nothing is tested" in text
        assert "seed to seed" not in text
    assert latex.latex(comparison).count(r"\begin{tabular}") == 1


@pytest.mark.parametrize("n", [1, 2, 8])
@pytest.mark.parametrize("seeds", [2, 6])
def test_all_formats_have_the_same_notes(n: int, seeds: int) -> None:
    comparison = compare_problems(random_problems(n, seeds))
    text = latex.latex(comparison)
    assert comparison.notes
    for note in comparison.notes:
        assert f"- {export._escape(note)}" in export.markdown(comparison)
        # In LaTeX they are in the table, not in comments.
        (line,) = (line for line in text.splitlines() if latex.escape_latex(note[1:]) in line)
        assert not line.startswith("%")


def test_the_legend_names_problems_with_too_few_seeds() -> None:
    few = problem_of("few", a=[1, 2], b=[2, 5], c=[5, 6])
    comparison = compare_problems([graded_problem("many", "abc"), few])
    legend = export.legend(comparison, "bold", "*")
    assert "contains 0" in legend
    assert legend.endswith("seeds are too few to compare means within a problem on few")
