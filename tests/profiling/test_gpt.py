from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hwnas.errors import InvalidInput
from hwnas.profiling import gpt
from hwnas.profiling.gpt import GPT, Attention, build_gpt, rotary_angles, rotate
from hwnas.spaces import GPT_SPACES, SearchSpace, space
from hwnas.spaces.architecture import Architecture

ARCH = Architecture.parse("tiny-2-32-2-4-1-3-True")


def tiny(arch: Architecture = ARCH, seed: int = 0, vocab_size: int = 50) -> GPT:
    return GPT(arch, head_size=16, context=64, vocab_size=vocab_size, seed=seed)


def random_tokens(*shape: int, vocab_size: int = 50) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, vocab_size, size=shape))


def attention_by_hand(module: Attention, x: torch.Tensor) -> torch.Tensor:
    """Compute attention by its definition for one sequence, head by head."""
    T = len(x)
    hs, out = module.head_size, []
    hidden = torch.triu(torch.ones(T, T, dtype=torch.bool), 1)
    qkv = module.qkv(x)
    for head in range(module.n_head):
        q, k, v = (qkv[:, (3 * head + i) * hs : (3 * head + i + 1) * hs].clone() for i in range(3))
        for part in (q, k):
            for t in range(T):
                for i in range(hs // 4):
                    angle = t * 10_000 ** (-2 * i / (hs // 2))
                    turn = complex(math.cos(angle), math.sin(angle))
                    pair = complex(part[t, i].item(), part[t, i + hs // 4].item()) * turn
                    part[t, i], part[t, i + hs // 4] = pair.real, pair.imag
        scores = (q @ k.T / hs**0.5).masked_fill(hidden, -math.inf)
        out.append(scores.softmax(1) @ v)
    result: torch.Tensor = module.proj(torch.cat(out, 1))
    return result


@torch.no_grad()
def test_forward_matches_the_definition() -> None:
    model = tiny().double()
    for parameter in model.parameters():  # so that every norm and bias matters
        parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) / 9)
    angles = rotary_angles(16, 64).double()
    model.cos.copy_(angles.cos())
    model.sin.copy_(angles.sin())
    tokens = random_tokens(1, 7)
    x = model.embedding.weight[tokens[0]]
    for block in model.blocks:
        h = block.mlp.fc(block.norm_2(x))
        h = block.mlp.proj(h * (1 + torch.erf(h / 2**0.5)) / 2)
        x = x + attention_by_hand(block.attention, block.norm_1(x)) + h
    expected = model.norm(x) @ model.head.weight.T
    assert torch.allclose(model(tokens)[0], expected, atol=1e-6)


def test_rotation_preserves_norms_and_the_second_half() -> None:
    angles = rotary_angles(16, 64)
    x = torch.randn(2, 3, 64, 16, generator=torch.Generator().manual_seed(0))
    turned = rotate(x, angles.cos(), angles.sin())
    assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1), atol=1e-5)
    assert torch.equal(turned[..., 8:], x[..., 8:])
    assert torch.equal(turned[:, :, 0], x[:, :, 0])
    assert not torch.allclose(turned[:, :, 1:, :8], x[:, :, 1:, :8])


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 40))
def test_products_of_rotated_vectors_depend_only_on_distance(a: int, b: int, shift: int) -> None:
    angles = rotary_angles(16, 64)
    q, k = torch.randn(2, 1, 1, 1, 16, generator=torch.Generator().manual_seed(0))

    def product(i: int, j: int) -> float:
        at = [(angles[p : p + 1].cos(), angles[p : p + 1].sin()) for p in (i, j)]
        return float((rotate(q, *at[0]) * rotate(k, *at[1])).sum())

    assert product(a, b) == pytest.approx(product(a + shift, b + shift), abs=1e-4)


@torch.no_grad()
def test_attention_is_causal() -> None:
    model, tokens = tiny(), random_tokens(2, 20)
    logits = model(tokens)
    for t in (0, 7, 19):
        changed = tokens.clone()
        changed[:, t] = (changed[:, t] + 1) % 50
        logits_changed = model(changed)
        assert torch.equal(logits_changed[:, :t], logits[:, :t])
        assert not torch.allclose(logits_changed[:, t:], logits[:, t:])


@torch.no_grad()
def test_order_of_previous_tokens_matters() -> None:
    model = tiny(
        Architecture.parse("tiny-1-32-2-2-True")
    )  # with one layer only rotation encodes order
    for parameter in model.blocks.parameters():
        parameter.mul_(3)
    a, b = model(torch.tensor([[1, 2, 3]])), model(torch.tensor([[2, 1, 3]]))
    assert not torch.allclose(a[:, 2], b[:, 2])


