"""Measure ``hwnas.profiling`` on a GPU; ``report`` writes ``benchmarks/hardware.md``.

    python benchmarks/hardware.py again        the same networks in five new processes
    python benchmarks/hardware.py throughput   networks measured a minute, and where the time goes
    python benchmarks/hardware.py requests     workloads: repeatability, networks a minute, memory
    python benchmarks/hardware.py training     tokens a second, beside a plain GPT
    python benchmarks/hardware.py largest      the largest network of gpt-xl, measured and trained
    python benchmarks/hardware.py tests        the tests that need a GPU
    python benchmarks/hardware.py report       the page, from what the others left in --out

Each but the last writes JSON into ``--out``. They need numpy, torch, pynvml and hwnas; hwnas
need not be installed, ``PYTHONPATH=.`` does. ``--device cpu --small`` tries them without a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import hardware_report
from hardware_common import HERE, OUT, Work, command, save, work_of
from hardware_meters import again, once, throughput
from hardware_requests import all_requests, request_once
from hardware_training import VARIANTS, largest, training

ROOT = HERE.parent


def tests(work: Work, out: Path) -> None:
    """Run the tests that are marked gpu; writes tests.json."""
    files = [
        str(file.relative_to(ROOT))
        for file in sorted((ROOT / "tests" / "profiling").rglob("test_*.py"))
        if "mark.gpu" in file.read_text(encoding="utf-8")
    ]
    options = ["-m", "gpu", "-p", "no:cacheprovider", "-v", "-rs"]
    if not (find_spec("moocore") and find_spec("hypothesis")):  # which tests/conftest.py imports
        options.append("--noconftest")
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryDirectory() as folder:
        xml = Path(folder) / "tests.xml"
        process = subprocess.run(
            [sys.executable, "-m", "pytest", *files, *options, f"--junitxml={xml}"],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": paths},
            check=False,
            stdout=subprocess.PIPE,
            text=True,
        )
        print(process.stdout)
        outcomes = outcomes_in(xml) if xml.exists() else []
    ended = [line for line in process.stdout.splitlines() if re.search(r" in [\d.]+s", line)]
    summary = ended[-1].strip("= ") if ended else f"pytest ended with status {process.returncode}"
    save(out, "tests", work, {"status": process.returncode, "summary": summary, "tests": outcomes})


def outcomes_in(xml: Path) -> list[dict[str, Any]]:
    """Name, outcome, seconds and reason of each test, from a JUnit file."""
    outcomes = []
    for case in ElementTree.parse(xml).iter("testcase"):
        outcome, why = "passed", ""
        for child in case:
            if child.tag in ("failure", "error", "skipped"):
                outcome = {"failure": "failed"}.get(child.tag, child.tag)
                why = child.get("message", "").partition("\n")[0]
        seconds = float(case.get("time", 0))
        outcomes.append(
            {"test": case.get("name"), "outcome": outcome, "seconds": seconds, "why": why}
        )
    return outcomes


def parser() -> argparse.ArgumentParser:
    """The command line."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--out", type=Path, default=OUT, help="folder of the JSON files")
    shared.add_argument("--device", default="cuda")
    shared.add_argument("--small", action="store_true", help="a short form, to try the script")
    top = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="what", required=True)
    for name in ("again", "throughput", "tests", "once", "request_once"):
        commands.add_parser(name, parents=[shared])
    sub = commands.add_parser("requests", parents=[shared])
    sub.add_argument("--seconds", type=float, default=540.0, help="after them nothing is begun")
    sub = commands.add_parser("training", parents=[shared])
    sub.add_argument("--batch", type=int, nargs="+", default=None, help="by default 16, 32 and 64")
    sub.add_argument("--variants", nargs="+", default=list(VARIANTS))
    sub.add_argument("--rounds", type=int, default=2)
    sub.add_argument("--steps", type=int, default=None, help="timed ones, by default 40")
    sub.add_argument("--seconds", type=float, default=360.0, help="after them nothing is begun")
    sub.add_argument("--kernels", action="store_true", help="look at the dearest kernels as well")
    sub = commands.add_parser("largest", parents=[shared])
    sub.add_argument("--accumulate", type=int, default=1, help="parts of a batch, to begin with")
    sub.add_argument("--compile", action="store_true")
    sub = commands.add_parser("report", parents=[shared])
    sub.add_argument("--to", type=Path, default=HERE / "hardware.md")
    return top


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what a command line says."""
    options = parser().parse_args(arguments)
    if options.what == "report":
        options.to.write_text(hardware_report.page(options.out), encoding="utf-8")
        return
    work = work_of(options.device, options.small)
    if options.what in ("once", "request_once"):
        print(json.dumps({"once": once, "request_once": request_once}[options.what](work)))
        return
    print(command(arguments), flush=True)
    if options.what == "training":
        training(
            work,
            options.out,
            batch_sizes=options.batch or ([2] if work.small else [16, 32, 64]),
            variants=options.variants,
            rounds=options.rounds,
            steps=options.steps or (20 if work.small else 40),
            seconds=options.seconds,
            kernels=options.kernels,
        )
    elif options.what == "requests":
        all_requests(work, options.out, seconds=options.seconds)
    elif options.what == "largest":
        largest(work, options.out, accumulate=options.accumulate, compiled=options.compile)
    else:
        {"again": again, "throughput": throughput, "tests": tests}[options.what](work, options.out)


if __name__ == "__main__":
    main()
