"""Importance of parts, and the losses that alternatives of a layer add."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hwnas.errors import InvalidInput, UnknownName
from hwnas.profiling.data.tokenizer import Tokens
from hwnas.profiling.llama import Llama
from hwnas.shrinking.block_scores import (
    COLUMNS,
    calibration_sequences,
    score_blocks,
    whole_loss,
)
from hwnas.shrinking.importance import METHODS, importances, order_by_importance
from hwnas.shrinking.sliced_model import SlicedLlama
from hwnas.spaces import ShrunkLlamaSpace


@pytest.fixture
def sequences(corpus: Tokens) -> torch.Tensor:
    return calibration_sequences(corpus, 6, 32)


@pytest.mark.parametrize("method", METHODS)
def test_parts_that_do_nothing_come_last(
    method: str, model: Llama, sequences: torch.Tensor
) -> None:
    layer = model.blocks[1]
    layer.mlp.fc.weight[48 + 5] = 0  # type: ignore[union-attr,operator,index]  # up of neuron 5
    layer.attention.qkv.weight[-16:-8] = 0  # type: ignore[union-attr,operator,index]  # values of 0
    before = model(sequences[:, :-1])
    orders = order_by_importance(model, sequences, method)  # type: ignore[arg-type]
    assert orders["blocks.1.mlp"][-1] == 5
    assert orders["blocks.1.attention"].tolist() == [1, 0]
    torch.testing.assert_close(model(sequences[:, :-1]), before, atol=1e-5, rtol=1e-4)


def test_taylor_is_the_derivative_of_a_factor(model: Llama, sequences: torch.Tensor) -> None:
    one = sequences[:1]
    scores = importances(model, one, "taylor")["blocks.2.mlp"]
    weight = model.blocks[2].mlp.proj.weight  # type: ignore[union-attr]

    def loss_with(factor: float) -> float:
        weight[:, 7] *= factor  # type: ignore[operator,index]
        loss = float(model.double().loss(one[:, :-1], one[:, 1:]))
        weight[:, 7] /= factor  # type: ignore[operator,index]
        return loss

    model.double()
    weight = model.blocks[2].mlp.proj.weight  # type: ignore[union-attr]
    slope = (loss_with(1 + 1e-4) - loss_with(1 - 1e-4)) / 2e-4
    assert float(scores[7]) == pytest.approx(abs(slope), rel=1e-2)


def test_unknown_methods_are_refused(model: Llama, sequences: torch.Tensor) -> None:
    with pytest.raises(UnknownName, match="did you mean 'wanda'"):
        importances(model, sequences, "wandas")  # type: ignore[arg-type]


def test_scores_are_differences_of_losses(
    model: Llama, space: ShrunkLlamaSpace, sequences: torch.Tensor, tmp_path: Path
) -> None:
    file = tmp_path / "scores.csv"
    scores = score_blocks(model, space, sequences, file, batch_tokens=64)
    assert scores.shape == (3, 3, 3)
    assert (scores[:, -1, -1] == 0).all()
    whole = float(model.loss(sequences[:, :-1], sequences[:, 1:]))
    assert whole_loss(file) == pytest.approx(whole, abs=1e-6)
    code = space.canonical(space.cardinalities[None] - 1)
    for layer, mlp, heads in ((0, 0, 0), (1, 1, 0), (2, 2, 1)):
        own = code.copy()
        space.of_layers(own)[0, layer] = (mlp, heads)
        member = SlicedLlama(model, space.decode(own)[0])
        added = float(member.loss(sequences[:, :-1], sequences[:, 1:])) - whole
        assert scores[layer, mlp, heads] == pytest.approx(added, abs=1e-5)


def test_scores_continue_after_a_kill(
    model: Llama, space: ShrunkLlamaSpace, sequences: torch.Tensor, tmp_path: Path
) -> None:
    file = tmp_path / "scores.csv"
    scores = score_blocks(model, space, sequences, file)
    lines = file.read_text().splitlines()
    # Killed within the rows of the second layer: these are computed again, the first are not.
    file.write_text("\n".join(lines[:14]) + "\n0,48")
    layers: list[int] = []
    again = score_blocks(model, space, sequences, file, report=lambda k, n: layers.append(k))
    np.testing.assert_array_equal(again, scores)
    assert layers == [2, 3]
    assert lines[0] == ",".join(COLUMNS)


def test_scores_of_another_model_are_refused(
    model: Llama, space: ShrunkLlamaSpace, sequences: torch.Tensor, tmp_path: Path
) -> None:
    score_blocks(model, space, sequences, tmp_path / "scores.csv")
    model.norm.weight *= 2
    with pytest.raises(InvalidInput, match="model"):
        score_blocks(model, space, sequences, tmp_path / "scores.csv")


def test_calibration_needs_text(corpus: Tokens) -> None:
    with pytest.raises(InvalidInput, match="expected more than"):
        calibration_sequences(corpus, 2, len(corpus))
