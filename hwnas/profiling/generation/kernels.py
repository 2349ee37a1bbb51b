"""Triton kernels of a decoding step: one token a sequence.

A step of one sequence reads every weight once, so memory bandwidth bounds it, and what a kernel
costs beyond its traffic, some microseconds, is what there is to save. Norm, matrix product, bias
and activation are therefore one kernel; rotary positions, the update of the cache and attention
another; and the sum of a block's outputs a third.

Numbers are loaded in the data type of the weights and added up in float32.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

NO_NORM, LAYER_NORM, RMS_NORM = 0, 1, 2
NO_ACTIVATION, GELU, SWIGLU = 0, 1, 2

_ADD_SHAPE = (4, 1024, 8, 1)


@triton.jit
def _product(
    x, weight, rows, n_rows, width,
    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Return rows of ``weight @ x`` as float32 (BLOCK_N,), in steps of BLOCK_K inputs."""
    total = tl.zeros((BLOCK_N, BLOCK_K), tl.float32)
    for start in tl.range(0, width, BLOCK_K, num_stages=STAGES):
        columns = start + tl.arange(0, BLOCK_K)
        mask = (rows < n_rows)[:, None] & (columns < width)[None, :]
        tile = tl.load(weight + rows[:, None] * width + columns[None, :], mask=mask, other=0.0)
        values = tl.load(x + columns, mask=columns < width, other=0.0)
        total += tile.to(tl.float32) * values.to(tl.float32)[None, :]
    return tl.sum(total, axis=1)


