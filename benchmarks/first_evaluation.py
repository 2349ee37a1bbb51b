"""Share of a run's time that passes before its first evaluation begins.

    python benchmarks/first_evaluation.py experiments/hardware/gpu.yaml --evaluations 10

Runs a shortened experiment, one search with random architectures, as a process of its own. The time
before the first evaluation is that of the process without the time from the begin of the first
evaluation to the end of the last: imports, text, references and whatever follows the search.
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
    parser.add_argument("--evaluations", type=int, default=10)
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
        changes = ["optimizers=[random]", f"budget.evaluations={options.evaluations}"]
        for change in (*changes, *options.set):
            command += ["--set", change]
        start = time.perf_counter()
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - start
        (store,) = out.glob("*/seed-*/trials.db")
        with sqlite3.connect(store) as db:
            rows = db.execute("SELECT elapsed, seconds FROM trials ORDER BY trial").fetchall()
    evaluating = rows[-1][0] - (rows[0][0] - rows[0][1])
    share = 1 - evaluating / seconds
    print(f"{len(rows)} evaluations in {evaluating:.1f} s of {seconds:.1f} s")
    print(f"before the first evaluation: {share:.1%} of the time (wanted: below {WANTED:.0%})")


if __name__ == "__main__":
    main()
