"""Output layer and cross-entropy with soft targets, in chunks of tokens.

The logits of a batch are far larger than the weights: 16,384 tokens x 50,254 logits. Here the
gradients of a chunk are computed together with its loss, so that no logits are kept for a backward
pass (as in Hsu et al. 2024, arXiv:2410.10989). Only those of a teacher are, in half precision under
autocast, since all students of a step are compared with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from hwnas.profiling.language_model import LOGIT_ALIGNMENT

_CHUNK = 4096  # tokens whose logits are computed at once


class ChunkLogits(NamedTuple):
    """Logits of a chunk of tokens.

    Attributes
    ----------
    logits
        (n, V).
    log_sum
        (n, 1) float32, logarithms of the sums of their exponentials.
    """

    logits: Tensor
    log_sum: Tensor


# Arguments and results of `chunk_gradient`.
ChunkGradient = Callable[
    [Tensor, Tensor, ChunkLogits | None, float], tuple[Tensor, Tensor, Tensor, Tensor]
]


class OutputLoss(NamedTuple):
    """Loss of a batch.

    Attributes
    ----------
    loss
        Mean over tokens of the cross-entropy with the targets that a model is trained on, in nats.
    nats
        Mean of the cross-entropy with the text alone, without a gradient.
    """

    loss: Tensor
    nats: Tensor


@dataclass(frozen=True, eq=False)
class Teacher:
    """Soft targets.

    Attributes
    ----------
    chunks
        Logits of the teacher, for each chunk of tokens.
    share
        Share of the soft targets in the targets, from 0 to 1; the rest is the text.
    """

    chunks: Sequence[ChunkLogits]
    share: float


def output_loss(
    x: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    teacher: Teacher | None = None,
    keep: list[ChunkLogits] | None = None,
    function: ChunkGradient | None = None,
) -> OutputLoss:
    """Return the loss of an output layer.

    With soft targets p of a teacher and a share s, the targets are ``s * p`` plus ``1 - s`` times
    the token of the text. Up to a constant the loss is then s times the Kullback-Leibler divergence
    from the teacher plus ``1 - s`` times the cross-entropy (Hinton et al. 2015, arXiv:1503.02531).

    Parameters
    ----------
    x
        (B, T, C), input of the output layer.
    weight
        (vocab_size, C), its matrix.
    targets
        (B, T) integers.
    teacher
        Soft targets; without them the loss is the cross-entropy with the text.
    keep
        List to which the logits of all chunks are appended, for a `Teacher`.
    function
        Compiled form of `chunk_gradient`, by default that itself.

    Examples
    --------
    >>> x, weight, targets = torch.zeros(2, 3, 8), torch.ones(50, 8), torch.zeros(2, 3).long()
    >>> round(output_loss(x, weight, targets).loss.exp().item(), 3)
    50.0
    """
    rows, labels = x.flatten(0, 1), targets.flatten()
    arguments = (rows, weight, labels, teacher, keep, function or chunk_gradient)
    return OutputLoss(*_OutputLoss.apply(*arguments))  # type: ignore[no-untyped-call]


def chunk_gradient(
    logits: Tensor, targets: Tensor, teacher: ChunkLogits | None, share: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return losses of a chunk of tokens and the gradient of the first with respect to the logits.

    Parameters
    ----------
    logits
        (n, V).
    targets
        (n,) integers.
    teacher
        Logits of the teacher; None if `share` is 0.

    Returns
    -------
    loss, nats
        Sums over the tokens, see `OutputLoss`.
    gradient
        (n, V), in the data type of the logits.
    log_sum
        See `ChunkLogits`.
    """
    x = logits.float()
    log_sum = x.logsumexp(dim=-1, keepdim=True)  # (n, 1)
    nats = (log_sum - x.gather(1, targets[:, None])).sum()
    is_text = torch.arange(logits.shape[1], device=logits.device) == targets[:, None]  # (n, V)
    q = (x - log_sum).exp()  # (n, V)
    # The gradient of a cross-entropy with targets p is q - p.
    if teacher is None:
        return nats, nats, (q - is_text.float()).to(logits.dtype), log_sum
    p = share * (teacher.logits.float() - teacher.log_sum).exp()  # (n, V)
    loss = (1 - share) * nats + (p * (log_sum - x)).sum()
    return loss, nats, (q - p - (1 - share) * is_text).to(logits.dtype), log_sum


class _OutputLoss(torch.autograd.Function):
    """Losses whose gradients are computed in the forward pass; see `output_loss`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        targets: Tensor,
        teacher: Teacher | None,
        keep: list[ChunkLogits] | None,
        function: ChunkGradient,
    ) -> tuple[Tensor, Tensor]:
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        matrix = _padded(weight.to(dtype))  # (V, C)
        grad_x, grad_weight = torch.empty_like(x), torch.zeros_like(matrix, dtype=torch.float32)
        loss, nats = torch.zeros(2, device=x.device, dtype=torch.float32).unbind()
        for i, start in enumerate(range(0, len(x), _CHUNK)):
            rows = slice(start, start + _CHUNK)
            part = x[rows].to(dtype)  # (n, C)
            logits = part @ matrix.T  # (n, V)
            if len(matrix) > len(weight):
                # Added tokens get probability 0; a finite number, since 0 * inf is no number.
                logits[:, len(weight) :] = torch.finfo(dtype).min / 2
            soft = None if teacher is None or teacher.share == 0 else teacher.chunks[i]
            share = 0.0 if soft is None or teacher is None else teacher.share
            chunk_loss, chunk_nats, gradient, log_sum = function(logits, targets[rows], soft, share)
            if keep is not None:
                keep.append(ChunkLogits(logits, log_sum))
            loss, nats = loss + chunk_loss, nats + chunk_nats
            grad_x[rows] = gradient @ matrix
            grad_weight += gradient.T @ part
        ctx.save_for_backward(grad_x, grad_weight[: len(weight)])
        ctx.n_tokens = len(x)
        loss, nats = loss / len(x), nats / len(x)
        ctx.mark_non_differentiable(nats)
        return loss, nats

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        grad_x, grad_weight = ctx.saved_tensors
        scale = gradients[0] / ctx.n_tokens
        return grad_x * scale.to(grad_x.dtype), grad_weight * scale, None, None, None, None


def _padded(matrix: Tensor) -> Tensor:
    """Return a matrix on a GPU with rows of zeros, up to a multiple of `LOGIT_ALIGNMENT` rows."""
    n_padding = -len(matrix) % LOGIT_ALIGNMENT
    return F.pad(matrix, (0, 0, 0, n_padding)) if matrix.is_cuda and n_padding else matrix
