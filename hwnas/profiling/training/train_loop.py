"""The training loop, which can pause and continue.

Step k depends only on the settings, the weights and k. So a training that was paused or killed
continues from its checkpoint as if it had never stopped. The results are equal bit for bit where
the device always computes a sum in the same order, as a CPU does; attention on CUDA may not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.utils import clip_grad_norm_

from hwnas.errors import InvalidInput
from hwnas.profiling.data.tokenizer import Tokens
from hwnas.profiling.errors import Diverged, TimedOut, release_memory
from hwnas.profiling.language_model import LanguageModel
from hwnas.profiling.training.checkpoint import (
    read_checkpoint,
    training_identity,
    write_checkpoint,
)
from hwnas.profiling.training.config import TrainingSettings, adamw, autocast
from hwnas.profiling.training.gradient_graph import GradientGraph, pays_capture, try_capture
from hwnas.profiling.training.shared_code import Loss, SharedCode, training_loss


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a training.

    Attributes
    ----------
    step
        Number of completed steps.
    loss
        Loss of the last step's batch, in nats per token.
    seconds
        Duration of all steps, including those before a pause.
    tokens_per_second
        Throughput since the previous report. In the result of `train` it covers all steps of the
        call except those before the first report, during which kernels are compiled and selected.
        None if no step was timed.
    utilisation
        Model-FLOPs utilization: the share of the device's peak throughput that
        `tokens_per_second` corresponds to. None if the peak is unknown.
    """

    step: int
    loss: float
    seconds: float
    tokens_per_second: float | None = None
    utilisation: float | None = None


def train(
    model: LanguageModel,
    tokens: Tokens,
    settings: TrainingSettings,
    *,
    until: int | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int | None = None,
    time_limit: float | None = None,
    peak_flops: float | None = None,
    code: SharedCode | None = None,
    report: Callable[[Progress], None] | None = None,
    report_every: int = 10,
) -> Progress:
    """Train a model in place, on its device.

    Parameters
    ----------
    model
        Model with its initial weights. If a checkpoint exists, its weights replace them.
    tokens
        Tokens to train on, more than the context of the model.
    until
        Step after which to pause; by default `settings.steps`.
    checkpoint
        File to continue from, if it exists, and to write at the end of this call.
    checkpoint_every
        Number of steps between two checkpoints; by default only the last one is written.
    time_limit
        Maximum duration of the training in seconds, without pauses.
    peak_flops
        Peak throughput of the device in operations per second, in the precision of the training.
    code
        Compiled code to share with the trainings of other models; without it ``compile: auto``
        compiles long trainings only.
    report
        Function called every `report_every` steps and before each checkpoint.

    Raises
    ------
    Diverged, OutOfMemory, TimedOut
        The training failed. The memory of gradients and optimizer is released, and the checkpoint
        remains as it was.
    InvalidInput
        There are too few tokens, the vocabulary is too large, or the checkpoint belongs to another
        training.

    Examples
    --------
    >>> from hwnas.profiling import GPT, TrainingSettings, tokenizer, tokens
    >>> from hwnas.spaces.architecture import Architecture
    >>> arch = Architecture.parse("tiny-1-32-2-1-True")
    >>> model = GPT(arch, head_size=16, context=8, vocab_size=257)
    >>> train(model, tokens(["some text"], tokenizer("bytes")), TrainingSettings(steps=3)).step
    3
    """
    until = settings.steps if until is None else until
    _check_arguments(model, tokens, settings, until, checkpoint_every, report_every, peak_flops)
    with (
        release_memory(model.device, f"training {model.arch}"),
        training_loss(model, settings, until, code=code, peak_flops=peak_flops) as loss,
    ):
        try:
            # The run is not bound to a name here: this frame is part of an error's traceback, and
            # a name in it would keep the run's memory alive.
            return _TrainingRun(model, tokens, settings, peak_flops, loss).run(
                until,
                None if checkpoint is None else Path(checkpoint),
                checkpoint_every or settings.steps,
                math.inf if time_limit is None else time_limit,
                report,
                report_every,
            )
        finally:
            model.zero_grad(set_to_none=True)


