"""Measure the speed of the surrogate, and write ``benchmarks/speed.md``.

    python benchmarks/speed.py [--repeats 15]

Beside it stands the published models' way of answering, if scikit-learn is installed: boosted
trees, one model a metric, here fitted to 8,000 networks and asked for one metric. Everything is
warm and the best of many repeats, for other work on the machine can only add; loading is timed in
new processes.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

import hwnas
from hwnas.runner.executors import one_thread

HERE = Path(__file__).parent
SCALES = ("gpt-s", "gpt-m", "gpt-l")
TWO = ["perplexity", "latency@rtx3080"]
BATCHES = (1_000_000, 10_000, 100, 1)
# (scale, networks, all metrics?): architectures a second, or for one network microseconds.
WANTED = {
    ("gpt-s", 1_000_000, False): 20e6,
    ("gpt-l", 1_000_000, False): 8e6,
    **{(scale, 1_000_000, True): 1e6 for scale in SCALES},
    **{(scale, 1, False): 50e-6 for scale in SCALES},
}
LOADING_MS = 50
# With the modules in memory, without them, and with a first answer.
LOADING = """\
import time
begin = time.perf_counter()
import hwnas, hwnas.surrogates.backend
ready = time.perf_counter()
bench = hwnas.surrogate({scale!r})
loaded = time.perf_counter()
code = bench.space.canonical([[0] * len(bench.space.columns)])
asked = time.perf_counter()
bench.predict(code, {names!r})
print(loaded - ready, loaded - begin, time.perf_counter() - asked)
"""


def best(call: Callable[[], object], repeats: int) -> float:
    """Least seconds of a call, the first of which does not count."""
    seconds = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return min(seconds[1:])


def answers(repeats: int) -> dict[tuple[str, int, bool], float]:
    """Seconds of `predict` for each scale, number of networks, and two or all metrics."""
    seconds = {}
    for scale in SCALES:
        bench = hwnas.surrogate(scale)
        codes = bench.space.sample(max(BATCHES), np.random.default_rng(0))
        for n in BATCHES:
            for everything in (False, True):
                call = partial(bench.predict, codes[:n], list(bench.metrics) if everything else TWO)
                often = repeats * (20 if n <= 10_000 else 1)
                seconds[scale, n, everything] = best(call, often)
    return seconds


def loading(scale: str, repeats: int) -> list[float]:
    """Least seconds to load, to import and load, and of the first answer, in new processes."""
    script = LOADING.format(scale=scale, names=TWO)
    runs = [
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
        for _ in range(repeats)
    ]
    return [min(times) for times in zip(*(map(float, r.stdout.split()) for r in runs), strict=True)]


def second_flavour(repeats: int) -> list[str]:
    """Rows of the surrogate with ``model: trees``."""
    rows = []
    for scale in SCALES:
        bench = hwnas.surrogate(scale, model="trees")
        codes = bench.space.sample(10_000, np.random.default_rng(0))
        batch = best(partial(bench.predict, codes, TWO), repeats)
        single = best(partial(bench.predict, codes[:1], TWO), repeats)
        rows.append(f"| {scale} | at least 100,000 | {10_000 / batch:,.0f} | {single * 1e6:,.0f} |")
    return rows


def published_way(repeats: int) -> list[str]:
    """Rows of boosted trees that answer one metric; empty without scikit-learn."""
    try:
        from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor
    except ImportError:
        return []
    rows = []
    for scale in ("gpt-s", "gpt-l"):
        bench = hwnas.surrogate(scale)
        codes = bench.space.sample(18_000, np.random.default_rng(0))
        latency = bench.predict(codes, TWO)[:, 1]
        for model in (
            HistGradientBoostingRegressor(max_iter=100, max_leaf_nodes=31),
            GradientBoostingRegressor(n_estimators=500, max_depth=4, subsample=0.5),
        ):
            model.fit(codes[:8000], latency[:8000])
            with one_thread():
                batch = best(partial(model.predict, codes[8000:]), repeats)
                single = best(partial(model.predict, codes[-1:]), repeats)
            rows.append(f"| {scale} | `{model}` | {10_000 / batch:,.0f} | {single * 1e6:,.0f} |")
    return rows


def row(key: tuple[str, int, bool], seconds: float) -> str:
    """Row of the table: metrics, wanted time or rate, and measured ones."""
    scale, n, everything = key
    wanted = WANTED.get(key)
    metrics = "all metrics of all devices" if everything else "two objectives"
    if n == 1:
        bound = f"at most {wanted * 1e6:.0f}" if wanted else ""
    else:
        bound = f"at least {wanted / 1e6:.0f} M/s" if wanted else ""
    rate = f"{n / seconds / 1e6:.2f} M/s" if n >= 10_000 else ""
    return f"| {scale} | {n:,} | {metrics} | {bound} | {rate} | {seconds * 1e6:,.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    seconds = answers(repeats)
    loads = {scale: loading(scale, repeats) for scale in SCALES}
    ours = second_flavour(repeats)
    compared = published_way(repeats) or ["| | scikit-learn is not installed | | |"]
    loaded = [
        f"| {scale} | at most {LOADING_MS} | " + " | ".join(f"{s * 1e3:.1f}" for s in times) + " |"
        for scale, times in loads.items()
    ]
    columns = len(hwnas.surrogate("gpt-s").metrics)
    busy = os.getloadavg()[0] - 1  # without this process
    page = f"""# Speed of the surrogate

    python benchmarks/speed.py

{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python
{platform.python_version()}, numpy {np.__version__}; one thread, warm, the best of {repeats}
repeats or more; at the end {max(busy, 0):.1f} other processes were running.
Two objectives are perplexity and latency@rtx3080; all metrics are perplexity, two kinds of memory,
latency and energy on every device, {columns} columns.

| space | networks | asked | wanted | architectures a second | microseconds |
|---|---:|---|---:|---:|---:|
{chr(10).join(row(key, value) for key, value in seconds.items())}

In a new process, milliseconds:

| space | wanted | loading | with all imports | first answer |
|---|---:|---:|---:|---:|
{chr(10).join(loaded)}

## With trees

`model: trees`, two objectives, in a batch of 10,000:

| space | wanted | architectures a second | one network, microseconds |
|---|---:|---:|---:|
{chr(10).join(ours)}

## The published surrogates

Boosted trees through scikit-learn, one model for one metric on one device, in a batch of 10,000,
one thread too:

| space | model | architectures a second | one network, microseconds |
|---|---|---:|---:|
{chr(10).join(compared)}
"""
    (HERE / "speed.md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
