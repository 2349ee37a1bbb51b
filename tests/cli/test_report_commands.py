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

from hwnas import registry
from hwnas.cli.report_commands import Indicator
from hwnas.errors import InvalidInput
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
        hw("plot", "runs/small", "--x", "costs"), "one of evaluations, cost, seconds, found 'costs'"
    )


@pytest.fixture
def without_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that two kinds of plots cannot be drawn of, one of them drawn by default."""
    from dataclasses import replace

    from hwnas.reports.plots import kinds

    def lacks_data(result: Any, **options: Any) -> Any:
        raise InvalidInput("this run lacks what it shows")

    drawable = {name: kinds.KINDS[name] for name in ("hypervolume", "ranks")}
    failing = {name: replace(kinds.KINDS[name], figure=lacks_data) for name in ("effect", "fronts")}
    monkeypatch.setattr(kinds, "KINDS", drawable | failing)


@pytest.mark.parametrize(
    ("requested", "drawn", "failed", "code"),
    [
        (["hypervolume"], ["hypervolume"], [], 0),
        (["effect", "hypervolume"], ["hypervolume"], ["effect"], 2),
        (["hypervolume", "effect", "ranks"], ["hypervolume", "ranks"], ["effect"], 2),
        (["effect"], [], ["effect"], 2),
        ([], ["hypervolume"], ["fronts"], 0),
        (["all"], ["hypervolume", "ranks"], ["effect", "fronts"], 0),
        (["all", "effect"], ["hypervolume", "ranks"], ["effect", "fronts"], 2),
    ],
)
@pytest.mark.usefixtures("without_effect")
def test_kinds_that_cannot_be_drawn_leave_the_others_alone(
    hw: Any, small: str, requested: list[str], drawn: list[str], failed: list[str], code: int
) -> None:
    hw("run", small, "--quiet", "--no-draw", "--set", "optimizers=[random, uniform]")
    options = [option for kind in requested for option in ("--kind", kind)]
    result = hw("plot", "runs/small", *options)
    assert result.code == code
    reasons = [f"hwnas: {name}: this run lacks what it shows" for name in failed]
    files = [Path(line) for line in result.out.splitlines()]
    assert all(file.is_file() for file in files)
    assert result.err.splitlines() == reasons
    assert [file.stem for file in files] == drawn


@pytest.mark.parametrize("name", ["pareto", "everything", "heatmap"])
def test_unknown_kinds_of_plots_list_all(hw: Any, small: str, name: str) -> None:
    from hwnas.reports.plots.kinds import KINDS

    hw("run", small, "--quiet", "--no-draw")
    names = ", ".join(sorted([*KINDS, "all"]))
    assert_user_error(
        hw("plot", "runs/small", "--kind", name), f"unknown kind of plot '{name}'; known: {names}$"
    )


@pytest.mark.parametrize(
    "form",
    [
        {**SMALL, "objectives": ["depth", "-params"], "backend": "typed-in"},
        {**SMALL, "optimizers": ["typed-in"]},
    ],
    ids=["backend", "optimizer"],
)
def test_reading_a_run_of_a_plugin_needs_no_foreign_code(hw: Any, form: dict[str, Any]) -> None:
    Path("mine.py").write_text(PLUGIN)
    Path("mine.yaml").write_text(yaml.safe_dump(form))
    assert hw("run", "mine.yaml", "--plugin", "mine.py", "--quiet", "--no-draw").code == 0
    Path("mine.py").unlink()
    for command in (["plot", "--kind", "fronts"], ["report"], ["compare"]):
        registry.replace_registered({})
        result = hw(command[0], "runs/small", *command[1:])
        assert result.code == 0, result.err
        assert not any(registry.registered_classes().values())


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
        line.startswith("mean rank by normalized hypervolume over 2 problems")
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
        hw("compare", "runs/small", "--metric", "hv"), "expected one of normalised, .*, found 'hv'"
    )
    result = hw("compare", "runs/small")
    assert result.code == 0
    assert result.out.endswith("one optimizer: nothing is tested\n")
