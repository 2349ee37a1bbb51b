"""Record what every optimizer does with a seed, and compare it after a change of the code.

    python benchmarks/same_trials.py record before.json [--workers 2]
    python benchmarks/same_trials.py compare before.json after.json

`record` runs all optimizers on both flavours of the surrogate, with and without noise and
constraints, and writes a hash of the trials and one of the front for each search. `compare` prints
the searches whose hashes differ and exits with 1 if there are any. Only the command line and the
columns of ``trials.db`` and ``front.csv`` are used, so the script runs beside any version.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

HWNAS = str(Path(sys.executable).with_name("hwnas"))
EVALUATIONS = {  # model-based optimizers take up to seconds a proposal
    "additive": 40, "ehvi": 24, "parego": 16, "lsbo": 16, "rsbo": 16, "gp": 16, "motpe": 40,
}  # fmt: skip
POPULATION = {"nsga2", "nsga3", "moead", "smsemoa", "morea"}  # several generations in few trials
NOT_COMPARED = {"seconds", "elapsed"}
YAML = """\
name: same-trials
space: gpt-s
backend: {{type: surrogate, model: {model}}}
objectives: [perplexity, latency@rtx3080]
constraints: [{constraints}]
optimizers: [{{type: {optimizer}{settings}}}]
budget: {{evaluations: {evaluations}}}
noise: {noise}
seeds: 1
"""


def optimizers() -> list[str]:
    """Return the names of the built-in optimizers."""
    command = [HWNAS, "list", "optimizers"]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [line.split()[0] for line in listing.splitlines()[1:]]


def hash_of_trials(database: Path) -> str:
    """Return the hash of all columns of a store that do not depend on the clock."""
    digest = hashlib.sha256()
    with sqlite3.connect(database) as connection:
        cursor = connection.execute("SELECT * FROM trials ORDER BY trial")
        columns = [column[0] for column in cursor.description]
        for row in cursor:
            values = [v for c, v in zip(columns, row, strict=True) if c not in NOT_COMPARED]
            digest.update(repr(values).encode())
    return digest.hexdigest()


def record(file: Path, workers: int) -> None:
    """Run every optimizer on every variant and write the hashes as JSON."""
    searches: dict[str, dict[str, str]] = {}
    variants = itertools.product(("additive", "trees"), ("false", "true"), ("", "params <= 6e7"))
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for (model, noise, constraints), optimizer in itertools.product(variants, optimizers()):
            name = f"{optimizer}, {model}, noise {noise}, constraints [{constraints}]"
            path = Path(folder, str(len(paths)))
            path.with_suffix(".yaml").write_text(
                YAML.format(
                    model=model,
                    noise=noise,
                    constraints=constraints,
                    optimizer=optimizer,
                    settings=", pop_size: 20" if optimizer in POPULATION else "",
                    evaluations=EVALUATIONS.get(optimizer, 120),
                )
            )
            paths.append((name, optimizer, path))
        pending = list(paths)
        running: list[tuple[str, str, Path, subprocess.Popen[bytes]]] = []
        while pending or running:
            while pending and len(running) < workers:
                name, optimizer, path = pending.pop(0)
                command = [HWNAS, "run", f"{path}.yaml", "--out", str(path), "--quiet"]
                running.append((name, optimizer, path, subprocess.Popen(command)))
            name, optimizer, path, process = running.pop(0)
            if process.wait() != 0:
                sys.exit(f"{name}: exit code {process.returncode}")
            search = path / optimizer / "seed-0"
            front = hashlib.sha256((search / "front.csv").read_bytes()).hexdigest()
            searches[name] = {"trials": hash_of_trials(search / "trials.db"), "front": front}
            print(f"{len(searches)} of {len(paths)}: {name}", flush=True)
            file.write_text(json.dumps(searches, indent=1) + "\n")


def compare(expected_file: Path, actual_file: Path) -> int:
    """Print the searches that differ between two records; return how many there are."""
    expected, actual = (json.loads(file.read_text()) for file in (expected_file, actual_file))
    names = expected.keys() | actual.keys()
    different = sorted(name for name in names if expected.get(name) != actual.get(name))
    print(*different, sep="\n")
    print(f"{len(names)} searches, {len(different)} differ")
    return len(different)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("file", type=Path)
    recording.add_argument("--workers", type=int, default=1)
    comparing = commands.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "record":
        record(arguments.file, arguments.workers)
    else:
        sys.exit(min(compare(arguments.before, arguments.after), 1))


if __name__ == "__main__":
    main()
