"""HW-GPT-Bench's GPT, with heads and MLP ratio of each layer its own; reads from top to bottom.

Pre-LayerNorm; attention and MLP in parallel on one residual stream, each behind a norm of its own;
rotary positions on the first half of each head; GELU; an output layer that shares no weights with
the embedding (Sukthanker et al. 2024, arXiv:2405.10299; the block is GPT-NeoX's, Black et al. 2022,
arXiv:2204.06745).

Shapes: B sequences of T tokens, C the width of the residual stream, nh heads of size hs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.errors import InvalidInput
from hwnas.spaces import CONTEXT, HEAD_SIZE, VOCABULARY, SearchSpace
from hwnas.spaces.architecture import Architecture

ROTARY_BASE = 10_000


def rotary_angles(head_size: int, context: int) -> Tensor:
    """Angle of each position and pair of numbers.

    Half of a head is rotated, so there are ``head_size // 4`` pairs (Su et al. 2021,
    arXiv:2104.09864).

    Returns
    -------
    (context, head_size // 4) float32, in radians
    """
    rotated = head_size // 2
    frequencies = ROTARY_BASE ** -(torch.arange(0, rotated, 2, device="cpu") / rotated)
    return torch.outer(torch.arange(context, device="cpu"), frequencies)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the leading pairs of numbers of each head by their angles; the rest stays as it is.

    Number i of the first quarter of a head and number i of the second are a pair.

    Parameters
    ----------
    x
        (B, nh, T, hs), queries or keys.
    cos, sin
        (T, hs // 4) of `rotary_angles`.
    """
    pairs = cos.shape[-1]
    a, b, rest = x[..., :pairs], x[..., pairs : 2 * pairs], x[..., 2 * pairs :]
    turned = torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)
    return torch.cat((turned.to(x.dtype), rest), dim=-1)  # (B, nh, T, hs)


class Attention(nn.Module):
    """Causal self-attention."""

    def __init__(self, width: int, n_head: int, head_size: int, bias: bool) -> None:
        super().__init__()
        self.n_head, self.head_size = n_head, head_size
        self.qkv = nn.Linear(width, 3 * n_head * head_size, bias=bias)
        self.proj = nn.Linear(n_head * head_size, width, bias=bias)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(B, T, C) to (B, T, C)."""
        B, T, _ = x.shape
        # Query, key and value of one head stand together, so that fewer heads are the first rows.
        qkv = self.qkv(x).view(B, T, self.n_head, 3, self.head_size)
        q, k, v = qkv.permute(3, 0, 2, 1, 4).unbind()  # (B, nh, T, hs) each
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, nh, T, hs)
        y = y.transpose(1, 2).reshape(B, T, self.n_head * self.head_size)
        out: Tensor = self.proj(y)  # (B, T, C)
        return out


class MLP(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int, ratio: int, bias: bool) -> None:
        super().__init__()
        self.fc = nn.Linear(width, ratio * width, bias=bias)
        self.proj = nn.Linear(ratio * width, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) to (B, T, C)."""
        out: Tensor = self.proj(F.gelu(self.fc(x)))
        return out


