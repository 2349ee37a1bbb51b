"""Tests of gradients as CUDA graphs, skipped on machines without a GPU."""

from __future__ import annotations

import gc
import logging

import numpy as np
import pytest
import torch

from hwnas.profiling.data.tokenizer import Tokens
from hwnas.profiling.gpt import GPT
from hwnas.profiling.training.config import TrainingSettings
from hwnas.profiling.training.train_loop import Progress, train
from hwnas.spaces.architecture import Architecture

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def new_model() -> GPT:
    arch = Architecture.parse("tiny-2-128-2-4-2-2-True")
    return GPT(arch, head_size=64, context=64, vocab_size=257, device="cuda")


def some_tokens() -> Tokens:
    ids = np.random.default_rng(0).zipf(1.5, 5000) % 257
    return Tokens(ids.astype(np.uint16), n_bytes=5000, vocab_size=257, end=256)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_training_by_graphs_equals_one_without(accumulate: int) -> None:
    losses = {}
    for kind in ("off", "auto"):
        settings = TrainingSettings(
            steps=120, batch_size=4, accumulate=accumulate, precision="float32", compile=kind
        )
        reports: list[Progress] = []
        train(new_model(), some_tokens(), settings, report=reports.append)
        losses[kind] = [progress.loss for progress in reports]
    assert len(losses["auto"]) == 12
    assert losses["auto"] == pytest.approx(losses["off"], rel=1e-3)
    assert losses["auto"][-1] < losses["auto"][0] - 0.5


def test_memory_is_released() -> None:
    def used() -> int:
        gc.collect()
        torch.cuda.empty_cache()
        return torch.cuda.memory_reserved()

    settings = TrainingSettings(steps=60, batch_size=4)
    train(new_model(), some_tokens(), settings)
    before = used()
    for _ in range(3):
        train(new_model(), some_tokens(), settings)
    assert used() <= before


def test_a_loss_that_cannot_be_captured_is_trained_without_a_graph(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Waiting(GPT):
        def loss(self, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            value = super().loss(tokens, targets)
            assert value.item() > 0  # waits for the device
            return value

    arch = Architecture.parse("tiny-2-128-2-4-2-2-True")
    model = Waiting(arch, head_size=64, context=64, vocab_size=257, device="cuda")
    with caplog.at_level(logging.WARNING, "hwnas.profiling"):
        end = train(model, some_tokens(), TrainingSettings(steps=70, batch_size=4))
    assert end.step == 70
    assert "without a CUDA graph" in caplog.text
