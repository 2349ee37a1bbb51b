"""Arguments of commands: assignments, and texts on arguments that are refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hwnas.errors import InvalidInput, describe_value


def parse_assignment(text: str) -> tuple[str, Any]:
    """Return key and value of KEY=VALUE, the value parsed as YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InvalidInput(f"--set {describe_value(text)}: expected KEY=VALUE")
    return key, _parse_value(f"--set {key}", value)


def parse_overrides(assignments: Sequence[str] | None, executor: str | None) -> dict[str, Any]:
    """Return the values that a command line changes, by dotted path.

    Parameters
    ----------
    assignments
        Texts KEY=VALUE.
    executor
        Value of the key ``executor``, as YAML.
    """
    values = dict(map(parse_assignment, assignments or ()))
    if executor:
        values["executor"] = _parse_value("--executor", executor)
    return values


def _parse_value(option: str, text: str) -> Any:
    """Return the value of an option, as YAML."""
    from hwnas.yaml_loader import parse_yaml

    try:
        return parse_yaml(text)
    except InvalidInput as error:
        raise InvalidInput(f"{option}: {str(error).removeprefix('line 1: ')}") from None


def explain_usage_error(error: Any) -> str:
    """Return the text of an error that typer raises, without the words of its validator.

    Parameters
    ----------
    error
        A ``UsageError``; of one that pydantic caused, the faults are described anew.
    """
    faults = getattr(error.__cause__, "errors", None)
    if faults is not None:
        error.message = _describe_fault(faults()[0])
    text: str = error.format_message()
    return text


def _describe_fault(fault: dict[str, Any]) -> str:
    """Return what an argument should be and what it is, from an error of pydantic."""
    kind, limits = fault["type"], fault.get("ctx", {})
    if kind.startswith("int_"):
        expected = "an integer"
    elif kind.startswith("float_"):
        expected = "a number"
    elif kind == "greater_than_equal":
        expected = f"at least {limits['ge']}"
    elif kind == "less_than_equal":
        expected = f"at most {limits['le']}"
    else:
        # The text is typer's own: 'gif' is not one of 'png', 'pdf', 'svg'.
        message: str = fault["msg"]
        return message.removeprefix("Value error, ")
    return f"expected {expected}, found {describe_value(fault['input'])}"
