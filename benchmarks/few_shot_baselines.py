"""Simple predictors beside fits of tables: ridge regression, counts, the nearest known device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from hwnas.spaces import LanguageModelSpace
from hwnas.spaces.choices import Value
from hwnas.typing import Array, Codes, IndexArray

# Scales of effects that are expected to be smaller than the linear ones.
_CURVATURE, _CONTRAST = 0.3, 0.03


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


def features(space: LanguageModelSpace, codes: ArrayLike) -> Array:
    """Return the features of the linear model, all between -1 and 1.

    With w widths, g other choices outside the layers, c choices of each layer, and at most L
    layers, the columns are:

    - 2 + g + 2 * c for each width, which are 0 in architectures of another: 1, the other choices
      outside the layers and the square of the number of layers, and for each choice of the layers
      the sum over layers, divided by L, of the value and of its square. Squares are multiplied by
      0.3.
    - c for each of L layers: the differences of its choices from their means over the layers of the
      architecture, multiplied by 0.015; 0 where a choice is inactive.

    Parameters
    ----------
    codes : (n, d) integers
        Valid codes.

    Returns
    -------
    (n, (2 + g + 2 * c) * w + c * L) float64
    """
    indices = np.asarray(codes).astype(np.intp)
    n = len(indices)
    active = space.active(indices)
    # Effects that differ between widths.
    effects = [np.ones(n)]
    for column, options in enumerate(space.choices.values()):
        if column > 0:
            value = _scale_options(options)[indices[:, column]]
            effects += [value]
            effects += [_CURVATURE * value**2] if column == space.depth_column else []
    # Effects of single layers, which all widths share.
    contrasts = []
    for options, columns in zip(space.layers.values(), space.layer_columns.T, strict=True):
        mask = active[:, columns]  # (n, L)
        # In a fixed layout sums are rounded the same way, whatever the layout of the codes.
        values = np.ascontiguousarray(_scale_options(options)[indices[:, columns]] * mask)
        effects += [values.mean(axis=1), _CURVATURE * (values**2).mean(axis=1)]
        mean = values.sum(axis=1, keepdims=True) / np.maximum(mask.sum(axis=1, keepdims=True), 1)
        contrasts.append(_CONTRAST / 2 * (values - mean) * mask)
    # Copy the first effects into the columns of the architecture's own width.
    has_width = indices[:, :1] == np.arange(space.cardinalities[0])  # (n, w)
    effects_by_width = has_width[:, :, None] * np.stack(effects, axis=1)[:, None]
    return np.concatenate([effects_by_width.reshape(n, -1), *contrasts], axis=1)


def _scale_options(options: Sequence[Value]) -> Array:
    """Return options scaled linearly to -1 ... 1, texts by their index; a single one becomes 0."""
    is_text = isinstance(options[0], str)
    values = np.array(range(len(options)) if is_text else options, dtype=np.float64)
    middle, half_range = (values[0] + values[-1]) / 2, (values[-1] - values[0]) / 2
    return np.asarray((values - middle) / (half_range or 1.0))
