"""Command line of hwnas.

Each command imports what it needs, so that ``hwnas --help`` takes little longer than importing
typer (``benchmarks/startup.py``).

Exit codes: 0 success; 2 an error that the user can correct, one line on stderr; 1 a bug in hwnas or
in a plugin.
"""

from __future__ import annotations

import contextlib
import errno
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas.cli.audit_command import audit
from hwnas.cli.check_command import check
from hwnas.cli.console import (
    AllowPlugins,
    ExecutorName,
    NoDraw,
    Progress,
    Quiet,
    Workers,
    print_summary,
    print_sweep,
)
from hwnas.cli.device_commands import device
from hwnas.cli.evaluate_command import evaluate
from hwnas.cli.explore_command import explore
from hwnas.cli.export_command import export
from hwnas.cli.fit_command import fit
from hwnas.cli.init_command import init
from hwnas.cli.model_commands import build
from hwnas.cli.profile_commands import profile
from hwnas.cli.query_commands import front, list_, query
from hwnas.cli.report_commands import compare, plot, report, reproduce
from hwnas.cli.shrink_command import shrink
from hwnas.cli.streams import guarded_streams
from hwnas.cli.supernet_commands import supernet
from hwnas.cli.usage import explain_usage_error, help_of, parse_overrides
from hwnas.errors import (
    DrawingFailed,
    HwnasError,
    HwnasWarning,
    InvalidInput,
    SearchFailed,
    one_line,
)

if TYPE_CHECKING:
    from hwnas.experiment import Experiment
    from hwnas.problem import Problem
    from hwnas.sweep_runs import Sweep

app = typer.Typer(
    name="hwnas",
    help="Which language model should run on this hardware?\n\nExamples:\n\n"
    "hwnas run quickstart\n\n"
    "hwnas front gpt-s perplexity latency@h100 --constraint 'params <= 1e8'\n\n"
    "hwnas explore",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # full, over its quota, read-only
# Of files whose names or permissions are the user's.
_FILE_ERRORS = (
    errno.EACCES,
    errno.EPERM,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.EIO,
)
_UsageError: Any = typer.BadParameter.__base__  # its module depends on the version of typer


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
    executor: ExecutorName = None,
    quiet: Quiet = False,
) -> None:
    """Run experiments; write fronts, trajectories, plots and a summary.

    Examples:

    hwnas run quickstart

    hwnas run mine.yaml --set budget.evaluations=50 --workers 2

    hwnas run quickstart --plugin walk.py --set 'optimizers=[walk, random]'
    """
    from hwnas.api import run as run_experiment
    from hwnas.problem import load_experiment
    from hwnas.sweep_runs import load_sweep, run_sweep

    if quiet:
        _ignore_warnings()
    overrides = parse_overrides(set_, executor)
    code: dict[str, Any] = {"plugins": plugin or (), "allow_plugins": allow_plugins}
    # Check all experiments before the first one runs.
    loaded: list[Sweep | tuple[Experiment, Problem]] = [
        load_sweep(file, overrides, **code) or load_experiment(file, overrides, **code)
        for file in files
    ]
    # Names are directories: two experiments with one name would overwrite each other.
    names = [item[0].name if isinstance(item, tuple) else item.name for item in loaded]
    if len(set(names)) != len(names):
        raise InvalidInput(f"expected experiments of different names, found {', '.join(names)}")
    if not quiet:
        cells = [[item] if isinstance(item, tuple) else item.experiments for item in loaded]
        _print_limits([experiment for group in cells for experiment, _ in group])
    for name, item in zip(names, loaded, strict=True):
        # --out is the directory of a single run, or the parent of several.
        path = Path("runs") if out is None else out
        target = path / name if out is None or len(files) > 1 else path
        with Progress(quiet) as progress:
            settings: dict[str, Any] = {
                "workers": workers,
                "progress": progress.update,
                "draw": not no_draw,
            }
            if isinstance(item, tuple):
                result = run_experiment(item[0], target, problem=item[1], **settings)
            else:
                results = run_sweep(item, target, **settings)
        if not quiet and isinstance(item, tuple):
            print_summary(result, has_plots=not no_draw)
        elif not quiet:
            print_sweep(target, results)


def _ignore_warnings() -> None:
    """Ignore warnings of hwnas, but not those of files that are missing at the end."""
    warnings.simplefilter("ignore", HwnasWarning)
    warnings.simplefilter("always", DrawingFailed)


def _print_limits(experiments: Sequence[Experiment]) -> None:
    """Print what these experiments together are too few to show, if they compare optimizers."""
    from hwnas.statistics import comparison_note

    shared = set.intersection(*({o.name for o in e.optimizers} for e in experiments))
    problems = {(str(e.space), e.backend.type, *e.objectives, *e.constraints) for e in experiments}
    n_seeds = min(len(experiment.seeds) for experiment in experiments)
    if note := comparison_note(len(shared), len(problems), n_seeds):
        typer.echo(f"hwnas: {note}", err=True)


