"""Llama: its output by definition and against transformers, its counts, its initial weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import hwnas
from hwnas.errors import InvalidInput
from hwnas.profiling import Llama, build_model
from hwnas.profiling.llama import NORM_EPS, Attention
from hwnas.profiling.rotary import ROTARY_BASE, position_angles, rotate
from hwnas.spaces import LlamaArchitecture, LlamaSpace
from hwnas.spaces.llama import LLAMA_CHOICES

# Layers with grouped queries, without attention, without MLP, with as many keys as queries.
MIXED = LlamaArchitecture("tiny", 32, 4, (64, 96, 0, 32), (4, 0, 6, 3), (2, 0, 1, 3), False)
TIED = LlamaArchitecture("tiny", 32, 2, (64, 96), (4, 6), (2, 3), True)


def tiny(arch: LlamaArchitecture = MIXED, seed: int = 0, vocab_size: int = 50) -> Llama:
    return Llama(arch, head_size=16, context=64, vocab_size=vocab_size, seed=seed)


def random_tokens(*shape: int, vocab_size: int = 50) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, vocab_size, size=shape))


def perturb(model: torch.nn.Module) -> None:
    """Change every parameter, so that all of them matter, norms too."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data += torch.randn(parameter.shape, generator=generator).to(parameter.dtype) / 9


# -- output --------------------------------------------------------------------------------------


def norm_by_hand(x: torch.Tensor, module: Any) -> torch.Tensor:
    normalized: torch.Tensor = x / (x.square().mean(-1, keepdim=True) + NORM_EPS).sqrt()
    return normalized * module.weight


