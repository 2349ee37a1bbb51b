"""Models of all families: building, meters, training and checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hwnas
from hwnas.errors import InvalidInput
from hwnas.profiling import (
    GPT,
    LanguageModel,
    Llama,
    PassSettings,
    TrainingSettings,
    build_model,
    latency,
    peak_memory,
    perplexity,
    train,
)
from hwnas.profiling.data.tokenizer import Tokens
from hwnas.profiling.meters.forward_pass import prepare_forward_pass
from hwnas.profiling.training.checkpoint import read_weights
from hwnas.spaces import GPTSpace, LanguageModelSpace, LlamaSpace

SIZES: dict[str, Any] = {"head_size": 8, "context": 32, "vocab_size": 257}
# Half of the layers have no attention or no MLP.
SPACES: dict[str, LanguageModelSpace] = {
    "gpt": GPTSpace(
        "tiny", embed_dim=[16], n_layer=[2, 4], mlp_ratio=[0, 2], n_head=[0, 2], **SIZES
    ),
    "llama": LlamaSpace(
        "tiny",
        embed_dim=[16],
        n_layer=[2, 4],
        mlp_dim=[0, 32],
        n_head=[0, 2, 4],
        n_kv_head=[1, 2],
        **SIZES,
    ),
}
CLASSES = {"gpt": GPT, "llama": Llama}
PASSES = PassSettings(batch_size=2, threads=1)


@pytest.fixture(params=SPACES)
def space(request: pytest.FixtureRequest) -> LanguageModelSpace:
    return SPACES[request.param]


def sample(space: LanguageModelSpace, seed: int = 0) -> Any:
    return space.decode(space.sample(1, np.random.default_rng(seed)))[0]


def test_build_model(space: LanguageModelSpace) -> None:
    codes = space.sample(30, np.random.default_rng(0))
    for code, arch in zip(codes, space.decode(codes), strict=True):
        model = build_model(space, arch, device="meta")
        assert type(model) is CLASSES[space.family]
        assert (model.arch, model.context, model.vocab_size) == (arch, 32, 257)
        assert model.params == space.params(code[None])[0]
        assert model.arch_type.parse(str(arch)) == arch
    assert torch.equal(
        build_model(space, arch, seed=3).output_weight,
        build_model(space, arch, seed=3).output_weight,
    )
    with pytest.raises(InvalidInput, match="embed_dim"):
        build_model(space, sample(hwnas.space(f"{space.family}-s")))  # type: ignore[arg-type]


def test_absent_branches_have_no_parameters_and_leave_the_stream(space: LanguageModelSpace) -> None:
    for seed in range(10):
        arch = sample(space, seed)
        model: Any = build_model(space, arch)
        mlps = arch.mlp_ratio if space.family == "gpt" else arch.mlp_dim
        for block, mlp, heads in zip(model.blocks, mlps, arch.n_head, strict=True):
            names = {name.partition(".")[0] for name, _ in block.named_parameters()}
            expected = {"norm_1", "attention"} if heads else set()
            assert names == expected | ({"norm_2", "mlp"} if mlp else set())
        # What remains is the network in which the absent branches give 0.
        tokens = torch.arange(20)[None]
        logits = model(tokens)
        assert torch.isfinite(logits).all()
        for block in model.blocks:
            for branch in (block.attention, block.mlp):
                if branch is not None:
                    torch.nn.init.zeros_(branch.proj.weight)
        embedded = model.norm(model.embedding(tokens))
        assert torch.allclose(model(tokens), embedded @ model.output_weight.T, atol=1e-6)


def test_every_parameter_is_used(space: LanguageModelSpace) -> None:
    model = build_model(space, sample(space, 1))
    tokens = torch.arange(64).view(2, 32)
    model.loss(tokens[:, :-1], tokens[:, 1:]).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_meters(space: LanguageModelSpace, corpus: Tokens, precision: Any) -> None:
    model = build_model(space, sample(space))
    settings = PassSettings(batch_size=2, threads=1, precision=precision)
    assert latency(model, settings, max_seconds=0.05, warm_up_seconds=0.01).median > 0
    with prepare_forward_pass(model, settings) as forward_pass:
        logits: Any = forward_pass.run()
    assert logits.shape == (2, 32, 257)
    assert logits.dtype == getattr(torch, precision)
    assert 200 < perplexity(model, corpus, precision=precision).value < 320


def test_peak_memory_of_a_separate_process(space: LanguageModelSpace) -> None:
    peak = peak_memory(build_model(space, sample(space), device="meta"), PASSES)
    assert 0 < peak.before <= peak.value < 5000


def test_training_continues_from_a_checkpoint(
    space: LanguageModelSpace, corpus: Tokens, tmp_path: Path
) -> None:
    arch, settings = sample(space, 2), TrainingSettings(steps=6, batch_size=2)

    def trained(until: tuple[int, ...], file: Path | None) -> LanguageModel:
        for step in until:
            model = build_model(space, arch)
            progress = train(model, corpus, settings, until=step, checkpoint=file)
            assert progress.step == step
        return model

    whole, paused = trained((6,), None), trained((2, 6), tmp_path / "x.pt")
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, paused.state_dict()[name]), name
    trained_weights = read_weights(tmp_path / "x.pt", whole)
    assert set(trained_weights.weights) == set(whole.state_dict())
    assert (trained_weights.step, trained_weights.steps) == (6, 6)
    assert trained_weights.tokens == 6 * 2 * whole.context
    other = build_model(space, sample(space, 5))
    with pytest.raises(InvalidInput, match="a checkpoint of another training: expected arch"):
        train(other, corpus, settings, checkpoint=tmp_path / "x.pt")
