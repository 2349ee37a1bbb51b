"""Gradient of a training step as a CUDA graph.

Small networks compute a step faster than the host launches its kernels one by one. A graph launches
all of them at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from hwnas.profiling.cuda_graph import capture_graph
from hwnas.profiling.training.config import TrainingSettings

_MIN_STEPS = 50  # a shorter training saves less than the capture costs, some tenths of a second

_log = logging.getLogger("hwnas.profiling")


class GradientGraph:
    """Function that computes the gradient for a batch by replaying a CUDA graph.

    The gradients are in the graph's memory: each call overwrites those of the previous one.

    Parameters
    ----------
    gradient
        Function of a batch that sets the gradients of all parameters, from None, and returns the
        loss, a scalar. It reads neither times nor values of the device.
    batch : (B, T) integers
        A batch, for its shape. Its gradient is computed once, before the capture.

    Raises
    ------
    RuntimeError
        The function cannot be captured, or memory does not suffice.
    """

    def __init__(self, gradient: Callable[[Tensor], Tensor], batch: Tensor) -> None:
        self.batch = batch.clone()
        self.replay = capture_graph(lambda: gradient(self.batch), warm_up=1)

    def __call__(self, batch: Tensor) -> Tensor:
        """Set the gradients for a batch; the returned loss is overwritten by the next call."""
        self.batch.copy_(batch)
        return self.replay()


def pays_capture(device: torch.device, settings: TrainingSettings, steps: int) -> bool:
    """Return whether the gradient of so many more steps should become a graph.

    Examples
    --------
    >>> pays_capture(torch.device("cuda"), TrainingSettings(steps=400), 390)
    True
    >>> pays_capture(torch.device("cpu"), TrainingSettings(steps=400), 390)
    False
    """
    return device.type == "cuda" and settings.compile != "off" and steps >= _MIN_STEPS


def try_capture(
    gradient: Callable[[Tensor], Tensor], batch: Tensor, name: str
) -> GradientGraph | None:
    """Return the graph of a gradient, or None if it cannot be captured.

    Parameters
    ----------
    gradient, batch
        Those of `GradientGraph`.
    name
        Description of the training for the log: ``"training gpt-s-..."``.
    """
    try:
        return GradientGraph(gradient, batch)
    except RuntimeError as error:  # torch.OutOfMemoryError is one
        reason = str(error).partition("\n")[0]
        _log.warning("%s launches its kernels one by one, without a CUDA graph: %s", name, reason)
        torch.cuda.synchronize(batch.device)
        return None
