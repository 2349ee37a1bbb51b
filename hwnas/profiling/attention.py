"""Attention of all families, over a complete sequence."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Attention of one layer during generation, see `hwnas.profiling.generation.cache`.

It takes queries (B, nh, T, hs) and the keys and values (B, nkv, T, hs) of the same tokens, none of
them rotated, and returns (B, nh, T, hs).
"""


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return the attention of each token to itself and to the tokens before it.

    Parameters
    ----------
    q
        (B, nh, T, hs), rotated queries.
    k, v
        (B, nkv, T, hs), rotated keys, and values. Query i uses those of head i // (nh / nkv).

    Returns
    -------
    (B, nh, T, hs)

    Examples
    --------
    >>> q, k, v = torch.ones(1, 4, 3, 8), torch.ones(1, 2, 3, 8), torch.ones(1, 2, 3, 8)
    >>> causal_attention(q, k, v).shape
    torch.Size([1, 4, 3, 8])
    """
    group = q.shape[1] // k.shape[1]
    if group > 1 and q.is_cuda and q.dtype == torch.float32:
        # No fused kernel for CUDA groups queries in this precision. With repeated keys and values
        # one is used, four times as fast for 2,048 tokens on an H100.
        k, v = (x.repeat_interleave(group, dim=1) for x in (k, v))
        group = 1
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=group > 1)
