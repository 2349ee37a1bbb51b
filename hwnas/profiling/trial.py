"""One architecture that is measured and trained, the cheapest measurement first."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from hwnas.backends import Status, stop_reason
from hwnas.measured_metrics import TRAINED_METRICS
from hwnas.objectives import Objective
from hwnas.profiling.data.corpus import Corpus
from hwnas.profiling.device_profiler import MEASURES, DeviceProfiler, workload_of
from hwnas.profiling.errors import TrialFailed, release_memory
from hwnas.profiling.language_model import LanguageModel
from hwnas.profiling.meters.nvml import NoMeter
from hwnas.profiling.meters.perplexity import Perplexity, evaluation_batch, perplexity
from hwnas.profiling.training.config import Precision, TrainingSettings
from hwnas.profiling.training.shared_code import SharedCode
from hwnas.profiling.training.train_loop import Progress, train
from hwnas.spaces import LanguageModelSpace
from hwnas.typing import Array
from hwnas.workloads import Workload

_COST_ORDER = (*MEASURES, *TRAINED_METRICS)  # cheapest first
_REPORT_SECONDS = 10.0  # seconds between two log messages of a training

# From the level of a quantile, None for the metric itself, to a value and its standard error.
Statistic = Callable[[float | None], tuple[float, float]]

_log = logging.getLogger("hwnas.profiling")


@dataclass(frozen=True, kw_only=True, eq=False)
class TrialSettings:
    """Settings and resources that all trials of a backend share.

    Attributes
    ----------
    space
        Search space of the architectures.
    profiler
        Device with its meters.
    training
        Settings of the training; the seed is replaced by that of each trial.
    steps
        Steps of a complete training; 0 evaluates the weights of the model as they are.
    load_corpus
        Function that returns the text. It is called when a model is first trained.
    checkpoint_every, time_limit, peak_flops
        See `hwnas.profiling.train`.
    code
        Compiled code that the trainings share.
    on_training
        Function that is called with the text before each training.
    inherit
        Function that returns the model of an architecture with the weights of a supernet; without
        it a model has random ones.
    """

    space: LanguageModelSpace
    profiler: DeviceProfiler
    training: TrainingSettings
    steps: int
    load_corpus: Callable[[], Corpus]
    checkpoint_every: int
    time_limit: float | None
    peak_flops: float | None
    code: SharedCode | None = None
    on_training: Callable[[Corpus], None] | None = None
    inherit: Callable[[object], LanguageModel] | None = None


class Trial:
    """Evaluation of one architecture.

    Parameters
    ----------
    settings
        Settings of all trials.
    arch
        Architecture to evaluate.
    seed
        Seed of the initial weights and of the batches.
    fidelity
        Training steps after which to pause; None trains to the end.
    checkpoint
        File of the training's checkpoint; None keeps none.
    record
        Function that is called with the fields of each measurement, as keyword arguments.

    Attributes
    ----------
    is_complete
        Whether the training cannot continue, because it ended or the trial failed. Its checkpoint
        is then obsolete as soon as the trial is stored.
    """

    def __init__(
        self,
        settings: TrialSettings,
        arch: object,
        *,
        seed: int,
        fidelity: int | None,
        checkpoint: Path | None,
        record: Callable[..., None],
    ) -> None:
        self.settings, self.arch, self.seed = settings, arch, seed
        self.steps = settings.steps if fidelity is None else fidelity
        self.checkpoint, self.record = checkpoint, record
        self.is_complete = False
        self.last_report = time.monotonic()
        self.curve: list[tuple[int, float, float | None]] = []  # reports that are not recorded yet

    @cached_property
    def model(self) -> LanguageModel:
        """Model of the architecture on the device, built at the first measurement that needs it."""
        settings = self.settings
        if settings.inherit is None:
            return settings.profiler.build_model(settings.space, self.arch, seed=self.seed)
        with release_memory(settings.profiler.device, f"building {self.arch}"):
            return settings.inherit(self.arch)

    def run(self, objectives: Sequence[Objective], values: Array, std: Array) -> tuple[Status, str]:
        """Measure the objectives until all are done or a constraint is violated.

        Parameters
        ----------
        objectives
            The m objectives.
        values, std : (m,) float64
            Arrays that receive the values and their standard errors.

        Returns
        -------
        status, reason
            The reason is empty if the status is ``"ok"``.
        """
        # Values are written in the order of the objectives but measured in the order of cost.
        order = sorted(range(len(objectives)), key=lambda j: self.cost_rank(objectives[j]))
        statistics: dict[str, Statistic] = {}
        try:
            for position, j in enumerate(order):
                objective = objectives[j]
                # One measurement may answer several objectives: quantiles of one latency, or all
                # metrics of one training.
                if objective.quantity not in statistics:
                    statistics |= self.measure(objective, objectives)
                values[j], std[j] = statistics[objective.quantity](objective.level)
                # Stopping early saves time only if another measurement would follow.
                remaining = any(
                    objectives[k].quantity not in statistics for k in order[position + 1 :]
                )
                if remaining and _is_violated(objective, values[j : j + 1]):
                    return "infeasible", stop_reason(objective, values[j])
        except (TrialFailed, NoMeter) as error:
            reason = f"{type(error).__name__}: {error}"
            self.record(failed=reason)
            self.is_complete = True
            return "failed", reason
        finally:
            self.settings.profiler.release()
        return "ok", ""

    def cost_rank(self, objective: Objective) -> tuple[int, int, int]:
        """Return the place of an objective in the order of cost, as a key for sorting.

        Times come before energies and these before trainings; within each, workload by workload,
        since the metrics of one share its cache and graphs.
        """
        index = _COST_ORDER.index(objective.metric)
        stage = 2 if objective.metric in TRAINED_METRICS else objective.metric.startswith("energy")
        names = [None, *self.settings.profiler.workloads]
        return int(stage), names.index(objective.workload), index

    def measure(
        self, objective: Objective, objectives: Sequence[Objective]
    ) -> dict[str, Statistic]:
        """Measure an objective; return the statistics of all quantities of that measurement.

        Parameters
        ----------
        objective
            Objective to measure.
        objectives
            All objectives of the trial, which may share the measurement.
        """
        if objective.metric in TRAINED_METRICS:
            names = [o.workload for o in objectives if o.metric in TRAINED_METRICS]
            return self.train([name for name in names if name is not None])
        result = self.settings.profiler.measure(
            self.model,
            objective.metric,  # type: ignore[arg-type]
            None if objective.workload is None else self.workload(objective.workload),
            quantiles=any(o.quantity == objective.quantity and o.level for o in objectives),
        )
        self.record(
            metric=objective.quantity, value=result.value, std=result.std, how=result.record
        )

        def statistic(level: float | None) -> tuple[float, float]:
            return result.value if level is None else result.quantile(level), result.std

        return {objective.quantity: statistic}

    def workload(self, name: str) -> Workload:
        """Return a workload by name, with the precision of the architecture if it chooses one."""
        settings = self.settings
        return workload_of(settings.space, self.arch, settings.profiler.workloads[name])

    def train(self, workloads: Sequence[str] = ()) -> dict[str, Statistic]:
        """Train the model, or continue its training, and evaluate it on the held-out text.

        It is evaluated in the precision of the training, and in that of each of the workloads.
        """
        settings = self.settings
        training = replace(settings.training, seed=self.seed)
        progress = self.continue_training(training) if self.steps else None
        quality = self.evaluate(self.model, training.precision)
        # A pause below the complete length keeps the checkpoint for the next rung.
        self.is_complete = self.steps == settings.steps
        self.record(
            metric="perplexity",
            value=quality.value,
            how=quality,
            training=progress,
            settings=training if self.steps else None,
            device=settings.profiler.device,
        )
        values = {"perplexity": quality.value, "bits_per_byte": quality.bits_per_byte}
        # Copies of the weights from before the training are not those to evaluate.
        settings.profiler.release()
        for name in dict.fromkeys(workloads):
            precision = self.workload(name).precision
            model = settings.profiler.inference_model(self.model, precision)
            # The weights have the precision; nothing is cast in a pass.
            quality = self.evaluate(model, "float32")
            values[f"perplexity.{name}"] = quality.value
            self.record(
                metric=f"perplexity.{name}", value=quality.value, how=quality, precision=precision
            )
        # Perplexities have no standard error and no quantiles, see `Profile`.
        return {name: partial(_exact, value) for name, value in values.items()}

    def continue_training(self, training: TrainingSettings) -> Progress:
        """Train up to this trial's fidelity, from the checkpoint of a lower one if there is one."""
        settings = self.settings
        corpus = settings.load_corpus()
        if settings.on_training is not None:
            settings.on_training(corpus)
        try:
            return train(
                self.model,
                corpus.train,
                training,
                until=self.steps,
                checkpoint=self.checkpoint,
                checkpoint_every=settings.checkpoint_every,
                time_limit=settings.time_limit,
                peak_flops=settings.peak_flops,
                code=settings.code,
                report=self.report,
            )
        finally:
            self.record_curve()

    def evaluate(self, model: LanguageModel, precision: Precision) -> Perplexity:
        """Evaluate a model on the held-out documents, in batches whose logits fit into memory."""
        return perplexity(
            model,
            self.settings.load_corpus().held_out,
            batch_size=evaluation_batch(self.settings.space.context),
            precision=precision,
        )

    def report(self, progress: Progress) -> None:
        """Log and record the progress of the training, at most once in `_REPORT_SECONDS`."""
        self.curve.append((progress.step, progress.loss, progress.tokens_per_second))
        if time.monotonic() - self.last_report < _REPORT_SECONDS:
            return
        self.last_report = time.monotonic()
        self.record_curve()
        speed, utilization = progress.tokens_per_second, progress.utilisation
        _log.info(
            "training %s: step %d of %d, loss %.3f, %s tokens/s%s",
            self.arch,
            progress.step,
            self.steps,
            progress.loss,
            "?" if speed is None else f"{speed:,.0f}",
            "" if utilization is None else f", {utilization:.0%} of the peak",
        )

    def record_curve(self) -> None:
        """Record step, loss and tokens per second of the reports since the last record."""
        if self.curve:
            self.record(curve=self.curve)
            self.curve = []


def _exact(value: float, level: float | None) -> tuple[float, float]:
    """Return a value without a standard error, as a `Statistic` does."""
    return value, 0.0


def _is_violated(objective: Objective, value: Array) -> bool:
    """Return whether an objective is a constraint that a value, of shape (1,), violates."""
    return objective.bound is not None and bool(objective.violation(value)[0] > 0)
