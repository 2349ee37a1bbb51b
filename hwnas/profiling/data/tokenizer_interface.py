"""Base class of tokenizers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hwnas.typing import TokenArray


class Tokenizer(ABC):
    """Base class of tokenizers, which encode text as integers and decode it again.

    Attributes
    ----------
    name
        Short name, part of the names of cached files.
    vocab_size
        Number of tokens, including the end token.
    end
        Token at the end of a document. `encode` never returns it.
    """

    name: str
    vocab_size: int
    end: int

    @abstractmethod
    def encode(self, document: str) -> TokenArray:
        """Return the (n,) tokens of a document, without the end token."""

    @abstractmethod
    def decode(self, ids: ArrayLike) -> str:
        """Return the text of (n,) tokens.

        End tokens are left out. Bytes that are not valid UTF-8 become the character "�".
        """

    @property
    @abstractmethod
    def identity(self) -> str:
        """String that is equal for two tokenizers only if they encode text in the same way."""

    @property
    def dtype(self) -> type[np.unsignedinteger[Any]]:
        """Smallest data type that can represent every token."""
        return np.uint16 if self.vocab_size <= 2**16 else np.uint32
