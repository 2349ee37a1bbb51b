"""Time of each alternative of a layer on this machine, from measurements of a few networks.

All layers of a model have the same sizes, and attention and MLP run one after the other. So the
time of a network is a constant plus that of an attention for each layer, by its heads, plus that of
an MLP for each layer, by its neurons; what is left out takes none, and a larger one no less than a
smaller. These few numbers are fitted to relative errors by least squares under these bounds
(Lawson and Hanson 1974, Solving Least Squares Problems, chapter 23); no network needs trained
weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import nnls
from scipy.stats import kendalltau

from hwnas.errors import InvalidInput
from hwnas.profiling.device_profiler import DeviceProfiler, Measure
from hwnas.profiling.errors import TrialFailed
from hwnas.profiling.survey.csv_log import CsvLog, open_log
from hwnas.spaces import ShrunkLlamaSpace
from hwnas.surrogates.device_file import DeviceFigure
from hwnas.surrogates.tables import AdditiveTable
from hwnas.typing import Array, Codes
from hwnas.workloads import Workload

_SEED = 0  # of the random networks to measure

Report = Callable[[int, int], None]  # number of measured networks, and of all


@dataclass(frozen=True, eq=False)
class BlockTimes:
    """Times of all networks of a space, as a sum over layers.

    Attributes
    ----------
    table
        In ms.
    error, kendall
        Mean relative error of predictions of networks that were left out, and their rank
        correlation.
    points
        Number of measured networks.
    """

    table: AdditiveTable
    error: float
    kendall: float
    points: int


def parts_of(workload: Workload) -> tuple[Measure, ...]:
    """Return the times of a workload that add up over layers: those that are measured."""
    return ("latency",) if workload.generate == 0 else ("ttft", "tpot")


def networks_to_measure(space: ShrunkLlamaSpace, count: int) -> Codes:
    """Return distinct networks (count, d) whose times tell those of all alternatives.

    The whole model is the first; the others are random, with every number of layers.
    """
    n_options = len(space.mlp_dim) + len(space.n_head) - 1
    if count <= n_options:
        raise InvalidInput(f"networks: expected more than {n_options}, found {count}")
    rng = np.random.default_rng(_SEED)
    full_code = space.cardinalities[None] - 1
    codes = [space.canonical(full_code)]
    while sum(map(len, codes)) < min(count, space.size - 1):
        sample = space.sample(1, rng)
        layers = space.of_layers(sample)
        # A share of the layers stays whole, another share for each network.
        is_whole = rng.random(layers.shape[1]) < rng.random()
        layers[:, is_whole] = space.of_layers(codes[0])[:, is_whole]
        is_new = not any((sample == code).all() for part in codes for code in part)
        if is_new and space.depth_of(sample)[0] > 0:
            codes.append(sample)
    return np.concatenate(codes)


def measure_networks(
    space: ShrunkLlamaSpace,
    workload_name: str,
    profiler: DeviceProfiler,
    file: Path,
    *,
    count: int,
    report: Report = lambda count, total: None,
) -> CsvLog:
    """Measure the times of networks with random weights; continue a file.

    Parameters
    ----------
    space
        Their space.
    workload_name
        Workload of the profiler.
    profiler
        Device with its meters.
    file
        CSV file with the columns ``arch``, one for each of `parts_of` and their standard errors.
    count
        Number of networks.
    report
        Called after each network.
    """
    workload = profiler.workloads[workload_name]
    measures = parts_of(workload)
    columns = ["arch", *(f"{m}{end}" for m in measures for end in ("", " std")), "reason"]
    settings = {"space": space.to_dict(), "device": profiler.name, "workload": workload.meaning}
    log = open_log(file, settings, columns)
    present = {row["arch"] for row in log.rows}
    archs = space.decode(networks_to_measure(space, count))
    for k, arch in enumerate(archs):
        if str(arch) not in present:
            row: dict[str, object] = {"arch": str(arch)}
            try:
                model = profiler.build_model(space, arch)
                for measure in measures:
                    result = profiler.measure(model, measure, workload)
                    row |= {measure: f"{result.value:.6g}", f"{measure} std": f"{result.std:.3g}"}
            except TrialFailed as error:
                row["reason"] = str(error)
            finally:
                profiler.release()
            log.append(row)
        report(k + 1, len(archs))
    return log


def fit_times(space: ShrunkLlamaSpace, codes: Codes, values: Array) -> BlockTimes:
    """Fit the time of each alternative to times of networks.

    Parameters
    ----------
    codes : (n, d)
        The networks.
    values : (n,)
        Their times in ms, positive.

    Raises
    ------
    InvalidInput
        There are fewer networks than numbers to fit.

    Examples
    --------
    >>> space = ShrunkLlamaSpace("mine", embed_dim=64, n_layer=3, mlp_dim=[0, 64, 128],
    ...                          n_head=[0, 2, 4])
    >>> codes = networks_to_measure(space, 12)
    >>> fit_times(space, codes, space.params(codes) / 1e6).error < 1e-6
    True
    """
    rows = _counts(space, codes)
    if len(values) <= rows.shape[1]:
        raise InvalidInput(
            f"times: expected more than {rows.shape[1]} measured networks, found {len(values)}"
        )
    # Relative errors: each row and its value are divided by the value.
    weighted, ones = rows / values[:, None], np.ones(len(values))
    coefficients, _ = nnls(weighted, ones)
    left_out = np.empty(len(values))
    for i in range(len(values)):
        mask = np.arange(len(values)) != i
        left_out[i] = weighted[i] @ nnls(weighted[mask], ones[mask])[0]
    return BlockTimes(
        _table(space, coefficients),
        float(np.abs(left_out - 1).mean()),
        float(kendalltau(values, values * left_out).statistic),
        len(values),
    )


def times_of_log(space: ShrunkLlamaSpace, log: CsvLog, column: str) -> BlockTimes:
    """Return the times of a file of `measure_networks`."""
    rows = [row for row in log.rows if row[column]]
    codes = space.encode([row["arch"] for row in rows])
    return fit_times(space, codes, np.array([float(row[column]) for row in rows]))


def figures_of_log(
    space: ShrunkLlamaSpace, log: CsvLog, workload_name: str, workload: Workload, device: str
) -> list[DeviceFigure]:
    """Return the time of a workload and its parts as figures: ``"latency.serve@cuda"``."""
    fits = {name: times_of_log(space, log, name) for name in parts_of(workload)}
    if "tpot" in fits:
        table = fits["ttft"].table + float(workload.generate - 1) * fits["tpot"].table
        worst = max(fits.values(), key=lambda fit: fit.error)
        fits["latency"] = BlockTimes(table, worst.error, worst.kendall, worst.points)
    return [
        DeviceFigure(
            space,
            f"{name}.{workload_name}@{device}",
            fit.table,
            fit.points,
            fit.error,
            fit.kendall,
            workload,
            date=time.strftime("%Y-%m-%d"),
        )
        for name, fit in fits.items()
    ]


def _counts(space: ShrunkLlamaSpace, codes: Codes) -> Array:
    """Return 1 and the number of layers of at least each size of MLP and attention, (n, k)."""
    layers = space.of_layers(np.ascontiguousarray(codes))  # (n, L, 2)
    columns = [np.ones(len(codes))]
    for offset, sizes in enumerate((space.mlp_dim, space.n_head)):
        for index, size in enumerate(sizes):
            if size:
                columns.append((layers[:, :, offset] >= index).sum(axis=1).astype(float))
    return np.stack(columns, axis=1)


def _table(space: ShrunkLlamaSpace, coefficients: Array) -> AdditiveTable:
    """Return the table of a constant and of what each size takes more than the one below it."""
    constant, *steps = coefficients.tolist()
    per_size: list[Array] = []
    for sizes in (space.mlp_dim, space.n_head):
        per_size.append(np.cumsum([steps.pop(0) if size else 0.0 for size in sizes]))
    layer = per_size[0][:, None] + per_size[1][None]  # (R, H)
    return table_of_layers(space, constant, np.tile(layer, (len(space.layer_columns), 1, 1)))


def table_of_layers(
    space: ShrunkLlamaSpace, base: float, layers: Array | Sequence[Array]
) -> AdditiveTable:
    """Return the table of a constant and of the alternatives of each layer, (L, R, H)."""
    return AdditiveTable(
        space.depths, np.full((1, 1, 1), base), np.asarray(layers, dtype=float)[None, None, None]
    )
