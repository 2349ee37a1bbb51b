"""Functions of users by name: ``"module:name"``, where their files are, and how they are loaded.

A function that no import can reach (of a notebook, of the main program, a lambda) has such a name
too, but can be loaded only within `defined_here`, by the program that defined it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import reduce
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hwnas.errors import InvalidInput

Function = Callable[..., Any]


class FunctionError(InvalidInput):
    """Function that is not found, cannot be imported, or can be called elsewhere only."""


_NAMES = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_FORM = "expected MODULE:FUNCTION, as in train:evaluate"
_defined: ContextVar[Mapping[str, Function]] = ContextVar("defined", default=MappingProxyType({}))


@contextlib.contextmanager
def defined_here(functions: Mapping[str, Function]) -> Iterator[None]:
    """Let `load_function` return functions by their names within the block."""
    token = _defined.set({**_defined.get(), **functions})
    try:
        yield
    finally:
        _defined.reset(token)


def name_of(function: Function) -> tuple[str, Path | None]:
    """Return the name of a function and the folder from which its module can be imported.

    The folder is ``None`` where the function cannot be imported by that name.

    Examples
    --------
    >>> name_of(lambda config: 0)[1] is None
    True
    """
    module = str(getattr(function, "__module__", None) or "__main__")
    qualified = getattr(function, "__qualname__", None) or f"<{type(function).__qualname__}>"
    name = f"{module}:{qualified}"
    source = getattr(sys.modules.get(module), "__file__", None)
    if module == "__main__" or source is None or not re.fullmatch(_NAMES, qualified):
        return name, None
    # A name that has been given to another function since leads to that one.
    if _attribute(sys.modules[module], qualified) is not function:
        return f"{module}:<{qualified}>", None
    n_parents = module.count(".") + (Path(source).name == "__init__.py")
    return name, Path(source).resolve().parents[n_parents]


def functions_here() -> dict[str, Function]:
    """Return the functions by name that are in use by `defined_here`."""
    return dict(_defined.get())


def is_defined_here(name: str) -> bool:
    """Return whether a function of that name is in use by `defined_here`."""
    return name in _defined.get()


def function_file(name: str, folder: Path) -> Path:
    """Return the file of a function's module, which is found but not run.

    Parameters
    ----------
    name
        ``"module:name"``.
    folder
        Folder in which the module is looked for first; then the working directory, then where
        Python looks.

    Raises
    ------
    FunctionError
        The name has another form, or there is no such module with a Python file.
    """
    module = _module_of(name)
    spec = _find(module, folder)
    if spec is None:
        raise FunctionError(
            f"{name}: there is no module {module} in {folder}, in the working directory or among "
            "the installed ones"
        )
    if not spec.has_location or not str(spec.origin).endswith(".py"):
        raise FunctionError(f"{name}: expected a function of a Python file, found {spec.origin}")
    return Path(str(spec.origin)).resolve()


def load_function(name: str, folder: Path) -> Function:
    """Return a function, after importing its module.

    Parameters
    ----------
    name, folder
        See `function_file`. The folder in which the module is found stays on Python's path, for
        what the function imports later.

    Raises
    ------
    FunctionError
        The module is not found or raises an error, has no such function, or the function can be
        called by the program alone that has defined it.
    """
    if name in _defined.get():
        return _defined.get()[name]
    file = function_file(name, folder)
    module_name, _, qualified = name.partition(":")
    # Where the first part of a dotted name is found, the rest is too.
    root = str(file.parents[module_name.count(".") + (file.name == "__init__.py")])
    if root not in sys.path:
        sys.path.insert(0, root)
    try:
        importlib.invalidate_caches()
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a module runs a user's code
        raise FunctionError(describe_fault(str(file), file, error)) from error
    loaded_from = getattr(module, "__file__", None)
    if loaded_from is None or Path(loaded_from).resolve() != file:
        raise FunctionError(
            f"{name}: expected the module {file}, but {loaded_from} of the same name is loaded "
            "already; rename one of them"
        )
    function = _attribute(module, qualified)
    if not callable(function):
        raise FunctionError(f"{name}: {file} has no function {qualified!r}")
    loaded: Function = function
    return loaded


def describe_fault(name: str, path: Path, error: BaseException) -> str:
    """Return one line on why a Python file does not run, with the line of that file.

    Parameters
    ----------
    name
        Name of the file in the text.
    path
        The file.
    error
        Error that running it has raised.
    """
    text = " ".join(str(error).split())
    if text.startswith(f"{name}: "):
        return text
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{name}, line {error.lineno}: SyntaxError: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    suffix = f", line {lines[-1]}" if lines else ""
    return f"{name}{suffix}: {type(error).__name__}: {text}"


def _module_of(name: str) -> str:
    """Return the module in the name of a function that can be imported."""
    module, _, qualified = name.partition(":")
    is_name = all(re.fullmatch(_NAMES, part) for part in (module, qualified))
    if module == "__main__" or (not is_name and "<" in name):
        raise FunctionError(
            f"{name} can be called by the program alone that defined it; go on there with "
            "hwnas.minimize(...) and the same arguments and out"
        )
    if not is_name:
        raise FunctionError(f"function {name!r}: {_FORM}")
    return module


def _find(module: str, folder: Path) -> ModuleSpec | None:
    """Return the spec of a module, without importing its parents."""
    first, *submodules = module.split(".")
    spec = PathFinder.find_spec(first, [str(folder.absolute()), str(Path.cwd())])
    # A folder without __init__.py is a package only where there is nothing else of that name.
    if spec is None or spec.origin is None:
        with contextlib.suppress(ImportError, ValueError):
            spec = importlib.util.find_spec(first) or spec
    for part in submodules:
        if spec is None or spec.submodule_search_locations is None:
            return None
        # By the last part alone: a longer name would be looked for in a parent that is imported.
        spec = PathFinder.find_spec(part, list(spec.submodule_search_locations))
    return spec


def _attribute(module: Any, qualified: str) -> Any:
    """Return an attribute by its dotted name; ``None`` where there is none."""
    return reduce(lambda value, part: getattr(value, part, None), qualified.split("."), module)
