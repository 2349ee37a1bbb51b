"""Settings that an optimizer inherits from its base class, with their documentation."""

from __future__ import annotations

import inspect
import typing
from typing import Any, TypeVar

_HEADER = "Parameters\n----------\n"
_REFERENCES = "\n\nReferences\n----------\n"
_T = TypeVar("_T")


def inherit_settings(cls: type[_T]) -> type[_T]:
    """Complete the signature and the docstring of a class by those of its parent: a decorator.

    A constructor that ends in ``**settings`` passes these on to the parent's, and lists only what
    it adds or changes. Its signature and annotations, against which a user's settings are checked,
    get the parent's parameters in place of ``**settings``; the docstring gets their descriptions.

    >>> class Base:
    ...     '''Base class.
    ...
    ...     Parameters
    ...     ----------
    ...     rounds
    ...         Number of rounds.
    ...     '''
    ...     def __init__(self, *, seed: int, rounds: int = 3) -> None:
    ...         self.rounds = rounds
    >>> @inherit_settings
    ... class Quick(Base):
    ...     '''One round by default.'''
    ...     def __init__(self, *, rounds: int = 1, **settings: Any) -> None:
    ...         super().__init__(rounds=rounds, **settings)
    >>> print(inspect.signature(Quick), inspect.getdoc(Quick).splitlines()[-1])
    (*, seed: 'int', rounds: 'int' = 1) -> None     Number of rounds.
    """
    parent: Any = cls.__bases__[0]
    if "__init__" in cls.__dict__:
        _inherit_parameters(cls.__dict__["__init__"], parent.__init__)
    if cls.__doc__ and parent.__doc__:  # there are none under python -OO
        cls.__doc__ = _inherit_descriptions(cls.__doc__, parent.__doc__)
    return cls


def _inherit_parameters(init: Any, parent_init: Any) -> None:
    """Give a constructor the parameters of its parent's in place of ``**settings``."""
    inherited = inspect.signature(parent_init).parameters
    own = {
        name: parameter
        for name, parameter in inspect.signature(init).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    }
    # Additions first, then the parent's in its order, with the defaults that were changed.
    additions = [parameter for name, parameter in own.items() if name not in inherited]
    parameters = [*additions, *(own.get(name, p) for name, p in inherited.items())]
    parameters.sort(key=lambda parameter: parameter.kind)  # positional ones before keywords
    init.__signature__ = inspect.Signature(parameters, return_annotation=None)
    # Resolved here, because names in annotations are those of the parent's module.
    hints = typing.get_type_hints(parent_init) | typing.get_type_hints(init)
    init.__annotations__ = {
        name: hint for name, hint in hints.items() if name in own.keys() | inherited | {"return"}
    }


def _inherit_descriptions(docstring: str, parent_docstring: str) -> str:
    """Return a docstring with the parent's parameters at the end of its own."""
    # The parent's section ends at its first empty line; references stay last.
    descriptions = inspect.cleandoc(parent_docstring).partition(_HEADER)[2].partition("\n\n")[0]
    text, header, references = inspect.cleandoc(docstring).partition(_REFERENCES)
    separator = "\n" if _HEADER in text else f"\n\n{_HEADER}"
    return f"{text}{separator}{descriptions}{header}{references}"
