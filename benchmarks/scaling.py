"""Measure how time and memory grow with the number of trials: ``benchmarks/scaling.md``.

    python benchmarks/scaling.py           # ten minutes; writes scaling.csv, .md and .png
    python benchmarks/scaling.py report    # the page and the plot again from scaling.csv

Whole runs on gpt-s, perplexity and latency, with everything that a run writes: trials, fronts,
trajectories, plots and the report. Every run, and every report from stored trials alone, has a
process of its own. Times are of the processor, so that other processes do not count.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
ROWS = HERE / "scaling.csv"
COLUMNS = ("optimizer", "trials", "cpu_s", "wall_s", "peak_mb", "report_cpu_s", "report_peak_mb",
           "database_mb", "page_mb", "normalised")  # fmt: skip
NOTHING = 10  # trials of a run that is start-up alone
SIZES = {
    "random": (NOTHING, 1_000, 10_000, 100_000, 1_000_000),
    "nsga2": (NOTHING, 1_000, 10_000, 100_000),
}
REPEATS = 3  # of runs that take less than a minute
HEADER = ("optimizer", "trials", "s", "µs a trial", "without start-up", "peak MB", "report: s",
          "peak MB", "trials.db: MB", "report.html: MB", "normalised")  # fmt: skip
LIMIT_RATIO, LIMIT_MB = 1.5, 1_500  # of 1,000,000 random evaluations


def run(optimizer: str, trials: int, out: str) -> dict[str, float]:
    """Run a search and return what it took."""
    import hwnas

    start = time.perf_counter()
    result = hwnas.run(
        {
            "name": "scaling",
            "space": "gpt-s",
            "objectives": ["perplexity", "latency@rtx3080"],
            "optimizers": [optimizer],
            "budget": {"evaluations": trials},
            "seeds": 1,
        },
        out=out,
    )
    search = result.searches[0]
    assert len(search.trials) == trials
    return {
        "wall_s": time.perf_counter() - start,
        "database_mb": (search.path / "trials.db").stat().st_size / 1e6,
        "page_mb": (result.path / "report.html").stat().st_size / 1e6,
        "normalised": result.summary[0]["normalised"],
    }


def write_report(out: str) -> dict[str, float]:
    """Write the report of a run from its stored trials."""
    from hwnas.reports.html.page import write_page
    from hwnas.runner.results import Result

    write_page(Result(out))
    return {}


def child(*arguments: str) -> dict[str, float]:
    """Run this script in a process of its own; return what it prints."""
    command = [sys.executable, __file__, *arguments]
    line = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    content: dict[str, float] = json.loads(line)
    return content


def usage() -> dict[str, float]:
    """Return seconds of the processor and the peak of the resident memory of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu_s": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss * 1024 / 1e6}


