"""Safe YAML with the numbers of YAML 1.2 and without duplicate keys.

PyYAML alone reads ``1e-3`` as a string, ``on`` as true, and drops the first of two equal keys.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from hwnas.errors import InvalidInput


class _Loader(yaml.SafeLoader):
    """Loader of safe YAML with the scalars of YAML 1.2's core schema."""

    # An empty table, in place of the scalars of YAML 1.1 that SafeLoader has.
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping, after checking that its keys are distinct strings."""
        keys: set[str] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _error_at(key_node, f"expected a name for a key, found {key!r}")
            if key in keys:
                raise _error_at(key_node, f"duplicate key {key!r}")
            keys.add(key)
        return super().construct_mapping(node, deep=deep)


def _error_at(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    """Return an error with the position of a node."""
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


# Tag, pattern and first characters of each scalar type: YAML 1.2.2, section 10.3.2, without octal
# and hexadecimal integers.
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
    """Read the mapping in a YAML file.

    Raises
    ------
    InvalidInput
        The file cannot be read, is not YAML or contains no mapping; the message begins with its
        path.
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
    """Return the content of a YAML text.

    Raises
    ------
    InvalidInput
        The text is not YAML, has a duplicate key, a key that is not a string, or a tag that is not
        safe.

    Examples
    --------
    >>> parse_yaml("{rate: 1e-3, noise: on}")
    {'rate': 0.001, 'noise': 'on'}
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        position = f"line {mark.line + 1}: " if mark else ""
        message = ", ".join(part for part in (error.context, error.problem) if part)
        raise InvalidInput(position + message) from None
    # Bytes that are no text, nesting beyond the recursion limit, impossible numbers.
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidInput(f"is not a YAML text: {message}") from None
