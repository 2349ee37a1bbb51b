"""Every command of the program in processes of its own, on small inputs.

``make test-minimum`` runs these with the oldest libraries that ``setup.cfg`` allows, and without
those of most extras.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from hwnas.cli.main import app

HWNAS = Path(sys.executable).with_name("hwnas")
COMMANDS = [
    "run", "resume", "list", "query", "front", "check", "schema", "plot", "report", "compare",
    "reproduce", "profile", "audit", "build", "evaluate", "device", "supernet", "fit", "export",
    "explore", "init", "shrink",
]  # fmt: skip
# Optimizers that need no library but those of hwnas and pymoo.
OPTIMIZERS = [
    "random", "uniform", "morea", "local_search", "additive", "nsga2", "nsga3", "moead", "smsemoa"
]  # fmt: skip
ARCH = "gpt-s-10-192-" + "2-" * 10 + "4-" * 10 + "True"


def hwnas(*arguments: str, directory: Path | None = None) -> str:
    """Run a command that must succeed, and return its standard output."""
    done = subprocess.run(
        [HWNAS, *arguments], cwd=directory, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory in which the shipped quickstart ran, shortened, with every optimizer above."""
    path = tmp_path_factory.mktemp("commands")
    settings = {
        "optimizers": OPTIMIZERS,
        "budget.evaluations": 16,
        "seeds": 2,
    }
    overrides = [f"--set={key}={json.dumps(value)}" for key, value in settings.items()]
    hwnas("run", "quickstart", *overrides, "--workers", "2", directory=path)
    return path


def test_all_commands_are_here() -> None:
    assert sorted(typer.main.get_command(app).commands) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str) -> None:
    assert f"hwnas {command}" in hwnas(command, "--help")


def test_help_and_version_of_program() -> None:
    text = hwnas("--help")
    assert all(command in text for command in COMMANDS)


@pytest.mark.parametrize("kind", ["optimizers", "backends", "spaces", "devices", "metrics"])
def test_list(kind: str) -> None:
    assert len(hwnas("list", kind, "--verbose").splitlines()) >= 3


def test_query_and_front() -> None:
    rows = csv.DictReader(io.StringIO(hwnas("query", ARCH, "--format", "csv", "--device", "h100")))
    assert {"metric", "unit"} <= set(next(rows))
    for device in ("h100", "cpu_xeon_gold"):
        answer = json.loads(hwnas("query", ARCH, ARCH, "--device", device, "--format", "json"))
        assert len(answer) == 2
    front = hwnas("front", "gpt-s", "latency@h100", "-params", "--best", "3", "--csv")
    assert len(front.splitlines()) == 4


def test_front_is_drawn(tmp_path: Path) -> None:
    hwnas("front", "gpt-s", "perplexity", "latency@h100", "--plot", directory=tmp_path)
    assert (tmp_path / "front-gpt-s.png").stat().st_size > 1000


def test_run_writes_summary_plots_and_report(directory: Path) -> None:
    run = directory / "runs" / "quickstart"
    with (run / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted({row["optimizer"] for row in rows}) == sorted(OPTIMIZERS)
    assert {row["status"] for row in rows} == {"done"}
    assert list(run.rglob("*.png"))
    assert (run / "report.html").stat().st_size > 1000


def test_resume_searches_again_what_is_missing(directory: Path) -> None:
    run = directory / "runs" / "quickstart"
    summary = (run / "summary.csv").read_text()
    shutil.rmtree(run / "additive")
    hwnas("resume", "runs/quickstart", "--no-draw", directory=directory)
    assert len((run / "summary.csv").read_text().splitlines()) == len(summary.splitlines())
    assert (run / "additive").is_dir()


def test_run_is_drawn_reported_and_compared(directory: Path) -> None:
    assert "hypervolume" in hwnas("plot", "--list")
    hwnas("plot", "runs/quickstart", directory=directory)
    hwnas("report", "runs/quickstart", directory=directory)
    table = hwnas("compare", "runs/quickstart", directory=directory)
    assert all(optimizer in table for optimizer in OPTIMIZERS)


@pytest.mark.parametrize("name", ["random", "nsga2"])
def test_check(name: str) -> None:
    assert "passed" in hwnas("check", name)


def test_schema() -> None:
    assert "optimizers" in json.loads(hwnas("schema"))["properties"]


def test_reproduce_lists_its_experiments() -> None:
    assert hwnas("reproduce", "--list")


@pytest.mark.parametrize("arguments", [["nosuch"], ["run"], ["run", "--nosuch"], ["list", "x"]])
def test_errors_are_one_line(arguments: list[str]) -> None:
    done = subprocess.run([HWNAS, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("hwnas: ")
    assert done.stderr.count("\n") == 1
