"""Compiled code of a supernet's training, made once for all of its steps.

Every step trains other architectures, so nothing is compiled for one. Code is shared by shape: one
function for each shape of a block (54 in gpt-s), found in torch's cache on disk by later runs, and
one for the gradient of a chunk of logits, whose shape is the same for all architectures.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from hwnas.profiling.language_model import LanguageModel
from hwnas.profiling.meters.forward_pass import available_cpus
from hwnas.profiling.supernet.extremes import spanning_codes
from hwnas.profiling.supernet.output_loss import ChunkGradient, chunk_gradient
from hwnas.profiling.supernet.parallel import Group
from hwnas.profiling.supernet.shared_weights import SharedWeights
from hwnas.profiling.training.config import TrainingSettings
from hwnas.profiling.training.parts import Part, has_parts, parts_of
from hwnas.profiling.training.shared_code import SharedCode
from hwnas.spaces import LanguageModelSpace

_N_EXPECTED = 200  # random architectures among whose blocks are all shapes, or all but rare ones
_MAX_COMPILERS = 8
_MAX_SECONDS = 900.0  # to wait for compiled code; shapes without it run as they are written


class StepCode:
    """Code of the blocks and of the loss.

    Parameters
    ----------
    settings
        Settings with the batch of this process.
    device
        Device of the training.
    code
        Compiled code; None runs everything as it is written.
    """

    def __init__(
        self, settings: TrainingSettings, device: torch.device, code: SharedCode | None
    ) -> None:
        self.settings, self.device, self.code = settings, device, code
        self.chunk_gradient: ChunkGradient = chunk_gradient
        if code is not None:
            self.chunk_gradient = torch.compile(chunk_gradient, dynamic=False, backend=code.backend)

    def prepare(self, space: LanguageModelSpace, report: Callable[[str], None]) -> None:
        """Compile the blocks of a space in other processes, if the code has any, and wait."""
        if self.code is None or self.code.pool is None:
            return
        pool, start = self.code.pool, time.monotonic()
        parts = block_parts(space, self.settings, self.device).values()
        missing = [part for part in parts if self.code.function(part) is None]
        pool.submit(missing, priority=0)
        pool.resume()
        report(f"compiling {len(missing)} of {len(parts)} shapes of blocks")
        while pool.is_busy and time.monotonic() - start < _MAX_SECONDS:
            time.sleep(0.1)
        pool.close()  # its processes hold memory of the device
        n = sum(self.code.function(part) is not None for part in missing)
        report(f"compiled {n} shapes of blocks in {time.monotonic() - start:.0f} s")

    def attach(self, model: LanguageModel) -> None:
        """Let the blocks of a model run the code of their shapes."""
        if self.code is None or not has_parts(model):
            return
        *parts, _ = parts_of(model, self.settings, self.device)
        for block, part in zip(model.blocks, parts, strict=True):
            if (function := self.code.function(part)) is not None:
                block.forward = partial(function, block)

    def detach(self, model: LanguageModel) -> None:
        """Restore the blocks of a model; otherwise they refer to themselves and keep its memory."""
        if self.code is not None and has_parts(model):
            for block in model.blocks:
                block.__dict__.pop("forward", None)


def new_code(settings: TrainingSettings, group: Group) -> SharedCode | None:
    """Return shared code if the settings ask for it; on a CPU ``auto`` compiles nothing.

    The first process has workers that compile; others find the code on disk.
    """
    is_cuda = group.device.type == "cuda"
    if settings.compile == "off" or (settings.compile == "auto" and not is_cuda):
        return None
    has_workers = is_cuda and group.rank == 0
    return SharedCode(workers=min(len(available_cpus()) // 2, _MAX_COMPILERS) * has_workers)


def block_parts(
    space: LanguageModelSpace, settings: TrainingSettings, device: torch.device
) -> dict[str, Part]:
    """Return one block of each shape that is likely to occur in a supernet, by key.

    Examples
    --------
    >>> import hwnas
    >>> space, settings = hwnas.space("gpt-s-wide"), TrainingSettings(steps=1)
    >>> len(block_parts(space, settings, torch.device("cpu")))  # width, ratio, heads, bias
    54
    """
    sample = space.sample(_N_EXPECTED, np.random.default_rng(0))
    archs = space.decode(np.concatenate([spanning_codes(space), sample]))
    shared = SharedWeights(space, device="meta")
    models = map(shared.subnetwork, archs)
    parts = (part for model in models for part in parts_of(model, settings, device)[:-1])
    return {part.key: part for part in parts}
