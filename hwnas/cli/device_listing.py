"""Tables of devices: published ones, those of hwnas and those of users, with what is known."""

from __future__ import annotations

from collections.abc import Iterable

from hwnas.cli.components import Table
from hwnas.surrogates import Surrogate
from hwnas.surrogates.added_devices import BY_HWNAS
from hwnas.surrogates.device_file import DeviceFigure, DeviceFile
from hwnas.surrogates.devices import device
from hwnas.surrogates.metrics import PUBLISHED

ADDED = "added by the user"
_METRICS = ("latency", "energy")


def device_table(bench: Surrogate, verbose: bool) -> Table:
    """Return a row for each device, with its ranges of latency and energy over the space.

    Parameters
    ----------
    bench
        Surrogate of the space.
    verbose
        Whether to add precisions and protocols, and where a device comes from if there are others
        than the published ones.
    """
    scale = bench.space.name
    header = ["name", "kind", "model", "size", f"ms on {scale}", f"mWh on {scale}"]
    added = [name for name in bench.added.names if name in bench.added.devices]
    rows = [_published_row(bench, name, verbose, bool(added)) for name in bench.devices]
    rows += [_added_row(bench, name, verbose) for name in added]
    if verbose:
        header += ["precision", *_METRICS]
        # Where the others come from needs to be told only where there are others.
        header += ["source", "points", "expected error"] if added else []
    return header, rows


def measured_figures(devices: Iterable[DeviceFile]) -> Table:
    """Return a row for each metric and space of measured devices, with its protocol."""
    header = ["device", "space", "metric", "points", "expected error", "workload"]
    header += ["protocol", "card", "date", "versions"]
    rows = [
        [
            file.name,
            figure.space.name,
            figure.quantity,
            str(figure.points),
            f"{figure.error:.2%}",
            figure.workload.meaning if figure.workload else "one forward pass",
            figure.protocol,
            figure.card,
            figure.date,
            figure.versions,
        ]
        for file in devices
        for figure in file.figures
    ]
    return header, rows


def _published_row(bench: Surrogate, name: str, verbose: bool, with_source: bool) -> list[str]:
    """Return the row of a published device."""
    about = device(name)
    row = [name, about.kind, about.model, about.size, *_ranges(bench, name)]
    if verbose:
        row += [about.precision, *(bench.metrics[key].meaning for key in _keys(name))]
    if verbose and with_source:
        errors = bench.provenance.get("held_out_error_percent", {})
        error = errors.get(f"latency@{name}")
        points = bench.provenance.get("source", {}).get("networks", "")
        row += [PUBLISHED, str(points), f"{error:.2f}% (latency)" if error else ""]
    return row


def _added_row(bench: Surrogate, name: str, verbose: bool) -> list[str]:
    """Return the row of a device of hwnas or of a user."""
    figures = {
        key: figure
        for key, figure in bench.added.figures.items()
        if key.partition("@")[2] == name and key not in bench.added.listed
    }
    cards = [figure.card for figure in figures.values() if figure.card]
    row = [name, "", cards[0] if cards else "", "", *_ranges(bench, name)]
    if verbose:
        row += ["", *(figures[k].meaning if k in figures else "" for k in _keys(name))]
        source = BY_HWNAS if name in bench.added.shipped else ADDED
        row += [source, *_accuracy(figures.get(f"latency@{name}") or next(iter(figures.values())))]
    return row


def _accuracy(figure: DeviceFigure) -> list[str]:
    return [str(figure.points), f"{figure.error:.2%} ({figure.quantity})"]


def _keys(name: str) -> list[str]:
    return [f"{metric}@{name}" for metric in _METRICS]


def _ranges(bench: Surrogate, name: str) -> list[str]:
    """Return the ranges of latency and energy on a device; empty where there are none."""
    return [
        # Three significant digits, without an exponent.
        " to ".join(f"{float(f'{v:.3g}'):g}" for v in bench.range(key))
        if key in bench.metrics
        else ""
        for key in _keys(name)
    ]
