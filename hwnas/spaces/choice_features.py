"""Choices of columns as numbers whose distances mean the same for ordered and other choices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwnas.spaces.code_layout import CodeLayout
from hwnas.typing import Array, BoolArray, Codes


def categorical_columns(space: CodeLayout) -> BoolArray:
    """Return a mask (d,) of the columns of three or more choices without an order.

    Two choices without an order are as well described by one number.

    Examples
    --------
    >>> import hwnas
    >>> categorical_columns(hwnas.space("gpt-s")).any()
    np.False_
    """
    return ~space.ordered & (space.cardinalities > 2)


def choice_features(space: CodeLayout, codes: Codes, columns: Sequence[int]) -> Array:
    """Return the choices of some columns as numbers from 0 to 1.

    A column of ordered choices has one number, evenly spaced. One without an order has an indicator
    for each choice, scaled so that two choices are at distance 1.

    Parameters
    ----------
    space
        Search space of the codes.
    codes : (n, d)
    columns
        Indices of k columns.

    Returns
    -------
    (n, q) float64
        ``q = k`` unless a column is categorical.

    Examples
    --------
    >>> import hwnas
    >>> space = hwnas.space({"name": "s", "choices": {"a": [1, 2, 4], "b": ["x", "y", "z"]}})
    >>> choice_features(space, np.array([[1, 2]]), [0, 1]).round(2).tolist()
    [[0.5, 0.0, 0.0, 0.71]]
    """
    columns = list(columns)
    scaled: Array = codes[:, columns] / np.maximum(space.cardinalities[columns] - 1, 1)
    categorical = categorical_columns(space)[columns]
    if not categorical.any():
        return scaled
    parts = [
        np.eye(space.cardinalities[j])[codes[:, j]] / np.sqrt(2)
        if is_categorical
        else scaled[:, [i]]
        for i, (j, is_categorical) in enumerate(zip(columns, categorical, strict=True))
    ]
    return np.concatenate(parts, axis=1)


def outside_features(space: CodeLayout, codes: Codes) -> Array:
    """Return the features (n, q) of the choices outside the layers, see `choice_features`."""
    return choice_features(space, codes, space.global_columns.tolist())


def layer_features(space: CodeLayout, codes: Codes) -> Array:
    """Return the features (n, L, q) of the choices of each layer, from 1/3 to 1, 0 without it.

    A present layer starts at half a step, so that an absent one differs from the smallest.

    Examples
    --------
    >>> import hwnas
    >>> space = hwnas.space("gpt-s")
    >>> layer_features(space, space.sample(5, np.random.default_rng(0))).shape
    (5, 12, 2)
    """
    if space.layer_columns.size == 0:
        return np.zeros((len(codes), 0, 0))
    active = space.active(codes)
    parts = []
    for layer in space.layer_columns.tolist():
        features = choice_features(space, codes, layer)
        counts = np.where(categorical_columns(space)[layer], space.cardinalities[layer], 1)
        is_active = np.repeat(active[:, layer], counts, axis=1)
        parts.append(is_active * (features + 0.5) / 1.5)
    return np.stack(parts, axis=1)
