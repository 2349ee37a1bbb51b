"""Former module paths work for one more version, with a warning at the line of the import."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hwnas
from hwnas.deprecation import FORMER_MODULES, FormerModuleFinder

# Documented names of each former module, and where they are now.
NAMES = [
    ("architectures", "Architecture", "spaces.architecture", "Architecture"),
    ("experiments", "Experiment", "experiment", "Experiment"),
    ("experiments", "ExperimentError", "errors", "ExperimentError"),
    ("experiments", "Problem", "problem", "Problem"),
    ("experiments", "load_form", "experiment", "validate_form"),
    ("experiments", "load_plugins", "experiment", "run_plugin_files"),
    ("experiments", "problem_of", "problem", "build_problem"),
    ("experiments", "shipped", "shipped_experiments", "shipped_experiment"),
    ("metrics", "Metric", "objectives", "Metric"),
    ("results", "CellResult", "runner.search_result", "SearchResult"),
    ("results", "Result", "runner.results", "Result"),
    ("results", "Trajectory", "runner.search_result", "Trajectory"),
    ("runs", "SearchFailed", "errors", "SearchFailed"),
    ("runs", "resume", "api", "resume"),
    ("runs", "run", "api", "run"),
    ("store", "Store", "runner.storage", "Store"),
    ("store", "Trials", "runner.storage", "Trials"),
]


@pytest.fixture(autouse=True)
def fresh_modules() -> Iterator[None]:
    """Forget former modules, whose warning comes with the first import only."""
    forget()
    yield
    forget()


def forget() -> None:
    for name in FORMER_MODULES:
        sys.modules.pop(name, None)
        vars(hwnas).pop(name.removeprefix("hwnas."), None)


def test_every_former_module_is_tested() -> None:
    assert {f"hwnas.{module}" for module, *_ in NAMES} == set(FORMER_MODULES)


@pytest.mark.parametrize(("module", "name", "new_module", "new_name"), NAMES)
def test_former_names_are_the_new_objects(
    module: str, name: str, new_module: str, new_name: str
) -> None:
    replacement, _ = FORMER_MODULES[f"hwnas.{module}"]
    message = rf"hwnas\.{module} is now called {replacement}"
    with pytest.warns(DeprecationWarning, match=message):
        former = importlib.import_module(f"hwnas.{module}")
    current = importlib.import_module(f"hwnas.{new_module}")
    assert getattr(former, name) is getattr(current, new_name)


def test_load_returns_the_experiment_alone() -> None:
    content = {
        "name": "x",
        "space": "gpt-s",
        "objectives": ["params", "flops"],
        "optimizers": ["random"],
        "budget": {"evaluations": 1},
    }
    with pytest.warns(DeprecationWarning, match=r"hwnas\.experiment"):
        experiments: Any = importlib.import_module("hwnas.experiments")
    assert experiments.load(content, {"budget.evaluations": 2}).budget.evaluations == 2


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.warns(DeprecationWarning, match=r"hwnas\.runner\.storage"):
        former: Any = importlib.import_module("hwnas.store")
    with pytest.raises(AttributeError, match=r"module 'hwnas\.store' has no attribute 'nothing'"):
        _ = former.nothing
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec("from hwnas.store import nothing")
    with pytest.raises(ModuleNotFoundError, match=r"hwnas\.nothing"):
        importlib.import_module("hwnas.nothing")


@pytest.mark.parametrize(
    "statement",
    ["import hwnas.results", "from hwnas import results", "from hwnas.results import Result"],
)
def test_warning_names_the_line_of_the_import(tmp_path: Path, statement: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"import hwnas\n\n{statement}\n")
    process = subprocess.run(
        [sys.executable, "-W", "default", script], capture_output=True, text=True, check=True
    )
    first_line = process.stderr.splitlines()[0]
    assert first_line.startswith(f"{script}:3: DeprecationWarning: hwnas.results is now called")


def test_the_hook_is_installed_once_and_last() -> None:
    FormerModuleFinder.install()
    finders = [finder for finder in sys.meta_path if isinstance(finder, FormerModuleFinder)]
    assert len(finders) == 1
