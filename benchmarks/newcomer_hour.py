"""Follow README and tutorials as a newcomer does, in a fresh clone, and write newcomer_hour.md.

    python benchmarks/newcomer_hour.py [--python python3.11] [--document README.md]

The last commit is cloned into an empty folder. Every block of the documents is carried out there as
printed and in order, by a shell whose environment has nothing but a search path, an empty home and
what the network needs: a block of shell line by line, a block of Python as a program or, where its
first line names a file, as that file, a YAML under its name. What is left out, and why, is in
`LEFT_OUT` and on the page. The exit code is 1 if a command fails or all together take longer than
30 minutes.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT / "tests"))
from documents import blocks_of, is_synopsis  # noqa: E402

LIMIT_MINUTES = 30
LEFT_OUT = {
    "make test": "the suite, which CI runs",
    "hwnas profile --space gpt-s --count 60": "needs the card",
    "hwnas profile gpt-s-10-768": "needs the card",
}
# Of this environment: where pip finds packages.
NETWORK = re.compile(r"(?i)(PIP_\w+|\w+_PROXY|SSL_CERT_FILE|REQUESTS_CA_BUNDLE)")


@dataclass(frozen=True)
class Step:
    """A command of a document; without a reason to leave it out it is carried out."""

    location: str
    command: str
    left_out: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    error: str = ""


def steps_of(document: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield place and command of each block; files that blocks are get written when reached."""
    for block in blocks_of(document.read_text(encoding="utf-8"), document.name):
        if block.language == "sh":
            text = re.sub(r"; do\n(.*?)\ndone", r"; do \1; done", block.text, flags=re.S)
            for line in text.replace("\\\n", " ").splitlines():
                if line.strip():
                    yield str(block), line.strip()
        elif block.language == "yaml" and (name := re.match(r"name: (\S+)", block.text)):
            (folder / f"{name[1]}.yaml").write_text(block.text)
        elif block.language == "python" and not block.text.startswith(">>>"):
            file = re.match(r"# (\w+\.py)\n", block.text)
            name = file[1] if file else f"block_{block.line}.py"
            (folder / name).write_text(block.text)
            if not file:
                yield str(block), f"python {name}"


def reason_to_leave_out(command: str) -> str:
    """Return why a command is not carried out, empty if it is."""
    if is_synopsis(command):
        return "the form of a command"
    if "--device cuda" in command:
        return "needs a GPU"
    return next((why for start, why in LEFT_OUT.items() if command.startswith(start)), "")


def follow(documents: list[str], python: str, folder: Path) -> Iterator[Step]:
    """Yield the steps of a clone and of the documents in it, as they end."""
    home, clone = folder / "home", folder / "hwnas"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if NETWORK.fullmatch(name)}
    environment |= {"HOME": str(home), "PATH": f"{Path(python).parent}:/usr/bin:/bin"}
    environment |= {"LANG": "C.UTF-8"}
    yield run_step("clone", f"git clone --quiet {ROOT} {clone}", [], folder, environment)
    sourced: list[str] = []  # what a shell that stays open has from earlier lines
    for name in documents:
        for location, command in steps_of(clone / name, clone):
            if why := reason_to_leave_out(command):
                yield Step(location, command, why)
                continue
            yield run_step(location, command, sourced, clone, environment)
            if command.startswith("source "):
                sourced.append(command)


def run_step(
    location: str, command: str, sourced: list[str], folder: Path, environment: dict[str, str]
) -> Step:
    """Run a command in bash, and return the step with its time and its error."""
    start, start_cpu = time.perf_counter(), cpu_seconds()
    process = subprocess.run(
        ["bash", "-c", "\n".join([*sourced, command])],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    lines = (process.stdout + process.stderr).strip().splitlines()
    error = "" if process.returncode == 0 else f"{process.returncode}: {lines[-1] if lines else ''}"
    seconds, cpu = time.perf_counter() - start, cpu_seconds() - start_cpu
    return Step(location, command, "", seconds, cpu, error)


def cpu_seconds() -> float:
    """Return the time that processors have spent on ended children of this process."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def page_of(steps: list[Step], python: str) -> str:
    """Return the page: what took how long, and what was left out."""
    version = subprocess.run([python, "--version"], capture_output=True, text=True).stdout.strip()
    minutes = sum(step.seconds for step in steps) / 60
    cpu = sum(step.cpu_seconds for step in steps) / 60
    failed = sum(bool(step.error) for step in steps)
    ran = sum(not step.left_out for step in steps)
    lines = [
        "# The newcomer's hour",
        "",
        "    python benchmarks/newcomer_hour.py",
        "",
        "A fresh clone in a bare environment, and each command of README and tutorials as printed, "
        f"in order. {platform.machine()}, {os.cpu_count()} cores, {version}; at the end a load of "
        f"{os.getloadavg()[0]:.1f}.",
        "",
        f"**{ran} commands in {minutes:.1f} minutes, {failed} failed** (wanted: at most "
        f"{LIMIT_MINUTES} minutes, none). Processors spent {cpu:.1f} minutes; the rest is the "
        "network, and what else the machine did.",
        "",
        "| place | command | seconds | of processors |",
        "|---|---|---:|---:|",
    ]
    for step in steps:
        result = f"{step.seconds:.1f} | {step.cpu_seconds:.1f}"
        if step.left_out:
            result = f"left out: {step.left_out} | "
        elif step.error:
            result = f"{step.seconds:.1f}; failed: {step.error} | {step.cpu_seconds:.1f}"
        command = step.command.replace(str(ROOT), "...").replace("|", "\\|")
        lines.append(f"| {step.location} | `{shorten(command)}` | {result} |")
    return "\n".join(lines) + "\n"


def shorten(command: str, width: int = 110) -> str:
    """Return a command without its comment, cut where it is long."""
    command = command.partition("   #")[0].strip()
    return command if len(command) <= width else f"{command[:width]}..."


def main() -> int:
    """Follow the documents, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="interpreter [this one]")
    parser.add_argument("--document", action="append", help="instead of README and tutorials")
    parser.add_argument("--out", type=Path, default=HERE / "newcomer_hour.md")
    arguments = parser.parse_args()
    tutorials = sorted(f"docs/{file.name}" for file in (ROOT / "docs").glob("tutorial-*.md"))
    steps = []
    # The interpreter itself, not the environment that it may be in.
    program = shutil.which(arguments.python)
    if program is None:
        parser.error(f"--python {arguments.python}: no such program")
    python = str(Path(program).resolve())
    with tempfile.TemporaryDirectory(prefix="newcomer-") as name:
        for step in follow(arguments.document or ["README.md", *tutorials], python, Path(name)):
            print(f"{step.location}: {shorten(step.command)}: {step.seconds:.1f} s {step.error}")
            sys.stdout.flush()
            steps.append(step)
    arguments.out.write_text(page_of(steps, python), encoding="utf-8")
    minutes = sum(step.seconds for step in steps) / 60
    return int(minutes > LIMIT_MINUTES or any(step.error for step in steps))


if __name__ == "__main__":
    sys.exit(main())