def measure(optimizer: str, trials: int) -> dict[str, float]:
    """Return a row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        row = child("run", optimizer, str(trials), f"{folder}/run")
        page_usage = child("page", f"{folder}/run")
    report = {f"report_{name}": value for name, value in page_usage.items()}
    return {**row, **report}


def store_rates() -> dict[int, float]:
    """Return trials that a store takes in a second, by the number of trials of a commit."""
    from hwnas.runner.storage import Store, Trials

    rates = {}
    rng = np.random.default_rng(0)
    for group, commits in ((1, 2_000), (16, 1_000), (1_000, 100)):
        zeros = np.zeros(group, dtype=np.int64)
        trials = Trials(
            codes=rng.integers(0, 3, (group, 27), dtype=np.int8),
            values=rng.random((group, 2)),
            std=np.zeros((group, 2)),
            repeat=zeros,
            fidelity=zeros - 1,
            evaluations=zeros + 1,
            seconds=rng.random(group),
            ask=zeros,
            tells_before=zeros,
            tell=zeros,
            elapsed=rng.random(group),
            status=["ok"] * group,
            reason=[""] * group,
        )
        with (
            tempfile.TemporaryDirectory() as folder,
            Store.create(Path(folder, "trials.db"), ["perplexity", "latency"], {}) as store,
        ):
            start = time.perf_counter()
            for _ in range(commits):
                store.add(trials)
            rates[group] = group * commits / (time.perf_counter() - start)
    return rates


def read_rows() -> dict[tuple[str, int], dict[str, float]]:
    """Return medians of the columns, by optimizer and number of trials."""
    groups: dict[tuple[str, int], list[dict[str, str]]] = {}
    with ROWS.open(newline="") as file:
        for row in csv.DictReader(file):
            groups.setdefault((row["optimizer"], int(row["trials"])), []).append(row)
    return {
        key: {name: statistics.median(float(row[name]) for row in rows) for name in COLUMNS[2:]}
        for key, rows in groups.items()
    }


def beyond_start(rows: dict[tuple[str, int], dict[str, float]], key: tuple[str, int]) -> float:
    """Return microseconds of the processor a trial, start-up not counted."""
    start = rows[key[0], NOTHING]["cpu_s"]
    return 1e6 * (rows[key]["cpu_s"] - start) / (key[1] - NOTHING)


def draw(rows: dict[tuple[str, int], dict[str, float]]) -> None:
    """Draw time a trial and peak memory over the number of trials."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, (time_axes, memory_axes) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for optimizer, sizes in SIZES.items():
        keys = [(optimizer, n) for n in sizes[1:] if (optimizer, n) in rows]
        n = [key[1] for key in keys]
        time_axes.plot(n, [beyond_start(rows, key) for key in keys], "o-", label=optimizer)
        memory_axes.plot(n, [rows[key]["peak_mb"] for key in keys], "o-", label=optimizer)
    time_axes.set(xscale="log", xlabel="trials", ylabel="µs a trial, start-up not counted")
    memory_axes.set(xscale="log", xlabel="trials", ylabel="peak memory, MB")
    memory_axes.axhline(LIMIT_MB, color="0.5", linestyle=":")
    memory_axes.annotate(
        "limit", (1_000, LIMIT_MB), (0, 3), textcoords="offset points", color="0.4"
    )
    time_axes.legend()
    for axes in (time_axes, memory_axes):
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(HERE / "scaling.png", dpi=120)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def report() -> str:
    """Write the page and the plot; return the page."""
    rows = read_rows()
    draw(rows)
    lines = []
    for (optimizer, trials), row in rows.items():
        marginal = "" if trials == NOTHING else f"{beyond_start(rows, (optimizer, trials)):.1f}"
        cells = [
            optimizer,
            f"{trials:,}",
            f"{row['cpu_s']:.2f}",
            f"{1e6 * row['cpu_s'] / trials:,.1f}",
            marginal,
            f"{row['peak_mb']:,.0f}",
            f"{row['report_cpu_s']:.2f}",
            f"{row['report_peak_mb']:,.0f}",
            f"{row['database_mb']:.1f}",
            f"{row['page_mb']:.1f}",
            f"{row['normalised']:.4f}",
        ]
        lines.append(_row(cells))
    last, base = ("random", 1_000_000), ("random", 10_000)
    ratio = beyond_start(rows, last) / beyond_start(rows, base)
    total_ratio = (rows[last]["cpu_s"] / last[1]) / (rows[base]["cpu_s"] / base[1])
    rates = [f"| {group:,} | {rate:,.0f} |" for group, rate in store_rates().items()]
    page = f"""# Growth of time and memory with the number of trials

    python benchmarks/scaling.py

{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python
{platform.python_version()}. Runs on gpt-s, perplexity and latency@rtx3080, with all that a run
writes: every trial, front, trajectory, plots and report. Each run is a process of its own, and so
is writing the report once more from the stored trials. Seconds are of the processor; medians of
{REPEATS}, of a single run for 1,000,000 trials. A run of {NOTHING} trials is start-up: importing
libraries, the exact front, plots and report.

{_row(HEADER)}
|---|{"---:|" * (len(HEADER) - 1)}
{chr(10).join(lines)}

A trial of 1,000,000 random ones takes {ratio:.2f} times as long as one of 10,000 without start-up,
and {total_ratio:.2f} times with it (wanted: at most {LIMIT_RATIO:g}). The peak memory is
{rows[last]["peak_mb"]:,.0f} MB (wanted: at most {LIMIT_MB:,} MB).

![Microseconds a trial and peak memory over the number of trials](scaling.png)

Trials that a store takes, by the size of a commit (`Store.add`, two values a trial):

| trials a commit | trials a second |
|---:|---:|
{chr(10).join(rates)}
"""
    (HERE / "scaling.md").write_text(page)
    return page


def main() -> None:
    match sys.argv[1:]:
        case ["run", optimizer, trials, out]:
            print(json.dumps({**run(optimizer, int(trials), out), **usage()}))
        case ["page", out]:
            print(json.dumps({**write_report(out), **usage()}))
        case ["report"]:
            print(report())
        case _:
            with ROWS.open("w", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(COLUMNS)
                for optimizer, sizes in SIZES.items():
                    for trials in sizes:
                        for _ in range(1 if trials >= 1_000_000 else REPEATS):
                            row = measure(optimizer, trials)
                            cells = [f"{row[name]:.5g}" for name in COLUMNS[2:]]
                            writer.writerow([optimizer, trials, *cells])
                            file.flush()
            print(report())


if __name__ == "__main__":
    main()
