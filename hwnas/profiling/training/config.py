"""How a network is trained: the settings, and what follows from them for a step."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch

from hwnas.errors import InvalidInput
from hwnas.profiling.data.tokenizer import Ids

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """How a network is trained. A checkpoint is continued with the very same settings only.

    Attributes
    ----------
    steps
        Length of the whole training, to which the learning rate's schedule belongs; a training
        may be paused before.
    batch_size
        Sequences a step, each as long as the network's context.
    accumulate
        The batch is computed in so many parts, which takes less memory.
    learning_rate, final
        Highest learning rate, and the share of it that is left in the end.
    warmup
        Share of the steps in which the learning rate rises.
    weight_decay
        Of matrices; norms and biases have none.
    betas
        Of AdamW.
    clip
        Longest gradient; a longer one is shortened.
    precision
        ``"bfloat16"``: autocast, weights and optimizer stay in float32. ``"auto"`` is that on
        CUDA and float32 elsewhere.
    compile
        Compile the loss with ``torch.compile``.
    seed
        Of the batches.

    Raises
    ------
    InvalidInput
        A setting is not of its type or range.
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
    compile: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate"):
            _integer(name, getattr(self, name), 1)
        _integer("seed", self.seed, 0)
        for name in ("learning_rate", "clip"):
            _number(name, getattr(self, name), "a number above 0", lambda v: v > 0)
        _number("weight_decay", self.weight_decay, "a number of at least 0", lambda v: v >= 0)
        for name in ("final", "warmup"):
            _number(name, getattr(self, name), "a share from 0 to 1", lambda v: 0 <= v <= 1)
        if not isinstance(self.betas, tuple) or len(self.betas) != 2:
            raise InvalidInput(f"betas: expected a pair of numbers, found {self.betas!r}")
        for beta in self.betas:
            _number("betas", beta, "numbers from 0 to below 1", lambda v: 0 <= v < 1)
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
        if type(self.compile) is not bool:
            raise InvalidInput(f"compile: expected true or false, found {self.compile!r}")

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of a step, counted from 0.

        It rises in a line, and then falls along a cosine to its final share, which the step after
        the last would have.
        """
        rising = round(self.warmup * self.steps)
        if step < rising:
            return self.learning_rate * (step + 1) / (rising + 1)
        gone = (step - rising) / max(self.steps - rising, 1)
        left = (1 + math.cos(math.pi * gone)) / 2
        return self.learning_rate * (self.final + (1 - self.final) * left)

    def batch(self, ids: Ids, context: int, step: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The sequences of a step, at random places; they follow from seed and step alone.

        Parameters
        ----------
        ids : (n,) unsigned integers
            More than `context` tokens.

        Returns
        -------
        (batch_size, context + 1) int64
            All but the last column are read, all but the first are predicted.
        """
        rng = np.random.default_rng([self.seed, step])
        starts = rng.integers(0, len(ids) - context, size=self.batch_size)
        return np.stack([ids[start : start + context + 1] for start in starts]).astype(np.int64)


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """The context in which a network computes with a precision."""
    on = precision == "bfloat16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=on)


def _integer(name: str, value: int, least: int) -> None:
    if type(value) is not int or value < least:
        raise InvalidInput(f"{name}: expected an integer of at least {least}, found {value!r}")


def _number(name: str, value: float, expected: str, fits: Callable[[float], bool]) -> None:
    if type(value) not in (int, float) or not fits(value):
        raise InvalidInput(f"{name}: expected {expected}, found {value!r}")
