"""Time from nothing to a device of one's own: writes survey.csv and survey.md.

    python benchmarks/survey.py gpt-s gpt-xl
    python benchmarks/survey.py gpt-s gpt-xl --energy
    python benchmarks/survey.py --report

Runs ``hwnas profile`` on 30 architectures with a forward pass, chat and serve, as a process of its
own: times and memory, or with ``--energy`` energies. ``hwnas device add`` makes a device of the
CSV. Durations are those of the processes, from start to end. ``--device cpu --count 6`` with a
space of small networks tries the script.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from csv_rows import append_fields
from hardware_common import table

from hwnas.surrogates.device_file import read_device_file

HERE = Path(__file__).parent
FIELDS = (
    "space", "what", "card", "networks", "failed", "imprecise", "profile_seconds", "add_seconds",
    "figures",
)  # fmt: skip
TIMES, ENERGIES = "times and memory", "energies"
# What is measured, as on the command line, and the seconds that it may take.
METRICS = {
    TIMES: "latency@{device},ttft,tpot,peak_memory@{device},peak_memory.chat,peak_memory.serve",
    ENERGIES: "energy@{device},energy_per_token.chat,energy_per_token.serve",
}
WANTED_SECONDS = {TIMES: 240, ENERGIES: 300}


def run_hwnas(*arguments: str) -> float:
    """Run a command of hwnas; return its duration in seconds."""
    program = "from hwnas.cli.main import main; main()"
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program, *arguments], check=True)
    return time.perf_counter() - start


def survey(space: str, what: str, device: str, count: int) -> dict[str, object]:
    """Measure networks of a space and make a device of them; return a row."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "survey.csv"
        profile_seconds = run_hwnas(
            *("profile", "--space", space, "--count", str(count), "--device", device),
            *("--workload", "chat", "--workload", "serve", "--quiet", "--out", str(file)),
            *("--metrics", METRICS[what].format(device=device)),
        )
        add_seconds = run_hwnas(
            *("device", "add", "mine", "--from", str(file), "--space", space),
            *("--folder", folder),
        )
        with file.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        figures = read_device_file(Path(folder) / "mine.npz").figures
    return {
        "space": space,
        "what": what,
        "card": rows[0]["device_name"],
        "networks": len({row["arch"] for row in rows if row["status"] == "ok"}),
        "failed": sum(row["status"] != "ok" for row in rows),
        "imprecise": sum(len(row["imprecise"].split()) for row in rows),
        "profile_seconds": f"{profile_seconds:.1f}",
        "add_seconds": f"{add_seconds:.1f}",
        "figures": " ".join(f"{figure.quantity}:{figure.error:.4f}" for figure in figures),
    }


def page(rows: Sequence[dict[str, str]]) -> str:
    """Return the page of rows."""
    lines = []
    for row in rows:
        total = float(row["profile_seconds"]) + float(row["add_seconds"])
        wanted = WANTED_SECONDS[row["what"]]
        errors = [pair.split(":") for pair in row["figures"].split()]
        lines.append(
            [
                row["space"],
                row["what"],
                row["card"],
                f"{row['networks']} ({row['failed']} failed)",
                f"{float(row['profile_seconds']):.0f} s",
                f"{float(row['add_seconds']):.0f} s",
                f"{total:.0f} s" if total <= wanted else f"**{total:.0f} s**",
                f"{wanted} s",
                ", ".join(f"{name} {float(error):.1%}" for name, error in errors),
            ]
        )
    header = [
        "space", "measured", "card", "networks", "`hwnas profile`", "`hwnas device add`", "both",
        "wanted", "expected errors",
    ]  # fmt: skip
    return f"""# From nothing to a device

    python benchmarks/survey.py gpt-s gpt-xl [--energy]

`hwnas profile --count 30` of a forward pass (of 8 sequences), chat and serve, and `hwnas device
add` of its CSV, as a user types them; durations of the processes, from start to end. The anchor is
measured four times. Expected errors are those of networks that were not measured, as `hwnas device
add` prints them. Bold: longer than wanted.

{table(header, lines)}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure surveys, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("spaces", nargs="*", help="names or YAML files of spaces")
    parser.add_argument("--energy", action="store_true", help="energies instead of times")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--out", type=Path, default=HERE, help="folder of survey.csv and .md")
    parser.add_argument("--report", action="store_true", help="write the page of survey.csv alone")
    options = parser.parse_args(arguments)
    file = options.out / "survey.csv"
    for space in [] if options.report else options.spaces:
        what = ENERGIES if options.energy else TIMES
        row = survey(space, what, options.device, options.count)
        append_fields(file, FIELDS, row)
        print(row, flush=True)
    with file.open(newline="", encoding="utf-8") as lines:
        (options.out / "survey.md").write_text(page(list(csv.DictReader(lines))), encoding="utf-8")


if __name__ == "__main__":
    main()
