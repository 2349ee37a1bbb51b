"""The backend ``profile``, which trains and measures on the device at hand."""

from __future__ import annotations

import hashlib
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from hwnas.backends import Backend, Evaluation, Status
from hwnas.errors import HwnasWarning, InvalidInput, MachineFailed, UnknownName
from hwnas.measured_metrics import TRAINED_METRICS, inherited_metrics, workload_metrics
from hwnas.objectives import Objective
from hwnas.profiling import measurement_log
from hwnas.profiling.data.corpus import Corpus, cache_folder, load_corpus
from hwnas.profiling.data.tokenizer import first_tokens
from hwnas.profiling.device_profiler import MEASURES, DeviceProfiler, fitting_workloads
from hwnas.profiling.meters.forward_pass import PassSettings, available_cpus
from hwnas.profiling.peak_flops import peak_flops
from hwnas.profiling.supernet.inheritance import Inheritance
from hwnas.profiling.training.config import TrainingSettings
from hwnas.profiling.training.repetition import repetition_note
from hwnas.profiling.training.shared_code import SharedCode, expected_models
from hwnas.profiling.trial import Trial, TrialSettings
from hwnas.spaces import LanguageModelSpace, SearchSpace
from hwnas.typing import Codes
from hwnas.workloads import BUILT_IN, Workload

# Errors of the machine, not of an architecture: a full disk, a device lost to this process (for
# which newer versions of torch have an error of their own).
_MACHINE_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    getattr(torch, "AcceleratorError", OSError),
)

_MAX_COMPILERS = 8  # processes that compile code of trainings

_Settings = TypeVar("_Settings", TrainingSettings, PassSettings)
# Settings that the backend determines itself, so that they cannot be set under these names.
_RESERVED_SETTINGS = {"training": {"seed"}, "passes": {"threads"}}


