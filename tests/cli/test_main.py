"""Command line: running experiments, errors, exit codes and plugins."""

from __future__ import annotations

import csv
import errno
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import hwnas

sys.path.insert(0, str(Path(__file__).parent))
from command_line import ARCH, PLUGIN, SMALL, assert_user_error


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


def test_version(hw: Any) -> None:
    result = hw("--version")
    assert (result.code, result.err) == (0, "")
    assert result.out == f"hwnas {importlib.metadata.version('hwnas')}\n"


@pytest.mark.parametrize(
    "budget", [{"evaluations": 30}, {"cost": 0.005}, {"evaluations": 10**9, "cost": 0.005}], ids=str
)
@pytest.mark.parametrize("command", ["run", "resume"])
def test_progress_ends_with_the_last_evaluation_of_each_search(
    hw: Any, tmp_path: Path, budget: dict[str, Any], command: str
) -> None:
    form = {**SMALL, "budget": budget, "seeds": 2}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(form))
    if command == "resume":

        def stop(run: Any, evaluations: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            hwnas.run(form, tmp_path / "runs" / "small", progress=stop, draw=False)
    result = hw(command, "runs/small" if command == "resume" else "small.yaml", "--no-draw")
    assert result.code == 0, result.err
    rows = csv.DictReader((tmp_path / "runs" / "small" / "summary.csv").open())
    lines = [f"random seed {row['seed']}: {row['evaluations']} evaluations" for row in rows]
    assert sorted(result.err.splitlines()) == lines
    assert hw("resume", "runs/small", "--no-draw", "--quiet").err == ""


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


def test_resume_gives_more(hw: Any, small: str) -> None:
    assert hw("run", small, "--no-draw").code == 0
    more = ["--set", "budget.evaluations=40", "--set", "seeds=2"]
    result = hw("resume", "runs/small", "--no-draw", *more)
    assert result.code == 0, result.err
    assert result.err == "random seed 0: 40 evaluations\nrandom seed 1: 40 evaluations\n"
    result = hw("resume", "runs/small", "--no-draw", "--set", "noise=true")
    assert_user_error(result, "runs/small: noise was False and cannot become True: a run has one")
    result = hw("resume", "runs/small", "--no-draw", "--set", "budget.evaluations=0")
    assert_user_error(result, "budget.evaluations: expected")
    result = hw("run", small, "--no-draw", "--quiet", "--set", "budget.evaluations=90")
    assert_user_error(result, r"another experiment: seeds: random seed 1 has trials here")
    result = hw("run", small, "--no-draw", "--quiet", "--set", "seeds=3")
    assert_user_error(result, r"budget.evaluations: 40 -> 30.*; choose another directory with")


def test_a_disk_that_is_full_at_the_start(
    hw: Any, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("hwnas.api.write_text", full)
    result = hw("run", small)
    assert_user_error(result, "hwnas: cannot be written: No space left on device")


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
        (["rum"], "unknown command 'rum'; did you mean 'resume' or 'run'"),
        (["run"], "FILE: is required; expected experiment YAMLs"),
        (["run", "--foo"], "unknown option '--foo'; known: .*--workers"),
        (["run", "none.yaml"], r"none\.yaml: no such file"),
        (
            ["run", "gpus"],
            "gpus: no such file; experiments of hwnas: hardware/cpu-tiny, ",
        ),
        (["run", "."], r"\.: cannot be read: Is a directory"),
        (["run", "small.yaml", "--workers", "0"], "--workers"),
        (["run", "small.yaml", "--workers", "two"], "--workers"),
        (["run", "small.yaml", "--set", "seeds"], "--set 'seeds': expected KEY=VALUE"),
        (["run", "small.yaml", "--set", "sed=1"], "sed: unknown key 'sed'; did you mean 'seeds'"),
        (["run", "small.yaml", "--set", "seeds=[1"], "--set seeds: "),
        (["resume", "."], r"no experiment\.yaml here"),
        (["resume", "none"], r"no experiment\.yaml here"),
        (["list", "optimisers"], "optimisers"),
        (["plot"], "expected the directory of a run, or --list"),
        (["plot", "none"], "no trials here"),
        (["report", "none"], "none: no trials here, expected the directory of a run"),
        (["report"], "directory: is required; expected the directory of a run"),
        (["plot", ".", "--format", "gif"], "gif"),
        (["query", "gpt-s-what"], "architecture 'gpt-s-what': expected"),
        (["query", ARCH, "--device", "h10"], "unknown device 'h10'; did you mean 'h100'"),
        (["query", ARCH, ARCH.replace("gpt-s", "gpt-m")], "expected architectures of one space"),
        (["query", ARCH.replace("gpt-s", "gpt-q")], "unknown space 'gpt-q'"),
        (["query", ARCH.replace("192", "193")], "embed_dim: expected one of"),
        (["front", "gpt-s"], "objectives: is required; expected metrics"),
        (["front", "gpt-m-wide", "perplexity", "params"], "gpt-m-wide"),
        (["front", "gpt-s", "perplexity", "latncy@h100"], "unknown metric 'latncy'"),
        (
            ["front", "gpt-s", "perplexity", "params", "--constraint", "x"],
            "constraint 'x': expected <=",
        ),
        (["query"], "expected architectures, found none"),
        (["query", ARCH, "-"], "expected either architectures or -, found both"),
        (["query", ARCH, ARCH.replace("192", "7")], "argument 2: embed_dim: expected one of"),
        (["query", ARCH, "--metric", "latncy"], "unknown metric 'latncy'; did you mean 'latency'"),
        (["query", ARCH, "--metric", "flops", "--device", "h10"], "unknown device 'h10'"),
        (["query", ARCH, "--metric", "-flops"], "expected neither sign nor bound"),
        (["query", ARCH, "--metric", "latency@h100+v100"], "expected one device"),
        (["list", "spaces", "--space", "gpt-m"], "list spaces: takes no --space"),
        (["list", "devices", "--space", "gpt-m-wide"], "no published figures"),
        (["front", "gpt-s", "perplexity", "latency@h100+v10"], "unknown device 'v10'"),
        (
            ["front", "gpt-s", "perplexity", "params", "--bset", "3"],
            "unknown option '--bset'; did you mean '--best'",
        ),
        (["front", "gpt-s", "perplexity", "--plot"], "expected two objectives or more"),
        (["front", "gpt-s", "perplexity", "params", "--best", "0"], "--best"),
        (["front", "gpt-s", "perplexity", "params", "flops", "--best", "3"], "two objectives"),
    ],
)
def test_wrong_use_prints_one_line(hw: Any, small: str, arguments: list[str], message: str) -> None:
    assert_user_error(hw(*arguments), message)


