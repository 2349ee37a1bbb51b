"""The loss in chunks and its gradients equal those of torch, with and without a teacher."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from hwnas.profiling.supernet import output_loss as module
from hwnas.profiling.supernet.output_loss import ChunkLogits, Teacher, output_loss

B, T, C, V = 3, 7, 8, 50


def inputs(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(B, T, C, generator=generator).requires_grad_()
    weight = torch.randn(V, C, generator=generator).requires_grad_()
    return x, weight, torch.randint(0, V, (B, T), generator=generator)


@pytest.mark.parametrize("chunk", [4, 21, 100])
@pytest.mark.parametrize("share", [None, 0.0, 0.3, 1.0])
def test_values_and_gradients(
    share: float | None, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK", chunk)
    x, weight, targets = inputs()
    kept: list[ChunkLogits] = []
    output_loss(*inputs(seed=1)[:2], targets, keep=kept)
    assert sum(len(chunk.logits) for chunk in kept) == B * T
    teacher = None if share is None else Teacher(kept, share)
    loss, nats = output_loss(x, weight, targets, teacher=teacher)
    assert not nats.requires_grad  # it would keep the graph of the step
    (2 * loss).backward()  # type: ignore[no-untyped-call]
    grads = x.grad, weight.grad
    x.grad = weight.grad = None

    logits = F.linear(x, weight).flatten(0, 1)
    text = F.cross_entropy(logits, targets.flatten())
    soft = torch.cat([chunk.logits for chunk in kept]).softmax(-1)
    share = share or 0.0
    expected = (1 - share) * text + share * F.cross_entropy(logits, soft)
    (2 * expected).backward()  # type: ignore[no-untyped-call]
    assert torch.allclose(loss, expected, atol=1e-5)
    assert torch.allclose(nats, text, atol=1e-5)
    for found, right in zip(grads, (x.grad, weight.grad), strict=True):
        assert found is not None
        assert right is not None
        assert torch.allclose(found, right, atol=1e-6)


def test_a_student_that_equals_its_teacher_has_no_gradient() -> None:
    x, weight, targets = inputs()
    kept: list[ChunkLogits] = []
    output_loss(x, weight, targets, keep=kept)
    output_loss(x, weight, targets, teacher=Teacher(kept, 1.0)).loss.backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert x.grad.abs().max() < 1e-7


def test_padded_tokens_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where the vocabulary is padded to a multiple of 64."""

    def padded(matrix: torch.Tensor) -> torch.Tensor:
        return F.pad(matrix, (0, 0, 0, -len(matrix) % 64))

    results = []
    for function in (module._padded, padded):
        monkeypatch.setattr(module, "_padded", function)
        x, weight, targets = inputs()
        kept: list[ChunkLogits] = []
        output_loss(*inputs(seed=1)[:2], targets, keep=kept)
        loss = output_loss(x, weight, targets, teacher=Teacher(kept, 0.5)).loss
        loss.backward()  # type: ignore[no-untyped-call]
        results.append((loss, x.grad, weight.grad))
    for a, b in zip(*results, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_half_precision_under_autocast() -> None:
    x, weight, targets = inputs()
    exact = output_loss(x, weight, targets).loss
    kept: list[ChunkLogits] = []
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = output_loss(x, weight, targets, keep=kept).loss
    loss.backward()  # type: ignore[no-untyped-call]
    assert kept[0].logits.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    assert abs(loss - exact) < 0.03
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32
