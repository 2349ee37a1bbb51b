"""Settings of a class: the keyword arguments of its constructor, checked against annotations."""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin

from hwnas.errors import InvalidInput, UnknownName, describe_value

# Types as a user of a YAML calls them, in the singular and in the plural.
_TYPE_NAMES: dict[Any, tuple[str, str]] = {
    bool: ("true or false", "true or false"),
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    str: ("a text", "texts"),
    type(None): ("null", "null"),
    Any: ("any value", "any values"),
}
_MAX_INTEGER = 2**63 - 1  # of 64 bits, which most libraries have
# Parameters that the framework passes itself, and a user may not set.
_RESERVED = {
    "self",
    "space",
    "n_objectives",
    "seed",
    "n_constraints",
    "fidelities",
    "noise",
    "factory",
    "workloads",
    "run",
}


def settings_of(cls: type[Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters of an optimizer or backend that a user may set, by name.

    A constructor that takes ``**settings`` passes them on: the settings of its parent are its own
    too. Annotations are resolved to types.
    """
    settings: dict[str, inspect.Parameter] = {}
    for base in inspect.getmro(cls):
        if "__init__" not in vars(base):
            continue
        constructor: Any = vars(base)["__init__"]
        hints = typing.get_type_hints(constructor)
        parameters = inspect.signature(constructor).parameters.values()
        for parameter in parameters:
            is_variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            if is_variadic or parameter.name in _RESERVED or parameter.name in settings:
                continue
            hint = hints.get(parameter.name, Any)
            settings[parameter.name] = parameter.replace(annotation=hint)
        if all(parameter.kind != parameter.VAR_KEYWORD for parameter in parameters):
            break
    return settings


def check_settings_of(cls: type[Any], label: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Check settings as `checked_settings` does, of a class that need not be registered.

    Parameters
    ----------
    cls
        Class that takes them as keyword arguments.
    label
        Its name in error texts, as in ``"backend 'table'"``.
    settings
        As in a YAML.
    """
    import pydantic

    parameters = settings_of(cls)
    checked: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in parameters:
            raise UnknownName(f"setting of {label}:", key, parameters)
        # Strict JSON: 3.0 is no integer and "3" no number, but a list serves as a tuple.
        annotation = parameters[key].annotation
        try:
            checked[key] = pydantic.TypeAdapter(annotation).validate_json(
                json.dumps(value), strict=True
            )
            if type(checked[key]) is int and abs(checked[key]) > _MAX_INTEGER:
                raise ValueError("too large")
        # A value that is no JSON, such as an object or a list that contains itself.
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidInput(
                f"setting {key!r} of {label}: expected {describe_type(annotation)}, "
                f"found {describe_value(value)}"
            ) from error
    for key, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and key not in settings:
            expected = describe_type(parameter.annotation)
            raise InvalidInput(f"{label} needs the setting {key!r}: expected {expected}")
    return checked


def describe_type(annotation: Any, *, plural: bool = False) -> str:
    """Return what a user may write in a YAML for a value of an annotated type.

    >>> describe_type(tuple[int, ...] | None)
    'a list of integers or null'
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in _TYPE_NAMES:
        return _TYPE_NAMES[annotation][plural]
    if origin is Annotated:
        return describe_type(arguments[0], plural=plural)
    if origin is Literal:
        return " or ".join(map(str, arguments))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe_type(argument, plural=plural) for argument in arguments)
    container = origin or annotation
    if isinstance(container, type) and issubclass(container, Mapping):
        return "keys and values"
    if isinstance(container, type) and issubclass(container, list | tuple | set | Sequence):
        members = [argument for argument in arguments if argument is not Ellipsis]
        items = dict.fromkeys(describe_type(member, plural=True) for member in members)
        return ("lists" if plural else "a list") + (f" of {' or '.join(items)}" if items else "")
    return inspect.formatannotation(annotation)
