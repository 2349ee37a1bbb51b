"""The backend that really trains and measures, on the device at hand."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from hwnas.backends import Backend, Evaluation, Status
from hwnas.errors import InvalidInput, MachineFailed, UnknownName
from hwnas.objectives import Objective
from hwnas.profiling import measurement_log
from hwnas.profiling.data.corpus import Corpus, cache_folder, load_corpus
from hwnas.profiling.device_profiler import Bench
from hwnas.profiling.meters.forward_pass import PassSettings, available_cpus
from hwnas.profiling.peak_flops import peak_flops
from hwnas.profiling.training.config import TrainingSettings
from hwnas.profiling.trial import DEAR, Trial
from hwnas.spaces import Codes, SearchSpace
from hwnas.spaces.architecture import Architecture

# A full disk, and what newer torch raises for a device that is lost to this process.
_MACHINE_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    getattr(torch, "AcceleratorError", OSError),
)

_Settings = TypeVar("_Settings", TrainingSettings, PassSettings)


class Profile(Backend):
    """Trains a network on text and measures it on the device at hand.

    ``perplexity`` and ``bits_per_byte`` are those of held-out documents; ``latency@cuda`` (ms),
    ``energy@cuda`` (mWh) and ``peak_memory@cuda`` (MB) are of one forward pass of a batch, on
    ``cuda``, ``cuda:1`` or ``cpu``. What costs least is measured first, and a network that breaks a
    bound is not measured any further, if there is something more to measure.

    Parameters
    ----------
    device
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``; ``"auto"`` is CUDA where there is some.
    text
        A text file, a folder of them, or ``"pydoc"``: Python's own help.
    separator
        What stands between two documents of a file; see `hwnas.profiling.data.text.text`.
    held_out
        Share of the text, in whole documents, that perplexity is measured on.
    tokenizer
        ``"bytes"`` or ``"gpt2"``.
    vocabulary
        A file ``gpt2.tiktoken``; without it tiktoken fetches one.
    training
        Settings of `hwnas.profiling.TrainingSettings`; 1,000 steps unless said otherwise. Its seed
        is the trial's.
    rungs
        Steps at which a training can pause, the fidelities below its full length.
    checkpoint_every
        Steps after which a training is written to disk; a killed run loses no more.
    keep_checkpoints
        Leave the last one of every network, for ``hwnas build --checkpoint``. They take three times
        the weights' space each.
    time_limit
        Seconds that one training may take.
    passes
        What is measured, as `hwnas.profiling.PassSettings`: HW-GPT-Bench's batch of 8 sequences of
        the whole context unless said otherwise.
    within, energy_within
        How sure, with 95 % confidence, a median latency and an energy are to be, as shares.
    max_seconds
        What the samples of one latency or the window of one energy take at most.
    threads
        Of torch on the CPU; as many as there are processors for this process by default.
    peak_tflops
        What the device can do at best in the training's precision, for the share of it that is
        reached, where it is a GPU that we do not know.

    Notes
    -----
    A latency and an energy come with their standard errors. Perplexities do not: all networks are
    measured on the same documents, so what another choice of them would change is no noise between
    networks. It stands in ``measurements.jsonl``, where every value is with its protocol.

    Raises
    ------
    InvalidInput
        A setting does not fit the space, the device or the others.
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
        tokenizer: Literal["bytes", "gpt2"] = "bytes",
        vocabulary: str | None = None,
        training: dict[str, Any] | None = None,
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
    ) -> None:
        super().__init__(space)
        self.training = _made(TrainingSettings, "training", {"steps": 1000, **(training or {})})
        self.fidelities = _fidelities(rungs, self.training.steps)
        self.threads = len(available_cpus()) if threads is None else threads
        given = _made(PassSettings, "passes", passes or {})
        if given.tokens is not None and given.tokens > space.context:
            raise InvalidInput(
                f"passes.tokens: expected at most {space.context}, the context of {space.name}, "
                f"found {given.tokens}"
            )
        self.bench = Bench(
            device=device,
            passes=replace(given, threads=self.threads),
            within=within,
            energy_within=energy_within,
            max_seconds=max_seconds,
        )
        self.metrics = {**self.bench.metrics, **DEAR}
        self.missing = self.bench.missing
        if checkpoint_every < 1:
            raise InvalidInput(f"checkpoint_every: expected at least 1, found {checkpoint_every}")
        for name, limit in (("time_limit", time_limit), ("peak_tflops", peak_tflops)):
            if limit is not None and not limit > 0:
                raise InvalidInput(f"{name}: expected a number above 0, found {limit}")
        self.checkpoint_every, self.time_limit = checkpoint_every, time_limit
        self.keep_checkpoints = keep_checkpoints
        self.peak_flops = self._peak() if peak_tflops is None else peak_tflops * 1e12
        self._text = {"separator": separator, "held_out": held_out, "vocabulary": vocabulary}
        self._source, self._tokenizer = text, tokenizer
        self._folder: Path | None = None
        self._over: list[Path] = []  # checkpoints of trainings that have come to their end

    @cached_property
    def corpus(self) -> Corpus:
        """The text, read when it is first needed."""
        return load_corpus(
            self.space,
            self._source,
            tokenizer_name=self._tokenizer,
            cache=cache_folder(),
            **self._text,  # type: ignore[arg-type]
        )

    def data_hash(self) -> str:
        """SHA-256 of the text and its tokens."""
        return self.corpus.sha256

    def on_start(self, folder: Path) -> None:
        """Keep checkpoints and ``measurements.jsonl`` in a folder; reads the text."""
        self._folder = folder
        _ = self.corpus

    def on_end(self) -> None:
        """Remove the checkpoints, if they are not to be kept."""
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
        """Measure networks one after the other; see `hwnas.Backend`."""
        values, std = np.full((2, len(codes), len(objectives)), np.nan)
        status: list[Status] = []
        reasons, seconds = [], np.zeros(len(codes))
        for i, arch in enumerate(self.space.decode(codes)):
            while self._over:  # by now what they led to is stored
                self._over.pop().unlink(missing_ok=True)
            began = time.perf_counter()
            trial = Trial(self, arch, int(seeds[i]), fidelity)
            try:
                with _threads(self.threads):
                    word, reason = trial.run(objectives, values[i], std[i])
            except _MACHINE_ERRORS as error:
                raise MachineFailed(
                    f"measuring {arch}: {type(error).__name__}: {error}; mend it and go on with: "
                    "hwnas resume"
                ) from error
            status.append(word)
            reasons.append(reason)
            seconds[i] = time.perf_counter() - began
        return Evaluation(values, np.nan_to_num(std), status, seconds, reasons)

    def checkpoint(self, arch: Architecture, seed: int) -> Path | None:
        """The file of a trial's checkpoint, None where nothing is kept."""
        if self._folder is None:
            return None
        name = hashlib.sha256(str(arch).encode()).hexdigest()[:16]
        return self._folder / "checkpoints" / f"{name}-{seed:016x}.pt"

    def note(self, arch: Architecture, seed: int, **what: Any) -> None:
        """Keep what was measured, and how."""
        if self._folder is not None:
            record = {"arch": str(arch), "seed": seed, "time": time.strftime("%FT%T%z"), **what}
            measurement_log.append(self._folder / "measurements.jsonl", record)

    def finished(self, checkpoint: Path | None) -> None:
        """A training has come to its end: its checkpoint can go when its trial is stored."""
        if checkpoint is not None and not self.keep_checkpoints:
            self._over.append(checkpoint)

    def _peak(self) -> float | None:
        if self.bench.device.type != "cuda":
            return None
        auto = self.training.precision in ("auto", "bfloat16")
        name = torch.cuda.get_device_name(self.bench.device)
        return peak_flops(name, "bfloat16" if auto else self.training.precision)


def _made(kind: type[_Settings], name: str, given: Mapping[str, Any]) -> _Settings:
    """Settings from what a YAML has under a name; a list serves for a tuple."""
    theirs = {"training": {"seed"}, "passes": {"threads"}}[name]  # set elsewhere
    known = [field.name for field in fields(kind) if field.name not in theirs]
    for key in given:
        if key not in known:
            raise UnknownName(f"setting of {name}:", key, known)
    values: dict[str, Any] = {
        key: tuple(v) if isinstance(v, list) else v for key, v in given.items()
    }
    try:
        return kind(**values)
    except InvalidInput as error:
        raise InvalidInput(f"{name}.{error}") from None


def _fidelities(rungs: Sequence[int], steps: int) -> tuple[int, ...] | None:
    """The rungs and the full length; None without rungs."""
    if not rungs:
        return None
    found = [*rungs] if rungs[-1] == steps else [*rungs, steps]
    if found[0] < 1 or any(a >= b for a, b in pairwise(found)):
        raise InvalidInput(
            f"rungs: expected increasing numbers of steps below the {steps} of the training, "
            f"found {list(rungs)}"
        )
    return tuple(found)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many threads of torch within."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