@app.command()
def resume(
    directory: Annotated[Path, typer.Argument(help="The directory of a run or a sweep.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Give more: budget.evaluations=500."),
    ] = None,
    allow_plugins: AllowPlugins = False,
    no_draw: NoDraw = False,
    workers: Workers = 1,
    executor: ExecutorName = None,
    quiet: Quiet = False,
) -> None:
    """Continue a run, or extend it; its trials will be those of an uninterrupted one.

    A finished run can be given a greater budget, more seeds or more optimizers.

    Examples:

    hwnas resume runs/quickstart

    hwnas resume runs/quickstart --set budget.evaluations=500 --set seeds=5
    """
    from hwnas.api import resume as resume_run
    from hwnas.sweep_runs import is_sweep, resume_sweep

    if quiet:
        _ignore_warnings()
    settings: dict[str, Any] = {
        "overrides": parse_overrides(set_, executor),
        "workers": workers,
        "allow_plugins": allow_plugins,
        "draw": not no_draw,
    }
    if is_sweep(directory):
        with Progress(quiet) as progress:
            results = resume_sweep(directory, progress=progress.update, **settings)
        if not quiet:
            print_sweep(directory, results)
        return
    with Progress(quiet) as progress:
        result = resume_run(directory, progress=progress.update, **settings)
    if not quiet:
        print_summary(result, has_plots=not no_draw)


def schema() -> None:
    """Print the JSON Schema of an experiment YAML, for editors.

    Examples:

    hwnas schema
    """
    import json

    from hwnas.experiment import Experiment

    content = Experiment.model_json_schema()
    # A sweep is taken apart before the experiments that it stands for are validated.
    values = {"type": "array", "minItems": 1}
    content["properties"]["sweep"] = {"type": "object", "additionalProperties": values}
    typer.echo(json.dumps(content, indent=2))


app.command()(init)
app.command("list")(list_)
app.command()(query)
app.command(context_settings={"ignore_unknown_options": True})(front)  # -flops is an objective
app.command()(check)
app.command()(schema)
app.command()(plot)
app.command()(report)
app.command()(compare)
app.command()(explore)
app.command()(export)
app.command()(reproduce)
app.command()(profile)
app.command()(audit)
app.command()(build)
app.command()(evaluate)
app.command()(fit)
app.command()(shrink)
app.add_typer(device, name="device")
app.add_typer(supernet, name="supernet")


def main() -> None:
    """Run the command line and leave with its exit code."""
    warnings.showwarning = _show_in_one_line(warnings.showwarning)
    code = 0
    with guarded_streams() as output, _stopped_by_signals():
        try:
            code = _run_command()
            output.flush()
        except (OSError, SystemExit) as error:
            # Typer exits when a pipe is closed. Any other error is not one of the output.
            if output.error is None:
                if not isinstance(error, OSError) or not (line := _explain_file_error(error)):
                    raise
                typer.echo(f"hwnas: {line}", err=True)
                code = 2
        if output.error is not None and (line := output.discard()):
            typer.echo(f"hwnas: {line}", err=True)
            code = 2
    sys.exit(code)


def _explain_file_error(error: OSError) -> str:
    """Return an error of a file that a user can mend as a line; empty for any other."""
    prefix = f"{error.filename}: " if error.filename else ""
    if error.errno in _DISK_ERRORS:
        return one_line(f"{prefix}cannot be written: {error.strerror}")
    if error.errno == errno.EEXIST and prefix:  # a directory that cannot be made
        return one_line(f"{prefix}is a file, expected a directory to make")
    is_of_user = bool(prefix) and error.errno in _FILE_ERRORS
    return one_line(f"{prefix}cannot be used: {error.strerror}") if is_of_user else ""


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as an interrupt of the terminal does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    former = {}
    if threading.current_thread() is threading.main_thread():  # others may set no handlers
        for number in (signal.SIGTERM, signal.SIGHUP):
            # nohup has SIGHUP ignored: leave it so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                former[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _run_command() -> int:
    """Run the command that the arguments name, print its error if any, return the exit code."""
    try:
        code: int = app(standalone_mode=False) or 0
        # Typer turns an interrupt into this exit code.
        if code == 130:
            raise KeyboardInterrupt
        return code
    except (HwnasError, _UsageError, SearchFailed) as error:
        if help_text := help_of(error):
            typer.echo(help_text)
            return 2
        text = explain_usage_error(error) if isinstance(error, _UsageError) else str(error)
        # One line, so that scripts and logs can read it. Help without a command has no message.
        if text:
            typer.echo(f"hwnas: {one_line(text)}", err=True)
        return 1 if isinstance(error, SearchFailed) else 2
    except (KeyboardInterrupt, typer.Abort):
        has_trials = sys.argv[1:2] in (["run"], ["resume"], ["reproduce"])
        advice = "; finished trials are kept, continue with: hwnas resume DIR"
        typer.echo(f"hwnas: stopped{advice if has_trials else ''}", err=True)
        return 2


def _show_in_one_line(show_other: Callable[..., None]) -> Callable[..., None]:
    """Return a `warnings.showwarning` that shows warnings of hwnas in one line, like errors."""

    def show(
        message: Warning | str, category: type[Warning], *arguments: Any, **keywords: Any
    ) -> None:
        if issubclass(category, HwnasWarning):
            typer.echo(f"hwnas: {one_line(str(message))}", err=True)
        else:
            show_other(message, category, *arguments, **keywords)

    return show
