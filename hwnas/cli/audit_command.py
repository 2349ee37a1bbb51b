"""The command `audit`: a front measured on this machine, against its predicted values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from hwnas.cli.console import Quiet, echo, print_table
from hwnas.errors import HwnasError, InvalidInput
from hwnas.files import check_output

if TYPE_CHECKING:
    from hwnas.devices.audit import Agreement, Measured
    from hwnas.objectives import Objective
    from hwnas.profiling.device_profiler import DeviceProfiler
    from hwnas.spaces import LanguageModelSpace
    from hwnas.typing import Array
    from hwnas.workloads import Workload

_PLOTS = (".png", ".pdf", ".svg")


class PredictedFront(NamedTuple):
    """Members of a front with the values (n, m) that were predicted for them."""

    space: LanguageModelSpace
    archs: Sequence[Any]
    values: Array
    objectives: tuple[Objective, ...]
    workloads: Mapping[str, Workload]


def audit(
    source: Annotated[
        Path, typer.Argument(metavar="DIR", help="The directory of a run, or a front.csv.")
    ],
    top: Annotated[
        int, typer.Option(help="Most members to measure, spread evenly over the front.", min=2)
    ] = 20,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    space: Annotated[
        str | None,
        typer.Option(help="Of a CSV: the space, or a YAML of a space or an experiment."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="CSV file with all values.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="PNG, PDF or SVG of predicted against measured values.")
    ] = None,
    repeats: Annotated[
        int, typer.Option(help="Most further measurements of a contested member.", min=0)
    ] = 2,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Sequences per forward pass [8, of gpt-m 4, of gpt-l 1].", min=1),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of torch on a CPU [torch's default].", min=1)
    ] = None,
    within: Annotated[
        float, typer.Option(help="Target precision of a time, relative.", min=1e-4, max=1.0)
    ] = 0.01,
    max_seconds: Annotated[
        float, typer.Option(help="Limit of the sampling of one value.", min=0.01)
    ] = 10.0,
    seed: Annotated[int, typer.Option(help="Of the order and the bootstrap.", min=0)] = 0,
    quiet: Quiet = False,
) -> None:
    """Measure members of a front on this machine, and compare with the predicted values.

    Prints rank correlation, error and bias of each metric that can be measured, and the hypervolume
    won or lost. Members whose order is contested within noise are measured again.

    Examples:

    hwnas audit runs/serve --top 20 --plot audit.png
    """
    import numpy as np

    _check_files(out, plot)
    front = read_front(source, space)
    # torch is imported only when a front was found.
    from hwnas.devices.audit import agreement, measure_members, spread_members
    from hwnas.objectives import losses_of
    from hwnas.profiling.device_profiler import DeviceProfiler
    from hwnas.profiling.meters.forward_pass import PassSettings
    from hwnas.surrogates.protocol import BATCH_SIZES

    size = batch_size or BATCH_SIZES.get(front.space.name, 8)
    profiler = DeviceProfiler(
        device=device,
        passes=PassSettings(batch_size=size, threads=threads),
        within=within,
        max_seconds=max_seconds,
        workloads=_named_workloads(front),
    )
    columns, reasons = measurable(front.objectives, profiler)
    if not columns:
        raise InvalidInput(f"{source}: no objective can be measured here: {'; '.join(reasons)}")
    if not quiet:
        for reason in reasons:
            echo(f"hwnas: not measured: {reason}", err=True)
    members = spread_members(front.values[:, columns[0]], top)
    archs = [front.archs[i] for i in members.tolist()]
    predicted, rng = front.values[members], np.random.default_rng(seed)
    meter = _Meter(front, archs, columns, profiler, quiet)
    found = measure_members(len(archs), len(columns), meter, rng, repeats)
    complete = np.isfinite(found.values).all(axis=1)
    if complete.sum() < 2:
        raise HwnasError(
            f"{int(complete.sum())} of {len(archs)} members were measured: "
            f"{next(iter(meter.reasons.values()), 'stopped')}"
        )
    rows = [
        agreement(predicted[:, j], found.values[:, k], found.std[:, k], rng)
        for k, j in enumerate(columns)
    ]
    measured = predicted.copy()
    measured[:, columns] = found.values
    losses = [losses_of(front.objectives, values[complete]) for values in (predicted, measured)]
    names = [str(front.objectives[j].value) for j in columns]
    if out is not None:
        _write_csv(out, front, archs, predicted, found, columns, meter.reasons)
    if plot is not None:
        from hwnas.reports.plots.audit import draw_audit

        draw_audit(names, predicted[:, columns], found.values, found.std, rows, profiler.name, plot)
    echo(f"{len(archs)} members of {source}, measured on {profiler.name} ({_card(profiler)})")
    print_table(*agreement_table(names, rows))
    _print_change(*losses)
    for file in (out, plot):
        if file is not None:
            echo(str(file))
    if not complete.all():
        reason = next(iter(meter.reasons.values()), "stopped")
        missing = int((~complete).sum())
        raise HwnasError(f"{missing} of {len(archs)} members were not measured: {reason}")


def _check_files(out: Path | None, plot: Path | None) -> None:
    """Refuse files that could not be written once everything is measured."""
    if out is not None:
        check_output(out)
    if plot is not None:
        check_output(plot, _PLOTS)


def _print_change(predicted: Array, measured: Array) -> None:
    """Print what of the front is left, of losses (n, m) as predicted and as measured."""
    from hwnas.devices.audit import hypervolume_change
    from hwnas.pareto import non_dominated

    change = hypervolume_change(predicted, measured)
    word = "won" if change > 0 else "lost"
    echo(f"hypervolume {word}: {100 * abs(change):.3g} % of that predicted")
    n_kept = int(non_dominated(measured, keep_equal=True).sum())
    echo(f"still on the front as measured: {n_kept} of {len(measured)}")


def read_front(source: Path, space: str | None = None) -> PredictedFront:
    """Return the front of all searches of a run, or that in a CSV file.

    Raises
    ------
    InvalidInput
        There is none, it is empty, or its members are no language models.
    """
    front = _front_of_csv(source, space) if source.is_file() else _front_of_run(source)
    if not len(front.archs):
        raise InvalidInput(f"{source}: the front is empty")
    return front


def measurable(
    objectives: Sequence[Objective], profiler: DeviceProfiler
) -> tuple[list[int], list[str]]:
    """Return the columns of the objectives that can be measured here, and why others cannot."""
    columns, reasons = [], []
    for j, objective in enumerate(objectives):
        name = f"{objective.quantity}@{profiler.name}"
        if not objective.devices:
            reasons.append(f"{objective} is of no device")
        elif len(objective.devices) > 1:
            reasons.append(f"{objective} is a ratio over several devices")
        elif objective.level is not None:
            reasons.append(f"{objective} is a quantile; expected a metric without one")
        elif name not in profiler.metrics:
            missing = profiler.missing.get(name, f"there is no meter on {profiler.name}")
            reasons.append(f"{objective}: {missing}")
        else:
            columns.append(j)
    return columns, reasons


def agreement_table(
    names: Sequence[str], rows: Sequence[Agreement]
) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the table on the terminal."""
    header = ["metric", "members", "kendall", "95 % interval", "error %", "bias %", "contested"]
    return header, [
        [
            name,
            str(row.count),
            f"{row.kendall:.3f}",
            f"{row.low:.3f} to {row.high:.3f}",
            f"{100 * row.error:.3g}",
            f"{100 * row.bias:+.3g}",
            str(row.contested),
        ]
        for name, row in zip(names, rows, strict=True)
    ]


