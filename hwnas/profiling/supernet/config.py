"""Settings of the training of a supernet."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from hwnas.errors import InvalidInput
from hwnas.profiling.supernet.extremes import largest, smallest
from hwnas.profiling.training.config import TrainingSettings
from hwnas.spaces import LanguageModelSpace

_STREAM = 0x5A  # separates the random stream of architectures from that of batches


@dataclass(frozen=True, slots=True, kw_only=True)
class SupernetSettings:
    """Settings of the training of a supernet.

    Attributes
    ----------
    training
        Steps, batches, optimizer and precision, as of any training. `accumulate` divides the batch
        of each process.
    sampled
        Random architectures of a step, beside the largest and the smallest one: the sandwich rule
        (Yu and Huang 2019, arXiv:1903.05134). HW-GPT-Bench has two.
    distillation
        Share of the largest network's predictions in the targets of the others, from 0 to 1
        (in-place distillation, same source); the rest is the text.
    order
        Share of the steps, from 0 to below 1, in which only the largest network is trained, and
        after which its heads and neurons are ordered by importance; 0 orders nothing.

    Raises
    ------
    InvalidInput
        A setting is out of range.
    """

    training: TrainingSettings
    sampled: int = 2
    distillation: float = 0.5
    order: float = 0.0

    def __post_init__(self) -> None:
        if type(self.sampled) is not int or self.sampled < 0:
            raise InvalidInput(
                f"sampled: expected an integer of at least 0, found {self.sampled!r}"
            )
        if not 0 <= self.distillation <= 1:
            raise InvalidInput(
                f"distillation: expected a share from 0 to 1, found {self.distillation!r}"
            )
        if not 0 <= self.order < 1:
            raise InvalidInput(f"order: expected a share from 0 to below 1, found {self.order!r}")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON has them, without tuples."""
        content = asdict(self)
        content["training"]["betas"] = list(self.training.betas)
        return content

    @property
    def order_step(self) -> int:
        """Step before which heads and neurons are ordered; 0 for never."""
        return round(self.order * self.training.steps)

    def architectures(self, space: LanguageModelSpace, step: int) -> list[Any]:
        """Return the architectures of a step: the largest, the smallest, and random ones.

        They depend on the seed and the step only, so that a training can continue, and that all
        processes of one train the same.

        Examples
        --------
        >>> import hwnas
        >>> settings = SupernetSettings(training=TrainingSettings(steps=10))
        >>> [a.n_layer for a in settings.architectures(hwnas.space("gpt-s-wide"), step=0)]
        [12, 3, 12, 3]
        """
        if step < self.order_step:
            return [largest(space)]
        rng = np.random.default_rng([self.training.seed, step, _STREAM])
        return [largest(space), smallest(space), *space.decode(space.sample(self.sampled, rng))]

    def of_process(self, n_processes: int) -> TrainingSettings:
        """Return the settings of the training with the batch of one of several processes.

        Raises
        ------
        InvalidInput
            The batch cannot be divided.
        """
        training = self.training
        if training.batch_size % (n_processes * training.accumulate):
            raise InvalidInput(
                f"batch_size: expected a multiple of {n_processes} processes x "
                f"{training.accumulate} parts, found {training.batch_size}"
            )
        return replace(training, batch_size=training.batch_size // n_processes)
