"""Text as documents, and their split into a training and a held-out part.

A *document* is never divided: it belongs to the training part or to the held-out part as a whole.
"""

from __future__ import annotations

import hashlib
import re
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from hwnas.errors import InvalidInput
from hwnas.files import unreadable

DEFAULT = "pydoc"
STDLIB = "stdlib"
END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True, slots=True)
class Split:
    """Documents to train on and documents to evaluate on; no document is in both."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """Distinct documents.

    Attributes
    ----------
    name
        Source of the documents.
    documents
        The documents in their original order, without duplicates. Documents that differ only in
        white space are duplicates.

    Examples
    --------
    >>> Text("letters", ("a a a a", "b b b b", "c")).split(held_out=0.1).held_out
    ('c',)
    """

    name: str
    documents: tuple[str, ...]

    @property
    def n_bytes(self) -> int:
        """Length of all documents in UTF-8."""
        return sum(map(_byte_length, self.documents))

    def split(self, *, held_out: float = 0.1, seed: int = 0) -> Split:
        """Split the documents into a training part and a held-out part.

        Documents are visited in the order of a hash of their words and the seed, so the split
        depends neither on their order nor on duplicates. A document is held out if this brings the
        held-out part closer to its share of the bytes; at least one document is held out.

        Parameters
        ----------
        held_out
            Share of the bytes to hold out, between 0 and 1.
        seed
            Seed of the order in which documents are visited.

        Raises
        ------
        InvalidInput
            There are fewer than two documents, or `held_out` leaves nothing to train on.
        """
        if not 0 < held_out < 1:
            raise InvalidInput(f"held_out: expected a share between 0 and 1, found {held_out!r}")
        if len(self.documents) < 2:
            raise InvalidInput(
                f"{self.name}: too little text to hold out a part of it: expected at least 2 "
                f"distinct documents, found {len(self.documents)}; in a folder each file is a "
                f"document, in a file {END_OF_TEXT}, blank lines or separator divide documents"
            )
        # The hash is a random order that does not depend on the order of the documents.
        visited = sorted(self.documents, key=lambda document: _hash_document(document, seed))
        lacking = held_out * self.n_bytes  # bytes that the held-out part still lacks
        chosen = set()
        for document in visited:
            # |lacking - size| < |lacking| exactly if size < 2 * lacking.
            if (size := _byte_length(document)) < 2 * lacking:
                lacking -= size
                chosen.add(document)
        # If every document is too long, hold out the shortest.
        chosen = chosen or {min(visited, key=_byte_length)}
        train = tuple(d for d in self.documents if d not in chosen)
        if not train:
            raise InvalidInput(
                f"{self.name}: held_out: {held_out} of {len(self.documents)} documents leaves "
                "nothing to train on"
            )
        return Split(train, tuple(d for d in self.documents if d in chosen))


def text(source: str | Path = DEFAULT, *, separator: str | None = None) -> Text:
    """Read the documents of a file, of a folder, or of Python's own help.

    Parameters
    ----------
    source
        A text file in UTF-8; a folder, whose files are all read, including those in subfolders but
        not hidden ones; ``"hf:NAME"``, a data set, see
        `hwnas.profiling.data.hf_dataset.dataset_documents`; or a text that every Python
        installation has: ``"pydoc"``, the topics of ``help()``, about 0.46 MB of English, and
        ``"stdlib"``, the source files of the standard library, about 12 MB of Python and English.
    separator
        String between two documents of a file. By default ``<|endoftext|>``; a single file without
        it is divided at blank lines.

    Raises
    ------
    InvalidInput
        The file does not exist, is not text, or contains no documents.

    Examples
    --------
    >>> text("pydoc").name
    "Python's help topics"
    """
    if separator == "":
        raise InvalidInput("separator: expected a non-empty string, found ''")
    if source == DEFAULT:
        from pydoc_data.topics import topics

        return _distinct_documents("Python's help topics", topics.values())
    if source == STDLIB:
        return _distinct_documents("Python's standard library", _library_sources())
    if isinstance(source, str) and source.startswith("hf:"):
        from hwnas.profiling.data.hf_dataset import dataset_documents

        return _distinct_documents(source, dataset_documents(source.removeprefix("hf:")))
    if source == "":
        raise InvalidInput(f"text: expected a file, a folder or a name such as {DEFAULT}, found ''")
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
        documents = chain.from_iterable(_read_documents(f, separator) for f in files)
        return _distinct_documents(str(path), documents)
    if not path.exists():
        raise InvalidInput(
            f"{path}: no such file or folder; expected text, {DEFAULT!r} for Python's own "
            f"help, {STDLIB!r} for its standard library, or hf:NAME"
        )
    content = _distinct_documents(str(path), _read_documents(path, separator))
    # A single file without any separator is divided at blank lines.
    if len(content.documents) == 1 and separator is None:
        content = _distinct_documents(str(path), re.split(r"\n\s*\n", content.documents[0]))
    return content


def _library_sources() -> list[str]:
    """Return the source files of Python's standard library, without its tests."""
    root = Path(sysconfig.get_paths()["stdlib"])
    left_out = {"site-packages", "dist-packages", "test", "tests", "idle_test"}
    files = sorted(
        file for file in root.rglob("*.py") if not left_out & {*file.relative_to(root).parts}
    )
    return [file.read_text("utf-8", errors="replace") for file in files]


def _read_documents(file: Path, separator: str | None) -> list[str]:
    """Read the documents of one file; they may be empty or duplicates."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InvalidInput(unreadable(file, error)) from None
    # A null byte is valid UTF-8, but its file is hardly text.
    try:
        decoded = content.decode("utf-8-sig")
        binary = content.find(b"\0")
    except UnicodeDecodeError as error:
        binary = error.start
    if binary >= 0:
        raise InvalidInput(f"{file}: expected text in UTF-8, found a different byte at {binary}")
    return decoded.split(separator or END_OF_TEXT)


def _distinct_documents(name: str, documents: Iterable[str]) -> Text:
    """Return the text of documents without empty ones and duplicates."""
    # A dictionary keeps the order and, by setdefault, the first of several duplicates.
    document_of_words: dict[str, str] = {}
    for document in documents:
        if words := _normalize_whitespace(document):
            document_of_words.setdefault(words, document)
    if not document_of_words:
        raise InvalidInput(f"{name}: expected text, found none")
    return Text(name, tuple(document_of_words.values()))


def _normalize_whitespace(document: str) -> str:
    return " ".join(document.split())


def _byte_length(document: str) -> int:
    return len(document.encode())


def _hash_document(document: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {_normalize_whitespace(document)}".encode()).digest()