def attention_by_hand(module: Attention, x: torch.Tensor) -> torch.Tensor:
    """Compute attention by its definition for one sequence, head by head."""
    T, hs, out = len(x), module.head_size, []
    hidden = torch.triu(torch.ones(T, T, dtype=torch.bool), 1)
    heads = list(module.qkv(x).split(hs, dim=1))
    for part in heads[: module.n_head + module.n_kv_head]:
        for t in range(T):
            for i in range(hs // 2):
                angle = t * 10_000 ** (-2 * i / hs)
                turn = complex(math.cos(angle), math.sin(angle))
                pair = complex(part[t, i].item(), part[t, i + hs // 2].item()) * turn
                part[t, i], part[t, i + hs // 2] = pair.real, pair.imag
    keys, values = heads[module.n_head :][: module.n_kv_head], heads[-module.n_kv_head :]
    for i, q in enumerate(heads[: module.n_head]):
        group = i // (module.n_head // module.n_kv_head)
        scores = (q @ keys[group].T / hs**0.5).masked_fill(hidden, -math.inf)
        out.append(scores.softmax(1) @ values[group])
    result: torch.Tensor = module.proj(torch.cat(out, 1))
    return result


@pytest.mark.parametrize("arch", [MIXED, TIED], ids=["untied", "tied"])
@torch.no_grad()
def test_forward_matches_the_definition(arch: LlamaArchitecture) -> None:
    model = tiny(arch).double()
    perturb(model)
    angles = position_angles(16, 64).double()
    model.cos.copy_(angles.cos())
    model.sin.copy_(angles.sin())
    tokens = random_tokens(1, 7)
    x = model.embedding.weight[tokens[0]]
    for block in model.blocks:
        if block.attention is not None:
            x = x + attention_by_hand(block.attention, norm_by_hand(x, block.norm_1))
        if block.mlp is not None:
            gate, up = block.mlp.fc(norm_by_hand(x, block.norm_2)).chunk(2, dim=1)
            x = x + block.mlp.proj(gate * torch.sigmoid(gate) * up)
    matrix = model.embedding.weight if arch.tied else model.head.weight  # type: ignore[union-attr]
    expected = norm_by_hand(x, model.norm) @ matrix.T
    assert torch.allclose(model(tokens)[0], expected, atol=1e-6)


def transformers_weights(model: Llama) -> dict[str, torch.Tensor]:
    """Return the weights by their names in transformers."""
    weights = {
        "model.embed_tokens.weight": model.embedding.weight,
        "model.norm.weight": model.norm.weight,
    }
    weights["lm_head.weight"] = model.output_weight
    for i, block in enumerate(model.blocks):
        layer, attention = f"model.layers.{i}.", block.attention
        sizes = [attention.n_head, attention.n_kv_head, attention.n_kv_head]
        parts = attention.qkv.weight.split([n * attention.head_size for n in sizes])
        weights |= {
            f"{layer}self_attn.{k}_proj.weight": w for k, w in zip("qkv", parts, strict=True)
        }
        gate, up = block.mlp.fc.weight.chunk(2)
        weights |= {
            f"{layer}self_attn.o_proj.weight": attention.proj.weight,
            f"{layer}mlp.gate_proj.weight": gate,
            f"{layer}mlp.up_proj.weight": up,
            f"{layer}mlp.down_proj.weight": block.mlp.proj.weight,
            f"{layer}input_layernorm.weight": block.norm_1.weight,
            f"{layer}post_attention_layernorm.weight": block.norm_2.weight,
        }
    return weights


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("n_head", "n_kv_head"), [(4, 4), (4, 2), (4, 1), (6, 2), (1, 1)])
@torch.no_grad()
def test_homogeneous_networks_equal_transformers(
    n_head: int, n_kv_head: int, tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers = pytest.importorskip("transformers")
    arch = LlamaArchitecture("tiny", 48, 3, (96,) * 3, (n_head,) * 3, (n_kv_head,) * 3, tied)
    model = tiny(arch)
    perturb(model)
    config = transformers.LlamaConfig(
        vocab_size=50,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=n_head,
        num_key_value_heads=n_kv_head,
        head_dim=16,
        max_position_embeddings=64,
        rms_norm_eps=NORM_EPS,
        rope_parameters={"rope_type": "default", "rope_theta": float(ROTARY_BASE)},
        tie_word_embeddings=tied,
    )
    other = transformers.LlamaForCausalLM(config).eval()
    other.load_state_dict(transformers_weights(model))
    assert other.num_parameters() == model.params
    tokens = random_tokens(3, 64)
    expected, logits = other(tokens).logits, model(tokens)
    assert expected.dtype == logits.dtype == torch.float32
    assert expected.std() > 0.5
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


def test_rotation_preserves_norms_and_depends_on_distances() -> None:
    angles = position_angles(16, 64)
    q, k = torch.randn(2, 1, 1, 1, 16, generator=torch.Generator().manual_seed(0))

    def turn(x: torch.Tensor, t: int) -> torch.Tensor:
        return rotate(x, angles[t : t + 1].cos(), angles[t : t + 1].sin())

    assert torch.allclose(turn(q, 40).norm(), q.norm())
    assert not torch.isclose(turn(q, 40), q).any()
    products = [float((turn(q, t) * turn(k, t + 7)).sum()) for t in (0, 20, 50)]
    assert products == pytest.approx([products[0]] * 3, abs=1e-4)


@torch.no_grad()
def test_attention_is_causal() -> None:
    model, tokens = tiny(), random_tokens(2, 20)
    logits = model(tokens)
    for t in (0, 7, 19):
        changed = tokens.clone()
        changed[:, t] = (changed[:, t] + 1) % 50
        logits_changed = model(changed)
        assert torch.allclose(logits_changed[:, :t], logits[:, :t], atol=1e-6)
        assert not torch.allclose(logits_changed[:, t:], logits[:, t:])


def test_tied_matrix_is_one_parameter_with_the_gradients_of_both_uses() -> None:
    tied, untied = tiny(TIED), tiny(LlamaArchitecture(*_fields(TIED), tied=False))
    assert untied.params - tied.params == 50 * 32
    assert set(untied.state_dict()) - set(tied.state_dict()) == {"head.weight"}
    untied.load_state_dict({**tied.state_dict(), "head.weight": tied.embedding.weight.detach()})
    tokens = random_tokens(2, 30)
    for model in (tied, untied):
        model.loss(tokens[:, :-1], tokens[:, 1:]).backward()
    assert untied.head is not None
    both = untied.embedding.weight.grad + untied.head.weight.grad  # type: ignore[operator]
    assert torch.allclose(tied.embedding.weight.grad, both, atol=1e-6)  # type: ignore[arg-type]


def _fields(arch: LlamaArchitecture) -> tuple[Any, ...]:
    return arch.space, arch.embed_dim, arch.n_layer, arch.mlp_dim, arch.n_head, arch.n_kv_head


# -- counts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LLAMA_CHOICES)
def test_counts_of_the_named_spaces(name: str) -> None:
    space: Any = hwnas.space(name)
    codes = space.sample(12, np.random.default_rng(0))
    codes[0], codes[1] = 0, space.cardinalities - 1
    codes = space.canonical(codes)
    counts = zip(space.decode(codes), space.params(codes), space.flops(codes), strict=True)
    for arch, params, flops in counts:
        model = build_model(space, arch, device="meta")
        assert (model.params, model.flops()) == (params, flops)


@st.composite
def spaces_without_branches(draw: st.DrawFn) -> LlamaSpace:
    return LlamaSpace(
        "random",
        embed_dim=[draw(st.integers(1, 40))],
        n_layer=[1, draw(st.integers(2, 4))],
        mlp_dim=[0, draw(st.integers(1, 90))],
        n_head=[0, 2, draw(st.sampled_from([3, 4, 6]))],
        n_kv_head=[1, 2],
        head_size=2 * draw(st.integers(1, 8)),
        context=draw(st.integers(1, 32)),
        vocab_size=draw(st.integers(1, 90)),
    )


@settings(deadline=None)
@given(spaces_without_branches(), st.integers(0, 100))
def test_counts_of_any_space(space: LlamaSpace, seed: int) -> None:
    codes = space.sample(3, np.random.default_rng(seed))
    for arch, params, flops in zip(
        space.decode(codes), space.params(codes), space.flops(codes), strict=True
    ):
        model = build_model(space, arch, device="meta")
        assert (model.params, model.flops()) == (params, flops)


@pytest.mark.parametrize("arch", [MIXED, TIED], ids=["untied", "tied"])
@pytest.mark.parametrize("length", [64, 10])
def test_flops_match_torch_flop_counter(arch: LlamaArchitecture, length: int) -> None:
    model, tokens = tiny(arch), random_tokens(1, length)
    with sdpa_kernel(SDPBackend.MATH):  # torch counts nothing for fused kernels on a CPU
        with torch.no_grad(), FlopCounterMode(display=False) as forward:
            model(tokens)
        with FlopCounterMode(display=False) as both:
            model.loss(tokens, tokens).backward()
    assert model.flops(length) == forward.get_total_flops()
    assert model.training_flops_per_token(length) * length == both.get_total_flops()


# -- weights and sizes ---------------------------------------------------------------------------


def test_initial_weights_are_distributed_as_in_gpt2() -> None:
    arch = LlamaArchitecture("x", 256, 3, (512, 0, 512), (4, 4, 0), (4, 2, 0), False)
    model = Llama(arch, vocab_size=500)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            assert (parameter == 1).all()
        else:
            expected = 0.01 if name.endswith("proj.weight") else 0.02  # 0.02 / sqrt(2 + 2)
            assert parameter.std().item() == pytest.approx(expected, rel=0.02)
    tokens = random_tokens(4, 65, vocab_size=500)
    loss = model.loss(tokens[:, :-1], tokens[:, 1:]).item()
    assert loss == pytest.approx(math.log(500), rel=0.03)


def test_initial_weights_depend_only_on_the_seed() -> None:
    state = torch.get_rng_state()
    first, same, different = (tiny(seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["head.weight"], different["head.weight"])


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("x-1-32-64-4-3-True", {}, "n_kv_head: expected a divisor of n_head 4, found 3"),
        ("x-1-32-64-0-2-True", {}, "n_kv_head: expected a divisor of n_head 0, found 2"),
        ("x-1-32-64-4-0-True", {}, "n_kv_head: expected a divisor of n_head 4, found 0"),
        ("x-2-32-64-0-4-0-4-0-True", {}, "layer 1: expected mlp_dim or n_head above 0, found 0"),
        ("x-1-0-64-4-4-True", {}, "embed_dim: expected a positive integer, found 0"),
        ("x-1-32-64-4-4-True", {"head_size": 5}, "head_size: expected an even number"),
        ("x-1-32-64-4-4-True", {"context": 0}, "context: expected a positive integer, found 0"),
    ],
)
def test_invalid_sizes(text: str, settings: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Llama(LlamaArchitecture.parse(text), **settings)


def test_architecture_outside_the_space() -> None:
    with pytest.raises(InvalidInput, match="embed_dim"):
        build_model(hwnas.space("llama-s"), MIXED)  # type: ignore[arg-type]


def test_sequence_longer_than_the_context() -> None:
    with pytest.raises(InvalidInput, match="at most 64 tokens, found 65"):
        tiny()(random_tokens(1, 65))
