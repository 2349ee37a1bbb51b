"""Triton kernels of the linear layers of a decoding step of one sequence.

A step of one sequence reads every weight once, so memory bandwidth bounds it, and what a kernel
costs beyond its traffic, some microseconds, is what there is to save. Norm, matrix product, bias
and activation are therefore one kernel, and so is the sum of a block's outputs.

Numbers are loaded in the data type of the weights and added up in float32.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from hwnas.profiling.generation.launch import begin, dependent_launch, wait

LAYER_NORM, RMS_NORM = 1, 2
NO_ACTIVATION, GELU, SWIGLU = 0, 1, 2

# Rows and columns of weights that a program reads at once: the fastest of several on an H100.
_ROWS = 8
_ADD_ROWS, _ADD_COLUMNS = 2, 1024


@triton.jit
def _norm_linear_rows(
    block, x, norm_weight, norm_bias, weight, scale, bias, out, n_out, width, eps,
    NORM: tl.constexpr, ACTIVATION: tl.constexpr, HAS_SCALE: tl.constexpr,
    HAS_BIAS: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """Store a block of rows of ``activation(weight @ norm(x) + bias)``."""
    rows = block.to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    columns = tl.arange(0, BLOCK_K)
    in_row = columns < width
    mask = (rows < n_out)[:, None] & in_row[None, :]
    # The loads of the weights come first: they are under way while the kernel before ends, and
    # while the norm is computed.
    tile = tl.load(weight + rows[:, None] * width + columns[None, :], mask=mask, other=0.0)
    if ACTIVATION == 2:  # SWIGLU: the second half of the rows follows the first
        upper = (rows + n_out)[:, None] * width + columns[None, :]
        tile_up = tl.load(weight + upper, mask=mask, other=0.0)
    norm_scale = tl.load(norm_weight + columns, mask=in_row, other=0.0).to(tl.float32)
    if NORM == 1:  # LAYER_NORM
        norm_shift = tl.load(norm_bias + columns, mask=in_row, other=0.0).to(tl.float32)
    if HAS_SCALE:
        row_scale = tl.load(scale + rows, mask=rows < n_out, other=0.0)
    if HAS_BIAS:
        row_bias = tl.load(bias + rows, mask=rows < n_out, other=0.0).to(tl.float32)
    wait(PDL)
    values = tl.load(x + columns, mask=in_row, other=0.0)
    dtype = values.dtype
    h = values.to(tl.float32)
    if NORM == 1:  # LAYER_NORM
        centred = tl.where(in_row, h - tl.sum(h, axis=0) / width, 0.0)
        h = centred * tl.rsqrt(tl.sum(centred * centred, axis=0) / width + eps)
        h = h * norm_scale + norm_shift
    else:  # RMS_NORM
        h = h * tl.rsqrt(tl.sum(h * h, axis=0) / width + eps) * norm_scale
    h = h.to(dtype).to(tl.float32)  # as torch stores the output of a norm
    y = tl.sum(tile.to(tl.float32) * h[None, :], axis=1)
    if HAS_SCALE:
        y *= row_scale
    if HAS_BIAS:
        y += row_bias
    if ACTIVATION == 1:  # GELU
        y = 0.5 * y * (1.0 + tl.erf(y * 0.7071067811865476))
    if ACTIVATION == 2:  # SWIGLU
        up = tl.sum(tile_up.to(tl.float32) * h[None, :], axis=1)
        if HAS_SCALE:
            up *= tl.load(scale + n_out + rows, mask=rows < n_out, other=0.0)
        y = y * tl.sigmoid(y) * up
    tl.store(out + rows, y.to(dtype), mask=rows < n_out)


@triton.jit
def _norm_linear(
    x, width, eps,
    norm_weight_a, norm_bias_a, weight_a, scale_a, bias_a, out_a, n_out_a, n_blocks_a,
    norm_weight_b, norm_bias_b, weight_b, scale_b, bias_b, out_b, n_out_b,
    NORM: tl.constexpr, ACTIVATION_A: tl.constexpr, ACTIVATION_B: tl.constexpr,
    HAS_B: tl.constexpr, HAS_SCALE: tl.constexpr, HAS_BIAS: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """Store ``activation(weight @ norm(x) + bias)`` for one or two layers that read the same x."""
    begin(PDL)
    block = tl.program_id(0)
    if HAS_B and block >= n_blocks_a:
        _norm_linear_rows(
            block - n_blocks_a, x, norm_weight_b, norm_bias_b, weight_b, scale_b, bias_b, out_b,
            n_out_b, width, eps, NORM, ACTIVATION_B, HAS_SCALE, HAS_BIAS, BLOCK_N, BLOCK_K, PDL,
        )  # fmt: skip
    else:
        _norm_linear_rows(
            block, x, norm_weight_a, norm_bias_a, weight_a, scale_a, bias_a, out_a,
            n_out_a, width, eps, NORM, ACTIVATION_A, HAS_SCALE, HAS_BIAS, BLOCK_N, BLOCK_K, PDL,
        )  # fmt: skip


@triton.jit
def _first_tile(weight, rows, n_rows, width, BLOCK_K: tl.constexpr):
    """Return the first BLOCK_K columns of rows of a matrix."""
    columns = tl.arange(0, BLOCK_K)
    mask = (rows < n_rows)[:, None] & (columns < width)[None, :]
    return tl.load(weight + rows[:, None] * width + columns[None, :], mask=mask, other=0.0)


@triton.jit
def _product(
    tile, values, weight, scale, bias, rows, n_rows, width,
    HAS_SCALE: tl.constexpr, HAS_BIAS: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Return rows of ``weight @ values + bias`` in float32; `tile` is the first of the weights."""
    columns = tl.arange(0, BLOCK_K)
    inputs = tl.load(values + columns, mask=columns < width, other=0.0)
    total = tile.to(tl.float32) * inputs.to(tl.float32)[None, :]
    for start in range(BLOCK_K, width, BLOCK_K):
        columns = start + tl.arange(0, BLOCK_K)
        mask = (rows < n_rows)[:, None] & (columns < width)[None, :]
        tile = tl.load(weight + rows[:, None] * width + columns[None, :], mask=mask, other=0.0)
        inputs = tl.load(values + columns, mask=columns < width, other=0.0)
        total += tile.to(tl.float32) * inputs.to(tl.float32)[None, :]
    y = tl.sum(total, axis=1)
    if HAS_SCALE:
        y *= tl.load(scale + rows, mask=rows < n_rows, other=0.0)
    if HAS_BIAS:
        y += tl.load(bias + rows, mask=rows < n_rows, other=0.0).to(tl.float32)
    return y


