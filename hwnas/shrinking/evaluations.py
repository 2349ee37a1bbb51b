"""Losses of members that are evaluated once and kept in a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from hwnas.profiling.survey.csv_log import CsvLog, open_log
from hwnas.shrinking.backend import Shrink
from hwnas.shrinking.block_scores import fingerprint
from hwnas.typing import Array, Codes

EVALUATIONS = "evaluations.csv"
COLUMNS = ("arch", "loss")


def evaluator(backend: Shrink, name: str = EVALUATIONS) -> Callable[[Codes], Array]:
    """Return a function of members to the losses that they add, which keeps them in a file."""
    bench = backend.bench
    settings = {
        "model": fingerprint(bench.model),
        "text": bench.corpus.sha256,
        "tokens": len(bench.held_out),
        "window": bench.window,
    }
    log = open_log(bench.folder / name, settings, COLUMNS)
    losses = {row["arch"]: float(row["loss"]) for row in log.rows}

    def loss_of(arch: object) -> float:
        if str(arch) not in losses:
            loss = float(np.log(backend.quality(arch).value))
            losses[str(arch)] = loss
            log.append({"arch": str(arch), "loss": repr(loss)})
        return losses[str(arch)]

    full_arch = bench.space.decode(bench.space.canonical(bench.space.cardinalities[None] - 1))[0]

    def added(codes: Codes) -> Array:
        return np.array([loss_of(arch) - loss_of(full_arch) for arch in bench.space.decode(codes)])

    return added


def evaluated_losses(folder: Path, name: str = EVALUATIONS) -> dict[str, float]:
    """Return the losses of the evaluated members of a directory, by architecture."""
    return {row["arch"]: float(row["loss"]) for row in CsvLog(folder / name, COLUMNS).rows}
