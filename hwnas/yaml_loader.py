"""YAML as hwnas reads it: safe, the numbers of YAML 1.2, no duplicate keys.

PyYAML alone reads ``1e-3`` as a text, ``on`` as true, and drops the first of two equal keys.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from hwnas.errors import InvalidInput


class _Loader(yaml.SafeLoader):
    """Safe YAML with the scalars of YAML 1.2's core schema, and without duplicate keys."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys are distinct strings."""
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _marked(key_node, f"expected a name for a key, found {key!r}")
            if key in seen:
                raise _marked(key_node, f"duplicate key {key!r}")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _marked(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


for _tag, _pattern, _first_characters in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first_characters
    )


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file: safe, YAML 1.2 numbers, duplicate keys refused.

    Raises
    ------
    InvalidInput
        The file cannot be read, is not YAML or holds no mapping; the message begins with its path.
    """
    try:
        content = parse_yaml(path.read_bytes())
    except FileNotFoundError:
        raise InvalidInput(f"{path}: no such file") from None
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}") from None
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from None
    if content is None:
        raise InvalidInput(f"{path}: is empty, expected keys and values")
    if not isinstance(content, dict):
        raise InvalidInput(f"{path}: expected keys and values, found a {type(content).__name__}")
    return content


def parse_yaml(text: str | bytes) -> Any:
    """What a YAML text says.

    Raises
    ------
    InvalidInput
        It is not YAML, or uses what this project does not allow.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}: " if mark else ""
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise InvalidInput(where + what) from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidInput(f"is not a YAML text: {what}") from None
