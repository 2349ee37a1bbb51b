"""The decoding step on CUDA.

Attention, with rotary positions and the update of the cache, is one kernel a layer. For one
sequence, where launches and small operations would cost more than the traffic of the weights,
everything else is fused kernels too, see `hwnas.profiling.generation.kernels`; for larger batches
it is torch's operations, whose matrix products use tensor cores.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hwnas.profiling import gpt, llama
from hwnas.profiling.attention import Attend
from hwnas.profiling.generation import kernels
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
        attend = partial(
            kernels.attend,
            keys=layer.keys,
            values=layer.values,
            cos=layer.cos,
            sin=layer.sin,
            position=position,
            arrivals=arrivals,
        )
        attends.append(attend)
    norm: Any = getattr(model, "norm", None)
    block_step = _BLOCK_STEPS.get(type(model)) if len(tokens) == 1 else None

    @torch.no_grad()
    def step() -> Tensor:
        if block_step is None:
            return F.linear(model.features(tokens, attends)[:, -1], model.output_weight)  # (B, V)
        x = model.embedding(tokens[:, 0])  # (1, C)
        for block, attend_layer in zip(model.blocks, attends, strict=True):
            x = block_step(block, x, attend_layer)  # (1, C)
        return kernels.norm_linear(x, norm, model.output_weight)  # (1, V)

    return step


def _gpt_block(block: Any, x: Tensor, attend: Any) -> Tensor:
    """Return the residual stream (1, C) after a block with attention and MLP in parallel."""
    terms, attention, mlp = [], block.attention, block.mlp
    main = torch.cuda.current_stream()
    side = _side_stream(main.device_index)
    if attention is not None:
        qkv = kernels.norm_linear(x, block.norm_1, attention.qkv)  # (1, nh * 3 * hs)
    if mlp is not None:
        # The MLP reads its weights while attention, which keeps few processors busy, runs.
        side.wait_stream(main)
        with torch.cuda.stream(side):
            h = kernels.norm_linear(x, block.norm_2, mlp.fc, kernels.GELU)
    if attention is not None:
        heads = qkv.view(1, attention.n_head, 3, 1, attention.head_size)
        q, k, v = heads.unbind(dim=2)  # (1, nh, 1, hs) each
        terms.append((attend(q, k, v), attention.proj))
    if mlp is not None:
        main.wait_stream(side)
        terms.append((h, mlp.proj))
    return kernels.add_linear(x, *terms)


def _llama_block(block: Any, x: Tensor, attend: Any) -> Tensor:
    """Return the residual stream (1, C) after a block with attention, then the MLP."""
    if block.attention is not None:
        attention = block.attention
        qkv = kernels.norm_linear(x, block.norm_1, attention.qkv)
        heads = qkv.view(1, -1, 1, attention.head_size)  # (1, nh + 2 nkv, 1, hs)
        n_heads = (attention.n_head, attention.n_kv_head, attention.n_kv_head)
        y = attend(*torch.split(heads, n_heads, dim=1))  # (1, nh, 1, hs)
        x = kernels.add_linear(x, (y, attention.proj))
    if block.mlp is not None:
        h = kernels.norm_linear(x, block.norm_2, block.mlp.fc, kernels.SWIGLU)
        x = kernels.add_linear(x, (h, block.mlp.proj))
    return x


_BLOCK_STEPS: dict[type, Callable[..., Tensor]] = {gpt.GPT: _gpt_block, llama.Llama: _llama_block}


@lru_cache
def _side_stream(index: int) -> torch.cuda.Stream:
    """Return the second stream of a device."""
    return torch.cuda.Stream(index)  # type: ignore[no-untyped-call]
