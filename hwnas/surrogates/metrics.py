"""Metrics that the surrogate backend offers, with the protocols behind them."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Literal

from hwnas.objectives import Metric, Objective
from hwnas.surrogates.protocol import published_meaning

# Published metrics and their units: one number per architecture, or a distribution per device.
NUMBER_UNITS = {"perplexity": "", "float16_memory": "MB", "bfloat16_memory": "MB"}
DISTRIBUTION_UNITS = {"latency": "ms", "energy": "mWh"}


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
        f"there are no published figures of {space}, only closed forms and the metrics of added "
        "devices and tables; measure it with the profile backend, or give tables of hwnas fit"
    )
    return dict.fromkeys(NUMBER_UNITS, text)


def protocol_notes(
    objectives: Sequence[Objective], published: Sequence[str], added: Container[str]
) -> list[str]:
    """Return a note for each objective whose devices were measured by different protocols.

    Parameters
    ----------
    objectives
        Objectives and constraints.
    published
        Names of the published devices.
    added
        Metrics with their devices that users have measured.

    Examples
    --------
    >>> objectives = [Objective.parse("latency@h100+mine")]
    >>> protocol_notes(objectives, ["h100"], ["latency@mine"])[0].partition(":")[0]
    'latency@h100+mine'
    """
    notes = []
    for objective in objectives:
        ours = [name for name in objective.devices if f"{objective.quantity}@{name}" in added]
        theirs = [name for name in objective.devices if name in published and name not in ours]
        if ours and theirs:
            notes.append(
                f"{objective.key}: protocols differ: {', '.join(theirs)} as published by "
                f"HW-GPT-Bench, {', '.join(ours)} as measured by a user; hwnas list devices -v "
                "tells more"
            )
    return notes
