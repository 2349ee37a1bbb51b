"""Passes of the largest and the smallest network of a supernet's steps as CUDA graphs.

Both networks are the same in every step, their weights and gradients stay where they are, and so
one launch can replay all kernels of a pass. The host, which launches a large network's kernels more
slowly than a GPU runs them, then launches only those of the random networks one by one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from hwnas.profiling.cuda_graph import capture_graph
from hwnas.profiling.supernet.output_loss import ChunkLogits
from hwnas.profiling.training.config import TrainingSettings
from hwnas.profiling.training.gradient_graph import pays_capture

N_KEPT = 2  # networks that every step trains: the largest and the smallest
_N_EAGER = 2  # steps before a capture: they load code and show how much memory is needed
_RESERVE = 1.1  # factor of the memory that a capture must find

# Function of the number of a network, a part of a batch, and the logits of the largest network,
# which its own pass adds to the list; returns the loss of the text.
Pass = Callable[[int, Tensor, list[ChunkLogits]], Tensor]

_log = logging.getLogger("hwnas.profiling")


class PassGraphs:
    """Passes of the networks of a step, some of them as graphs.

    Parameters
    ----------
    device
        Device of the training; passes on a CPU are never captured.
    settings
        Settings of the training.
    """

    def __init__(self, device: torch.device, settings: TrainingSettings) -> None:
        self.device, self.settings = device, settings
        self.n_archs = self.n_eager = 0
        self.bytes: dict[int, int] = {}  # that a pass needs, by number of the network
        self.replays: dict[int, Callable[[], Tensor]] = {}
        self.part = torch.empty(0)
        self.logits: list[ChunkLogits] = []

    def prepare(self, run: Pass, parts: Sequence[Tensor], n_archs: int, step: int) -> None:
        """Capture passes if it is time; this changes gradients.

        Parameters
        ----------
        run
            Passes of the networks of this step.
        parts
            Parts of a batch, (B, T) each, all of the same shape.
        n_archs
            Number of networks of this step.
        step
            Number of this step.
        """
        if n_archs != self.n_archs:  # losses are divided by another number
            self.n_archs, self.n_eager = n_archs, 0
            self.replays, self.logits = {}, []
        remaining = self.settings.steps - step
        if self.n_eager == _N_EAGER and pays_capture(self.device, self.settings, remaining):
            self.part = parts[0].clone()
            for i in range(min(N_KEPT, n_archs)):
                # The second reads logits in the memory of the first.
                if not self._try_capture(run, i):
                    break
        self.n_eager += 1

    def run(self, run: Pass, i: int, part: Tensor, logits: list[ChunkLogits]) -> Tensor:
        """Run a pass, with the parameters of `Pass`, or replay it."""
        if i in self.replays:
            self.part.copy_(part)
            loss = self.replays[i]()
            if i == 0:
                logits += self.logits
            return loss
        if i >= N_KEPT or self.n_eager > _N_EAGER or self.device.type != "cuda":
            return run(i, part, logits)
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        loss = run(i, part, logits)
        self.bytes[i] = torch.cuda.max_memory_allocated(self.device) - before
        return loss

    def _try_capture(self, run: Pass, i: int) -> bool:
        # A random network may need as much as the largest one.
        needed = _RESERVE * (self.bytes.get(i, 0) + self.bytes.get(0, 0))
        if needed > (free := _free_bytes(self.device)):
            _log.info("%s", f"no graph of network {i}: {needed:.3g} bytes needed, {free:.3g} free")
            return False
        try:
            # Code and kernels have run before, so none is selected in the capture.
            self.replays[i] = capture_graph(partial(self._captured, run, i), warm_up=0)
        except RuntimeError as error:  # torch.OutOfMemoryError is one
            reason = str(error).partition("\n")[0]
            _log.warning("a supernet launches its kernels one by one, without a graph: %s", reason)
            torch.cuda.synchronize(self.device)
            return False
        return True

    def _captured(self, run: Pass, i: int) -> Tensor:
        if i == 0:
            self.logits.clear()
        return run(i, self.part, self.logits)


def _free_bytes(device: torch.device) -> float:
    """Return the memory of a device that tensors can have."""
    if device.type != "cuda":
        return float("inf")
    torch.cuda.empty_cache()
    return float(torch.cuda.mem_get_info(device)[0])
