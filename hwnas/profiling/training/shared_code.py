"""Compiled code that the networks of a search share, and the loss that runs it.

Each block shape, and each shape of the output layer with the loss, is compiled once and kept on
disk. While code is being compiled by other processes, the parts it is for run uncompiled.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from hwnas.errors import InvalidInput
from hwnas.profiling.data.corpus import cache_folder
from hwnas.profiling.language_model import LanguageModel, build_model, cross_entropy
from hwnas.profiling.training.compile_choice import choose_code
from hwnas.profiling.training.compile_pool import CompilePool
from hwnas.profiling.training.config import TrainingSettings
from hwnas.profiling.training.parts import Part, compilation, function_of, has_parts, parts_of
from hwnas.spaces import LanguageModelSpace

_N_EXPECTED = 32  # random architectures that show which parts of a space are frequent
_FREQUENT = 3  # occurrences in the expected models from which on a part is compiled ahead
_MAX_AHEAD = 64  # parts compiled ahead

_log = logging.getLogger("hwnas.profiling")


class Loss(Protocol):
    """Loss of a model in a training."""

    def __call__(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy in nats; `tokens` and `targets` are (B, T) integers."""
        ...

    def refresh(self) -> bool:
        """Use code that has been compiled since the last call; return whether there was some."""
        ...


class SharedCode:
    """Compiled code of parts, in this process and on disk.

    Parameters
    ----------
    folder
        Directory of compiled code; by default ``hwnas/compiled`` in the user's cache directory.
    workers
        Processes that compile while networks train. With 0 a training compiles what it needs
        before its first step.
    expected
        Function that returns models on ``"meta"`` whose frequent parts are compiled ahead, once.
    backend
        Backend of ``torch.compile``.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        workers: int = 0,
        expected: Callable[[], Iterable[LanguageModel]] = tuple,
        backend: str = "inductor",
    ) -> None:
        self.folder = cache_folder().with_name("compiled") if folder is None else folder
        self.expected, self.backend = expected, backend
        self.functions: dict[str, Callable[..., Tensor]] = {}  # by key of a part
        self.pool: CompilePool | None = None
        self._is_ahead = False
        if workers:
            environment = {**self.environment, "TORCHINDUCTOR_COMPILE_THREADS": "1"}
            self.pool = CompilePool(workers, environment)

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables under which torch finds the code."""
        return {"TORCHINDUCTOR_CACHE_DIR": str(self.folder / "torch")}

    @contextmanager
    def active(self) -> Iterator[None]:
        """Compile, and find compiled code, as all users of this code do, within a block."""
        with compilation(), _environment(self.environment):
            yield

    @contextmanager
    def loss(self, model: LanguageModel, settings: TrainingSettings) -> Iterator[Loss]:
        """Return the loss of a model; on exit its blocks are as before."""
        parts = parts_of(model, settings, model.device)
        loss = SharedLoss(model, parts, self)
        if self.pool is not None:
            self._submit(self.pool, parts, settings, model.device)
        try:
            loss.refresh()
            yield loss
        finally:
            if self.pool is not None and self.pool.is_busy:
                self.pool.pause()
            else:  # its processes hold memory of the device
                self.close()
            loss.close()

    def function(self, part: Part) -> Callable[..., Tensor] | None:
        """Return the compiled function of a part; None until a worker has compiled it."""
        if part.key not in self.functions:
            if self.pool is not None and not self._is_cached(part, self.pool):
                return None
            self.functions[part.key] = torch.compile(
                function_of(part), dynamic=False, backend=self.backend
            )
        return self.functions[part.key]

    def close(self) -> None:
        """End the worker processes."""
        if self.pool is not None:
            self.pool.close()

    def _submit(
        self, pool: CompilePool, parts: list[Part], settings: TrainingSettings, device: torch.device
    ) -> None:
        """Have the parts of this training compiled first, and then the frequent ones of others."""
        wanted = [part for part in parts if not self._is_cached(part, pool)]
        # The output layer takes the longest to compile and the most time of small networks.
        pool.submit(reversed(wanted), priority=0)
        if not self._is_ahead:
            self._is_ahead = True
            likely = [p for m in self.expected() for p in parts_of(m, settings, device)]
            counts = Counter(part.key for part in likely)
            part_of_key = {part.key: part for part in likely}
            frequent = [key for key, n in counts.most_common(_MAX_AHEAD) if n >= _FREQUENT]
            ahead = [part_of_key[key] for key in frequent]
            wanted += (missing := [part for part in ahead if not self._is_cached(part, pool)])
            pool.submit(missing, priority=1)
        if wanted or pool.is_busy:
            pool.resume()

    def _is_cached(self, part: Part, pool: CompilePool) -> bool:
        """Return whether the code of a part is on disk, from this run or an earlier one."""
        marker = self.folder / "parts" / part.key
        if part.key in pool.compiled and not marker.exists():
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()
        if reason := pool.failed.pop(part.key, None):
            part_name = "the output layer" if part.layer is None else f"layer {part.layer}"
            _log.warning("%s of %s is trained uncompiled: %s", part_name, part.arch, reason)
        return marker.exists()


