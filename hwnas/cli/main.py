"""The command line. Each command imports what it needs, so that ``hwnas --help`` is instant.

Exit codes: 0 done; 2 the user can mend it, said in one line on stderr; 1 a fault of hwnas or of a
plugin.
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
    Progress,
    Quiet,
    Workers,
    print_figures,
    print_table,
)
from hwnas.cli.profile_commands import build, profile
from hwnas.cli.report_commands import compare, plot, report, reproduce
from hwnas.errors import HwnasError, HwnasWarning, InvalidInput, SearchFailed

if TYPE_CHECKING:
    from hwnas.runner.results import Result

app = typer.Typer(
    name="hwnas",
    help="Which language model should run on this hardware?",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
_UsageError: Any = typer.BadParameter.__base__  # wherever this version of typer keeps it


class What(StrEnum):
    """What `list` lists."""

    optimizers = "optimizers"
    backends = "backends"
    spaces = "spaces"
    devices = "devices"
    metrics = "metrics"


class Format(StrEnum):
    """How a table is printed."""

    table = "table"
    csv = "csv"
    json = "json"


class Kind(StrEnum):
    """What `check` checks."""

    optimizer = "optimizer"
    backend = "backend"


@app.command()
def run(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Experiment YAMLs.")],
    out: Annotated[Path | None, typer.Option(help="The directory to make [runs/NAME].")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a value: budget.evaluations=50."),
    ] = None,
    plugin: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="A Python file that registers optimizers or backends."),
    ] = None,
    allow_plugins: AllowPlugins = False,
    workers: Workers = 1,
    quiet: Quiet = False,
) -> None:
    """Run experiments and leave fronts, trajectories, plots and a summary."""
    from hwnas.api import run as run_experiment
    from hwnas.problem import load_experiment

    if quiet:
        warnings.simplefilter("ignore", HwnasWarning)
    overrides = dict(map(_assignment, set_ or ()))
    loaded = [  # all are checked before one runs
        load_experiment(file, overrides, plugins=plugin or (), allow_plugins=allow_plugins)
        for file in files
    ]
    names = [experiment.name for experiment, _ in loaded]
    if len(set(names)) != len(names):
        raise InvalidInput(f"expected experiments of different names, found {', '.join(names)}")
    for experiment, problem in loaded:
        path = Path("runs") if out is None else out
        target = path / experiment.name if out is None or len(files) > 1 else path
        with Progress(experiment.budget.evaluations, quiet) as progress:
            result = run_experiment(
                experiment, target, workers=workers, progress=progress.at, problem=problem
            )
        if not quiet:
            _summary(result)


@app.command()
def resume(
    directory: Annotated[Path, typer.Argument(help="The directory of a run.")],
    allow_plugins: AllowPlugins = False,
    workers: Workers = 1,
    quiet: Quiet = False,
) -> None:
    """Go on with a run that was stopped, to the trials of an uninterrupted one."""
    from hwnas.api import resume as resume_run

    with Progress(None, quiet) as progress:
        result = resume_run(
            directory, workers=workers, progress=progress.at, allow_plugins=allow_plugins
        )
    if not quiet:
        _summary(result)


@app.command("list")
def list_(
    what: Annotated[What, typer.Argument(help="What to list.")],
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more of each.")] = False,
    space: Annotated[
        str | None, typer.Option(help="Whose figures, for devices and metrics [gpt-s].")
    ] = None,
) -> None:
    """List what is there to choose from.

    Of a device: its least to greatest median latency (ms) and energy (mWh) over all networks.
    """
    from hwnas.cli import listing

    of_figures = what in (What.devices, What.metrics)
    if space is not None and not of_figures:
        raise InvalidInput(f"list {what.value}: takes no --space; devices and metrics do")
    scale = space or "gpt-s"
    print_table(*listing.listing(what.value, verbose, scale))
    if verbose and of_figures:
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
            help="As in gpt-s-12-768-...; from standard input without any, or for -: one a line, "
            "JSON, or CSV with a column arch.",
        ),
    ] = None,
    device: Annotated[
        list[str] | None, typer.Option(help="Only this device; can be repeated.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Only this, as in latency or latency@h100:p90; can be repeated."),
    ] = None,
    format_: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.table,
) -> None:
    """What the surrogate benchmark says of architectures.

    A row each; of one that is given by itself, without --metric, a row for each metric.
    """
    from hwnas.cli import listing
    from hwnas.spaces import arch_input

    if archs and "-" not in archs:
        given = arch_input.read_arguments(archs)
        if len(given) == 1 and not metric:
            print_figures(*listing.figures_of_one(given[0], device or ()), format_)
            return
    elif archs and len(archs) > 1:
        raise InvalidInput("query: expected either architectures or -, found both")
    else:
        given = arch_input.read(_standard_input(asked_for=bool(archs)))
    print_figures(*listing.figures(given, metric or (), device or ()), format_)


@app.command(context_settings={"ignore_unknown_options": True})  # -flops is an objective
def front(
    space: Annotated[str, typer.Argument(help="Name of a space.")],
    objectives: Annotated[list[str], typer.Argument(help="What to minimise; -flops is maximised.")],
    constraint: Annotated[list[str] | None, typer.Option(help="As in 'params <= 1e8'.")] = None,
    best: Annotated[
        int | None, typer.Option(help="Only the K members with most hypervolume.", min=1)
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    plot: Annotated[bool, typer.Option("--plot", help="Draw front-SPACE.png as well.")] = False,
) -> None:
    """The exact Pareto front of the surrogate benchmark."""
    from hwnas.cli import listing

    for text in objectives:
        if text.startswith("--"):
            raise InvalidInput(f"No such option: {text}")
    if plot and len(objectives) < 2:
        raise InvalidInput("--plot: expected two objectives or more, found one")
    found = listing.exact_front(space, objectives, constraint or [], best)
    header = ["arch", *map(str, found.front.objectives)]
    rows = [
        [str(arch), *values]
        for arch, values in zip(found.archs, found.front.values.tolist(), strict=True)
    ]
    print_figures(header, rows, Format.csv if csv else Format.table)
    if not rows:
        typer.echo("no network keeps the constraints", err=True)
    elif plot:
        from hwnas.reports.plots.kinds import draw_front

        file = draw_front(found.front, found.title, Path(f"front-{space}.png"))
        typer.echo(str(file), err=csv)


@app.command()
def check(
    what: Annotated[
        str, typer.Argument(metavar="NAME_OR_FILE", help="A registered name, or a file.py.")
    ],
    kind: Annotated[Kind | None, typer.Option(help="What NAME is [where it is known].")] = None,
    space: Annotated[
        str | None,
        typer.Option(help="Where to check [a made-up space for optimizers, gpt-s for backends]."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="One of its settings: pop_size=20."),
    ] = None,
) -> None:
    """Put an optimizer or a backend through the checks that ours pass.

    Of a file, every class that it registers. Leaves with 2 if a check failed.
    """
    from hwnas import testing
    from hwnas.plugin_files import load_plugin_file
    from hwnas.registry import kinds_of

    settings = dict(map(_assignment, set_ or ()))
    if space is not None:
        settings["space"] = space
    file = what.endswith(".py") or "/" in what
    named = load_plugin_file(what).registered if file else [(one, what) for one in kinds_of(what)]
    if not file and kind is not None:
        named = [(kind.value, what)]
    wanted = [(its, name) for its, name in named if kind is None or its == kind.value]
    if not wanted:
        raise InvalidInput(f"{what}: expected {kind}s, found none")
    failures = []
    for its, name in wanted:
        found = list(testing.outcomes(its, name, **settings))
        typer.echo(f"{its} {name}")
        print_table(["check", "result", "seen"], [[o.check, o.result, o.seen] for o in found])
        failures += [f"{name}: {o.check}: {o.seen}" for o in found if o.result == "failed"]
    for line in failures:
        typer.echo(f"hwnas: {line}", err=True)
    if failures:
        raise typer.Exit(2)


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
    warnings.showwarning = _one_line(warnings.showwarning)
    try:
        code = app(standalone_mode=False) or 0
        if code == 130:  # how typer reports an interrupt
            raise KeyboardInterrupt
        sys.exit(code)
    except (HwnasError, _UsageError, SearchFailed) as error:
        text = error.format_message() if isinstance(error, _UsageError) else str(error)
        if text:
            typer.echo(f"hwnas: {' '.join(text.split())}", err=True)
        sys.exit(1 if isinstance(error, SearchFailed) else 2)
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("hwnas: stopped; what was done is kept, go on with: hwnas resume DIR", err=True)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()  # the reader has enough; nobody is left to complain to
        sys.exit(0)


def _one_line(otherwise: Callable[..., None]) -> Callable[..., None]:
    """Show our own warnings as we show errors."""

    def show(message: Warning | str, category: type[Warning], *rest: Any, **how: Any) -> None:
        if issubclass(category, HwnasWarning):
            typer.echo(f"hwnas: {message}", err=True)
        else:
            otherwise(message, category, *rest, **how)

    return show


def _assignment(text: str) -> tuple[str, Any]:
    from hwnas.yaml_loader import parse_yaml

    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InvalidInput(f"--set {text!r}: expected KEY=VALUE")
    return key, parse_yaml(value)


def _standard_input(*, asked_for: bool) -> str:
    if sys.stdin is None or (sys.stdin.isatty() and not asked_for):
        raise InvalidInput("query: expected architectures, as arguments or on standard input")
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput("standard input: expected UTF-8 text") from None


def _summary(result: Result) -> None:
    from hwnas.reports.summary_table import search_notes, summary_table

    print_table(*summary_table(result))
    for note in search_notes(result):
        typer.echo(note)
    typer.echo(f"{result.path}: report.html, summary.csv, plots/, and more of every search")
