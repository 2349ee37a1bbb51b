from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hwnas.errors import InvalidInput
from hwnas.profiling.data.text import Text, text


def documents(n: int, length: int = 50) -> tuple[str, ...]:
    return tuple(f"document {i:06d} ".ljust(length, "x") for i in range(n))


def test_default_text_is_the_help_of_python() -> None:
    topics = text()
    assert 3e5 < topics.n_bytes < 1e6
    assert any("assignment" in document for document in topics.documents)
    split = topics.split()
    share = sum(len(document.encode()) for document in split.held_out) / topics.n_bytes
    assert share == pytest.approx(0.1, abs=0.02)


def test_folder_has_one_document_per_file(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.txt").write_text("two\n\nparagraphs", encoding="utf-8")
    (tmp_path / "a.txt").write_text("öne", encoding="utf-8")
    (tmp_path / "more.txt").write_text("three<|endoftext|>four<|endoftext|>\n", encoding="utf-8")
    (tmp_path / ".hidden").write_bytes(b"\0")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "object").write_bytes(b"\0")
    content = text(tmp_path)
    assert content.documents == ("öne", "two\n\nparagraphs", "three", "four")
    assert content.n_bytes == 4 + 15 + 5 + 4


@pytest.mark.parametrize(
    ("content", "separator", "expected"),
    [
        ("a\nb\n\nc\n \n\nd", None, ("a\nb", "c", "d")),
        ("a\r\n\r\nb", None, ("a", "b")),
        ("a\n\nb<|endoftext|>c", None, ("a\n\nb", "c")),
        ("a\n\nb---c", "---", ("a\n\nb", "c")),
        ("a\n\nb", "---", ("a\n\nb",)),
        ("\ufeffa\n\na", None, ("a",)),
    ],
)
def test_file_is_divided_at_separators(
    tmp_path: Path, content: str, separator: str | None, expected: tuple[str, ...]
) -> None:
    file = tmp_path / "text.txt"
    file.write_bytes(content.encode())
    assert tuple(d.strip() for d in text(file, separator=separator).documents) == expected


def test_documents_that_differ_in_white_space_are_duplicates(tmp_path: Path) -> None:
    for name, content in {"1": "a b", "2": "a  b\n", "3": "a c", "4": " \n"}.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    assert text(tmp_path).documents == ("a b", "a c")


@given(
    st.lists(st.text("ab ", min_size=1, max_size=9).filter(str.strip), min_size=2, unique=True),
    st.floats(0.01, 0.6),
    st.integers(0, 5),
)
def test_no_document_is_in_both_parts(drawn_documents: list[str], share: float, seed: int) -> None:
    random_text = Text("random", tuple(drawn_documents))
    try:
        split = random_text.split(held_out=share, seed=seed)
    except InvalidInput:
        assume(False)
    assert split.train
    assert split.held_out
    assert not set(split.train) & set(split.held_out)
    assert sorted(split.train + split.held_out) == sorted(drawn_documents)


def test_split_depends_only_on_words_and_seed() -> None:
    content = Text("some", documents(200))
    split = content.split(seed=1)
    reordered = Text("other", content.documents[::-1]).split(seed=1)
    assert set(split.held_out) == set(reordered.held_out)
    assert set(split.held_out) != set(content.split(seed=2).held_out)
    assert len(split.held_out) == 20
    assert split.held_out == tuple(d for d in content.documents if d in split.held_out)


def test_long_document_is_not_held_out() -> None:
    long = "long " * 1000
    for seed in range(20):
        assert long in Text("some", (*documents(20), long)).split(seed=seed).train
    shorter, longer = "short", "a longer one"
    assert Text("two", (longer, shorter)).split().held_out == (shorter,)


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5])
def test_share_must_be_between_0_and_1(share: float) -> None:
    with pytest.raises(InvalidInput, match="held_out: expected a share between 0 and 1"):
        Text("some", documents(5)).split(held_out=share)


def test_too_little_text_to_split() -> None:
    with pytest.raises(InvalidInput, match="at least 2 distinct documents, found 1"):
        Text("some", ("one",)).split()
    with pytest.raises(InvalidInput, match="leaves nothing to train on"):
        Text("some", documents(2)).split(held_out=0.99)


def test_invalid_text(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no such file or folder"):
        text(tmp_path / "none")
    with pytest.raises(InvalidInput, match="expected a folder with text files, found none"):
        text(tmp_path)
    file = tmp_path / "file"
    file.write_text(" \n", encoding="utf-8")
    with pytest.raises(InvalidInput, match="expected text, found none"):
        text(file)
    file.write_bytes(b"abc\xff\xfe")
    with pytest.raises(InvalidInput, match=r"file: expected .* UTF-8, found a different byte at 3"):
        text(file)
    file.write_bytes(b"ab\0c")
    with pytest.raises(InvalidInput, match=r"file: expected .* UTF-8, found a different byte at 2"):
        text(tmp_path)
    with pytest.raises(InvalidInput, match="separator: expected a non-empty string"):
        text(file, separator="")
