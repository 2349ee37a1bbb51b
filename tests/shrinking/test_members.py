"""Smaller versions: their space, views of the weights, and dense copies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import hwnas
from hwnas.errors import InvalidInput
from hwnas.profiling.generation import Generator
from hwnas.profiling.language_model import build_model
from hwnas.profiling.llama import Llama
from hwnas.shrinking.members import space_of_members, with_equal_layers
from hwnas.shrinking.sliced_model import ShrunkLlama, SlicedLlama, dense_member
from hwnas.spaces import LlamaArchitecture, ShrunkLlamaSpace

TOKENS = torch.randint(0, 257, (2, 20), generator=torch.Generator().manual_seed(0))


def some_codes(space: ShrunkLlamaSpace, count: int = 6) -> np.ndarray:
    codes = space.sample(4 * count, np.random.default_rng(0))
    return codes[space.depth_of(codes) > 0][:count]


def test_codes_and_closed_forms(space: ShrunkLlamaSpace) -> None:
    codes = some_codes(space, 20)
    archs = space.decode(codes)
    assert (space.encode(archs) == codes).all()
    assert (space.encode([str(arch) for arch in archs]) == codes).all()
    assert hwnas.space(space.to_dict()).to_dict() == space.to_dict()
    for arch, code in zip(archs, codes, strict=True):
        member = build_model(space, arch, device="meta")
        assert member.params == space.params(code[None])[0]
        assert member.flops() == space.flops(code[None])[0]
        assert member.arch.n_layer == space.depth_of(code[None])[0]
        sizes = space.model_sizes(code[None])
        assert sizes.kv_width[0] == space.head_size * sum(arch.n_kv_head)


def test_the_family_is_a_space_like_any_other() -> None:
    sizes = {"embed_dim": 16, "n_layer": 2, "mlp_dim": [0, 8, 16], "n_head": [0, 2, 4], "group": 2}
    hwnas.testing.check_space("shrunk", head_size=4, context=16, vocab_size=20, **sizes)


def test_a_space_takes_whole_groups_alone(space: ShrunkLlamaSpace) -> None:
    whole = space.decode(space.canonical(space.cardinalities[None] - 1))[0]
    with pytest.raises(InvalidInput, match="one head of keys and values for each 2 of queries"):
        space.encode([replace(whole, n_kv_head=(1, 2, 2))])
    with pytest.raises(InvalidInput, match="n_head: expected multiples of group 2, found 3"):
        hwnas.space({**space.to_dict(), "n_head": [0, 3]})
    with pytest.raises(InvalidInput, match="n_layer"):
        space.encode([LlamaArchitecture("tiny", 32, 2, (48, 48), (4, 4), (2, 2), True)])


@torch.no_grad()
def test_views_and_copies_compute_the_same(model: Llama, space: ShrunkLlamaSpace) -> None:
    for arch in space.decode(some_codes(space)):
        view, copy = SlicedLlama(model, arch), dense_member(model, arch)
        torch.testing.assert_close(view(TOKENS), copy(TOKENS), atol=1e-5, rtol=1e-5)
        assert copy.params == space.params(space.encode([arch]))[0]
        assert (copy.rotary_base, copy.norm_eps) == (500.0, 1e-6)
    whole = space.decode(space.canonical(space.cardinalities[None] - 1))[0]
    torch.testing.assert_close(SlicedLlama(model, whole)(TOKENS), model(TOKENS))


@torch.no_grad()
def test_views_generate(model: Llama, space: ShrunkLlamaSpace) -> None:
    view = SlicedLlama(model, space.decode(some_codes(space))[0])
    expected = view(TOKENS)
    with Generator(view, batch=2, positions=12) as generator:
        generator.prefill(TOKENS[:, :10])
        step = generator.step(TOKENS[:, 10], 10)
    torch.testing.assert_close(step, expected[:, 10], atol=1e-5, rtol=1e-5)


def test_without_any_layer(model: Llama, space: ShrunkLlamaSpace) -> None:
    empty = space.decode(space.canonical(0 * space.cardinalities[None]))[0]
    assert SlicedLlama(model, empty)(TOKENS).isfinite().all()
    with pytest.raises(InvalidInput, match="expected at least one layer"):
        dense_member(model, empty)


def test_larger_members_are_refused(model: Llama) -> None:
    for changed, reason in (
        ({"mlp_dim": (48, 49, 48)}, "layer 1: mlp_dim: expected at most 48"),
        ({"embed_dim": 16}, "expected 3 layers of width 32"),
    ):
        with pytest.raises(InvalidInput, match=reason):
            SlicedLlama(model, replace(model.arch, **changed))  # type: ignore[arg-type]


class LargestNew(TorchDispatchMode):
    """Number of bytes of the largest tensor that operations allocate."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        known = {a.untyped_storage().data_ptr() for a in args if isinstance(a, Tensor)}
        if isinstance(out, Tensor) and out.untyped_storage().data_ptr() not in known:
            self.bytes = max(self.bytes, out.numel() * out.element_size())
        return out


@torch.no_grad()
def test_views_copy_no_weights(model: Llama, space: ShrunkLlamaSpace) -> None:
    arch = space.decode(space.canonical(space.cardinalities[None] - 2))[0]
    member = SlicedLlama(model, arch)
    assert {id(p) for p in member.parameters()} <= {id(p) for p in model.parameters()}
    with LargestNew() as largest:
        member.features(TOKENS[:1, :2])
    # Two tokens need far less than the smallest matrix of a layer.
    assert largest.bytes <= 2 * 48 * 4 < model.blocks[0].mlp.proj.weight.nbytes / 4  # type: ignore


@torch.no_grad()
def test_unequal_layers_are_made_equal() -> None:
    arch = LlamaArchitecture.parse("mine-3-32-64-0-48-4-4-0-2-4-0-False")
    model = Llama(arch, head_size=16, context=32, vocab_size=257)
    equal = with_equal_layers(model)
    assert (equal.arch.mlp_dim, equal.arch.n_kv_head) == ((64,) * 3, (4,) * 3)
    torch.testing.assert_close(equal(TOKENS), model(TOKENS), atol=1e-6, rtol=1e-5)
    assert space_of_members(equal).n_head == (0, 1, 2, 3, 4)
    with pytest.raises(InvalidInput, match="expected layers of equal sizes"):
        space_of_members(model)


def test_members_are_ordinary_models(model: Llama, space: ShrunkLlamaSpace) -> None:
    arch = space.decode(some_codes(space))[0]
    member = ShrunkLlama(arch, head_size=8, context=32, vocab_size=257)
    assert member.settings == ("head_size", "context", "vocab_size")
    again = ShrunkLlama(member.arch, head_size=8, context=32, vocab_size=257)
    assert again.arch == member.arch
