"""Share of a run's time that passes before its first evaluation begins.

    python benchmarks/first_evaluation.py experiments/hardware/gpu.yaml [--evaluations 10]

Runs an experiment, shortened if ``--evaluations`` says so, as a process of its own. The time before
the first evaluation is that of the process without the time of its searches, each from the begin of
its first evaluation to the end of its last: imports, text, references and whatever follows the
searches. References take as long as two evaluations, so that the share depends on their number.
"""

from __future__ import annotations

import argparse
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WANTED = 0.10


def main() -> None:
    """Run the experiment and print the share."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--evaluations", type=int, help="of each search")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [
            sys.executable,
            "-c",
            "from hwnas.cli.main import main; main()",
            "run",
            str(options.experiment),
            "--no-draw",
        ]
        command += ["--out", str(out)]
        changes = list(options.set)
        if options.evaluations is not None:
            changes.append(f"budget.evaluations={options.evaluations}")
        for change in changes:
            command += ["--set", change]
        start = time.perf_counter()
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - start
        searches = [trials_of(store) for store in out.glob("*/seed-*/trials.db")]
    evaluating = sum(rows[-1][0] - (rows[0][0] - rows[0][1]) for rows in searches)
    share = 1 - evaluating / seconds
    print(f"{sum(map(len, searches))} evaluations in {evaluating:.1f} s of {seconds:.1f} s")
    print(f"before the first evaluation: {share:.1%} of the time (wanted: below {WANTED:.0%})")


def trials_of(store: Path) -> list[tuple[float, float]]:
    """Return when each evaluation of a search ended, and its duration, in seconds."""
    with sqlite3.connect(store) as db:
        return db.execute("SELECT elapsed, seconds FROM trials ORDER BY trial").fetchall()


if __name__ == "__main__":
    main()
