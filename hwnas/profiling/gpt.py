"""GPT of HW-GPT-Bench, with the number of heads and the MLP ratio chosen for each layer.

The file reads from top to bottom: rotary positions, attention, MLP, block, model.

The block is that of GPT-NeoX (Black et al. 2022, arXiv:2204.06745), as HW-GPT-Bench uses it
(Sukthanker et al. 2024, arXiv:2405.10299): pre-LayerNorm; attention and MLP in parallel on one
residual stream, each with its own norm; rotary positions on the first half of each head; GELU; an
output layer that shares no weights with the embedding.

Shapes: B sequences of T tokens, C the width of the residual stream, nh heads of size hs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.deprecation import warn_renamed
from hwnas.errors import InvalidInput
from hwnas.profiling.attention import Attend, causal_attention
from hwnas.profiling.language_model import LanguageModel, build_model, check_sizes, draw_weights
from hwnas.profiling.layers import Embedding, LayerNorm, Linear
from hwnas.profiling.rotary import position_angles, rotate
from hwnas.spaces import CONTEXT, HEAD_SIZE, VOCABULARY, GPTSpace
from hwnas.spaces.architecture import Architecture


def rotary_angles(head_size: int, context: int) -> Tensor:
    """Return the rotation angle of each position and each pair of numbers.

    The first half of a head is rotated, so there are ``head_size // 4`` pairs.

    Returns
    -------
    (context, head_size // 4) float32, in radians
    """
    return position_angles(head_size // 2, context)


class Attention(nn.Module):
    """Causal self-attention with rotary positions."""

    def __init__(self, width: int, n_head: int, head_size: int, bias: bool) -> None:
        super().__init__()
        self.n_head, self.head_size = n_head, head_size
        self.qkv = Linear(width, 3 * n_head * head_size, bias=bias)
        self.proj = Linear(n_head * head_size, width, bias=bias)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend | None = None) -> Tensor:
        """Return the attention output; (B, T, C) to (B, T, C)."""
        B, T, _ = x.shape
        # The rows of query, key and value of one head are adjacent in the weights, so that a
        # model with fewer heads consists of the first rows of a model with more.
        qkv = self.qkv(x).view(B, T, self.n_head, 3, self.head_size)  # (B, T, nh, 3, hs)
        # Split into heads, which become a batch dimension.
        q, k, v = qkv.permute(3, 0, 2, 1, 4).unbind()  # (B, nh, T, hs) each
        if attend is None:
            # Rotated queries and keys have products that depend on their distance only.
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
            y = causal_attention(q, k, v)  # (B, nh, T, hs)
        else:
            y = attend(q, k, v)  # rotates too, by the positions in its cache
        # Put the outputs of all heads side by side and project them back to the stream.
        y = y.transpose(1, 2).reshape(B, T, self.n_head * self.head_size)  # (B, T, nh * hs)
        out: Tensor = self.proj(y)  # (B, T, C)
        return out


class MLP(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int, ratio: int, bias: bool) -> None:
        super().__init__()
        self.fc = Linear(width, ratio * width, bias=bias)
        self.proj = Linear(ratio * width, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the MLP output; (B, T, C) to (B, T, C)."""
        h = F.gelu(self.fc(x))  # (B, T, ratio * C)
        out: Tensor = self.proj(h)  # (B, T, C)
        return out


class Block(nn.Module):
    """One layer: attention and MLP in parallel; either may be absent."""

    def __init__(self, width: int, ratio: int, n_head: int, head_size: int, bias: bool) -> None:
        super().__init__()
        self.attention = self.mlp = None
        if n_head:
            self.norm_1 = LayerNorm(width)
            self.attention = Attention(width, n_head, head_size, bias)
        if ratio:
            self.norm_2 = LayerNorm(width)
            self.mlp = MLP(width, ratio, bias)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend | None = None) -> Tensor:
        """Return the residual stream after this layer; (B, T, C) to (B, T, C)."""
        # Both branches read the same x; in GPT-2 the output of attention is added first.
        out = x
        if self.attention is not None:
            out = out + self.attention(self.norm_1(x), cos, sin, attend)
        if self.mlp is not None:
            out = out + self.mlp(self.norm_2(x))
        return out


