"""The commands plot, report and compare."""

from __future__ import annotations

import csv
import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import hwnas
from hwnas.cli.report_commands import Indicator
from hwnas.reports.comparison.quality_indicators import METRICS
from hwnas.reports.comparison.tables import COLUMNS

sys.path.insert(0, str(Path(__file__).parent))
from command_line import PLUGIN, SMALL, assert_user_error


def test_plots(hw: Any, small: str, tmp_path: Path) -> None:
    hw("run", small, "--quiet")
    result = hw("plot", "runs/small", "--kind", "fronts", "--format", "svg")
    assert result.out == "runs/small/plots/fronts.svg\n"
    assert (tmp_path / "runs/small/plots/fronts.svg").is_file()
    assert_user_error(hw("plot", "runs/small", "--kind", "front"), "did you mean 'fronts'")
    assert "hypervolume" in hw("plot", "--list").out
    result = hw("plot", "runs/small", "--kind", "hypervolume", "--x", "cost")
    assert result.out == "runs/small/plots/hypervolume-cost.png\n"
    assert_user_error(
        hw("plot", "runs/small", "--kind", "fronts", "--x", "cost"), "only hypervolume can have it"
    )
    assert_user_error(
        hw("plot", "runs/small", "--x", "costs"), "'costs' is not one of 'evaluations', 'cost'"
    )


def test_plots_of_a_run_whose_backend_is_a_plugin(hw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    form = {**SMALL, "objectives": ["depth", "-params"], "backend": "typed-in"}
    Path("mine.py").write_text(PLUGIN)
    Path("mine.yaml").write_text(yaml.safe_dump(form))
    assert hw("run", "mine.yaml", "--plugin", "mine.py", "--quiet").code == 0
    monkeypatch.setattr("hwnas.registry._registered", {"optimizer": {}, "backend": {}})
    message = r"small/experiment\.yaml: plugins: .* allow it with --allow-plugins"
    assert_user_error(hw("plot", "runs/small"), message)
    assert_user_error(hw("report", "runs/small"), message)
    assert hw("report", "runs/small", "--allow-plugins").code == 0
    monkeypatch.setattr("hwnas.registry._registered", {"optimizer": {}, "backend": {}})
    result = hw("plot", "runs/small", "--allow-plugins", "--kind", "fronts")
    assert (result.code, result.out) == (0, "runs/small/plots/fronts.png\n")
    assert "typed-in" in hwnas.registry._registered["backend"]


def test_plots_of_a_run_whose_optimizer_was_a_plugin(
    hw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mine.py").write_text(PLUGIN)
    Path("mine.yaml").write_text(yaml.safe_dump({**SMALL, "optimizers": ["typed-in"]}))
    assert hw("run", "mine.yaml", "--plugin", "mine.py", "--quiet").code == 0
    monkeypatch.setattr("hwnas.registry._registered", {"optimizer": {}, "backend": {}})
    Path("mine.py").unlink()
    assert hw("plot", "runs/small", "--kind", "fronts").code == 0


def test_report(hw: Any, small: str, tmp_path: Path) -> None:
    hw("run", small, "--quiet")
    file = tmp_path / "runs/small/report.html"
    first = file.read_text()
    file.unlink()
    assert hw("report", "runs/small").out == "runs/small/report.html\n"
    assert file.read_text() == first
    assert hw("report", "runs/small", "--out", "mine.html").out == "mine.html\n"
    assert (tmp_path / "mine.html").read_text() == first
    assert_user_error(
        hw("report", "runs/small", "--out", "runs"), "runs: is a directory, expected a file"
    )
    assert_user_error(
        hw("report", "runs/small", "--out", "no/x.html"), "there is no directory no; make it"
    )


def test_compare(hw: Any, small: str, tmp_path: Path) -> None:
    hw("run", small, "--quiet", "--set", "optimizers=[random, uniform]", "--set", "seeds=2")
    result = hw("compare", "runs/small")
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0] == "perplexity, latency@rtx3080 on gpt-s, relative to: exact front"
    assert lines[1].split()[:4] == ["optimizer", "seeds", "evaluations", "normalised"]
    assert [line.split()[0] for line in lines[2:4]] == ["uniform", "random"]
    assert any(line.startswith("seed to seed on this problem: differences") for line in lines)
    assert any(re.match(r"uniform +random +2 +2 ", line) for line in lines)
    note = "2 optimizers on 1 problem: tests over problems need at least 6"
    assert lines[-1].startswith(note)

    result = hw("compare", "runs/small", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(result.out)))
    assert len(rows) == 2 * 5
    assert [*rows[0]][:4] == ["problem", "optimizer", "indicator", "seeds"]
    assert note in result.err

    markdown = hw("compare", "runs/small", "--at", "10", "--metric", "r2", "--format", "markdown")
    assert "| optimizer | seeds | evaluations | r2 |" in markdown.out
    assert re.search(r"^\| (uniform|random) \| 2 \| 10 \| \*\*0\.", markdown.out, re.MULTILINE)
    assert note in markdown.out
    latex = hw("compare", "runs/small", "--format", "latex").out
    assert latex.count(r"\begin{tabular}") == latex.count(r"\bottomrule") == 2
    assert note in latex


