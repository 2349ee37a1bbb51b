"""Everything that the page tells of one architecture."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from hwnas.backends import all_metrics
from hwnas.explorer.catalogue import Catalogue, fitting_workloads
from hwnas.explorer.fronts import codes_of_text
from hwnas.objectives import Objective
from hwnas.surrogates import Surrogate
from hwnas.typing import Codes


def describe_architecture(catalogue: Catalogue, space: str, code: str) -> dict[str, Any]:
    """Return the name, the layers and all numbers of an architecture.

    Parameters
    ----------
    catalogue
        Spaces on offer.
    space
        Name of a space.
    code
        Its code as text, see `hwnas.explorer.fronts.codes_as_text`.

    Raises
    ------
    InvalidInput
        There is no such space, or no such code in it.

    Examples
    --------
    >>> catalogue = Catalogue()
    >>> code = "0" * len(catalogue.bench("gpt-s").space.columns)
    >>> describe_architecture(catalogue, "gpt-s", code)["choices"]["embed_dim"]
    192
    """
    bench = catalogue.bench(space)
    codes = codes_of_text(bench, code)[:1]
    (arch,) = bench.space.decode(codes)
    source, name = catalogue.source(space), str(arch)
    words = ["hwnas", "build", name, "--out", "model"]
    if source != space:
        words += ["--space", source]
    return {
        "name": name,
        "choices": {key: getattr(arch, key) for key in bench.space.choices},
        "layers": _layers(bench, arch),
        "build": shlex.join(words),
        **_numbers(bench, codes),
    }


def architecture_names(catalogue: Catalogue, space: str, code: str) -> list[str]:
    """Return the names of architectures from their codes as text.

    Raises
    ------
    InvalidInput
        There is no such space, or no such code in it.
    """
    bench = catalogue.bench(space)
    return [str(arch) for arch in bench.space.decode(codes_of_text(bench, code))]


def _layers(bench: Surrogate, arch: Any) -> list[dict[str, Any]]:
    """Return each choice of the layers: its values by layer, and the largest possible one."""
    return [
        {"name": key, "values": list(getattr(arch, key)), "most": max(values)}
        for key, values in bench.space.layers.items()
    ]


def _numbers(bench: Surrogate, codes: Codes) -> dict[str, Any]:
    """Return the metrics without a device, and those of each device, of one architecture."""
    metrics = all_metrics(bench)
    general = {key: metric.unit for key, metric in metrics.items() if "@" not in key}
    for workload in fitting_workloads(bench):
        general |= {f"kv_cache.{workload}": "MB", f"weight_memory.{workload}": "MB"}
    names = list(general)
    values = bench.predict(codes, names)[0].tolist()
    on_devices = [key for key in metrics if "@" in key]
    return {
        "general": [
            {"name": name, "unit": general[name], "value": value}
            for name, value in zip(names, values, strict=True)
        ],
        "devices": _device_rows(bench, codes, on_devices),
    }


def _device_rows(bench: Surrogate, codes: Codes, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each metric of each device: median, and p90 where it has quantiles."""
    metrics = all_metrics(bench)
    medians = bench.predict(codes, keys)[0].tolist()
    with_tail = [key for key in keys if metrics[key].quantiles]
    tails = bench.predict(codes, [f"{key}:p90" for key in with_tail])[0].tolist()
    tail_of = dict(zip(with_tail, tails, strict=True))
    rows = []
    for key, median in zip(keys, medians, strict=True):
        objective = Objective.parse(key)
        rows.append(
            {
                "device": objective.devices[0],
                "quantity": objective.quantity,
                "unit": metrics[key].unit,
                "median": median,
                "p90": tail_of.get(key),
            }
        )
    return rows
