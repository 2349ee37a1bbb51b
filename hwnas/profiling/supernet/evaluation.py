"""Perplexities of inherited weights, and their table, which grows as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.profiling.data.tokenizer import Tokens
from hwnas.profiling.errors import TrialFailed
from hwnas.profiling.meters.perplexity import Perplexity, perplexity
from hwnas.profiling.supernet.shared_weights import SharedWeights
from hwnas.profiling.survey.csv_log import CsvLog
from hwnas.profiling.training.config import Precision
from hwnas.spaces import LanguageModelSpace

# Without a standard error: that over the choice of documents is no noise between architectures.
COLUMNS = ("arch", "perplexity", "params", "tokens", "step", "status", "reason")
_BATCH_TOKENS = 16_384  # of which the losses are computed at once


@dataclass(frozen=True, slots=True)
class InheritedPerplexity:
    """Perplexity of one architecture with inherited weights.

    Attributes
    ----------
    arch
        The architecture.
    params
        Number of its parameters.
    result
        Its perplexity; None if it could not be computed.
    reason
        Why it could not; empty otherwise.
    """

    arch: Any
    params: int
    result: Perplexity | None
    reason: str = ""


def inherited_perplexities(
    shared: SharedWeights,
    archs: Sequence[Any],
    tokens: Tokens,
    *,
    precision: Precision = "auto",
) -> Iterator[InheritedPerplexity]:
    """Yield the perplexity of each architecture with its part of the shared weights.

    Nothing is compiled: each architecture is evaluated once, in large batches.

    Parameters
    ----------
    tokens
        Tokens of held-out documents.
    """
    batch_size = max(1, _BATCH_TOKENS // shared.space.context)
    for arch in archs:
        model = shared.subnetwork(arch)
        try:
            result = perplexity(model, tokens, batch_size=batch_size, precision=precision)
        except TrialFailed as error:
            yield InheritedPerplexity(arch, model.params, None, f"{type(error).__name__}: {error}")
        else:
            yield InheritedPerplexity(arch, model.params, result)


def evaluate_into(
    file: Path,
    shared: SharedWeights,
    archs: Sequence[Any],
    tokens: Tokens,
    *,
    step: int,
    report: Callable[[int, InheritedPerplexity], None] = lambda n, row: None,
) -> None:
    """Write the perplexities of architectures into a CSV file; continue an existing one.

    Parameters
    ----------
    file
        File with the columns `COLUMNS`; architectures that it has are left out.
    step
        Step of the supernet's training, for the file.
    report
        Function called with the number of rows of the file and the newest of them.

    Raises
    ------
    InvalidInput
        The file is another one.
    """
    log = CsvLog(file, COLUMNS)
    present = {row["arch"] for row in log.rows}
    missing = [arch for arch in archs if str(arch) not in present]
    for row in inherited_perplexities(shared, missing, tokens):
        result = row.result
        log.append(
            {
                "arch": str(row.arch),
                "perplexity": "" if result is None else f"{result.value:.6g}",
                "params": row.params,
                "tokens": len(tokens),
                "step": step,
                "status": "failed" if result is None else "ok",
                "reason": row.reason,
            }
        )
        report(len(log.rows), row)


def sample_architectures(space: LanguageModelSpace, count: int, seed: int) -> list[Any]:
    """Return distinct random architectures, at most as many as the space has.

    A larger `count` adds to those of a smaller one.
    """
    rng = np.random.default_rng(seed)
    archs: dict[str, Any] = {}
    while len(archs) < min(count, space.size):
        for arch in space.decode(space.sample(min(count, 256), rng)):
            archs.setdefault(str(arch), arch)
    return list(archs.values())[:count]
