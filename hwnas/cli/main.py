"""Command line of hwnas.

Each command imports what it needs, so that ``hwnas --help`` takes little longer than importing
typer (``benchmarks/startup.py``).

Exit codes: 0 success; 2 an error that the user can correct, one line on stderr; 1 a bug in hwnas or
in a plugin.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas.cli.console import (
    AllowPlugins,
    NoDraw,
    Progress,
    Quiet,
    Workers,
    print_figures,
    print_summary,
    print_table,
)
from hwnas.cli.profile_commands import build, profile
from hwnas.cli.report_commands import compare, plot, report, reproduce
from hwnas.cli.streams import guarded_streams
from hwnas.errors import HwnasError, HwnasWarning, InvalidInput, SearchFailed

if TYPE_CHECKING:
    from hwnas.registry import Kind as PluginKind

app = typer.Typer(
    name="hwnas",
    help="Which language model should run on this hardware?",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
_UsageError: Any = typer.BadParameter.__base__  # its module depends on the version of typer


class Listing(StrEnum):
    """Listings of the command `list`."""

    optimizers = "optimizers"
    backends = "backends"
    spaces = "spaces"
    devices = "devices"
    metrics = "metrics"
    experiments = "experiments"


class Format(StrEnum):
    """Output formats of a table."""

    table = "table"
    csv = "csv"
    json = "json"


class Kind(StrEnum):
    """Kinds of plugins that the command `check` checks."""

    optimizer = "optimizer"
    backend = "backend"


def _print_version(requested: bool) -> None:
    """Print the version of the installed package and end the command."""
    if requested:
        from importlib.metadata import version

        typer.echo(f"hwnas {version('hwnas')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Declare the options that need no command."""


@app.command()
def run(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Experiment YAMLs.")],
    out: Annotated[Path | None, typer.Option(help="The directory to create [runs/NAME].")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a value: budget.evaluations=50."),
    ] = None,
    plugin: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="A Python file that registers optimizers or backends."),
    ] = None,
    allow_plugins: AllowPlugins = False,
    no_draw: NoDraw = False,
    workers: Workers = 1,
    quiet: Quiet = False,
) -> None:
    """Run experiments; write fronts, trajectories, plots and a summary."""
    from hwnas.api import run as run_experiment
    from hwnas.problem import load_experiment

    if quiet:
        warnings.simplefilter("ignore", HwnasWarning)
    overrides = dict(map(_parse_assignment, set_ or ()))
    # Check all experiments before the first one runs.
    loaded = [
        load_experiment(file, overrides, plugins=plugin or (), allow_plugins=allow_plugins)
        for file in files
    ]
    # Names are directories: two experiments with one name would overwrite each other.
    names = [experiment.name for experiment, _ in loaded]
    if len(set(names)) != len(names):
        raise InvalidInput(f"expected experiments of different names, found {', '.join(names)}")
    for experiment, problem in loaded:
        # --out is the directory of a single run, or the parent of several.
        path = Path("runs") if out is None else out
        target = path / experiment.name if out is None or len(files) > 1 else path
        with Progress(quiet) as progress:
            result = run_experiment(
                experiment,
                target,
                workers=workers,
                progress=progress.update,
                draw=not no_draw,
                problem=problem,
            )
        if not quiet:
            print_summary(result, has_plots=not no_draw)


@app.command()
def resume(
    directory: Annotated[Path, typer.Argument(help="The directory of a run.")],
    allow_plugins: AllowPlugins = False,
    no_draw: NoDraw = False,
    workers: Workers = 1,
    quiet: Quiet = False,
) -> None:
    """Continue a stopped run; its trials will be those of an uninterrupted one."""
    from hwnas.api import resume as resume_run

    with Progress(quiet) as progress:
        result = resume_run(
            directory,
            workers=workers,
            progress=progress.update,
            allow_plugins=allow_plugins,
            draw=not no_draw,
        )
    if not quiet:
        print_summary(result, has_plots=not no_draw)