class Profile(Backend):
    """Backend that trains models on text and measures them on the device at hand.

    ``perplexity`` and ``bits_per_byte`` are those of held-out documents. ``latency@cuda`` (ms),
    ``energy@cuda`` (mWh) and ``peak_memory@cuda`` (MB) are those of one forward pass of a batch,
    on ``cuda``, ``cuda:1`` or ``cpu``. The metrics of a workload, such as ``tpot.serve@cuda``, are
    those of its requests; ``perplexity.serve`` is the perplexity with weights in its precision. The
    cheapest metric is measured first, and an architecture that violates a constraint is not
    measured further.

    Parameters
    ----------
    device
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``; ``"auto"`` is CUDA where it is available.
    text
        A text file, a folder of text files, a data set ``"hf:NAME"``, or a text of every Python
        installation: ``"pydoc"``, its help, and ``"stdlib"``, its standard library.
    separator
        String between two documents of a file; see `hwnas.profiling.data.text.text`.
    held_out
        Share of the text, in complete documents, on which perplexity is measured.
    held_out_tokens
        Number of its tokens, the first ones, that are used; all by default.
    tokenizer
        ``"bytes"``, ``"gpt2"``, a file ``tokenizer.json``, or ``"hf:NAME"``.
    vocabulary
        A file ``gpt2.tiktoken``; without it tiktoken downloads one.
    training
        Settings of `hwnas.profiling.TrainingSettings`, with 1,000 steps by default. The seed is
        that of the trial.
    weights
        File of ``hwnas supernet train``, from which models take their weights in place of random
        ones. Without ``training: {steps: ...}`` they are evaluated as they are.
    rungs
        Steps at which a training can pause: the fidelities below its complete length. With
        `weights` the first can be 0.
    checkpoint_every
        Steps between two checkpoints. A killed run loses at most this many.
    keep_checkpoints
        Whether to keep the last checkpoint of each architecture, for ``hwnas build --checkpoint``.
        A checkpoint is three times as large as the weights.
    time_limit
        Maximum duration of one training in seconds.
    passes
        Forward pass to measure, as in `hwnas.profiling.PassSettings`. By default it is that of
        HW-GPT-Bench for gpt-s: a batch of 8 sequences of the whole context. The published latencies
        of gpt-m and gpt-l are of batches of 4 and 1.
    within, energy_within
        Half-width of the 95 % confidence interval of a median latency and of an energy at which
        the measurement stops, as a share of the value.
    max_seconds
        Maximum duration of the samples of one latency, or of the window of one energy.
    threads
        Threads of torch on the CPU; by default one for each processor available to this process.
    peak_tflops
        Peak throughput of the device in the precision of the training, needed to report the
        utilization of a GPU that is not in `hwnas.profiling.peak_flops`.
    workloads
        Workloads by name; the built-in ones by default. Those of an experiment are given to it.

    Notes
    -----
    Latencies and energies have standard errors. Perplexities have none: all architectures are
    measured on the same documents, so the effect of the choice of documents is not noise between
    architectures. That effect is recorded in ``measurements.jsonl``, together with the protocol of
    every measurement.

    Raises
    ------
    InvalidInput
        A setting does not fit the space, the device or the other settings.
    """

    on_hardware = True

    def __init__(
        self,
        space: SearchSpace,
        *,
        device: str = "auto",
        text: str = "pydoc",
        separator: str | None = None,
        held_out: float = 0.1,
        held_out_tokens: int | None = None,
        tokenizer: str = "bytes",
        vocabulary: str | None = None,
        training: dict[str, Any] | None = None,
        weights: str | None = None,
        rungs: tuple[int, ...] = (),
        checkpoint_every: int = 500,
        keep_checkpoints: bool = False,
        time_limit: float | None = None,
        passes: dict[str, Any] | None = None,
        within: float = 0.01,
        energy_within: float = 0.03,
        max_seconds: float = 10.0,
        threads: int | None = None,
        peak_tflops: float | None = None,
        workloads: Mapping[str, Workload] | None = None,
    ) -> None:
        if not isinstance(space, LanguageModelSpace):
            raise InvalidInput(
                f"profile: builds and measures language models, space {space.name} has others"
            )
        super().__init__(space)
        for name, limit in (("time_limit", time_limit), ("peak_tflops", peak_tflops)):
            if limit is not None and not limit > 0:
                raise InvalidInput(f"{name}: expected a number above 0, found {limit}")
        if checkpoint_every < 1:
            raise InvalidInput(f"checkpoint_every: expected at least 1, found {checkpoint_every}")
        # The settings are checked before the device is touched, so that a typo fails at once.
        self.training = _parse_settings(
            TrainingSettings, "training", {"steps": 1000, **(training or {})}
        )
        is_trained = weights is None or "steps" in (training or {})
        steps = self.training.steps if is_trained else 0
        self.fidelities = _rungs_to_fidelities(rungs, steps, 1 if weights is None else 0)
        self.threads = len(available_cpus()) if threads is None else threads
        pass_settings = _parse_settings(PassSettings, "passes", passes or {})
        if pass_settings.tokens is not None and pass_settings.tokens > space.context:
            raise InvalidInput(
                f"passes.tokens: expected at most {space.context}, the context of {space.name}, "
                f"found {pass_settings.tokens}"
            )
        self.workloads = BUILT_IN if workloads is None else workloads
        fitting, reasons = fitting_workloads(space, self.workloads)
        self.profiler = DeviceProfiler(
            device=device,
            passes=replace(pass_settings, threads=self.threads),
            within=within,
            energy_within=energy_within,
            max_seconds=max_seconds,
            workloads=fitting,
        )
        # Metrics depend on the device: without an energy counter there is no energy.
        self.metrics = {**self.profiler.metrics, **TRAINED_METRICS}
        self.inheritance = None
        if weights is not None:
            self.inheritance = Inheritance(weights, space, self.profiler.device)
            self.metrics |= inherited_metrics(steps)
        for name, workload in fitting.items():
            metric = workload_metrics(name, workload).get(f"perplexity.{name}")
            self.metrics |= {} if metric is None else {f"perplexity.{name}": metric}
        self.missing = {
            **self.profiler.missing,
            **_missing_metrics(self.workloads, reasons, self.profiler.name),
        }
        self.keep_checkpoints = keep_checkpoints
        if held_out_tokens is not None and held_out_tokens < 1:
            raise InvalidInput(f"held_out_tokens: expected at least 1, found {held_out_tokens}")
        self.held_out_tokens = held_out_tokens
        self._text_settings = {
            "source": text,
            "separator": separator,
            "held_out": held_out,
            "tokenizer_name": tokenizer,
            "vocabulary": vocabulary,
        }
        self._trial_settings = TrialSettings(
            space=space,
            profiler=self.profiler,
            training=self.training,
            steps=steps,
            load_corpus=lambda: self.corpus,
            checkpoint_every=checkpoint_every,
            time_limit=time_limit,
            peak_flops=self._known_peak() if peak_tflops is None else peak_tflops * 1e12,
            code=self._shared_code(space),
            on_training=self._check_text,
            inherit=None if self.inheritance is None else self.inheritance.model,
        )
        self._notes: list[str] = []
        self._folder: Path | None = None
        self._obsolete_checkpoints: list[Path] = []  # of trials that may not be stored yet

    @cached_property
    def corpus(self) -> Corpus:
        """Text of the trainings, read at the first access."""
        corpus = load_corpus(self.space, cache=cache_folder(), **self._text_settings)  # type: ignore[arg-type]
        if self.inheritance is not None:
            self.inheritance.check_text(corpus)
        return replace(corpus, held_out=first_tokens(corpus.held_out, self.held_out_tokens))

    def data_hash(self) -> str:
        """Return the SHA-256 of the text and its tokens, and of inherited weights if any."""
        parts = [self.corpus.sha256]
        parts += [] if self.held_out_tokens is None else [str(self.held_out_tokens)]
        parts += [] if self.inheritance is None else [self.inheritance.sha256]
        return " ".join(parts)

    def on_start(self, folder: Path) -> None:
        """Read the text, and set the folder of checkpoints and ``measurements.jsonl``."""
        self._folder = folder
        # Invalid text should end a search here, not after its first measurements.
        _ = self.corpus

    def diagnostics(self) -> list[str]:
        """Return a note if trainings see their text too often."""
        return self._notes

    def _check_text(self, corpus: Corpus) -> None:
        """Warn once, and note for the report, if a training sees its text too often."""
        note = repetition_note(corpus, self.training, self._trial_settings.space.context)
        if note and note not in self._notes:
            self._notes.append(note)
            warnings.warn(note, HwnasWarning, stacklevel=2)

    def _shared_code(self, space: LanguageModelSpace) -> SharedCode:
        """Return the code that the trainings share; on CUDA other processes compile it."""
        # Half of the processors are left to this process, for the launches of kernels.
        is_cuda = self.profiler.device.type == "cuda"
        workers = min(len(available_cpus()) // 2, _MAX_COMPILERS) if is_cuda else 0
        return SharedCode(workers=workers, expected=lambda: expected_models(space))

    def on_end(self) -> None:
        """End processes that compile; remove the checkpoints unless `keep_checkpoints` is set."""
        if self._trial_settings.code is not None:
            self._trial_settings.code.close()
        if self._folder is not None and not self.keep_checkpoints:
            shutil.rmtree(self._folder / "checkpoints", ignore_errors=True)

    def evaluate(
        self,
        codes: Codes,
        objectives: Sequence[Objective],
        *,
        seeds: NDArray[np.uint64],
        fidelity: int | None = None,
    ) -> Evaluation:
        """Measure architectures one after the other; see `hwnas.Backend`.

        Raises
        ------
        MachineFailed
            The disk is full, or the device is lost.
        """
        values, std = np.full((2, len(codes), len(objectives)), np.nan)
        statuses: list[Status] = []
        reasons, seconds = [], np.zeros(len(codes))
        for i, arch in enumerate(self.space.decode(codes)):
            # Each trial is stored before the next one is evaluated.
            while self._obsolete_checkpoints:
                self._obsolete_checkpoints.pop().unlink(missing_ok=True)
            start = time.perf_counter()
            trial = self._new_trial(arch, int(seeds[i]), fidelity)
            try:
                with _torch_threads(self.threads):
                    status, reason = trial.run(objectives, values[i], std[i])
            except _MACHINE_ERRORS as error:
                raise MachineFailed(
                    f"measuring {arch}: {type(error).__name__}: {error}; solve this and continue "
                    "with: hwnas resume"
                ) from error
            # A checkpoint is removed only after its trial is stored: until then a killed run
            # needs it to continue.
            if trial.is_complete and trial.checkpoint is not None and not self.keep_checkpoints:
                self._obsolete_checkpoints.append(trial.checkpoint)
            statuses.append(status)
            reasons.append(reason)
            seconds[i] = time.perf_counter() - start
        return Evaluation(values, np.nan_to_num(std), statuses, seconds, reasons)

    def _new_trial(self, arch: object, seed: int, fidelity: int | None) -> Trial:
        checkpoint = None
        if self._folder is not None:
            # Names of architectures can be too long for a file name. The seed is part of it: two
            # trials of an architecture have two trainings.
            name = hashlib.sha256(str(arch).encode()).hexdigest()[:16]
            checkpoint = self._folder / "checkpoints" / f"{name}-{seed:016x}.pt"
        return Trial(
            self._trial_settings,
            arch,
            seed=seed,
            fidelity=fidelity,
            checkpoint=checkpoint,
            record=partial(self._record, arch, seed),
        )

    def _record(self, arch: object, seed: int, **measurement: Any) -> None:
        """Append a measurement to ``measurements.jsonl``; without a folder do nothing."""
        if self._folder is not None:
            record = {"arch": str(arch), "seed": seed, "time": time.strftime("%FT%T%z")}
            file = self._folder / "measurements.jsonl"
            measurement_log.append(file, {**record, **measurement})

    def _known_peak(self) -> float | None:
        """Return the peak throughput of a known GPU in operations per second, else None."""
        if self.profiler.device.type != "cuda":
            return None
        # Precision "auto" is bfloat16 on CUDA.
        is_bfloat16 = self.training.precision in ("auto", "bfloat16")
        name = torch.cuda.get_device_name(self.profiler.device)
        return peak_flops(name, "bfloat16" if is_bfloat16 else self.training.precision)


def _parse_settings(kind: type[_Settings], name: str, values: Mapping[str, Any]) -> _Settings:
    """Return the settings that a YAML file has under a name; lists become tuples."""
    allowed = [f.name for f in fields(kind) if f.name not in _RESERVED_SETTINGS[name]]
    for key in values:
        if key not in allowed:
            raise UnknownName(f"setting of {name}:", key, allowed)
    arguments: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
    try:
        return kind(**arguments)
    except InvalidInput as error:
        raise InvalidInput(f"{name}.{error}") from None


def _missing_metrics(
    workloads: Mapping[str, Workload], reasons: Mapping[str, str], device: str
) -> dict[str, str]:
    """Return the reasons why the metrics of some workloads cannot be measured, by metric."""
    missing = {}
    for name, reason in reasons.items():
        for quantity in workload_metrics(name, workloads[name]):
            is_on_device = quantity.partition(".")[0] in MEASURES
            missing[f"{quantity}@{device}" if is_on_device else quantity] = reason
    return missing


def _rungs_to_fidelities(rungs: Sequence[int], steps: int, lowest: int) -> tuple[int, ...] | None:
    """Return the rungs and the complete length of a training; None if there are no rungs."""
    if not rungs:
        return None
    # The complete length is the highest fidelity, whether or not the rungs contain it.
    fidelities = [*rungs] if rungs[-1] == steps else [*rungs, steps]
    if fidelities[0] < lowest or any(a >= b for a, b in pairwise(fidelities)):
        raise InvalidInput(
            f"rungs: expected increasing numbers of steps below the {steps} of the training, "
            f"found {list(rungs)}"
        )
    return tuple(fidelities)


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """Set the number of torch's threads within a block."""
    previous = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(previous)
