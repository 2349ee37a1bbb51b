"""Tables of the metrics that backends offer, and of the workloads that metrics are of."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hwnas.backends import closed_forms
from hwnas.cli.components import Table
from hwnas.errors import InvalidInput
from hwnas.measured_metrics import TRAINED_METRICS, any_workload_metrics, device_metrics
from hwnas.objectives import Metric
from hwnas.spaces import GPTSpace, LanguageModelSpace, SearchSpace
from hwnas.surrogates import Surrogate, surrogate
from hwnas.surrogates.protocol import published_meaning
from hwnas.surrogates.published import SCALES, scale_of
from hwnas.workloads import BUILT_IN, Workload


def published_figures(
    space: SearchSpace,
    workloads: Mapping[str, Workload] = BUILT_IN,
    tables: Sequence[str] = (),
) -> Surrogate:
    """Return the surrogate benchmark of a space.

    Parameters
    ----------
    space
        Search space.
    workloads
        Workloads that metrics may name.
    tables
        Files of ``hwnas fit``.

    Raises
    ------
    InvalidInput
        There are no published figures of it, and no tables; the text says how to go on.
    """
    if tables:
        return surrogate(space, workloads=workloads, tables=tuple(tables))
    if not isinstance(space, GPTSpace):
        with contextlib.suppress(InvalidInput):  # unless a device was measured on it
            return surrogate(space, workloads=workloads)
        way = "profile" if isinstance(space, LanguageModelSpace) else "python or a plugin of yours"
        raise InvalidInput(
            f"space {space.name!r}: published figures are of GPT architectures alone, "
            f"{', '.join(SCALES)}; get its values with hwnas run and the backend {way}"
        )
    return surrogate(space, workloads=workloads)


def workload_table(workloads: Mapping[str, Workload] = BUILT_IN) -> Table:
    """Return a row for each workload.

    Examples
    --------
    >>> header, rows = workload_table()
    >>> dict(zip(header, rows[1]))["meaning"]
    '1 request, 512 tokens of prompt and 256 generated, bfloat16'
    """
    rows = [
        [name, str(w.prompt), str(w.generate), str(w.batch), w.precision, w.meaning]
        for name, w in workloads.items()
    ]
    return ["name", "prompt", "generate", "batch", "precision", "meaning"], rows


def metric_table(space: SearchSpace) -> Table:
    """Return a row for each metric of each backend; those of devices share one.

    Raises
    ------
    InvalidInput
        All metrics of the space are those of a user's own backend.
    """
    rows = [_metric_row(name, "all", metric) for name, metric in closed_forms(space).items()]
    rows += _published_metrics(space)
    if isinstance(space, LanguageModelSpace):
        for name, metric in TRAINED_METRICS.items():
            rows.append(_metric_row(name, "profile", metric))
        for name, metric in device_metrics().items():
            rows.append(_metric_row(f"{name}@DEVICE", "profile", metric))
        for name, metric in any_workload_metrics().items():
            backend = "all" if metric.cost == "free" else "profile"
            rows.append(_metric_row(name, backend, metric))
    if not rows:
        raise InvalidInput(
            f"space {space.name!r}: its metrics are those of your own function or backend; hwnas "
            "has none for it"
        )
    return ["name", "backend", "unit", "cost", "quantiles", "meaning"], rows


def _published_metrics(space: SearchSpace) -> list[list[str]]:
    """Return a row for each published metric of a space; none where there are no figures."""
    try:
        bench = published_figures(space)
    except InvalidInput:
        return []
    rows = []
    for name, metric in bench.metrics.items():
        # Metrics of devices are listed once, for the first device, as latency@DEVICE.
        metric_name, at, device_name = name.partition("@")
        if not at or device_name in bench.added.names:
            # Quantiles of fits tell of their errors, those of published figures of repeated passes.
            fitted = " of the fit's error" if name in bench.added.figures else ""
            rows.append(_metric_row(name, "surrogate", metric, fitted))
        elif device_name == bench.devices[0]:
            meaning = published_meaning(metric_name, scale_of(bench.space))
            generic = replace(metric, meaning=meaning)
            rows.append(_metric_row(f"{metric_name}@DEVICE", "surrogate", generic))
    return rows


def _metric_row(name: str, backend: str, metric: Metric, of: str = "") -> list[str]:
    quantiles = f"p01 ... p99{of}" if metric.quantiles else ""
    return [name, backend, metric.unit, metric.cost, quantiles, metric.meaning]
