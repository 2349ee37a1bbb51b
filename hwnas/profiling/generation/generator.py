"""Prefill and decoding steps of a batch, with a static cache of keys and values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from hwnas.errors import InvalidInput
from hwnas.profiling.cuda_graph import capture_graph, has_triton
from hwnas.profiling.generation.cache import KVCache
from hwnas.profiling.language_model import LanguageModel

DecodingMode = Literal["auto", "graph", "eager"]

BUCKET = 128  # positions; the steps within one bucket of the cache length count as equally long


class Generator:
    """Prefill and decoding steps of a batch on the device of a model.

    On a CPU, and in mode ``"eager"``, they are torch's operations. In mode ``"graph"`` the prefill
    of each length and the decoding step are captured once as CUDA graphs; the step then consists
    of the kernels of `hwnas.profiling.generation.decoder`, which read the position from memory, so
    that one graph serves all positions and costs what its position needs.

    Parameters
    ----------
    model
        Model with the weights to measure, see `hwnas.profiling.generation.cast_for_inference`.
    batch, positions
        Number of sequences, and of positions of each in the cache.
    mode
        ``"auto"`` is a graph on CUDA, if Triton is installed, and eager elsewhere.

    Attributes
    ----------
    cache_bytes
        Bytes of the cache.

    Raises
    ------
    InvalidInput
        A size is out of range, the mode does not fit the device, or models of this family
        generate no text.

    Examples
    --------
    >>> from hwnas.profiling.gpt import GPT
    >>> from hwnas.spaces.architecture import Architecture
    >>> arch = Architecture.parse("tiny-2-32-2-4-1-2-True")
    >>> model = GPT(arch, head_size=16, context=64, vocab_size=50)
    >>> with Generator(model, batch=1, positions=10) as generator:
    ...     logits = generator.prefill(torch.tensor([[1, 2, 3]]))
    ...     generator.step(logits.argmax(dim=-1), position=3).shape
    torch.Size([1, 50])
    """

    def __init__(
        self, model: LanguageModel, *, batch: int, positions: int, mode: DecodingMode = "auto"
    ) -> None:
        if mode not in get_args(DecodingMode):
            raise InvalidInput(f"mode: expected one of auto, graph, eager, found {mode!r}")
        is_cuda = model.device.type == "cuda"
        if mode == "graph" and not is_cuda:
            raise InvalidInput(f"mode: graph needs a CUDA device, found {model.device}")
        if mode == "auto":
            mode = "graph" if is_cuda and has_triton() else "eager"
        self.mode: DecodingMode = mode
        self.model, self.batch = model, batch
        self.cache = KVCache(model, batch=batch, positions=positions)
        self.cache_bytes = self.cache.nbytes
        # Inputs of the graphs, which replays read.
        self._token = torch.zeros((batch, 1), dtype=torch.long, device=model.device)
        self._position = torch.zeros(1, dtype=torch.int32, device=model.device)
        self._prompts: dict[int, Tensor] = {}
        self._prefill_graphs: dict[int, Callable[[], object]] = {}
        self._step: Callable[[], object] | None = None
        self._step_graph: Callable[[], object] | None = None

    def __enter__(self) -> Generator:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the graphs and the cache."""
        self._step = self._step_graph = None
        self._prefill_graphs.clear()
        self.cache.layers.clear()

    def prefill(self, tokens: Tensor) -> Tensor:
        """Store the keys and values of a prompt; return the logits of its last position.

        Parameters
        ----------
        tokens
            (B, P) integers.

        Returns
        -------
        (B, vocab_size); the next prefill of this length overwrites them

        Raises
        ------
        InvalidInput
            The prompt does not fit the cache.
        """
        if len(tokens) != self.batch or not 1 <= tokens.shape[1] <= self.cache.positions:
            raise InvalidInput(
                f"prompt: expected {self.batch} x 1 to {self.cache.positions} tokens, found "
                f"{len(tokens)} x {tokens.shape[1]}"
            )
        run = self.prefill_pass(tokens.shape[1])
        self._prompts[tokens.shape[1]].copy_(tokens)
        return run()  # type: ignore[return-value]

    def step(self, tokens: Tensor, position: int) -> Tensor:
        """Decode one token of each sequence; return the logits of the next.

        Parameters
        ----------
        tokens
            (B,) integers.
        position
            Their position: the number of tokens before them, which are in the cache.

        Returns
        -------
        (B, vocab_size); the next step overwrites them

        Raises
        ------
        InvalidInput
            The position does not fit the cache.
        """
        run = self.step_pass(position)
        self._token.copy_(tokens[:, None])
        return run()  # type: ignore[return-value]

    def prefill_pass(self, prompt: int) -> Callable[[], object]:
        """Return a function that prefills the last prompt of a length, zeros if there is none.

        On CUDA the function returns before the prefill has ended.
        """
        if prompt not in self._prompts:
            shape = (self.batch, prompt)
            self._prompts[prompt] = torch.zeros(shape, dtype=torch.long, device=self.model.device)
        run = partial(self._run_prefill, self._prompts[prompt])
        if self.mode == "eager":
            return run
        if prompt not in self._prefill_graphs:
            self._prefill_graphs[prompt] = self._capture(run)
        return self._prefill_graphs[prompt]

    def step_pass(self, position: int) -> Callable[[], object]:
        """Return a function that decodes the last tokens at a position, until the next call.

        On CUDA the function returns before the step has ended.

        Raises
        ------
        InvalidInput
            The position does not fit the cache.
        """
        if not 0 <= position < self.cache.positions:
            raise InvalidInput(
                f"position: expected 0 to {self.cache.positions - 1}, found {position}"
            )
        if self.mode == "eager":
            return partial(self._run_step, position)
        self._position.fill_(position)
        if self._step_graph is None:
            from hwnas.profiling.generation.decoder import decoding_step

            step = decoding_step(self.model, self.cache, self._token, self._position)
            self._step = step  # holds tensors that the graph uses
            self._step_graph = self._capture(step)
        return self._step_graph

    def buckets(self, prompt: int, generate: int) -> list[tuple[int, int]]:
        """Return the buckets of a request's decoding steps.

        Returns
        -------
        list of (length, n_steps)
            Largest number of positions in a bucket, a multiple of 128 or that of the cache, and
            number of steps that attend to more than the bucket before it and at most this many.

        Examples
        --------
        >>> from hwnas.profiling.gpt import GPT
        >>> from hwnas.spaces.architecture import Architecture
        >>> arch = Architecture.parse("tiny-1-32-2-1-True")
        >>> model = GPT(arch, head_size=16, context=512, vocab_size=50)
        >>> Generator(model, batch=1, positions=300).buckets(prompt=100, generate=200)
        [(128, 28), (256, 128), (300, 43)]
        """
        # The first token comes from the prefill: the steps are at positions prompt, prompt + 1, ...
        lengths = range(prompt + 1, prompt + generate)
        ends = (-(-length // BUCKET) * BUCKET for length in lengths)
        return sorted(Counter(min(end, self.cache.positions) for end in ends).items())

    @torch.no_grad()
    def _run_prefill(self, tokens: Tensor) -> Tensor:
        attends = [layer.attend_prompt if layer else None for layer in self.cache.layers]
        x = self.model.features(tokens, attends)[:, -1]  # (B, C)
        return F.linear(x, self.model.output_weight)  # (B, V)

    @torch.no_grad()
    def _run_step(self, position: int) -> Tensor:
        attends = [
            partial(layer.attend_step, position=position) if layer else None
            for layer in self.cache.layers
        ]
        x = self.model.features(self._token, attends)[:, -1]  # (B, C)
        return F.linear(x, self.model.output_weight)  # (B, V)

    def _capture(self, run: Callable[[], object]) -> Callable[[], object]:
        is_cuda = self.model.device.type == "cuda"
        with torch.cuda.device(self.model.device) if is_cuda else nullcontext():
            return capture_graph(run)
