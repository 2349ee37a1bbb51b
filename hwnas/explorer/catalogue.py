"""Spaces with known figures, and a description of each for the page."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from hwnas.backends import all_metrics
from hwnas.errors import InvalidInput, UnknownName
from hwnas.objectives import Objective
from hwnas.spaces import SearchSpace, load_space
from hwnas.surrogates import Surrogate, surrogate
from hwnas.surrogates.added_devices import BY_HWNAS
from hwnas.surrogates.device_library import load_devices, load_tables, shipped_devices
from hwnas.surrogates.devices import device
from hwnas.surrogates.published import SCALES
from hwnas.workloads import BUILT_IN, Workload, load_workloads

_WORKLOAD_METRICS = {
    "kv_cache": "keys and values of all positions of the whole batch; exact",
    "weight_memory": "all weights and buffers at the workload's precision; exact",
}
MAXIMIZED = ("throughput", "accuracy")  # metrics of which more is better


class Catalogue:
    """Surrogates of the spaces that the explorer offers, opened on first use.

    Parameters
    ----------
    spaces
        Names or YAML files of spaces to offer beside the published ones and those that measured
        devices and tables are of.
    tables
        Files of ``hwnas fit``.

    Raises
    ------
    InvalidInput
        A space or a file of tables cannot be read, or there are no figures for a space.

    Examples
    --------
    >>> Catalogue().names[:2]
    ['gpt-s', 'gpt-m']
    """

    def __init__(self, spaces: Sequence[str] = (), tables: Sequence[str] = ()) -> None:
        self.spaces, self.tables = tuple(spaces), tuple(tables)
        self._tables = load_tables(self.tables)
        self._known: dict[str, SearchSpace] = {}
        self._sources: dict[str, str] = {}
        self._workloads: dict[str, dict[str, Workload]] = {}
        self._opened: dict[str, Surrogate] = {}
        self._lock = threading.Lock()
        for source in spaces:
            space = load_space(source)
            self._known[space.name] = space
            self._sources[space.name] = source
            self._workloads[space.name] = dict(load_workloads(source))
        for name in SCALES:
            self._known.setdefault(name, load_space(name))
        for file in (*self._tables, *shipped_devices().values(), *load_devices(None).values()):
            for space in file.spaces:
                self._known.setdefault(space.name, space)
        for name in [load_space(source).name for source in spaces]:
            self.bench(name)  # refused before the page opens

    @property
    def names(self) -> list[str]:
        """Names of all spaces."""
        return list(self._known)

    def source(self, name: str) -> str:
        """Return the name or the file by which commands refer to a space."""
        return self._sources.get(name, name)

    def bench(self, name: str) -> Surrogate:
        """Return the surrogate of a space, the same object each time.

        Raises
        ------
        UnknownName
            There is no such space here.
        InvalidInput
            It has no figures.
        """
        if name not in self._known:
            raise UnknownName("space", name, self._known)
        with self._lock:
            if name not in self._opened:
                self._opened[name] = surrogate(
                    self._known[name],
                    workloads=self._workloads.get(name, BUILT_IN),
                    tables=self._tables_of(name),
                )
            return self._opened[name]

    def _tables_of(self, name: str) -> tuple[str, ...]:
        """Return the tables that have figures of a space."""
        from hwnas.surrogates.added_devices import is_within

        return tuple(
            path
            for path, file in zip(self.tables, self._tables, strict=True)
            if any(is_within(self._known[name], figure.space) for figure in file.figures)
        )


def describe_space(catalogue: Catalogue, name: str) -> dict[str, Any]:
    """Return what the page must know to ask for fronts of a space.

    Returns
    -------
    dict
        ``devices``, ``workloads`` and ``quantities``: metrics without their devices, each with its
        unit, meaning, devices (empty where it has none) and whether it has quantiles.

    Raises
    ------
    InvalidInput
        There is no such space, or it has no figures.
    """
    bench = catalogue.bench(name)
    quantities: dict[str, dict[str, Any]] = {}
    for key, metric in all_metrics(bench).items():
        objective = Objective.parse(key)
        entry = quantities.setdefault(
            objective.quantity,
            {
                "name": objective.quantity,
                "metric": objective.metric,
                "workload": objective.workload,
                "unit": metric.unit,
                "meaning": metric.meaning,
                "maximized": objective.metric in MAXIMIZED,
                "quantiles": False,
                "devices": [],
            },
        )
        entry["devices"] += objective.devices
        entry["quantiles"] |= metric.quantiles
    for workload in fitting_workloads(bench):
        for metric_name, meaning in _WORKLOAD_METRICS.items():
            quantity = f"{metric_name}.{workload}"
            quantities.setdefault(
                quantity,
                {
                    "name": quantity,
                    "metric": metric_name,
                    "workload": workload,
                    "unit": "MB",
                    "meaning": meaning,
                    "maximized": False,
                    "quantiles": False,
                    "devices": [],
                },
            )
    devices = dict.fromkeys(name for q in quantities.values() for name in q["devices"])
    return {
        "space": name,
        "source": catalogue.source(name),
        "size": f"{bench.space.size:.3g}",
        "columns": len(bench.space.columns),
        "devices": [{"name": name, "about": _about(bench, name)} for name in devices],
        "workloads": [
            {"name": key, "meaning": bench.workloads[key].meaning}
            for key in ("forward", *fitting_workloads(bench))
            if key in bench.workloads
        ],
        "quantities": list(quantities.values()),
    }


def _about(bench: Surrogate, name: str) -> str:
    """Return the model of a published device, the card of one of hwnas, or that one was added."""
    if name in bench.added.shipped:
        cards = dict.fromkeys(figure.card for figure in bench.added.shipped[name].figures)
        return f"{BY_HWNAS}: {', '.join(cards)}"
    return device(name).model or ("added" if name in bench.added.names else "")


def fitting_workloads(bench: Surrogate) -> list[str]:
    """Return the workloads that generate tokens and fit into the context of a space."""
    names = []
    for name, workload in bench.workloads.items():
        try:
            workload.check(bench.space)
        except InvalidInput:
            continue
        if workload.generate:
            names.append(name)
    return names


def ranges(bench: Surrogate, names: Sequence[str]) -> dict[str, list[float]]:
    """Return the minimum and the maximum of metrics over a space, by name.

    Raises
    ------
    InvalidInput
        A metric, a device or a statistic does not exist.
    """
    return {name: list(bench.range(name)) for name in names}
