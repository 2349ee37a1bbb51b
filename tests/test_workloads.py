"""Workloads: their form, and the memory that follows from them in closed form."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hwnas
from hwnas.errors import InvalidInput, UnknownName
from hwnas.measured_metrics import workload_closed_forms, workload_metrics
from hwnas.spaces import GPTSpace, LanguageModelSpace, LlamaSpace
from hwnas.spaces.precision import PRECISIONS
from hwnas.workloads import (
    BUILT_IN,
    Workload,
    kv_cache,
    parse_workload,
    parse_workloads,
    weight_memory,
    workload_named,
)

GPT = GPTSpace(
    "tiny-gpt",
    embed_dim=[32, 64],
    n_layer=[1, 2, 3],
    mlp_ratio=[0, 1, 4],
    n_head=[0, 2, 3],
    head_size=16,
    context=48,
    vocab_size=101,
)
LLAMA = LlamaSpace(
    "tiny-llama",
    embed_dim=[32, 64],
    n_layer=[1, 2, 3],
    mlp_dim=[0, 40, 96],
    n_head=[0, 2, 4],
    n_kv_head=[1, 2, 4],
    head_size=16,
    context=48,
    vocab_size=101,
)
ORDINARY_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 2, "fp8": 2}
workloads = st.builds(
    Workload,
    prompt=st.integers(1, 30),
    generate=st.integers(0, 18),
    batch=st.integers(1, 70),
    precision=st.sampled_from(PRECISIONS),
)


# -- form ----------------------------------------------------------------------------------------


def test_built_in_workloads() -> None:
    assert dict(BUILT_IN) == {
        "forward": Workload(1024, 0, 8, "bfloat16"),
        "chat": Workload(512, 256, 1, "bfloat16"),
        "serve": Workload(896, 128, 64, "bfloat16"),
    }
    backend = hwnas.surrogate("gpt-s")
    assert pickle.loads(pickle.dumps(backend)).workloads == backend.workloads == BUILT_IN


@pytest.mark.parametrize("name", BUILT_IN)
def test_meaning_has_every_number(name: str) -> None:
    workload = BUILT_IN[name]
    numbers = workload.prompt, workload.generate or workload.batch, workload.batch
    assert all(f"{number:,}" in workload.meaning for number in numbers)
    assert workload.precision in workload.meaning
    assert "\n" not in workload.meaning


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt": 0}, "prompt: expected a positive integer below 2\\*\\*31, found 0"),
        ({"prompt": True}, "prompt: expected a positive integer"),
        ({"prompt": 1.0}, "prompt: expected a positive integer .*, found 1.0"),
        ({"generate": -1}, "generate: expected 0 or a positive integer .*, found -1"),
        ({"batch": 0}, "batch: expected a positive integer"),
        ({"batch": 2**31}, "batch: expected a positive integer"),
        ({"batch": "8"}, "batch: expected a positive integer .*, found '8'"),
        ({"precision": "int4"}, "precision: expected one of float32, .*, fp8, found 'int4'"),
        ({"precision": ["int8"]}, "precision: expected one of"),
    ],
)
def test_wrong_values_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        Workload(**{"prompt": 8, "generate": 4, "batch": 2, **settings})
    assert "\n" not in str(caught.value)


@given(workloads)
def test_context_is_a_limit(workload: Workload) -> None:
    workload.check(GPT)  # 30 + 18 tokens at most
    longer = Workload(49 - workload.generate, workload.generate, workload.batch)
    with pytest.raises(InvalidInput, match="expected at most 48, the context of tiny-gpt"):
        longer.check(GPT)
    with pytest.raises(InvalidInput, match="expected at most 48"):
        weight_memory(GPT, GPT.canonical([[0] * len(GPT.columns)]), longer)


def test_other_spaces_have_no_workloads() -> None:
    space = hwnas.space({"name": "mlp", "choices": {"width": [1, 2]}})
    with pytest.raises(InvalidInput, match="space 'mlp': expected language models"):
        BUILT_IN["chat"].check(space)


def test_parsed_keys_and_values() -> None:
    content = {"mine": {"prompt": 100, "generate": 50, "batch": 4, "precision": "float32"}}
    assert parse_workloads(content) == {**BUILT_IN, "mine": Workload(100, 50, 4, "float32")}
    assert parse_workloads(None) == parse_workloads({}) == dict(BUILT_IN)
    # The same meaning is no other one.
    assert parse_workloads({"chat": {"prompt": 512, "generate": 256, "batch": 1}}) == BUILT_IN


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "^expected workloads by name, as in"),
        ({1: {}}, "^name of a workload: expected letters .*, found 1"),
        ({"my-own": {}}, "^name of a workload: .*, found 'my-own'"),
        ({"é": {}}, "^name of a workload"),
        ({"mine": 3}, "^mine: expected keys and values, as in .*, found 3"),
        ({"mine": {"prompt": 1}}, "^mine: a workload needs .*; missing: generate, batch"),
        ({"mine": {"promt": 1}}, "^mine: unknown key of a workload 'promt'; .*prompt"),
        ({"mine": {"prompt": 1, "generate": 1, "batch": 0}}, "^mine: batch: expected a positive"),
        ({"chat": {"prompt": 1, "generate": 1, "batch": 1}}, "^chat: is built in as 1 request"),
    ],
)
def test_wrong_content_is_refused(content: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        parse_workloads(content)
    assert "\n" not in str(caught.value)


def test_unknown_name_has_near_ones() -> None:
    assert workload_named("serve") is BUILT_IN["serve"]
    with pytest.raises(UnknownName, match=r"workload 'sereve'.*serve"):
        workload_named("sereve")
    with pytest.raises(InvalidInput, match="expected keys and values"):
        parse_workload(None)


# -- closed forms --------------------------------------------------------------------------------


def _gpt_layers(arch: Any, width: int) -> list[tuple[int, int]]:
    """Shape of every linear layer of the blocks."""
    shapes = []
    for ratio, heads in zip(arch.mlp_ratio, arch.n_head, strict=True):
        if heads:
            shapes += [(3 * 16 * heads, width), (width, 16 * heads)]
        if ratio:
            shapes += [(ratio * width, width), (width, ratio * width)]
    return shapes


def _llama_layers(arch: Any, width: int) -> list[tuple[int, int]]:
    shapes = []
    for hidden, heads, groups in zip(arch.mlp_dim, arch.n_head, arch.n_kv_head, strict=True):
        if heads:
            shapes += [(16 * (heads + 2 * groups), width), (width, 16 * heads)]
        if hidden:
            shapes += [(2 * hidden, width), (width, hidden)]
    return shapes


@pytest.mark.parametrize(
    ("space", "layers", "kv_heads", "tables"),
    [(GPT, _gpt_layers, "n_head", 48 * 4 * 2), (LLAMA, _llama_layers, "n_kv_head", 48 * 8 * 2)],
    ids=["gpt", "llama"],
)
@given(workload=workloads, seed=st.integers(0, 2**32 - 1))
def test_memory_counted_layer_by_layer(
    space: LanguageModelSpace,
    layers: Any,
    kv_heads: str,
    tables: int,
    workload: Workload,
    seed: int,
) -> None:
    codes = space.sample(4, np.random.default_rng(seed))
    cache, weights = kv_cache(space, codes, workload), weight_memory(space, codes, workload)
    ordinary = ORDINARY_BYTES[workload.precision]
    is_quantized = workload.precision in ("int8", "fp8")
    for i, arch in enumerate(space.decode(codes)):
        tokens = workload.batch * (workload.prompt + workload.generate)
        numbers = sum(2 * tokens * heads * 16 for heads in getattr(arch, kv_heads))
        assert cache[i] == numbers * ordinary / 1e6
        shapes = layers(arch, arch.embed_dim)
        linear = sum(rows * columns for rows, columns in shapes)
        expected = (space.params(codes)[i] - linear) * ordinary + tables * 4
        expected += linear if is_quantized else linear * ordinary
        expected += sum(4 * rows for rows, _ in shapes) if is_quantized else 0
        assert weights[i] == expected / 1e6


@pytest.mark.parametrize("space", [GPT, LLAMA], ids=["gpt", "llama"])
def test_weights_and_buffers_are_those_of_the_model(space: LanguageModelSpace) -> None:
    torch = pytest.importorskip("torch")
    from hwnas.profiling.language_model import build_model

    codes = space.sample(12, np.random.default_rng(0))
    expected = weight_memory(space, codes, Workload(8, 4, 2, "float32"))
    for arch, megabytes in zip(space.decode(codes), expected, strict=True):
        model = build_model(space, arch, device="meta")
        blocks: Any = model.blocks
        linear = [m for m in blocks.modules() if isinstance(m, torch.nn.Linear)]
        sizes = space.model_sizes(space.encode([arch]))
        assert sizes.linear_weights == sum(layer.weight.numel() for layer in linear)
        assert sizes.linear_rows == sum(layer.out_features for layer in linear)
        tensors = [*model.parameters(), *model.buffers()]
        assert megabytes == sum(t.numel() * t.element_size() for t in tensors) / 1e6


def test_memory_of_a_known_model() -> None:
    # Llama 2 7B: 32 layers of 32 heads of 128; 2 x 2 bytes x 4,096 positions x 4,096 x 32 layers.
    space = LlamaSpace(
        "llama-7b",
        embed_dim=[4096],
        n_layer=[32],
        mlp_dim=[11008],
        n_head=[32],
        n_kv_head=[32],
        tied=[False],
        head_size=128,
        context=4096,
    )
    codes = space.canonical([[0] * len(space.columns)])
    assert kv_cache(space, codes, Workload(4000, 96, 1)).tolist() == [2147.483648]
    in_16_bits = 2 * 6_738_415_616 + 4 * 2 * 4096 * 64
    assert weight_memory(space, codes, Workload(1, 1, 1)).tolist() == [in_16_bits / 1e6]


def test_caches_beyond_64_bits_are_refused() -> None:
    codes = LLAMA.canonical([[9] * len(LLAMA.columns)])
    kv_cache(LLAMA, codes, Workload(24, 24, 2**31 - 1, "float32"))
    wide = LlamaSpace(
        "wide",
        embed_dim=[1],
        n_layer=[1],
        mlp_dim=[1],
        n_head=[64],
        n_kv_head=[64],
        context=2**24,
        vocab_size=1,
    )
    with pytest.raises(InvalidInput, match="more than 2\\*\\*63 bytes"):
        kv_cache(wide, wide.canonical([[0] * 6]), Workload(2**23, 2**23, 2**31 - 1))


def test_a_family_without_sizes_says_what_to_define() -> None:
    class Plain(GPTSpace):
        model_sizes = LanguageModelSpace.model_sizes

    space = Plain("plain", **{k: v for k, v in GPT.to_dict().items() if k != "name"})
    with pytest.raises(InvalidInput, match=r"define model_sizes\(codes\) in Plain$"):
        kv_cache(space, space.canonical([[0] * len(space.columns)]), Workload(1, 1, 1))


# -- metrics -------------------------------------------------------------------------------------


def test_metrics_of_a_request() -> None:
    metrics = workload_metrics("mine", Workload(100, 50, 4, "int8"))
    assert {name: m.cost for name, m in metrics.items()} == {
        "kv_cache.mine": "free",
        "weight_memory.mine": "free",
        "peak_memory.mine": "cheap",
        "ttft.mine": "cheap",
        "tpot.mine": "cheap",
        "latency.mine": "cheap",
        "throughput.mine": "cheap",
        "energy_per_token.mine": "cheap",
        "perplexity.mine": "expensive",
    }
    quantiles = {name for name, metric in metrics.items() if metric.quantiles}
    assert quantiles == {"ttft.mine", "tpot.mine", "latency.mine"}
    assert [n for n, m in metrics.items() if m.fidelity_dependent] == ["perplexity.mine"]
    for metric in metrics.values():
        assert metric.meaning
        assert "\n" not in metric.meaning
    assert "bfloat16" in metrics["kv_cache.mine"].meaning
    assert "int8" in metrics["weight_memory.mine"].meaning


def test_a_forward_pass_has_latency_and_energy_alone() -> None:
    forward = Workload(64, 0, 2)
    assert list(workload_metrics("f", forward)) == ["latency.f", "energy.f"]
    assert workload_closed_forms("f", forward) == {}


def test_one_token_has_no_decoding_steps() -> None:
    two = workload_metrics("w", Workload(64, 2, 2))
    assert two.keys() - workload_metrics("w", Workload(64, 1, 2)).keys() == {"tpot.w"}
