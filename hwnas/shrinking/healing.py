"""Healing: brief distillation of a smaller version from the model that it is a part of.

The targets are the predictions of the whole model and the text (Hinton et al. 2015,
arXiv:1503.02531), as Minitron retrains what it has pruned (Muralidharan et al. 2024,
arXiv:2407.14679, section 3).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.utils import clip_grad_norm_

from hwnas.errors import InvalidInput
from hwnas.profiling.data.tokenizer import Tokens
from hwnas.profiling.errors import Diverged, release_memory
from hwnas.profiling.language_model import LanguageModel
from hwnas.profiling.supernet.output_loss import ChunkLogits, Teacher, output_loss
from hwnas.profiling.training.config import TrainingSettings, adamw, autocast

_CHECK_EVERY = 20  # steps between two looks at the loss, which wait for the device


@dataclass(frozen=True, slots=True)
class Healing:
    """Result of a distillation.

    Attributes
    ----------
    tokens
        Number of tokens that it saw.
    loss
        Cross-entropy with the text in the last step's batch, in nats per token.
    seconds
        Its duration.
    """

    tokens: int
    loss: float
    seconds: float


def healing_settings(
    tokens: int,
    window: int,
    *,
    batch_size: int = 32,
    learning_rate: float = 5e-4,
    seed: int = 0,
) -> TrainingSettings:
    """Return the settings of a distillation within a number of tokens.

    Raises
    ------
    InvalidInput
        The tokens are fewer than those of one step.

    Examples
    --------
    >>> healing_settings(1_000_000, 512).steps
    61
    """
    steps = tokens // (batch_size * window)
    if steps < 1:
        raise InvalidInput(
            f"heal: expected at least {batch_size * window:,} tokens, those of a step of "
            f"{batch_size} x {window}, found {tokens:,}"
        )
    return TrainingSettings(
        steps=steps, batch_size=batch_size, learning_rate=learning_rate, seed=seed
    )


def heal(
    member: LanguageModel,
    teacher: LanguageModel,
    tokens: Tokens,
    settings: TrainingSettings,
    *,
    window: int | None = None,
    share: float = 0.9,
    max_seconds: float = math.inf,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> Healing:
    """Distill a smaller version from the whole model, in place.

    Parameters
    ----------
    member
        Smaller version with float32 weights of its own, on the device of the whole model.
    teacher
        The whole model; it is not changed.
    tokens
        Tokens to train on.
    settings
        See `healing_settings`.
    window
        Tokens of a sequence; the context of the model by default.
    share
        Share of the whole model's predictions in the targets; the rest is the text.
    max_seconds
        Time after which it ends early.
    report
        Called every few steps with the step and the loss on the text.

    Raises
    ------
    Diverged
        A loss is not finite.
    OutOfMemory
        The device has not enough memory.
    """
    length = min(window or member.context, member.context)
    with release_memory(member.device, f"healing {member.arch}"):
        try:
            for parameter in member.parameters():
                parameter.requires_grad_()
            return _distill(member, teacher, tokens, settings, length, share, max_seconds, report)
        finally:
            member.zero_grad(set_to_none=True)
            for parameter in member.parameters():
                parameter.requires_grad_(False)


def _distill(
    member: LanguageModel,
    teacher: LanguageModel,
    tokens: Tokens,
    settings: TrainingSettings,
    length: int,
    share: float,
    max_seconds: float,
    report: Callable[[int, float], None],
) -> Healing:
    """Run the steps of a distillation."""
    optimizer, device = adamw(member.parameters(), settings), member.device
    start, nats, step = time.perf_counter(), math.nan, 0
    while step < settings.steps:
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate_at(step)
        batch = torch.from_numpy(settings.batch(tokens.ids, length, step)).to(device)
        for part in batch.chunk(settings.accumulate):  # (B, length + 1)
            inputs, targets = part[:, :-1], part[:, 1:]
            logits: list[ChunkLogits] = []
            with autocast(device, settings.precision):
                with torch.no_grad():
                    x = teacher.features(inputs)
                    output_loss(x, teacher.output_weight, targets, keep=logits)
                losses = output_loss(
                    member.features(inputs),
                    member.output_weight,
                    targets,
                    teacher=Teacher(logits, share),
                )
            (losses.loss / settings.accumulate).backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(member.parameters(), settings.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if step % _CHECK_EVERY == 0 or step == settings.steps:
            nats = float(losses.nats.detach())
            if not math.isfinite(nats):
                raise Diverged(f"healing {member.arch}: loss {nats:g} in step {step}")
            report(step, nats)
            if time.perf_counter() - start > max_seconds:
                break
    seconds = time.perf_counter() - start
    return Healing(step * settings.batch_size * length, nats, seconds)
