"""Tokenizers of the Hugging Face library ``tokenizers``, from a file or by name."""

from __future__ import annotations

import hashlib
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from hwnas.errors import InvalidInput, MissingExtra
from hwnas.files import unreadable
from hwnas.profiling.data.tokenizer_interface import Tokenizer
from hwnas.typing import TokenArray

PREFIX = "hf:"
_END_TOKENS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>")


class HuggingFaceTokenizer(Tokenizer):
    """Tokenizer that a ``tokenizer.json`` describes.

    The end token is one of ``<|endoftext|>``, ``<|end_of_text|>``, ``</s>``, ``<eos>`` and
    ``<|im_end|>``; a vocabulary without these gets one more token.

    Parameters
    ----------
    source
        A file, or ``hf:NAME`` of a model of the Hugging Face Hub, which is downloaded once.

    Attributes
    ----------
    description
        Content of its ``tokenizer.json``, without truncation and padding.

    Raises
    ------
    MissingExtra
        ``tokenizers`` is not installed.
    InvalidInput
        The file does not exist or is none of a tokenizer, or the name cannot be found.
    """

    def __init__(self, source: str) -> None:
        try:
            library = import_module("tokenizers")
        except ImportError as error:
            raise MissingExtra(f"tokenizer {source!r}", "tokenizers", "data") from error
        if not source.startswith(PREFIX) and not Path(source).is_file():
            raise InvalidInput(f"tokenizer: {unreadable(source)}")
        try:
            if source.startswith(PREFIX):
                encoding = library.Tokenizer.from_pretrained(source.removeprefix(PREFIX))
            else:
                encoding = library.Tokenizer.from_file(source)
        except Exception as error:  # the library raises plain exceptions
            reason = str(error).partition("\n")[0]
            raise InvalidInput(
                f"tokenizer: {source}: expected a tokenizer.json or hf:NAME; {reason}"
            ) from None
        # Documents are encoded as a whole, and special tokens in them as ordinary text.
        encoding.no_truncation()
        encoding.no_padding()
        encoding.encode_special_tokens = True
        vocabulary: dict[str, int] = encoding.get_vocab(with_added_tokens=True)
        n_tokens = max(vocabulary.values()) + 1
        self.end = next((vocabulary[t] for t in _END_TOKENS if t in vocabulary), n_tokens)
        self.vocab_size = max(n_tokens, self.end + 1)
        self._encoding = encoding
        self.description: str = encoding.to_str()
        digest = hashlib.sha256(self.description.encode()).hexdigest()
        self.name, self._identity = f"hf-{digest[:8]}", f"tokenizers {digest}"

    @property
    def identity(self) -> str:
        """Hash of the whole description."""
        return self._identity

    def encode(self, document: str) -> TokenArray:
        """Return the (n,) tokens of a document, without special tokens."""
        token_ids = self._encoding.encode(document, add_special_tokens=False).ids
        return np.array([i for i in token_ids if i != self.end], dtype=self.dtype)

    def decode(self, ids: ArrayLike) -> str:
        """Return the text of (n,) tokens."""
        ids = np.asarray(ids, dtype=np.int64)
        return str(self._encoding.decode(ids[ids != self.end].tolist(), skip_special_tokens=False))