@app.command("list")
def list_(
    kind: Annotated[Listing, typer.Argument(help="The kind of components to list.")],
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print details.")] = False,
    space: Annotated[
        str | None, typer.Option(help="The space, for devices and metrics [gpt-s].")
    ] = None,
) -> None:
    """List optimizers, backends, spaces, devices, metrics or experiments.

    For a device: ranges of the median latency (ms) and energy (mWh) over all architectures.
    """
    from hwnas.cli import listing

    has_figures = kind in (Listing.devices, Listing.metrics)
    if space is not None and not has_figures:
        raise InvalidInput(f"list {kind.value}: takes no --space; devices and metrics do")
    scale = space or "gpt-s"
    print_table(*listing.listing(kind.value, verbose, scale))
    if verbose and has_figures:
        # The source of the figures, and their errors on held-out architectures.
        fit = listing.fit(scale)
        for title, table in fit.tables.items():
            typer.echo(f"\n{title}")
            print_table(*table)
        typer.echo()
        for title, text in fit.lines.items():
            typer.echo(f"{title}: {text}")


@app.command()
def query(
    archs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ARCH]...",
            help="Architectures, such as gpt-s-12-768-...; with none, or -, from standard input: "
            "one in each line, JSON, or CSV with a column arch.",
        ),
    ] = None,
    device: Annotated[
        list[str] | None, typer.Option(help="Only this device; can be repeated.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this metric, such as latency or latency@h100:p90; can be repeated."
        ),
    ] = None,
    format_: Annotated[Format, typer.Option("--format", help="Output format.")] = Format.table,
) -> None:
    """Print the surrogate benchmark's values of architectures.

    One row for each architecture; for a single one without --metric, one row for each metric.
    """
    from hwnas.cli import listing
    from hwnas.spaces import arch_input

    # A single architecture has one row for each metric, with quantiles; several have one row each.
    if archs and "-" not in archs:
        architectures = arch_input.parse_arguments(archs)
        if len(architectures) == 1 and not metric:
            print_figures(*listing.figures_of_one(architectures[0], device or ()), format_)
            return
    elif archs and len(archs) > 1:
        raise InvalidInput("query: expected either architectures or -, found both")
    else:
        architectures = arch_input.parse_text(_read_standard_input(requested=bool(archs)))
    print_figures(*listing.figures(architectures, metric or (), device or ()), format_)