@pytest.mark.parametrize("name", GPT_SPACES)
def test_params_match_the_named_spaces(name: str) -> None:
    named = space(name)
    codes = named.sample(4, np.random.default_rng(0))
    codes[0], codes[1] = 0, named.cardinalities - 1
    codes = named.canonical(codes)
    for arch, params in zip(named.decode(codes), named.params(codes), strict=True):
        assert build_gpt(named, arch, device="meta").params == params


def spaces() -> st.SearchStrategy[SearchSpace]:
    def choices(largest: int, size: int = 2) -> st.SearchStrategy[list[int]]:
        numbers = st.integers(1, largest)
        return st.lists(numbers, min_size=1, max_size=size, unique=True).map(sorted)

    return st.builds(
        SearchSpace,
        st.just("random"),
        embed_dim=choices(40),
        n_layer=choices(4),
        mlp_ratio=choices(5),
        n_head=choices(5),
        head_size=st.integers(1, 4).map(lambda k: 4 * k),
        context=st.integers(1, 32),
        vocab_size=st.integers(1, 90),
    )


@given(spaces(), st.integers(0, 100))
def test_params_and_flops_match_any_space(random_space: SearchSpace, seed: int) -> None:
    code = random_space.sample(1, np.random.default_rng(seed))
    (arch,) = random_space.decode(code)
    model = build_gpt(random_space, arch, device="meta")
    assert model.params == random_space.params(code)[0]

    # The formula of HW-GPT-Bench also counts parameters that multiply nothing, and heads that
    # are together as wide as the residual stream.
    T, width = random_space.context, arch.embed_dim
    n_idle = sum(p.numel() for n, p in model.named_parameters() if p.ndim == 1 or "embedding" in n)
    width_of_heads = random_space.head_size * sum(arch.n_head)
    difference = 2 * n_idle * T + 4 * (arch.n_layer * width - width_of_heads) * T**2
    assert random_space.flops(code)[0] - model.flops() == difference


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("length", [64, 10])
def test_flops_match_torch_flop_counter(bias: bool, length: int) -> None:
    model = tiny(Architecture("tiny", 32, 2, (2, 4), (1, 3), bias))
    tokens = random_tokens(1, length)
    with sdpa_kernel(SDPBackend.MATH):  # torch counts nothing for fused kernels on a CPU
        with torch.no_grad(), FlopCounterMode(display=False) as forward:
            model(tokens)
        with FlopCounterMode(display=False) as both:
            model.loss(tokens, tokens).backward()
    assert model.flops(length) == forward.get_total_flops()
    assert model.training_flops_per_token(length) * length == both.get_total_flops()


def test_training_flops_formula() -> None:
    model = tiny()
    weights = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear))
    assert model.training_flops_per_token() == 6 * weights + 12 * (1 + 3) * 16 * 64


def test_initial_weights_are_distributed_as_in_gpt2() -> None:
    model = GPT(Architecture.parse("x-2-256-4-4-4-4-True"), vocab_size=500)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        elif "norm" in name:
            assert (parameter == 1).all()
        else:
            expected = 0.01 if name.endswith("proj.weight") else 0.02  # 0.02 / sqrt(2 * 2)
            assert parameter.std().item() == pytest.approx(expected, rel=0.02)


def test_initial_weights_depend_only_on_the_seed() -> None:
    state = torch.get_rng_state()
    first, same, different = (tiny(seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["head.weight"], different["head.weight"])


def test_initial_loss_is_that_of_a_uniform_guess() -> None:
    tokens = random_tokens(8, 65)
    loss = tiny().loss(tokens[:, :-1], tokens[:, 1:]).item()
    assert loss == pytest.approx(math.log(50), rel=0.02)


@pytest.mark.parametrize(
    ("arch", "settings", "message"),
    [
        ("x-2-32-2-2-1-1-True", {"head_size": 6}, "head_size: expected a multiple of 4"),
        ("x-2-32-2-2-1-1-True", {"context": 0}, "context: expected a positive integer, found 0"),
        ("x-2-32-2-0-1-0-True", {}, "layer 1: expected mlp_ratio or n_head above 0, found 0 for"),
        ("x-1-0-2-2-True", {}, "embed_dim: expected a positive integer, found 0"),
    ],
)
def test_invalid_sizes(arch: str, settings: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        GPT(Architecture.parse(arch), **settings)


def test_wrong_number_of_values_per_layer() -> None:
    with pytest.raises(InvalidInput, match="mlp_ratio: expected one value per layer, 2, found 1"):
        GPT(Architecture("x", 32, 2, (2,), (1, 1), True))


def test_architecture_outside_the_space(small_space: SearchSpace) -> None:
    with pytest.raises(InvalidInput, match="embed_dim"):
        build_gpt(small_space, ARCH)


def test_sequence_longer_than_the_context() -> None:
    with pytest.raises(InvalidInput, match="at most 64 tokens, found 65"):
        tiny()(random_tokens(1, 65))


def test_former_name() -> None:
    with pytest.warns(DeprecationWarning, match="is now called build_gpt"):
        assert gpt.gpt is build_gpt
