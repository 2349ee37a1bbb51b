"""Distributions that are given by nine quantiles.

The quantiles at `LEVELS` are interpolated linearly in the level; the outer two pieces continue at
the same slope to `MIN_LEVEL` and `MAX_LEVEL`, where samples end. A quantile at any level is
therefore a fixed linear combination of two of the nine, and the same combination of their tables
is its table. (A normal tail would be longer, but where the published outer quantiles lie far apart
it would make energies negative.)
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from hwnas.typing import Array

LEVELS = tuple(k / 10 for k in range(1, 10))
MEDIAN = LEVELS.index(0.5)
MIN_LEVEL, MAX_LEVEL = 0.01, 0.99


def locate_level(level: float) -> tuple[int, float]:
    """Return the piece of the quantile function that a level lies on, and its position there.

    Parameters
    ----------
    level
        From `MIN_LEVEL` to `MAX_LEVEL`.

    Returns
    -------
    k, weight
        The quantile is the one at ``LEVELS[k]`` plus `weight` times the gap to the next one; below
        ``LEVELS[0]`` the weight is negative, above ``LEVELS[-1]`` greater than 1.

    Examples
    --------
    >>> k, weight = locate_level(0.25)
    >>> k, round(weight, 9)
    (1, 0.5)
    """
    k = int(np.clip(np.searchsorted(LEVELS, level, side="right") - 1, 0, len(LEVELS) - 2))
    return k, (level - LEVELS[k]) / (LEVELS[k + 1] - LEVELS[k])


def interpolate(quantiles: Array, levels: Array) -> Array:
    """Return the quantiles of distributions at any levels.

    Parameters
    ----------
    quantiles : (n, 9)
        Quantiles of n distributions at `LEVELS`.
    levels : (n, r)
        Clipped to the range from `MIN_LEVEL` to `MAX_LEVEL`.

    Returns
    -------
    (n, r)

    Examples
    --------
    >>> quantiles = np.arange(1.0, 10.0)[None]
    >>> interpolate(quantiles, np.array([[0.5, 0.25]])).round(9).tolist()
    [[5.0, 2.5]]
    """
    # In steps between levels: 0 at the first level, 8 at the last.
    position = np.clip(levels, MIN_LEVEL, MAX_LEVEL) / LEVELS[0] - 1
    # Clipped, so that the outer pieces continue the first and the last one.
    below = np.clip(position.astype(np.intp), 0, len(LEVELS) - 2)
    rows = np.arange(len(quantiles))[:, None]
    low, high = quantiles[rows, below], quantiles[rows, below + 1]
    return np.asarray(low + (position - below) * (high - low))


def standard_deviation(quantiles: Array) -> Array:
    """Return the standard deviations (n,) of distributions with quantiles (n, 9), in closed form.

    Between two levels the density is uniform; samples beyond the outer levels lie on them.
    """
    levels = np.array([MIN_LEVEL, *LEVELS, MAX_LEVEL])
    knots = interpolate(quantiles, np.broadcast_to(levels, (len(quantiles), len(levels))))
    # Relative to the median: the difference of the two moments then loses no digits.
    knots = knots - quantiles[:, [MEDIAN]]
    low, high, weight = knots[:, :-1], knots[:, 1:], np.diff(levels)
    atoms = MIN_LEVEL * knots[:, [0, -1]]
    # A uniform piece has mean (a + b) / 2 and second moment (a² + ab + b²) / 3.
    mean = (weight * (low + high) / 2).sum(axis=1) + atoms.sum(axis=1)
    square = (weight * (low * low + low * high + high * high) / 3).sum(axis=1)
    square += (atoms * knots[:, [0, -1]]).sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(square - mean * mean, 0)))


def median_levels(seeds: NDArray[np.uint64], name: str, repeats: NDArray[np.int_]) -> Array:
    """Return the one or two middle ones (n, 2) of the uniform levels that each trial draws.

    A trial's samples are the quantiles at `repeats` uniform levels. They increase with the level,
    so the sample median is the mean of the quantiles at the levels returned. The levels depend
    only on the trial's noise seed and the metric's name, and those of fewer repeats are the first
    of those of more.
    """
    stream = zlib.crc32(name.encode())
    out = np.empty((len(seeds), 2))
    for row, seed, r in zip(out, seeds.tolist(), repeats.tolist(), strict=True):
        # A random stream for each trial and metric.
        levels = np.sort(np.random.default_rng([seed, stream]).random(r))
        row[:] = levels[(r - 1) // 2], levels[r // 2]
    return out
