"""Functions in experiments: found beside the YAML, run only with leave, recorded by their hash."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hwnas
from hwnas.errors import ExperimentError
from hwnas.experiment import read_experiment
from hwnas.foreign_code import completed_settings
from hwnas.function_source import defined_here
from hwnas.problem import load_experiment
from hwnas.runner.results import Result

YAML = """
name: mlp
space:
  name: mlp
  choices: {depth: [1, 2], rate: [0.01, 0.1]}
  layers: {width: [8, 16, 32]}
backend: {type: python, function: "MODULE:evaluate"}
objectives: [error, ms]
constraints: ["size <= 60"]
optimizers: [random]
budget: {evaluations: 8}
seeds: 1
"""
CODE = """
def evaluate(config):
    size = sum(config["width"])
    return {"error": config["rate"] / size, "ms": size, "size": size}
"""


@pytest.fixture(autouse=True)
def unchanged_modules() -> Iterator[None]:
    path, modules = [*sys.path], {*sys.modules}
    yield
    sys.path[:] = path
    for name in {*sys.modules} - modules:
        del sys.modules[name]


@pytest.fixture
def yaml(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    module = f"code_{abs(hash(request.node.name))}"
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / f"{module}.py").write_text(CODE)
    file = tmp_path / "project" / "mlp.yaml"
    file.write_text(YAML.replace("MODULE", module))
    return file


def mark_unfinished(run: Path) -> None:
    """Let a run seem to have been stopped after its last trial."""
    for file in run.glob("*/seed-*/trials.db"):
        with contextlib.closing(sqlite3.connect(file)) as db, db:
            db.execute("DELETE FROM meta WHERE key = 'finished'")


def module_of(yaml: Path) -> Path:
    (file,) = yaml.parent.glob("code_*.py")
    return file


def test_a_function_runs_only_with_leave(yaml: Path) -> None:
    module_of(yaml).write_text("raise AssertionError('must not run')")
    with pytest.raises(ExperimentError) as caught:
        load_experiment(yaml)
    assert str(caught.value) == (
        f"{yaml}: backend.function: {module_of(yaml)} runs code of others; read it, and allow it "
        "with --allow-plugins"
    )


def test_it_is_found_beside_the_yaml_and_its_hash_is_recorded(
    yaml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = hwnas.run(yaml, "run", allow_plugins=True, draw=False)
    assert result.summary[0]["evaluations"] == 8
    assert result.problem.backend.returns == ("error", "ms", "size")  # type: ignore[attr-defined]
    content = json.loads(Path("run/environment.json").read_text())
    assert [*content["plugins"]] == [str(module_of(yaml))]
    # Results are read without the function.
    module_of(yaml).unlink()
    assert Result("run").summary == result.summary


@pytest.mark.parametrize("is_changed", [False, True])
def test_an_unchanged_function_is_resumed_without_leave(
    yaml: Path, tmp_path: Path, is_changed: bool
) -> None:
    path = tmp_path / "run"
    hwnas.run(yaml, path, allow_plugins=True, draw=False)
    mark_unfinished(path)
    if is_changed:
        module_of(yaml).write_text(CODE + "\n# changed\n")
        with pytest.raises(ExperimentError, match="and has changed since the run started"):
            hwnas.resume(path, draw=False)
    result = hwnas.resume(path, draw=False, allow_plugins=is_changed)
    assert result.summary[0]["evaluations"] == 8


def test_a_function_that_a_run_directory_brings_along_needs_leave(
    yaml: Path, tmp_path: Path
) -> None:
    path = tmp_path / "project"
    run = path / "run"
    hwnas.run(yaml, run, allow_plugins=True, draw=False)
    mark_unfinished(run)
    # A record that came with the directory allows nothing inside it.
    (run / module_of(yaml).name).write_text(CODE)
    for name in ("experiment.yaml", "environment.json"):
        text = (run / name).read_text()
        text = text.replace(f"folder: {path}\n", f"folder: {run}\n")
        (run / name).write_text(text.replace(str(module_of(yaml)), str(run / module_of(yaml).name)))
    with pytest.raises(ExperimentError, match="allow it with --allow-plugins"):
        hwnas.resume(run, draw=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("function: ", "funktion: "), "unknown setting of backend 'python': 'funktion'"),
        (('function: "MODULE:evaluate"', "function: 3"), "setting 'function' .*expected a text"),
        ((', function: "MODULE:evaluate"', ""), "backend 'python' needs the setting 'function'"),
        (("MODULE:evaluate", "MODULE:evalute"), "backend.function: .*has no function 'evalute'"),
        (("MODULE:evaluate", "absent_module:f"), "backend.function: absent_module:f: there is no"),
        (("MODULE:evaluate", "MODULE"), "backend.function: function .*expected MODULE:FUNCTION"),
        (('evaluate"', 'evaluate", folder: 3'), "setting 'folder' .*expected a text"),
        (('evaluate"', 'evaluate", steps: [3, 1]'), "backend: steps: expected increasing"),
        (('evaluate"', 'evaluate", returns: [error]'), r"objectives\[1\]: unknown metric 'ms'"),
        (("[error, ms]", "[error, ms@]"), r"objectives: objective 'ms@'"),
    ],
)
def test_faults_are_one_line_at_the_key(yaml: Path, change: tuple[str, str], message: str) -> None:
    old, new = (text.replace("MODULE", module_of(yaml).stem) for text in change)
    assert old in yaml.read_text()
    yaml.write_text(yaml.read_text().replace(old, new))
    with pytest.raises(ExperimentError, match=message) as caught:
        load_experiment(yaml, allow_plugins=True)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(yaml))


def test_completed_settings() -> None:
    folder = Path("/project")
    measured = ["error", "-ms@cpu+gpu", "error <= 1", "not one", "size >= 2"]

    def complete(backend: str, **settings: Any) -> dict[str, Any]:
        return completed_settings(backend, settings, folder, measured)

    names = ["error", "ms@cpu", "ms@gpu", "size"]
    assert complete("python", function="m:f") == {
        "function": "m:f", "folder": "/project", "returns": names,
    }  # fmt: skip
    assert complete("python", function="m:f", folder="code", returns=["a"]) == {
        "function": "m:f", "folder": "/project/code", "returns": ["a"],
    }  # fmt: skip
    assert complete("table", file="t.csv") == {"file": "/project/t.csv"}
    assert complete("table", file="/data/t.csv") == {"file": "/data/t.csv"}
    assert complete("surrogate", file="t.csv") == {"file": "t.csv"}
    # A function of this program has no folder: the run does not depend on where it is started.
    with defined_here({"__main__:f": len}):
        assert complete("python", function="__main__:f") == {
            "function": "__main__:f", "returns": names,
        }  # fmt: skip


def test_a_completed_experiment_is_complete(yaml: Path) -> None:
    experiment, _ = read_experiment(yaml, allow_plugins=True)
    again, _ = read_experiment(experiment, allow_plugins=True)
    assert again == experiment
