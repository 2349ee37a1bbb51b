"""The fused decoding step equals the full forward pass; skipped on machines without CUDA."""

import pytest
import torch

from hwnas.profiling.generation import Generator, cast_for_inference, generate
from hwnas.profiling.gpt import GPT
from hwnas.profiling.language_model import LanguageModel
from hwnas.profiling.llama import Llama
from hwnas.spaces import LlamaArchitecture
from hwnas.spaces.architecture import Architecture

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

ARCHS = (
    "tiny-3-192-1-2-4-4-12-7-True",
    "tiny-2-100-4-4-12-16-False",
    "tiny-3-320-640-480-0-8-4-6-2-4-1-True",
    "tiny-2-64-100-0-0-16-0-1-False",
)


def build(text: str) -> LanguageModel:
    sizes = {"head_size": 64, "context": 640, "vocab_size": 1001}
    if text.count("-") > 10 or text == ARCHS[-1]:
        model: LanguageModel = Llama(LlamaArchitecture.parse(text), **sizes, device="cuda")
    else:
        model = GPT(Architecture.parse(text), **sizes, device="cuda")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    return model


@pytest.mark.parametrize("text", ARCHS)
@pytest.mark.parametrize("batch", [1, 3, 40])
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16", "int8", "fp8"])
def test_steps_equal_the_full_forward_pass(text: str, batch: int, precision: str) -> None:
    model = cast_for_inference(build(text), precision)
    # Of logits of up to 10: the last bits of bfloat16 are worth 0.06 there.
    tolerance = {"float32": 1e-4, "float16": 0.03}.get(precision, 0.25)
    tokens = torch.randint(1001, (batch, 600), device="cuda")
    with torch.no_grad():
        full = model(tokens).float()
    with Generator(model, batch=batch, positions=640) as generator:
        assert generator.mode == "graph"
        logits = generator.prefill(tokens[:, :100]).float()
        torch.testing.assert_close(logits, full[:, 99], atol=tolerance, rtol=0)
        for position in range(100, 600):
            logits = generator.step(tokens[:, position], position)
            if position % 33 == 0:  # positions of every part of a block of the cache
                found = logits.float()
                torch.testing.assert_close(found, full[:, position], atol=tolerance, rtol=0)


@pytest.mark.parametrize("text", ARCHS)
def test_graphs_and_eager_steps_generate_the_same_text(text: str) -> None:
    model, prompt = build(text), torch.randint(1001, (1, 10), device="cuda")
    eager = generate(model, prompt, 64, mode="eager")
    assert torch.equal(generate(model, prompt, 64, mode="graph"), eager)
