"""Spaces of language models: what every family of them has in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from numpy.typing import ArrayLike

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
