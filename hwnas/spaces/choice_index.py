"""Values of a choice as text, and lookup of values and of texts among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from hwnas.errors import InvalidInput, describe_value
from hwnas.spaces.choices import Value


class ChoiceIndex:
    """Indices of the values of one choice.

    Parameters
    ----------
    name
        Name of the choice, for errors.
    values
        Its distinct values.

    Examples
    --------
    >>> rates = ChoiceIndex("rate", (0.1, 1))
    >>> rates.of_value(1.0), rates.of_text("0.1")
    (1, 0)
    """

    def __init__(self, name: str, values: Sequence[Value]) -> None:
        self.name, self.values = name, values
        self._of_value = {_key(value): i for i, value in enumerate(values)}
        self._of_text = {str(value): i for i, value in enumerate(values)}

    def of_value(self, value: Any) -> int:
        """Return the index of a value; 1 and 1.0 are equal, 1 and True are not.

        Raises
        ------
        InvalidInput
            It is none of the values.
        """
        try:
            index = self._of_value.get(_key(value))
        except TypeError:  # a list cannot be looked up
            index = None
        if index is None:
            raise InvalidInput(self._unexpected(value))
        return index

    def of_text(self, text: str) -> int:
        """Return the index of a value from its text, the inverse of `encode_value`.

        Raises
        ------
        InvalidInput
            It is the text of none of the values.
        """
        index = self._of_text.get(unquote(text))
        if index is None:
            raise InvalidInput(self._unexpected(text))
        return index

    def _unexpected(self, value: Any) -> str:
        expected = describe_value(list(self.values))
        return f"{self.name}: expected one of {expected}, found {describe_value(value)}"


def encode_value(value: object) -> str:
    """Return a value as text without the characters that separate values.

    >>> encode_value("a/b"), encode_value(None), encode_value(0.5)
    ('a%2Fb', '*', '0.5')
    """
    return "*" if value is None else quote(str(value), safe="-._~()[]+!$&' ")


def _key(value: Any) -> tuple[bool, Any]:
    return isinstance(value, bool | np.bool_), value
