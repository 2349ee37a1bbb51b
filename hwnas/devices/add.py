"""Devices and tables from measurements: one fit for each space and metric."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from hwnas.devices.figures import fit_figure, megabytes
from hwnas.devices.fit_known import known_prior
from hwnas.devices.groups import merge_measurements, of_card, split_by_count
from hwnas.devices.measurements import Measurements, read_measurements
from hwnas.errors import HwnasWarning, InvalidInput
from hwnas.spaces import SearchSpace
from hwnas.surrogates.device_file import (
    DEVICE,
    MAX_FIGURES,
    MAX_MB,
    TABLES,
    DeviceFigure,
    DeviceFile,
    check_device_name,
)
from hwnas.workloads import BUILT_IN, Workload

Report = Callable[[DeviceFigure], None]


def ignore_report(figure: DeviceFigure) -> None:
    """Ignore a report of a figure."""


def device_of_measurements(
    name: str,
    files: Sequence[Path],
    *,
    space: SearchSpace | None = None,
    workloads: Mapping[str, Workload] = BUILT_IN,
    card: str | None = None,
    former: DeviceFile | None = None,
    report: Report = ignore_report,
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
    card
        Card whose rows count, by the column ``card`` or ``device_name``; by default the only one.
    former
        Device that is added to: figures of other spaces and metrics are kept.
    report
        Called with each figure as soon as it is fitted.

    Raises
    ------
    InvalidInput
        The name is taken; a file is malformed; rows are of several cards, of none of `card`, or
        of another card than `former`; no metric has 6 architectures. One that has fewer is left
        out with a `HwnasWarning`.

    Examples
    --------
    >>> import tempfile, hwnas, numpy as np
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
    found = [m for file in files for m in read_measurements(file, space, workloads)]
    groups, faults = split_by_count(merge_measurements(of_card(found, card)))
    if not groups:
        raise InvalidInput(faults[0])
    if former is not None:
        _check_card(former, groups)
    for fault in faults:
        warnings.warn(f"left out: {fault}", HwnasWarning, stacklevel=2)
    figures = {_key(figure): figure for figure in (former.figures if former else ())}
    for group in groups:
        prior = known_prior(group.space, group.quantity, group.workload, exclude=name)
        figure = fit_figure(group, prior)
        figures[_key(figure)] = figure
        report(figure)
    return _file(name, tuple(figures.values()), DEVICE)


def tables_of_measurements(
    measurements: Sequence[Measurements], *, name: str = "tables", report: Report = ignore_report
) -> DeviceFile:
    """Return tables of the metrics that were measured, whatever they are.

    Parameters
    ----------
    measurements
        Measurements; those of the same space and metric are joined.
    name
        Name of the file in texts.
    report
        Called with each figure as soon as it is fitted.

    Raises
    ------
    InvalidInput
        A metric has fewer than 6 architectures of a space, or sources do not fit together.

    Examples
    --------
    >>> import hwnas, numpy as np
    >>> space = hwnas.space("gpt-s")
    >>> codes = space.sample(20, np.random.default_rng(0))
    >>> values = 1e9 / space.params(codes) + 10
    >>> one = Measurements(space, "perplexity", codes, values, None, None, {})
    >>> tables = tables_of_measurements([one])
    >>> [(figure.quantity, figure.points) for figure in tables.figures]
    [('perplexity', 20)]
    """
    groups, faults = split_by_count(merge_measurements(measurements))
    if faults:  # each metric was asked for
        raise InvalidInput(faults[0])
    figures = []
    for group in groups:
        quantity, _, device = group.quantity.partition("@")
        prior = known_prior(group.space, quantity, group.workload, exclude=device)
        figures.append(fit_figure(group, prior if device else None))
        report(figures[-1])
    return _file(name, tuple(figures), TABLES)


def _check_card(former: DeviceFile, groups: Sequence[Measurements]) -> None:
    """Raise InvalidInput if measurements are of another card than a device."""
    known = {figure.card for figure in former.figures if figure.card}
    cards = {group.texts.get("card", "") for group in groups} - {""}
    if known and (others := cards - known):
        raise InvalidInput(
            f"{former.name}: expected measurements of {', '.join(sorted(known))}, as its others, "
            f"found {', '.join(sorted(others))}; add a device of another name for them"
        )


def _file(name: str, figures: tuple[DeviceFigure, ...], kind: str) -> DeviceFile:
    """Return a file of figures that others can read."""
    if len(figures) > MAX_FIGURES:
        raise InvalidInput(f"{name}: expected at most {MAX_FIGURES} metrics, found {len(figures)}")
    if sum(megabytes(figure.table) for figure in figures) > MAX_MB - 2:
        raise InvalidInput(f"{name}: its tables take more than {MAX_MB} MB; split them")
    return DeviceFile(name, figures, metadata.version("hwnas"), kind=kind)


def _key(figure: DeviceFigure) -> tuple[str, str]:
    return figure.space.name, figure.quantity
