"""Documentation and libraries of a plugin, read from its source without importing it.

Importing a plugin imports its libraries, which can take seconds. A list of all plugins needs one
line of each docstring, and whether the libraries are installed.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, resolve_name
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PluginSource:
    """Content of the source of a class.

    Attributes
    ----------
    docstring
        Docstring of the class, with the indentation of the source.
    missing
        First module that the plugin imports and that is not installed; empty where there is none.
    """

    docstring: str
    missing: str


def read_source(module: str, class_name: str) -> PluginSource | None:
    """Return what the source of a class says; ``None`` where only an import can tell.

    Parameters
    ----------
    module
        Module that defines the class: ``"hwnas_plugins.random"``. Neither it nor its parents are
        imported.
    class_name
        Name of a class at the top of the module.

    Examples
    --------
    >>> read_source("hwnas_plugins.random", "Random").docstring.partition(".")[0]
    'Random search'
    """
    tree = _parse(module)
    if tree is None:
        return None
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            # A class without a docstring inherits that of its parent, which may be anywhere.
            text = ast.get_docstring(node, clean=False)
            package = module.rpartition(".")[0]
            return PluginSource(text, _missing(module, package, set())) if text else None
    return None


def _missing(module: str, package: str, visited: set[str]) -> str:
    """Return the first module that is imported, also by others of the package, but not installed.

    The order is that of the interpreter, so that it is the module that an import would name.
    """
    parts = module.split(".")
    # An import of a module imports its parents first.
    for name in (".".join(parts[: i + 1]) for i in range(len(parts))):
        if name in visited or not _is_within(name, package):
            continue
        visited.add(name)
        tree = _parse(name)
        for imported in _imports(tree, name) if tree else ():
            if _is_within(imported, package):
                missing = _missing(imported, package, visited)
            else:
                missing = "" if _is_installed(imported.partition(".")[0]) else imported
            if missing:
                return missing
    return ""


def _is_within(module: str, package: str) -> bool:
    return bool(package) and f"{module}.".startswith(f"{package}.")


def _imports(tree: ast.Module, module: str) -> Iterator[str]:
    """Yield the modules that are imported whenever the module itself is, in order.

    Imports within functions, ``try`` and ``if`` are left out: they need not happen.
    """
    spec = _find(module)
    is_package = spec is not None and spec.submodule_search_locations is not None
    package = module if is_package else module.rpartition(".")[0]
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = "." * node.level + (node.module or "")
            source = resolve_name(name, package) if node.level else name
            yield source
            # A name of a package can be one of its modules.
            yield from (
                f"{source}.{alias.name}"
                for alias in node.names
                if _is_within(source, package) and _find(f"{source}.{alias.name}")
            )


@cache
def _is_installed(name: str) -> bool:
    if name in sys.builtin_module_names or name in sys.stdlib_module_names:
        return True
    try:
        return find_spec(name) is not None
    except ValueError:
        # A module in memory that has no spec.
        return True


@cache
def _find(module: str) -> ModuleSpec | None:
    """Return the spec of a module, without importing its parents as `find_spec` does."""
    parent, _, _ = module.rpartition(".")
    try:
        if not parent:
            return find_spec(module)
        spec = _find(parent)
        if spec is None or spec.submodule_search_locations is None:
            return None
        return PathFinder.find_spec(module, list(spec.submodule_search_locations))
    except (ImportError, ValueError):
        return None


@cache
def _parse(module: str) -> ast.Module | None:
    """Return the syntax tree of a module; ``None`` where it has no readable source."""
    spec = _find(module)
    if spec is None or not (spec.origin or "").endswith(".py"):
        return None
    try:
        return ast.parse(Path(str(spec.origin)).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None
