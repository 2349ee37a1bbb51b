"""Functions by name: found without running them, loaded from where they are expected."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hwnas import function_source
from hwnas.function_source import (
    FunctionError,
    defined_here,
    function_file,
    load_function,
    name_of,
)


def of_this_module(config: Any) -> int:
    return 1


class Holder:
    @staticmethod
    def method(config: Any) -> int:
        return 2


@pytest.fixture(autouse=True)
def unchanged_path() -> Iterator[None]:
    before, modules = [*sys.path], {*sys.modules}
    yield
    sys.path[:] = before
    for name in {*sys.modules} - modules:
        del sys.modules[name]


def test_names_of_functions_that_can_be_imported() -> None:
    name, folder = name_of(of_this_module)
    assert name == f"{__name__}:of_this_module"
    assert folder is not None
    assert load_function(name, folder) is of_this_module
    name, folder = name_of(Holder.method)
    assert folder is not None
    assert load_function(name, folder)({}) == 2


def test_functions_of_packages_have_the_folder_of_the_package() -> None:
    name, folder = name_of(function_source.name_of)
    assert name == "hwnas.function_source:name_of"
    assert folder == Path(function_source.__file__).resolve().parents[1]


class Callable_:
    def __call__(self, config: Any) -> int:
        return 3


def local_function() -> Any:
    def inner(config: Any) -> int:
        return 4

    return inner


def replaced(config: Any) -> int:
    return 5


original, replaced = replaced, of_this_module


@pytest.mark.parametrize(
    "function",
    [lambda config: 1, local_function(), Callable_(), partial(of_this_module), original],
    ids=["lambda", "local", "object", "partial", "replaced"],
)
def test_functions_that_cannot_be_imported_are_loaded_where_they_are_defined(function: Any) -> None:
    name, folder = name_of(function)
    assert folder is None
    for _ in range(2):  # before the block and after it
        with pytest.raises(FunctionError, match=r"the program alone that defined it; go on there"):
            load_function(name, Path())
        with defined_here({name: function}):
            assert load_function(name, Path()) is function


def test_a_module_is_found_in_the_folder_first_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "found_first.py").write_text("raise SystemExit\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "found_first.py").write_text("def f(config):\n    return 7\n")
    file = function_file("found_first:f", tmp_path / "mine")
    assert file == (tmp_path / "mine" / "found_first.py").resolve()
    assert function_file("found_first:f", tmp_path / "other") == tmp_path.resolve() / (
        "found_first.py"
    )
    assert "found_first" not in sys.modules
    assert load_function("found_first:f", tmp_path / "mine")({}) == 7
    # The module of that name is loaded now: another one cannot be.
    with pytest.raises(FunctionError, match=r"of the same name is loaded already; rename one"):
        load_function("found_first:f", tmp_path)


@pytest.mark.parametrize("package", ["__init__.py", None])
def test_modules_of_packages(tmp_path: Path, package: str | None) -> None:
    folder = tmp_path / f"project_{package is None}" / "inner"
    folder.mkdir(parents=True)
    if package:
        (folder.parent / package).write_text("")
        (folder / package).write_text("")
    (folder / "code.py").write_text("from .other import g\n\n\ndef f(config):\n    return g()\n")
    (folder / "other.py").write_text("def g():\n    return 8\n")
    name = f"{folder.parent.name}.inner.code:f"
    assert function_file(name, tmp_path) == (folder / "code.py").resolve()
    assert load_function(name, tmp_path)({}) == 8


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        (None, "absent_module:f", "there is no module absent_module in "),
        (None, "absent.module:f", "there is no module absent.module in "),
        (None, "train.py", "expected MODULE:FUNCTION"),
        (None, "train:", "expected MODULE:FUNCTION"),
        (None, ":f", "expected MODULE:FUNCTION"),
        (None, "tr-ain:f", "expected MODULE:FUNCTION"),
        (None, "sys:exit", "expected a function of a Python file, found"),
        ("x = 1\n", "MODULE:f", "has no function 'f'"),
        ("x = 1\n", "MODULE:x", "has no function 'x'"),
        ("import absent_module\n", "MODULE:f", "line 1: ModuleNotFoundError: No module named"),
        ("x = (\n", "MODULE:f", "line 1: SyntaxError"),
        ("\n1 / 0\n", "MODULE:f", "line 2: ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)\n", "MODULE:f", "line 1: SystemExit: 3"),
    ],
)
def test_faults_are_one_line(
    tmp_path: Path, source: str | None, name: str, message: str, request: pytest.FixtureRequest
) -> None:
    module = f"fault_{abs(hash(request.node.name))}"
    if source is not None:
        (tmp_path / f"{module}.py").write_text(source)
    with pytest.raises(FunctionError) as caught:
        load_function(name.replace("MODULE", module), tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
