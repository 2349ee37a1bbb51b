"""What somebody who knows only the documents writes works at the first try, as a package.

`mixer_search.py` beside this file has a family, a backend and an optimizer. It is laid out here as
pip would: a module and its entry points on the path, nothing imported by hand.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HWNAS = Path(sys.executable).with_name("hwnas")
ENTRY_POINTS = """\
[hwnas.optimizers]
ladder = mixer_search:Ladder
[hwnas.backends]
desk = mixer_search:Desk
[hwnas.spaces]
mixer = mixer_search:Mixer
"""
OWN_SPACE = """\
name: own
space:
  {family: mixer, name: wide, depth: [1, 2, 3], tokens: [4, 8], channels: [16, 32], patches: 16}
backend: {type: desk, mflops: 5.0}
objectives: [error, time]
constraints: [params <= 9000]
optimizers: [{type: ladder, rungs: 1}, random]
budget: {evaluations: 40}
seeds: 2
"""
OWN_WORKLOAD = """\
name: workload
space: gpt-s
workloads:
  drafts: {prompt: 200, generate: 100, batch: 8, precision: int8}
objectives: [perplexity, kv_cache.drafts]
constraints: [weight_memory.drafts <= 200]
optimizers: [ladder]
budget: {evaluations: 30}
seeds: 1
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the package, as it would be installed, and experiments of its author."""
    path = tmp_path_factory.mktemp("outside")
    package = path / "installed"
    info = package / "mixer_search-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mixer-search\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    shutil.copy(Path(__file__).with_name("mixer_search.py"), package)
    (path / "own.yaml").write_text(OWN_SPACE)
    (path / "workload.yaml").write_text(OWN_WORKLOAD)
    return path


def hwnas(folder: Path, *arguments: str) -> str:
    """Run a command where the package is installed; it must succeed without a warning."""
    done = subprocess.run(
        [HWNAS, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "installed")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_lists_name_what_the_package_has(folder: Path) -> None:
    names = {"optimizers": "ladder", "backends": "desk", "spaces": "mixer-s"}
    for kind, name in names.items():
        assert name in hwnas(folder, "list", kind)


@pytest.mark.parametrize(
    "arguments",
    [("ladder",), ("desk", "--space", "mixer-s"), ("mixer", "--kind", "space")],
    ids=" ".join,
)
def test_checks_pass(folder: Path, arguments: tuple[str, ...]) -> None:
    assert " failed " not in hwnas(folder, "check", *arguments)


def test_own_space_backend_and_optimizer_run_together(folder: Path) -> None:
    hwnas(folder, "run", "own.yaml")
    with (folder / "runs/own/summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["optimizer"] for row in rows} == {"ladder", "random"}
    assert {(row["status"], row["evaluations"]) for row in rows} == {("done", "40")}
    with (folder / "runs/own/ladder/seed-0/front.csv").open(newline="") as file:
        front = list(csv.DictReader(file))
    assert front
    assert all(float(row["params <= 9000"]) <= 9000 for row in front)
    # Of another process: resumed, drawn and compared without the package's help.
    hwnas(folder, "resume", "runs/own", "--set", "budget.evaluations=50", "--no-draw")
    assert "ladder" in hwnas(folder, "compare", "runs/own")


def test_own_workload(folder: Path) -> None:
    hwnas(folder, "run", "workload.yaml", "--no-draw")
    with (folder / "runs/workload/ladder/seed-0/front.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    assert all(float(row["weight_memory.drafts <= 200"]) <= 200 for row in rows)
    assert "drafts" in hwnas(folder, "list", "workloads", "--space", "workload.yaml")
    assert hwnas(folder, "front", "workload.yaml", "perplexity", "kv_cache.drafts", "--best", "2")
