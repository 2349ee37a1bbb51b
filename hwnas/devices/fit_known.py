"""Knowledge of other devices for a fit: the published figures, and the devices of the user."""

from __future__ import annotations

import warnings

from hwnas.devices.fit_prior import Prior
from hwnas.devices.fit_terms import Terms
from hwnas.errors import HwnasWarning, InvalidInput
from hwnas.spaces import SearchSpace, require_gpt
from hwnas.surrogates.added_devices import AddedDevices
from hwnas.surrogates.device_library import load_devices
from hwnas.surrogates.published import load_figures
from hwnas.surrogates.quantiles import MEDIAN
from hwnas.surrogates.tables import AdditiveTable
from hwnas.workloads import BUILT_IN, Workload

_MIN_DEVICES = 3  # of which one can learn how devices differ


def known_prior(
    space: SearchSpace, quantity: str, workload: Workload | None = None, *, exclude: str = ""
) -> Prior | None:
    """Return what is known of a metric from other devices; ``None`` with fewer than three.

    Parameters
    ----------
    space
        Space of the measurements.
    quantity
        Metric and workload, ``"latency"`` or ``"tpot.serve"``.
    workload
        Definition of the workload; devices that were measured at another one are left out.
    exclude
        Name of the device that is fitted.

    Examples
    --------
    >>> import hwnas
    >>> known_prior(hwnas.space("gpt-s"), "latency").mean.shape
    (3, 60)
    >>> known_prior(hwnas.space("gpt-xl"), "latency") is None
    True
    """
    tables = known_tables(space, quantity, workload, exclude=exclude)
    if len(tables) < _MIN_DEVICES:
        return None
    return Prior.from_tables(Terms(space), list(tables.values()))


def known_tables(
    space: SearchSpace, quantity: str, workload: Workload | None = None, *, exclude: str = ""
) -> dict[str, AdditiveTable]:
    """Return the tables of a metric by device, published ones first; see `known_prior`."""
    tables = _published_tables(space, quantity)
    workloads = dict(BUILT_IN)
    if workload is not None:
        workloads[quantity.partition(".")[2]] = workload
    with warnings.catch_warnings():
        # A device that cannot be read is told of wherever devices are used.
        warnings.simplefilter("ignore", HwnasWarning)
        devices = load_devices(None)
    added = AddedDevices(space, devices, workloads)
    for name in added.names:
        key = f"{quantity}@{name}"
        if name != exclude and key in added.figures:
            tables[name] = added.table(key)
    return tables


def _published_tables(space: SearchSpace, quantity: str) -> dict[str, AdditiveTable]:
    """Return the published medians of a metric by device; empty where there are none."""
    if quantity not in ("latency", "energy"):
        return {}
    try:
        figures = load_figures(require_gpt(space))
    except InvalidInput:
        return {}
    return {name: figures.quantile_tables(quantity, name)[MEDIAN] for name in figures.devices}
