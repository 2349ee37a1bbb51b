"""Static cache of keys and values, and the attention that reads and writes it.

The memory of a cache is allocated once, for all positions that a generation will reach. A prefill
writes the keys and values of the prompt; each decoding step writes those of one token and attends
to all positions up to it.

Shapes: B sequences of T tokens, nh heads of queries and nkv of keys and values, hs their size, L
positions of the cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from hwnas.errors import InvalidInput
from hwnas.profiling.attention import causal_attention
from hwnas.profiling.language_model import LanguageModel
from hwnas.profiling.rotary import rotate


@dataclass(frozen=True, slots=True)
class LayerCache:
    """Keys and values of one layer.

    Attributes
    ----------
    keys, values
        (B, nkv, L, hs); keys are rotated.
    cos, sin
        (context, p), tables of the rotary positions of the model.
    """

    keys: Tensor
    values: Tensor
    cos: Tensor
    sin: Tensor

    def attend_prompt(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Store the first T positions and return their causal attention.

        Parameters
        ----------
        q, k, v
            (B, nh, T, hs) and twice (B, nkv, T, hs), not rotated.

        Returns
        -------
        (B, nh, T, hs)
        """
        T = q.shape[2]
        cos, sin = self.cos[:T], self.sin[:T]
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        self.keys[:, :, :T] = k
        self.values[:, :, :T] = v
        return causal_attention(q, k, v)

    def attend_step(self, q: Tensor, k: Tensor, v: Tensor, position: int) -> Tensor:
        """Store one position and return its attention to all positions up to it.

        Parameters
        ----------
        q, k, v
            (B, nh, 1, hs) and twice (B, nkv, 1, hs), not rotated.
        position
            Position of the token, below L.

        Returns
        -------
        (B, nh, 1, hs)
        """
        end = position + 1
        cos, sin = self.cos[position:end], self.sin[position:end]
        self.keys[:, :, position:end] = rotate(k, cos, sin)
        self.values[:, :, position:end] = v
        # Every stored position is an earlier one, so that no mask is needed.
        return F.scaled_dot_product_attention(
            rotate(q, cos, sin),
            self.keys[:, :, :end],
            self.values[:, :, :end],
            enable_gqa=q.shape[1] != k.shape[1],
        )


class KVCache:
    """Static cache of all layers of a model.

    Parameters
    ----------
    model
        Model on its device; keys and values have the data type of its embeddings.
    batch, positions
        Number of sequences, and of positions of each, at most the context.

    Attributes
    ----------
    layers
        Cache of each layer; None for a layer without attention.
    nbytes
        Bytes of all keys and values.

    Raises
    ------
    InvalidInput
        A size is out of range, or models of this family generate no text.

    Examples
    --------
    >>> from hwnas.profiling.gpt import GPT
    >>> from hwnas.spaces.architecture import Architecture
    >>> arch = Architecture.parse("tiny-2-32-2-4-1-2-True")
    >>> model = GPT(arch, head_size=16, context=64, vocab_size=50)
    >>> KVCache(model, batch=2, positions=10).nbytes  # 2 x 2 x 10 x (1 + 2) heads x 16 x 4 bytes
    7680
    """

    def __init__(self, model: LanguageModel, *, batch: int, positions: int) -> None:
        if batch < 1:
            raise InvalidInput(f"batch: expected at least 1 sequence, found {batch}")
        if not 1 <= positions <= model.context:
            raise InvalidInput(
                f"positions: expected 1 to {model.context}, the model's context, found {positions}"
            )
        self.positions = positions
        self.layers: list[LayerCache | None] = []
        for heads in model.kv_heads:
            if not heads:
                self.layers.append(None)
                continue
            shape = (batch, heads, positions, model.head_size)
            keys, values = torch.zeros((2, *shape), dtype=model.dtype, device=model.device)
            self.layers.append(LayerCache(keys, values, model.cos, model.sin))

    @property
    def nbytes(self) -> int:
        """Bytes of all keys and values."""
        return sum(c.keys.nbytes + c.values.nbytes for c in self.layers if c is not None)
