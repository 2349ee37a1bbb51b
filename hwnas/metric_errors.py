"""Errors of metrics that a backend does not have, with what it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hwnas.errors import InvalidInput, UnknownName
from hwnas.measured_metrics import workload_closed_forms, workload_metrics
from hwnas.objectives import UNITS, Objective
from hwnas.spaces import LanguageModelSpace, SearchSpace
from hwnas.workloads import BUILT_IN, Workload

MACHINES = ("cpu", "cuda", "mps", "xpu", "hpu")  # names of devices of the machine that measures


def unknown_device(
    objective: Objective, device: str, offered: Mapping[str, Sequence[str]]
) -> InvalidInput:
    """Return the error of a device that does not exist, or is not one of an objective's metric."""
    having = [name for name in offered[objective.quantity] if name]
    if _is_machine(device) and not any(map(_is_machine, having)):
        near = sorted(having, key=lambda name: not name.startswith(device))
        workload = f" --workload {objective.workload}" if objective.workload in BUILT_IN else ""
        return InvalidInput(
            f"{objective.quantity}@{device} must be measured, with: hwnas profile{workload} and "
            f"hwnas device add, or in a search with the profile backend; known here: "
            f"{', '.join(near)}"
        )
    reason = f"there are no figures of its {objective.quantity} here"
    if any(device in names for names in offered.values()):
        near = sorted(having, key=lambda name: not name.startswith(device))
        return InvalidInput(f"{device}: {reason}; known: {', '.join(near)}")
    add = "" if any(map(_is_machine, having)) else ", see hwnas device add"
    return UnknownName("device", device, having, reason=f"{reason}{add}")


def not_offered(
    space: SearchSpace,
    workloads: Mapping[str, Workload],
    objective: Objective,
    offered: Mapping[str, Sequence[str]],
) -> InvalidInput:
    """Return the error of a metric that a backend does not offer, or not of that workload.

    Parameters
    ----------
    space, workloads
        Those of the backend.
    objective
        What was asked for.
    offered
        By metric and workload, the devices on which the backend has it; "" for none.
    """
    metric, name = objective.metric, objective.workload
    is_language_model = isinstance(space, LanguageModelSpace)
    names = {quantity.partition(".")[0] for quantity in offered}
    by_workload = {w: workload_metrics(w, content) for w, content in workloads.items()}
    having = [w for w, metrics in by_workload.items() if f"{metric}.{w}" in metrics]
    # 1. Without a workload: one is missing, or there is no such metric.
    if name is None:
        having = having if is_language_model else []
        if having:
            return InvalidInput(
                f"{metric} needs a workload, as in {metric}.{having[-1]}; known: "
                f"{', '.join(having)}"
            )
        return UnknownName("metric", metric, names)
    # 2. With one that is unknown, or that the metric does not have.
    if not is_language_model:
        return InvalidInput(
            f"{objective}: workloads are those of language models, {space.name} has other members"
        )
    if name not in workloads:
        return UnknownName("workload", name, workloads)
    if not having:
        if metric in names or metric in UNITS:
            return InvalidInput(f"{metric} takes no workload, found {str(objective)!r}")
        return UnknownName("metric", metric, names | set(UNITS))
    if name not in having:
        has = " and ".join(key.partition(".")[0] for key in by_workload[name])
        return InvalidInput(f"{objective}: the workload {name} has {has} alone")
    # 3. On a device that is none, or with one that this backend does not measure.
    devices = {device for names in offered.values() for device in names if device}
    for device in objective.devices:
        if devices and device not in devices and not _is_machine(device):
            return UnknownName("device", device, devices, reason="see hwnas device add")
    by_command = ""
    if name in BUILT_IN:
        added = " and hwnas device add" if metric != "perplexity" else ""
        by_command = f"with: hwnas profile --workload {name}{added}, or "
    parts = [f"{objective} must be measured, {by_command}in a search with the profile backend"]
    if closed := list(workload_closed_forms(name, workloads[name])):
        parts.append(f"of this workload there are {' and '.join(closed)} here")
    if metric in offered and metric != "perplexity":
        plain = replace(objective, workload=None, relation=None, bound=None)
        parts.append(f"{plain} is one forward pass")
    return InvalidInput("; ".join(parts))


def _is_machine(device: str) -> bool:
    """Return whether a device is one of the machine that measures, such as ``cuda:1``."""
    return device.partition(":")[0] in MACHINES
