"""Measurements of one space and metric: joined, averaged over repeats, and enough of them."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np

from hwnas.devices.fit import MIN_POINTS
from hwnas.devices.measurements import Measurements
from hwnas.errors import HwnasWarning, InvalidInput
from hwnas.objectives import Objective
from hwnas.surrogates.device_file import MEASURED
from hwnas.typing import IndexArray

MAX_POINTS = 1000  # architectures that a fit uses: its time grows with their cube


def of_card(measurements: Sequence[Measurements], card: str | None = None) -> list[Measurements]:
    """Return measurements without those of other cards.

    By default there must be one card, with which those of unknown cards go. Metrics that do not
    depend on a device, such as perplexity, stay whatever the card.

    Raises
    ------
    InvalidInput
        There are several cards and none was chosen, or there is none of that name.
    """
    counts: dict[str, int] = {}  # values of each card
    for series in measurements:
        if (name := _card(series)) is not None:
            counts[name] = counts.get(name, 0) + len(series.values)
    known = [name for name in counts if name]
    listed = ", ".join(f"{name} ({counts[name]} values)" for name in known)
    if card is not None and card not in known:
        raise InvalidInput(f"expected a card of the measurements, {listed or 'none'}; found {card}")
    if card is None and len(known) > 1:
        raise InvalidInput(
            f"the measurements are of {len(known)} cards, {listed}: choose one with "
            f"--card {known[0]!r}"
        )
    return [series for series in measurements if card is None or _card(series) in (None, card)]


def _card(series: Measurements) -> str | None:
    """Return the card of measurements, "" if unknown; ``None`` if they depend on no device."""
    is_on_device = Objective.parse(series.quantity).metric in MEASURED
    return series.texts.get("card", "") if is_on_device else None


def merge_measurements(measurements: Sequence[Measurements]) -> list[Measurements]:
    """Return measurements with those of the same space and metric joined.

    Raises
    ------
    InvalidInput
        Two spaces of one name have other choices, or two workloads of one name other requests.
    """
    groups: dict[tuple[str, str], Measurements] = {}
    for series in measurements:
        key = (series.space.name, series.quantity)
        groups[key] = _joined(groups[key], series) if key in groups else series
    return list(groups.values())


def _joined(first: Measurements, second: Measurements) -> Measurements:
    """Return measurements of the same space and metric as one."""
    if first.space.to_dict() != second.space.to_dict():
        raise InvalidInput(
            f"{first.quantity}: the sources have different spaces of the name "
            f"{first.space.name!r}; fit them apart, or give one of them another name"
        )
    if first.workload != second.workload:
        raise InvalidInput(f"{first.quantity}: the sources differ in its workload")
    std = None
    if first.std is not None and second.std is not None:
        std = np.concatenate([first.std, second.std])
    return dataclasses.replace(
        first,
        codes=np.concatenate([first.codes, second.codes]),
        values=np.concatenate([first.values, second.values]),
        std=std,
    )


def split_by_count(groups: Sequence[Measurements]) -> tuple[list[Measurements], list[str]]:
    """Return the groups that can be fitted, and why each other one cannot."""
    enough, faults = [], []
    for group in groups:
        count = len(np.unique(group.codes, axis=0))
        if count >= MIN_POINTS:
            enough.append(group)
        else:
            faults.append(
                f"{group.quantity} on {group.space.name}: expected at least {MIN_POINTS} different "
                f"architectures, found {count}; measure more with: hwnas profile --space "
                f"{group.space.name}"
            )
    return enough, faults


def average_repeats(group: Measurements) -> Measurements:
    """Return a group with one value for each architecture, the mean of its measurements.

    Standard errors follow from those that are given, or from the scatter of the repeats relative
    to their means, pooled over all architectures; the greater of the two holds.

    Examples
    --------
    >>> import hwnas
    >>> space = hwnas.space("gpt-s")
    >>> codes = space.sample(2, np.random.default_rng(0))[[0, 0, 1]]
    >>> values = np.array([0.9, 1.1, 5.0])
    >>> group = average_repeats(Measurements(space, "latency", codes, values, None, None, {}))
    >>> sorted(group.values.tolist())
    [1.0, 5.0]
    """
    distinct, network = np.unique(group.codes, axis=0, return_inverse=True)
    if len(distinct) == len(group.codes):
        return group
    network = network.ravel()
    count = np.bincount(network)
    mean = np.bincount(network, group.values) / count
    scatter = ((group.values / mean[network] - 1) ** 2).sum() / (len(network) - len(distinct))
    std = mean * np.sqrt(scatter / count)
    if group.std is not None:
        std = np.maximum(std, np.sqrt(np.bincount(network, group.std**2)) / count)
    return dataclasses.replace(group, codes=distinct, values=mean, std=std)


def limit_points(group: Measurements, limit: int = MAX_POINTS) -> Measurements:
    """Return a group with at most so many architectures, chosen at random with a warning."""
    n = len(group.values)
    if n <= limit:
        return group
    warnings.warn(
        f"{group.quantity} on {group.space.name}: {limit:,} of {n:,} architectures are used, "
        "chosen at random",
        HwnasWarning,
        stacklevel=2,
    )
    return subset(group, np.sort(np.random.default_rng(0).permutation(n)[:limit]))


def subset(group: Measurements, rows: IndexArray) -> Measurements:
    """Return the measurements of a group at some indices."""
    std = None if group.std is None else group.std[rows]
    return dataclasses.replace(group, codes=group.codes[rows], values=group.values[rows], std=std)
