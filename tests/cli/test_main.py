"""Command line: its output, its files and its exit codes."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import hwnas
from hwnas.cli.console import print_table
from hwnas.cli.main import main
from hwnas.cli.report_commands import Indicator
from hwnas.reports.comparison.quality_indicators import METRICS

SMALL: dict[str, Any] = {
    "name": "small",
    "space": "gpt-s",
    "objectives": ["perplexity", "latency@rtx3080"],
    "optimizers": ["random"],
    "budget": {"evaluations": 30},
    "seeds": 1,
}
ARCH = "gpt-s-10-192-" + "2-" * 10 + "4-" * 10 + "True"


class CommandResult:
    """Exit code and output of a command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


class Terminal(io.StringIO):
    """Stream that looks like a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def hw(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Function that runs a command in an empty directory; with piped=None, on a terminal."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, piped: str | bytes | None = "") -> CommandResult:
        content = piped.encode() if isinstance(piped, str) else piped
        stdin = Terminal() if content is None else io.TextIOWrapper(io.BytesIO(content))
        monkeypatch.setattr(sys, "argv", ["hwnas", *arguments])
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(SystemExit) as exit_info:
            main()
        output = capsys.readouterr()
        return CommandResult(int(exit_info.value.code or 0), output.out, output.err)

    return call


@pytest.fixture
def small(tmp_path: Path) -> str:
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL))
    return "small.yaml"


def assert_user_error(result: CommandResult, message: str) -> None:
    """Check for exit code 2 and one line on stderr that matches a pattern."""
    assert result.code == 2, result.err
    assert result.out == ""
    assert re.search(message, result.err), result.err
    assert result.err.startswith("hwnas: ")
    assert result.err.count("\n") == 1


def test_help_names_the_commands(hw: Any) -> None:
    result = hw("--help")
    assert result.code == 0
    for command in ("run", "resume", "list", "query", "front", "plot", "report", "profile"):
        assert re.search(rf"^  {command}\b", result.out, re.MULTILINE)
    for command in ("build", "check", "schema"):
        assert re.search(rf"^  {command}\b", result.out, re.MULTILINE)


def test_run(hw: Any, small: str, tmp_path: Path) -> None:
    result = hw("run", small)
    assert result.code == 0
    assert "random" in result.out
    assert "runs/small" in result.out
    assert result.err == "random seed 0: 30 evaluations\n"
    assert (tmp_path / "runs" / "small" / "summary.csv").is_file()
    assert_user_error(
        hw("run", small), "holds this experiment; go on with: hwnas resume runs/small"
    )
    assert hw("resume", "runs/small").code == 0


def test_options_quiet_set_out(hw: Any, small: str, tmp_path: Path) -> None:
    result = hw(
        "run",
        small,
        "--quiet",
        "--out",
        "here",
        "--set",
        "budget.evaluations=7",
        "--set",
        "seeds=2",
    )
    assert (result.code, result.out, result.err) == (0, "", "")
    rows = list(csv.DictReader((tmp_path / "here" / "summary.csv").open()))
    assert [row["evaluations"] for row in rows] == ["7", "7"]


def test_no_draw_leaves_out_plots_and_report(hw: Any, small: str, tmp_path: Path) -> None:
    path = tmp_path / "runs" / "small"
    result = hw("run", small, "--no-draw")
    assert result.code == 0, result.err
    assert result.out.endswith("runs/small: summary.csv and files of each search\n")
    assert (path / "summary.csv").is_file()
    assert hw("resume", "runs/small", "--no-draw", "--quiet").code == 0
    assert not (path / "plots").exists()
    assert not (path / "report.html").exists()
    # Without the option, resuming the finished run adds them.
    result = hw("resume", "runs/small")
    assert result.out.endswith(
        "runs/small: report.html, summary.csv, plots/, and files of each search\n"
    )
    assert (path / "plots").is_dir()
    assert (path / "report.html").is_file()


def test_several_files(hw: Any, small: str, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({**SMALL, "name": "other"}))
    assert hw("run", small, "other.yaml", "--out", "both", "--quiet").code == 0
    assert {p.name for p in (tmp_path / "both").iterdir()} == {"small", "other"}
    assert_user_error(
        hw("run", small, small), "expected experiments of different names, found small, small"
    )


def test_nothing_runs_if_one_experiment_is_wrong(hw: Any, small: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("name: wrong")
    assert_user_error(hw("run", small, "wrong.yaml"), r"wrong\.yaml: space: is required")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rum"], "No such command 'rum'"),
        (["run"], "Missing argument"),
        (["run", "--foo"], "No such option"),
        (["run", "none.yaml"], r"none\.yaml: no such file"),
        (["run", "."], r"\.: cannot be read: Is a directory"),
        (["run", "small.yaml", "--workers", "0"], "--workers"),
        (["run", "small.yaml", "--workers", "two"], "--workers"),
        (["run", "small.yaml", "--set", "seeds"], "--set 'seeds': expected KEY=VALUE"),
        (["run", "small.yaml", "--set", "sed=1"], "sed: unknown key 'sed'; did you mean 'seeds'"),
        (["run", "small.yaml", "--set", "seeds=[1"], "line 1"),
        (["resume", "."], r"no experiment\.yaml here"),
        (["resume", "none"], r"no experiment\.yaml here"),
        (["list", "optimisers"], "optimisers"),
        (["plot"], "expected the directory of a run, or --list"),
        (["plot", "none"], "no trials here"),
        (["report", "none"], "none: no trials here, expected the directory of a run"),
        (["report"], "(?i)missing argument"),
        (["plot", ".", "--format", "gif"], "gif"),
        (["query", "gpt-s-what"], "architecture 'gpt-s-what': expected"),
        (["query", ARCH, "--device", "h10"], "unknown device 'h10'; did you mean 'h100'"),
        (["query", ARCH, ARCH.replace("gpt-s", "gpt-m")], "expected architectures of one space"),
        (["query", ARCH.replace("gpt-s", "gpt-q")], "unknown space 'gpt-q'"),
        (["query", ARCH.replace("192", "193")], "embed_dim: expected one of"),
        (["front", "gpt-s"], "Missing argument"),
        (["front", "gpt-xl", "perplexity", "params"], "gpt-xl"),
        (["front", "gpt-s", "perplexity", "latncy@h100"], "unknown metric 'latncy'"),
        (["front", "gpt-s", "perplexity", "params", "--constraint", "x"], "has no bound"),
        (["query"], "expected architectures, found none"),
        (["query", ARCH, "-"], "expected either architectures or -, found both"),
        (["query", ARCH, ARCH.replace("192", "7")], "argument 2: embed_dim: expected one of"),
        (["query", ARCH, "--metric", "latncy"], "unknown metric 'latncy'; did you mean 'latency'"),
        (["query", ARCH, "--metric", "flops", "--device", "h10"], "unknown device 'h10'"),
        (["query", ARCH, "--metric", "-flops"], "expected neither sign nor bound"),
        (["query", ARCH, "--metric", "latency@h100+v100"], "expected one device"),
        (["list", "spaces", "--space", "gpt-m"], "list spaces: takes no --space"),
        (["list", "devices", "--space", "gpt-xl"], "no published figures"),
        (["front", "gpt-s", "perplexity", "latency@h100+v100"], "expected one device an objective"),
        (["front", "gpt-s", "perplexity", "latency@h100+v10"], "unknown device 'v10'"),
        (["front", "gpt-s", "perplexity", "params", "--bset", "3"], "No such option: --bset"),
        (["front", "gpt-s", "perplexity", "--plot"], "expected two objectives or more"),
        (["front", "gpt-s", "perplexity", "params", "--best", "0"], "--best"),
        (["front", "gpt-s", "perplexity", "params", "flops", "--best", "3"], "two objectives"),
    ],
)
def test_wrong_use_prints_one_line(hw: Any, small: str, arguments: list[str], message: str) -> None:
    assert_user_error(hw(*arguments), message)


def test_lists(hw: Any) -> None:
    optimizers = hw("list", "optimizers")
    assert optimizers.code == 0
    assert re.search(r"^nsga2 +Non-dominated sorting genetic", optimizers.out, re.MULTILINE)
    assert "pop_size=100" in hw("list", "optimizers", "-v").out
    assert "surrogate" in hw("list", "backends").out
    assert "gpt-xl" in hw("list", "spaces").out
    assert "cpu_xeon_gold" in hw("list", "devices").out
    assert re.search(r"energy@DEVICE +mWh", hw("list", "metrics").out)


def test_list_devices(hw: Any) -> None:
    result = hw("list", "devices")
    assert re.search(r"^h100 +GPU +NVIDIA H100 \(Hopper\) +80 GB or more", result.out, re.MULTILINE)
    assert "ms on gpt-s" in result.out
    assert "citation" not in result.out
    verbose = hw("list", "devices", "-v", "--space", "gpt-l").out
    assert "mWh on gpt-l" in verbose
    for line in (
        "space: gpt-l",
        "licence: Apache-2.0",
        "source: networks 8000, sha256 ",
        "notice: ",
    ):
        assert f"\n{line}" in verbose
    assert re.search(r"^citation: .*arXiv:2405\.10299", verbose, re.MULTILINE)
    assert re.search(r"^h100 +0\.\d+ ", verbose, re.MULTILINE)
    assert "citation" in hw("list", "metrics", "-v").out


def test_query_one(hw: Any) -> None:
    result = hw("query", ARCH, "--device", "h100", "--format", "json")
    rows = {row["metric"]: row for row in json.loads(result.out)}
    assert set(rows) == {
        "perplexity",
        "params",
        "flops",
        "float16_memory",
        "bfloat16_memory",
        "latency@h100",
        "energy@h100",
    }
    bench = hwnas.surrogate("gpt-s")
    codes = bench.space.encode([hwnas.Architecture.parse(ARCH)])
    assert rows["latency@h100"]["median"] == bench.predict(codes, ["latency@h100"])[0, 0]
    assert rows["latency@h100"]["p10"] < rows["latency@h100"]["p90"]
    assert rows["params"]["median"] == int(bench.space.params(codes)[0])
    assert rows["energy@h100"]["unit"] == "mWh"
    assert "latency@h100" in hw("query", ARCH).out


def test_query_several(hw: Any) -> None:
    without_bias = ARCH.replace("True", "False")
    rows = list(csv.DictReader(io.StringIO(hw("query", ARCH, without_bias, "--format", "csv").out)))
    assert [row["arch"] for row in rows] == [ARCH, without_bias]
    assert float(rows[0]["perplexity"]) != float(rows[1]["perplexity"])
    assert rows[0]["params"].isdigit()


@pytest.mark.parametrize("dash", [[], ["-"]])
@pytest.mark.parametrize(
    "piped", [f"{ARCH}\n", json.dumps([ARCH]), f"trial,arch\n7,{ARCH}\n", f"\ufeff{ARCH}\r\n"]
)
def test_query_reads_standard_input(hw: Any, piped: str, dash: list[str]) -> None:
    result = hw("query", *dash, "--metric", "params", "--format", "csv", piped=piped)
    assert result.out.splitlines()[0] == "arch,params"
    assert [line.partition(",")[0] for line in result.out.splitlines()[1:]] == [ARCH]


def test_query_locates_errors_in_standard_input(hw: Any) -> None:
    wide = ARCH.replace("192", "193")
    assert_user_error(hw("query", piped=f"{ARCH}\n\nfoo"), "line 3: architecture 'foo'")
    assert_user_error(hw("query", piped=f"{ARCH}\n{wide}"), "line 2: embed_dim: expected one of")
    assert_user_error(
        hw("query", piped=json.dumps([ARCH, wide])), "element 2: embed_dim: expected one of"
    )
    assert_user_error(hw("query", piped=b"\xff\xfe\x00"), "standard input: expected UTF-8 text")


def test_query_does_not_read_from_a_terminal(hw: Any) -> None:
    assert_user_error(
        hw("query", piped=None), "expected architectures, as arguments or on standard input"
    )


def test_terminal_folds_only_long_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    print_table(["arch", "name"], [[ARCH, "cpu_xeon_silver"], [ARCH, "cpu_amd_7502"]])
    lines = terminal.getvalue().splitlines()
    assert len(lines) > 3
    assert max(map(len, lines[1:])) <= 50  # the header is bold
    assert re.search(r"  cpu_xeon_silver$", lines[1].rstrip())


def test_query_metrics(hw: Any) -> None:
    arguments = ["--metric", "latency:p90", "--metric", "perplexity", "--device", "h100"]
    (row,) = json.loads(hw("query", ARCH, *arguments, "--format", "json").out)
    assert list(row) == ["arch", "latency@h100:p90", "perplexity"]


def test_front(hw: Any, tmp_path: Path) -> None:
    result = hw("front", "gpt-s", "perplexity", "latency@h100", "--csv", "--plot", "--best", "5")
    rows = list(csv.reader(io.StringIO(result.out)))
    assert rows[0] == ["arch", "perplexity", "latency@h100"]
    front = hwnas.surrogate("gpt-s").front(["perplexity", "latency@h100"])
    assert front is not None
    assert [float(row[2]) for row in rows[1:]] == front.best(5).values[:, 1].tolist()
    assert result.err == "front-gpt-s.png\n"
    assert (tmp_path / "front-gpt-s.png").is_file()
    options = ["--metric", "perplexity", "--metric", "latency@h100", "--format", "csv"]
    assert hw("query", *options, piped=result.out).out == result.out
    bounded = hw("front", "gpt-s", "perplexity", "params", "--constraint", "latency@h100 <= 5")
    assert bounded.code == 0


def test_front_maximized_or_empty(hw: Any, tmp_path: Path) -> None:
    result = hw("front", "gpt-s", "-perplexity", "params", "--csv", "--best", "1")
    assert result.out.startswith("arch,-perplexity,params\n")
    empty = hw(
        "front", "gpt-s", "flops", "params", "--constraint", "params <= 1", "--csv", "--plot"
    )
    assert (empty.code, empty.out) == (0, "arch,flops,params\n")
    assert empty.err == "no architecture satisfies the constraints\n"
    assert not list(tmp_path.iterdir())


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


def test_schema(hw: Any) -> None:
    schema = json.loads(hw("schema").out)
    assert {"name", "space", "objectives", "optimizers", "budget"} <= set(schema["properties"])


def test_error_in_a_search_exits_with_1(
    hw: Any, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raising(*arguments: Any, **settings: Any) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("hwnas.runner.run_searches.search", raising)
    result = hw("run", small)
    assert result.code == 1
    assert "ZeroDivisionError: division by zero" in result.err


def test_interrupt_prints_how_to_resume(
    hw: Any, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*arguments: Any, **settings: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hwnas.runner.run_searches.search", stopped)
    result = hw("run", small)
    assert result.code == 2
    assert "hwnas resume" in result.err


def test_installed_command(small: str, tmp_path: Path) -> None:
    hwnas_command = Path(sys.executable).with_name("hwnas")
    process = subprocess.run(
        [hwnas_command, "run", small, "--workers", "2", "--set", "seeds=2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "runs/small" in process.stdout
    closed_pipe = f"{hwnas_command} front gpt-s perplexity latency@h100 --csv | head -1"
    piped = subprocess.run(
        closed_pipe, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert piped.stdout == "arch,perplexity,latency@h100\n"
    assert piped.stderr == ""


PLUGIN = """
import hwnas


