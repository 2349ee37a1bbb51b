"""What comparisons say of fronts beside their quality: unmeasured members and constraints."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas import pareto
from hwnas.reports.comparison import export, latex, tables
from hwnas.reports.comparison.comparison import Comparison, compare, compare_problems
from hwnas.reports.comparison.problem_comparison import front_at
from hwnas.reports.summary_table import summary_table
from hwnas.runner.results import Result
from hwnas.runner.summary import front_slacks, slack_column

sys.path.insert(0, str(Path(__file__).parent))
from score_builders import problem_of

BOUNDS = ["bfloat16_memory <= 300", "params >= 2e7"]
CASES: dict[str, dict[str, Any]] = {
    "noise": {"noise": True, "optimizers": ["random", "additive"]},
    "constraints": {"constraints": BOUNDS, "optimizers": ["random", "nsga2"]},
    "both": {"noise": True, "constraints": BOUNDS, "optimizers": ["random", "additive"]},
    "neither": {},
}


@pytest.fixture(params=list(CASES))
def result(request: pytest.FixtureRequest, make_run: Any) -> Result:
    run: Result = make_run(request.param, **CASES[request.param])
    return run


def in_all_formats(comparison: Comparison) -> list[str]:
    """Return notes as every format prints them, without marks and escapes."""
    texts = [export.markdown(comparison), latex.latex(comparison), "\n".join(comparison.notes)]
    return [re.sub(r"[\\$*]", "", text) for text in texts]


def test_columns_are_those_of_the_summary(result: Result) -> None:
    # A summary has the slacks of all recommended members, a comparison those of what it scores.
    comparison = compare([result], of="recommended")
    header, rows = tables.problem_table(comparison, comparison.problems[0])
    compared = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    names, summary = summary_table(result)
    shared = [n for n in names if n in ("measured", "feasible") or n.startswith("slack of ")]
    assert shared == [n for n in header if n not in tables.COLUMNS or n in shared][2:]
    for row in summary:
        expected = dict(zip(names, row, strict=True))
        for name in shared:
            assert compared[row[0]][name].partition(" ")[0] == expected[name]


def test_unmeasured_members_are_noted_in_every_format(result: Result) -> None:
    comparison = compare([result])
    for optimizer in {search.optimizer for search in result.searches}:
        searches = [s for s in result.searches if s.optimizer == optimizer]
        n_unmeasured = sum(search.n_unmeasured for search in searches)
        n_front = sum(len(search.front) for search in searches)
        for text in in_all_formats(comparison):
            assert (f"{optimizer}: {n_unmeasured} of {n_front} recommended" in text) == (
                n_unmeasured > 0
            )
    counts = [search.n_unmeasured for search in result.searches if search.optimizer == "additive"]
    if counts:
        assert sum(counts) > 0
        rows = [row for row in result.summary if row["optimizer"] == "additive"]
        means = [np.mean([r[n] for r in rows]) for n in ("normalised_measured", "normalised")]
        note = "normalized hypervolume {:.4f} in place of {:.4f}".format(*means)
        assert all(note in text for text in in_all_formats(comparison))


def test_noisy_searches_are_scored_by_what_they_measured(make_run: Any) -> None:
    result = make_run("noise", **CASES["noise"])
    measured = compare([result]).problems[0].by_optimizer
    recommended = compare([result], of="recommended").problems[0].by_optimizer
    for search in result.searches:
        scores = measured[search.optimizer], recommended[search.optimizer]
        i = scores[0].seeds.index(search.seed)
        for score, losses in zip(
            scores, (search.measured_losses, search.front.losses), strict=True
        ):
            expected = pareto.hypervolume(losses, result.reference.point) / result.best_hypervolume
            assert score.values["normalised"][i] == pytest.approx(expected)
        for name in ("measured", "recommended"):
            assert scores[0].values[name][i] == scores[1].values[name][i]
    unmeasured = [search.n_unmeasured for search in result.searches]
    assert any(unmeasured)
    leads = recommended["additive"].values["normalised"] - measured["additive"].values["normalised"]
    assert (leads > 0).any()
    assert (leads >= 0).all()


def test_both_hypervolumes_of_a_noisy_search_are_in_its_trajectory(make_run: Any) -> None:
    result = make_run("noise", **CASES["noise"])
    for search, trajectory in zip(result.searches, result.trajectories, strict=True):
        columns = trajectory.columns()
        assert list(columns)[3:6] == ["observed", "true", "measured"]
        assert (columns["measured"] <= columns["true"]).all()
        end = pareto.hypervolume(search.measured_losses, result.reference.point)
        assert columns["measured"][-1] == pytest.approx(end)
        if search.n_unmeasured == 0:
            assert columns["measured"][-1] == columns["true"][-1]


@pytest.mark.parametrize("at", [15, 40])
def test_fronts_after_some_evaluations(result: Result, at: int) -> None:
    """The members are counted among those of the last recommendation up to then."""
    for search in result.searches:
        front = front_at(result, search, at)
        trials = search.trials
        assert front.n_feasible == np.isfinite(search.losses[:at]).all(axis=1).sum()
        assert len(front.losses) == len(front.constraints) == len(front.measured)
        assert np.isfinite(front.losses).all()
        if at == len(trials):
            assert (~front.measured).sum() == search.n_unmeasured
            np.testing.assert_allclose(
                np.sort(front.constraints, axis=0), np.sort(search.front_constraints, axis=0)
            )
        if not result.experiment.noise:
            assert front.measured.all()


def test_values_of_all_seeds_are_in_csv(result: Result) -> None:
    comparison = compare([result])
    header, rows = tables.tidy_table(comparison)
    table = {(row[1], row[2]): dict(zip(header, row, strict=True)) for row in rows}
    for search in result.searches:
        slacks = front_slacks(search, result.constraints)
        for constraint, column in zip(result.constraints, slacks.T, strict=True):
            row = table[search.optimizer, slack_column(constraint)]
            assert len(column) == 0 or row["mean"] == "" or row["best"] >= column.min()
        assert ((search.optimizer, "feasible") in table) == bool(result.constraints)
        assert ((search.optimizer, "measured") in table) == result.experiment.noise


def test_problems_with_other_constraints_share_a_latex_table(make_run: Any) -> None:
    results = [make_run("constraints", **CASES["constraints"]), make_run("neither")]
    text = latex.latex(compare(results), ["seeds", "feasible", "slack"])
    table = text.split(r"\toprule")[1].partition(r"\bottomrule")[0]
    assert table.count("slack of") == len(BOUNDS)
    rows = [line for line in table.splitlines() if "&" in line]
    assert {line.count("&") for line in rows} == {2 + len(BOUNDS)}
    assert any(line.endswith(r"& 2 &  &  &  \\") for line in rows)


@pytest.mark.parametrize("name", ["nsga2", "x", "µ"])
def test_names_keep_their_small_letter_in_latex(name: str) -> None:
    problems = [problem_of(f"p{i}", **{name: [1, 2], "b": [2, 3 + i]}) for i in range(2)]
    for i, problem in enumerate(problems):
        object.__setattr__(problem.scores[0], "settings", str(i))
    text = latex.latex(compare_problems(problems))
    assert f"{name}: its settings are not the same on all problems.\\par" in text
    assert "2 optimizers on 2 problems" in text


@pytest.mark.parametrize("form", ["markdown", "latex", "tables"])
@pytest.mark.parametrize("n", [1, 2, 8])
def test_prose_names_the_normalized_hypervolume(form: str, n: int) -> None:
    comparison = compare_problems([problem_of(f"p{i}", a=[1, 2], b=[2, 3]) for i in range(n)])
    text = {
        "markdown": lambda: export.markdown(comparison),
        "latex": lambda: latex.latex(comparison),
        "tables": lambda: " ".join(title for title, *_ in tables.overall_tables(comparison)),
    }[form]()
    prose = re.sub(r"^\| optimizer.*$", "", text, flags=re.MULTILINE)
    assert "normalised" not in prose
    assert "normalized hypervolume" in prose


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@pytest.mark.parametrize("length", [1, 20])
def test_long_problems_stay_on_the_page(length: int, tmp_path: Path) -> None:
    name = "perplexity, latency@h100 on gpt-s" + "; params <= 100000000" * length
    problems = [problem_of(f"{i} {name}", nsga2=[0.1, 0.2], b=[0.2, 0.3]) for i in range(2)]
    body = latex.latex(compare_problems(problems))
    (tmp_path / "x.tex").write_text(
        "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
        f"{body}\n\\end{{document}}\n",
        encoding="utf-8",
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "x.tex"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, encoding="latin-1", check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
