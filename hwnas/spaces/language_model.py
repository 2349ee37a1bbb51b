"""Spaces of language models: what every family of them has in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, ClassVar, TypeVar

from numpy.typing import ArrayLike

from hwnas.errors import InvalidInput, describe_value
from hwnas.spaces.search_space import SearchSpace
from hwnas.typing import IntArray

_Architecture = TypeVar("_Architecture")


class LanguageModelSpace(SearchSpace):
    """Set of decoder-only language models that combine given choices.

    Attributes
    ----------
    context : int
        Sequence length in tokens.
    vocab_size : int
        Number of tokens.
    module : str
        Class that builds the models, as ``MODULE:CLASS``; it needs PyTorch.
    """

    closed_forms = ("params", "flops")
    module: ClassVar[str]
    context: int
    vocab_size: int

    @abstractmethod
    def params(self, codes: ArrayLike) -> IntArray:
        """Return the exact number of parameters (n,) of valid codes (n, d)."""

    @abstractmethod
    def flops(self, codes: ArrayLike) -> IntArray:
        """Return the operations (n,) of one forward pass over a full context."""


def require_language_model(space: SearchSpace) -> LanguageModelSpace:
    """Return a space if its members are language models.

    Raises
    ------
    InvalidInput
        It has other members.
    """
    if not isinstance(space, LanguageModelSpace):
        raise InvalidInput(
            f"space {space.name!r}: expected language models, found other members; give a space "
            "of GPT or Llama architectures"
        )
    return space


def architectures_of(
    space: str, cls: type[_Architecture], members: Iterable[Any]
) -> list[_Architecture]:
    """Return architectures of a class from any of the forms in which people write them.

    Parameters
    ----------
    space
        Name of their space, for errors.
    cls
        Dataclass of the architectures, with `parse` and a field ``space``.
    members
        Architectures, their strings, or mappings of their fields, ``space`` optional.

    Raises
    ------
    InvalidInput
        One is none of these, lacks a field or has others; its values are not checked.
    """
    return [
        member if type(member) is cls else _architecture(space, cls, member) for member in members
    ]


def _architecture(space: str, cls: Any, member: Any) -> Any:
    if isinstance(member, str):
        return cls.parse(member)
    names = [field.name for field in fields(cls) if field.name != "space"]
    if not isinstance(member, Mapping):
        raise InvalidInput(
            f"{space}: expected {cls.__name__}, its string, or values of {', '.join(names)}, found "
            f"{describe_value(member)}"
        )
    if {*member} - {"space"} != {*names}:
        raise InvalidInput(
            f"{space}: expected values of {', '.join(names)}, found {', '.join(map(str, member))}"
        )
    return cls(**{"space": space, **member})


def layer_rows(name: str, archs: Sequence[Any]) -> list[Sequence[int]]:
    """Return a field of architectures that has one value for each of their layers.

    Raises
    ------
    InvalidInput
        It has more or fewer values, or is no list.
    """
    rows = [getattr(arch, name) for arch in archs]
    for arch, row in zip(archs, rows, strict=True):
        if not isinstance(row, list | tuple) or len(row) != arch.n_layer:
            found = len(row) if isinstance(row, list | tuple) else describe_value(row)
            raise InvalidInput(f"{name}: expected one value a layer, {arch.n_layer}, found {found}")
    return rows