class _Meter:
    """Measurements of members on a device, see `hwnas.devices.audit.Measure`."""

    def __init__(
        self,
        front: PredictedFront,
        archs: Sequence[Any],
        columns: Sequence[int],
        profiler: DeviceProfiler,
        quiet: bool,
    ) -> None:
        self.space, self.archs, self.profiler, self.quiet = front.space, archs, profiler, quiet
        quantities = [front.objectives[j].quantity for j in columns]
        self.names = [f"{quantity}@{profiler.name}" for quantity in quantities]
        self.reasons: dict[int, str] = {}
        self.count = 0

    def __call__(self, member: int, columns: Sequence[int]) -> tuple[Array, Array]:
        import numpy as np

        from hwnas.profiling.survey.survey import measure_architecture

        names = [self.names[k] for k in columns]
        arch = self.archs[member]
        results, reason = measure_architecture(self.space, self.profiler, names, arch)
        if reason:
            self.reasons[member] = reason
        self.count += 1
        if not self.quiet:
            texts = [f"{name} {result.value:.4g}" for name, result in results.items()]
            again = " again" if self.count > len(self.archs) else ""
            echo(f"member {member + 1}{again}: {', '.join(texts) or reason}", err=True)
        values = [results[name].value if name in results else np.nan for name in names]
        return np.array(values), np.array([results[n].std if n in results else 0.0 for n in names])


