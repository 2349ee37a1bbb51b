"""Tokenizers of the library tokenizers, from a tiny file."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwnas.errors import InvalidInput, MissingExtra, UnknownName
from hwnas.profiling.data.tokenizer import tokenizer, tokens

library = pytest.importorskip("tokenizers")


def write(file: Path, special: list[str], **options: Any) -> str:
    """Train byte pairs on a few words and write their tokenizer."""
    encoding = library.Tokenizer(library.models.BPE())
    encoding.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    encoding.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=special,
        initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    encoding.train_from_iterator(["the tale of the fable, the table"] * 3, trainer)
    if options.get("truncated"):
        encoding.enable_truncation(2)
        encoding.enable_padding(length=9)
    encoding.save(str(file))
    return str(file)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    return write(folder / "tokenizer.json", ["<|endoftext|>"], truncated=True)


@given(document=st.text(st.characters(exclude_categories=("Cs",)), max_size=30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_round_trip(file: str, document: str) -> None:
    encoder = tokenizer(file)
    for text in (document, f"{document}<|endoftext|>"):
        ids = encoder.encode(text)
        assert encoder.decode(ids) == text
        assert (ids != encoder.end).all()
        assert (ids < encoder.vocab_size).all()


def test_merges_make_documents_shorter(file: str) -> None:
    encoder = tokenizer(file)
    assert len(encoder.encode("the tale of the table")) < 12
    encoded = tokens(["the tale", "the fable"], encoder)
    assert (encoded.ids == encoder.end).sum() == 2
    assert encoded.ids.dtype == np.uint16
    assert encoder.end == 0


def test_a_vocabulary_without_an_end_gets_one(tmp_path: Path, file: str) -> None:
    plain = tokenizer(write(tmp_path / "plain.json", []))
    assert plain.end == plain.vocab_size - 1
    assert plain.identity != tokenizer(file).identity
    assert plain.identity == tokenizer(str(tmp_path / "plain.json")).identity


def test_what_is_no_tokenizer(tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{}")
    with pytest.raises(InvalidInput, match=r"broken.json: expected a tokenizer.json or hf:NAME"):
        tokenizer(str(broken))
    with pytest.raises(InvalidInput, match=r"tokenizer: none.json: no such file"):
        tokenizer("none.json")
    with pytest.raises(InvalidInput, match="expected neither vocabulary nor vocab_size"):
        tokenizer(file, vocabulary="gpt2.tiktoken")
    with pytest.raises(UnknownName, match="bpe"):
        tokenizer("bpe")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtra, match=r"needs tokenizers: .*hwnas\[data\]"):
        tokenizer(file)
