"""Tokenizers as ``tokenizer.json``, the format of the library tokenizers."""

from __future__ import annotations

import json
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

from hwnas.errors import InvalidInput, MissingExtra
from hwnas.files import write_text
from hwnas.profiling.data.hf_tokenizer import HuggingFaceTokenizer
from hwnas.profiling.data.tokenizer import ByteTokenizer, GPT2Tokenizer, tokenizer
from hwnas.profiling.data.tokenizer_interface import Tokenizer

END_TOKEN = "<|endoftext|>"
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"


def tokenizer_named(name: str, *, vocabulary: str | Path | None = None) -> Tokenizer:
    """Return a tokenizer of a command line.

    Parameters
    ----------
    name
        ``"bytes"``, ``"gpt2"``, ``"hf:NAME"``, a file ``tokenizer.json``, or a file
        ``gpt2.tiktoken`` with the vocabulary of GPT-2.
    vocabulary
        File with the vocabulary of ``"gpt2"``.

    Raises
    ------
    UnknownName
        There is no tokenizer of this name.
    InvalidInput
        The file cannot be read.

    Examples
    --------
    >>> tokenizer_named("bytes").vocab_size
    257
    """
    if name.endswith(".tiktoken"):
        return tokenizer("gpt2", vocabulary=name)
    return tokenizer(name, vocabulary=vocabulary)


def check_vocabulary(encoder: Tokenizer, vocab_size: int) -> None:
    """Raise InvalidInput if a tokenizer has more tokens than a model."""
    if encoder.vocab_size > vocab_size:
        raise InvalidInput(
            f"tokenizer {encoder.name}: expected at most {vocab_size} tokens, the vocabulary of "
            f"the network, found {encoder.vocab_size}"
        )


def write_tokenizer(encoder: Tokenizer, folder: Path, *, context: int) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json``.

    Parameters
    ----------
    encoder
        Tokenizer that the network was trained with.
    folder
        Directory of the network.
    context
        Maximum number of tokens of a sequence.

    Raises
    ------
    MissingExtra
        The library tokenizers is not installed.
    """
    description = tokenizer_description(encoder)
    end = end_token(description, encoder.end)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": end,
        "eos_token": end,
        "pad_token": end,
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
        "padding_side": "left",
    }
    write_text(folder / TOKENIZER, json.dumps(description, ensure_ascii=False) + "\n")
    write_text(folder / TOKENIZER_CONFIG, json.dumps(config, indent=2) + "\n")


def tokenizer_description(encoder: Tokenizer) -> dict[str, Any]:
    """Return the content of ``tokenizer.json``.

    The tokens and their ids are those of `encoder`, so a vocabulary without GPT-2's last merges is
    written without them.

    Raises
    ------
    InvalidInput
        The tokenizer is of a class that cannot be described.
    """
    library = _import_tokenizers()
    if isinstance(encoder, HuggingFaceTokenizer):
        encoding = library.Tokenizer.from_str(encoder.description)
        encoding.encode_special_tokens = False
    elif isinstance(encoder, ByteTokenizer | GPT2Tokenizer):
        ranks = encoder.ranks
        names = {token: byte_level_name(token) for token in ranks}
        merges = [(names[a], names[b]) for a, b in merges_of(ranks)]
        vocabulary = {names[token]: rank for token, rank in ranks.items()}
        encoding = library.Tokenizer(library.models.BPE(vocabulary, merges))
        # GPT-2's pattern divides text into words; without merges it makes no difference.
        byte_level = library.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        encoding.pre_tokenizer = byte_level
        encoding.decoder = library.decoders.ByteLevel()
    else:
        raise InvalidInput(
            f"tokenizer {encoder.name}: expected bytes, gpt2, hf:NAME or a file tokenizer.json"
        )
    if encoding.id_to_token(encoder.end) is None:
        encoding.add_special_tokens([END_TOKEN])  # takes the id after the last token
    description: dict[str, Any] = json.loads(encoding.to_str())
    end_token(description, encoder.end)
    return description


def end_token(description: dict[str, Any], end: int) -> str:
    """Return the text of the end token in the content of a ``tokenizer.json``.

    Raises
    ------
    InvalidInput
        There is no token of this id.
    """
    for token in description["added_tokens"]:
        if token["id"] == end:
            return str(token["content"])
    vocabulary = description["model"].get("vocab", {})
    if isinstance(vocabulary, dict):
        for text, rank in vocabulary.items():
            if rank == end:
                return str(text)
    raise InvalidInput(f"tokenizer.json: expected a token with id {end}, the end of a document")


def merges_of(ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """Return the pairs that make each token of a byte-pair encoding, in the order of their ranks.

    A vocabulary by ranks names the tokens only. Its merge is the pair that is left when the merges
    of lower ranks have been applied to the bytes of a token.

    Examples
    --------
    >>> merges_of({b"a": 0, b"b": 1, b"ab": 2, b"abb": 3})
    [(b'a', b'b'), (b'ab', b'b')]
    """
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) == 1:
            continue
        parts = [token[i : i + 1] for i in range(len(token))]
        while len(parts) > 2:
            pairs = [ranks.get(a + b, rank) for a, b in pairwise(parts)]
            lowest = min(pairs)
            if lowest >= rank:
                break
            i = pairs.index(lowest)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        if len(parts) != 2:
            raise InvalidInput(f"vocabulary: expected a pair of tokens that makes {token!r}")
        merges.append((parts[0], parts[1]))
    return merges


def byte_level_name(token: bytes) -> str:
    """Return the printable name of a token in GPT-2's vocabulary files.

    >>> byte_level_name(b" a")
    'Ġa'
    """
    return "".join(_BYTE_NAMES[byte] for byte in token)


def _byte_names() -> list[str]:
    """Return GPT-2's character for each byte: itself if it is printable, else one from 256 on."""
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    replacements = iter(range(256, 512))
    return [chr(byte if byte in printable else next(replacements)) for byte in range(256)]


_BYTE_NAMES = _byte_names()


def _import_tokenizers() -> ModuleType:
    """Import tokenizers; MissingExtra if it is not installed."""
    try:
        return import_module("tokenizers")
    except ImportError as error:
        raise MissingExtra("a tokenizer in a file", "tokenizers", "export") from error
