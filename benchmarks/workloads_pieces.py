"""Alignment of measurements that were made in several pieces, on several boards of one card."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from workloads_rows import ENERGIES, TIMES, Row

_SWEEPS = 100  # of the median polish, which settles within a few
_SETTLED = 1e-9


def piece_scales(rows: Iterable[Row], metric: str) -> dict[str, float]:
    """Return how much larger the values of each piece are than those of all pieces together.

    Boards of one card differ, in energy by several per cent. Networks that several pieces measured
    tell by how much: their logarithms are the sum of an effect of the network and one of the piece
    (two-way layout, fitted by median polish, Tukey 1977), whose mean over the pieces is 0.

    Parameters
    ----------
    rows
        Rows of one space and one card.
    metric
        Column of the rows.

    Returns
    -------
    dict
        Factor of each piece that has a value; 1 where a piece has no network of another.

    Examples
    --------
    >>> row = lambda arch, piece, value: {"arch": arch, "piece": piece, "energy": value}
    >>> rows = [row("a", "1", "2"), row("a", "2", "8"), row("b", "2", "5")]
    >>> {piece: round(scale, 3) for piece, scale in piece_scales(rows, "energy").items()}
    {'1': 0.5, '2': 2.0}
    """
    logs: dict[str, dict[str, float]] = {}
    for row in rows:
        if row[metric]:
            logs.setdefault(row["arch"], {})[row["piece"]] = float(np.log(float(row[metric])))
    effects = dict.fromkeys(sorted({piece for own in logs.values() for piece in own}), 0.0)
    repeated = [own for own in logs.values() if len(own) > 1]
    for _ in range(_SWEEPS):
        former = dict(effects)
        # Medians by turns: of each network over its pieces, and of each piece over its networks.
        residuals: dict[str, list[float]] = {}
        for own in repeated:
            level = float(np.median([own[piece] - effects[piece] for piece in own]))
            for piece, value in own.items():
                residuals.setdefault(piece, []).append(value - level)
        effects |= {piece: float(np.median(values)) for piece, values in residuals.items()}
        mean = float(np.mean([effects[piece] for piece in residuals])) if residuals else 0.0
        effects |= {piece: effects[piece] - mean for piece in residuals}
        if all(abs(effects[piece] - former[piece]) < _SETTLED for piece in effects):
            break
    return {piece: float(np.exp(effect)) for piece, effect in effects.items()}


def aligned(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of one space and one card with values as if all were of an average board."""
    scales = {metric: piece_scales(rows, metric) for metric in (*TIMES, *ENERGIES)}
    return [
        {
            **row,
            **{
                metric: repr(float(row[metric]) / scales[metric][row["piece"]])
                for metric in scales
                if row[metric]
            },
        }
        for row in rows
    ]
