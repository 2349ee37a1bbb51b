"""What fails after the search never costs its results."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import hwnas
from hwnas.errors import DrawingFailed, InvalidInput
from hwnas.runner.results import Result

CONTENT: dict[str, Any] = {
    "name": "small",
    "space": "gpt-s",
    "objectives": ["perplexity", "latency@h100"],
    "optimizers": ["random"],
    "budget": {"evaluations": 20},
    "seeds": 1,
}
TABLES = ("summary.csv", "random/seed-0/front.csv", "random/seed-0/hypervolume.csv")


def full_disk(*arguments: Any, **keywords: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("error", [OSError(28, "No space left"), RuntimeError("a\nfault")], ids=str)
def test_plots_that_fail_cost_neither_tables_nor_report(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(result: Result) -> None:
        assert all((result.path / name).is_file() for name in TABLES)
        raise error

    monkeypatch.setattr("hwnas.reports.plots.kinds.draw", fail)
    path = tmp_path / "run"
    with pytest.warns(DrawingFailed, match="the results are complete, try again with") as warned:
        result = hwnas.run(CONTENT, path)
    (line,) = [str(w.message) for w in warned if w.category is DrawingFailed]
    assert line.startswith(f"{path}: plots could not be written: {type(error).__name__}: ")
    assert line.endswith(f"hwnas plot {path}")
    assert "\n" not in line
    assert result.summary[0]["status"] == "done"
    assert (path / "report.html").is_file()
    monkeypatch.undo()
    hwnas.resume(path)
    assert (path / "plots" / "fronts.png").is_file()


def test_plots_in_a_link_to_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run"
    hwnas.run(CONTENT, path, draw=False)
    (path / "plots").symlink_to(tmp_path / "nowhere")
    with pytest.warns(DrawingFailed, match="plots could not be written: .*cannot write plots here"):
        hwnas.resume(path)
    assert (path / "report.html").is_file()


def test_a_report_that_fails_costs_no_plots(tmp_path: Path) -> None:
    path = tmp_path / "run"
    hwnas.run(CONTENT, path, draw=False)
    (path / "report.html").mkdir()
    with pytest.warns(
        DrawingFailed, match=f"report.html could not be .* with: hwnas report {path}$"
    ):
        hwnas.resume(path)
    assert (path / "plots" / "fronts.png").is_file()


def test_a_disk_that_is_full_before_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    monkeypatch.setattr("hwnas.runner.results.write_csv", full_disk)
    with pytest.raises(
        InvalidInput, match=f"No space left .*; the trials are kept.* resume {path}$"
    ):
        hwnas.run(CONTENT, path, draw=False)
    with pytest.raises(InvalidInput, match="No space left on device; the trials are kept"):
        hwnas.resume(path, draw=False)
    monkeypatch.undo()
    assert hwnas.resume(path, draw=False).summary[0]["evaluations"] == 20
    assert all((path / name).is_file() for name in TABLES)


def test_links_to_nothing_as_directories(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(InvalidInput, match=r"is a link to .*nowhere, which does not exist; make"):
        hwnas.run(CONTENT, link)
    with pytest.raises(InvalidInput, match=r"run: cannot be made: .*; choose another directory"):
        hwnas.run(CONTENT, link / "run")
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match=r"run: cannot be made: Not a directory; choose another"):
        hwnas.run(CONTENT, tmp_path / "file" / "run")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "link"]
    (tmp_path / "nowhere").mkdir()
    assert hwnas.run(CONTENT, link, draw=False).summary[0]["evaluations"] == 20


def test_a_directory_of_another_run_is_left_to_it(tmp_path: Path) -> None:
    """A second run that is refused removes no directory that the first has just made."""
    from hwnas.runner.run_directory import new_directory

    path = tmp_path / "new" / "run"

    def refused() -> None:
        with new_directory(path):
            raise InvalidInput("in use")

    with new_directory(path), pytest.raises(InvalidInput):
        refused()
    assert path.is_dir()
    path.rmdir()
    with pytest.raises(InvalidInput):
        refused()
    assert path.parent.is_dir()
    path.parent.rmdir()
    with pytest.raises(InvalidInput):
        refused()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("broken", [False, True], ids=["inline backend", "broken Matplotlib"])
def test_matplotlib_of_a_notebook_or_none(broken: bool, tmp_path: Path) -> None:
    environment = {**os.environ, "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    if broken:
        (tmp_path / "broken" / "matplotlib").mkdir(parents=True)
        init = tmp_path / "broken" / "matplotlib" / "__init__.py"
        init.write_text("raise RuntimeError('not built for this machine')")
        environment["PYTHONPATH"] = str(init.parents[1])
    file = tmp_path / "small.yaml"
    hwnas.run(CONTENT, tmp_path / "first", draw=False)
    file.write_bytes((tmp_path / "first" / "experiment.yaml").read_bytes())

    def command(*arguments: str) -> tuple[int, list[str]]:
        code = "from hwnas.cli.main import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr.splitlines()

    code, lines = command("run", str(file), "--out", str(tmp_path / "run"), "--quiet")
    assert code == 0
    assert all((tmp_path / "run" / name).is_file() for name in TABLES)
    assert (tmp_path / "run" / "report.html").exists() is not broken
    assert len(lines) == broken
    if broken:
        assert (
            "plots and report.html could not be written: Matplotlib cannot be loaded: " in lines[0]
        )
        assert f"hwnas plot {tmp_path / 'run'} and hwnas report" in lines[0]
        assert command("plot", str(tmp_path / "run"))[0] == 2
