"""Payload of a report's search space: names and values of its choices, and its members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hwnas.reports.html.search_payload import encode_codes
from hwnas.reports.plots.sampled_architectures import members_name
from hwnas.spaces import Configuration, GPTSpace, SearchSpace
from hwnas.spaces.choice_index import encode_value
from hwnas.spaces.choices import Value
from hwnas.typing import Codes


def space_payload(space: SearchSpace) -> dict[str, Any]:
    """Return name, choices and columns of a space.

    Returns
    -------
    dict
        ``choices`` and ``layers`` have name, values, their texts and those within the name of a
        member; ``depth`` is the index of the choice that is the number of layers.
    """
    return {
        "name": space.name,
        "family": space.family,
        "members": members_name(space),
        "choices": _choices_payload(space.choices),
        "layers": _choices_payload(space.layers),
        "depth": space.depth_column,
        "columns": len(space.columns),
    }


def members_payload(space: SearchSpace, codes: Codes) -> dict[str, Any]:
    """Return the codes of members (n, d) as a text, and their names where the page needs them.

    A choice that a condition switches off has the code -1; layers beyond the depth have 0.
    """
    off = ~space.active(codes)
    for group in space.groups:
        is_absent = ~np.isin(codes[:, space.depth_column], group.when)
        off[np.ix_(is_absent, np.asarray(group.columns))] = False
    return {
        "networks": encode_codes(np.where(off, np.int8(-1), codes)),
        "texts": [str(member) for member in space.decode(codes)] if _has_names(space) else None,
    }


def member_size(space: SearchSpace) -> int:
    """Return the number of characters that a member takes in the payload, roughly."""
    size = len(space.columns)
    if _has_names(space):
        size += max(len(str(m)) for m in space.decode(space.sample(8, np.random.default_rng(0))))
    return size


def _has_names(space: SearchSpace) -> bool:
    """Return whether members have names that the page cannot make of their choices."""
    if isinstance(space, GPTSpace):
        return False
    (member,) = space.decode(space.sample(1, np.random.default_rng(0)))
    return type(member) is not Configuration


def _choices_payload(choices: Mapping[str, Sequence[Value]]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "values": list(values),
            "texts": [str(value) for value in values],
            "quoted": [encode_value(value) for value in values],
        }
        for name, values in choices.items()
    ]
