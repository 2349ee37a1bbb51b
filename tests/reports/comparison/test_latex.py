"""Comparisons as LaTeX."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hwnas.errors import InvalidInput, UnknownName
from hwnas.reports.comparison import latex
from hwnas.reports.comparison.comparison import Comparison, compare_problems
from hwnas.reports.comparison.tables import COLUMNS

sys.path.insert(0, str(Path(__file__).parent))
from score_builders import problem_of, random_problems, special_comparison

AWKWARD = "\\~^<>|±&%$#_{}"
CASES = {
    "special characters": special_comparison,
    "all escapes": lambda: compare_problems(
        [problem_of(AWKWARD, **{AWKWARD: [1, 2], "b": [2, 3], "µ-é": [1, 3]})]
    ),
    "one optimizer": lambda: compare_problems([problem_of("p", a=[1])]),
    "two problems": lambda: compare_problems(random_problems(2, seeds=6)),
    "tests over problems": lambda: compare_problems(random_problems(8)),
    "several pages": lambda: compare_problems(
        [problem_of("p", **{f"o{i}": [i, i + 1] for i in range(45)})]
    ),
}


@pytest.fixture(params=list(CASES))
def comparison(request: pytest.FixtureRequest) -> Comparison:
    return CASES[request.param]()


def test_structure_is_well_formed(comparison: Comparison) -> None:
    text = latex.latex(comparison)
    first, *lines = text.splitlines()
    assert first == r"% \usepackage{booktabs}"
    opened: list[str] = []
    for line in lines:
        # Without escaped characters no special one may remain, and braces must match.
        bare = re.sub(r"\\[_%&{}#$]", "", line)
        assert not set(bare) & set("%#~")
        assert bare.count("{") == bare.count("}")
        assert bare.count("$") % 2 == 0
        outside = re.sub(r"\$[^$]*\$", "", bare)
        assert not set(outside) & set("^<>|±")
        if not line.startswith(r"\label"):
            assert "_" not in bare
        for kind, name in re.findall(r"\\(begin|end)\{(\w+\*?)\}", line):
            if kind == "begin":
                opened.append(name)
            else:
                assert opened.pop() == name
    assert opened == []
    for table in text.split(r"\begin{tabular")[1:]:
        # Every row has as many columns as the tabular.
        columns = len(re.search(r"([lr]+)\}$", table.splitlines()[0]).group(1))  # type: ignore[union-attr]
        rows = [line for line in table.splitlines() if line.endswith(r"\\")]
        counts = {
            re.sub(r"\\&", "", row).count("&") + 1 for row in rows if "multicolumn" not in row
        }
        assert counts == {columns}
        assert len(rows) <= latex._PAGE_ROWS + 2
        for rule in (r"\toprule", r"\bottomrule", r"\end{tabular"):
            assert table.count(rule) == 1
    labels = re.findall(r"\\label\{(.*?)\}", text)
    n_floats = text.count(r"\begin{table}")
    assert len(set(labels)) == len(labels) == text.count(r"\caption{") == n_floats


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_compiles(comparison: Comparison, tmp_path: Path) -> None:
    body = latex.latex(comparison, caption="50 % of a_b", label="tab:a_b")
    (tmp_path / "x.tex").write_text(
        "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
        f"{body}\n\\clearpage\nTable~\\ref{{tab:a_b}}\n\\end{{document}}\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "x.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="latin-1",
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Float too large" not in done.stdout


def test_best_means_are_bold_and_close_ones_have_a_star() -> None:
    text = latex.latex(special_comparison())
    assert r"a\_b\%\&\{c\} & 10 & \textbf{4.50 $\pm$ 3.03} & \textbf{4.50 $\pm$ 3.03}" in text
    assert r"b & 10 & 4.85 $\pm$ 3.01$^{*}$ & 4.85 $\pm$ 3.01 &" in text
    assert r"c & 10 & 24.50 $\pm$ 3.03 & 24.50" in text
    assert r"x\_y; params $<$= 5 on 50\%, relative to: exact front" in text


def test_captions_and_labels() -> None:
    text = latex.latex(special_comparison())
    assert r"\label{tab:x-y-params-5-on-50}" in text
    assert r"\label{tab:x-y-params-5-on-50-pairs}" in text
    assert r"Means $\pm$ standard deviations over seeds." in text
    text = latex.latex(special_comparison(), caption="My 5 % of a_b", label="tab:mine_1")
    assert r"\caption{My 5 \% of a\_b}" in text
    assert r"\label{tab:mine_1}" in text
    assert r"\label{tab:mine_1-pairs}" in text
    several = latex.latex(compare_problems(random_problems(2), at=50))
    assert r"\caption{Quality of the fronts after 50 evaluations on 2 problems." in several
    for label in ("comparison", "comparison-ranks", "comparison-pairs", "comparison-pairs-2"):
        assert f"\\label{{tab:{label}}}" in several
    for label in ("a b", "a}", "", "a%", "é"):
        with pytest.raises(InvalidInput, match="expected letters, digits and"):
            latex.latex(special_comparison(), label=label)


@pytest.mark.parametrize("column", COLUMNS)
def test_each_column_can_be_chosen(column: str) -> None:
    text = latex.latex(special_comparison(), [column])
    header = text.split(r"\toprule")[1].splitlines()[1]
    assert header.startswith("optimizer & ")
    assert header.count("&") == 1
    with pytest.raises(UnknownName, match="unknown column 'seed'; did you mean 'seeds'"):
        latex.latex(special_comparison(), [column, "seed"])


def test_a_continued_table_keeps_its_number() -> None:
    text = latex.latex(CASES["several pages"]())
    assert text.count("(Continued.)") == text.count(r"\addtocounter{table}{-1}") > 1
    # Notes are below the last part, once.
    assert text.count(r"\begin{minipage}") == 1
    rows = [line for line in text.split(r"\begin{minipage}")[0].splitlines() if line[:1] == "o"]
    assert len([row for row in rows if re.match(r"o\d", row)]) == 45


def test_escapes() -> None:
    assert latex.escape_latex("\\^~") == r"\textbackslash{}\textasciicircum{}\textasciitilde{}"
