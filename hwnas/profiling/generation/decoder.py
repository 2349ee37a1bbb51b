"""The decoding step on CUDA.

Attention, with rotary positions and the update of the cache, is one kernel a layer. For one
sequence, where launches and small operations would cost more than the traffic of the weights,
everything else is fused kernels too, see `hwnas.profiling.generation.linear_kernels`; for larger
batches it is torch's operations, whose matrix products use tensor cores.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hwnas.profiling import gpt, llama
from hwnas.profiling.attention import Attend
from hwnas.profiling.generation import linear_kernels as kernels
from hwnas.profiling.generation.attention_kernel import attend_step
from hwnas.profiling.generation.cache import KVCache
from hwnas.profiling.language_model import LanguageModel


def decoding_step(
    model: LanguageModel, cache: KVCache, tokens: Tensor, position: Tensor
) -> Callable[[], Tensor]:
    """Return a function that decodes the tokens (B, 1) at a position (1,) that is on the device.

    It can be captured as a CUDA graph.
    """
    # Counters of programs, one for each sequence and head; layers follow each other and share them.
    arrivals = position.new_zeros(len(tokens) * max(model.kv_heads))
    attends: list[Attend | None] = []
    for layer in cache.layers:
        if layer is None:
            attends.append(None)
            continue
        attend_layer = partial(
            attend_step,
            keys=layer.keys,
            values=layer.values,
            cos=layer.cos,
            sin=layer.sin,
            position=position,
            arrivals=arrivals,
        )
        attends.append(attend_layer)
    norm: Any = getattr(model, "norm", None)
    block_step = _BLOCK_STEPS.get(type(model)) if len(tokens) == 1 else None

    @torch.no_grad()
    def step() -> Tensor:
        if block_step is None:
            return F.linear(model.features(tokens, attends)[:, -1], model.output_weight)  # (B, V)
        x = model.embedding(tokens[:, 0])  # (1, C)
        for block, attend_layer in zip(model.blocks, attends, strict=True):
            x = block_step(block, x, attend_layer)  # (1, C)
        output = (norm, model.output_weight, kernels.NO_ACTIVATION)
        return kernels.norm_linear(x, output)[0]  # (1, V)

    return step


def _gpt_block(block: Any, x: Tensor, attend: Any) -> Tensor:
    """Return the residual stream (1, C) after a block with attention and MLP in parallel."""
    attention, mlp = block.attention, block.mlp
    layers, terms = [], []
    if attention is not None:
        layers.append((block.norm_1, attention.qkv, kernels.NO_ACTIVATION))
    if mlp is not None:
        layers.append((block.norm_2, mlp.fc, kernels.GELU))
    outputs = kernels.norm_linear(x, *layers)
    if attention is not None:
        heads = outputs[0].view(1, attention.n_head, 3, 1, attention.head_size)
        q, k, v = heads.unbind(dim=2)  # (1, nh, 1, hs) each
        terms.append((attend(q, k, v), attention.proj))
    if mlp is not None:
        terms.append((outputs[-1], mlp.proj))
    return kernels.add_linear(x, *terms)


def _llama_block(block: Any, x: Tensor, attend: Any) -> Tensor:
    """Return the residual stream (1, C) after a block with attention, then the MLP."""
    if block.attention is not None:
        attention = block.attention
        (qkv,) = kernels.norm_linear(x, (block.norm_1, attention.qkv, kernels.NO_ACTIVATION))
        heads = qkv.view(1, -1, 1, attention.head_size)  # (1, nh + 2 nkv, 1, hs)
        n_heads = [attention.n_head, attention.n_kv_head, attention.n_kv_head]
        y = attend(*torch.split(heads, n_heads, dim=1))  # (1, nh, 1, hs)
        x = kernels.add_linear(x, (y, attention.proj))
    if block.mlp is not None:
        (h,) = kernels.norm_linear(x, (block.norm_2, block.mlp.fc, kernels.SWIGLU))
        x = kernels.add_linear(x, (h, block.mlp.proj))
    return x


_BLOCK_STEPS: dict[type, Callable[..., Tensor]] = {gpt.GPT: _gpt_block, llama.Llama: _llama_block}
