"""Measure the report of a long run, and write ``benchmarks/report.md``.

    python benchmarks/report.py

30,000 trials of random search, on the narrowest and the widest of the spaces that the surrogate
knows: how long the page takes to write, how large it is, and how long a headless Chromium takes
from opening the file to the first picture that shows all trials; medians of five.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import hwnas
from hwnas.reports.html.page import write_page

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))
import chromium  # noqa: E402 - the tests' own driver

PROBLEM = {
    "name": "report",
    "objectives": ["perplexity", "latency@rtx3080"],
    "optimizers": ["random"],
    "budget": {"evaluations": 10_000},
    "seeds": 3,
}
RUNS = 5


def row(space: str, evaluations: int, page: chromium.Page) -> str:
    """A row of the table: of one run on a space."""
    problem = {**PROBLEM, "space": space, "budget": {"evaluations": evaluations}}
    with tempfile.TemporaryDirectory() as folder:
        result = hwnas.run(problem, out=Path(folder, "run"))
        writing = []
        for _ in range(RUNS):
            begin = time.perf_counter()
            file = write_page(result)  # what plots need as well has been worked out by now
            writing.append(time.perf_counter() - begin)
        loading = [page.open(file, ready="drawn") for _ in range(RUNS)]
        size = file.stat().st_size / 1e6
    if page.troubles:
        raise RuntimeError(f"{space}: {page.troubles}")
    trials = sum(len(cell.trials) for cell in result.searches)
    seconds = f"{statistics.median(writing):.2f} | {statistics.median(loading):.2f}"
    return f"| {space} | {len(result.space.columns)} | {trials:,} | {size:.2f} | {seconds} |"


def main() -> None:
    with chromium.opened() as page:
        cases = [("gpt-s", 100), ("gpt-s", 10_000), ("gpt-l", 10_000)]
        rows = [row(space, evaluations, page) for space, evaluations in cases]
    text = f"""# Size and speed of the HTML report

    python benchmarks/report.py

{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python
{platform.python_version()}, headless Chromium without a GPU. Random search, three seeds, perplexity
and latency@rtx3080; medians of {RUNS}. Opening ends when all trials are drawn.

| space | columns | trials | MB | s to write | s to open |
|---|---:|---:|---:|---:|---:|
{chr(10).join(rows)}
"""
    (HERE / "report.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
