"""Which code of others a run may execute later: the files that it was started with, unchanged."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hwnas
from hwnas import registry
from hwnas.errors import InvalidInput
from hwnas.reports.comparison.comparison import compare
from hwnas.reports.html.page import write_page
from hwnas.reports.plots.kinds import draw
from hwnas.runner.results import Result

PLUGIN = """
import hwnas

open("ran.txt", "a").write("x")

@hwnas.register_optimizer("own")
class Own(hwnas.Optimizer):
    def ask(self, n):
        return self.space.sample(1, self.rng)

@hwnas.register_backend("mine")
class Mine(hwnas.Backend):
    metrics = {"a": hwnas.Metric(""), "b": hwnas.Metric("")}

    def __init__(self, space, *, noise: bool = False):
        super().__init__(space)

    def evaluate(self, codes, objectives, *, seeds, fidelity=None):
        return hwnas.Evaluation(codes[:, :2] + 1.0)
"""
SURROGATE: dict[str, Any] = {
    "name": "x",
    "space": "gpt-s",
    "objectives": ["perplexity", "latency@h100"],
    "optimizers": ["own", "random"],
    "budget": {"evaluations": 20},
    "seeds": 1,
}
OWN_BACKEND = SURROGATE | {"backend": "mine", "objectives": ["a", "b"]}


@pytest.fixture(params=[SURROGATE, OWN_BACKEND], ids=["optimizer", "backend"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Directory of a finished run whose plugin is registered no longer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hwnas.plugin_files._loaded", {})
    registry.replace_registered({})
    file = tmp_path / "own.py"
    file.write_text(PLUGIN)
    hwnas.run(request.param, tmp_path / "run", plugins=[file], draw=False)
    monkeypatch.setattr("hwnas.plugin_files._loaded", {})
    registry.replace_registered({})
    (tmp_path / "ran.txt").unlink()
    return tmp_path / "run"


READERS: dict[str, Callable[[Path], object]] = {
    "summary": lambda path: Result(path).summary,
    "write": lambda path: Result(path).write(),
    "plot": lambda path: draw(Result(path)),
    "report": lambda path: write_page(Result(path)),
    "compare": lambda path: compare([Result(path)]),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("gone", [False, True], ids=["there", "gone"])
def test_reading_results_needs_no_foreign_code(
    path: Path, read: Callable[[Path], object], gone: bool
) -> None:
    if gone:
        (path.parent / "own.py").unlink()
    read(path)
    if gone:
        assert not (path.parent / "ran.txt").exists()


def unfinish(path: Path) -> None:
    """Let the last trial of a finished run be missing."""
    for file in path.glob("*/seed-*/trials.db"):
        with sqlite3.connect(file) as database:
            database.execute("DELETE FROM trials WHERE rowid = (SELECT max(rowid) FROM trials)")
            database.execute("DELETE FROM meta WHERE key = 'finished'")


@pytest.mark.parametrize("state", ["there", "changed", "gone"])
def test_resuming_a_finished_run_needs_no_foreign_code(path: Path, state: str) -> None:
    before, file = Result(path).summary, path.parent / "own.py"
    if state == "changed":
        file.write_text("raise SystemExit")
    if state == "gone":
        file.unlink()
    assert hwnas.resume(path, draw=False).summary == before
    assert not (path.parent / "ran.txt").exists()


def test_an_unchanged_file_of_the_run_may_run_again(path: Path) -> None:
    before = Result(path).searches
    unfinish(path)
    for search, expected in zip(hwnas.resume(path, draw=False).searches, before, strict=True):
        assert search.trials.codes.tolist() == expected.trials.codes.tolist()


def test_a_changed_file_may_not(path: Path) -> None:
    unfinish(path)
    file = path.parent / "own.py"
    file.write_text(PLUGIN + "\n# changed\n")
    with pytest.raises(InvalidInput, match=r"own\.py runs code of others, and has changed since"):
        hwnas.resume(path)
    assert not (path.parent / "ran.txt").exists()
    hwnas.resume(path, allow_plugins=True, draw=False)
    # Both versions are on record, and the later one is the one that may run from now on.
    environment = json.loads((path / "environment.json").read_text())
    (former,), (later,) = (environment[k].values() for k in ("plugins", "plugins_when_resumed"))
    assert former != later
    unfinish(path)
    hwnas.resume(path, draw=False)


def test_a_file_that_came_with_the_run_may_not(path: Path) -> None:
    # Somebody hands on a directory whose record allows a file in it.
    unfinish(path)
    inside = path / "own.py"
    shutil.copy(path.parent / "own.py", inside)
    environment = json.loads((path / "environment.json").read_text())
    environment["plugins"] = {str(inside): next(iter(environment["plugins"].values()))}
    (path / "environment.json").write_text(json.dumps(environment))
    text = (path / "experiment.yaml").read_text()
    (path / "experiment.yaml").write_text(text.replace(str(path.parent / "own.py"), str(inside)))
    with pytest.raises(InvalidInput, match="runs code of others; read it"):
        hwnas.resume(path)
    assert not (path.parent / "ran.txt").exists()


@pytest.mark.parametrize("record", ["", "{}", "[]", '{"plugins": 3}', '{"plugins": [1]}'])
def test_a_damaged_record_allows_nothing(path: Path, record: str) -> None:
    unfinish(path)
    (path / "environment.json").write_text(record)
    with pytest.raises(InvalidInput, match="--allow-plugins"):
        hwnas.resume(path)