def test_compare_several_problems(hw: Any, small: str, tmp_path: Path) -> None:
    form = ("run", small, "--quiet", "--no-draw", "--set", "optimizers=[random, uniform]")
    for device in ("rtx3080", "h100"):
        objectives = f"objectives=[perplexity, latency@{device}]"
        hw(*form, "--set", objectives, "--out", f"runs/{device}")
    result = hw("compare", "runs/rtx3080", "runs/h100", "--plot", "ranks.png")
    assert any(
        line.startswith("mean rank by normalised over 2 problems")
        for line in result.out.splitlines()
    )
    assert result.out.endswith("ranks.png\n")
    assert (tmp_path / "ranks.png").read_bytes().startswith(b"\x89PNG")
    result = hw("compare", "runs/h100", "runs/rtx3080", "--format", "csv", "--plot", "ranks.svg")
    assert result.err.endswith("ranks.svg\n")


def test_compare_with_chosen_columns(hw: Any, small: str) -> None:
    hw("run", small, "--quiet", "--no-draw")
    chosen = ("--columns", "seeds,r2", "--columns", "best")
    assert hw("compare", "runs/small", *chosen).out.splitlines()[1].split() == [
        "optimizer",
        "seeds",
        "r2",
        "best",
    ]
    markdown = hw("compare", "runs/small", *chosen, "--format", "markdown").out
    assert "| optimizer | seeds | r2 | best |" in markdown
    options = ("--format", "latex", "--caption", "5 % of it", "--label", "tab:it")
    latex = hw("compare", "runs/small", *chosen, *options).out
    assert r"optimizer & seeds & R2 $\downarrow$ & best \\" in latex
    assert r"\caption{5 \% of it}" in latex
    assert r"\label{tab:it}" in latex


def test_compare_help_names_every_column(hw: Any) -> None:
    text = " ".join(re.sub("[^A-Za-z0-9_,. ]", " ", hw("compare", "--help").out).split())
    assert f"Any of {', '.join(COLUMNS)}." in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--columns", "seed"), "unknown column 'seed'; did you mean 'seeds'"),
        (("--columns", "seeds", "--format", "csv"), "--columns: csv has all of them"),
        (("--caption", "x"), "--caption: found --format table, expected latex"),
        (("--label", "x", "--format", "markdown"), "--label: found --format markdown, expected"),
        (("--label", "a b", "--format", "latex"), "--label a b: expected letters, digits"),
        (("--plot", "x.png"), "expected two optimizers on all problems, found 1"),
    ],
)
def test_compare_refuses_options(
    hw: Any, small: str, options: tuple[str, ...], message: str
) -> None:
    hw("run", small, "--quiet", "--no-draw")
    assert_user_error(hw("compare", "runs/small", *options), message)


def test_compare_by_every_metric() -> None:
    assert [indicator.value for indicator in Indicator] == list(METRICS)


def test_compare_errors(hw: Any, small: str) -> None:
    hw("run", small, "--quiet")
    assert_user_error(
        hw("compare", "nowhere"), "nowhere: no trials here, expected the directory of a run"
    )
    assert_user_error(
        hw("compare", "runs/small", "runs/small"), "expected every run once, found it 2 times"
    )
    assert_user_error(
        hw("compare", "runs/small", "--at", "31"), "ended after 30 .* expected at most 30"
    )
    assert_user_error(
        hw("compare", "runs/small", "--metric", "hv"), "'hv' is not one of 'normalised'"
    )
    result = hw("compare", "runs/small")
    assert result.code == 0
    assert result.out.endswith("one optimizer: nothing is tested\n")
