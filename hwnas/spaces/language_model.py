"""Spaces of language models: what every family of them has in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, ClassVar, TypeVar

from numpy.typing import ArrayLike

from hwnas.errors import InvalidInput, describe_value
from hwnas.spaces.search_space import SearchSpace
from hwnas.typing import IntArray

_Architecture = TypeVar("_Architecture")


@dataclass(frozen=True, slots=True)
class ModelSizes:
    """Counts of n models that determine the memory of their deployment.

    Attributes
    ----------
    kv_width : (n,) int64
        Numbers of the keys of one position, summed over the layers: heads of keys and values times
        `head_size`. There are as many of the values.
    linear_weights, linear_rows : (n,) int64
        Weights, and output rows, of the linear layers of all blocks, biases left out.
    other_weights : (n,) int64
        All other parameters: embedding, output layer, norms and biases.
    tables : int
        Numbers in buffers that all layers share, kept in float32: those of rotary positions.
    """

    kv_width: IntArray
    linear_weights: IntArray
    linear_rows: IntArray
    other_weights: IntArray
    tables: int


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

    def model_sizes(self, codes: ArrayLike) -> ModelSizes:
        """Return the counts from which `hwnas.workloads` computes the memory of a deployment.

        Parameters
        ----------
        codes : (n, d) integers
            Valid codes.

        Raises
        ------
        InvalidInput
            The family does not define them.
        """
        raise InvalidInput(
            f"space {self.name!r}: kv_cache and weight_memory need the sizes of its models; define "
            f"model_sizes(codes) in {type(self).__name__}"
        )


def check_countable(
    *, width: int, depth: int, inner: int, hidden: int, vocab_size: int, context: int
) -> None:
    """Check that the operations of the largest member of a space fit into 64 bits.

    Parameters
    ----------
    width, depth
        Width of its residual stream, and number of its layers.
    inner, hidden
        Width of all attention heads of a layer, and of the hidden layer of its MLP.
    vocab_size, context
        Number of tokens of the vocabulary, and of a sequence.

    Raises
    ------
    InvalidInput
        They may not; integers of NumPy would overflow without an error.

    Examples
    --------
    >>> check_countable(
    ...     width=768, depth=12, inner=768, hidden=3072, vocab_size=50_254, context=1024
    ... )
    """
    # At least the parameters of every family, with norms and biases.
    params = 8 * (width + 1) * (vocab_size + depth * (inner + hidden + 1))
    operations = 2 * params * context + 4 * depth * max(width, inner) * context**2
    if operations >= 2**63:
        raise InvalidInput(
            f"the largest architecture needs up to {Decimal(operations):.1e} operations, expected "
            f"fewer than 2**63: smaller numbers among width {width}, {depth} layers, heads of "
            f"{inner} in all, MLPs of {hidden}, vocab_size {vocab_size} and context {context}"
        )


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
    names = [field.name for field in fields(cls) if field.name not in ("space", "precision")]
    if not isinstance(member, Mapping):
        raise InvalidInput(
            f"{space}: expected {cls.__name__}, its string, or values of {', '.join(names)}, found "
            f"{describe_value(member)}"
        )
    if {*member} - {"space", "precision"} != {*names}:
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
            count = len(row) if isinstance(row, list | tuple) else describe_value(row)
            raise InvalidInput(f"{name}: expected one value a layer, {arch.n_layer}, found {count}")
    return rows
