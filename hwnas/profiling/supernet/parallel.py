"""Processes of one training, started by torchrun, one for each device.

A step has several backward passes, through networks with different parameters, whose gradients are
added up in one piece of memory. `DistributedDataParallel` averages gradients during one backward
pass that meets every parameter; here they are averaged once a step, in a single reduction.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from hwnas.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Group:
    """Processes of a training.

    Attributes
    ----------
    rank, size
        Number of this process, from 0, and of all.
    device
        Device of this process.
    """

    rank: int
    size: int
    device: torch.device

    def average(self, tensor: Tensor) -> None:
        """Replace a tensor by its mean over the processes."""
        if self.size > 1:
            distributed.all_reduce(tensor)
            tensor /= self.size

    def share(self, tensor: Tensor) -> None:
        """Replace a tensor by that of the first process."""
        if self.size > 1:
            distributed.broadcast(tensor, src=0)

    def wait(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            distributed.barrier()

    def any(self, flag: bool) -> bool:
        """Return whether a flag is set in any process."""
        value = torch.tensor(float(flag), device=self.device)
        if self.size > 1:
            distributed.all_reduce(value)
        return bool(value > 0)


@contextmanager
def process_group(device: str = "auto") -> Iterator[Group]:
    """Join the processes that torchrun started; without it this process is alone.

    Parameters
    ----------
    device
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``; ``"auto"`` is CUDA where it is available. Of several
        processes each takes the GPU of its own number.

    Raises
    ------
    InvalidInput
        There is no such device, or there are fewer GPUs than processes.
    """
    size, rank = (int(os.environ.get(name, default)) for name, default in _VARIABLES)
    chosen = _device(device, int(os.environ.get("LOCAL_RANK", "0")) if size > 1 else None)
    if size == 1:
        yield Group(0, 1, chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Group(rank, size, chosen)
    finally:
        distributed.destroy_process_group()


_VARIABLES = (("WORLD_SIZE", "1"), ("RANK", "0"))


def _device(name: str, local_rank: int | None) -> torch.device:
    """Return the device of a process; `local_rank` is its number on this machine, if of several."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InvalidInput(f"device: expected auto, cpu, cuda or cuda:1, found {name!r}") from None
    if device.type != "cuda":
        return device
    index = device.index or 0 if local_rank is None else local_rank
    if index >= torch.cuda.device_count():
        raise InvalidInput(
            f"device: expected a GPU with number {index}, found {torch.cuda.device_count()} GPUs"
        )
    return torch.device("cuda", index)
