"""An experiment, a plugin and checks that the tests of the command line share."""

from __future__ import annotations

import io
import re
from typing import Any

SMALL: dict[str, Any] = {
    "name": "small",
    "space": "gpt-s",
    "objectives": ["perplexity", "latency@rtx3080"],
    "optimizers": ["random"],
    "budget": {"evaluations": 30},
    "seeds": 1,
}
ARCH = "gpt-s-10-192-" + "2-" * 10 + "4-" * 10 + "True"

# Registers an optimizer and a backend.
PLUGIN = """
import hwnas


@hwnas.register_optimizer("typed-in")
class TypedIn(hwnas.Optimizer):
    def ask(self, n):
        return self.space.sample(n, self.rng)


@hwnas.register_backend("typed-in")
class Answer(hwnas.Backend):
    metrics = {"depth": hwnas.Metric()}

    def evaluate(self, codes, objectives, *, seeds, fidelity=None):
        return hwnas.Evaluation(codes[:, 1:2] + 1.0)
"""

# YAML files that define no space, and a part of the error on each.
NO_SPACES: dict[str, tuple[bytes, str]] = {
    "no file": (b"", "no such file"),
    "empty": (b"", "is empty"),
    "no mapping": (b"[1, 2]", "expected keys and values, found a list"),
    "no YAML": (b"{a: [", "line 1"),
    "no text": (b"\xff\xfe\x00", "is not a YAML text"),
    "no space": (
        b"name: x",
        "expected a space, or an experiment with the key space: a space needs",
    ),
    "other keys": (b"objectives: [params]", "unknown key of a space 'objectives'"),
    "misspelled key": (b"{name: x, n_layers: [1]}", "'n_layers'; did you mean '"),
    "wrong choices": (
        b"{name: x, embed_dim: 8, n_layer: [1], mlp_ratio: [1], n_head: [1]}",
        "embed_dim: expected a list of 1 to 127 choices, found 8",
    ),
    "unknown space": (b"space: gpt-q", "space: unknown space 'gpt-q'"),
    "number for a space": (b"space: 5", "space: expected the name of a space .*, found 5"),
    "nothing for a space": (b"space:", "space: expected the name of a space .*, found None"),
}


class CommandResult:
    """Exit code and output of a command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


class Terminal(io.StringIO):
    """Stream that looks like a terminal."""

    def isatty(self) -> bool:
        return True


def assert_user_error(result: CommandResult, message: str) -> None:
    """Check for exit code 2 and one line on stderr that matches a pattern."""
    assert result.code == 2, result.err
    assert result.out == ""
    assert re.search(message, result.err), result.err
    assert result.err.startswith("hwnas: ")
    assert result.err.count("\n") == 1
