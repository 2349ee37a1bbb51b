"""A backend whose evaluations sleep: what the utilisation of executors is measured with."""

import time
from typing import Any

import numpy as np

import hwnas


@hwnas.register_backend("sleeper")
class Sleeper(hwnas.Backend):
    """Two sums of choices, after a pause.

    Parameters
    ----------
    pause
        Seconds of an evaluation.
    """

    metrics = {"error": hwnas.Metric(""), "delay": hwnas.Metric("s")}  # noqa: RUF012

    def __init__(self, space: hwnas.SearchSpace, *, pause: float) -> None:
        super().__init__(space)
        self.pause = pause

    def evaluate(self, codes: Any, objectives: Any, *, seeds: Any, fidelity: Any = None) -> Any:
        """Sleep, and return the sums."""
        time.sleep(self.pause)
        total = codes.sum(axis=1).astype(float)
        return hwnas.Evaluation(np.stack([total, 1 / (1 + total)], axis=1))
