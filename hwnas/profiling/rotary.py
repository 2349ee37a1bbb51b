"""Rotary positions (Su et al. 2021, arXiv:2104.09864, section 3.2.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

ROTARY_BASE = 10_000


def position_angles(
    rotated: int, context: int, base: float = ROTARY_BASE, factors: Sequence[float] = ()
) -> Tensor:
    """Return the rotation angle of each position and each pair of numbers.

    Parameters
    ----------
    rotated
        Number of rotated numbers of a head, even.
    context
        Number of positions.
    base
        Ratio of the first frequency to the one that would follow the last.
    factors
        Numbers by which the frequencies are divided, for longer contexts; none by default.

    Returns
    -------
    (context, rotated // 2) float32, in radians
    """
    frequencies = base ** -(torch.arange(0, rotated, 2, device="cpu") / rotated)
    if factors:
        frequencies = frequencies / torch.tensor(factors, device="cpu")
    return torch.outer(torch.arange(context, device="cpu"), frequencies)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the first numbers of each head by the angles of its position.

    With p pairs, number i of a head and number p + i are a pair.

    Parameters
    ----------
    x
        (B, nh, T, hs), queries or keys.
    cos, sin
        (T, p), cosine and sine of `position_angles`.

    Returns
    -------
    (B, nh, T, hs)
    """
    n_pairs = cos.shape[-1]
    # a and b are the two numbers of each pair: (B, nh, T, p) each
    a, b, unrotated = x[..., :n_pairs], x[..., n_pairs : 2 * n_pairs], x[..., 2 * n_pairs :]
    rotated = torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)
    if unrotated.shape[-1] == 0:
        return rotated
    return torch.cat((rotated, unrotated), dim=-1)  # (B, nh, T, hs)
