"""Lines of progress: evaluations, the hypervolume so far, and the time left."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import hwnas
from hwnas.cli.console import Progress
from hwnas.runner.running_hypervolume import running_hypervolume

EXPERIMENT: dict[str, Any] = {
    "name": "progress",
    "space": "gpt-s",
    "objectives": ["perplexity", "latency@rtx3080"],
    "constraints": ["params <= 1.5e8"],
    "optimizers": ["random"],
    "budget": {"evaluations": 30},
    "seeds": 1,
}


def test_hypervolume_of_a_running_search(tmp_path: Path) -> None:
    seen: list[float | None] = []

    def look(run: Any, evaluations: int) -> None:
        seen.append(running_hypervolume(run))

    result = hwnas.run(EXPERIMENT, tmp_path / "run", draw=False, progress=look)
    values = [value for value in seen if value is not None]
    assert values == sorted(values)
    assert values[-1] == pytest.approx(result.trajectories[0].normalised[-1], rel=1e-12)


@pytest.mark.parametrize(
    ("noise", "name"), [(False, "hypervolume"), (True, "observed hypervolume")]
)
def test_line_has_the_hypervolume(
    noise: bool,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("hwnas.cli.console._SECONDS_BETWEEN_LINES", -1)
    with Progress(quiet=False) as progress:
        content = {**EXPERIMENT, "noise": noise, "constraints": []}
        hwnas.run(content, tmp_path / "run", draw=False, progress=progress.update)
    lines = capsys.readouterr().err.splitlines()
    assert re.search(rf"^random seed 0: \d+ evaluations, {name} 0\.\d+", lines[-2]), lines
    # The table that follows has the last one.
    assert lines[-1] == "random seed 0: 30 evaluations"


def test_no_store_is_no_hypervolume(tmp_path: Path) -> None:
    runs: list[Any] = []
    hwnas.run(EXPERIMENT, tmp_path / "run", draw=False, progress=lambda run, n: runs.append(run))
    runs[-1].database.unlink()
    assert running_hypervolume(runs[-1]) is None
