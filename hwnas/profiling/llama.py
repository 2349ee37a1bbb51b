"""Llama, with the heads and the hidden width of the MLP chosen for each layer.

The file reads from top to bottom: norm, attention, MLP, block, model.

The block is that of Llama 2 (Touvron et al. 2023, arXiv:2307.09288): attention, then the MLP, each
after an RMSNorm (Zhang and Sennrich 2019, arXiv:1910.07467) and added to the residual stream;
grouped-query attention (Ainslie et al. 2023, arXiv:2305.13245) with rotary positions on whole
heads; SwiGLU (Shazeer 2020, arXiv:2002.05202); no biases.

Shapes: B sequences of T tokens, C the width of the residual stream, nh heads of queries and nkv of
keys and values, hs the size of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.errors import InvalidInput
from hwnas.profiling.attention import Attend, causal_attention
from hwnas.profiling.language_model import LanguageModel, check_sizes, draw_weights
from hwnas.profiling.layers import Embedding, Linear, Uninitialized
from hwnas.profiling.rotary import ROTARY_BASE, position_angles, rotate
from hwnas.spaces import LlamaArchitecture
from hwnas.spaces.gpt import HEAD_SIZE
from hwnas.spaces.llama import LLAMA_CONTEXT, LLAMA_VOCABULARY

NORM_EPS = 1e-5  # of Llama 2


class RMSNorm(Uninitialized, nn.RMSNorm):
    """Norm with the weight in the data type of its input, for which there is a fused kernel."""

    def __init__(self, width: int, eps: float = NORM_EPS) -> None:
        super().__init__(width, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Return x, of any shape (..., C), divided by its root mean square and scaled."""
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class Attention(nn.Module):
    """Causal self-attention in which groups of queries share keys and values."""

    def __init__(self, width: int, n_head: int, n_kv_head: int, head_size: int) -> None:
        super().__init__()
        self.n_head, self.n_kv_head, self.head_size = n_head, n_kv_head, head_size
        # One product for all queries, keys and values, in this order.
        self.qkv = Linear(width, (n_head + 2 * n_kv_head) * head_size, bias=False)
        self.proj = Linear(n_head * head_size, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend | None = None) -> Tensor:
        """Return the attention output; (B, T, C) to (B, T, C)."""
        B, T, _ = x.shape
        qkv = self.qkv(x).view(B, T, -1, self.head_size).transpose(1, 2)  # (B, nh + 2 nkv, T, hs)
        q, k, v = qkv.split((self.n_head, self.n_kv_head, self.n_kv_head), dim=1)
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
    """SwiGLU: one of two linear layers, after a SiLU, gates the other."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        # One product for both, the gate first.
        self.fc = Linear(width, 2 * hidden, bias=False)
        self.proj = Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the MLP output; (B, T, C) to (B, T, C)."""
        gate, up = self.fc(x).chunk(2, dim=-1)  # (B, T, hidden) each
        out: Tensor = self.proj(F.silu(gate) * up)  # (B, T, C)
        return out


class Block(nn.Module):
    """One layer: attention, then the MLP; either may be absent."""

    def __init__(
        self,
        width: int,
        hidden: int,
        n_head: int,
        n_kv_head: int,
        head_size: int,
        norm_eps: float = NORM_EPS,
    ) -> None:
        super().__init__()
        self.attention = self.mlp = None
        if n_head:
            self.norm_1 = RMSNorm(width, norm_eps)
            self.attention = Attention(width, n_head, n_kv_head, head_size)
        if hidden:
            self.norm_2 = RMSNorm(width, norm_eps)
            self.mlp = MLP(width, hidden)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend | None = None) -> Tensor:
        """Return the residual stream after this layer; (B, T, C) to (B, T, C)."""
        if self.attention is not None:
            x = x + self.attention(self.norm_1(x), cos, sin, attend)
        if self.mlp is not None:
            x = x + self.mlp(self.norm_2(x))
        return x


