"""What tests of executors share: an experiment with a plugin, requests, and a driver."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import hwnas
from hwnas.experiment import Experiment, validate_form
from hwnas.runner.executors.interface import Executor, TrialOutcome, TrialRequest


def experiment(folder: Path, plugin: str, **changes: Any) -> Experiment:
    """Return an experiment whose backend is written to a plugin file in the folder."""
    (folder / "moody.py").write_text(plugin)
    content = {
        "name": "moody",
        "space": "gpt-s",
        "backend": {"type": "moody"},
        "objectives": ["error", "delay"],
        "reference": [60.0, 2.0],
        "optimizers": ["random"],
        "budget": {"evaluations": 12},
        "seeds": 1,
        "plugins": [str(folder / "moody.py")],
        **changes,
    }
    return validate_form(content)


def request(number: int, mood: int = 99, fidelity: int | None = None) -> TrialRequest:
    """Return the request of a random code, whose noise seed tells the backend what to do."""
    code = hwnas.space("gpt-s").sample(1, np.random.default_rng(number))
    return TrialRequest(number, code.tobytes(), 0, mood, fidelity, (0, 1))


def outcomes(executor: Executor, *requests: TrialRequest) -> dict[int, TrialOutcome]:
    """Submit requests as slots are free and return their outcomes by number, each only once."""
    found: dict[int, TrialOutcome] = {}
    waiting = list(requests)
    n_running = 0
    while waiting or n_running:
        while waiting and n_running < max(1, executor.slots):
            executor.submit(waiting.pop(0))
            n_running += 1
        for outcome in executor.wait():
            assert outcome.number not in found
            found[outcome.number] = outcome
            n_running -= 1
    return found
