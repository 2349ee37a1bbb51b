"""A short run that the tests of loggers share, and what they expect of it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import hwnas
from hwnas.runner.results import Result

EXPERIMENT: dict[str, Any] = {
    "name": "small",
    "space": "gpt-s",
    "objectives": ["perplexity", "latency@h100"],
    "optimizers": ["random"],
    "budget": {"evaluations": 4},
    "seeds": 1,
}


def logged_run(path: Path, logger: Any) -> Result:
    """Return a run of four evaluations that a logger got, and that was given two more."""
    hwnas.run({**EXPERIMENT, "loggers": [logger]}, path, draw=False)
    return hwnas.resume(path, overrides={"budget.evaluations": 6}, draw=False)


def trajectory(result: Result) -> list[tuple[int, float]]:
    """Return evaluations and hypervolume of the only search of a run, as its file has them."""
    file = result.searches[0].path / "hypervolume.csv"
    with file.open(encoding="utf-8", newline="") as lines:
        return [(int(r["evaluations"]), float(r["hypervolume"])) for r in csv.DictReader(lines)]