class SharedLoss:
    """Loss of a model that runs compiled code for each part that has some.

    A block keeps its parameters and its place in the model; only its ``forward`` is replaced.
    """

    def __init__(self, model: LanguageModel, parts: list[Part], code: SharedCode) -> None:
        self.model, self.code = model, code
        self.waiting = list(parts)
        self.output: Callable[[Tensor, Tensor, Tensor], Tensor] = cross_entropy

    def __call__(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy in nats; `tokens` and `targets` are (B, T) integers."""
        x = self.model.features(tokens)  # (B, T, C)
        return self.output(x, self.model.output_weight, targets.contiguous())

    def refresh(self) -> bool:
        """Use code that has been compiled since the last call; return whether there was some."""
        n_waiting = len(self.waiting)
        for part in tuple(self.waiting):
            if (function := self.code.function(part)) is None:
                continue
            self.waiting.remove(part)
            if part.layer is None:
                self.output = function
            else:
                block = self.model.blocks[part.layer]
                block.forward = partial(function, block)
        return len(self.waiting) < n_waiting

    def close(self) -> None:
        """Restore the blocks."""
        for block in self.model.blocks:
            block.__dict__.pop("forward", None)


class PlainLoss:
    """Loss of a model without compiled code, or with that of the whole network."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.function = function

    def __call__(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy in nats; `tokens` and `targets` are (B, T) integers."""
        return self.function(tokens, targets)

    def refresh(self) -> bool:
        """Return False: no code arrives later."""
        return False


def expected_models(space: LanguageModelSpace) -> list[LanguageModel]:
    """Return models of random architectures of a space, without weights."""
    archs = space.decode(space.sample(_N_EXPECTED, np.random.default_rng(0)))
    return [build_model(space, arch, device="meta") for arch in archs]


@contextmanager
def training_loss(
    model: LanguageModel,
    settings: TrainingSettings,
    steps: int,
    *,
    code: SharedCode | None = None,
    peak_flops: float | None = None,
) -> Iterator[Loss]:
    """Return the loss of a model for a training of some steps, compiled as `choose_code` says.

    Parameters
    ----------
    code
        Code to share with other trainings.
    peak_flops
        Peak throughput of the device in operations per second, if it is known.

    Raises
    ------
    InvalidInput
        Blocks of a model that has none are to be compiled.
    """
    tokens = steps * settings.batch_size * model.context
    kind = choose_code(
        settings.compile,
        model.device,
        tokens * model.training_flops_per_token(),
        can_share=code is not None and has_parts(model),
        peak_flops=peak_flops,
    )
    if kind == "blocks" and not has_parts(model):
        raise InvalidInput(
            f"compile: blocks: models of {model.family} have no blocks, cos and sin; expected off, "
            "whole or auto"
        )
    if kind == "off":
        yield PlainLoss(model.loss)
        return
    code = SharedCode() if code is None else code
    with code.active():
        if kind == "blocks":
            with code.loss(model, settings) as loss:
                yield loss
            return
        try:
            yield PlainLoss(torch.compile(model.loss, dynamic=False))
        finally:
            # torch stops compiling after a few models unless its caches are cleared.
            torch.compiler.reset()


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables within a block."""
    previous = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in previous.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