class Block(nn.Module):
    """One layer: attention and MLP side by side."""

    def __init__(self, width: int, ratio: int, n_head: int, head_size: int, bias: bool) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(width)
        self.attention = Attention(width, n_head, head_size, bias)
        self.norm_2 = nn.LayerNorm(width)
        self.mlp = MLP(width, ratio, bias)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(B, T, C) to (B, T, C)."""
        out: Tensor = x + self.attention(self.norm_1(x), cos, sin) + self.mlp(self.norm_2(x))
        return out


class GPT(nn.Module):
    """The network that an architecture describes.

    Parameters
    ----------
    arch
        Widths, ratios and heads; the name of its space is not looked at.
    head_size
        Width of one attention head, a multiple of 4.
    context
        Longest sequence in tokens.
    vocab_size
        Number of tokens.
    seed
        Of the first weights, which are GPT-2's: normal with deviation 0.02, what is added to the
        residual stream by ``sqrt(2 * n_layer)`` less. Each kind of device draws its own.
    device
        ``"meta"``: shapes without numbers, for counting.

    Raises
    ------
    InvalidInput
        The numbers make no network.
    """

    cos: Tensor
    sin: Tensor

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
        _check(arch, head_size=head_size, context=context, vocab_size=vocab_size)
        self.arch = arch
        self.head_size, self.context, self.vocab_size = head_size, context, vocab_size
        with torch.device("meta"):  # the layers' own initialisation would draw from torch's stream
            self.embedding = nn.Embedding(vocab_size, arch.embed_dim)
            self.blocks = nn.ModuleList(
                Block(arch.embed_dim, ratio, n_head, head_size, arch.bias)
                for ratio, n_head in zip(arch.mlp_ratio, arch.n_head, strict=True)
            )
            self.norm = nn.LayerNorm(arch.embed_dim)
            self.head = nn.Linear(arch.embed_dim, vocab_size, bias=False)
            for name in ("cos", "sin"):
                angles = torch.empty(context, head_size // 4)
                self.register_buffer(name, angles, persistent=False)
        if torch.device(device).type != "meta":
            self.to_empty(device=device)
            self.reset(seed)

    @torch.no_grad()
    def reset(self, seed: int) -> None:
        """Draw the first weights (again)."""
        generator = torch.Generator(self.cos.device).manual_seed(seed)
        for name, parameter in self.named_parameters():
            if "norm" in name:
                parameter.fill_(float(name.endswith("weight")))
            elif name.endswith("bias"):
                parameter.zero_()
            else:
                added = name.endswith("proj.weight")  # to the residual stream
                std = 0.02 / math.sqrt(2 * self.arch.n_layer) if added else 0.02
                parameter.normal_(0, std, generator=generator)
        angles = rotary_angles(self.head_size, self.context)
        self.cos.copy_(angles.cos())
        self.sin.copy_(angles.sin())

    def features(self, tokens: Tensor) -> Tensor:
        """What the output layer reads; (B, T) integers to (B, T, C).

        Raises
        ------
        InvalidInput
            T is more than `context`.
        """
        T = tokens.shape[1]
        if self.context < T:
            raise InvalidInput(f"expected at most {self.context} tokens, found {T}")
        cos, sin = self.cos[:T], self.sin[:T]  # (T, hs // 4)
        x = self.embedding(tokens)  # (B, T, C)
        if torch.is_autocast_enabled(x.device.type):  # or the residual stream would be float32
            x = x.to(torch.get_autocast_dtype(x.device.type))
        for block in self.blocks:
            x = block(x, cos, sin)
        normed: Tensor = self.norm(x)  # (B, T, C)
        return normed

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the token after each.

        Parameters
        ----------
        tokens
            (B, T) integers, T at most `context`.

        Returns
        -------
        (B, T, vocab_size)
        """
        logits: Tensor = self.head(self.features(tokens))  # (B, T, vocab_size)
        return logits

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats; `tokens` and `targets` are (B, T) integers."""
        x, missing = self.features(tokens), -self.vocab_size % 64
        if x.is_cuda and missing:  # tensor cores want rows of logits that are aligned
            weight = F.pad(self.head.weight, (0, 0, 0, missing))
            never = F.pad(weight.new_zeros(self.vocab_size), (0, missing), value=-math.inf)
            logits = F.linear(x, weight, never)  # (B, T, a multiple of 64)
        else:
            logits = self.head(x)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    @property
    def params(self) -> int:
        """Number of parameters, the same as `SearchSpace.params` says."""
        return sum(parameter.numel() for parameter in self.parameters())

    def flops(self, tokens: int | None = None) -> int:
        """Exact floating-point operations of the matrix products of one forward pass.

        A multiplication and an addition are two. Attention is counted in full, the half above the
        diagonal included.

        Parameters
        ----------
        tokens
            Length of the one sequence; the whole context by default.

        Notes
        -----
        With `weights` those of all linear layers and `inner` the width of all heads of all
        layers: ``2 * weights * tokens + 4 * inner * tokens**2``. HW-GPT-Bench's formula
        (`SearchSpace.flops`) takes all parameters for `weights`, so also the embedding, which only
        looks up, and norms and biases; and ``n_layer * embed_dim`` for `inner`, as if the heads of
        every layer were together as wide as the residual stream.
        """
        length = self.context if tokens is None else tokens
        width, inner = self.arch.embed_dim, self.head_size * sum(self.arch.n_head)
        weights = width * (4 * inner + 2 * width * sum(self.arch.mlp_ratio) + self.vocab_size)
        return 2 * weights * length + 4 * inner * length**2

    def training_flops_per_token(self, tokens: int | None = None) -> int:
        """Operations a token that training needs: forward once, backward twice as much.

        That is ``6 * weights + 12 * inner * tokens``, the count behind model-FLOPs utilisation
        (Chowdhery et al. 2022, arXiv:2204.02311, appendix B): nothing that is computed again
        counts.
        """
        length = self.context if tokens is None else tokens
        return 3 * self.flops(length) // length


def gpt(
    space: SearchSpace, arch: Architecture, *, seed: int = 0, device: str | torch.device = "cpu"
) -> GPT:
    """The network of an architecture with head size, context and vocabulary of its space.

    Raises
    ------
    InvalidInput
        The space does not offer the architecture.
    """
    space.encode([arch])
    return GPT(
        arch,
        head_size=space.head_size,
        context=space.context,
        vocab_size=space.vocab_size,
        seed=seed,
        device=device,
    )


def _check(arch: Architecture, **scalars: int) -> None:
    per_layer = {"mlp_ratio": arch.mlp_ratio, "n_head": arch.n_head}
    for name, values in per_layer.items():
        if len(values) != arch.n_layer:
            raise InvalidInput(
                f"{name}: expected one value a layer, {arch.n_layer}, found {len(values)}"
            )
    single = {"embed_dim": arch.embed_dim, "n_layer": arch.n_layer, **scalars}
    for name, values in {**{key: (v,) for key, v in single.items()}, **per_layer}.items():
        for value in values:
            if type(value) is not int or value < 1:
                raise InvalidInput(f"{name}: expected a positive integer, found {value!r}")
    if scalars["head_size"] % 4:
        raise InvalidInput(
            f"head_size: expected a multiple of 4, because pairs of numbers of half a head are "
            f"rotated, found {scalars['head_size']}"
        )
