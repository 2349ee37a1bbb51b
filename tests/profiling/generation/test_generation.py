"""Generation with a cache equals the full forward pass, for all families."""

import numpy as np
import pytest
import torch

import hwnas
from hwnas.errors import InvalidInput
from hwnas.profiling.generation import Generator, KVCache, cast_for_inference, generate
from hwnas.profiling.generation.precision import QuantizedLinear
from hwnas.profiling.gpt import GPT
from hwnas.profiling.language_model import LanguageModel, build_model
from hwnas.profiling.llama import Llama
from hwnas.spaces import LlamaArchitecture
from hwnas.spaces.architecture import Architecture

SIZES = {"head_size": 16, "context": 128, "vocab_size": 97}
GPT_SPACE = hwnas.space(
    {
        "name": "tiny",
        "embed_dim": [32, 48],
        "n_layer": [1, 2, 4],
        "mlp_ratio": [1, 2, 4],
        "n_head": [1, 2, 3],
        **SIZES,
    }
)
LLAMA_ARCHS = (
    "tiny-3-32-64-48-96-4-2-1-2-1-1-True",  # grouped queries, one group and several
    "tiny-2-48-0-64-3-0-3-0-False",  # a layer without an MLP, one without attention
)


def gpts(count: int) -> list[LanguageModel]:
    archs = GPT_SPACE.decode(GPT_SPACE.sample(count, np.random.default_rng(0)))
    return [build_model(GPT_SPACE, arch, seed=i) for i, arch in enumerate(archs)]


def llamas() -> list[LanguageModel]:
    return [Llama(LlamaArchitecture.parse(arch), **SIZES) for arch in LLAMA_ARCHS]


