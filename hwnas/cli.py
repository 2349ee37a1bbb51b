"""The command line. Each command imports what it needs, so that ``hwnas --help`` is instant.

Exit codes: 0 done; 2 the user can mend it, said in one line on stderr; 1 a fault of hwnas or of a
plugin.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas.errors import HwnasError, HwnasWarning, InvalidInput

if TYPE_CHECKING:
    from hwnas.results import Result
    from hwnas.search import Cell

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


class Suffix(StrEnum):
    """What a plot is saved as."""

    png = "png"
    pdf = "pdf"
    svg = "svg"


Workers = Annotated[int, typer.Option(help="Processes that run searches side by side.", min=1)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


@app.command()
def run(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Experiment YAMLs.")],
    out: Annotated[Path | None, typer.Option(help="The directory to make [runs/NAME].")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a value: budget.evaluations=50."),
    ] = None,
    workers: Workers = 1,
    quiet: Quiet = False,
) -> None:
    """Run experiments and leave fronts, trajectories, plots and a summary."""
    from hwnas.experiments import load
    from hwnas.runs import run as run_experiment

    if quiet:
        warnings.simplefilter("ignore", HwnasWarning)
    overrides = dict(map(_assignment, set_ or ()))
    experiments = [load(file, overrides) for file in files]  # all are checked before one runs
    names = [experiment.name for experiment in experiments]
    if len(set(names)) != len(names):
        raise InvalidInput(f"expected experiments of different names, found {', '.join(names)}")
    for experiment in experiments:
        path = Path("runs") if out is None else out
        target = path / experiment.name if out is None or len(files) > 1 else path
        with _Progress(experiment.budget.evaluations, quiet) as progress:
            result = run_experiment(experiment, target, workers=workers, progress=progress.at)
        if not quiet:
            _summary(result)


@app.command()
def resume(
    directory: Annotated[Path, typer.Argument(help="The directory of a run.")],
    workers: Workers = 1,
    quiet: Quiet = False,
) -> None:
    """Go on with a run that was stopped, to the trials of an uninterrupted one."""
    from hwnas.runs import resume as resume_run

    with _Progress(None, quiet) as progress:
        result = resume_run(directory, workers=workers, progress=progress.at)
    if not quiet:
        _summary(result)


@app.command("list")
def list_(
    what: Annotated[What, typer.Argument(help="What to list.")],
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more of each.")] = False,
) -> None:
    """List what is there to choose from."""
    from hwnas import catalogue

    header, rows = catalogue.listing(what.value, verbose)
    _print_table(header, rows)


@app.command()
def query(
    archs: Annotated[list[str], typer.Argument(metavar="ARCH...", help="As in gpt-s-12-768-...")],
    device: Annotated[list[str] | None, typer.Option(help="Only these devices.")] = None,
    format_: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.table,
) -> None:
    """What the surrogate benchmark says of architectures."""
    from hwnas import catalogue
    from hwnas.architectures import Architecture

    parsed = [Architecture.parse(text) for text in archs]
    _print(*catalogue.figures(parsed, device), format_)


@app.command()
def front(
    space: Annotated[str, typer.Argument(help="Name of a space.")],
    objectives: Annotated[list[str], typer.Argument(help="What to minimise.")],
    constraint: Annotated[list[str] | None, typer.Option(help="As in 'params <= 1e8'.")] = None,
    best: Annotated[
        int | None, typer.Option(help="Only the K members with most hypervolume.", min=1)
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    plot: Annotated[bool, typer.Option("--plot", help="Draw front-SPACE.png as well.")] = False,
) -> None:
    """The exact Pareto front of the surrogate benchmark."""
    from hwnas import catalogue

    found = catalogue.exact_front(space, objectives, constraint or [], best)
    header = ["arch", *map(str, found.front.objectives)]
    rows = [
        [str(arch), *values]
        for arch, values in zip(found.archs, found.front.values.tolist(), strict=True)
    ]
    _print(header, rows, Format.csv if csv else Format.table)
    if plot:
        from hwnas.reports.plots import draw_front

        file = draw_front(found.front, found.title, Path(f"front-{space}.png"))
        typer.echo(str(file), err=csv)


@app.command()
def plot(
    directory: Annotated[Path | None, typer.Argument(help="The directory of a run.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Which plots [all].")] = None,
    format_: Annotated[Suffix, typer.Option("--format", help="File type.")] = Suffix.png,
    list_kinds: Annotated[bool, typer.Option("--list", help="List the kinds.")] = False,
) -> None:
    """Draw the plots of a run again, also while it is running."""
    from hwnas.reports import plots
    from hwnas.results import Result

    if list_kinds:
        _print_table(["kind", "shows"], plots.described())
        return
    if directory is None:
        raise InvalidInput("plot: expected the directory of a run, or --list")
    for file in plots.draw(Result(directory), kind, suffix=format_.value):
        typer.echo(str(file))


@app.command()
def schema() -> None:
    """Print the JSON Schema of an experiment YAML, for editors."""
    import json

    from hwnas.experiments import Experiment

    typer.echo(json.dumps(Experiment.model_json_schema(), indent=2))


def main() -> None:
    """Run the command line and leave with its exit code."""
    from hwnas.runs import SearchFailed

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
    from hwnas.yamls import parse_yaml

    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InvalidInput(f"--set {text!r}: expected KEY=VALUE")
    return key, parse_yaml(value)


class _Progress:
    """A bar on a terminal, a plain line now and then in a log, nothing when quiet."""

    def __init__(self, total: int | None, quiet: bool) -> None:
        self.total = total
        self.bar: Any = None
        self.tasks: dict[str, Any] = {}
        self.last: dict[str, float] = {}
        self.silent = quiet
        if not quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self.bar = Progress(console=Console(stderr=True), transient=True)

    def __enter__(self) -> _Progress:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar:
            self.bar.stop()

    def at(self, cell: Cell, done: int) -> None:
        """A cell has done so many evaluations."""
        name = str(cell)
        if self.bar:
            if name not in self.tasks:
                self.tasks[name] = self.bar.add_task(name, total=self.total)
            self.bar.update(self.tasks[name], completed=done)
        elif not self.silent:
            now = time.monotonic()
            if done == self.total or now - self.last.setdefault(name, now) > 10:
                self.last[name] = now
                typer.echo(f"{name}: {done} evaluations", err=True)


def _summary(result: Result) -> None:
    from hwnas.reports.tables import overview

    _print_table(*overview(result))
    typer.echo(f"{result.path}: summary.csv, plots/, and fronts and trajectories of every search")


def _print(header: list[str], rows: list[list[Any]], format_: Format) -> None:
    if format_ is Format.table:
        _print_table(header, [[_short(value) for value in row] for row in rows])
    elif format_ is Format.json:
        import json

        records = [dict(zip(header, row, strict=True)) for row in rows]
        typer.echo(json.dumps(records, indent=2))
    else:
        import csv

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _short(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _print_table(header: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # A log has no width to wrap at, and whoever reads it wants whole lines.
    console = Console(width=None if sys.stdout.isatty() else 1000)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for j, name in enumerate(header):
        numeric = bool(rows) and all(_is_number(row[j]) for row in rows)
        table.add_column(Text(name), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _is_number(text: str) -> bool:
    return text[:1].isdigit() or text[:1] in "-.+"
