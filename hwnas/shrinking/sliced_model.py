"""Smaller versions of a Llama: as views of its weights, or with weights of their own.

A member keeps the first heads, in whole groups that share keys and values, and the first neurons of
each layer; `hwnas.shrinking.importance` has put the most important ones there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.errors import InvalidInput
from hwnas.profiling.attention import Attend, causal_attention
from hwnas.profiling.language_model import LanguageModel
from hwnas.profiling.llama import Block, Llama
from hwnas.profiling.rotary import rotate
from hwnas.profiling.supernet.slicing import first_entries, shapes_of
from hwnas.spaces import LlamaArchitecture

SETTINGS = (*Llama.settings, *Llama.optional_settings)  # of a model and of all its members


class ShrunkLlama(Llama):
    """Llama of an architecture whose layers may be left out: those with 0 heads and 0 neurons.

    Parameters
    ----------
    arch
        Architecture with an entry for each layer of the whole model.
    **settings
        See `hwnas.profiling.llama.Llama`.

    Raises
    ------
    InvalidInput
        All layers are left out.

    Examples
    --------
    >>> arch = LlamaArchitecture.parse("mine-3-32-64-0-32-2-0-0-1-0-0-True")
    >>> str(ShrunkLlama(arch, head_size=16, context=64, vocab_size=50).arch)
    'mine-2-32-64-32-2-0-1-0-True'
    """

    def __init__(self, arch: LlamaArchitecture, **settings: Any) -> None:
        super().__init__(without_empty_layers(arch), **settings)


def kept_layers(arch: LlamaArchitecture) -> list[int]:
    """Return the indices of the layers that an architecture does not leave out."""
    return [i for i in range(arch.n_layer) if arch.mlp_dim[i] or arch.n_head[i]]


def without_empty_layers(arch: LlamaArchitecture) -> LlamaArchitecture:
    """Return an architecture without the layers that have no heads and no neurons.

    Raises
    ------
    InvalidInput
        There are no others.

    Examples
    --------
    >>> arch = LlamaArchitecture.parse("mine-2-32-0-64-0-2-0-1-True")
    >>> str(without_empty_layers(arch))
    'mine-1-32-64-2-1-True'
    """
    layers = kept_layers(arch)
    if not layers:
        raise InvalidInput(f"{arch}: expected at least one layer with heads or neurons, found none")
    mlp_dim, n_head, n_kv_head = (
        tuple(sizes[i] for i in layers) for sizes in (arch.mlp_dim, arch.n_head, arch.n_kv_head)
    )
    return replace(arch, n_layer=len(layers), mlp_dim=mlp_dim, n_head=n_head, n_kv_head=n_kv_head)


class SlicedBlock(nn.Module):
    """Layer with the first heads and neurons of another, whose weights it reads.

    Parameters
    ----------
    block
        The whole layer.
    hidden, n_kv_head
        Number of neurons, and of heads of keys and values, that are used; 0 for no MLP and no
        attention.
    """

    def __init__(self, block: Block, hidden: int, n_kv_head: int) -> None:
        super().__init__()
        # Outside the modules: the weights are parameters of the whole layer alone.
        self._source = (block,)
        self.hidden, self.n_kv_head = hidden, n_kv_head

    @property
    def attention(self) -> object:
        """What is there if the layer has attention, else None; a cache asks for it."""
        return self._source[0].attention if self.n_kv_head else None

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend | None = None) -> Tensor:
        """Return the residual stream after this layer; (B, T, C) to (B, T, C)."""
        block = self._source[0]
        if self.n_kv_head:
            x = x + self._attention(block.norm_1(x), cos, sin, attend)
        if self.hidden:
            x = x + self._mlp(block.norm_2(x))
        return x

    def _attention(self, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend | None) -> Tensor:
        """Return the output of the first heads; (B, T, C) to (B, T, C)."""
        source: Any = self._source[0].attention
        B, T, _ = x.shape
        size, group = source.head_size, source.n_head // source.n_kv_head
        n_head = group * self.n_kv_head
        rows = [n * size for n in (source.n_head, source.n_kv_head, source.n_kv_head)]
        parts = source.qkv.weight.split(rows)
        q, k, v = (
            F.linear(x, part[: n * size]).view(B, T, n, size).transpose(1, 2)  # (B, n, T, hs)
            for part, n in zip(parts, (n_head, self.n_kv_head, self.n_kv_head), strict=True)
        )
        if attend is None:
            y = causal_attention(rotate(q, cos, sin), rotate(k, cos, sin), v)  # (B, nh, T, hs)
        else:
            y = attend(q, k, v)
        y = y.transpose(1, 2).reshape(B, T, n_head * size)
        return F.linear(y, source.proj.weight[:, : n_head * size])

    def _mlp(self, x: Tensor) -> Tensor:
        """Return the output of the first neurons; (B, T, C) to (B, T, C)."""
        source: Any = self._source[0].mlp
        gate, up = (F.linear(x, part[: self.hidden]) for part in source.fc.weight.chunk(2))
        return F.linear(F.silu(gate) * up, source.proj.weight[:, : self.hidden])


class SlicedLlama(Llama):
    """Member of a space of smaller versions that reads the weights of the whole model.

    Parameters
    ----------
    model
        The whole model.
    arch
        Architecture with an entry for each of its layers.
    window
        Number of tokens of a sequence on which it is evaluated; that of the model by default.

    Raises
    ------
    InvalidInput
        A layer has more heads or neurons than the model.

    Examples
    --------
    >>> whole = Llama(LlamaArchitecture.parse("mine-2-32-64-64-2-2-1-1-True"),
    ...               head_size=16, context=64, vocab_size=50)
    >>> member = LlamaArchitecture.parse("mine-2-32-32-0-2-0-1-0-True")
    >>> SlicedLlama(whole, member)(torch.zeros(3, 10, dtype=torch.long)).shape
    torch.Size([3, 10, 50])
    """

    def __init__(self, model: Llama, arch: LlamaArchitecture, *, window: int | None = None) -> None:
        nn.Module.__init__(self)
        check_member(model, arch)
        layers = kept_layers(arch)
        self.arch = without_empty_layers(arch) if layers else arch
        self.head_size, self.vocab_size = model.head_size, model.vocab_size
        self.context = min(window or model.context, model.context)
        for name in Llama.optional_settings:
            setattr(self, name, getattr(model, name))
        self.embedding, self.norm, self.head = model.embedding, model.norm, model.head
        for name in ("cos", "sin"):
            self.register_buffer(name, getattr(model, name), persistent=False)
        self.blocks = nn.ModuleList(
            SlicedBlock(model.blocks[i], arch.mlp_dim[i], arch.n_kv_head[i])  # type: ignore[arg-type]
            for i in layers
        )


@torch.no_grad()
def dense_member(
    model: Llama, arch: LlamaArchitecture, *, device: str | torch.device | None = None
) -> ShrunkLlama:
    """Return a member with weights of its own, equal to those that it has in the whole model.

    Parameters
    ----------
    model, arch
        See `SlicedLlama`.
    device
        Device of its weights; that of the model by default.
    """
    check_member(model, arch)
    settings = {name: getattr(model, name) for name in SETTINGS}
    member = ShrunkLlama(arch, **settings, device="meta")
    whole_shapes, shapes = shapes_of(model), shapes_of(member)
    weights, layers = dict(model.named_parameters()), kept_layers(arch)
    target = model.device if device is None else torch.device(device)
    state = {}
    for name, shape in shapes.items():
        source = _name_in_whole(name, layers)
        entries = first_entries(weights[source], whole_shapes[source], shape)
        copied = entries.to(target, copy=True).contiguous()
        state[name] = nn.Parameter(copied, requires_grad=False)
    member.load_state_dict(state, assign=True)
    for name in ("cos", "sin"):
        setattr(member, name, getattr(model, name).to(target, copy=True))
    return member


def check_member(model: LanguageModel, arch: LlamaArchitecture) -> None:
    """Raise InvalidInput unless an architecture has a model's layers, none of them larger."""
    full_arch = model.arch
    if (arch.n_layer, arch.embed_dim) != (full_arch.n_layer, full_arch.embed_dim):
        raise InvalidInput(
            f"{arch}: expected {full_arch.n_layer} layers of width {full_arch.embed_dim}, those of "
            "the model"
        )
    for name in ("mlp_dim", "n_head", "n_kv_head"):
        for i, pair in enumerate(zip(getattr(arch, name), getattr(full_arch, name), strict=True)):
            if pair[0] > pair[1]:
                raise InvalidInput(
                    f"layer {i}: {name}: expected at most {pair[1]}, that of the model, "
                    f"found {pair[0]}"
                )


def _name_in_whole(name: str, layers: list[int]) -> str:
    """Return the name of a member's parameter in the whole model."""
    start, *rest = name.split(".")
    return ".".join([start, str(layers[int(rest[0])]), *rest[1:]]) if start == "blocks" else name
