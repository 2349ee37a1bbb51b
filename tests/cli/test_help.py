"""The help of every command has examples, each of which is a command that parses."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
from documents import commands
from typer.testing import CliRunner

from hwnas.cli.main import app


def all_commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each command with its names, those of groups after the group's."""
    for name, child in getattr(command, "commands", {}).items():
        yield from all_commands(child, (*path, name))
    if not hasattr(command, "commands"):
        yield path, command


COMMANDS = dict(all_commands(typer.main.get_command(app)))


def examples_in(text: str) -> list[str]:
    """Return the examples of a help, as they are printed."""
    lines = text.partition("Examples:")[2].partition("Arguments:")[0].partition("Options:")[0]
    return [line.strip() for line in lines.splitlines() if line.strip()]


def parse(words: list[str]) -> tuple[str, ...]:
    """Parse a command line without running it, and return the names of the command."""
    assert words[0] == "hwnas"
    path = next(names for names in COMMANDS if words[1 : 1 + len(names)] == list(names))
    command = COMMANDS[path]
    command.make_context(command.name, words[1 + len(path) :])
    return path


@pytest.mark.parametrize("path", [(), *COMMANDS], ids=" ".join)
def test_help_has_examples_that_parse(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*path, "--help"], terminal_width=80)
    examples = examples_in(shown.output)
    assert examples, "expected a section Examples: in the docstring, after all else"
    # A line that the terminal folds is none that a reader can copy.
    parsed = [parse(words) for line in examples for words in commands(line)]
    assert path == () or path in parsed


@pytest.mark.parametrize("line", ["hwnas front gpt-s", "hwnas run x --nothing", "hwnas nothing"])
def test_an_example_that_does_not_parse(line: str) -> None:
    with pytest.raises(Exception, match=r"(?i)missing|nothing|^$"):
        parse(shlex.split(line))
