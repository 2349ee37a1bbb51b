"""A package outside of hwnas, written from docs/family.md alone, adds a family of spaces."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "family.md"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Folder with the document's module and its entry point, as pip would install them."""
    text = DOCUMENT.read_text(encoding="utf-8")
    (source,) = (
        block.partition("```")[0]
        for block in text.split("```python\n")[1:]
        if "@hwnas.register_space" in block
    )
    # The entry point takes the place of the decorator.
    lines = [line for line in source.splitlines() if not line.startswith("@hwnas")]
    (tmp_path / "cnn.py").write_text("\n".join(lines), encoding="utf-8")
    (group,) = (b.partition("```")[0] for b in text.split("```toml\n") if "hwnas.spaces" in b[:60])
    name, target = group.splitlines()[1].split(" = ")
    info = tmp_path / "cnn-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cnn\nVersion: 1.0\n")
    entry = f"[hwnas.spaces]\n{name} = {target.strip(chr(34))}\n"
    (info / "entry_points.txt").write_text(entry)
    return tmp_path


def run(folder: Path, *arguments: str) -> str:
    """Return the output of the program hwnas beside the package."""
    program = Path(sys.executable).with_name("hwnas")
    done = subprocess.run(
        [str(program), *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_family_of_a_package_passes_the_checks(package: Path) -> None:
    out = run(package, "check", "cnn", "--kind", "space")
    assert out.startswith("space cnn\n")
    assert out.count(" passed ") == 12
    assert {"cnn-s", "cnn-m"} <= set(run(package, "list", "spaces").split())


def test_its_members_are_queried_by_name(package: Path) -> None:
    (package / "query.py").write_text(
        "import hwnas\n"
        "space = hwnas.space('cnn-s')\n"
        "search = hwnas.optimizer('random', space, 2, seed=0)\n"
        "print(space.params(search.ask(3)).min() > 0, space.decode(search.ask(1))[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "query.py"], capture_output=True, text=True, cwd=package, check=True
    )
    assert done.stdout.startswith("True cnn-s:depth=")
