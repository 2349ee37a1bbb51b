"""Code blocks of the documents, and the shell commands in them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCED = re.compile(
    r"^(?P<indent> *)```(?P<language>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S
)
_OPERATORS = {"&&", "||", "|", ";", "do", "done"}


@dataclass(frozen=True)
class Block:
    """Fenced block of a document; `line` is that of its first line."""

    document: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def blocks_of(text: str, document: str) -> list[Block]:
    """Return the fenced blocks of a document, whatever their language."""
    return [
        Block(
            document,
            text[: match.start("text")].count("\n") + 1,
            match["language"].strip(),
            re.sub(rf"^{match['indent']}", "", match["text"], flags=re.M),
        )
        for match in _FENCED.finditer(text)
    ]


BLOCKS = [
    block
    for file in DOCUMENTS
    for block in blocks_of(file.read_text(encoding="utf-8"), str(file.relative_to(ROOT)))
]


def blocks_in(*languages: str) -> list[Block]:
    """Return the blocks of all documents in one of the languages."""
    return [block for block in BLOCKS if block.language in languages]


def inline_code(prefix: str) -> list[tuple[str, str]]:
    """Return the inline code that starts with a prefix, each with its document."""
    found = []
    for file in DOCUMENTS:
        prose = _FENCED.sub("", file.read_text(encoding="utf-8"))
        for code in re.findall(r"`([^`]+)`", prose):
            if code.startswith(prefix):
                found.append((file.name, " ".join(code.split())))
    return found


def commands(line: str) -> list[list[str]]:
    """Return the words of each command of a shell line, without comments and redirections."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if word in _OPERATORS:
            found.append([])
        else:
            found[-1].append(word)
    # "for NAME in WORDS" runs no command.
    return [words for words in found if words and words[0] != "for"]


def is_synopsis(line: str) -> bool:
    """Return whether a line shows the form of a command: placeholders, brackets, alternatives."""
    # What is quoted is a value, whatever letters it has.
    line = re.sub(r"'[^']*'|\"[^\"]*\"", "''", line.partition(" #")[0])
    return bool(re.search(r"\[--|\)\]|\.\.\.|\(\w+\||(?<![-\w.=$])[A-Z]{3,}", line))
