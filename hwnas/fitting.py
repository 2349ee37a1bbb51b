"""Tables of any metric from any measurements: CSV files, and the trials of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hwnas.devices.add import Report, ignore_report, tables_of_measurements
from hwnas.devices.groups import of_card
from hwnas.devices.measurements import Measurements, read_measurements
from hwnas.errors import InvalidInput, UnknownName, similar_names
from hwnas.files import check_output
from hwnas.objectives import UNITS
from hwnas.problems.csv_table import read_csv
from hwnas.runner.results import Result
from hwnas.runner.run_measurements import measurements_of_run
from hwnas.spaces import SearchSpace
from hwnas.spaces import space as named_space
from hwnas.surrogates.device_file import DeviceFile, metric_key
from hwnas.workloads import BUILT_IN, Workload


def fit(
    sources: str | Path | Sequence[str | Path],
    metrics: str | Sequence[str],
    out: str | Path | None = None,
    *,
    space: str | SearchSpace | None = None,
    workloads: Mapping[str, Workload] = BUILT_IN,
    card: str | None = None,
    allow_plugins: bool = False,
    report: Report = ignore_report,
) -> DeviceFile:
    """Fit additive tables of metrics to measurements.

    The surrogate then answers for these metrics, with exact fronts: ``hwnas.surrogate(space,
    tables=out)``, or ``backend: {type: surrogate, tables: FILE}`` in a YAML.

    Parameters
    ----------
    sources
        CSV files with the columns ``arch`` and those of the metrics, and directories of runs, whose
        trials are read.
    metrics
        Names of metrics, such as ``"perplexity"`` or ``"tpot.serve@mine"``; a column may lack the
        device.
    out
        File to write, which ends in ``.npz``; none by default.
    space
        Space of the rows of CSV files; by default the one that each names.
    workloads
        Workloads that metrics may name, in CSV files.
    card
        Card whose rows count for metrics on devices, by the column ``card`` or ``device_name``;
        by default the only one.
    allow_plugins
        Whether the plugin files of a run may run, where its trials cannot be read without.
    report
        Called with each figure as soon as it is fitted.

    Returns
    -------
    DeviceFile
        `figures` has one entry for each space and metric, with `points`, `error`, `kendall` and
        `coverage` on architectures that a fit has not seen; `write` writes the file.

    Raises
    ------
    UnknownName
        No source has a metric of that name.
    InvalidInput
        A source cannot be read or is malformed, there are fewer than 6 architectures of a space,
        values are of several cards, or a metric is one that needs no fit.

    Examples
    --------
    >>> import hwnas, numpy as np, tempfile
    >>> gpt = hwnas.space("gpt-s")
    >>> codes = gpt.sample(30, np.random.default_rng(0))
    >>> rows = [f"{a},{10 + 1e9 / p}" for a, p in zip(gpt.decode(codes), gpt.params(codes))]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "mine.csv")
    ...     _ = file.write_text("\\n".join(["arch,perplexity", *rows]))
    ...     tables = fit(file, "perplexity", Path(folder, "mine.npz"))
    ...     bench = hwnas.surrogate("gpt-s", tables=f"{folder}/mine.npz")
    ...     front = bench.front(["perplexity", "params"])
    >>> tables.figures[0].points, tables.figures[0].error < 0.05, front.epsilon
    (30, True, 0.0)
    """
    paths = [Path(p) for p in ([sources] if isinstance(sources, str | Path) else sources)]
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    names = list(dict.fromkeys(map(metric_key, names)))
    if not paths or not names:
        raise InvalidInput("fit: expected a source and a metric, found none")
    target = None if out is None else _target(Path(out))
    chosen_space = named_space(space) if isinstance(space, str) else space
    measurements: list[Measurements] = []
    for path in paths:
        if path.is_dir():
            measurements += measurements_of_run(path, names, allow_plugins=allow_plugins)
        else:
            measurements += read_measurements(path, chosen_space, workloads, names)
    fitted = {series.quantity for series in measurements}
    for name in names:
        if name not in fitted:
            columns = {column for path in paths for column in _columns_of(path, allow_plugins)}
            # The columns of a CSV are many: without a similar one, those that are surely metrics.
            candidates = [column for column in columns if similar_names(name, [column])]
            candidates = (
                candidates or [column for column in columns if _is_metric(column)] or [*columns]
            )
            reason = f"there is none in {', '.join(map(str, paths))}"
            raise UnknownName("metric", name, candidates, reason=reason)
    tables = tables_of_measurements(
        of_card(measurements, card), name=target.stem if target else "tables", report=report
    )
    if target is not None:
        tables.write(target)
    return tables


def _target(path: Path) -> Path:
    """Return the file to write, after a check before the first measurement is read."""
    check_output(path, [".npz"])
    return path


def _columns_of(path: Path, allow_plugins: bool) -> list[str]:
    """Return the names of the columns of a source that may be metrics."""
    if path.is_dir():
        result = Result(path, allow_plugins=allow_plugins)
        return [o.key for o in (*result.objectives, *result.constraints)]
    return [name for name in read_csv(path).columns if name != "arch" and not name.endswith(" std")]


def _is_metric(name: str) -> bool:
    return name.partition("@")[0].partition(".")[0] in UNITS
