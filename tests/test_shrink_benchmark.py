"""benchmarks/shrink.py runs from the training to its page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_benchmark_from_training_to_page(tmp_path: Path) -> None:
    pieces = ("--study", "tiny", "--device", "cpu", "--out", str(tmp_path / "out"))
    results = ("--results", str(tmp_path / "shrink"))
    for piece in ("all", "all", "report"):  # the second call has nothing to do
        done = subprocess.run(
            [sys.executable, ROOT / "benchmarks/shrink.py", piece, *pieces, *results],
            capture_output=True,
            text=True,
            check=False,
            env={"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(tmp_path), "PATH": ""},
        )
        assert done.returncode == 0, done.stderr
        if piece == "all" and not (tmp_path / "before").exists():
            (tmp_path / "before").write_text((tmp_path / "shrink/members.csv").read_text())
    assert (tmp_path / "before").read_text() == (tmp_path / "shrink/members.csv").read_text()
    page = (tmp_path / "shrink.md").read_text(encoding="utf-8")
    for method in ("shrink", "nsga2", "homogeneous-width"):
        assert f"| tiny | 0 | small | {method} |" in page
    assert "| tiny | 0 | small | 4,000 |" in page
