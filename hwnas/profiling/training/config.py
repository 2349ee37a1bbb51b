"""Settings of a training, and what follows from them for each step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from hwnas.errors import InvalidInput
from hwnas.profiling.training.compile_choice import Compile
from hwnas.typing import IntArray, TokenArray

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """Settings of a training.

    A checkpoint can be continued only with equal settings, except for `compile`.

    Attributes
    ----------
    steps
        Length of the complete training, on which the learning-rate schedule is based. A training
        may be paused earlier.
    batch_size
        Sequences per step, each as long as the context of the model.
    accumulate
        Number of parts in which the gradient of a batch is computed; more parts need less memory.
    learning_rate, final
        Maximum of the learning rate, and its final value as a share of the maximum.
    warmup
        Share of the steps in which the learning rate increases.
    weight_decay
        Weight decay of matrices; norms and biases have none.
    betas
        Betas of AdamW.
    clip
        Maximum norm of the gradient; larger gradients are scaled down to it.
    precision
        ``"bfloat16"``: autocast, with weights and optimizer state in float32. ``"auto"`` is
        bfloat16 on CUDA and float32 elsewhere.
    compile
        Code of the training: ``"off"`` runs as it is written; ``"blocks"`` compiles each shape of
        a block, and the output layer with the loss, once for all networks of a search; ``"whole"``
        compiles each network as one. ``"auto"`` chooses by the length of the training, see
        `hwnas.profiling.training.compile_choice.choose_code`, and is off on a CPU. True is
        ``"whole"``, False ``"off"``. Compiled code computes the same up to rounding. On CUDA all
        but ``"off"`` launch the kernels of a step's gradient as one graph.
    seed
        Seed of the batches.

    Raises
    ------
    InvalidInput
        A setting has the wrong type or is out of range.

    Examples
    --------
    >>> settings = TrainingSettings(steps=100, warmup=0.1)
    >>> [round(settings.learning_rate_at(step), 6) for step in (0, 10, 100)]
    [9.1e-05, 0.001, 0.0001]
    """

    steps: int
    batch_size: int = 16
    accumulate: int = 1
    learning_rate: float = 1e-3
    final: float = 0.1
    warmup: float = 0.05
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0
    precision: Precision = "auto"
    compile: Compile = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate"):
            _check_integer(name, getattr(self, name), 1)
        _check_integer("seed", self.seed, 0)
        # An optimizer cannot multiply by what is beyond 32 bits; an infinite clip is none.
        expected = "a number above 0, at most 1e30"
        _check_number("learning_rate", self.learning_rate, expected, lambda v: 0 < v <= 1e30)
        _check_number("clip", self.clip, "a number above 0", lambda v: v > 0)
        _check_number("weight_decay", self.weight_decay, "a number of at least 0", lambda v: v >= 0)
        for name in ("final", "warmup"):
            _check_number(name, getattr(self, name), "a share from 0 to 1", lambda v: 0 <= v <= 1)
        if not isinstance(self.betas, tuple) or len(self.betas) != 2:
            raise InvalidInput(f"betas: expected a pair of numbers, found {self.betas!r}")
        for beta in self.betas:
            _check_number("betas", beta, "numbers from 0 to below 1", lambda v: 0 <= v < 1)
        if self.batch_size % self.accumulate:
            raise InvalidInput(
                f"accumulate: expected a divisor of batch_size {self.batch_size}, found "
                f"{self.accumulate}"
            )
        if self.precision not in get_args(Precision):
            raise InvalidInput(
                f"precision: expected one of {', '.join(get_args(Precision))}, found "
                f"{self.precision!r}"
            )
        # YAML reads off as false.
        if isinstance(self.compile, bool):
            object.__setattr__(self, "compile", "whole" if self.compile else "off")
        if self.compile not in get_args(Compile):
            raise InvalidInput(
                f"compile: expected one of {', '.join(get_args(Compile))}, found {self.compile!r}"
            )

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0.

        It increases linearly and then decreases along a cosine (Loshchilov and Hutter 2017,
        arXiv:1608.03983, equation 5). It reaches its final share one step after the last step.
        """
        warmup_steps = round(self.warmup * self.steps)
        # Linear warm-up; step 0 already has a rate above 0.
        if step < warmup_steps:
            return self.learning_rate * (step + 1) / (warmup_steps + 1)
        progress = (step - warmup_steps) / max(self.steps - warmup_steps, 1)
        cosine = (1 + math.cos(math.pi * progress)) / 2  # from 1 down to 0
        return self.learning_rate * (self.final + (1 - self.final) * cosine)

    def batch(self, ids: TokenArray, context: int, step: int) -> IntArray:
        """Return the sequences of a step, at random positions that depend on seed and step only.

        Parameters
        ----------
        ids : (n,) unsigned integers
            More than `context` tokens.

        Returns
        -------
        (batch_size, context + 1) int64
            All columns but the last are the input, all but the first are the targets.
        """
        # A generator for each step, so that a continued training sees the same batches.
        rng = np.random.default_rng([self.seed, step])
        # Sequences may cross the end of a document; the end token marks it.
        starts = rng.integers(0, len(ids) - context, size=self.batch_size)
        return np.stack([ids[start : start + context + 1] for start in starts]).astype(np.int64)


def adamw(parameters: Iterable[Tensor], settings: TrainingSettings) -> torch.optim.AdamW:
    """Return the optimizer of a training; weight decay applies to matrices only, as in nanoGPT."""
    parameters = list(parameters)
    matrices = [p for p in parameters if p.ndim >= 2]
    vectors = [p for p in parameters if p.ndim < 2]  # norms and biases
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=settings.betas,
        fused=parameters[0].device.type == "cuda",
    )


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """Return a context in which a model computes with a precision."""
    enabled = precision == "bfloat16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def _check_integer(name: str, value: int, minimum: int) -> None:
    if type(value) is not int or value < minimum:
        raise InvalidInput(f"{name}: expected an integer of at least {minimum}, found {value!r}")


def _check_number(
    name: str, value: float, expected: str, is_valid: Callable[[float], bool]
) -> None:
    if type(value) not in (int, float) or not is_valid(value):
        raise InvalidInput(f"{name}: expected {expected}, found {value!r}")
