"""Spaces in files that may come from strangers: descriptions that are checked before their use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hwnas.errors import InvalidInput
from hwnas.spaces import SearchSpace, families
from hwnas.spaces import space as space_of

_MAX_TEXT = 500  # characters
_MAX_CHOICES, _MAX_LAYERS, _MAX_VALUE, _MAX_NESTING = 127, 512, 2**24, 4


def space_of_stranger(plain: Any) -> SearchSpace:
    """Return a space of its description, whose numbers are checked before anything grows.

    Raises
    ------
    InvalidInput
        It is no description, of a family that is not known here, or too large.

    Examples
    --------
    >>> plain = {"name": "mlp", "choices": {"depth": [1, 2]}, "layers": {"width": [16, 32]}}
    >>> space_of_stranger(plain).size
    6
    """
    if not isinstance(plain, dict) or len(plain) > 16:
        raise InvalidInput("expected the choices of a space")
    family = plain.get("family", "gpt" if "embed_dim" in plain else "")
    # Beside the built-in families, those whose code the user has chosen to run.
    if family not in ("", "gpt", "llama", "shrunk", *families.registered):
        raise InvalidInput(f"expected a family of spaces that is known here, found {family!r:.40}")
    depth = plain.get("depth")
    names = (depth if isinstance(depth, str) else "depth", "depth", "n_layer")
    _check_values("space", plain, names)
    return space_of(plain)


def _check_values(name: str, value: Any, depths: Sequence[str], nesting: int = 0) -> None:
    """Check the values of a space: short texts and small numbers, few in a list.

    Parameters
    ----------
    name, value
        A key and what it has.
    depths
        Keys whose values are numbers of layers.
    nesting
        Number of lists and mappings around it.
    """
    if isinstance(value, dict | list):
        limit = _MAX_CHOICES**2 if name == "allowed" else _MAX_CHOICES
        if len(value) > limit or nesting > _MAX_NESTING:
            raise InvalidInput(f"space: {name!r:.40}: expected at most {limit} choices")
        items = value.items() if isinstance(value, dict) else ((name, item) for item in value)
        for key, item in items:
            _check_values(str(key), item, depths, nesting + 1)
        return
    largest = _MAX_LAYERS if name in depths else _MAX_VALUE
    is_number = isinstance(value, int | float) and abs(value) <= largest
    if not is_number and (not isinstance(value, str) or len(value) > _MAX_TEXT):
        raise InvalidInput(f"space: {name!r:.40}: {value!r:.40} is out of range")