class GPT(LanguageModel):
    """Language model described by an architecture.

    Parameters
    ----------
    arch
        Widths, MLP ratios and numbers of heads. The name of its search space is ignored.
    head_size
        Width of one attention head, a multiple of 4.
    context
        Maximum length of a sequence in tokens.
    vocab_size
        Number of tokens in the vocabulary.
    seed
        Seed of the initial weights, see `reset`. CPU and GPU generate different numbers from it.
    device
        Device of the weights. ``"meta"`` builds shapes without numbers, for counting.

    Raises
    ------
    InvalidInput
        A size is out of range, or sizes do not fit together.

    Examples
    --------
    >>> arch = Architecture.parse("tiny-2-32-2-4-1-2-True")
    >>> model = GPT(arch, head_size=16, context=64, vocab_size=50)
    >>> model(torch.zeros(3, 10, dtype=torch.long)).shape
    torch.Size([3, 10, 50])
    """

    family = "gpt"
    arch_type = Architecture
    arch: Architecture

    def __init__(
        self,
        arch: Architecture,
        *,
        head_size: int = HEAD_SIZE,
        context: int = CONTEXT,
        vocab_size: int = VOCABULARY,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__()
        _check_sizes(arch, head_size=head_size, context=context, vocab_size=vocab_size)
        self.arch = arch
        self.head_size, self.context, self.vocab_size = head_size, context, vocab_size
        with torch.device("meta"):
            self.embedding = Embedding(vocab_size, arch.embed_dim)
            self.blocks = nn.ModuleList(
                Block(arch.embed_dim, ratio, n_head, head_size, arch.bias)
                for ratio, n_head in zip(arch.mlp_ratio, arch.n_head, strict=True)
            )
            self.norm = LayerNorm(arch.embed_dim)
            self.head = Linear(arch.embed_dim, vocab_size, bias=False)
            # Not persistent: the tables follow from the sizes and are no part of the weights.
            for name in ("cos", "sin"):
                angles = torch.empty(context, head_size // 4)
                self.register_buffer(name, angles, persistent=False)
        if torch.device(device).type != "meta":
            self.to_empty(device=device)
            self.reset(seed)

    @torch.no_grad()
    def reset(self, seed: int) -> None:
        """Draw new initial weights, see `hwnas.profiling.language_model.draw_weights`."""
        draw_weights(self, seed)
        angles = rotary_angles(self.head_size, self.context)
        self.cos.copy_(angles.cos())
        self.sin.copy_(angles.sin())

    def features(self, tokens: Tensor, attends: Sequence[Attend | None] | None = None) -> Tensor:
        """Return the input of the output layer; (B, T) integers to (B, T, C).

        Raises
        ------
        InvalidInput
            T is larger than `context`.
        """
        x = self.embed(tokens)  # (B, T, C)
        T = tokens.shape[1]
        cos, sin = self.cos[:T], self.sin[:T]  # (T, hs // 4)
        for block, attend in zip(self.blocks, attends or repeat(None), strict=False):
            x = block(x, cos, sin, attend)  # (B, T, C)
        normalized: Tensor = self.norm(x)  # (B, T, C)
        return normalized

    @property
    def output_weight(self) -> Tensor:
        """Matrix of the output layer, (vocab_size, C)."""
        return self.head.weight

    @property
    def kv_heads(self) -> tuple[int, ...]:
        """Number of heads of keys and values of each layer, 0 where it has no attention."""
        return self.arch.n_head

    def flops(self, tokens: int | None = None) -> int:
        """Return the exact number of floating-point operations of the matrix products of one pass.

        A multiplication and an addition count as two operations. Attention counts in full,
        including the half above the diagonal.

        Parameters
        ----------
        tokens
            Length of the one sequence; `context` by default.

        Notes
        -----
        With `weights` the number of weights of all linear layers and `inner` the total width of
        all heads of all layers: ``2 * weights * tokens + 4 * inner * tokens**2``.

        The formula of HW-GPT-Bench (`GPTSpace.flops`) differs in two terms. Its `weights` are
        all parameters, including the embedding, norms and biases, which multiply nothing. Its
        `inner` is ``n_layer * embed_dim``, as if the heads of each layer were together as wide as
        the residual stream.
        """
        length = self.context if tokens is None else tokens
        width, inner = self.arch.embed_dim, self.head_size * sum(self.arch.n_head)
        # Weights of q, k, v and output projection; of the two layers of each MLP; of the output.
        weights = width * (4 * inner + 2 * width * sum(self.arch.mlp_ratio) + self.vocab_size)
        return 2 * weights * length + 4 * inner * length**2


def build_gpt(
    space: GPTSpace, arch: Architecture, *, seed: int = 0, device: str | torch.device = "cpu"
) -> GPT:
    """Build the model of an architecture with head size, context and vocabulary of its space.

    Raises
    ------
    InvalidInput
        The architecture is not in the space.

    Examples
    --------
    >>> import hwnas, numpy as np
    >>> space = hwnas.space("gpt-s")
    >>> arch = space.decode(space.sample(1, np.random.default_rng(0)))[0]
    >>> build_gpt(space, arch, device="meta").context
    1024
    """
    model = build_model(space, arch, seed=seed, device=device)
    assert isinstance(model, GPT)
    return model


def _check_sizes(arch: Architecture, **scalars: int) -> None:
    """Raise InvalidInput unless all sizes are in range and fit together."""
    single = {"embed_dim": arch.embed_dim, "n_layer": arch.n_layer, **scalars}
    per_layer = {"mlp_ratio": arch.mlp_ratio, "n_head": arch.n_head}
    check_sizes(single, per_layer, arch.n_layer)
    if scalars["head_size"] % 4:
        raise InvalidInput(
            f"head_size: expected a multiple of 4, because half of each head is rotated in pairs "
            f"of numbers, found {scalars['head_size']}"
        )


def __getattr__(name: str) -> Any:
    if name == "gpt":
        warn_renamed("hwnas.profiling.gpt.gpt", "build_gpt")
        return build_gpt
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