class Llama(LanguageModel):
    """Language model described by an architecture.

    Parameters
    ----------
    arch
        Widths, numbers of heads, and whether the matrix of the embeddings is also that of the
        output layer. The name of its search space is ignored.
    head_size
        Width of one attention head, even.
    context
        Maximum length of a sequence in tokens.
    vocab_size
        Number of tokens in the vocabulary.
    rotary_base, rotary_factors, norm_eps
        Base of the rotary positions, numbers by which their `head_size` / 2 frequencies are
        divided, and what norms add to the mean square. The defaults are those of Llama 2; networks
        that were trained elsewhere may have others.
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
    >>> arch = LlamaArchitecture.parse("tiny-2-32-64-96-2-4-2-1-True")
    >>> model = Llama(arch, head_size=16, context=64, vocab_size=50)
    >>> model(torch.zeros(3, 10, dtype=torch.long)).shape
    torch.Size([3, 10, 50])
    """

    family = "llama"
    optional_settings = ("rotary_base", "rotary_factors", "norm_eps")
    arch_type = LlamaArchitecture
    arch: LlamaArchitecture

    def __init__(
        self,
        arch: LlamaArchitecture,
        *,
        head_size: int = HEAD_SIZE,
        context: int = LLAMA_CONTEXT,
        vocab_size: int = LLAMA_VOCABULARY,
        rotary_base: float = ROTARY_BASE,
        rotary_factors: Sequence[float] = (),
        norm_eps: float = NORM_EPS,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__()
        _check(arch, head_size=head_size, context=context, vocab_size=vocab_size)
        self.arch = arch
        self.head_size, self.context, self.vocab_size = head_size, context, vocab_size
        self.rotary_base, self.norm_eps = float(rotary_base), float(norm_eps)
        self.rotary_factors = list(rotary_factors)
        if len(self.rotary_factors) not in (0, head_size // 2):
            raise InvalidInput(
                f"rotary_factors: expected {head_size // 2}, half of the size of a head, or none, "
                f"found {len(self.rotary_factors)}"
            )
        # Files of models with the defaults are those of earlier versions.
        own = (self.rotary_base, self.rotary_factors, self.norm_eps)
        if own != (ROTARY_BASE, [], NORM_EPS):
            self.settings = (*type(self).settings, *self.optional_settings)
        with torch.device("meta"):
            self.embedding = Embedding(vocab_size, arch.embed_dim)
            self.blocks = nn.ModuleList(
                Block(arch.embed_dim, *sizes, head_size, norm_eps)
                for sizes in zip(arch.mlp_dim, arch.n_head, arch.n_kv_head, strict=True)
            )
            self.norm = RMSNorm(arch.embed_dim, norm_eps)
            self.head = None if arch.tied else Linear(arch.embed_dim, vocab_size, bias=False)
            # Not persistent: the tables follow from the sizes and are no part of the weights.
            for name in ("cos", "sin"):
                self.register_buffer(name, torch.empty(context, head_size // 2), persistent=False)
        if torch.device(device).type != "meta":
            self.to_empty(device=device)
            self.reset(seed)

    @torch.no_grad()
    def reset(self, seed: int) -> None:
        """Draw new initial weights, see `hwnas.profiling.language_model.draw_weights`."""
        draw_weights(self, seed)
        self.reset_tables()

    @torch.no_grad()
    def reset_tables(self) -> None:
        """Compute the tables of the rotary positions, which are no part of the weights."""
        angles = position_angles(
            self.head_size, self.context, self.rotary_base, self.rotary_factors
        )
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
        cos, sin = self.cos[:T], self.sin[:T]  # (T, hs // 2)
        for block, attend in zip(self.blocks, attends or repeat(None), strict=False):
            x = block(x, cos, sin, attend)  # (B, T, C)
        normalized: Tensor = self.norm(x)  # (B, T, C)
        return normalized

    @property
    def output_weight(self) -> Tensor:
        """Matrix of the output layer, (vocab_size, C); that of the embedding if it is tied."""
        return self.embedding.weight if self.head is None else self.head.weight

    @property
    def row_parts(self) -> dict[str, tuple[int, ...]]:
        """Rows of queries, keys and values, and those of gate and up, by parameter."""
        parts: dict[str, tuple[int, ...]] = {}
        arch, size = self.arch, self.head_size
        for i, layer in enumerate(zip(arch.mlp_dim, arch.n_head, arch.n_kv_head, strict=True)):
            hidden, heads, groups = layer
            if heads:
                rows = (heads * size, groups * size, groups * size)
                parts[f"blocks.{i}.attention.qkv.weight"] = rows
            if hidden:
                parts[f"blocks.{i}.mlp.fc.weight"] = (hidden, hidden)
        return parts

    @property
    def kv_heads(self) -> tuple[int, ...]:
        """Number of heads of keys and values of each layer, 0 where it has no attention."""
        return self.arch.n_kv_head

    def flops(self, tokens: int | None = None) -> int:
        """Return the exact number of floating-point operations of the matrix products of one pass.

        For a complete context it equals `LlamaSpace.flops`, where the formula is.

        Parameters
        ----------
        tokens
            Length of the one sequence; `context` by default.
        """
        length = self.context if tokens is None else tokens
        arch, inner = self.arch, self.head_size * sum(self.arch.n_head)
        # Weights of q and output projection, of k and v; of the MLPs; of the output layer.
        attention = 2 * inner + 2 * self.head_size * sum(arch.n_kv_head)
        weights = arch.embed_dim * (attention + 3 * sum(arch.mlp_dim) + self.vocab_size)
        return 2 * weights * length + 4 * inner * length**2


def _check(arch: LlamaArchitecture, **scalars: int) -> None:
    """Raise InvalidInput unless all sizes are in range and fit together."""
    single = {"embed_dim": arch.embed_dim, "n_layer": arch.n_layer, **scalars}
    per_layer = {"mlp_dim": arch.mlp_dim, "n_head": arch.n_head, "n_kv_head": arch.n_kv_head}
    check_sizes(single, per_layer, arch.n_layer)
    for heads, groups in zip(arch.n_head, arch.n_kv_head, strict=True):
        if bool(heads) != bool(groups) or (groups and heads % groups):
            raise InvalidInput(f"n_kv_head: expected a divisor of n_head {heads}, found {groups}")
    if scalars["head_size"] % 2:
        raise InvalidInput(
            f"head_size: expected an even number, because heads are rotated in pairs of numbers, "
            f"found {scalars['head_size']}"
        )
