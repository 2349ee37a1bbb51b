"""Text to train on: documents, and how they are split.

A *document* is what must not be torn apart: all of it is trained on, or all of it is held out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from hwnas.errors import InvalidInput

DEFAULT = "pydoc"
END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True, slots=True)
class Split:
    """Documents to train on and documents to measure on; none is in both."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """Distinct documents.

    Attributes
    ----------
    name
        Where they come from.
    documents
        In their order; those that differ only in white space are one.
    """

    name: str
    documents: tuple[str, ...]

    @property
    def n_bytes(self) -> int:
        """Length of all documents in UTF-8."""
        return sum(map(_bytes, self.documents))

    def split(self, *, held_out: float = 0.1, seed: int = 0) -> Split:
        """Some whole documents are held out, the others are for training.

        Documents are visited in the order of a hash of their words and the seed, so neither their
        order nor their number of copies matters. Each one that brings the held-out part nearer to
        its share of the bytes joins it; at least one does.

        Parameters
        ----------
        held_out
            Share of the bytes to hold out, between 0 and 1.
        seed
            Another seed holds out other documents.

        Raises
        ------
        InvalidInput
            There are fewer than two documents, or `held_out` leaves nothing to train on.
        """
        if not 0 < held_out < 1:
            raise InvalidInput(f"held_out: expected a share between 0 and 1, found {held_out!r}")
        if len(self.documents) < 2:
            raise InvalidInput(
                f"{self.name}: too little text to hold some of it out: expected at least 2 "
                f"distinct documents, found {len(self.documents)}; a folder has one a file, "
                f"a file one between two {END_OF_TEXT} or blank lines, or give separator"
            )
        visited = sorted(self.documents, key=lambda document: _rank(document, seed))
        lacking = held_out * self.n_bytes
        chosen = set()
        for document in visited:
            if (size := _bytes(document)) < 2 * lacking:
                lacking -= size
                chosen.add(document)
        chosen = chosen or {min(visited, key=_bytes)}
        train = tuple(d for d in self.documents if d not in chosen)
        if not train:
            raise InvalidInput(
                f"{self.name}: held_out: {held_out} of {len(self.documents)} documents leaves "
                "nothing to train on"
            )
        return Split(train, tuple(d for d in self.documents if d in chosen))


def text(source: str | Path = DEFAULT, *, separator: str | None = None) -> Text:
    """The documents of a file, of a folder, or of Python's own help.

    Parameters
    ----------
    source
        A text file in UTF-8; a folder, of which all files in it and below are read, hidden ones
        left out; or ``"pydoc"``, the topics of Python's ``help()``, some 0.46 MB of English that
        are on every machine.
    separator
        What stands between two documents of a file. By default ``<|endoftext|>``; where a file is
        the whole text and has none of these, blank lines.

    Raises
    ------
    InvalidInput
        There is no such file, it is not text, or there are no documents in it.
    """
    if separator == "":
        raise InvalidInput("separator: expected some text, found ''")
    if source == DEFAULT:
        from pydoc_data.topics import topics

        return _distinct("Python's help topics", topics.values())
    path = Path(source)
    if path.is_dir():
        files = sorted(
            file
            for file in path.rglob("*")
            if file.is_file()
            and not any(part.startswith(".") for part in file.relative_to(path).parts)
        )
        if not files:
            raise InvalidInput(f"{path}: expected a folder with text files, found none in it")
        return _distinct(str(path), chain.from_iterable(_documents(f, separator) for f in files))
    if not path.exists():
        raise InvalidInput(
            f"{path}: no such file or folder; expected text, or {DEFAULT!r} for Python's own help"
        )
    found = _distinct(str(path), _documents(path, separator))
    if len(found.documents) == 1 and separator is None:
        found = _distinct(str(path), re.split(r"\n\s*\n", found.documents[0]))
    return found


def _documents(file: Path, separator: str | None) -> list[str]:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{file}: {error.strerror}") from None
    try:
        decoded = content.decode("utf-8-sig")
        binary = content.find(b"\0")
    except UnicodeDecodeError as error:
        binary = error.start
    if binary >= 0:
        raise InvalidInput(f"{file}: expected text in UTF-8, found another byte at {binary}")
    return decoded.split(separator or END_OF_TEXT)


def _distinct(name: str, documents: Iterable[str]) -> Text:
    """Text of documents that may be empty or come twice."""
    first: dict[str, str] = {}
    for document in documents:
        if words := _words(document):
            first.setdefault(words, document)
    if not first:
        raise InvalidInput(f"{name}: expected text, found none")
    return Text(name, tuple(first.values()))


def _words(document: str) -> str:
    return " ".join(document.split())


def _bytes(document: str) -> int:
    return len(document.encode())


def _rank(document: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {_words(document)}".encode()).digest()