@app.command(context_settings={"ignore_unknown_options": True})  # -flops is an objective
def front(
    space: Annotated[str, typer.Argument(help="Name of a space.")],
    objectives: Annotated[
        list[str], typer.Argument(help="Metrics to minimize; -flops is maximized.")
    ],
    constraint: Annotated[
        list[str] | None,
        typer.Option(help="A constraint, such as 'params <= 1e8'; can be repeated."),
    ] = None,
    best: Annotated[
        int | None, typer.Option(help="Only the K members with the largest hypervolume.", min=1)
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    plot: Annotated[bool, typer.Option("--plot", help="Also draw front-SPACE.png.")] = False,
) -> None:
    """Print the exact Pareto front of the surrogate benchmark."""
    from hwnas.cli import listing

    # The option that allows -flops lets misspelled options through too.
    for text in objectives:
        if text.startswith("--"):
            raise InvalidInput(f"No such option: {text}")
    if plot and len(objectives) < 2:
        raise InvalidInput("--plot: expected two objectives or more, found one")
    exact = listing.exact_front(space, objectives, constraint or [], best)
    header = ["arch", *map(str, exact.front.objectives)]
    rows = [
        [str(arch), *values]
        for arch, values in zip(exact.archs, exact.front.values.tolist(), strict=True)
    ]
    print_figures(header, rows, Format.csv if csv else Format.table)
    if not rows:
        typer.echo("no architecture satisfies the constraints", err=True)
    elif plot:
        from hwnas.reports.plots.kinds import draw_front

        file = draw_front(exact.front, exact.title, Path(f"front-{space}.png"))
        typer.echo(str(file), err=csv)


@app.command()
def check(
    target: Annotated[
        str, typer.Argument(metavar="NAME_OR_FILE", help="A registered name, or a file.py.")
    ],
    kind: Annotated[
        Kind | None, typer.Option(help="The kind of plugin [every kind that has the name].")
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            help="Name of a search space, or a YAML of a space or an experiment [a synthetic space "
            "for optimizers, gpt-s for backends]."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the plugin: pop_size=20."),
    ] = None,
) -> None:
    """Run the conformance checks on an optimizer or a backend.

    For a file, on every class that it registers. The exit code is 2 if a check failed.
    """
    from hwnas import testing
    from hwnas.spaces import load_space

    settings = dict(map(_parse_assignment, set_ or ()))
    if space is not None:
        settings["space"] = load_space(space)
    failures = []
    for plugin_kind, name in _plugins_to_check(target, kind):
        outcomes = list(testing.outcomes(plugin_kind, name, **settings))
        typer.echo(f"{plugin_kind} {name}")
        print_table(["check", "result", "seen"], [[o.check, o.result, o.seen] for o in outcomes])
        failures += [f"{name}: {o.check}: {o.seen}" for o in outcomes if o.result == "failed"]
    # Tables go to standard output; failures are repeated on stderr, where scripts look for them.
    for line in failures:
        typer.echo(f"hwnas: {line}", err=True)
    if failures:
        raise typer.Exit(2)


def _plugins_to_check(target: str, kind: Kind | None) -> list[tuple[PluginKind, str]]:
    """Return kinds and names of the plugins of a file, or with a name."""
    from hwnas.plugin_files import load_plugin_file
    from hwnas.registry import kinds_of

    if target.endswith(".py") or "/" in target:
        plugins = list(load_plugin_file(target).registered)
    elif kind is not None:
        # Raises an error if the name is not registered at all.
        kinds_of(target)
        plugins = [(kind.value, target)]
    else:
        plugins = [(plugin_kind, target) for plugin_kind in kinds_of(target)]
    selected = [plugin for plugin in plugins if kind is None or plugin[0] == kind.value]
    if not selected:
        raise InvalidInput(f"{target}: expected {kind}s, found none")
    return selected


@app.command()
def schema() -> None:
    """Print the JSON Schema of an experiment YAML, for editors."""
    import json

    from hwnas.experiment import Experiment

    typer.echo(json.dumps(Experiment.model_json_schema(), indent=2))


app.command()(plot)
app.command()(report)
app.command()(compare)
app.command()(reproduce)
app.command()(profile)
app.command()(build)


def main() -> None:
    """Run the command line and leave with its exit code."""
    warnings.showwarning = _show_in_one_line(warnings.showwarning)
    code = 0
    with guarded_streams() as output:
        try:
            code = _run_command()
            output.flush()
        except (OSError, SystemExit):
            # Typer exits when a pipe is closed. Any other error is not one of the output.
            if output.error is None:
                raise
        if output.error is not None and (line := output.discard()):
            typer.echo(f"hwnas: {line}", err=True)
            code = 2
    sys.exit(code)


def _run_command() -> int:
    """Run the command that the arguments name, print its error if any, return the exit code."""
    try:
        code: int = app(standalone_mode=False) or 0
        # Typer turns an interrupt into this exit code.
        if code == 130:
            raise KeyboardInterrupt
        return code
    except (HwnasError, _UsageError, SearchFailed) as error:
        text = error.format_message() if isinstance(error, _UsageError) else str(error)
        # One line, so that scripts and logs can read it. Help without a command has no message.
        if text:
            typer.echo(f"hwnas: {' '.join(text.split())}", err=True)
        return 1 if isinstance(error, SearchFailed) else 2
    except (KeyboardInterrupt, typer.Abort):
        typer.echo(
            "hwnas: stopped; finished trials are kept, continue with: hwnas resume DIR", err=True
        )
        return 2


def _show_in_one_line(show_other: Callable[..., None]) -> Callable[..., None]:
    """Return a `warnings.showwarning` that shows warnings of hwnas in one line, like errors."""

    def show(
        message: Warning | str, category: type[Warning], *arguments: Any, **keywords: Any
    ) -> None:
        if issubclass(category, HwnasWarning):
            typer.echo(f"hwnas: {message}", err=True)
        else:
            show_other(message, category, *arguments, **keywords)

    return show


def _parse_assignment(text: str) -> tuple[str, Any]:
    """Return key and value of KEY=VALUE, the value parsed as YAML."""
    from hwnas.yaml_loader import parse_yaml

    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InvalidInput(f"--set {text!r}: expected KEY=VALUE")
    return key, parse_yaml(value)


def _read_standard_input(*, requested: bool) -> str:
    """Return the text on standard input; on a terminal only if it was requested by ``-``."""
    if sys.stdin is None or (sys.stdin.isatty() and not requested):
        raise InvalidInput("query: expected architectures, as arguments or on standard input")
    try:
        # Some programs begin a file with a byte order mark.
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput("standard input: expected UTF-8 text") from None
