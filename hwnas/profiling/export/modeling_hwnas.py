"""Language model whose layers have sizes of their own, for the library transformers.

The file needs torch and transformers only. It is the code of every network that transformers has
no class for: sequential blocks (Llama) or parallel ones (GPT-NeoX), RMSNorm or LayerNorm, a gated
or a plain MLP, grouped-query attention with rotary positions, and in each layer its own number of
heads and its own width of the MLP, or none of either.

::

    model = AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True)

Shapes: B sequences of T tokens, P tokens in the cache, L keys in all, C the width of the residual
stream, nh heads of queries and nkv of keys and values, hs the size of each.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

# Name of the cache among the outputs, which depends on the version of transformers.
_CACHE = "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"


class HwnasConfig(PreTrainedConfig):
    """Sizes of a network.

    Parameters
    ----------
    hidden_size, vocab_size, head_size, max_position_embeddings
        Width of the residual stream, number of tokens, size of a head, and longest sequence.
    n_head, n_kv_head, mlp_dim
        Of each layer: heads of queries, heads of keys and values, numbers within the MLP; 0 where
        the layer has no attention or no MLP.
    rotary_size, rope_theta, rope_factors
        Rotated numbers of each head, the base of their frequencies, and numbers by which these are
        divided, if any.
    norm, norm_eps
        ``"rms"`` or ``"layer"``, and the constant in its square root.
    gated, parallel, bias
        Whether the MLP is SwiGLU and not GELU, attention and MLP read the same input, and the
        linear layers of the blocks have biases.
    tie_word_embeddings
        Whether the output layer shares the matrix of the embeddings.
    use_cache
        Whether keys and values are returned for later tokens.
    """

    model_type = "hwnas"

    def __init__(
        self,
        hidden_size: int = 64,
        vocab_size: int = 257,
        head_size: int = 16,
        max_position_embeddings: int = 64,
        n_head: list[int] | None = None,
        n_kv_head: list[int] | None = None,
        mlp_dim: list[int] | None = None,
        rotary_size: int = 16,
        rope_theta: float = 10_000.0,
        rope_factors: list[float] | None = None,
        norm: str = "rms",
        norm_eps: float = 1e-5,
        gated: bool = True,
        parallel: bool = False,
        bias: bool = False,
        tie_word_embeddings: bool = False,
        use_cache: bool = True,
        **kwargs: Any,
    ) -> None:
        self.hidden_size, self.vocab_size, self.head_size = hidden_size, vocab_size, head_size
        self.max_position_embeddings = max_position_embeddings
        self.n_head = [4] if n_head is None else n_head
        self.n_kv_head = self.n_head if n_kv_head is None else n_kv_head
        self.mlp_dim = [128] if mlp_dim is None else mlp_dim
        self.rotary_size, self.rope_theta = rotary_size, rope_theta
        self.rope_factors = rope_factors
        self.norm, self.norm_eps = norm, norm_eps
        self.gated, self.parallel, self.bias = gated, parallel, bias
        # Names that other code of transformers reads.
        self.use_cache = use_cache
        self.num_hidden_layers = len(self.n_head)
        self.num_attention_heads = max(self.n_head)
        self.head_dim = head_size
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)


def make_norm(config: HwnasConfig) -> nn.Module:
    """Return a norm of the residual stream."""
    kind = nn.RMSNorm if config.norm == "rms" else nn.LayerNorm
    return kind(config.hidden_size, eps=config.norm_eps)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the first numbers of each head, (B, nh, T, hs), by angles (B, 1, T, p)."""
    p = cos.shape[-1]
    a, b, rest = x[..., :p], x[..., p : 2 * p], x[..., 2 * p :]
    return torch.cat((a * cos - b * sin, b * cos + a * sin, rest), dim=-1).to(x.dtype)