@hwnas.register_optimizer("typed-in")
class TypedIn(hwnas.Optimizer):
    def ask(self, n):
        return self.space.sample(n, self.rng)


@hwnas.register_backend("typed-in")
class Answer(hwnas.Backend):
    metrics = {"depth": hwnas.Metric()}

    def evaluate(self, codes, objectives, *, seeds, fidelity=None):
        return hwnas.Evaluation(codes[:, 1:2] + 1.0)
"""


def test_plugins_by_option_and_in_experiment(hw: Any) -> None:
    Path("mine.py").write_text(PLUGIN)
    form = {**SMALL, "optimizers": ["typed-in"]}
    Path("option.yaml").write_text(yaml.safe_dump({**form, "name": "option"}))
    listed = {**form, "name": "listed", "plugins": ["mine.py"]}
    Path("listed.yaml").write_text(yaml.safe_dump(listed))
    assert hw("run", "option.yaml", "--plugin", "mine.py", "--quiet").code == 0
    result = hw("run", "listed.yaml", "--quiet")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "--allow-plugins" in result.err
    assert hw("run", "listed.yaml", "--allow-plugins", "--quiet").code == 0
    assert hw("resume", "runs/listed", "--quiet").code == 2
    assert hw("resume", "runs/listed", "--allow-plugins", "--quiet").code == 0


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


PROFILE = ("profile", "--space", "gpt-s", "--count", "2", "--out", "it.csv", "--device", "cpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metrics", "latncy"], "unknown metric 'latncy'; did you mean 'latency'"),
        (["--space", "gpt-x"], "unknown space 'gpt-x'"),
        (["--precision", "foo"], "precision: expected one of auto, float32, bfloat16"),
        (["--metrics", "latency", "--tokens", "2000"], "tokens: expected at most 1024"),
        (["--metrics", "latency", "--out", "it.txt"], r"ends in \.csv, found it\.txt"),
        (["--count", "0"], "--count"),
    ],
)
def test_profile_errors(hw: Any, options: list[str], message: str) -> None:
    assert_user_error(hw(*PROFILE, *options), message)
    assert not list(Path().iterdir())


def test_profile(hw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from hwnas.profiling.survey.drift import Drift, Summary

    def survey(space: Any, bench: Any, metrics: Any, file: Path, **settings: Any) -> Summary:
        report = settings.pop("report")
        assert (space.name, bench.name, metrics) == ("gpt-s", "cpu", ["latency", "memory"])
        assert (str(file), bench.passes.batch_size, bench.within) == ("it.csv", 4, 0.02)
        assert settings == {"count": 2, "seed": 0, "anchor_every": 10}
        if report:
            row = {"arch": ARCH, "latency@cpu": "2.5", "seconds": "3", "reason": ""}
            report({**row, "role": "anchor"}, 0)
            report({**row, "role": "design"}, 1)
        return Summary(2, 0, 12.0, (Drift("latency@cpu", "ms", 3, 1.9, 2.1, 10.0),))

    monkeypatch.setattr("hwnas.profiling.survey.survey.run_survey", survey)
    arguments = (*PROFILE, "--metrics", "latency, memory", "--batch-size", "4", "--within", "0.02")
    result = hw(*arguments)
    assert result.code == 0
    assert result.err.splitlines() == [
        "anchor: 10 layers of 192: latency@cpu 2.5 ms, 3.0 s",
        "1 of 2: 10 layers of 192: latency@cpu 2.5 ms, 3.0 s",
    ]
    assert re.search(r"^latency@cpu +ms +3 +1\.9 +2\.1 +10\.00$", result.out, re.MULTILINE)
    assert result.out.endswith("it.csv: 2 architectures measured, 0 failed, 12 per minute\n")
    quiet = hw(*arguments, "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def test_interrupted_profile_prints_how_to_resume(hw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*arguments: Any, **settings: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hwnas.profiling.survey.survey.run_survey", stopped)
    message = r"stopped; it\.csv contains all results so far, the same command continues"
    assert_user_error(hw(*PROFILE), message)


def test_build(hw: Any, tmp_path: Path) -> None:
    from hwnas.profiling.export.safetensors import load_model
    from hwnas.spaces.architecture import Architecture

    arch = "gpt-s-10-192-" + "-".join(["2"] * 10 + ["4"] * 10) + "-True"
    result = hw("build", arch, "--out", "net")
    assert result.code == 0, result.err
    space = hwnas.space("gpt-s")
    params = int(space.params(space.encode([Architecture.parse(arch)]))[0])
    assert result.out == f"net: config.json, model.safetensors ({params:,} parameters)\n"
    assert str(load_model(tmp_path / "net").arch) == arch
    assert_user_error(
        hw("build", arch, "--out", "net"), "net/model.safetensors is there already|net/config"
    )
    assert_user_error(hw("build", "gpt-s-10", "--out", "other"), "expected")
    assert_user_error(hw("build", arch.replace("192", "200"), "--out", "other"), "embed_dim")
    (tmp_path / "x.pt").write_bytes(b"no checkpoint")
    assert_user_error(
        hw("build", arch, "--out", "other", "--checkpoint", "x.pt"), "x.pt: expected a checkp"
    )


def test_build_of_a_space_in_a_yaml(hw: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "space: {name: mine, embed_dim: [8], n_layer: [1], mlp_ratio: [2], n_head: [1], "
        "head_size: 4, context: 8, vocab_size: 20}"
    )
    result = hw("build", "mine-1-8-2-1-True", "--space", "mine.yaml", "--out", "net")
    assert result.code == 0, result.err
    (tmp_path / "none.yaml").write_text("name: x")
    for file, message in (
        ("none.yaml", "expected an experiment with the key space"),
        ("x.yaml", "x"),
    ):
        assert_user_error(
            hw("build", "mine-1-8-2-1-True", "--space", file, "--out", "other"), message
        )
    assert_user_error(hw("build", "mine-1-8-2-1-True", "--out", "other"), "unknown space 'mine'")


def test_log_messages_are_printed(hw: Any, small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import logging

    import hwnas.api

    def run(*arguments: Any, real: Any = hwnas.api.run, **keywords: Any) -> Any:
        logging.getLogger("hwnas.profiling").info("step %d", 7)
        return real(*arguments, **keywords)

    monkeypatch.setattr(hwnas.api, "run", run)
    assert "step 7\n" in hw("run", small).err
    assert hw("run", small, "--out", "again", "--quiet").err == ""


def test_compare(hw: Any, small: str, tmp_path: Path) -> None:
    hw("run", small, "--quiet", "--set", "optimizers=[random, uniform]", "--set", "seeds=2")
    result = hw("compare", "runs/small", "--plot", "ranks.png")
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0] == "perplexity, latency@rtx3080 on gpt-s, relative to: exact front"
    assert lines[1].split()[:4] == ["optimizer", "seeds", "evaluations", "normalised"]
    assert [line.split()[0] for line in lines[2:4]] == ["uniform", "random"]
    assert any(
        line.startswith("mean rank by normalised over 2 seeds of 1 problem") for line in lines
    )
    assert any(re.match(r"uniform +random +2 seeds +2 ", line) for line in lines)
    assert lines[-1] == "ranks.png"
    assert (tmp_path / "ranks.png").read_bytes().startswith(b"\x89PNG")

    result = hw("compare", "runs/small", "--format", "csv", "--plot", "ranks.svg")
    rows = list(csv.DictReader(io.StringIO(result.out)))
    assert len(rows) == 2 * 5
    assert [*rows[0]][:4] == ["problem", "optimizer", "indicator", "seeds"]
    assert "could be significant" in result.err
    assert result.err.endswith("ranks.svg\n")

    markdown = hw("compare", "runs/small", "--at", "10", "--metric", "r2", "--format", "markdown")
    assert "| optimizer | seeds | evaluations | r2 |" in markdown.out
    assert re.search(r"^\| (uniform|random) \| 2 \| 10 \| \*\*0\.", markdown.out, re.MULTILINE)
    latex = hw("compare", "runs/small", "--format", "latex").out
    assert latex.count(r"\begin{tabular}") == latex.count(r"\bottomrule") == 3


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
        hw("compare", "runs/small", "--plot", "x.png"), "expected two optimizers on all prob"
    )
    assert_user_error(
        hw("compare", "runs/small", "--metric", "hv"), "'hv' is not one of 'normalised'"
    )
    result = hw("compare", "runs/small")
    assert result.code == 0
    assert result.out.endswith("one optimizer: nothing is tested\n")