def sharpen(model: LanguageModel) -> LanguageModel:
    """Enlarge the weights, so that logits differ and attention is far from uniform."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    return model


MODELS = [sharpen(model) for model in (*gpts(6), *llamas())]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: str(model.arch))
def test_cached_logits_equal_the_full_forward_pass(model: LanguageModel) -> None:
    tokens = torch.randint(97, (3, 70), generator=torch.Generator().manual_seed(1))
    full = model(tokens).detach()
    with Generator(model, batch=3, positions=70) as generator:
        torch.testing.assert_close(generator.prefill(tokens[:, :5]), full[:, 4], atol=1e-4, rtol=0)
        for position in range(5, 70):
            logits = generator.step(tokens[:, position], position)
            torch.testing.assert_close(logits, full[:, position], atol=1e-4, rtol=0)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: str(model.arch))
def test_greedy_tokens_equal_those_of_full_forward_passes(model: LanguageModel) -> None:
    prompt = torch.randint(97, (2, 7), generator=torch.Generator().manual_seed(2))
    tokens = prompt
    for _ in range(64):
        best = model(tokens)[:, -1].argmax(dim=-1)
        tokens = torch.cat((tokens, best[:, None]), dim=1)
    assert torch.equal(generate(model, prompt, 64), tokens[:, 7:])


def test_a_prefill_of_another_prompt_leaves_nothing_of_the_first() -> None:
    model = MODELS[0]
    first, second = torch.arange(20)[None], torch.arange(50, 56)[None]
    with Generator(model, batch=1, positions=20) as generator:
        generator.prefill(first)
        generator.prefill(second)
        logits = generator.step(torch.tensor([7]), 6)
    full = model(torch.cat((second, torch.tensor([[7]])), dim=1)).detach()
    torch.testing.assert_close(logits, full[:, -1], atol=1e-4, rtol=0)


def test_sampling_repeats_with_its_generator() -> None:
    model, prompt = MODELS[0], torch.tensor([[1, 2, 3]])
    draws = [
        generate(
            model, prompt, 30, temperature=1.5, generator=torch.Generator().manual_seed(seed)
        ).tolist()
        for seed in (0, 0, 1)
    ]
    assert draws[0] == draws[1] != draws[2]


def test_top_1_is_greedy() -> None:
    model, prompt = MODELS[0], torch.tensor([[1, 2, 3]])
    generator = torch.Generator().manual_seed(0)
    drawn = generate(model, prompt, 20, temperature=1.0, top_k=1, generator=generator)
    assert torch.equal(drawn, generate(model, prompt, 20))


def test_sampled_frequencies_are_the_probabilities() -> None:
    model = MODELS[0]
    prompt = torch.tensor([[1, 2, 3]]).expand(20_000, 3)
    generator = torch.Generator().manual_seed(0)
    drawn = generate(model, prompt, 1, temperature=2.0, generator=generator)
    frequencies = torch.bincount(drawn[:, 0], minlength=97) / 20_000
    expected = (model(prompt[:1])[0, -1] / 2).softmax(dim=-1).detach()
    assert (frequencies - expected).abs().max() < 5 * (0.25 / 20_000) ** 0.5


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "int8", "fp8"])
@pytest.mark.parametrize("kind", ["gpt", "llama"])
def test_other_precisions_are_close_and_cached_as_in_the_full_pass(
    precision: str, kind: str
) -> None:
    arch = "tiny-2-64-2-4-2-4-True" if kind == "gpt" else "tiny-2-64-96-64-4-4-2-4-True"

    def build() -> LanguageModel:
        if kind == "gpt":
            return GPT(Architecture.parse(arch), **SIZES)
        return Llama(LlamaArchitecture.parse(arch), **SIZES)

    exact, model = build(), cast_for_inference(build(), precision)
    tokens = torch.randint(97, (2, 40), generator=torch.Generator().manual_seed(3))
    full = model(tokens).float()
    size = exact(tokens).std()
    assert (full - exact(tokens)).std() < (0.1 if precision == "fp8" else 0.03) * size
    with Generator(model, batch=2, positions=40) as generator:
        generator.prefill(tokens[:, :39])
        logits = generator.step(tokens[:, 39], 39).float()
    assert (logits - full[:, -1]).abs().max() < 0.05 * size


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
def test_quantized_weights_are_within_half_a_unit_in_the_last_place(dtype: torch.dtype) -> None:
    linear = torch.nn.Linear(256, 32)
    layer = QuantizedLinear(linear, dtype)
    error = (layer.weight.float() * layer.scale[:, None] - linear.weight).abs()
    if dtype == torch.int8:
        assert (error <= 0.501 * layer.scale[:, None]).all()
    else:  # 3 bits of mantissa
        bound = linear.weight.abs() / 16 + layer.scale[:, None] * 2**-10
        assert (error <= bound * 1.001).all()


def test_the_cache_has_the_size_of_the_closed_form() -> None:
    model = cast_for_inference(Llama(LlamaArchitecture.parse(LLAMA_ARCHS[0]), **SIZES), "bfloat16")
    cache = KVCache(model, batch=5, positions=100)
    assert cache.nbytes == 2 * 5 * 100 * (2 + 1 + 1) * 16 * 2


def test_buckets_cover_all_steps() -> None:
    model = MODELS[0]
    with Generator(model, batch=1, positions=128) as generator:
        buckets = generator.buckets(prompt=100, generate=28)
    assert buckets == [(128, 27)]
    assert not generator.buckets(prompt=100, generate=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch": 0, "positions": 10}, "batch: expected at least 1 sequence, found 0"),
        ({"batch": 1, "positions": 129}, "positions: expected 1 to 128, the model's context"),
        ({"batch": 1, "positions": 5, "mode": "fast"}, "mode: expected one of auto, graph, eager"),
        ({"batch": 1, "positions": 5, "mode": "graph"}, "mode: graph needs a CUDA device"),
    ],
)
def test_wrong_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Generator(MODELS[0], **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ((0,), {}, "n_tokens: expected at least 1"),
        ((200,), {}, "positions: expected 1 to 128"),
        ((3,), {"temperature": -1.0}, "temperature: expected at least 0"),
        ((3,), {"temperature": 1.0}, "generator: expected a random generator"),
        ((3,), {"top_k": 0}, "top_k: expected at least 1"),
    ],
)
def test_wrong_settings_of_sampling(
    arguments: tuple[int], settings: dict[str, float], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        generate(MODELS[0], torch.tensor([[1]]), *arguments, **settings)  # type: ignore[arg-type]


def test_wrong_prompts_and_positions() -> None:
    with Generator(MODELS[0], batch=2, positions=8) as generator:
        with pytest.raises(InvalidInput, match="prompt: expected 2 x 1 to 8 tokens, found 1 x 3"):
            generator.prefill(torch.tensor([[1, 2, 3]]))
        with pytest.raises(InvalidInput, match="position: expected 0 to 7, found 8"):
            generator.step(torch.tensor([1, 2]), 8)


def test_wrong_precisions() -> None:
    model = GPT(Architecture.parse("tiny-1-32-2-1-True"), **SIZES)
    with pytest.raises(InvalidInput, match=r"precision: expected one of float32, .*, found 'int4'"):
        cast_for_inference(model, "int4")
    cast_for_inference(model, "int8")
    with pytest.raises(InvalidInput, match="quantized already"):
        cast_for_inference(model, "int8")
