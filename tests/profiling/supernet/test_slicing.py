"""Slicing is exact: in shared weights and extracted, an architecture computes the same logits."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hwnas
from hwnas.errors import InvalidInput
from hwnas.profiling import build_model
from hwnas.profiling.language_model import LanguageModel
from hwnas.profiling.supernet.extremes import largest, smallest, spanning_codes
from hwnas.profiling.supernet.shared_weights import SharedWeights
from hwnas.profiling.supernet.slicing import Shape, add_entries, first_entries, shapes_of
from hwnas.spaces.gpt import GPT_SPACES
from hwnas.spaces.llama import LLAMA_CHOICES

SIZES = {"head_size": 8, "context": 12, "vocab_size": 50}
GPT = {"embed_dim": [8, 16, 24], "n_layer": [1, 2, 4], "mlp_ratio": [1, 2, 4], "n_head": [1, 2, 3]}
LLAMA = {
    "family": "llama",
    "embed_dim": [8, 16, 24],
    "n_layer": [1, 2, 4],
    "mlp_dim": [8, 24, 40],
    "n_head": [1, 2, 4],
    "n_kv_head": [1, 2, 4],
}
# Heads wider and narrower than the stream, layers without a branch, numbers of heads whose maxima
# do not divide each other, choices of a precision, a single architecture.
SPACES: dict[str, dict[str, Any]] = {
    "gpt": GPT,
    "gpt-empty": {**GPT, "mlp_ratio": [0, 2], "n_head": [0, 3]},
    "gpt-bias": {**GPT, "bias": [True]},
    "gpt-precision": {**GPT, "precision": ["bfloat16", "float32"]},
    "gpt-single": {"embed_dim": [16], "n_layer": [2], "mlp_ratio": [2], "n_head": [2]},
    "llama": LLAMA,
    "llama-empty": {**LLAMA, "mlp_dim": [0, 24], "n_head": [0, 2, 4]},
    "llama-tied": {**LLAMA, "tied": [True]},
    "llama-odd": {**LLAMA, "n_head": [4, 6], "n_kv_head": [1, 2, 3, 4]},
}


def space_of(name: str) -> Any:
    return hwnas.space({"name": "tiny", **SIZES, **SPACES[name]})


@torch.no_grad()
def shared_weights(space: Any) -> SharedWeights:
    shared = SharedWeights(space)
    shared.reset(seed=0)
    generator = torch.Generator().manual_seed(1)
    for weight in shared.weights.values():  # norms and biases matter too
        weight += torch.randn(weight.shape, generator=generator) / 9
    return shared


SHARED = {name: shared_weights(space_of(name)) for name in SPACES}
TOKENS = torch.from_numpy(np.random.default_rng(0).integers(0, 50, size=(2, 12)))


def sliced_by_hand(shared: SharedWeights, model: LanguageModel) -> dict[str, torch.Tensor]:
    """Slice by the meaning of each row: query, key and value of each head, gate and up."""
    state, space, arch = {}, cast(Any, shared.space), model.arch
    for name, own in model.named_parameters():
        weight: Any = shared.weights[name]
        if space.family == "llama" and "qkv" in name:
            layer = int(name.split(".")[1])
            queries, keys = max(space.n_head) * 8, max(space.n_kv_head) * 8
            parts = weight.split([queries, keys, keys])
            counts = [arch.n_head[layer], *2 * [arch.n_kv_head[layer]]]
            weight = torch.cat([p[: 8 * n] for p, n in zip(parts, counts, strict=True)])
        elif space.family == "llama" and "mlp.fc" in name:
            weight = torch.cat([part[: len(own) // 2] for part in weight.chunk(2)])
        state[name] = weight[tuple(slice(0, n) for n in own.shape)]
    return state


@pytest.mark.parametrize("name", SPACES)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=6, deadline=None)
@torch.no_grad()
def test_logits_equal_those_of_the_extracted_model(name: str, seed: int) -> None:
    shared, space = SHARED[name], space_of(name)
    (arch,) = space.decode(space.sample(1, np.random.default_rng(seed)))
    extracted = build_model(space, arch, seed=1)
    extracted.load_state_dict(sliced_by_hand(shared, extracted))
    expected = extracted(TOKENS)
    for copy in (False, True):
        model = shared.subnetwork(arch, copy=copy)
        assert model.params == space.params(space.encode([arch]))[0]
        assert torch.equal(model(TOKENS), expected)


@pytest.mark.parametrize("name", SPACES)
def test_gradients_are_those_of_the_extracted_model(name: str) -> None:
    shared, space = shared_weights(space_of(name)), space_of(name)
    shared.allocate_gradients()
    expected = {key: torch.zeros_like(weight) for key, weight in shared.weights.items()}
    for arch in space.decode(space.sample(4, np.random.default_rng(0))):
        model, alone = shared.subnetwork(arch), shared.subnetwork(arch, copy=True)
        for network in (model, alone):
            network.loss(TOKENS[:, :-1], TOKENS[:, 1:]).backward()  # type: ignore[no-untyped-call]
        shared.add_gradients(model)
        for key, parameter in alone.named_parameters():
            assert parameter.grad is not None
            add_entries(expected[key], parameter.grad, shared.shapes[key], shapes_of(alone)[key])
    for key, gradient in expected.items():
        assert torch.allclose(shared.gradients[key], gradient, atol=1e-7), key
    assert shared.flat_gradient.norm() > 0


@pytest.mark.parametrize("name", SPACES)
def test_weights_are_no_larger_than_some_architecture_needs(name: str) -> None:
    shared, space = SHARED[name], space_of(name)
    archs = space.decode(space.sample(300, np.random.default_rng(0)))
    archs += space.decode(spanning_codes(space))
    needed: dict[str, Shape] = {}
    for arch in archs:
        for key, shape in shapes_of(build_model(space, arch, device="meta")).items():
            needed[key] = needed[key].union(shape) if key in needed else shape
    assert needed == shared.shapes


@pytest.mark.parametrize("name", SPACES)
@torch.no_grad()
def test_a_refreshed_model_equals_a_new_one(name: str) -> None:
    shared, space = shared_weights(space_of(name)), space_of(name)
    shared.allocate_gradients()
    for arch in (largest(space), smallest(space)):
        model = shared.subnetwork(arch)
        shared.add_gradients(model)
        for weight in shared.weights.values():
            weight *= 1.1
        shared.refresh(model)
        new = shared.subnetwork(arch)
        assert torch.equal(model(TOKENS), new(TOKENS))
        for own, other in zip(model.parameters(), new.parameters(), strict=True):
            assert (own.grad is None) == (other.grad is None)


def test_a_copy_shares_no_memory() -> None:
    shared = shared_weights(space_of("llama"))
    before = {name: weight.clone() for name, weight in shared.weights.items()}
    model = shared.subnetwork(largest(shared.space), copy=True)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.zero_()
    assert all(torch.equal(shared.weights[name], before[name]) for name in before)
    assert shared.subnetwork(smallest(shared.space)).cos.any()


def test_an_architecture_of_another_space_is_refused() -> None:
    with pytest.raises(InvalidInput, match="embed_dim"):
        SHARED["gpt"].subnetwork(hwnas.Architecture.parse("tiny-1-32-1-1-True"))


@pytest.mark.parametrize("name", [*GPT_SPACES, *LLAMA_CHOICES])
def test_extremes_of_every_named_space(name: str) -> None:
    space: Any = hwnas.space(name)
    params = space.params(space.sample(500, np.random.default_rng(0)))
    ends = [int(space.params(space.encode([end(space)]))[0]) for end in (smallest, largest)]
    assert ends[0] <= params.min() < params.max() <= ends[1]
    arch = largest(space)
    assert (arch.embed_dim, arch.n_layer) == (max(space.embed_dim), max(space.n_layer))
    assert set(arch.n_head) == {max(space.n_head)}


def test_first_entries_of_parts() -> None:
    tensor = torch.arange(12.0)[:, None]
    whole, part = Shape((8, 2, 2), (1,)), Shape((3, 1, 2), (1,))
    entries = first_entries(tensor, whole, part)
    assert entries.ravel().tolist() == [0, 1, 2, 8, 10, 11]
    add_entries(tensor, entries, whole, part)
    assert tensor.ravel().tolist() == [0, 2, 4, 3, 4, 5, 6, 7, 16, 9, 20, 22]
