"""Tokenizers, and the tokens of a text in memory or in a memory-mapped file.

Each document is followed by an end token, so the tokens of a text are one array in which the
documents can be told apart.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike

from hwnas.errors import InvalidInput, MissingExtra, UnknownName
from hwnas.files import atomic_writer, unreadable
from hwnas.profiling.data.hf_tokenizer import HuggingFaceTokenizer
from hwnas.profiling.data.tokenizer_interface import Tokenizer as Tokenizer
from hwnas.spaces import VOCABULARY
from hwnas.typing import TokenArray

# Pattern of GPT-2's encoder.py (Radford et al. 2019). It divides text into words; byte pairs are
# merged within a word only.
_GPT2_WORDS = r"""'s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
_GPT2_N_MERGED = 50_256  # tokens of bytes and merges, without the end token


class ByteTokenizer(Tokenizer):
    """Tokenizer with one token for each byte of the UTF-8 text, and an end token.

    Examples
    --------
    >>> ByteTokenizer().encode("ab").tolist()
    [97, 98]
    """

    name, identity, vocab_size, end = "bytes", "bytes", 257, 256

    @property
    def ranks(self) -> dict[bytes, int]:
        """Id of each token, without the end token."""
        return {bytes([byte]): byte for byte in range(256)}

    def encode(self, document: str) -> TokenArray:
        """Return the (n,) bytes of a document."""
        return np.frombuffer(document.encode(), dtype=np.uint8).astype(self.dtype)

    def decode(self, ids: ArrayLike) -> str:
        """Return the text of (n,) tokens."""
        ids = np.asarray(ids, dtype=np.int64)
        return bytes(ids[ids != self.end].tolist()).decode(errors="replace")


class GPT2Tokenizer(Tokenizer):
    """Byte-pair encoding of GPT-2, complete or limited to its first merges.

    Parameters
    ----------
    vocabulary
        A file ``gpt2.tiktoken`` with one line for each token, base64 and rank. Without it tiktoken
        downloads the vocabulary of GPT-2 once.
    vocab_size
        Number of tokens, at most the 50,257 of GPT-2. The default is that of the named spaces,
        which lack the last three merges. A smaller vocabulary suits small models better.

    Attributes
    ----------
    ranks
        Id of each token, which is the order of its merge; without the end token.

    Raises
    ------
    MissingExtra
        tiktoken is not installed.
    InvalidInput
        The file is not a vocabulary, or has fewer than `vocab_size` tokens.
    """

    def __init__(
        self, vocabulary: str | Path | None = None, *, vocab_size: int = VOCABULARY
    ) -> None:
        tiktoken = _import_tiktoken("tiktoken")
        if type(vocab_size) is not int or not 257 <= vocab_size <= _GPT2_N_MERGED + 1:
            raise InvalidInput(
                f"vocab_size: expected 257 to {_GPT2_N_MERGED + 1}, found {vocab_size!r}"
            )
        ranks = _download_ranks() if vocabulary is None else _read_ranks(Path(vocabulary))
        if len(ranks) < vocab_size - 1:
            raise InvalidInput(
                f"{vocabulary}: expected {vocab_size - 1} tokens, found {len(ranks)}; "
                f"vocab_size can be {len(ranks) + 1}"
            )
        # The rank of a token is its id and the order of its merge, so the lowest ranks are a
        # vocabulary of their own; the end token takes the id after them.
        ranks = {token: rank for token, rank in ranks.items() if rank < vocab_size - 1}
        self.name, self.vocab_size, self.end = f"gpt2-{vocab_size}", vocab_size, vocab_size - 1
        # The identity depends on tokens and ranks, not on the file that they come from.
        lines = "".join(f"{token.hex()} {rank}\n" for token, rank in sorted(ranks.items()))
        self._identity = f"gpt2 {hashlib.sha256(lines.encode()).hexdigest()}"
        self.ranks = ranks
        self._encoding = tiktoken.Encoding(
            self.name,
            pat_str=_GPT2_WORDS,
            mergeable_ranks=ranks,
            special_tokens={"<|endoftext|>": self.end},
        )

    @property
    def identity(self) -> str:
        """Hash of the vocabulary."""
        return self._identity

    def encode(self, document: str) -> TokenArray:
        """Return the (n,) tokens of a document; ``<|endoftext|>`` in it is ordinary text."""
        return np.array(self._encoding.encode_ordinary(document), dtype=self.dtype)

    def decode(self, ids: ArrayLike) -> str:
        """Return the text of (n,) tokens."""
        ids = np.asarray(ids, dtype=np.int64)
        return str(self._encoding.decode(ids[ids != self.end].tolist()))


def tokenizer(
    name: str, *, vocabulary: str | Path | None = None, vocab_size: int | None = None
) -> Tokenizer:
    """Return a tokenizer by name.

    Parameters
    ----------
    name
        ``"bytes"``, ``"gpt2"``, or of the library ``tokenizers``: a file ``NAME.json``, or
        ``"hf:NAME"``.
    vocabulary, vocab_size
        Parameters of `GPT2Tokenizer`; the others have none.

    Raises
    ------
    UnknownName
        There is no tokenizer of this name.
    InvalidInput
        A parameter does not fit the tokenizer.
    MissingExtra
        The tokenizer needs a package that is not installed.

    Examples
    --------
    >>> tokenizer("bytes").vocab_size
    257
    """
    if name == "gpt2":
        return GPT2Tokenizer(
            vocabulary, vocab_size=VOCABULARY if vocab_size is None else vocab_size
        )
    encoder: Tokenizer
    if name == "bytes":
        encoder = ByteTokenizer()
    elif name.startswith("hf:") or name.endswith(".json"):
        encoder = HuggingFaceTokenizer(name)
    else:
        raise UnknownName("tokenizer", name, ("bytes", "gpt2", "hf:NAME", "FILE.json"))
    if vocabulary is not None or vocab_size not in (None, encoder.vocab_size):
        raise InvalidInput(
            f"tokenizer {name}: expected neither vocabulary nor vocab_size, found "
            f"{vocabulary or vocab_size}"
        )
    return encoder


