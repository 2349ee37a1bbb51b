"""Train a network, pause, go on: the loop.

What step k does follows from the settings, the weights and k, so a training that was paused or
killed goes on from its checkpoint as if nothing had happened: bit for bit where the device computes
the same sum twice alike, as a CPU does (attention on CUDA may add in another order).
"""

from __future__ import annotations

import hashlib
import math
import pickle
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from hwnas.errors import InvalidInput
from hwnas.files import atomic_writer
from hwnas.profiling.data.tokenizer import Tokens
from hwnas.profiling.errors import Diverged, TimedOut, memory_given_back
from hwnas.profiling.gpt import GPT
from hwnas.profiling.training.config import TrainingSettings, autocast


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training is.

    Attributes
    ----------
    step
        Steps done.
    loss
        Of the last step's batch, in nats a token.
    seconds
        Time spent on all steps, those before a pause included.
    tokens_per_second
        Of late; of a finished call over all its steps but those up to the first report, in which
        kernels are compiled and chosen. None where no step was timed.
    utilisation
        Model-FLOPs utilisation: the share of the peak that `tokens_per_second` needs. None
        without a peak.
    """

    step: int
    loss: float
    seconds: float
    tokens_per_second: float | None = None
    utilisation: float | None = None


def train(
    model: GPT,
    tokens: Tokens,
    settings: TrainingSettings,
    *,
    until: int | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int | None = None,
    time_limit: float | None = None,
    peak_flops: float | None = None,
    report: Callable[[Progress], None] | None = None,
    report_every: int = 10,
) -> Progress:
    """Train a network in place, on the device where it is.

    Parameters
    ----------
    model
        With its first weights; with those of the checkpoint, if there is one.
    tokens
        More than the network's context.
    until
        Pause after this step; by default `settings.steps`.
    checkpoint
        File to go on from, if it exists, and to write at the end of this call.
    checkpoint_every
        Write it every so many steps as well.
    time_limit
        Seconds that the training may take, pauses left out.
    peak_flops
        Operations that the device does in a second at best, in the precision of the training.
    report
        Called every `report_every` steps, when the loss is looked at, and before a checkpoint.

    Raises
    ------
    Diverged, OutOfMemory, TimedOut
        The memory of gradients and optimizer is given back; the checkpoint stays as it was.
    InvalidInput
        Too few tokens or too many kinds of them, or a checkpoint of another training.
    """
    until = settings.steps if until is None else until
    _check(model, tokens, settings, until, checkpoint_every, report_every, peak_flops)
    with memory_given_back(model.cos.device, f"training {model.arch}"):
        try:
            return _Run(model, tokens, settings, peak_flops).go(
                until,
                None if checkpoint is None else Path(checkpoint),
                checkpoint_every or settings.steps,
                math.inf if time_limit is None else time_limit,
                report,
                report_every,
            )
        finally:
            model.zero_grad(set_to_none=True)
            if settings.compile:
                torch.compiler.reset()  # or, after a few networks, torch compiles no more


class _Run:
    """A training in progress."""

    def __init__(
        self, model: GPT, tokens: Tokens, settings: TrainingSettings, peak_flops: float | None
    ) -> None:
        self.model, self.tokens, self.settings = model, tokens, settings
        self.device = model.cos.device
        matrices = [p for p in model.parameters() if p.ndim >= 2]
        others = [p for p in model.parameters() if p.ndim < 2]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": settings.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=settings.learning_rate,
            betas=settings.betas,
            fused=self.device.type == "cuda",
        )
        self.loss_of = torch.compile(model.loss, dynamic=False) if settings.compile else model.loss
        self.peak_flops = peak_flops
        self.step, self.loss, self.before = 0, math.nan, 0.0
        self.recent: list[torch.Tensor] = []  # loss and gradient norm of steps not looked at
        self.began = time.perf_counter()
        self.marks: list[tuple[int, float]] = []  # steps done, seconds in this call

    def go(
        self,
        until: int,
        checkpoint: Path | None,
        checkpoint_every: int,
        time_limit: float,
        report: Callable[[Progress], None] | None,
        report_every: int,
    ) -> Progress:
        """All steps up to one; the settings are those of `train`."""
        if checkpoint is not None and checkpoint.exists():
            self.load(checkpoint, until)
        while self.step < until:
            self.advance()
            to_save = self.step == until or self.step % checkpoint_every == 0
            if to_save or self.step % report_every == 0:
                progress = self.look()
                if report is not None:
                    report(progress)
            if to_save and checkpoint is not None:
                self.save(checkpoint)
            if self.before + self.passed > time_limit and self.step < until:
                raise TimedOut(
                    f"training {self.model.arch}: {time_limit:g} s are over, at step {self.step} "
                    f"of {until}"
                )
        return self.summary()

    @property
    def passed(self) -> float:
        """Seconds in this call."""
        return time.perf_counter() - self.began

    def advance(self) -> None:
        """One step. Nothing here waits for the device."""
        if not self.marks:
            self.marks.append((self.step, self.passed))
        settings, context = self.settings, self.model.context
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate_at(self.step)
        batch = torch.from_numpy(settings.batch(self.tokens.ids, context, self.step))
        if self.device.type == "cuda":
            batch = batch.pin_memory()
        batch = batch.to(self.device, non_blocking=True)  # (batch_size, context + 1)
        total = torch.zeros((), device=self.device)
        for part in batch.chunk(settings.accumulate):
            with autocast(self.device, settings.precision):
                loss = self.loss_of(part[:, :-1], part[:, 1:]) / settings.accumulate
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        norm = clip_grad_norm_(self.model.parameters(), settings.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.recent.append(torch.stack((total, norm)))
        self.step += 1

    def look(self) -> Progress:
        """Wait for the device, and see whether the losses since the last look are finite."""
        looked_at = torch.stack(self.recent).tolist()
        first = self.step - len(self.recent)
        self.recent.clear()
        for step, (loss, norm) in enumerate(looked_at, first + 1):
            if not math.isfinite(loss) or not math.isfinite(norm):
                raise Diverged(
                    f"training {self.model.arch}: loss {loss:g} with a gradient of length "
                    f"{norm:g} in step {step}"
                )
            self.loss = loss
        self.marks.append((self.step, self.passed))
        return self._progress(*self.marks[-2:])

    def summary(self) -> Progress:
        """The whole call, without what comes before the first look if there is a second."""
        if not self.marks:
            return Progress(self.step, self.loss, self.before)
        begin = self.marks[1 if len(self.marks) > 2 else 0]
        return self._progress(begin, self.marks[-1])

    def _progress(self, begin: tuple[int, float], end: tuple[int, float]) -> Progress:
        count = (end[0] - begin[0]) * self.settings.batch_size * self.model.context
        rate = count / (end[1] - begin[1])
        share = None
        if self.peak_flops is not None:
            share = rate * self.model.training_flops_per_token() / self.peak_flops
        return Progress(self.step, self.loss, self.before + self.passed, rate, share)

    def save(self, file: Path) -> None:
        """Write the checkpoint."""
        with atomic_writer(file) as partial:
            torch.save(self._content(), partial)

    def _content(self) -> dict[str, Any]:
        return {
            "identity": self._identity(),
            "step": self.step,
            "loss": self.loss,
            "seconds": self.before + self.passed,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load(self, file: Path, until: int) -> None:
        """Go on from a checkpoint of this very training that is not beyond a step."""
        content = _read(file)
        if content is None or set(content) != set(self._content()):
            raise InvalidInput(f"{file}: expected a checkpoint of a training, found something else")
        given, own, step = content["identity"], self._identity(), content["step"]
        if other := [key for key in own if given.get(key) != own[key]]:
            key = other[0]
            raise InvalidInput(
                f"{file}: a checkpoint of another training: expected {key} {own[key]}, found "
                f"{given.get(key)}"
            )
        if step > until:
            raise InvalidInput(f"{file}: expected at most step {until}, found {step}")
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.step, self.loss, self.before = step, content["loss"], content["seconds"]

    def _identity(self) -> dict[str, Any]:
        """What makes this training another than any other, but for the first weights."""
        model = self.model
        return {
            "arch": str(model.arch),
            "head_size": model.head_size,
            "context": model.context,
            "vocab_size": model.vocab_size,
            **asdict(self.settings),
            "tokens": _fingerprint(self.tokens),
        }


def weights_of(checkpoint: Path, model: GPT) -> dict[str, torch.Tensor]:
    """The weights in a training's checkpoint, by name, of the same network as a model.

    Raises
    ------
    InvalidInput
        The file is none, or of another network.
    """
    content = _read(checkpoint)
    found = None if content is None else content.get("identity", {}).get("arch")
    if content is None or found != str(model.arch) or "model" not in content:
        what = "something else" if found is None else found
        raise InvalidInput(f"{checkpoint}: expected a checkpoint of {model.arch}, found {what}")
    weights: dict[str, torch.Tensor] = content["model"]
    return weights


def _read(file: Path) -> dict[str, Any] | None:
    """What torch.save wrote; None where that is no dictionary. A pickle is never run."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError):
        return None
    return content if isinstance(content, dict) else None


