"""One network on its way through the meters and the training, what costs least first."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwnas.backends import Status, stop_reason
from hwnas.metrics import Metric
from hwnas.objectives import Objective
from hwnas.profiling.device_profiler import MEASURES
from hwnas.profiling.errors import TrialFailed
from hwnas.profiling.gpt import GPT
from hwnas.profiling.meters.nvml import NoMeter
from hwnas.profiling.meters.perplexity import perplexity
from hwnas.profiling.training.train_loop import Progress, train
from hwnas.spaces.architecture import Architecture

if TYPE_CHECKING:
    from hwnas.profiling.backend import Profile

DEAR = {
    "perplexity": Metric("", "dear", fidelity_dependent=True),
    "bits_per_byte": Metric("bits", "dear", fidelity_dependent=True),
}
_ORDER = (*MEASURES, *DEAR)  # what costs least comes first
_TOGETHER = 8192  # tokens whose losses are computed at once
_EVERY = 10.0  # seconds between two lines on a training

_log = logging.getLogger("hwnas.profiling")


class Trial:
    """One network that is measured.

    Parameters
    ----------
    backend
        Whose bench, text and settings it uses, and which keeps its checkpoint and records.
    seed
        Of its first weights and its batches.
    fidelity
        Steps of training; None for all.
    """

    def __init__(
        self, backend: Profile, arch: Architecture, seed: int, fidelity: int | None
    ) -> None:
        self.backend, self.arch, self.seed = backend, arch, seed
        self.steps = backend.training.steps if fidelity is None else fidelity
        self.said = time.monotonic()

    @cached_property
    def model(self) -> GPT:
        """The network, built when something of it is first measured."""
        return self.backend.bench.built(self.backend.space, self.arch, seed=self.seed)

    def run(
        self, objectives: Sequence[Objective], values: NDArray[np.float64], std: NDArray[np.float64]
    ) -> tuple[Status, str]:
        """Fill in values and standard errors (m,), as far as bounds let it; status and reason."""
        order = sorted(range(len(objectives)), key=lambda j: _ORDER.index(objectives[j].metric))
        found: dict[str, Any] = {}
        try:
            for n, j in enumerate(order):
                objective = objectives[j]
                if objective.metric not in found:
                    found |= self.measured(objective.metric)
                values[j], std[j] = found[objective.metric](objective.level)
                rest = any(objectives[k].metric not in found for k in order[n + 1 :])
                broken = (
                    objective.bound is not None and objective.violation(values[j : j + 1])[0] > 0
                )
                if broken and rest:
                    return "infeasible", stop_reason(objective, values[j])
        except (TrialFailed, NoMeter) as error:
            self.backend.note(self.arch, self.seed, failed=f"{type(error).__name__}: {error}")
            self.backend.finished(self.backend.checkpoint(self.arch, self.seed))
            return "failed", f"{type(error).__name__}: {error}"
        return "ok", ""

    def measured(self, metric: str) -> dict[str, Any]:
        """By metric, what gives the value and the standard error of a statistic of it."""
        if metric in DEAR:
            return self.trained()
        found = self.backend.bench.measure(self.model, metric)  # type: ignore[arg-type]
        self.backend.note(
            self.arch, self.seed, metric=metric, value=found.value, std=found.std, how=found.record
        )
        return {
            metric: lambda level: (
                found.value if level is None else found.quantile(level),
                found.std,
            )
        }

    def trained(self) -> dict[str, Any]:
        """Train, or go on with it, and say how well the network predicts."""
        backend = self.backend
        settings = replace(backend.training, seed=self.seed)
        checkpoint = backend.checkpoint(self.arch, self.seed)
        progress = train(
            self.model,
            backend.corpus.train,
            settings,
            until=self.steps,
            checkpoint=checkpoint,
            checkpoint_every=backend.checkpoint_every,
            time_limit=backend.time_limit,
            peak_flops=backend.peak_flops,
            report=self.report,
        )
        how = perplexity(
            self.model,
            backend.corpus.held_out,
            batch_size=max(1, _TOGETHER // backend.space.context),
            precision=settings.precision,
        )
        if self.steps == settings.steps:
            backend.finished(checkpoint)
        backend.note(
            self.arch,
            self.seed,
            metric="perplexity",
            value=how.value,
            how=how,
            training=progress,
            settings=settings,
            device=backend.bench.device,
        )
        return {
            "perplexity": lambda level: (how.value, 0.0),
            "bits_per_byte": lambda level: (how.bits_per_byte, 0.0),
        }

    def report(self, progress: Progress) -> None:
        """A line now and then on how the training goes."""
        if time.monotonic() - self.said < _EVERY:
            return
        self.said = time.monotonic()
        speed, share = progress.tokens_per_second, progress.utilisation
        _log.info(
            "training %s: step %d of %d, loss %.3f, %s tokens/s%s",
            self.arch,
            progress.step,
            self.steps,
            progress.loss,
            "?" if speed is None else f"{speed:,.0f}",
            "" if share is None else f", {share:.0%} of the peak",
        )
