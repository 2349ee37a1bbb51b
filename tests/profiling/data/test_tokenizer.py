from __future__ import annotations

import base64
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.errors import InvalidInput, MissingExtra, UnknownName
from hwnas.profiling.data import tokenizer as tokenizers
from hwnas.profiling.data.tokenizer import ByteTokenizer, Tokenizer, tokenizer, tokens
from hwnas.typing import TokenArray


@given(st.text())
def test_byte_tokens_are_utf8(document: str) -> None:
    ids = ByteTokenizer().encode(document)
    assert ids.tolist() == list(document.encode())
    assert ByteTokenizer().decode(ids) == document
    assert (ids != ByteTokenizer.end).all()


def test_documents_are_followed_by_the_end_token() -> None:
    encoded = tokens(["ab", "é"], ByteTokenizer())
    assert encoded.ids.tolist() == [97, 98, 256, 0xC3, 0xA9, 256]
    assert encoded.ids.dtype == np.uint16
    assert (encoded.n_bytes, encoded.vocab_size, encoded.end, len(encoded)) == (4, 257, 256, 6)
    assert ByteTokenizer().decode(encoded.ids) == "abé"


class Counting(ByteTokenizer):
    """Tokenizer that counts its calls; its bytes start at a given number."""

    def __init__(self, first: int = 0) -> None:
        self.first, self.n_calls = first, 0

    @property
    def identity(self) -> str:  # type: ignore[override]
        return f"counting {self.first}"

    def encode(self, document: str) -> TokenArray:
        self.n_calls += 1
        return np.asarray(super().encode(document) + self.first, dtype=self.dtype)


def test_tokens_are_cached(tmp_path: Path) -> None:
    counting = Counting()
    first = tokens(["ab", "c"], counting, cache=tmp_path / "new")
    second = tokens(["ab", "c"], counting, cache=tmp_path / "new")
    assert counting.n_calls == 2
    assert isinstance(second.ids, np.memmap)
    assert not second.ids.flags.writeable
    assert second.ids.tolist() == first.ids.tolist() == [97, 98, 256, 99, 256]
    assert [file.suffix for file in (tmp_path / "new").iterdir()] == [".npy"]


def test_cache_depends_on_documents_and_tokenizer(tmp_path: Path) -> None:
    tokens(["ab", "c"], Counting(), cache=tmp_path)
    assert tokens(["a", "bc"], Counting(), cache=tmp_path).ids.tolist() == [97, 256, 98, 99, 256]
    assert tokens(["ab", "c"], Counting(1), cache=tmp_path).ids.tolist()[0] == 98


def test_cache_is_written_atomically(tmp_path: Path) -> None:
    class Failing(ByteTokenizer):
        def encode(self, document: str) -> TokenArray:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tokens(["ab"], Failing(), cache=tmp_path)
    assert not list(tmp_path.iterdir())


def test_no_documents() -> None:
    with pytest.raises(InvalidInput, match="at least one"):
        tokens([], ByteTokenizer())


def test_tokenizers_by_name() -> None:
    assert isinstance(tokenizer("bytes"), ByteTokenizer)
    with pytest.raises(UnknownName, match="did you mean 'gpt2'"):
        tokenizer("gpt-2")
    with pytest.raises(InvalidInput, match="neither vocabulary nor vocab_size, found 300"):
        tokenizer("bytes", vocab_size=300)


MERGES = [b"th", b"he", b"the", b" the", b"in"]


def vocabulary(file: Path, words: list[bytes]) -> Path:
    lines = [base64.b64encode(word) + b" %d" % rank for rank, word in enumerate(words)]
    file.write_bytes(b"\n".join(lines) + b"\n")
    return file


@pytest.fixture
def small(tmp_path: Path) -> Tokenizer:
    pytest.importorskip("tiktoken")
    words = [bytes([byte]) for byte in range(256)] + MERGES
    return tokenizer("gpt2", vocabulary=vocabulary(tmp_path / "v", words), vocab_size=262)


def test_byte_pairs_from_a_file(small: Tokenizer) -> None:
    assert small.encode("the the").tolist() == [258, 259]
    assert small.encode("thing").tolist() == [256, 260, ord("g")]
    assert (small.vocab_size, small.end, small.dtype) == (262, 261, np.uint16)


@given(st.text())
def test_byte_pairs_round_trip(document: str) -> None:
    pytest.importorskip("tiktoken")
    ranks = {bytes([byte]): byte for byte in range(256)}
    ranks |= {merge: 256 + i for i, merge in enumerate(MERGES)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizers, "_download_ranks", lambda: ranks)
        byte_pairs = tokenizer("gpt2", vocab_size=262)
    ids = byte_pairs.encode(document)
    assert byte_pairs.decode(np.append(ids, byte_pairs.end)) == document
    assert (ids < byte_pairs.end).all()


def test_end_token_cannot_be_written_as_text(small: Tokenizer) -> None:
    assert small.end not in small.encode("<|endoftext|>")


def test_smaller_vocabulary(tmp_path: Path, small: Tokenizer) -> None:
    cut = tokenizer("gpt2", vocabulary=tmp_path / "v", vocab_size=258)  # "th" alone is merged
    assert cut.encode("the").tolist() == [256, ord("e")]
    assert cut.end == 257
    assert cut.identity != small.identity
    with pytest.raises(InvalidInput, match="expected 262 tokens, found 261; vocab_size can be 262"):
        tokenizer("gpt2", vocabulary=tmp_path / "v", vocab_size=263)
    with pytest.raises(InvalidInput, match="vocab_size: expected 257 to 50257, found 100"):
        tokenizer("gpt2", vocabulary=tmp_path / "v", vocab_size=100)


def test_invalid_vocabulary(tmp_path: Path) -> None:
    pytest.importorskip("tiktoken")
    file = tmp_path / "gpt2.tiktoken"
    with pytest.raises(InvalidInput, match="no such file"):
        tokenizer("gpt2", vocabulary=file)
    file.write_bytes(b"YQ== 0\nno vocabulary at all\n")
    with pytest.raises(InvalidInput, match="line 2: expected lines of a token in base64"):
        tokenizer("gpt2", vocabulary=file)
    file.write_bytes(b"YQ== 1\n")
    with pytest.raises(InvalidInput, match="without gaps"):
        tokenizer("gpt2", vocabulary=file)
    vocabulary(file, [b"aa", *(bytes([byte]) for byte in range(256))])
    with pytest.raises(InvalidInput, match="the 256 bytes"):
        tokenizer("gpt2", vocabulary=file)


def test_missing_tiktoken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    with pytest.raises(MissingExtra, match=r'tiktoken: pip install "hwnas\[profile\]"'):
        tokenizer("gpt2")


@pytest.mark.parametrize("error", [ConnectionError, ModuleNotFoundError])
def test_failed_download(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    public = pytest.importorskip("tiktoken_ext.openai_public")

    def unreachable() -> None:
        raise error

    monkeypatch.setattr(public, "gpt2", unreachable)
    with pytest.raises(InvalidInput, match=r"cannot be downloaded .* give vocabulary, a file gpt2"):
        tokenizer("gpt2")
