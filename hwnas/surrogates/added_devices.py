"""Figures of measured devices, those of hwnas and those of users, and of tables, for one space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from statistics import NormalDist

import numpy as np

from hwnas.errors import InvalidInput
from hwnas.objectives import UNITS, Metric, Objective
from hwnas.spaces import LanguageModelSpace, SearchSpace
from hwnas.surrogates.device_file import MEASURED, DeviceFigure, DeviceFile
from hwnas.surrogates.layer_layout import LayerLayout
from hwnas.surrogates.tables import AdditiveTable
from hwnas.workloads import Workload

BY_HWNAS, BY_USER = "measured by hwnas", "measured by a user"
_MIN_FACTOR = 0.01  # of the lowest quantiles, where a fit knows next to nothing
_ADD = "hwnas device add {} --from FILE.csv"
_SCALARS = ("head_size", "context", "vocab_size")


class AddedDevices:
    """Figures of measured devices, and of tables, for the architectures of one space.

    Parameters
    ----------
    space
        The space: one that was measured, or cut down from it.
    devices
        Devices by name.
    workloads
        Workloads that objectives may name, as the user has defined them.
    tables
        Files of tables, whose metrics take precedence over those of devices.
    shipped
        Devices that hwnas ships, by name.

    Attributes
    ----------
    figures
        By metric and device, ``"tpot.serve@mine"``, what is known for the space.
    listed
        Metrics among them that are those of `tables`.
    devices
        All devices by name, shipped ones first.

    Raises
    ------
    InvalidInput
        Tables have nothing for the space, another workload of the same name, or a metric twice.
    """

    def __init__(
        self,
        space: SearchSpace,
        devices: Mapping[str, DeviceFile],
        workloads: Mapping[str, Workload],
        tables: Sequence[DeviceFile] = (),
        shipped: Mapping[str, DeviceFile] | None = None,
    ) -> None:
        self.shipped = {} if shipped is None else shipped
        self.devices = {**self.shipped, **devices}
        self.space, self._workloads = space, workloads
        self.tables = tables
        self._tables: dict[tuple[str, float | None], AdditiveTable] = {}
        self._conflicts: dict[str, str] = {}
        self.figures: dict[str, DeviceFigure] = {}
        for file in tables:
            self._add_tables(file)
        self.listed = tuple(self.figures)
        for name, device in self.devices.items():
            for figure in _of_space(device, space):
                self._add(f"{figure.quantity}@{name}", figure)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the devices with figures for the space."""
        devices = (key.partition("@")[2] for key in self.figures)
        return tuple(dict.fromkeys(name for name in devices if name))

    @property
    def metrics(self) -> dict[str, Metric]:
        """Metrics of devices and tables by name; quantiles tell of the errors of the fit."""
        return {
            key: Metric(
                figure.unit or UNITS.get(_metric(key), ""),
                quantiles=figure.spread > 0,
                meaning=figure.meaning,
            )
            for key, figure in self.figures.items()
        }

    @cached_property
    def missing(self) -> dict[str, str]:
        """Reasons why metrics of the devices are not known, by metric and device."""
        quantities = dict.fromkeys(MEASURED)
        quantities |= dict.fromkeys(f"{m}.{w}" for m in MEASURED for w in self._workloads)
        for device in self.devices.values():
            quantities |= dict.fromkeys(figure.quantity for figure in device.figures)
        missing = {}
        for name, device in self.devices.items():
            reason = _content(device, self.space, is_shipped=name in self.shipped)
            for quantity in quantities:
                if (key := f"{quantity}@{name}") not in self.figures:
                    missing[key] = self._conflicts.get(key, reason)
        if self.tables:
            reason = f"{self._known_of_tables()}; add it with: hwnas fit SOURCE --metric"
            for key in (q for q in quantities if "." in q and q not in self.figures):
                if not any(known.startswith(f"{key}@") for known in self.figures):
                    missing[key] = f"{reason} {key} --out FILE"
        return missing

    def origin(self, key: str) -> str:
        """Return who has measured a metric, for a note; empty where it is none of `figures`."""
        if key not in self.figures:
            return ""
        is_shipped = key.partition("@")[2] in self.shipped and key not in self.listed
        return BY_HWNAS if is_shipped else BY_USER

    def _known_of_tables(self) -> str:
        """Return what the tables have, as a text."""
        return f"{', '.join(file.name for file in self.tables)}: has {', '.join(self.listed)}"

    def require(self, error: InvalidInput) -> None:
        """Check that a space without published figures has figures of a device.

        Raises
        ------
        InvalidInput
            It has none: the given error, with the spaces that the devices were measured on.
        """
        if self.figures:
            return
        measured = [_spaces(device) for device in self.devices.values()]
        raise InvalidInput("; ".join([str(error), *measured])) from None

    def table(self, key: str, level: float | None = None) -> AdditiveTable:
        """Return the table of a metric of `figures`, or of a quantile; the same object each time.

        The value of an architecture that was not measured is normal about the table's, with a
        relative standard deviation that all share: so a quantile is a multiple of the table.
        """
        if (key, level) not in self._tables:
            if level is None:
                table = _cut_down(self.figures[key], self.space)
            else:
                reach = NormalDist().inv_cdf(level) * self.figures[key].spread
                table = max(1 + reach, _MIN_FACTOR) * self.table(key)
            self._tables[key, level] = table
        return self._tables[key, level]

    def _add_tables(self, file: DeviceFile) -> None:
        """Add the figures of tables."""
        keys = dict.fromkeys(file.key(figure) for figure in _of_space(file, self.space))
        if not keys:
            raise InvalidInput(
                f"tables {file.name}: nothing for {self.space.name}; {_spaces(file)}; expected one "
                f"of these spaces, or tables of {self.space.name} by hwnas fit"
            )
        for key in keys:
            if key in self.figures:
                raise InvalidInput(f"tables: expected each metric once, found {key} in two files")
        for figure in _of_space(file, self.space):
            key = file.key(figure)
            self._add(key, figure)
            if key in self._conflicts:
                raise InvalidInput(f"tables {file.name}: {key}: {self._conflicts[key]}")

    def _add(self, key: str, figure: DeviceFigure) -> None:
        """Add a figure, unless its workload is another one here."""
        workload = Objective.parse(figure.quantity).workload
        here = None if workload is None else self._workloads.get(workload)
        if here is not None and figure.workload is not None and here != figure.workload:
            self._conflicts[key] = (
                f"its workload {workload} was {figure.workload.meaning}; here it is {here.meaning}"
            )
        else:
            self.figures.setdefault(key, figure)


