"""Comparisons as Markdown and LaTeX."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from hwnas.reports.comparison import export
from hwnas.reports.comparison.comparison import Comparison, compare, compare_problems

sys.path.insert(0, str(Path(__file__).parent))
from score_builders import graded_problem

SPECIAL = "a_b%&{c}"


def special_comparison() -> Comparison:
    """Return a comparison whose names have special characters of LaTeX and Markdown."""
    problem = graded_problem("x_y; params <= 5 on 50%", [SPECIAL, "b", "c"])
    return compare_problems([problem], metric="r2")


def test_latex_is_escaped() -> None:
    text = export.latex(special_comparison())
    assert r"a\_b\%\&\{c\} & 10 & 100 & \textbf{4.50}" in text
    assert r"x\_y; params $<$= 5 on 50\%" in text
    assert r"b & 10 & 100 & 5.15$^{*}$" in text
    assert re.search(r"c & 10 & 100 & 24\.50 &", text)
    code = [line for line in text.splitlines() if not line.startswith("%")]
    for line in code:
        # Without escaped characters no special one may remain, and braces must match.
        bare = re.sub(r"\\[_%&{}#$]", "", line)
        assert "%" not in bare
        assert "#" not in bare
        assert bare.count("{") == bare.count("}")
        assert bare.count("$") % 2 == 0
        assert "_" not in bare
    for table in text.split(r"\begin{tabular}")[1:]:
        # Every row has as many columns as the tabular.
        columns = len(re.match(r"\{([lr]+)\}", table).group(1))  # type: ignore[union-attr]
        rows = [line for line in table.splitlines() if line.endswith(r"\\")]
        counts = {
            re.sub(r"\\&", "", row).count("&") + 1 for row in rows if "multicolumn" not in row
        }
        assert counts == {columns}
        for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}"):
            assert table.count(rule) == 1
    assert export.escape_latex("\\^~") == r"\textbackslash{}\textasciicircum{}\textasciitilde{}"


def test_markdown_is_escaped() -> None:
    text = export.markdown(special_comparison())
    assert r"| a\_b%&{c} | 10 | 100 | **4.50** |" in text
    assert r"| b | 10 | 100 | 5.15\* |" in text
    assert "| c | 10 | 100 | 24.50 |" in text
    assert "- with fewer than 5 shared problems" in text
    for table in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_export_of_one_optimizer(make_run: Any) -> None:
    comparison = compare([make_run("one", optimizers=["random"])])
    for text in (export.markdown(comparison), export.latex(comparison)):
        assert "one optimizer: nothing is tested" in text
        assert "Wilcoxon's signed-rank tests" not in text
    assert export.latex(comparison).count(r"\begin{tabular}") == 1