@triton.jit
def _norm_linear(
    x, norm_weight, norm_bias, weight, scale, bias, out, n_out, width, eps,
    NORM: tl.constexpr, ACTIVATION: tl.constexpr, HAS_SCALE: tl.constexpr,
    HAS_BIAS: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Store ``activation(weight @ norm(x) + bias)``; the whole width is one block."""
    rows = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    columns = tl.arange(0, BLOCK_K)
    in_row = columns < width
    mask = (rows < n_out)[:, None] & in_row[None, :]
    # The loads of the weights come first: they are under way while the norm is computed.
    tile = tl.load(weight + rows[:, None] * width + columns[None, :], mask=mask, other=0.0)
    if ACTIVATION == 2:  # SWIGLU: the second half of the rows follows the first
        upper = (rows + n_out)[:, None] * width + columns[None, :]
        tile_up = tl.load(weight + upper, mask=mask, other=0.0)
    values = tl.load(x + columns, mask=in_row, other=0.0)
    dtype = values.dtype
    h = values.to(tl.float32)
    if NORM == 1:  # LAYER_NORM
        centred = tl.where(in_row, h - tl.sum(h, axis=0) / width, 0.0)
        h = centred * tl.rsqrt(tl.sum(centred * centred, axis=0) / width + eps)
        h = h * tl.load(norm_weight + columns, mask=in_row, other=0.0).to(tl.float32)
        h += tl.load(norm_bias + columns, mask=in_row, other=0.0).to(tl.float32)
    if NORM == 2:  # RMS_NORM
        h = h * tl.rsqrt(tl.sum(h * h, axis=0) / width + eps)
        h = h * tl.load(norm_weight + columns, mask=in_row, other=0.0).to(tl.float32)
    h = h.to(dtype).to(tl.float32)  # as torch stores the output of a norm
    y = tl.sum(tile.to(tl.float32) * h[None, :], axis=1)
    if HAS_SCALE:
        y *= tl.load(scale + rows, mask=rows < n_out, other=0.0)
    if HAS_BIAS:
        y += tl.load(bias + rows, mask=rows < n_out, other=0.0).to(tl.float32)
    if ACTIVATION == 1:  # GELU
        y = 0.5 * y * (1.0 + tl.erf(y * 0.7071067811865476))
    if ACTIVATION == 2:  # SWIGLU
        up = tl.sum(tile_up.to(tl.float32) * h[None, :], axis=1)
        if HAS_SCALE:
            up *= tl.load(scale + n_out + rows, mask=rows < n_out, other=0.0)
        y = y * tl.sigmoid(y) * up
    tl.store(out + rows, y.to(dtype), mask=rows < n_out)


@triton.jit
def _add_linear(
    x, out, n_out,
    a, weight_a, scale_a, bias_a, width_a,
    b, weight_b, scale_b, bias_b, width_b,
    HAS_A: tl.constexpr, HAS_B: tl.constexpr, HAS_SCALE: tl.constexpr, HAS_BIAS: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Store ``x + weight_a @ a + bias_a + weight_b @ b + bias_b``."""
    rows = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    in_out = rows < n_out
    residual = tl.load(x + rows, mask=in_out, other=0.0)
    y = residual.to(tl.float32)
    if HAS_A:
        part = _product(a, weight_a, rows, n_out, width_a, BLOCK_N, BLOCK_K, STAGES)
        if HAS_SCALE:
            part *= tl.load(scale_a + rows, mask=in_out, other=0.0)
        if HAS_BIAS:
            part += tl.load(bias_a + rows, mask=in_out, other=0.0).to(tl.float32)
        y += part
    if HAS_B:
        part = _product(b, weight_b, rows, n_out, width_b, BLOCK_N, BLOCK_K, STAGES)
        if HAS_SCALE:
            part *= tl.load(scale_b + rows, mask=in_out, other=0.0)
        if HAS_BIAS:
            part += tl.load(bias_b + rows, mask=in_out, other=0.0).to(tl.float32)
        y += part
    tl.store(out + rows, y.to(residual.dtype), mask=in_out)


@triton.jit
def _rotated(x, offsets, d, mask, cos_row, sin_row, N_PAIRS: tl.constexpr):
    """Return heads at `offsets` (.., d), rotated by the angles of one position, in float32."""
    values = tl.load(x + offsets, mask=mask, other=0.0)
    is_rotated = d < 2 * N_PAIRS
    partner = tl.where(d < N_PAIRS, N_PAIRS, -N_PAIRS)
    partners = tl.load(x + offsets + partner, mask=mask & is_rotated, other=0.0)
    pair = tl.where(d < N_PAIRS, d, d - N_PAIRS)
    cos = tl.load(cos_row + pair, mask=is_rotated, other=1.0)
    sin = tl.load(sin_row + pair, mask=is_rotated, other=0.0)
    sign = tl.where(d < N_PAIRS, -1.0, 1.0)
    turned = values.to(tl.float32) * cos + sign * partners.to(tl.float32) * sin
    return turned.to(values.dtype)


@triton.jit
def _attend(
    q, k, v, keys, values, cos, sin, position_pointer, out, partial_y, partial_sums, arrivals,
    q_batch, q_head, k_batch, k_head, v_batch, v_head, cache_batch, cache_head,
    n_kv_head, softmax_scale,
    GROUP: tl.constexpr, HEAD_SIZE: tl.constexpr, N_PAIRS: tl.constexpr, N_SPLITS: tl.constexpr,
    BLOCK_G: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_L: tl.constexpr,
):  # fmt: skip
    """Rotate, update the cache and attend, for one sequence and one head of keys and values.

    The softmax is computed online (Milakov and Gimelshein 2018, arXiv:1805.02867): a running
    maximum, the sum of exponentials and the weighted sum of values, rescaled when the maximum
    grows. Several programs share the positions of a long cache; the one that ends last combines
    their sums (Dao et al. 2023, "Flash-Decoding").
    """
    pair, split = tl.program_id(0), tl.program_id(1)
    sequence, head = pair // n_kv_head, pair % n_kv_head
    position = tl.load(position_pointer)
    g, d = tl.arange(0, BLOCK_G), tl.arange(0, BLOCK_D)
    in_head = d < HEAD_SIZE
    cos_row, sin_row = cos + position * N_PAIRS, sin + position * N_PAIRS
    base = sequence.to(tl.int64) * cache_batch + head * cache_head

    # The queries of the group, padded to the 16 rows of a tensor core.
    q_offsets = sequence * q_batch + (head * GROUP + g[:, None]) * q_head + d[None, :]
    q_mask = (g < GROUP)[:, None] & in_head[None, :]
    queries = _rotated(q, q_offsets, d[None, :], q_mask, cos_row, sin_row, N_PAIRS)

    # The first program stores the new key and value, and begins with them.
    maximum = tl.full((BLOCK_G,), -1e30, tl.float32)
    total = tl.zeros((BLOCK_G,), tl.float32)
    y = tl.zeros((BLOCK_G, BLOCK_D), tl.float32)
    if split == 0:
        k_offsets = sequence * k_batch + head * k_head + d
        k_new = _rotated(k, k_offsets, d, in_head, cos_row, sin_row, N_PAIRS)
        v_new = tl.load(v + sequence * v_batch + head * v_head + d, mask=in_head, other=0.0)
        tl.store(keys + base + position * HEAD_SIZE + d, k_new, mask=in_head)
        tl.store(values + base + position * HEAD_SIZE + d, v_new, mask=in_head)
        products = queries.to(tl.float32) * k_new.to(tl.float32)[None, :]
        maximum = tl.sum(products, axis=1) * softmax_scale
        total += 1.0
        y += v_new.to(tl.float32)[None, :]

    # Each program attends to every N_SPLITS-th block of the earlier positions.
    for start in range(split * BLOCK_L, position, N_SPLITS * BLOCK_L):
        lengths = start + tl.arange(0, BLOCK_L)
        in_cache = lengths < position
        offsets = base + lengths[:, None] * HEAD_SIZE + d[None, :]
        mask = in_cache[:, None] & in_head[None, :]
        key_block = tl.load(keys + offsets, mask=mask, other=0.0)
        value_block = tl.load(values + offsets, mask=mask, other=0.0)
        scores = tl.dot(queries, tl.trans(key_block), input_precision="ieee") * softmax_scale
        scores = tl.where(in_cache[None, :], scores, float("-inf"))
        new_maximum = tl.maximum(maximum, tl.max(scores, axis=1))
        shrink = tl.exp(maximum - new_maximum)
        weights = tl.exp(scores - new_maximum[:, None])
        total = total * shrink + tl.sum(weights, axis=1)
        y = y * shrink[:, None]
        y += tl.dot(weights.to(value_block.dtype), value_block, input_precision="ieee")
        maximum = new_maximum

    out_offsets = (pair * GROUP + g[:, None]) * HEAD_SIZE + d[None, :]
    if N_SPLITS == 1:
        tl.store(out + out_offsets, (y / total[:, None]).to(queries.dtype), mask=q_mask)
    else:
        # Store the sums of this program, (N_SPLITS, BLOCK_G) and (N_SPLITS, BLOCK_G, BLOCK_D).
        row = (pair * N_SPLITS + split) * BLOCK_G + g
        tl.store(partial_sums + 2 * row, maximum)
        tl.store(partial_sums + 2 * row + 1, total)
        tl.store(partial_y + row[:, None] * BLOCK_D + d[None, :], y)
        tl.debug_barrier()  # all threads have stored before the arrival is counted
        if tl.atomic_add(arrivals + pair, 1, sem="acq_rel") == N_SPLITS - 1:
            # The last program rescales the sums of all to the largest maximum, and adds them up.
            first = pair * N_SPLITS * BLOCK_G + g
            largest = tl.full((BLOCK_G,), -1e30, tl.float32)
            for i in tl.static_range(N_SPLITS):
                largest = tl.maximum(largest, tl.load(partial_sums + 2 * (first + i * BLOCK_G)))
            total = tl.zeros((BLOCK_G,), tl.float32)
            y = tl.zeros((BLOCK_G, BLOCK_D), tl.float32)
            for i in tl.static_range(N_SPLITS):
                row = first + i * BLOCK_G
                shrink = tl.exp(tl.load(partial_sums + 2 * row) - largest)
                total += tl.load(partial_sums + 2 * row + 1) * shrink
                y += tl.load(partial_y + row[:, None] * BLOCK_D + d[None, :]) * shrink[:, None]
            tl.store(out + out_offsets, (y / total[:, None]).to(queries.dtype), mask=q_mask)
            tl.store(arrivals + pair, 0)  # for the next step


def norm_linear(
    x: Tensor,
    norm: Any,
    linear: Any,
    activation: int = NO_ACTIVATION,
) -> Tensor:
    """Return ``activation(linear(norm(x)))`` of one token.

    Parameters
    ----------
    x
        (1, C), contiguous.
    norm
        LayerNorm, RMSNorm, or None.
    linear
        A linear layer, also a quantized one, or its matrix (outputs, C).
    activation
        ``NO_ACTIVATION``, ``GELU``, or ``SWIGLU``, which halves the number of outputs: the first
        half is the gate.

    Returns
    -------
    (1, outputs)
    """
    weight = linear if isinstance(linear, Tensor) else linear.weight
    scale, bias = getattr(linear, "scale", None), getattr(linear, "bias", None)
    n_out, width = weight.shape
    if activation == SWIGLU:
        n_out //= 2
    is_layer_norm = isinstance(norm, torch.nn.LayerNorm)
    kind = NO_NORM if norm is None else LAYER_NORM if is_layer_norm else RMS_NORM
    out = x.new_empty((1, n_out))
    block_n, num_warps = _launch_shape(n_out, width)
    _norm_linear[(triton.cdiv(n_out, block_n),)](
        x, getattr(norm, "weight", x), getattr(norm, "bias", None), weight, scale, bias, out,
        n_out, width, getattr(norm, "eps", 0.0),
        NORM=kind, ACTIVATION=activation, HAS_SCALE=scale is not None, HAS_BIAS=bias is not None,
        BLOCK_N=block_n, BLOCK_K=triton.next_power_of_2(width), num_warps=num_warps,
    )  # fmt: skip
    return out


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
    arguments: list[object] = []
    for values, layer in (*terms, *[(None, None)] * (2 - len(terms))):
        if layer is None:
            arguments += [None, None, None, None, 0]
        else:
            scale, bias = getattr(layer, "scale", None), layer.bias
            arguments += [values, layer.weight, scale, bias, layer.weight.shape[1]]
    layer, n_out = terms[0][1], x.shape[1]
    out = torch.empty_like(x)
    block_n, block_k, num_warps, stages = _ADD_SHAPE
    _add_linear[(triton.cdiv(n_out, block_n),)](
        x, out, n_out, *arguments,
        HAS_A=True, HAS_B=len(terms) > 1, HAS_SCALE=hasattr(layer, "scale"),
        HAS_BIAS=layer.bias is not None, BLOCK_N=block_n, BLOCK_K=block_k,
        STAGES=stages, num_warps=num_warps,
    )  # fmt: skip
    return out


def attend(
    q: Tensor, k: Tensor, v: Tensor, *, keys: Tensor, values: Tensor, cos: Tensor, sin: Tensor,
    position: Tensor, arrivals: Tensor,
) -> Tensor:  # fmt: skip
    """Rotate queries and keys of one token, store keys and values, and return the attention.

    Parameters
    ----------
    q, k, v
        (B, nh, 1, hs) and twice (B, nkv, 1, hs), not rotated; the heads' numbers are adjacent.
    keys, values
        (B, nkv, L, hs), the cache.
    cos, sin
        (context, p), contiguous.
    position
        (1,) int32 on the device.
    arrivals
        (B * nkv,) int32, zeros before and after: programs that have ended.

    Returns
    -------
    (B, nh, 1, hs), a view of (B, 1, nh, hs)
    """
    batch, n_head, _, head_size = q.shape
    n_kv_head = k.shape[1]
    group, n_pairs = n_head // n_kv_head, batch * n_kv_head
    block_g = max(16, triton.next_power_of_2(group))
    block_d = max(16, triton.next_power_of_2(head_size))
    n_splits = _n_splits(n_pairs)
    out = q.new_empty((batch, 1, n_head, head_size))
    partial_y = partial_sums = out
    if n_splits > 1:
        sizes = (n_pairs, n_splits, block_g)
        partial_y = q.new_empty((*sizes, block_d), dtype=torch.float32)
        partial_sums = q.new_empty((*sizes, 2), dtype=torch.float32)
    _attend[(n_pairs, n_splits)](
        q, k, v, keys, values, cos, sin, position, out, partial_y, partial_sums, arrivals,
        q.stride(0), q.stride(1), k.stride(0), k.stride(1), v.stride(0), v.stride(1),
        keys.stride(0), keys.stride(1), n_kv_head, head_size**-0.5,
        GROUP=group, HEAD_SIZE=head_size, N_PAIRS=cos.shape[1], N_SPLITS=n_splits,
        BLOCK_G=block_g, BLOCK_D=block_d, BLOCK_L=128, num_warps=4,
    )  # fmt: skip
    return out.transpose(1, 2)


def _n_splits(n_pairs: int) -> int:
    """Return the programs that share a cache, so that most processors of a GPU have work."""
    return 1 if n_pairs > 64 else 2 if n_pairs > 32 else 4 if n_pairs > 16 else 8


def _launch_shape(n_out: int, width: int) -> tuple[int, int]:
    """Return the rows that one program multiplies, and its warps, so that no processor idles."""
    return (8 if n_out < 16384 else 16), 8