def _fingerprint(tokens: Tokens) -> str:
    """A hash of some 64 pieces of the tokens and of their number, cheap for any number of them."""
    pieces = [tokens.ids[k : k + 4096] for k in range(0, len(tokens), 1 + len(tokens) // 64)]
    sample = np.concatenate(pieces).astype("<u4").tobytes()
    return hashlib.sha256(b"%d " % len(tokens) + sample).hexdigest()[:16]


def _check(
    model: GPT,
    tokens: Tokens,
    settings: TrainingSettings,
    until: int,
    checkpoint_every: int | None,
    report_every: int,
    peak_flops: float | None,
) -> None:
    if type(until) is not int or not 0 <= until <= settings.steps:
        raise InvalidInput(f"until: expected 0 to {settings.steps} steps, found {until!r}")
    for name, every in (("checkpoint_every", checkpoint_every), ("report_every", report_every)):
        if every is not None and (type(every) is not int or every < 1):
            raise InvalidInput(f"{name}: expected a number of steps, found {every!r}")
    if peak_flops is not None and not peak_flops > 0:
        raise InvalidInput(f"peak_flops: expected a number above 0, found {peak_flops!r}")
    if len(tokens) <= model.context:
        raise InvalidInput(
            f"too little text: expected more than {model.context} tokens, the network's context, "
            f"found {len(tokens)}"
        )
    if tokens.vocab_size > model.vocab_size:
        raise InvalidInput(
            f"expected tokens of a vocabulary of at most {model.vocab_size}, the network's, found "
            f"{tokens.vocab_size}"
        )