@dataclass(frozen=True, eq=False)
class Tokens:
    """Tokens of several documents in one array.

    Attributes
    ----------
    ids : (n,) unsigned integers
        Tokens of each document, followed by `end`.
    n_bytes
        Length of the documents in UTF-8, without end tokens.
    vocab_size
        Exclusive upper bound of the tokens.
    end
        Token at the end of a document.
    """

    ids: TokenArray
    n_bytes: int
    vocab_size: int
    end: int

    def __len__(self) -> int:
        return len(self.ids)


def tokens(
    documents: Sequence[str], tokenizer: Tokenizer, *, cache: str | Path | None = None
) -> Tokens:
    """Encode documents, in memory or in a memory-mapped file.

    Parameters
    ----------
    documents
        At least one document.
    cache
        Directory for a file whose name contains a hash of the documents and the tokenizer. If the
        file exists, it is read instead of encoding the documents.

    Raises
    ------
    InvalidInput
        There are no documents.

    Examples
    --------
    >>> tokens(["ab", "c"], ByteTokenizer()).ids.tolist()
    [97, 98, 256, 99, 256]
    """
    if not documents:
        raise InvalidInput("documents: expected at least one, found none")
    n_bytes = sum(len(document.encode()) for document in documents)
    if cache is None:
        ids = _encode_documents(documents, tokenizer)
    else:
        file = Path(cache) / f"{tokenizer.name}-{_cache_key(documents, tokenizer)}.npy"
        # The file is complete whenever it exists, because it is written atomically.
        if not file.exists():
            with atomic_writer(file) as partial:
                np.save(partial, _encode_documents(documents, tokenizer), allow_pickle=False)
        ids = np.load(file, mmap_mode="r", allow_pickle=False)
    return Tokens(ids, n_bytes, tokenizer.vocab_size, tokenizer.end)


def first_tokens(tokens: Tokens, count: int | None) -> Tokens:
    """Return the first `count` tokens, or all; the number of bytes is in proportion.

    Examples
    --------
    >>> first_tokens(tokens(["ab", "cd"], ByteTokenizer()), 4).ids.tolist()
    [97, 98, 256, 99]
    """
    if count is None or count >= len(tokens):
        return tokens
    n_bytes = max(1, round(tokens.n_bytes * count / len(tokens)))
    return replace(tokens, ids=tokens.ids[:count], n_bytes=n_bytes)


def _encode_documents(documents: Sequence[str], tokenizer: Tokenizer) -> TokenArray:
    """Return the (n,) tokens of all documents, each followed by the end token."""
    end = np.array([tokenizer.end], dtype=tokenizer.dtype)
    parts = [part for document in documents for part in (tokenizer.encode(document), end)]
    return np.concatenate(parts)


def _cache_key(documents: Sequence[str], tokenizer: Tokenizer) -> str:
    """Return a hash of documents and tokenizer."""
    digest = hashlib.sha256(tokenizer.identity.encode())
    for document in documents:
        content = document.encode()
        # The length goes first, so that documents cannot be confused with their concatenation.
        digest.update(b"%d " % len(content) + content)
    return digest.hexdigest()[:32]


def _import_tiktoken(module: str) -> ModuleType:
    """Import a module of tiktoken; MissingExtra if it is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra("tokenizer 'gpt2'", "tiktoken", "profile") from error


def _download_ranks() -> dict[bytes, int]:
    """Return the rank of each token of GPT-2, from tiktoken's cache or the network."""
    try:
        encoding = _import_tiktoken("tiktoken_ext.openai_public").gpt2()
        ranks: dict[bytes, int] = encoding["mergeable_ranks"]
    except (OSError, ImportError) as error:  # errors of requests are OSErrors
        raise InvalidInput(
            f"tokenizer 'gpt2': the vocabulary cannot be downloaded ({type(error).__name__}); give "
            "vocabulary, a file gpt2.tiktoken"
        ) from None
    return ranks


def _read_ranks(file: Path) -> dict[bytes, int]:
    """Read the rank of each token; there must be all 256 bytes, and ranks without gaps."""
    form = "expected lines of a token in base64 and its rank"
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise InvalidInput(unreadable(file, error)) from None
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(lines, 1):
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except ValueError:
            raise InvalidInput(f"{file}: line {number}: {form}, found {line[:60]!r}") from None
    # Ranks are token ids, so they must be 0, 1, 2, ... without gaps or duplicates.
    if sorted(ranks.values()) != list(range(len(ranks))):
        raise InvalidInput(f"{file}: {form}, from 0 without gaps, found {len(ranks)} tokens")
    # With all bytes among the tokens, every text can be encoded.
    if any(ranks.get(bytes([byte]), 256) >= 256 for byte in range(256)):
        raise InvalidInput(f"{file}: expected the 256 bytes as its first tokens")
    return ranks
