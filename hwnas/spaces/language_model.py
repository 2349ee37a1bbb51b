"""Spaces of language models: what every family of them has in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from numpy.typing import ArrayLike

from hwnas.errors import InvalidInput
from hwnas.spaces.search_space import SearchSpace
from hwnas.typing import IntArray


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