@pytest.mark.parametrize("value", ["two", "-7", "0.5.5", ""])
def test_values_that_typer_refuses_are_explained_in_own_words(hw: Any, value: str) -> None:
    calls = {
        ("run", "x.yaml"): ["--workers"],
        ("list", "--"): [""],
        ("query", ARCH): ["--format"],
        ("front", "gpt-s", "params", "flops"): ["--best"],
        ("check", "random"): ["--kind"],
        ("plot", "."): ["--format", "--x"],
        ("compare", "."): ["--format", "--metric", "--at"],
        ("reproduce",): ["--workers"],
        ("profile", "--space", "gpt-s", "--out", "x.csv"): [
            "--count", "--batch-size", "--tokens", "--threads", "--within", "--seed",
            "--anchor-every",
        ],
        ("build", ARCH, "--out", "x"): ["--seed"],
    }  # fmt: skip
    for command, names in calls.items():
        for name in names:
            option = f"{name}={value}" if name else value
            result = hw(*command, option)
            assert_user_error(result, f"{name}: expected " if name else "kind: expected ")
            assert re.search("expected (an integer|a number|at least|at most|one of)", result.err)
            assert not re.search("Input should|Value error|unable to parse", result.err)
            assert repr(value) in result.err or value in ("-7",)


def test_schema(hw: Any) -> None:
    schema = json.loads(hw("schema").out)
    assert {"name", "space", "objectives", "optimizers", "budget"} <= set(schema["properties"])
    assert schema["properties"]["sweep"]["type"] == "object"


def test_error_in_a_search_exits_with_1(
    hw: Any, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raising(*arguments: Any, **settings: Any) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("hwnas.runner.search_loop.search", raising)
    result = hw("run", small)
    assert result.code == 1
    assert "ZeroDivisionError: division by zero" in result.err


def test_interrupt_prints_how_to_resume(
    hw: Any, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*arguments: Any, **settings: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hwnas.runner.search_loop.search", stopped)
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
    # A finished run needs no plugin; tests/runner/test_foreign_code.py has the others.
    Path("mine.py").write_text("raise SystemExit")
    assert hw("resume", "runs/listed", "--quiet").code == 0


def test_log_messages_are_printed(hw: Any, small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import logging

    import hwnas.api

    def run(*arguments: Any, real: Any = hwnas.api.run, **keywords: Any) -> Any:
        logging.getLogger("hwnas.profiling").info("step %d", 7)
        return real(*arguments, **keywords)

    monkeypatch.setattr(hwnas.api, "run", run)
    assert "step 7\n" in hw("run", small).err
    assert hw("run", small, "--out", "again", "--quiet").err == ""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "2 optimizers on 1 problem: tests over problems need at least 6 for p < 0.05"),
        ({"optimizers": ["random"]}, None),
    ],
    ids=["a comparison", "one optimizer"],
)
def test_a_run_says_first_what_it_is_too_small_to_show(
    hw: Any, tmp_path: Path, change: dict[str, Any], expected: str | None
) -> None:
    content = {"name": "x", "space": "gpt-s", "objectives": ["perplexity", "latency@h100"]}
    content |= {"optimizers": ["random", "uniform"], "budget": {"evaluations": 5}, "seeds": 2}
    (tmp_path / "x.yaml").write_text(str(content | change))
    lines = hw("run", "x.yaml", "--no-draw").err.splitlines()
    assert (expected in lines[0]) if expected else not any("tests over" in line for line in lines)
    assert hw("run", "x.yaml", "--no-draw", "--quiet", "--out", "y").err == ""
