"""Simple predictors beside fits of tables: ridge regression, counts, the nearest known device."""

from __future__ import annotations

import numpy as np

from hwnas.spaces import LanguageModelSpace
from hwnas.typing import Array, Codes, IndexArray


def ridge(x: Array, y: Array, test: Array) -> Array:
    """Predict by ridge regression of relative errors, the penalty by leave-one-out.

    Parameters
    ----------
    x, test : (n, k), (m, k)
        Features of measured and of other architectures.
    y : (n,)
        Measured values.

    Examples
    --------
    >>> x = np.stack([np.ones(9), np.arange(9.0)], axis=1)
    >>> ridge(x[:6], x[:6] @ [2.0, 1.0], x[6:]).round(3).tolist()
    [8.0, 9.0, 10.0]
    """
    rows, best = x / y[:, None], (np.inf, np.zeros(x.shape[1]))
    for penalty in 10.0 ** np.arange(-9, 2) * np.trace(rows.T @ rows) / x.shape[1]:
        inverse = np.linalg.inv(rows.T @ rows + penalty * np.eye(x.shape[1]))
        hat = ((rows @ inverse) * rows).sum(axis=1)
        weights = inverse @ rows.sum(axis=0)
        error = float(np.mean(((1 - rows @ weights) / np.maximum(1 - hat, 1e-9)) ** 2))
        best = min(best, (error, weights), key=lambda pair: pair[0])
    return np.asarray(test @ best[1])


def centred_ridge(sizes: Array, x: Array, y: Array, i: IndexArray, h: IndexArray) -> Array:
    """Predict by ridge regression of what parameters and FLOPs leave, relative to their fit.

    Parameters
    ----------
    sizes, x : (n, 3), (n, k)
        `counts` and features of all architectures.
    y : (n,)
        Values; those at `i` are measured, those at `h` are predicted.
    """
    start = ridge(sizes[i], y[i], sizes[np.concatenate([i, h])])
    ratio, rows = y[i] / start[: len(i)], x[i]
    best = (np.inf, np.zeros(x.shape[1]))
    for penalty in 10.0 ** np.arange(-4, 4):
        inverse = np.linalg.inv(rows.T @ rows + penalty * np.eye(x.shape[1]))
        weights = inverse @ rows.T @ (ratio - 1)
        hat = ((rows @ inverse) * rows).sum(axis=1)
        error = float(np.mean(((ratio - 1 - rows @ weights) / np.maximum(1 - hat, 1e-9)) ** 2))
        best = min(best, (error, weights), key=lambda pair: pair[0])
    return np.asarray(start[len(i) :] * (1 + x[h] @ best[1]))


def counts(space: LanguageModelSpace, codes: Codes) -> Array:
    """Return 1, parameters and FLOPs (n, 3), scaled to about 1."""
    x = [np.ones(len(codes)), space.params(codes) / 1e8, space.flops(codes) / 1e12]
    return np.stack(x, axis=1)


def nearest_affine(known_values: Array, y: Array, i: IndexArray, h: IndexArray) -> Array:
    """Predict by an affine function of the known device whose values correlate most.

    Parameters
    ----------
    known_values : (n, m)
        Values of m known devices.
    y : (n,)
        Values; those at `i` are measured, those at `h` are predicted.
    """
    scores = [np.corrcoef(known_values[i, k], y[i])[0, 1] for k in range(known_values.shape[1])]
    own = known_values[:, int(np.argmax(scores))]
    x = np.stack([np.full(len(own), own.mean()), own], axis=1)
    return ridge(x[i], y[i], x[h])
