"""From text to numbers and back, and the numbers in a file that is mapped into memory.

A document is followed by the token that ends it, so the tokens of a text are one row of numbers in
which every document can be found again.
"""

from __future__ import annotations

import base64
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.errors import InvalidInput, MissingExtra, UnknownName
from hwnas.files import atomic_writer
from hwnas.spaces import VOCABULARY

Ids = NDArray[np.unsignedinteger[Any]]

# GPT-2's own, from its encoder.py (Radford et al. 2019): merges do not cross from one to the next.
_GPT2_WORDS = r"""'s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
_GPT2_MERGED = 50_256  # tokens, the 256 bytes among them


class Tokenizer(ABC):
    """Text to numbers and back.

    Attributes
    ----------
    name
        Short, for a file's name.
    vocab_size
        Number of tokens, the end of a document among them.
    end
        The token that ends a document; no text becomes it.
    """

    name: str
    vocab_size: int
    end: int

    @abstractmethod
    def encode(self, document: str) -> Ids:
        """The (n,) tokens of a document, without its end."""

    @abstractmethod
    def decode(self, ids: ArrayLike) -> str:
        """The text of (n,) tokens; ends of documents are left out, torn characters become �."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Two tokenizers with the same identity encode alike."""

    @property
    def dtype(self) -> type[np.unsignedinteger[Any]]:
        """The smallest type that holds every token."""
        return np.uint16 if self.vocab_size <= 2**16 else np.uint32


class Bytes(Tokenizer):
    """Every byte of the UTF-8 text is a token: 256, and the end of a document."""

    name, identity, vocab_size, end = "bytes", "bytes", 257, 256

    def encode(self, document: str) -> Ids:
        """The (n,) bytes of a document."""
        return np.frombuffer(document.encode(), dtype=np.uint8).astype(self.dtype)

    def decode(self, ids: ArrayLike) -> str:
        """The text of (n,) tokens."""
        given = np.asarray(ids, dtype=np.int64)
        return bytes(given[given != self.end].tolist()).decode(errors="replace")


class GPT2(Tokenizer):
    """GPT-2's byte-pair encoding, whole or cut to its first merges.

    Parameters
    ----------
    vocabulary
        A file ``gpt2.tiktoken``: a line for each token, base64 and rank. Without one tiktoken
        fetches GPT-2's from the network, once.
    vocab_size
        Number of tokens, at most GPT-2's 50,257. The default is that of the named spaces: the
        last three merges are left out. A small network is better served by a small vocabulary.

    Raises
    ------
    MissingExtra
        tiktoken is not installed.
    InvalidInput
        The file is not such a vocabulary, or has not so many tokens.
    """

    def __init__(
        self, vocabulary: str | Path | None = None, *, vocab_size: int = VOCABULARY
    ) -> None:
        tiktoken = _tiktoken("tiktoken")
        if type(vocab_size) is not int or not 257 <= vocab_size <= _GPT2_MERGED + 1:
            raise InvalidInput(
                f"vocab_size: expected 257 to {_GPT2_MERGED + 1}, found {vocab_size!r}"
            )
        ranks = _downloaded() if vocabulary is None else _read(Path(vocabulary))
        if len(ranks) < vocab_size - 1:
            raise InvalidInput(
                f"{vocabulary}: expected {vocab_size - 1} tokens, found {len(ranks)}; "
                f"vocab_size can be {len(ranks) + 1}"
            )
        ranks = {token: rank for token, rank in ranks.items() if rank < vocab_size - 1}
        self.name, self.vocab_size, self.end = f"gpt2-{vocab_size}", vocab_size, vocab_size - 1
        lines = "".join(f"{token.hex()} {rank}\n" for token, rank in sorted(ranks.items()))
        self._identity = f"gpt2 {hashlib.sha256(lines.encode()).hexdigest()}"
        self._encoding = tiktoken.Encoding(
            self.name,
            pat_str=_GPT2_WORDS,
            mergeable_ranks=ranks,
            special_tokens={"<|endoftext|>": self.end},
        )

    @property
    def identity(self) -> str:
        """The hash of the tokens."""
        return self._identity

    def encode(self, document: str) -> Ids:
        """The (n,) tokens of a document; ``<|endoftext|>`` in it is text like any other."""
        return np.array(self._encoding.encode_ordinary(document), dtype=self.dtype)

    def decode(self, ids: ArrayLike) -> str:
        """The text of (n,) tokens."""
        given = np.asarray(ids, dtype=np.int64)
        return str(self._encoding.decode(given[given != self.end].tolist()))