class Attention(nn.Module):
    """Causal self-attention with rotary positions and grouped queries."""

    def __init__(self, config: HwnasConfig, n_head: int, n_kv_head: int, cache_index: int) -> None:
        super().__init__()
        self.n_head, self.n_kv_head, self.head_size = n_head, n_kv_head, config.head_size
        self.cache_index = cache_index
        width, inner = config.hidden_size, n_head * config.head_size
        # One product for all queries, keys and values, in this order.
        self.qkv = nn.Linear(width, inner + 2 * n_kv_head * config.head_size, bias=config.bias)
        self.proj = nn.Linear(inner, width, bias=config.bias)

    def forward(self, x: Tensor, angles: tuple[Tensor, Tensor], mask: Tensor, cache: Any) -> Tensor:
        """Return the attention output; (B, T, C) to (B, T, C)."""
        B, T, _ = x.shape
        qkv = self.qkv(x).view(B, T, -1, self.head_size).transpose(1, 2)  # (B, nh + 2 nkv, T, hs)
        q, k, v = qkv.split((self.n_head, self.n_kv_head, self.n_kv_head), dim=1)
        q, k = rotate(q, *angles), rotate(k, *angles)
        if cache is not None:
            k, v = cache.update(k, v, self.cache_index)  # (B, nkv, P + T, hs)
        group = self.n_head // self.n_kv_head
        k, v = (t.repeat_interleave(group, dim=1) if group > 1 else t for t in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # (B, nh, T, hs)
        out: Tensor = self.proj(y.transpose(1, 2).reshape(B, T, -1))
        return out


class MLP(nn.Module):
    """SwiGLU, or two linear layers with a GELU between them."""

    def __init__(self, config: HwnasConfig, hidden: int) -> None:
        super().__init__()
        self.gated = config.gated
        # Of SwiGLU one product for both, the gate first.
        self.fc = nn.Linear(config.hidden_size, hidden * (1 + config.gated), bias=config.bias)
        self.proj = nn.Linear(hidden, config.hidden_size, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the MLP output; (B, T, C) to (B, T, C)."""
        h = self.fc(x)
        if self.gated:
            gate, up = h.chunk(2, dim=-1)
            h = F.silu(gate) * up
        else:
            h = F.gelu(h)
        out: Tensor = self.proj(h)
        return out


class Block(nn.Module):
    """One layer: attention and MLP, one after the other or in parallel; either may be absent."""

    def __init__(self, config: HwnasConfig, layer: int) -> None:
        super().__init__()
        self.parallel = config.parallel
        self.attention = self.mlp = None
        n_head, hidden = config.n_head[layer], config.mlp_dim[layer]
        if n_head:
            self.norm_1 = make_norm(config)
            # The cache counts the layers with attention only.
            index = sum(heads > 0 for heads in config.n_head[:layer])
            self.attention = Attention(config, n_head, config.n_kv_head[layer], index)
        if hidden:
            self.norm_2 = make_norm(config)
            self.mlp = MLP(config, hidden)

    def forward(self, x: Tensor, angles: tuple[Tensor, Tensor], mask: Tensor, cache: Any) -> Tensor:
        """Return the residual stream after this layer; (B, T, C) to (B, T, C)."""
        out = x
        if self.attention is not None:
            out = out + self.attention(self.norm_1(x), angles, mask, cache)
        if self.mlp is not None:
            out = out + self.mlp(self.norm_2(x if self.parallel else out))
        return out


class HwnasForCausalLM(PreTrainedModel, GenerationMixin):
    """Language model with an output layer."""

    config_class = HwnasConfig
    config: HwnasConfig
    base_model_prefix = ""
    _supports_sdpa = True
    _can_compile_fullgraph = True

    def __init__(self, config: HwnasConfig) -> None:
        super().__init__(config)
        self.embedding: Any = nn.Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config, i) for i in range(config.num_hidden_layers))
        self.norm = make_norm(config)
        self.head: Any = None
        if not config.tie_word_embeddings:
            self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> Any:
        """Return the token embeddings."""
        return self.embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embeddings."""
        self.embedding = value

    def get_output_embeddings(self) -> Any:
        """Return the output layer; None where it shares the matrix of the embeddings."""
        return self.head

    def set_output_embeddings(self, value: nn.Module) -> None:
        """Replace the output layer."""
        self.head = value

    def angles(self, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosine and sine (B, 1, T, p) of the rotary positions (B, T)."""
        size, theta = self.config.rotary_size, self.config.rope_theta
        steps = torch.arange(0, size, 2, device=position_ids.device)
        frequencies = theta ** -(steps / size)
        if self.config.rope_factors is not None:
            factors = torch.tensor(self.config.rope_factors, device=position_ids.device)
            frequencies = frequencies / factors
        angles = position_ids[:, None, :, None].float() * frequencies  # (B, 1, T, p)
        return angles.cos(), angles.sin()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Any = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Return logits (B, T, vocab_size), the cache, and with `labels` the loss.

        Parameters
        ----------
        input_ids, inputs_embeds
            (B, T) tokens, or (B, T, C) embeddings in their place.
        attention_mask
            (B, P + T), 0 for padding; or (B, 1, T, L), true where a token sees one of L keys.
        position_ids
            (B, T); by default tokens are counted from 0, without padding.
        cache, past_key_values
            Keys and values of the P tokens before; the second is the name in older versions.
        labels
            (B, T), equal to `input_ids`; -100 for positions without a loss.
        logits_to_keep
            Number of last positions with logits; 0 for all.
        """
        x = self.embedding(input_ids) if inputs_embeds is None else inputs_embeds  # (B, T, C)
        T = x.shape[1]
        cache = past_key_values if cache is None else cache
        if cache is None and (self.config.use_cache if use_cache is None else use_cache):
            cache = DynamicCache(config=self.config)
        P = 0 if cache is None else cache.get_seq_length()  # of a static cache a tensor, ()
        # Keys: those before and these T; a static cache always has keys for its maximum length.
        L = T if cache is None else cache.get_mask_sizes(T, 0)[0]
        rows = torch.arange(T, device=x.device) + P  # (T,)
        columns = torch.arange(L, device=x.device)
        if attention_mask is not None and attention_mask.dim() == 4:
            mask, positions = attention_mask, rows[None]
        else:
            present = self._present(attention_mask, L, x.device)  # (B, L), or (1, L) for all
            mask = (columns < rows[:, None]) & present[:, None, None]  # (B, 1, T, L)
            positions = (present.cumsum(-1) - 1).clamp(min=0)[:, rows]
        # A token sees itself, padding too, so that every row of the softmax has a value.
        mask = mask | (columns == rows[:, None])
        angles = self.angles(positions if position_ids is None else position_ids)
        for block in self.blocks:
            x = block(x, angles, mask, cache)
        matrix = self.embedding.weight if self.head is None else self.head.weight
        logits = F.linear(self.norm(x[:, -logits_to_keep:]), matrix)  # (B, T, vocab_size)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        return CausalLMOutputWithPast(loss=loss, logits=logits, **{_CACHE: cache})

    @staticmethod
    def _present(attention_mask: Tensor | None, L: int, device: torch.device) -> Tensor:
        """Return whether each of L tokens is one, and no padding; (B, L), or (1, L) for all."""
        if attention_mask is None:
            return torch.ones(1, L, dtype=torch.bool, device=device)
        mask = attention_mask[:, -L:].bool()
        # Behind the last token a static cache is empty.
        return F.pad(mask, (0, L - mask.shape[1]))
