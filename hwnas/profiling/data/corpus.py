"""Text prepared for a search space: tokens to train on and tokens held out."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import InvalidInput
from hwnas.profiling.data.text import text
from hwnas.profiling.data.tokenizer import Tokens, tokenizer, tokens
from hwnas.spaces import LanguageModelSpace


@dataclass(frozen=True, eq=False)
class Corpus:
    """Tokens of one text.

    Attributes
    ----------
    train
        Tokens of the documents to train on.
    held_out
        Tokens of the documents to evaluate on.
    sha256
        Hash of the tokenizer and of all tokens.
    """

    train: Tokens
    held_out: Tokens
    sha256: str


def load_corpus(
    space: LanguageModelSpace,
    source: str = "pydoc",
    *,
    separator: str | None = None,
    held_out: float = 0.1,
    tokenizer_name: str = "bytes",
    vocabulary: str | None = None,
    cache: Path | None = None,
) -> Corpus:
    """Read a text, hold out documents, and encode it for the architectures of a space.

    Parameters
    ----------
    source, separator
        See `hwnas.profiling.data.text.text`.
    held_out
        Share of the bytes to hold out.
    tokenizer_name, vocabulary
        Name of a tokenizer and its file, see `hwnas.profiling.data.tokenizer.tokenizer`.
    cache
        Directory of files with encoded text, which are mapped into memory. Without one the tokens
        are encoded in memory.

    Raises
    ------
    InvalidInput
        The text does not exist or is too short for the context of the space, or the vocabulary of
        the space is smaller than that of the tokenizer.
    MissingExtra
        The tokenizer needs a package that is not installed.
    """
    encoder = tokenizer(tokenizer_name, vocabulary=vocabulary)
    if encoder.vocab_size > space.vocab_size:
        raise InvalidInput(
            f"tokenizer: expected at most {space.vocab_size} tokens, the vocab_size of "
            f"{space.name}, found {encoder.vocab_size} of {tokenizer_name!r}"
        )
    # Documents are held out before they are encoded, so that none is divided.
    split = text(source, separator=separator).split(held_out=held_out)
    parts = [tokens(documents, encoder, cache=cache) for documents in (split.train, split.held_out)]
    # A training sequence has one token more than the context: the last target.
    if len(parts[0]) <= space.context:
        raise InvalidInput(
            f"text: {source}: expected more than {space.context} tokens to train on, the context "
            f"of {space.name}, found {len(parts[0])}"
        )
    # The length of each part goes first, so that different splits of equal tokens differ.
    digest = hashlib.sha256(encoder.identity.encode())
    for part in parts:
        digest.update(b"%d " % len(part))
        ids: Any = np.ascontiguousarray(part.ids)
        digest.update(ids)
    return Corpus(parts[0], parts[1], digest.hexdigest())


def cache_folder() -> Path:
    """Return the directory of encoded texts: ``hwnas/tokens`` in the user's cache directory."""
    cache_home = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache_home) if cache_home else Path.home() / ".cache") / "hwnas" / "tokens"
