"""A text made ready: what is trained on and what is held out, as tokens."""

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
from hwnas.spaces import SearchSpace


@dataclass(frozen=True, eq=False)
class Corpus:
    """Tokens to train on, tokens to measure on, and the SHA-256 of all documents and tokens."""

    train: Tokens
    held_out: Tokens
    sha256: str


def corpus(
    space: SearchSpace,
    source: str = "pydoc",
    *,
    separator: str | None = None,
    held_out: float = 0.1,
    tokens_are: str = "bytes",
    vocabulary: str | None = None,
    cache: Path | None = None,
) -> Corpus:
    """Read a text, hold some documents out, and encode it for the networks of a space.

    Parameters
    ----------
    source, separator
        See `hwnas.profiling.data.text.text`.
    held_out
        Share of the bytes.
    tokens_are, vocabulary
        Name of a tokenizer and its file, see `hwnas.profiling.data.tokenizer.tokenizer`.
    cache
        Folder for the encoded text, which is then mapped into memory; None keeps it there.

    Raises
    ------
    InvalidInput
        There is no such text, it is too short for the space's context, or the space has fewer
        tokens than the tokenizer.
    MissingExtra
        The tokenizer needs a library that is not installed.
    """
    known = tokenizer(tokens_are, vocabulary=vocabulary)
    if known.vocab_size > space.vocab_size:
        raise InvalidInput(
            f"tokenizer: expected at most {space.vocab_size} tokens, the vocab_size of "
            f"{space.name}, found {known.vocab_size} of {tokens_are!r}"
        )
    split = text(source, separator=separator).split(held_out=held_out)
    parts = [tokens(documents, known, cache=cache) for documents in (split.train, split.held_out)]
    if len(parts[0]) <= space.context:
        raise InvalidInput(
            f"text: {source}: expected more than {space.context} tokens to train on, the context "
            f"of {space.name}, found {len(parts[0])}"
        )
    digest = hashlib.sha256(known.identity.encode())
    for part in parts:
        digest.update(b"%d " % len(part))
        ids: Any = np.ascontiguousarray(part.ids)
        digest.update(ids)
    return Corpus(parts[0], parts[1], digest.hexdigest())


def cache_folder() -> Path:
    """Where encoded texts are kept: ``hwnas/tokens`` in the user's folder of caches."""
    given = os.environ.get("XDG_CACHE_HOME")
    return (Path(given) if given else Path.home() / ".cache") / "hwnas" / "tokens"
