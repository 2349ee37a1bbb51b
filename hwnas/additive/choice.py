"""Choice of the effects that suit a space."""

from __future__ import annotations

import math
from typing import TypeAlias

from hwnas.additive.column_effects import ColumnEffects
from hwnas.additive.effects import Effects
from hwnas.additive.extended_effects import ExtendedEffects
from hwnas.spaces import SearchSpace

AnyEffects: TypeAlias = Effects | ExtendedEffects | ColumnEffects

_MAX_TABLE = 1_000_000  # entries of a table: roots x layers x options
_MAX_OPTIONS = 400  # combinations of a layer's choices
_MAX_WIDTHS = 16  # choices of a column outside the layers, besides their number


def create_effects(space: SearchSpace) -> AnyEffects:
    """Return effects of layers if a space has layers and few combinations outside them.

    Otherwise return effects of single columns.

    Examples
    --------
    >>> import hwnas
    >>> create_effects(hwnas.space("gpt-s")).width_name
    'embed_dim'
    >>> type(create_effects(SearchSpace("flat", {"a": range(64), "b": range(64)}))).__name__
    'ColumnEffects'
    """
    if space.layer_columns.size == 0:
        return ColumnEffects(space)
    cards = space.cardinalities
    options = math.prod(cards[space.layer_columns[0]].tolist())
    roots = math.prod(cards[space.global_columns].tolist())
    besides_depth = [cards[j] for j in space.global_columns if j != space.depth_column]
    is_small = (
        roots * len(space.layer_columns) * options <= _MAX_TABLE
        and options <= _MAX_OPTIONS
        and max(besides_depth, default=1) <= _MAX_WIDTHS
    )
    return Effects(space) if is_small else ColumnEffects(space)
