"""Arguments of commands: assignments, and texts on arguments that are refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from hwnas.errors import InvalidInput, UnknownName, describe_value, similar_names


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
    if executor is not None:
        if not executor:
            raise InvalidInput("--executor: expected a name, such as process, found ''")
        if "executor" in values:
            raise InvalidInput("--executor: expected no --set executor with it")
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
    """Return the text of an error that typer raises, in the words of the other errors of hwnas.

    Parameters
    ----------
    error
        A ``UsageError``; of one that pydantic caused, the faults are described anew.
    """
    faults = getattr(error.__cause__, "errors", None)
    if faults is not None:
        error.message = _describe_fault(faults()[0])
    message: str = error.message or ""
    parameter, context = getattr(error, "param", None), error.ctx
    if type(error).__name__ == "MissingParameter" and parameter is not None:
        expected = _expected_value(parameter, error.format_message())
        return f"{_label(parameter)}: is required; expected {expected}"
    if choice := re.search(r"(['\"])(?P<value>.*)\1 is not one of (?P<choices>.*)", message):
        choices = re.findall(r"'([^']*)'", choice["choices"])
        message = f"expected one of {', '.join(choices)}, found {describe_value(choice['value'])}"
        if similar := similar_names(choice["value"], choices):
            message += f"; did you mean {' or '.join(map(repr, similar))}?"
    if parameter is not None:
        return f"{_label(parameter)}: {message}"
    if option := re.match(r"Option (['\"])(.*?)\1 requires an argument", message):
        return f"{option[2]}: expected a value, found none"
    if context is None:
        return message
    if option := getattr(error, "option_name", None):
        options = [name for p in context.command.params for name in p.opts]
        return str(unknown_option(option, [*options, "--help"]))
    if command := re.match(r"No such command (['\"])(.*?)\1\.", message, re.DOTALL):
        return str(UnknownName("command", command[2], context.command.commands))
    if extra := re.match(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)", message, re.DOTALL):
        name = context.command_path.partition(" ")[2]
        return f"{name}: expected no further argument, found {describe_value(extra[1])}"
    return message


def unknown_option(name: str, options: Sequence[str]) -> InvalidInput:
    """Return the error of an option that a command does not have; a similar one is suggested.

    >>> print(unknown_option("--bset", ["--best", "--csv"]))
    unknown option '--bset'; did you mean '--best'?
    >>> print(unknown_option("--best", ["--best", "--csv"]))
    --best: is taken as a value after '--'; options go before it
    """
    # After '--' nothing is an option.
    if name in options:
        return InvalidInput(f"{name}: is taken as a value after '--'; options go before it")
    # The dashes, which all have, make no name similar.
    names = {option[2:]: option for option in sorted(options) if option.startswith("--")}
    similar = [repr(names[bare]) for bare in similar_names(name.lstrip("-")[:100], names)]
    known = f"known: {', '.join(names.values())}"
    hint = f"did you mean {' or '.join(similar)}?" if similar else known
    return InvalidInput(f"unknown option {describe_value(name)}; {hint}")


def help_of(error: Any) -> str | None:
    """Return the help that an error of typer stands for: a command was needed, and none given."""
    return str(error.message) if type(error).__name__ == "NoArgsIsHelpError" else None


def _label(parameter: Any) -> str:
    """Return the name of an option or an argument, as its help has it."""
    if parameter.param_type_name == "option":
        return str(max(parameter.opts, key=len))
    return str(parameter.metavar or parameter.name).removesuffix("...")


def _expected_value(parameter: Any, message: str) -> str:
    """Return what a missing value should be: one of its choices, or what its help says."""
    choices = message.partition("Choose from:")[2].replace(",", " ").split()
    if choices:
        return f"one of {', '.join(choices)}"
    text = str(parameter.help or "a value").partition(" [")[0].removesuffix(".")
    text = text.removesuffix("; can be repeated")
    # The first letter of a sentence, but not that of an abbreviation or a name.
    return text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text


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
