"""The option ``--transfer`` of the command `compare`: losses between devices and workloads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.cli.console import echo, print_figures, print_table
from hwnas.errors import InvalidInput

if TYPE_CHECKING:
    from hwnas.surrogates import Surrogate

PERPLEXITY = "perplexity"


def compare_transfer(
    space: str,
    metrics: Sequence[str],
    *,
    against: str = PERPLEXITY,
    tables: Sequence[str] = (),
    format_: str = "table",
    plot: Path | None = None,
) -> None:
    """Print what the front for each metric loses by each other one, and draw it.

    Parameters
    ----------
    space
        Name of a space, or its YAML file.
    metrics
        Metrics; by default the latency on all devices.
    against
        Other objective of all fronts.
    tables
        Files of ``hwnas fit``.
    format_
        ``"table"``, ``"markdown"`` or ``"csv"``.
    plot
        File of the heat maps; none by default.

    Raises
    ------
    InvalidInput
        The space has no figures, or a metric is wrong.
    """
    from hwnas.cli.metric_listing import published_figures
    from hwnas.reports.comparison import transfer_tables
    from hwnas.spaces import load_space
    from hwnas.surrogates.transfer import transfer
    from hwnas.workloads import load_workloads

    if format_ not in ("table", "markdown", "csv"):
        raise InvalidInput(f"--transfer: expected --format table, markdown or csv, found {format_}")
    bench = published_figures(load_space(space), load_workloads(space), tables)
    if against == PERPLEXITY and PERPLEXITY not in bench.metrics:
        raise InvalidInput(
            f"{bench.space.name}: its perplexity is unknown; give another objective, as in "
            "--against=-params, or tables of it with --tables"
        )
    result = transfer(bench, list(metrics) or default_metrics(bench), against)
    if plot is not None:
        from hwnas.reports.plots.transfer import draw_transfer

        # Draw first, so that a plot that cannot be drawn is refused before anything is printed.
        draw_transfer(result, plot)
    if format_ == "csv":
        print_figures(*transfer_tables.tidy_table(result), "csv")
    elif format_ == "markdown":
        echo(transfer_tables.markdown(result))
    else:
        echo(transfer_tables.heading(result))
        for title, table in transfer_tables.matrix_tables(result).items():
            echo(f"\n{title}")
            print_table(*table)
    if format_ != "markdown":
        for note in result.notes:
            echo(f"hwnas: {note}", err=True)
    if plot is not None:
        echo(str(plot), err=format_ != "table")


def default_metrics(bench: Surrogate) -> list[str]:
    """Return the latency on all devices, the published ones first; else all that devices have.

    Raises
    ------
    InvalidInput
        Devices have fewer than two metrics.
    """
    on_devices = [key for key in bench.metrics if "@" in key]
    latencies = [key for key in on_devices if key.startswith("latency@")]
    chosen = latencies if len(latencies) > 1 else on_devices
    if len(chosen) < 2:
        raise InvalidInput(
            f"{bench.space.name}: expected at least two metrics of devices, found "
            f"{', '.join(chosen) or 'none'}; name metrics after --transfer, or add a device with "
            "hwnas device add"
        )
    return chosen
