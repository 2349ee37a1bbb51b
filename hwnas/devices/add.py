"""Devices from measurements: one fit for each space and metric."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from hwnas.devices.fit import MIN_POINTS, fit_tables
from hwnas.devices.measurements import Measurements, read_measurements
from hwnas.errors import HwnasWarning, InvalidInput
from hwnas.spaces import SearchSpace
from hwnas.surrogates.device_file import (
    MAX_FIGURES,
    MAX_MB,
    DeviceFigure,
    DeviceFile,
    check_device_name,
)
from hwnas.surrogates.tables import AdditiveTable
from hwnas.typing import Array, Codes
from hwnas.workloads import BUILT_IN, Workload

_FOLDS = 5  # of the cross-validation behind the rank correlation
_TABLE_MB = 8  # of the tables of one metric

Report = Callable[[DeviceFigure], None]


def device_of_measurements(
    name: str,
    files: Sequence[Path],
    *,
    space: SearchSpace | None = None,
    workloads: Mapping[str, Workload] = BUILT_IN,
    former: DeviceFile | None = None,
    report: Report = lambda figure: None,
) -> DeviceFile:
    """Return the device that measurements describe.

    Parameters
    ----------
    name
        Its name, equal to no published device's.
    files
        CSV files, see `hwnas.devices.measurements`.
    space
        Space of all architectures; ``None`` for those that they name.
    workloads
        Workloads that columns may name.
    former
        Device that is added to: figures of other spaces and metrics are kept.
    report
        Called with each figure as soon as it is fitted.

    Raises
    ------
    InvalidInput
        The name is taken; a file is malformed; no metric has 6 architectures. One that has
        fewer is left out with a `HwnasWarning`.

    Examples
    --------
    >>> import tempfile, hwnas
    >>> gpt = hwnas.space("gpt-s")
    >>> codes = gpt.sample(20, np.random.default_rng(0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "mine.csv")
    ...     rows = zip(gpt.decode(codes), gpt.flops(codes) / 1e11)
    ...     _ = file.write_text("arch,latency\\n" + "\\n".join(f"{a},{v}" for a, v in rows))
    ...     device = device_of_measurements("mine", [file])
    >>> device.figures[0].quantity, device.figures[0].points, device.figures[0].error < 0.01
    ('latency', 20, True)
    """
    check_device_name(name)
    # Every fault of the files is found before the first fit.
    groups = _merged([m for file in files for m in read_measurements(file, space, workloads)])
    groups = _with_enough_points(groups)
    figures = {_key(figure): figure for figure in (former.figures if former else ())}
    for group in groups:
        figure = fit_figure(group)
        figures[_key(figure)] = figure
        report(figure)
    if len(figures) > MAX_FIGURES:
        raise InvalidInput(f"{name}: expected at most {MAX_FIGURES} metrics, found {len(figures)}")
    if sum(_megabytes(figure.table) for figure in figures.values()) > MAX_MB - 2:
        raise InvalidInput(f"{name}: its tables take more than {MAX_MB} MB; split the device")
    return DeviceFile(name, tuple(figures.values()), metadata.version("hwnas"))


def fit_figure(group: Measurements) -> DeviceFigure:
    """Return the fitted figure of measurements of one space and metric."""
    fit = fit_tables(group.space, group.codes, group.values, group.std, metric=group.quantity)
    table = AdditiveTable.from_function(group.space, fit.predict)
    if _megabytes(table) > _TABLE_MB:
        raise InvalidInput(
            f"space {group.space.name!r}: its tables take {_megabytes(table):.0f} MB, expected at "
            f"most {_TABLE_MB}; use fewer values of n_layer or of the choices of a layer"
        )
    return DeviceFigure(
        group.space,
        group.quantity,
        table,
        len(np.unique(group.codes, axis=0)),
        fit.error,
        rank_correlation(group),
        group.workload,
        **group.texts,
    )


def rank_correlation(group: Measurements) -> float:
    """Return Kendall's rank correlation of predictions of networks that a fit has not seen.

    It is the mean over the values of ``embed_dim``, weighted by pairs; networks of different widths
    are told apart by any model. NaN with fewer than 10 networks or no width with three.
    """
    distinct, network = np.unique(group.codes, axis=0, return_inverse=True)
    if len(distinct) < 10:
        return math.nan
    predictions = np.empty(len(group.values))
    # All measurements of a network are left out together.
    fold = np.random.default_rng(0).permutation(len(distinct))[network.ravel()] % _FOLDS
    for k in range(_FOLDS):
        left_out = fold == k
        std = None if group.std is None else group.std[~left_out]
        fit = fit_tables(group.space, group.codes[~left_out], group.values[~left_out], std)
        predictions[left_out] = fit.predict(group.codes[left_out])
    return _kendall_by_width(group.codes, group.values, predictions)


def _kendall_by_width(codes: Codes, values: Array, predictions: Array) -> float:
    """Return the mean rank correlation over the values of the first column."""
    total = weight = 0.0
    for width in np.unique(codes[:, 0]):
        rows = codes[:, 0] == width
        count = int(rows.sum())
        if count >= 3:
            tau = float(kendalltau(values[rows], predictions[rows]).statistic)
            if math.isfinite(tau):
                pairs = count * (count - 1) / 2
                total, weight = total + pairs * tau, weight + pairs
    return total / weight if weight else math.nan


def _merged(measurements: Sequence[Measurements]) -> list[Measurements]:
    """Return measurements with those of the same space and metric joined."""
    groups: dict[tuple[str, str], Measurements] = {}
    for one in measurements:
        key = (one.space.name, one.quantity)
        if key in groups:
            other = groups[key]
            if one.workload != other.workload:
                raise InvalidInput(f"{one.quantity}: the files differ in its workload")
            std = None
            if one.std is not None and other.std is not None:
                std = np.concatenate([other.std, one.std])
            one = dataclasses.replace(
                other,
                codes=np.concatenate([other.codes, one.codes]),
                values=np.concatenate([other.values, one.values]),
                std=std,
            )
        groups[key] = one
    return list(groups.values())


def _with_enough_points(groups: Sequence[Measurements]) -> list[Measurements]:
    """Return the groups that can be fitted, with a warning for each other one.

    Raises
    ------
    InvalidInput
        There are none.
    """
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
    if not enough:
        raise InvalidInput(faults[0])
    for fault in faults:
        warnings.warn(f"left out: {fault}", HwnasWarning, stacklevel=3)
    return enough


def _key(figure: DeviceFigure) -> tuple[str, str]:
    return figure.space.name, figure.quantity


def _megabytes(table: AdditiveTable) -> float:
    return (table.base.nbytes + table.layers.nbytes) / 1e6
