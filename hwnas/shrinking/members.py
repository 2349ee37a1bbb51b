"""The space of the smaller versions of a model, and models whose layers are made equal for it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hwnas.errors import InvalidInput
from hwnas.profiling.llama import Block, Llama
from hwnas.shrinking.sliced_model import SETTINGS
from hwnas.spaces import ShrunkLlamaSpace

_ALIGNMENT = 64  # neurons; rows of matrices of which kernels are fastest on a multiple


def space_of_members(model: Llama, *, head_steps: int = 4, mlp_steps: int = 4) -> ShrunkLlamaSpace:
    """Return the space of the smaller versions of a model.

    Parameters
    ----------
    model
        Model whose layers have equal sizes, see `with_equal_layers`.
    head_steps, mlp_steps
        Number of sizes of attention and of an MLP above none: equal parts of the whole, in whole
        groups of heads, and in multiples of 64 neurons where there are enough of them.

    Raises
    ------
    InvalidInput
        The layers differ, or a number of steps is below 1.

    Examples
    --------
    >>> from hwnas.spaces import LlamaArchitecture
    >>> arch = LlamaArchitecture.parse("mine-2-64-256-256-8-8-4-4-True")
    >>> model = Llama(arch, head_size=8, context=64, vocab_size=50, device="meta")
    >>> space = space_of_members(model)
    >>> space.mlp_dim, space.n_head
    ((0, 64, 128, 192, 256), (0, 2, 4, 6, 8))
    """
    arch = model.arch
    sizes = {*zip(arch.mlp_dim, arch.n_head, arch.n_kv_head, strict=True)}
    if len(sizes) > 1:
        raise InvalidInput(f"{arch}: expected layers of equal sizes; use with_equal_layers")
    ((hidden, heads, groups),) = sizes
    for name, steps in (("head_steps", head_steps), ("mlp_steps", mlp_steps)):
        if steps < 1:
            raise InvalidInput(f"{name}: expected at least 1, found {steps}")
    unit = _ALIGNMENT if hidden >= _ALIGNMENT * mlp_steps else 1
    group = heads // groups
    return ShrunkLlamaSpace(
        arch.space,
        embed_dim=arch.embed_dim,
        n_layer=arch.n_layer,
        tied=arch.tied,
        mlp_dim=_parts(hidden, mlp_steps, unit),
        n_head=[group * count for count in _parts(groups, head_steps, 1)],
        group=group,
        **{name: getattr(model, name) for name in SETTINGS},
    )


def _parts(total: int, steps: int, unit: int) -> list[int]:
    """Return 0, the whole, and equal parts between them, in multiples of a unit.

    >>> _parts(8, 3, 1), _parts(2, 4, 1)
    ([0, 3, 5, 8], [0, 1, 2])
    """
    inner = {round(total * i / steps / unit) * unit for i in range(1, steps)}
    return sorted({0, total} | {size for size in inner if 0 < size < total})


@torch.no_grad()
def with_equal_layers(model: Llama) -> Llama:
    """Return a model whose layers have equal sizes and that computes the same.

    Smaller layers get heads and neurons with weights of zero; heads of keys and values that more
    queries share than in other layers are repeated. A model with equal layers is returned as it is.

    Examples
    --------
    >>> from hwnas.spaces import LlamaArchitecture
    >>> arch = LlamaArchitecture.parse("mine-2-32-64-0-2-4-2-1-True")
    >>> model = Llama(arch, head_size=16, context=64, vocab_size=50)
    >>> str(with_equal_layers(model).arch)
    'mine-2-32-64-64-4-4-4-4-True'
    """
    arch = model.arch
    present = [pair for pair in zip(arch.n_head, arch.n_kv_head, strict=True) if pair[0]]
    if not present or not any(arch.mlp_dim):
        raise InvalidInput(f"{arch}: expected layers with attention and layers with an MLP")
    group = math.gcd(*(heads // groups for heads, groups in present))
    heads, hidden, n = max(arch.n_head), max(arch.mlp_dim), arch.n_layer
    equal = replace(
        arch, mlp_dim=(hidden,) * n, n_head=(heads,) * n, n_kv_head=(heads // group,) * n
    )
    if equal == arch:
        return model
    settings: dict[str, Any] = {name: getattr(model, name) for name in SETTINGS}
    out = Llama(equal, **settings, device="meta")
    out.embedding, out.norm, out.head = model.embedding, model.norm, model.head
    out.cos, out.sin = model.cos, model.sin
    out.blocks = nn.ModuleList(
        _padded_block(block, model, heads, heads // group, hidden)  # type: ignore[arg-type]
        for block in model.blocks
    )
    return out.eval()


def _padded_block(block: Block, model: Llama, heads: int, groups: int, hidden: int) -> Block:
    """Return a layer of larger sizes that computes the same."""
    width, size = model.arch.embed_dim, model.head_size
    out: Any = Block(width, hidden, heads, groups, size, model.norm_eps)
    out = out.to(device=model.device, dtype=model.dtype).requires_grad_(False)
    for name, parameter in out.named_parameters():
        parameter.fill_(float("norm" in name))
    if block.attention is not None:
        own: Any = block.attention
        out.norm_1.weight.copy_(block.norm_1.weight)
        rows = [n * size for n in (own.n_head, own.n_kv_head, own.n_kv_head)]
        q, k, v = own.qkv.weight.split(rows)
        repeats = own.n_head // own.n_kv_head * groups // heads
        k, v = (_repeated(part, size, repeats) for part in (k, v))
        targets = out.attention.qkv.weight.split([n * size for n in (heads, groups, groups)])
        for target, part in zip(targets, (q, k, v), strict=True):
            target[: len(part)] = part
        out.attention.proj.weight[:, : own.n_head * size] = own.proj.weight
    if block.mlp is not None:
        own = block.mlp
        out.norm_2.weight.copy_(block.norm_2.weight)
        for target, part in zip(out.mlp.fc.weight.chunk(2), own.fc.weight.chunk(2), strict=True):
            target[: len(part)] = part
        out.mlp.proj.weight[:, : own.proj.weight.shape[1]] = own.proj.weight
    made: Block = out
    return made


def _repeated(rows: Tensor, size: int, repeats: int) -> Tensor:
    """Return the rows (n * size, C) of heads, each head `repeats` times."""
    heads = rows.view(-1, size, rows.shape[1])
    return heads.repeat_interleave(repeats, dim=0).flatten(0, 1)
