"""GPT-2-family models: the named search spaces, constants of the models and their closed forms.

The models are those of HW-GPT-Bench (Sukthanker et al. 2024, arXiv:2405.10299): pre-LayerNorm,
attention and MLP in parallel on one residual stream, rotary positions on half of each head, GELU,
untied output layer. `hwnas.profiling.gpt` builds them.
"""

from __future__ import annotations

import numpy as np

from hwnas.typing import IntArray

HEAD_SIZE = 64
CONTEXT = 1024
VOCABULARY = 50_254

# HW-GPT-Bench, table 1 (s, m, l), its larger scale and the wider variants of its code.
# embed_dim, n_layer, mlp_ratio, n_head
GPT_CHOICES = {
    "gpt-s": ((192, 384, 768), (10, 11, 12), (2, 3, 4), (4, 8, 12)),
    "gpt-m": ((256, 512, 1024), (22, 23, 24), (2, 3, 4), (8, 12, 16)),
    "gpt-l": ((320, 640, 1280), (34, 35, 36), (2, 3, 4), (8, 16, 20)),
    "gpt-xl": ((400, 800, 1600), (46, 47, 48), (2, 3, 4), (15, 20, 25)),
    "gpt-s-wide": ((192, 384, 768), (3, 6, 12), (1, 2, 4), (4, 8, 12)),
    "gpt-m-wide": ((256, 512, 1024), (6, 12, 24), (1, 2, 4), (4, 8, 16)),
    "gpt-l-wide": ((320, 640, 1280), (9, 18, 36), (1, 2, 4), (5, 10, 20)),
}
GPT_SPACES: tuple[str, ...] = tuple(GPT_CHOICES)


def count_params(
    width: IntArray,
    depth: IntArray,
    ratio_sum: IntArray,
    head_sum: IntArray,
    bias: IntArray,
    *,
    head_size: int,
    vocab_size: int,
) -> IntArray:
    """Return the exact number of parameters of n models, the untied output layer included.

    Parameters
    ----------
    width, depth : (n,) int64
        Width of the residual stream, and number of blocks.
    ratio_sum, head_sum : (n,) int64
        MLP ratios and numbers of heads, summed over the blocks of each model.
    bias : (n,) int64
        1 where the linear layers of the blocks have biases, else 0.
    head_size, vocab_size
        Width of one attention head, and number of tokens.

    Returns
    -------
    (n,) int64

    Examples
    --------
    The largest architecture of gpt-s; GPT-2 small has 124 million parameters without an output
    layer of its own.

    >>> one = [np.array([number]) for number in (768, 12, 12 * 4, 12 * 12, 1)]
    >>> count_params(*one, head_size=64, vocab_size=50_254).tolist()
    [162246144]
    """
    inner = head_sum * head_size  # width of all attention heads of all blocks
    # Token embeddings and output layer; queries, keys, values and projection; both layers of MLPs.
    matrices = 2 * vocab_size * width + 4 * inner * width + 2 * ratio_sum * width**2
    norms = 2 * width * (2 * depth + 1)  # two in each block and a last one: weight and bias each
    biases = bias * (3 * inner + depth * width + ratio_sum * width + depth * width)
    return np.asarray(matrices + norms + biases, dtype=np.int64)


def count_flops(params: IntArray, width: IntArray, depth: IntArray, *, context: int) -> IntArray:
    """Return HW-GPT-Bench's count of operations in one forward pass over a full context.

    ``2 * params * context + 4 * depth * width * context**2``: a multiplication and an addition for
    each parameter and token, and the products of queries, keys and values.

    Parameters
    ----------
    params, width, depth : (n,) int64
        Number of parameters, width of the residual stream, and number of blocks.
    context
        Sequence length in tokens.

    Returns
    -------
    (n,) int64

    Examples
    --------
    >>> count_flops(np.array([10]), np.array([4]), np.array([2]), context=8).tolist()
    [2208]
    """
    return np.asarray(2 * params * context + 4 * depth * width * context**2)
