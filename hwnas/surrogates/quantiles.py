"""What lies between and beyond nine quantiles.

A distribution is given by its quantiles at `LEVELS`. Between them it is linear in the level; the
outer pieces go on at the same slope to the levels `LEAST` and `GREATEST`, where draws end. So a
quantile at any level is a fixed mixture of two of the nine, and the same mixture of their tables is
its table. (A normal tail would be longer, but where the published outer quantiles lie far apart it
would make energies negative.)
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from hwnas.typing import Array

LEVELS = tuple(k / 10 for k in range(1, 10))
MEDIAN = LEVELS.index(0.5)
LEAST, GREATEST = 0.01, 0.99


def piece(level: float) -> tuple[int, float]:
    """Which two of the nine quantiles a level lies between, or beyond.

    Parameters
    ----------
    level
        From `LEAST` to `GREATEST`.

    Returns
    -------
    k, weight
        The quantile is that at ``LEVELS[k]`` plus `weight` times the gap from there to the next;
        below ``LEVELS[0]`` the weight is negative, above ``LEVELS[-1]`` greater than 1.
    """
    k = int(np.clip(np.searchsorted(LEVELS, level, side="right") - 1, 0, len(LEVELS) - 2))
    return k, (level - LEVELS[k]) / (LEVELS[k + 1] - LEVELS[k])


def at_levels(quantiles: Array, levels: Array) -> Array:
    """The values of distributions at levels.

    Parameters
    ----------
    quantiles : (n, 9)
        Of n distributions, at `LEVELS`.
    levels : (n, r)
        Those below `LEAST` and above `GREATEST` count as these.

    Returns
    -------
    (n, r)
    """
    position = np.clip(levels, LEAST, GREATEST) / LEVELS[0] - 1
    below = np.clip(position.astype(np.intp), 0, len(LEVELS) - 2)
    rows = np.arange(len(quantiles))[:, None]
    low, high = quantiles[rows, below], quantiles[rows, below + 1]
    return np.asarray(low + (position - below) * (high - low))


def spread(quantiles: Array) -> Array:
    """Standard deviations (n,) of distributions with quantiles (n, 9), in closed form.

    Between two levels the density is uniform; draws beyond the ends lie on them.
    """
    levels = np.array([LEAST, *LEVELS, GREATEST])
    knots = at_levels(quantiles, np.broadcast_to(levels, (len(quantiles), len(levels))))
    knots = knots - quantiles[:, [MEDIAN]]
    low, high, weight = knots[:, :-1], knots[:, 1:], np.diff(levels)
    atoms = LEAST * knots[:, [0, -1]]
    mean = (weight * (low + high) / 2).sum(axis=1) + atoms.sum(axis=1)
    square = (weight * (low * low + low * high + high * high) / 3).sum(axis=1)
    square += (atoms * knots[:, [0, -1]]).sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(square - mean * mean, 0)))


def middle_levels(seeds: NDArray[np.uint64], name: str, repeats: NDArray[np.int_]) -> Array:
    """The one or two middle ones (n, 2) of each trial's `repeats` uniform levels.

    Draws rise with the levels behind them, so these are behind the sample median. They depend on
    the trial's seed and the metric's name alone, and fewer repeats are the first of more.
    """
    stream = zlib.crc32(name.encode())
    out = np.empty((len(seeds), 2))
    for row, seed, r in zip(out, seeds.tolist(), repeats.tolist(), strict=True):
        levels = np.sort(np.random.default_rng([seed, stream]).random(r))
        row[:] = levels[(r - 1) // 2], levels[r // 2]
    return out