def tokenizer(
    name: str, *, vocabulary: str | Path | None = None, vocab_size: int | None = None
) -> Tokenizer:
    """A tokenizer by name.

    Parameters
    ----------
    name
        ``"bytes"`` or ``"gpt2"``.
    vocabulary, vocab_size
        As of `GPT2`; bytes have none.

    Raises
    ------
    UnknownName, InvalidInput, MissingExtra
    """
    if name == "gpt2":
        return GPT2(vocabulary, vocab_size=VOCABULARY if vocab_size is None else vocab_size)
    if name != "bytes":
        raise UnknownName("tokenizer", name, ("bytes", "gpt2"))
    if vocabulary is not None or vocab_size not in (None, Bytes.vocab_size):
        raise InvalidInput(
            f"tokenizer bytes: expected neither vocabulary nor vocab_size, found "
            f"{vocabulary or vocab_size}"
        )
    return Bytes()


@dataclass(frozen=True, eq=False)
class Tokens:
    """Documents as one row of tokens.

    Attributes
    ----------
    ids : (n,) unsigned integers
        Each document, followed by `end`.
    n_bytes
        Length of the documents in UTF-8, without their ends.
    vocab_size
        Every token is below it.
    end
        The token that ends a document.
    """

    ids: Ids
    n_bytes: int
    vocab_size: int
    end: int

    def __len__(self) -> int:
        return len(self.ids)


def tokens(
    documents: Sequence[str], tokenizer: Tokenizer, *, cache: str | Path | None = None
) -> Tokens:
    """Tokens of documents, in memory or in a file that is mapped into it.

    Parameters
    ----------
    documents
        At least one.
    cache
        Folder for a file whose name has the hash of documents and tokenizer. If the file is there
        nothing is encoded again.

    Raises
    ------
    InvalidInput
        There are no documents.
    """
    if not documents:
        raise InvalidInput("documents: expected at least one, found none")
    n_bytes = sum(len(document.encode()) for document in documents)
    if cache is None:
        ids = _encoded(documents, tokenizer)
    else:
        file = Path(cache) / f"{tokenizer.name}-{_key(documents, tokenizer)}.npy"
        if not file.exists():
            with atomic_writer(file) as partial:
                np.save(partial, _encoded(documents, tokenizer), allow_pickle=False)
        ids = np.load(file, mmap_mode="r", allow_pickle=False)
    return Tokens(ids, n_bytes, tokenizer.vocab_size, tokenizer.end)


def _encoded(documents: Sequence[str], tokenizer: Tokenizer) -> Ids:
    end = np.array([tokenizer.end], dtype=tokenizer.dtype)
    parts = [part for document in documents for part in (tokenizer.encode(document), end)]
    return np.concatenate(parts)


def _key(documents: Sequence[str], tokenizer: Tokenizer) -> str:
    digest = hashlib.sha256(tokenizer.identity.encode())
    for document in documents:
        content = document.encode()
        digest.update(b"%d " % len(content) + content)
    return digest.hexdigest()[:32]


def _tiktoken(module: str) -> ModuleType:
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra("tokenizer 'gpt2'", "tiktoken", "profile") from error


def _downloaded() -> dict[bytes, int]:
    """GPT-2's tokens as tiktoken has them, from its cache or the network."""
    try:
        ranks: dict[bytes, int] = _tiktoken("tiktoken_ext.openai_public").gpt2()["mergeable_ranks"]
    except (OSError, ImportError) as error:  # what requests raises is an OSError
        raise InvalidInput(
            f"tokenizer 'gpt2': the vocabulary cannot be fetched ({type(error).__name__}); give "
            "vocabulary, a file gpt2.tiktoken"
        ) from None
    return ranks


def _read(file: Path) -> dict[bytes, int]:
    """The tokens of a file: all 256 bytes, and ranks without gaps."""
    form = "expected lines of a token in base64 and its rank"
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise InvalidInput(f"{file}: {error.strerror}") from None
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(lines, 1):
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except ValueError:
            raise InvalidInput(f"{file}: line {number}: {form}, found {line[:60]!r}") from None
    if sorted(ranks.values()) != list(range(len(ranks))):
        raise InvalidInput(f"{file}: {form}, from 0 without gaps, found {len(ranks)} tokens")
    if any(ranks.get(bytes([byte]), 256) >= 256 for byte in range(256)):
        raise InvalidInput(f"{file}: expected the 256 bytes as its first tokens")
    return ranks
