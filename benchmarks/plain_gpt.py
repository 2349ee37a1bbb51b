"""A GPT-2 and its training loop as plain as possible: a baseline for `hwnas.profiling`.

Its parts are those of nanoGPT, written anew: attention and MLP one after the other, learned
positions, an output layer that is the embedding, a vocabulary padded to a multiple of 64; bfloat16
autocast, ``torch.compile``, fused AdamW, gradients clipped, batches from pinned memory.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The numbers that make a GPT-2."""

    vocab_size: int = 50_304
    context: int = 1024
    n_layer: int = 12
    n_head: int = 12
    width: int = 768

    def training_flops_per_token(self) -> int:
        """Operations of training on a token, as `GPT.training_flops_per_token` counts them."""
        weights = self.width * (12 * self.n_layer * self.width + self.vocab_size)
        return 6 * weights + 12 * self.n_layer * self.width * self.context


class Block(nn.Module):
    """One layer."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.n_head, width = size.n_head, size.width
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) to (B, T, C)."""
        B, T, C = x.shape
        parts = self.qkv(self.norm_1(x)).split(C, dim=2)
        q, k, v = (p.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for p in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, nh, T, hs)
        x = x + self.out(y.transpose(1, 2).reshape(B, T, C))
        grown: Tensor = x + self.down(F.gelu(self.up(self.norm_2(x))))
        return grown


class PlainGPT(nn.Module):
    """The network."""

    def __init__(self, size: Size, *, seed: int = 0) -> None:
        super().__init__()
        self.size = size
        self.tokens = nn.Embedding(size.vocab_size, size.width)
        self.positions = nn.Embedding(size.context, size.width)
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.n_layer))
        self.norm = nn.LayerNorm(size.width)
        self.head = nn.Linear(size.width, size.vocab_size, bias=False)
        self.head.weight = self.tokens.weight
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                added = name.endswith(("out.weight", "down.weight"))
                std = 0.02 / math.sqrt(2 * size.n_layer) if added else 0.02
                nn.init.normal_(parameter, 0, std, generator=generator)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean cross-entropy of (B, T) tokens `y`, each after those of `x` up to its place."""
        h = self.tokens(x) + self.positions(torch.arange(x.shape[1], device=x.device))
        for block in self.blocks:
            h = block(h)
        logits = self.head(self.norm(h))  # (B, T, vocab_size)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), y.view(-1))


def batch_of(
    ids: NDArray[np.unsignedinteger[Any]], context: int, n: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """n sequences at random places, and what comes after each of their tokens."""
    starts = torch.randint(len(ids) - context, (n,)).tolist()
    rows = [torch.from_numpy(ids[s : s + context + 1].astype(np.int64)) for s in starts]
    x, y = torch.stack([row[:-1] for row in rows]), torch.stack([row[1:] for row in rows])
    if device.type == "cuda":
        x, y = x.pin_memory(), y.pin_memory()
    return x.to(device, non_blocking=True), y.to(device, non_blocking=True)


def train(
    model: PlainGPT,
    ids: NDArray[np.unsignedinteger[Any]],
    *,
    steps: int,
    batch_size: int,
    compiled: bool = True,
    every: int = 10,
    report: Callable[[int, float], None] | None = None,
) -> float:
    """Train in place on the device where the network is.

    Parameters
    ----------
    every
        The loss is looked at, and reported with the number of steps done, every so many steps.

    Returns
    -------
    float
        Tokens a second over all steps but the first `every`, in which kernels are compiled.
    """
    device, context = model.tokens.weight.device, model.size.context
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    on_cuda = device.type == "cuda"
    optimizer = torch.optim.AdamW(groups, lr=6e-4, betas=(0.9, 0.95), fused=on_cuda)
    loss_of = torch.compile(model) if compiled else model
    begin = time.perf_counter()
    x, y = batch_of(ids, context, batch_size, device)
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = 6e-4 * (1 + math.cos(math.pi * step / steps)) / 2
        with _autocast(device):
            loss = loss_of(x, y)
        x, y = batch_of(ids, context, batch_size, device)  # while the device computes
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % every == 0 or step == steps:
            value = loss.item()  # waits for the device
            if report is not None:
                report(step, value)
            if step == every:
                begin = time.perf_counter()
    if on_cuda:
        torch.cuda.synchronize(device)
    return max(steps - every, 1) * batch_size * context / (time.perf_counter() - begin)


def _autocast(device: torch.device) -> AbstractContextManager[Any]:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")
