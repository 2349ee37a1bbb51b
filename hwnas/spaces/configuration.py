"""Configurations: members of a search space with names and choices of a user's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hwnas.spaces.choice_index import encode_value
from hwnas.spaces.code_layout import CodeLayout
from hwnas.spaces.values import values_of
from hwnas.typing import Codes


class Configuration(Mapping[str, Any]):
    """Configuration: a mapping from the names of choices to their values.

    The value of a choice of the layers is a tuple with one value for each present layer. A choice
    that a condition switches off is left out, or ``None`` in the tuple of a layer's choice.

    Its string is ``SPACE:name=value/name=value``, with colons between the values of layers and an
    asterisk for one that is switched off; other characters than letters, digits and some marks are
    percent-encoded within a value. `SearchSpace.parse` reads it, ``str`` writes it.

    Parameters
    ----------
    space
        Its search space.
    code : (d,) int8
        Its canonical code.

    Examples
    --------
    >>> import hwnas
    >>> space = hwnas.space(
    ...     {
    ...         "name": "mlp",
    ...         "choices": {"depth": [1, 2], "rate": [0.01, 0.1]},
    ...         "layers": {"width": [16, 32]},
    ...     }
    ... )
    >>> (config,) = space.decode([[1, 0, 0, 1]])
    >>> dict(config)
    {'depth': 2, 'rate': 0.01, 'width': (16, 32)}
    >>> str(config)
    'mlp:depth=2/rate=0.01/width=16:32'
    """

    __slots__ = ("_values", "code", "space")

    def __init__(self, space: CodeLayout, code: Codes) -> None:
        self.space = space
        self.code = code
        self._values: dict[str, Any] | None = None  # looked up when they are first asked for

    def __getitem__(self, name: str) -> Any:
        return self._all_values()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all_values())

    def __len__(self) -> int:
        return len(self._all_values())

    def __hash__(self) -> int:
        return hash((self.space.name, self.code.tobytes()))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Configuration) and other.space is self.space:
            return bool(np.array_equal(self.code, other.code))
        return isinstance(other, Mapping) and dict(self) == dict(other)

    def __repr__(self) -> str:
        return f"<Configuration {self}>"

    def __str__(self) -> str:
        parts = []
        for name, value in self.items():
            values = value if isinstance(value, tuple) else (value,)
            parts.append(f"{name}={':'.join(map(encode_value, values))}")
        return f"{self.space.name}:{'/'.join(parts)}"

    def __getstate__(self) -> tuple[Any, ...]:
        return self.space, self.code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.space, self.code = state
        self._values = None

    def _all_values(self) -> dict[str, Any]:
        if self._values is None:
            self._values = values_of(self.space, self.code)
        return self._values