def _front_of_run(folder: Path) -> PredictedFront:
    """Return the front of all searches of a run."""
    import numpy as np

    from hwnas.fronts import Front
    from hwnas.spaces import require_language_model
    from hwnas.sweep_runs import results_of
    from hwnas.workloads import parse_workloads

    results = results_of(folder)
    if len(results) != 1:
        raise InvalidInput(f"{folder}: expected a run, found a sweep; give one of its directories")
    (result,) = results
    members = require_language_model(result.space)
    fronts = [search.front for search in result.searches]
    codes = np.concatenate([front.codes for front in fronts])
    values = np.concatenate([front.values for front in fronts])
    if len(codes):
        joined = Front.of(codes, values, result.objectives, None)
        codes, values = joined.codes, joined.values
    workloads = parse_workloads(result.experiment.workloads)
    return PredictedFront(members, members.decode(codes), values, result.objectives, workloads)


def _front_of_csv(file: Path, space: str | None) -> PredictedFront:
    """Return the architectures of a CSV file, with all columns that are objectives."""
    import numpy as np

    from hwnas.cli.chosen_networks import read_archs
    from hwnas.cli.space_values import encode, space_of
    from hwnas.objectives import UNITS, Objective
    from hwnas.problems.csv_table import read_csv
    from hwnas.spaces import load_space, require_language_model
    from hwnas.workloads import load_workloads

    table = read_csv(file)
    if "arch" not in table.columns:
        raise InvalidInput(f"{file}: expected a column arch, found {', '.join(table.columns)}")
    given = None if space is None else load_space(space)
    items = read_archs([str(file)], given)
    members = require_language_model(space_of(items, given))
    encode(items, members)
    objectives = []
    for column in table.columns:
        try:
            objective = Objective.parse(column)
        except InvalidInput:
            continue  # trial numbers, slacks and the like are no objectives
        is_metric = objective.metric in UNITS or objective.devices
        if is_metric and objective.relation is None:
            objectives.append((column, objective))
    if not objectives:
        raise InvalidInput(
            f"{file}: expected columns of objectives such as latency@h100, found "
            f"{', '.join(table.columns)}"
        )
    try:
        cells = [[float(cell) for cell in table.cells(column)] for column, _ in objectives]
    except ValueError as error:
        raise InvalidInput(
            f"{file}: expected numbers in the columns of objectives: {error}"
        ) from None
    values = np.array(cells).T
    if not np.isfinite(values).all():
        raise InvalidInput(f"{file}: expected finite numbers in the columns of objectives")
    kinds = tuple(objective for _, objective in objectives)
    archs = [item.arch for item in items]
    return PredictedFront(members, archs, values, kinds, load_workloads(space))


def _named_workloads(front: PredictedFront) -> dict[str, Workload]:
    """Return the workloads that objectives name."""
    from hwnas.workloads import workload_named

    names = dict.fromkeys(o.workload for o in front.objectives if o.workload and o.devices)
    return {name: workload_named(name, front.workloads) for name in names}


def _card(profiler: DeviceProfiler) -> str:
    """Return the name of the model of a device."""
    from hwnas.profiling.meters.forward_pass import environment

    return environment(profiler.device).device_name


def _write_csv(
    file: Path,
    front: PredictedFront,
    archs: Sequence[Any],
    predicted: Array,
    found: Measured,
    columns: Sequence[int],
    reasons: Mapping[int, str],
) -> None:
    """Write a row for each member: predicted and measured values, errors, and repeats."""
    from hwnas.files import write_csv

    header = ["arch", *(f"{objective.value} predicted" for objective in front.objectives)]
    for j in columns:
        name = front.objectives[j].value
        header += [f"{name} measured", f"{name} std", f"{name} measurements"]
    rows = []
    for i, arch in enumerate(archs):
        row: list[Any] = [str(arch), *predicted[i].tolist()]
        for k in range(len(columns)):
            count = int(found.counts[i, k])
            cells = [float(found.values[i, k]), float(found.std[i, k])] if count else ["", ""]
            row += [*cells, count]
        rows.append([*row, reasons.get(i, "")])
    write_csv(file, [*header, "reason"], rows)
