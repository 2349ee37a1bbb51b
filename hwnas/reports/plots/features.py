"""Features of the members of a space: their choices as numbers or texts, and groups by them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from hwnas.spaces import GPTSpace, SearchSpace
from hwnas.spaces.choices import Value
from hwnas.typing import Array, BoolArray, Codes, IntArray

OFF = "off"  # text of a choice that a condition switches off, or of layers that do not exist

_MAX_STEP_RATIO = 8  # of the last to the first step between numbers, above which they are factors
_MAX_VALUES = 6  # of a feature, that are groups of their own


@dataclass(frozen=True, eq=False)
class Feature:
    """A choice of each of n members, or a summary of a choice over their layers.

    Attributes
    ----------
    values : (n,) float64
        Numbers, or indices into `labels`; NaN where the choice does not exist.
    labels
        Texts of the values 0, 1, ...; empty where values are numbers.
    logarithmic
        Whether the choices are numbers that grow by factors rather than steps.
    """

    values: Array
    labels: tuple[str, ...] = ()
    logarithmic: bool = False


def architecture_features(space: SearchSpace, codes: Codes) -> dict[str, Feature]:
    """Return features that describe each member of codes (n, d), by their names.

    A choice outside the layers is a feature. Of a choice of the layers it is the mean over the
    present layers for numbers, the share of the layers for bools, and the most frequent one for
    texts. Choices that a space leaves with one value are left out; bools are last.

    Examples
    --------
    >>> import hwnas
    >>> space = hwnas.space({"name": "net", "choices": {"kind": ["a", "b"], "rate": [0.1, 0.2]}})
    >>> features = architecture_features(space, [[1, 0]])
    >>> features["kind"].values, features["kind"].labels, features["rate"].values
    (array([1.]), ('a', 'b'), array([0.1]))
    """
    codes = np.asarray(codes)
    active = space.active(codes)
    features, last = {}, {}
    for j, (name, choices) in enumerate(space.choices.items()):
        if len(choices) < 2:
            continue
        feature = _feature(choices, codes[:, [j]], active[:, [j]])
        if isinstance(choices[0], bool):
            labels = ("without", "with") if isinstance(space, GPTSpace) else ("False", "True")
            last[name] = Feature(feature.values, labels)
        else:
            features[name] = feature
    for offset, (name, choices) in enumerate(space.layers.items()):
        columns = space.layer_columns[:, offset]
        if len(choices) > 1 and len(columns):
            feature = _feature(choices, codes[:, columns], active[:, columns])
            features[f"{_summary_name(choices)} {name}"] = feature
    return features | last


def feature_groups(feature: Feature) -> list[tuple[str, BoolArray]]:
    """Return groups of members by a feature: by value, or fewer ones if there are many.

    Of many numbers the groups are thirds, of many texts the most frequent ones and all others.

    Returns
    -------
    list of (str, (n,) bool)
        Name and members of each group, ascending; last those without this choice.

    Examples
    --------
    >>> groups = feature_groups(Feature(np.array([3.0, 1.0, 3.0])))
    >>> [(name, mask.tolist()) for name, mask in groups]
    [('1', [False, True, False]), ('3', [True, False, True])]
    """
    values = feature.values
    missing = np.isnan(values)
    distinct, counts = np.unique(values[~missing], return_counts=True)
    if len(distinct) <= _MAX_VALUES:
        groups = [(_text_of(feature, value), values == value) for value in distinct.tolist()]
    elif feature.labels:
        frequent = distinct[np.sort(np.argsort(-counts, kind="stable")[: _MAX_VALUES - 1])]
        groups = [(_text_of(feature, value), values == value) for value in frequent.tolist()]
        groups.append(("others", ~missing & ~np.isin(values, frequent)))
    else:
        groups = _thirds(values)
    return groups + [(OFF, missing)] * bool(missing.any())


def explained_variance(values: Array, groups: Iterable[BoolArray]) -> float:
    """Return the share of the variance of values (n,) that lies between groups, 0 to 1.

    >>> explained_variance(np.array([1.0, 1.0, 3.0]), [np.array([True, True, False])])
    1.0
    """
    total = float(((values - values.mean()) ** 2).sum())
    within = sum(float(((values[m] - values[m].mean()) ** 2).sum()) for m in groups if m.any())
    return 1 - within / total if total > 0 else 0.0


def select_features(features: Mapping[str, Feature], values: Array, limit: int) -> list[str]:
    """Return the names of at most `limit` features, in order: those that explain most of a metric.

    Parameters
    ----------
    features
        Features of n members.
    values : (n, m)
        Their metrics.
    limit
        Maximum number of features.
    """
    if len(features) <= limit:
        return list(features)
    shares = []
    for feature in features.values():
        groups = [mask for _, mask in feature_groups(feature)]
        shares.append(max(explained_variance(column, groups) for column in values.T))
    chosen = np.sort(np.argsort(-np.array(shares), kind="stable")[:limit])
    names = list(features)
    return [names[i] for i in chosen]


def _feature(choices: tuple[Value, ...], codes: Codes, active: BoolArray) -> Feature:
    """Return the feature of one choice whose columns are codes (n, L) with a mask (n, L)."""
    n_active = active.sum(axis=1)
    if isinstance(choices[0], str):
        counts = _count(codes, active, len(choices))
        values = np.where(n_active > 0, counts.argmax(axis=1), np.nan)
        return Feature(values, tuple(map(str, choices)))
    # Inactive columns have a code as well, which must not count.
    numbers = np.array(choices, dtype=np.float64)
    sums = np.where(active, numbers[codes], 0.0).sum(axis=1)
    values = np.where(n_active > 0, sums / np.maximum(n_active, 1), np.nan)
    return Feature(values, logarithmic=_grow_by_factors(numbers))


def _grow_by_factors(numbers: Array) -> bool:
    """Return whether positive numbers (k,) grow by factors, as 0.001, 0.01, 0.1 do."""
    steps = np.diff(numbers)
    return bool(numbers[0] > 0 and steps[-1] > _MAX_STEP_RATIO * steps[0])


def _count(codes: Codes, active: BoolArray, n_choices: int) -> IntArray:
    """Return how often each choice occurs in each row of codes (n, L), (n, choices)."""
    counts = np.zeros((len(codes), n_choices), dtype=np.int64)
    rows, columns = np.nonzero(active)
    np.add.at(counts, (rows, codes[rows, columns]), 1)
    return counts


def _summary_name(choices: tuple[Value, ...]) -> str:
    """Return the name of the summary of a choice over layers."""
    if isinstance(choices[0], str):
        return "most frequent"
    return "share" if isinstance(choices[0], bool) else "mean"


def _text_of(feature: Feature, value: float) -> str:
    return feature.labels[int(value)] if feature.labels else f"{value:g}"


def _thirds(values: Array) -> list[tuple[str, BoolArray]]:
    """Return name and members (n,) of the thirds of numbers; NaN is in none."""
    edges = [-np.inf, *np.nanquantile(values, (1 / 3, 2 / 3)), np.inf]
    groups = []
    for low, high in itertools.pairwise(edges):
        inside = (values > low) & (values <= high)
        # A third can be empty where many values are equal.
        if inside.any():
            ends = values[inside].min(), values[inside].max()
            groups.append((f"{ends[0]:.3g} to {ends[1]:.3g}", inside))
    return groups
