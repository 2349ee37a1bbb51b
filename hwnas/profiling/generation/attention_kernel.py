"""Triton kernel of the attention of a decoding step, with rotary positions and the cache."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from hwnas.profiling.generation.launch import begin, dependent_launch, wait

_BLOCK_L = 128  # positions of the cache that a program reads at once, of several on an H100


@triton.jit
def _rotated(x, offsets, d, mask, cos_row, sin_row, N_PAIRS: tl.constexpr):
    """Return heads at `offsets` (.., d), rotated by the angles of one position."""
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
def _add_block(queries, key_block, value_block, in_cache, softmax_scale, maximum, total, y):
    """Add a block of keys and values to the running sums of a softmax."""
    scores = tl.dot(queries, tl.trans(key_block), input_precision="ieee") * softmax_scale
    scores = tl.where(in_cache[None, :], scores, float("-inf"))
    new_maximum = tl.maximum(maximum, tl.max(scores, axis=1))
    shrink = tl.exp(maximum - new_maximum)
    weights = tl.exp(scores - new_maximum[:, None])
    y = y * shrink[:, None]
    y += tl.dot(weights.to(value_block.dtype), value_block, input_precision="ieee")
    return new_maximum, total * shrink + tl.sum(weights, axis=1), y


@triton.jit
def _attend(
    q, k, v, keys, values, cos, sin, position_pointer, out, partial_y, partial_sums, arrivals,
    q_batch, q_head, k_batch, k_head, v_batch, v_head, cache_batch, cache_head,
    n_kv_head, softmax_scale,
    GROUP: tl.constexpr, HEAD_SIZE: tl.constexpr, N_PAIRS: tl.constexpr, N_SPLITS: tl.constexpr,
    BLOCK_G: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_L: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """Rotate, update the cache and attend, for one sequence and one head of keys and values.

    The softmax is computed online (Milakov and Gimelshein 2018, arXiv:1805.02867): a running
    maximum, the sum of exponentials and the weighted sum of values, rescaled when the maximum
    grows. Several programs share the positions of a long cache; the one that ends last combines
    their sums (Dao et al. 2023, "Flash-Decoding").
    """
    begin(PDL)
    pair, split = tl.program_id(0), tl.program_id(1)
    sequence, head = pair // n_kv_head, pair % n_kv_head
    position = tl.load(position_pointer)
    g, d = tl.arange(0, BLOCK_G), tl.arange(0, BLOCK_D)
    in_head = d < HEAD_SIZE
    cos_row, sin_row = cos + position * N_PAIRS, sin + position * N_PAIRS
    base = sequence.to(tl.int64) * cache_batch + head * cache_head

    # The first block of earlier positions comes from earlier steps, not from the kernel before.
    positions = tl.arange(0, BLOCK_L)
    first = split * BLOCK_L + positions
    mask = (first < position)[:, None] & in_head[None, :]
    offsets = base + first[:, None] * HEAD_SIZE + d[None, :]
    key_block = tl.load(keys + offsets, mask=mask, other=0.0)
    value_block = tl.load(values + offsets, mask=mask, other=0.0)
    wait(PDL)

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
    in_cache = split * BLOCK_L + positions < position
    maximum, total, y = _add_block(
        queries, key_block, value_block, in_cache, softmax_scale, maximum, total, y
    )
    for start in range((N_SPLITS + split) * BLOCK_L, position, N_SPLITS * BLOCK_L):
        in_cache = start + positions < position
        mask = in_cache[:, None] & in_head[None, :]
        offsets = base + (start + positions)[:, None] * HEAD_SIZE + d[None, :]
        key_block = tl.load(keys + offsets, mask=mask, other=0.0)
        value_block = tl.load(values + offsets, mask=mask, other=0.0)
        maximum, total, y = _add_block(
            queries, key_block, value_block, in_cache, softmax_scale, maximum, total, y
        )

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
            first_row = pair * N_SPLITS * BLOCK_G + g
            largest = tl.full((BLOCK_G,), -1e30, tl.float32)
            for i in tl.static_range(N_SPLITS):
                largest = tl.maximum(largest, tl.load(partial_sums + 2 * (first_row + i * BLOCK_G)))
            total = tl.zeros((BLOCK_G,), tl.float32)
            y = tl.zeros((BLOCK_G, BLOCK_D), tl.float32)
            for i in tl.static_range(N_SPLITS):
                row = first_row + i * BLOCK_G
                shrink = tl.exp(tl.load(partial_sums + 2 * row) - largest)
                total += tl.load(partial_sums + 2 * row + 1) * shrink
                part = tl.load(partial_y + row[:, None] * BLOCK_D + d[None, :])
                y += part * shrink[:, None]
            tl.store(out + out_offsets, (y / total[:, None]).to(queries.dtype), mask=q_mask)
            tl.store(arrivals + pair, 0)  # for the next step


def attend_step(
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
        BLOCK_G=block_g, BLOCK_D=block_d, BLOCK_L=_BLOCK_L, num_warps=4, **dependent_launch(q),
    )  # fmt: skip
    return out.transpose(1, 2)


def _n_splits(n_pairs: int) -> int:
    """Return the programs that share a cache, so that most processors of a GPU have work."""
    return 8 if n_pairs <= 32 else 2 if n_pairs <= 64 else 1
