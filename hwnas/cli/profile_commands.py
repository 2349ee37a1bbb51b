"""Commands that build models and measure them on this machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas.cli.console import Quiet, echo, print_figures, print_table
from hwnas.cli.query_commands import Format
from hwnas.errors import HwnasError, InvalidInput

if TYPE_CHECKING:
    from hwnas.cli.chosen_networks import MeasuredNetwork
    from hwnas.workloads import Workload


def profile(
    archs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ARCH]...",
            help="Networks to measure: strings such as gpt-s-12-768-..., files such as front.csv, "
            "or - for standard input. Without any, a survey of --count networks.",
        ),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            help="Name of a search space, or a YAML of a space or an experiment [of ARCH, the "
            "space that the names begin with]."
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(help="Of a survey: architectures to measure, not counting the anchor.", min=1),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            help="Of a survey: end as soon as a fit of each metric is expected to have this error, "
            "such as 1.5%; --count, by default 100, is then the most that is measured."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Of a survey: CSV file to create or to continue.")
    ] = None,
    workload: Annotated[
        list[str] | None,
        typer.Option(help="A workload: chat, serve, forward, or your own; can be repeated."),
    ] = None,
    workload_file: Annotated[
        Path | None,
        typer.Option(help="YAML with your own workloads: [that of --space]."),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: latency, energy, memory; of workloads ttft, tpot, latency, "
            "throughput, energy_per_token, memory, for one alone tpot.serve [all that are "
            "available]."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    batch_size: Annotated[int, typer.Option(help="Sequences per forward pass.", min=1)] = 8,
    tokens: Annotated[
        int | None, typer.Option(help="Tokens per sequence [the context].", min=1)
    ] = None,
    precision: Annotated[str, typer.Option(help="auto, float32, bfloat16.")] = "auto",
    mode: Annotated[str, typer.Option(help="auto, graph, eager, compiled.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(help="Threads of torch on a CPU [torch's default].", min=1)
    ] = None,
    within: Annotated[
        float,
        typer.Option(
            help="Target precision of a time: half-width of its 95 % confidence interval.",
            min=1e-4,
            max=1.0,
        ),
    ] = 0.01,
    max_seconds: Annotated[
        float, typer.Option(help="Limit of the sampling of one value.", min=0.01)
    ] = 10.0,
    seed: Annotated[int, typer.Option(help="Seed of the choice of architectures.", min=0)] = 0,
    anchor_every: Annotated[
        int, typer.Option(help="Architectures between two measurements of the anchor.", min=1)
    ] = 10,
    format_: Annotated[Format, typer.Option("--format", help="Of ARCH: output format.")] = (
        Format.table
    ),
    quiet: Quiet = False,
) -> None:
    """Measure networks on this machine: those given, or the most informative ones of a space.

    Networks that are given are printed beside the values of the surrogate benchmark. A survey
    writes a CSV file. The same command continues an existing one, also to a larger --count. One
    architecture, the anchor, is measured repeatedly to show the drift of the machine.

    Examples:

    hwnas profile --space gpt-s --count 30 --workload serve --out mine.csv

    hwnas profile runs/quickstart/additive/seed-0/front.csv --metrics latency
    """
    from hwnas.cli.chosen_networks import read_archs
    from hwnas.cli.space_values import space_of
    from hwnas.cli.until import MAX_COUNT, parse_error
    from hwnas.spaces import load_space, require_language_model

    wanted = None if until is None else parse_error(until)
    if wanted is not None and count is None and not archs:
        count = MAX_COUNT
    if archs:
        if count is not None or out is not None or until is not None:
            raise InvalidInput(
                "profile: --until, --count and --out are those of a survey; with ARCH use "
                "--format csv"
            )
        own_space = None if space is None else load_space(space)
        chosen = read_archs(archs, own_space)
        members = require_language_model(space_of(chosen, own_space))
    else:
        options = {"--space": space, "--count": count, "--out": out}
        if missing := [name for name, value in options.items() if value is None]:
            raise InvalidInput(
                f"profile: expected networks, or for a survey --space, --count and --out; missing: "
                f"{', '.join(missing)}"
            )
        chosen, members = [], require_language_model(load_space(str(space)))
    # torch is imported only when a command needs it.
    from hwnas.profiling.device_profiler import DeviceProfiler
    from hwnas.profiling.meters.forward_pass import PassSettings
    from hwnas.profiling.survey.columns import default_metrics, resolve_metrics

    workloads = chosen_workloads(workload or [], metrics, workload_file, space)
    for name, content in workloads.items():
        try:
            content.check(members)
        except InvalidInput as error:
            raise InvalidInput(f"--workload {name}: {error}") from None
    passes: Any = {"batch_size": batch_size, "tokens": tokens, "threads": threads}
    passes |= {"precision": precision, "mode": mode}
    profiler = DeviceProfiler(
        device=device,
        passes=PassSettings(**passes),
        within=within,
        max_seconds=max_seconds,
        workloads=workloads,
    )
    names = default_metrics(profiler) if metrics is None else metrics.replace(" ", "").split(",")
    given = chosen_workloads(workload or [], None, workload_file, space)
    names = resolve_metrics(profiler, names, workloads=given)
    if chosen:
        _profile_chosen(members, chosen, profiler, names, format_, quiet)
    else:
        survey = {"count": count, "seed": seed, "anchor_every": anchor_every}
        _profile_survey(members, profiler, names, Path(str(out)), survey, wanted, quiet)


def _profile_chosen(
    space: Any, archs: Any, profiler: Any, names: list[str], format_: Format, quiet: bool
) -> None:
    """Measure networks and print them in a table."""
    from hwnas.cli.chosen_networks import IMPRECISE, full_table, measure_networks, short_table
    from hwnas.profiling.survey.drift import describe_row

    units = {name: profiler.metrics[name].unit for name in names}
    finished: list[MeasuredNetwork] = []

    def report(network: MeasuredNetwork) -> None:
        finished.append(network)
        if not quiet:
            echo(f"{len(finished)} of {len(archs)}: {describe_row(network.row, units)}", err=True)

    is_stopped = False
    try:
        measure_networks(space, archs, profiler, names, report)
    except KeyboardInterrupt:
        if not finished:
            raise
        is_stopped = True
    networks = finished
    if format_ != Format.table:
        print_figures(*full_table(networks, names), format_)
    else:
        print_table(*short_table(networks, names, units))
        if any(network.row["imprecise"] for network in networks):
            echo(
                f"{IMPRECISE} missed the requested precision within the time limit; a larger "
                "--max-seconds or --within helps"
                + (", on a busy CPU --threads 1" if profiler.device.type == "cpu" else "")
            )
    if is_stopped:
        raise HwnasError(f"stopped after {len(finished)} of {len(archs)} networks")
    if failed := [network for network in networks if network.reason]:
        raise HwnasError(
            f"{len(failed)} of {len(networks)} networks could not be measured: {failed[0].reason}"
        )


def _profile_survey(
    space: Any,
    profiler: Any,
    names: list[str],
    out: Path,
    settings: Any,
    wanted: float | None,
    quiet: bool,
) -> None:
    """Measure designed architectures into a CSV file, and print their summary."""
    from hwnas.cli.until import ErrorWatch
    from hwnas.profiling.survey.drift import describe_row
    from hwnas.profiling.survey.survey import run_survey

    units = {name: metric.unit for name, metric in profiler.metrics.items()}
    watch = None
    if wanted is not None:
        settings = {**settings, "count": min(settings["count"], space.size)}
        watch = ErrorWatch(space, names, wanted, profiler.workloads, settings, quiet)
        settings["is_enough"] = watch.is_enough

    def report(row: Any, n_measured: int) -> None:
        label = "anchor" if row["role"] == "anchor" else f"{n_measured} of {settings['count']}"
        if watch is not None:
            label = label.replace(" of ", " of at most ")
        echo(f"{label}: {describe_row(row, units)}", err=True)
        if watch is not None:
            watch.report(row)

    try:
        summary = run_survey(
            space, profiler, names, out, **settings, report=None if quiet else report
        )
    except KeyboardInterrupt:
        # Each row is on the disk as soon as it is measured, so nothing has to be saved here.
        raise HwnasError(
            f"stopped; {out} contains all results so far, the same command continues"
        ) from None
    if not quiet:
        print_table(*summary.table())
        if watch is not None:
            echo(watch.result())
        echo(f"{out}: {summary}")


def chosen_workloads(
    names: list[str], metrics: str | None, file: Path | None, space: str | None
) -> dict[str, Workload]:
    """Return the workloads of a command line, by name.

    Parameters
    ----------
    names
        Names of built-in workloads and of those in a file. Without names, but with a file, all that
        the file defines.
    metrics
        Metrics of the command line; their workloads need not be named twice.
    file
        YAML with the key ``workloads``.
    space
        Space of the command line; if it is a YAML, its workloads can be named too.

    Raises
    ------
    InvalidInput
        A name is unknown, or a file defines no workloads.
    """
    from hwnas.workloads import load_workloads, workload_named
    from hwnas.yaml_loader import read_yaml

    workloads = load_workloads(space if file is None else str(file))
    if file is not None and not names:
        names = list(read_yaml(file).get("workloads") or {})
        if not names:
            raise InvalidInput(
                f"{file}: expected the key workloads, as in "
                "workloads: {mine: {prompt: 100, generate: 50, batch: 4}}"
            )
    of_metrics = re.findall(r"\w\.(\w+)", metrics or "")
    names = list(dict.fromkeys([*names, *of_metrics]))
    return {name: workload_named(name, workloads) for name in names}
