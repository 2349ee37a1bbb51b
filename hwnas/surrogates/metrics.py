"""Metrics that the surrogate backend offers, with the protocols behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from hwnas.objectives import Metric, Objective
from hwnas.surrogates.protocol import published_meaning

# Published metrics and their units: one number per architecture, or a distribution per device.
NUMBER_UNITS = {"perplexity": "", "float16_memory": "MB", "bfloat16_memory": "MB"}
DISTRIBUTION_UNITS = {"latency": "ms", "energy": "mWh"}
PUBLISHED = "published by HW-GPT-Bench"


def published_metrics(scale: str, devices: Sequence[str], noise: bool) -> dict[str, Metric]:
    """Return the published metrics of a scale by name, each with its protocol."""
    metrics = {}
    for name, unit in NUMBER_UNITS.items():
        cost: Literal["expensive", "cheap"] = "expensive" if name == "perplexity" else "cheap"
        metrics[name] = Metric(unit, cost, meaning=published_meaning(name, scale))
    for name, unit in DISTRIBUTION_UNITS.items():
        for device in devices:
            meaning = published_meaning(name, scale, device)
            metrics[f"{name}@{device}"] = Metric(
                unit, "cheap", noise, quantiles=True, meaning=meaning
            )
    return metrics


def unpublished(space: str) -> dict[str, str]:
    """Return why a space has no published metrics, for each that has no device."""
    text = (
        f"there are no published figures of {space}, only closed forms and the metrics of measured "
        "devices and tables; measure it with the profile backend, or give tables of hwnas fit"
    )
    return dict.fromkeys(NUMBER_UNITS, text)


def objective_notes(objectives: Sequence[Objective], origin: Callable[[str], str]) -> list[str]:
    """Return notes on worst ratios over different protocols, and on quantiles of fits.

    Parameters
    ----------
    objectives
        Objectives and constraints.
    origin
        Function that says who has measured a metric on a device, empty for the published ones.

    Examples
    --------
    >>> objectives = [Objective.parse("latency@h100+mine"), Objective.parse("latency@mine:p90")]
    >>> origin = {"latency@h100": "", "latency@mine": "measured by a user"}.__getitem__
    >>> first, second = objective_notes(objectives, origin)
    >>> first.partition(";")[0]  # doctest: +NORMALIZE_WHITESPACE
    'latency@h100+mine: protocols differ: h100 as published by HW-GPT-Bench, mine as measured by a
     user'
    >>> second
    'latency@mine:p90: on mine a quantile of the error of the fit, not of repeated requests'
    """
    notes = []
    for objective in objectives:
        origins = [origin(key) for key in objective.keys]
        if len(set(origins)) > 1:
            pairs = sorted(zip(objective.devices, origins, strict=True), key=lambda p: p[1] != "")
            named = dict(pairs)  # published devices first
            notes.append(f"{objective.key}: {_differ(named)}")
        if objective.level is not None and any(origins):
            fitted = [key.partition("@")[2] for key in objective.keys if origin(key)]
            where = f"on {' and '.join(fitted)} " if any(fitted) else ""
            error = "a quantile of the error of the fit, not of repeated requests"
            notes.append(f"{objective.value}: {where}{error}")
    return notes


def transfer_notes(metrics: Sequence[Objective], origin: Callable[[str], str]) -> list[str]:
    """Return a note where metrics stand side by side that have different protocols."""
    origins = {str(o): origin(o.key) for o in metrics if o.devices}
    if len(set(origins.values())) < 2:
        return []
    named = {name: text for name, text in origins.items() if text}
    is_rest = len(named) < len(origins)  # published ones are many
    return [_differ(named | ({"the others": ""} if is_rest else {}))]


def _differ(origins: Mapping[str, str]) -> str:
    """Return a text on metrics or devices that differ in who has measured them."""
    groups: dict[str, list[str]] = {}
    for name, origin in origins.items():
        groups.setdefault(origin or PUBLISHED, []).append(name)
    parts = [f"{', '.join(names)} as {origin}" for origin, names in groups.items()]
    return f"protocols differ: {', '.join(parts)}; hwnas list devices -v tells more"
