"""Families of search spaces: named classes whose members are of one kind.

A family is a subclass of `SearchSpace`. Its constructor takes a name and keyword arguments, which
are the keys of a space in a YAML; it may name spaces of its own in `SearchSpace.named`. Families of
installed packages are found by the entry-point group ``hwnas.spaces``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib import metadata
from typing import Any, TypeVar

from hwnas.errors import InvalidInput, UnknownName
from hwnas.spaces.gpt import GPTSpace
from hwnas.spaces.llama import LlamaSpace
from hwnas.spaces.search_space import SearchSpace
from hwnas.spaces.shrunk_llama import ShrunkLlamaSpace

_Class = TypeVar("_Class", bound=type)

_BUILT_IN: Mapping[str, type[SearchSpace]] = {
    "gpt": GPTSpace,
    "llama": LlamaSpace,
    "shrunk": ShrunkLlamaSpace,
}
registered: dict[str, type[SearchSpace]] = {}  # by the decorator


def register_space(name: str) -> Callable[[_Class], _Class]:
    """Register a family of search spaces by a name: a class decorator.

    Examples
    --------
    >>> import hwnas
    >>> @hwnas.register_space("pair")
    ... class Pair(hwnas.SearchSpace):
    ...     named = {"pair-10": {"size": 10}}
    ...
    ...     def __init__(self, name, *, size):
    ...         super().__init__(name, {"a": range(size), "b": range(size)})
    >>> hwnas.space("pair-10").size, hwnas.space({"family": "pair", "name": "p", "size": 3}).size
    (100, 9)
    """
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise InvalidInput(f"space name: expected letters, digits, '.', '_', '-', found {name!r}")

    def decorate(cls: _Class) -> _Class:
        registered[name] = _checked(name, cls)
        return cls

    return decorate


def family_names() -> list[str]:
    """Return the names of all families, sorted."""
    return sorted({*_BUILT_IN, *_entry_points(), *registered})


def family(name: str) -> type[SearchSpace]:
    """Return the class of a family.

    Raises
    ------
    UnknownName
        There is no such family.
    InvalidInput
        It cannot be loaded, or is no subclass of `SearchSpace`.
    """
    if name in registered:
        return registered[name]
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    if name not in _entry_points():
        raise UnknownName("family of spaces", name, family_names())
    try:
        cls = _entry_points()[name].load()
    except ImportError as error:
        raise InvalidInput(f"family of spaces {name!r}: {error}") from error
    return _checked(name, cls)


def named_spaces() -> dict[str, type[SearchSpace]]:
    """Return the family of each named space, those of GPT architectures first."""
    names = dict.fromkeys([*_BUILT_IN, *family_names()])
    return {space: family(name) for name in names for space in family(name).named}


def settings_of_space(cls: type[SearchSpace]) -> dict[str, inspect.Parameter]:
    """Return the settings of a family beside the name, by name."""
    parameters = inspect.signature(cls.__init__).parameters
    return {k: p for k, p in parameters.items() if k not in ("self", "name")}


def _checked(name: str, cls: Any) -> type[SearchSpace]:
    if not (isinstance(cls, type) and issubclass(cls, SearchSpace)):
        raise InvalidInput(f"family of spaces {name!r}: expected a subclass of SearchSpace")
    return cls


@cache
def _entry_points() -> dict[str, metadata.EntryPoint]:
    return {point.name: point for point in metadata.entry_points(group="hwnas.spaces")}