@triton.jit
def _add_linear(
    x, out, n_out,
    a, weight_a, scale_a, bias_a, width_a,
    b, weight_b, scale_b, bias_b, width_b,
    HAS_B: tl.constexpr, HAS_SCALE: tl.constexpr, HAS_BIAS: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """Store ``x + weight_a @ a + bias_a + weight_b @ b + bias_b``."""
    begin(PDL)
    rows = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    tile_a = _first_tile(weight_a, rows, n_out, width_a, BLOCK_K)
    if HAS_B:
        tile_b = _first_tile(weight_b, rows, n_out, width_b, BLOCK_K)
    wait(PDL)
    residual = tl.load(x + rows, mask=rows < n_out, other=0.0)
    y = residual.to(tl.float32)
    y += _product(
        tile_a, a, weight_a, scale_a, bias_a, rows, n_out, width_a, HAS_SCALE, HAS_BIAS, BLOCK_K
    )
    if HAS_B:
        y += _product(
            tile_b, b, weight_b, scale_b, bias_b, rows, n_out, width_b, HAS_SCALE, HAS_BIAS, BLOCK_K
        )
    tl.store(out + rows, y.to(residual.dtype), mask=rows < n_out)


@triton.jit
def _few_rows_linear(
    x, weight, scale, bias, out, n_rows, n_out, width,
    HAS_BIAS: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Store ``x @ weight.T * scale + bias`` for few rows of x and weights of one byte."""
    tokens = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    rows = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    in_batch, in_out = tokens < n_rows, rows < n_out
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, width, BLOCK_K):
        columns = start + tl.arange(0, BLOCK_K)
        in_row = (columns < width)[None, :]
        x_offsets = tokens[:, None] * width + columns[None, :]
        inputs = tl.load(x + x_offsets, mask=in_batch[:, None] & in_row, other=0.0)
        offsets = rows[:, None] * width + columns[None, :]
        tile = tl.load(weight + offsets, mask=in_out[:, None] & in_row, other=0.0)
        total += tl.dot(inputs, tl.trans(tile.to(inputs.dtype)))
    total *= tl.load(scale + rows, mask=in_out, other=0.0)[None, :]
    if HAS_BIAS:
        total += tl.load(bias + rows, mask=in_out, other=0.0).to(tl.float32)[None, :]
    offsets = tokens[:, None] * n_out + rows[None, :]
    tl.store(
        out + offsets, total.to(out.dtype.element_ty), mask=in_batch[:, None] & in_out[None, :]
    )


def few_rows_linear(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """Return ``x @ weight.T * scale + bias`` for weights of one byte, which are read once.

    It is made for few rows of x, the tokens of a decoding step; for many, a product with the
    dequantized weights is faster.

    Parameters
    ----------
    x
        (n, inputs), bfloat16 or float16, contiguous.
    weight
        (outputs, inputs), int8 or float8.
    scale
        (outputs,) float32.
    bias
        (outputs,) or None.

    Returns
    -------
    (n, outputs)
    """
    n_rows, width = x.shape
    out = x.new_empty((n_rows, len(weight)))
    block_m = min(64, max(16, triton.next_power_of_2(n_rows)))
    _few_rows_linear[(triton.cdiv(len(weight), 16), triton.cdiv(n_rows, block_m))](
        x, weight, scale, bias, out, n_rows, len(weight), width,
        HAS_BIAS=bias is not None, BLOCK_M=block_m, BLOCK_N=16, BLOCK_K=128, num_warps=4,
    )  # fmt: skip
    return out


def norm_linear(x: Tensor, *layers: tuple[Any, Any, int]) -> list[Tensor]:
    """Return ``activation(linear(norm(x)))`` of one token, for one or two layers.

    Parameters
    ----------
    x
        (1, C), contiguous.
    layers
        Norm (LayerNorm or RMSNorm, alike in both); linear layer, also a quantized one, or its
        matrix (outputs, C); and activation: ``NO_ACTIVATION``, ``GELU``, or ``SWIGLU``, which
        halves the number of outputs: the first half is the gate.

    Returns
    -------
    list of (1, outputs)
    """
    arguments: list[Any] = []
    outs, n_blocks = [], []
    for norm, linear, activation in layers:
        weight = linear if isinstance(linear, Tensor) else linear.weight
        scale, bias = getattr(linear, "scale", None), getattr(linear, "bias", None)
        n_out = len(weight) // 2 if activation == SWIGLU else len(weight)
        outs.append(x.new_empty((1, n_out)))
        n_blocks.append(triton.cdiv(n_out, _ROWS))
        norm_bias = getattr(norm, "bias", None)
        arguments += [norm.weight, norm_bias, weight, scale, bias, outs[-1], n_out]
        if len(n_blocks) == 1:
            arguments.append(n_blocks[0])
    if len(layers) == 1:
        arguments += [None] * 6 + [0]
    norm, linear, _ = layers[0]
    _norm_linear[(sum(n_blocks),)](
        x, x.shape[1], norm.eps, *arguments,
        NORM=LAYER_NORM if isinstance(norm, torch.nn.LayerNorm) else RMS_NORM,
        ACTIVATION_A=layers[0][2], ACTIVATION_B=layers[-1][2], HAS_B=len(layers) > 1,
        HAS_SCALE=hasattr(linear, "scale"), HAS_BIAS=getattr(linear, "bias", None) is not None,
        BLOCK_N=_ROWS, BLOCK_K=triton.next_power_of_2(x.shape[1]), num_warps=8,
        **dependent_launch(x),
    )  # fmt: skip
    return outs


def add_linear(x: Tensor, *terms: tuple[Tensor, Any]) -> Tensor:
    """Return x plus the output of one or two linear layers, for one token.

    Parameters
    ----------
    x
        (1, C), the residual stream.
    terms
        Input (1, inputs) and layer of each.

    Returns
    -------
    (1, C)
    """
    arguments: list[Any] = []
    for values, layer in terms:
        scale = getattr(layer, "scale", None)
        arguments += [values, layer.weight, scale, layer.bias, layer.weight.shape[1]]
    if len(terms) == 1:
        arguments += [None] * 4 + [0]
    layer, n_out = terms[0][1], x.shape[1]
    out = torch.empty_like(x)
    _add_linear[(triton.cdiv(n_out, _ADD_ROWS),)](
        x, out, n_out, *arguments,
        HAS_B=len(terms) > 1, HAS_SCALE=hasattr(layer, "scale"), HAS_BIAS=layer.bias is not None,
        BLOCK_N=_ADD_ROWS, BLOCK_K=_ADD_COLUMNS, num_warps=4, **dependent_launch(x),
    )  # fmt: skip
    return out
