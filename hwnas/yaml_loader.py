"""Safe YAML with the numbers of YAML 1.2, with merge keys and without duplicate keys.

PyYAML alone reads ``1e-3`` as a string, ``on`` as true, and drops the first of two equal keys.
A mapping under the key ``<<``, or a list of them, adds its keys to those beside it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from hwnas.errors import InvalidInput, describe_value
from hwnas.files import read_bounded, unreadable

MAX_MB = 10  # of a text
MAX_DEPTH = 100  # of nested lists and mappings
MAX_VALUES = 1_000_000  # with aliases expanded
_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
# The tags of YAML 1.2's core schema alone: no dates, sets or binary values, whose errors are many.
_KINDS = ("null", "bool", "int", "float", "str", "seq", "map")


class _Loader(yaml.SafeLoader):
    """Loader of safe YAML with the scalars of YAML 1.2's core schema, and merge keys."""

    # An empty table, in place of the scalars of YAML 1.1 that SafeLoader has.
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012
    yaml_constructors = {  # noqa: RUF012 - a constant
        tag: constructor
        for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
        if tag in {None, *(f"{_TAG}{kind}" for kind in _KINDS)}
    }

    def __init__(self, stream: str | bytes) -> None:
        super().__init__(stream)
        self._merged: set[yaml.Node] = set()

    def get_single_node(self) -> yaml.Node | None:
        """Return the document, after checking that its aliases do not blow it up."""
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _measure(node, {}, 1)
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Replace the merge keys of a mapping, after checking that its own keys are distinct."""
        # A mapping that others merge is flattened before it is constructed, and only once.
        if node in self._merged:
            return
        self._merged.add(node)
        keys: set[str] = set()
        for key_node, _ in node.value:
            is_merge = key_node.tag == _MERGE
            key = key_node.value if is_merge else self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _error_at(key_node, f"expected a name for a key, found {describe_value(key)}")
            if key in keys:
                raise _error_at(key_node, f"duplicate key {describe_value(key)}")
            keys.add(key)
        super().flatten_mapping(node)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return the value of a node; one that its tag does not describe is an error there."""
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, LookupError):
            kind = node.tag.removeprefix(_TAG)
            text = f"expected a value of the type {kind}, found {describe_value(node.value)}"
            raise _error_at(node, text) from None

    def construct_scalar(self, node: Any) -> Any:
        """Return the text of a scalar, which a file can hold and a path can be made of."""
        text = super().construct_scalar(node)
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            shown_text = describe_value(text)
            raise _error_at(node, f"expected Unicode text without NUL, found {shown_text}")
        return text


class _Dumper(yaml.SafeDumper):
    """Dumper that quotes every text that the loader would take for something else."""

    def represent_text(self, text: str) -> yaml.Node:
        """Return the node of a text; line breaks of other kinds survive in double quotes alone."""
        style = None if text.isprintable() else '"'
        return self.represent_scalar(f"{_TAG}str", text, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)


def _measure(node: yaml.Node, sizes: dict[yaml.Node, int | None], depth: int) -> int:
    """Return the number of values in a node with aliases expanded.

    Parameters
    ----------
    node
        The node.
    sizes
        Numbers of the nodes that were measured before; ``None`` of those that contain this one.
    depth
        Number of nodes around it, itself included.
    """
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if node in sizes:
        size = sizes[node]
        if size is None:
            raise _error_at(node, "an alias to what contains it")
        return size
    if depth > MAX_DEPTH:
        raise _error_at(node, f"expected at most {MAX_DEPTH} lists and mappings within each other")
    sizes[node] = None
    is_mapping = isinstance(node, yaml.MappingNode)
    children = [part for pair in node.value for part in pair] if is_mapping else node.value
    size = 1 + sum(_measure(child, sizes, depth + 1) for child in children)
    if size > MAX_VALUES:
        raise _error_at(node, f"expected at most {MAX_VALUES:,} values, with aliases expanded")
    sizes[node] = size
    return size


def _error_at(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    """Return an error with the position of a node."""
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


# Tag, pattern and first characters of each scalar type: YAML 1.2.2, section 10.3.2, without octal
# and hexadecimal integers.
for _kind, _pattern, _first_characters in (
    ("merge", r"<<", ["<"]),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
):
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            f"{_TAG}{_kind}", re.compile(f"^(?:{_pattern})$"), _first_characters
        )


def dump_yaml(value: Any) -> str:
    """Return a YAML text from which `parse_yaml` makes the same value.

    Examples
    --------
    >>> dump_yaml({"rate": 1e-3, "name": "1e5"})
    "rate: 0.001\\nname: '1e5'\\n"
    """
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def read_yaml(path: Path) -> dict[str, Any]:
    """Read the mapping in a YAML file.

    Raises
    ------
    InvalidInput
        The file cannot be read, is not YAML or contains no mapping; the message begins with its
        path.
    """
    try:
        content = parse_yaml(read_bounded(path, MAX_MB))
    except OSError as error:
        raise InvalidInput(unreadable(path, error)) from None
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from None
    if content is None:
        raise InvalidInput(f"{path}: is empty, expected keys and values")
    if not isinstance(content, dict):
        kinds: dict[type, str] = {str: "text", int: "number", float: "number"}
        kind = kinds.get(type(content), type(content).__name__)
        raise InvalidInput(f"{path}: expected keys and values, found a {kind}")
    return content


def parse_yaml(text: str | bytes) -> Any:
    """Return the content of a YAML text.

    Raises
    ------
    InvalidInput
        The text is not YAML, has a duplicate key, a key that is not a string, or a tag that is not
        safe; or it nests deeper, or has more values with its aliases expanded, than any experiment.

    Examples
    --------
    >>> parse_yaml("{rate: 1e-3, noise: on}")
    {'rate': 0.001, 'noise': 'on'}
    """
    if len(text) > MAX_MB * 1_000_000:
        raise InvalidInput(f"is larger than {MAX_MB} MB, the limit of a YAML text")
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        position = f"line {mark.line + 1}: " if mark else ""
        message = ", ".join(part for part in (error.context, error.problem) if part)
        raise InvalidInput(position + message) from None
    # Bytes that are no text, nesting beyond the recursion limit.
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidInput(f"is not a YAML text: {message}") from None