def _metric(key: str) -> str:
    """Return the metric of a key, ``"tpot"`` of ``"tpot.serve@mine"``."""
    return key.partition("@")[0].partition(".")[0]


def is_within(part: SearchSpace, container: SearchSpace) -> bool:
    """Return whether a space is another one, or cut down from it; names make no difference.

    Spaces of others than language models must be equal, because any of their settings may matter.

    Examples
    --------
    >>> import hwnas
    >>> is_within(hwnas.space("gpt-s"), hwnas.space("gpt-s-wide"))
    False
    """
    if type(part) is not type(container):
        return False
    if not isinstance(part, LanguageModelSpace):
        return part.to_dict() == {**container.to_dict(), "name": part.name}
    if any(getattr(part, name) != getattr(container, name) for name in _SCALARS):
        return False
    ours, theirs = ({**space.choices, **space.layers} for space in (part, container))
    return [*ours] == [*theirs] and all(set(ours[name]) <= set(theirs[name]) for name in ours)


def _of_space(device: DeviceFile, space: SearchSpace) -> Iterator[DeviceFigure]:
    """Yield the figures of a file that hold for a space; those of the space itself first."""
    fitting = [figure for figure in device.figures if is_within(space, figure.space)]
    yield from sorted(fitting, key=lambda figure: figure.space.size)


def _content(device: DeviceFile, space: SearchSpace, *, is_shipped: bool) -> str:
    """Return what a device has for a space, or the spaces that it has, and how to get more."""
    here = [figure.quantity for figure in _of_space(device, space)]
    content = f"{device.name} has {', '.join(here)} on {space.name}" if here else _spaces(device)
    if is_shipped:
        return f"{content}; measure a device of yours and add it with: {_ADD.format('NAME')}"
    measure = "" if here else f"measure {space.name} and "
    return f"{content}; {measure}add it with: {_ADD.format(f'{device.name} --update')}"


def _spaces(device: DeviceFile) -> str:
    """Return what a device was measured on, as a text."""
    return f"{device.name} was measured on {', '.join(space.name for space in device.spaces)}"


def _cut_down(figure: DeviceFigure, space: SearchSpace) -> AdditiveTable:
    """Return the entries of a figure's table that belong to a space within its own."""
    layout, table = LayerLayout(space), figure.table
    e, d, b, r, h = layout.positions(LayerLayout(figure.space))
    layer = np.arange(layout.depth)
    return AdditiveTable(
        space.depths,
        table.base[np.ix_(e, d, b)],
        table.layers[np.ix_(e, d, b, layer, r, h)],
        layout.allowed,
    )