class _TrainingRun:
    """Training in progress: model, optimizer, clock."""

    def __init__(
        self,
        model: LanguageModel,
        tokens: Tokens,
        settings: TrainingSettings,
        peak_flops: float | None,
        loss: Loss,
    ) -> None:
        self.model, self.tokens, self.settings = model, tokens, settings
        self.device = model.device
        self.optimizer = adamw(model.parameters(), settings)
        self.loss_of = loss
        self.graph: GradientGraph | None = None
        self.is_captured = False  # or the capture was tried
        self.peak_flops = peak_flops
        self.step, self.loss = 0, math.nan
        self.previous_seconds = 0.0  # duration of the steps before this call
        self.unchecked: list[torch.Tensor] = []  # (2,) each: loss and gradient norm of a step
        self.start = time.perf_counter()
        self.marks: list[tuple[int, float]] = []  # completed steps, seconds in this call

    def run(
        self,
        until: int,
        checkpoint: Path | None,
        checkpoint_every: int,
        time_limit: float,
        report: Callable[[Progress], None] | None,
        report_every: int,
    ) -> Progress:
        """Run all steps up to `until`; the parameters are those of `train`."""
        if checkpoint is not None and checkpoint.exists():
            self.load(checkpoint, until)
        while self.step < until:
            self.advance()
            # Reading a loss waits for the device, so that is done only every few steps.
            is_checkpoint = self.step == until or self.step % checkpoint_every == 0
            if is_checkpoint or self.step % report_every == 0:
                progress = self.check_losses()
                self.renew_code(until - self.step)
                if report is not None:
                    report(progress)
            if is_checkpoint and checkpoint is not None:
                self.save(checkpoint)
            if self.previous_seconds + self.elapsed > time_limit and self.step < until:
                raise TimedOut(
                    f"training {self.model.arch}: the time limit of {time_limit:g} s is over at "
                    f"step {self.step} of {until}"
                )
        return self.summary()

    @property
    def elapsed(self) -> float:
        """Seconds in this call."""
        return time.perf_counter() - self.start

    def advance(self) -> None:
        """Run one step without waiting for the device."""
        if not self.marks:
            self.marks.append((self.step, self.elapsed))
        settings, context = self.settings, self.model.context
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate_at(self.step)
        # Copy the batch to the device while the device still computes the previous step.
        batch = torch.from_numpy(settings.batch(self.tokens.ids, context, self.step))
        if self.device.type == "cuda":
            batch = batch.pin_memory()
        batch = batch.to(self.device, non_blocking=True)  # (batch_size, context + 1)
        batch_loss = (self.graph or self.gradient)(batch)
        # Clip, update, and keep loss and norm on the device until the next check.
        norm = clip_grad_norm_(self.model.parameters(), settings.clip)
        self.optimizer.step()
        self.unchecked.append(torch.stack((batch_loss, norm)))
        self.step += 1

    def gradient(self, batch: torch.Tensor) -> torch.Tensor:
        """Set the gradients for a batch (batch_size, context + 1), and return its loss."""
        self.model.zero_grad(set_to_none=True)
        batch_loss = torch.zeros((), device=self.device)
        # Accumulate the gradient over the parts of the batch.
        for part in batch.chunk(self.settings.accumulate):  # (batch_size / accumulate, context + 1)
            with autocast(self.device, self.settings.precision):
                loss = self.loss_of(part[:, :-1], part[:, 1:]) / self.settings.accumulate
            loss.backward()  # type: ignore[no-untyped-call]
            batch_loss += loss.detach()
        return batch_loss

    def check_losses(self) -> Progress:
        """Wait for the device and check that the losses since the last check are finite.

        Raises
        ------
        Diverged
            A loss or the norm of a gradient is not finite.
        """
        # Between checkpoints this is the only place where the host waits for the device.
        losses_and_norms = torch.stack(self.unchecked).tolist()
        n_checked = self.step - len(self.unchecked)
        self.unchecked.clear()
        for step, (loss, norm) in enumerate(losses_and_norms, n_checked + 1):
            if not math.isfinite(loss) or not math.isfinite(norm):
                raise Diverged(
                    f"training {self.model.arch}: loss {loss:g} with a gradient of norm "
                    f"{norm:g} in step {step}"
                )
            self.loss = loss
        self.marks.append((self.step, self.elapsed))
        return self._progress_between(*self.marks[-2:])

    def renew_code(self, remaining: int) -> None:
        """Use new code for the remaining steps; once none has arrived, capture the gradient."""
        if self.loss_of.refresh():
            self.graph, self.is_captured = None, False  # a graph holds the code of its capture
        elif not self.is_captured and pays_capture(self.device, self.settings, remaining):
            self.is_captured = True
            shape = self.settings.batch_size, self.model.context + 1
            batch = torch.zeros(shape, dtype=torch.long, device=self.device)
            self.graph = try_capture(self.gradient, batch, f"training {self.model.arch}")

    def summary(self) -> Progress:
        """Return the progress of the whole call, from its first report on if there is a second."""
        if not self.marks:
            return Progress(self.step, self.loss, self.previous_seconds)
        # The steps up to the first report include the compilation of kernels.
        first = self.marks[1 if len(self.marks) > 2 else 0]
        return self._progress_between(first, self.marks[-1])

    def _progress_between(self, first: tuple[int, float], last: tuple[int, float]) -> Progress:
        """Return the progress, with the throughput between two marks."""
        n_tokens = (last[0] - first[0]) * self.settings.batch_size * self.model.context
        rate = n_tokens / (last[1] - first[1])
        utilization = None
        if self.peak_flops is not None:
            utilization = rate * self.model.training_flops_per_token() / self.peak_flops
        seconds = self.previous_seconds + self.elapsed
        return Progress(self.step, self.loss, seconds, rate, utilization)

    def save(self, file: Path) -> None:
        """Write the checkpoint."""
        content = {
            "identity": training_identity(self.model, self.tokens, self.settings),
            "step": self.step,
            "loss": self.loss,
            "seconds": self.previous_seconds + self.elapsed,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        write_checkpoint(file, content)

    def load(self, file: Path, until: int) -> None:
        """Continue from a checkpoint of this training; InvalidInput if it is beyond `until`."""
        identity = training_identity(self.model, self.tokens, self.settings)
        content = read_checkpoint(file, identity)
        if content["step"] > until:
            raise InvalidInput(f"{file}: expected at most step {until}, found {content['step']}")
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.step, self.loss = content["step"], content["loss"]
        self.previous_seconds = content["seconds"]


def _check_arguments(
    model: LanguageModel,
    tokens: Tokens,
    settings: TrainingSettings,
    until: int,
    checkpoint_every: int | None,
    report_every: int,
    peak_flops: float | None,
) -> None:
    """Raise InvalidInput unless the arguments of `train` are valid and fit together."""
    if type(until) is not int or not 0 <= until <= settings.steps:
        raise InvalidInput(f"until: expected 0 to {settings.steps} steps, found {until!r}")
    for name, every in (("checkpoint_every", checkpoint_every), ("report_every", report_every)):
        if every is not None and (type(every) is not int or every < 1):
            raise InvalidInput(f"{name}: expected a number of steps, found {every!r}")
    if peak_flops is not None and not peak_flops > 0:
        raise InvalidInput(f"peak_flops: expected a number above 0, found {peak_flops!r}")
    if len(tokens) <= model.context:
        raise InvalidInput(
            f"too little text: expected more than {model.context} tokens, the context of the "
            f"model, found {len(tokens)}"
        )
    if tokens.vocab_size > model.vocab_size:
        raise InvalidInput(
            f"expected tokens of a vocabulary of at most {model.vocab_size}, that of the model, "
            f"found {tokens.vocab_size}"
        )
