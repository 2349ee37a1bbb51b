"""Runs on spaces of a user's own, with names and values that a report must not change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hwnas
from hwnas.runner.results import Result
from hwnas.spaces import Codes

HOSTILE = "a<b & \"c\" 100%$x$,'d'"
UNIT = "<s>"
MEANING = 'as "clocks" & <b>counters</b> say'

SPACES: dict[str, dict[str, Any]] = {
    "layered": {
        "name": "mlp",
        "choices": {
            "depth": [1, 2, 4],
            "optimizer": ["adam", "sgd", HOSTILE],
            "momentum": [0.0, 0.5, 0.9],
            "rate": [1e-4, 1e-3, 1e-2, 0.1],
            "dropout": [False, True],
        },
        "layers": {"width": [8, 16, 32], "activation": ["relu", "_tanh", HOSTILE]},
        "conditions": {"momentum": {"optimizer": ["sgd"]}},
    },
    "flat": {
        "name": "flat",
        "choices": {"kind": ["one", "two"], "size": list(range(1, 41)), "scale": [0.1, 0.2, 0.3]},
    },
    "column": {"name": "column", "choices": {"size": list(range(1, 61))}},
    "texts": {"name": "texts", "choices": {"which": [f"value {i}" for i in range(20)]}},
    "bare-layers": {
        "name": "bare",
        "choices": {"depth": [0, 1, 2]},
        "layers": {"width": [1, 2, 3]},
    },
    "wide": {
        "name": "wide",
        "choices": {f"choice_{i}": [0, 1, 2] for i in range(60)},
    },
}


class OwnBackend(hwnas.Backend):
    """Backend with metrics of a user's own, on any space."""

    metrics: Mapping[str, hwnas.Metric] = {
        "a": hwnas.Metric(UNIT, meaning=MEANING),
        "b": hwnas.Metric("m$"),
    }

    def evaluate(
        self,
        codes: Codes,
        objectives: Sequence[hwnas.Objective],
        *,
        seeds: NDArray[np.uint64],
        fidelity: int | None = None,
    ) -> hwnas.Evaluation:
        scaled = codes / np.maximum(self.space.cardinalities - 1, 1)
        weights = 1 + np.arange(codes.shape[1]) % 3
        columns = {"a": scaled @ weights, "b": (1 - scaled) @ weights[::-1] - 1.0}
        return hwnas.Evaluation(np.stack([columns[o.key] for o in objectives], axis=1))


def run_on(space: dict[str, Any], out: Path, **change: Any) -> Result:
    """Run a random search on a space of a user's own; the backend is not there afterwards."""
    form = {
        "name": "own",
        "space": space,
        "backend": "own",
        "objectives": ["a", "b"],
        "optimizers": ["random"],
        "budget": {"evaluations": 40},
        "seeds": 2,
    }
    hwnas.register_backend("own")(OwnBackend)
    hwnas.run({**form, **change}, out=out, draw=False)
    return Result(out)
