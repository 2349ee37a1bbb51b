"""Time and verdicts of a quick reproduction of HW-GPT-Bench: ``benchmarks/paper.md``.

    python benchmarks/paper.py [--workers 2] [--out DIR]

The page and its pictures stay in DIR, a temporary folder by default.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from hwnas.reproductions import plan, reproduce
from hwnas.reproductions.claims import check_claims
from hwnas.reproductions.results import ReproductionResults

HERE = Path(__file__).parent


def page(out: Path, workers: int) -> str:
    """Return the report as Markdown."""
    start = time.monotonic()
    html = reproduce.reproduce("hw-gpt-bench", out, quick=True, workers=workers, say=print)
    seconds = time.monotonic() - start
    experiments = plan.planned_experiments(quick=True)
    results = {p: plan.load_complete(out / "runs" / p.folder, p) for p in experiments}
    reproduction = ReproductionResults(
        {p: r for p, r in results.items() if r is not None}, plan.scales(quick=True)
    )
    pictures = len(list((out / "figures").glob("*.png")))
    all_experiments = plan.planned_experiments(quick=False)
    estimate = plan.format_duration(plan.estimate_seconds(all_experiments, workers))
    lines = [
        "# HW-GPT-Bench, a quick reproduction",
        "",
        "    python benchmarks/paper.py",
        "",
        f"`hwnas reproduce hw-gpt-bench --quick --workers {workers}` took {seconds:.0f} s "
        f"({os.cpu_count()} cores; target: at most 300 s on two): {len(results)} experiments, "
        f"{pictures} figures and `{html.name}`. The estimate for all "
        f"{len(all_experiments)} experiments is {estimate} with as many workers.",
        "",
        "| claim of the paper | verdict | result here |",
        "|---|---|---|",
        *(f"| {c.says} | {c.verdict} | {c.here} |" for c in check_claims(reproduction)),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = page(chosen.out or Path(folder, "paper"), chosen.workers)
    (HERE / "paper.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
