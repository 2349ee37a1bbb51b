"""How well a network predicts text that it has not seen."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from hwnas.errors import InvalidInput
from hwnas.profiling.data.tokenizer import Tokens
from hwnas.profiling.errors import Diverged, memory_given_back
from hwnas.profiling.gpt import GPT
from hwnas.profiling.training.config import Precision, autocast

_LARGEST = math.log(sys.float_info.max)


@dataclass(frozen=True, slots=True)
class Perplexity:
    """How well a network predicts held-out text.

    Attributes
    ----------
    value
        ``exp`` of the mean loss of a token; every token counts the same, whatever its document.
    std
        Standard error of `value`, see `perplexity`; NaN for a single document.
    bits_per_byte
        All loss, that of the ends of documents included, in bits a byte of the text. It compares
        tokenizers with one another.
    loss
        Sum over all tokens, in nats.
    n_tokens, n_documents
        What was predicted; the end of a document is a token.
    """

    value: float
    std: float
    bits_per_byte: float
    loss: float
    n_tokens: int
    n_documents: int


def perplexity(
    model: GPT, tokens: Tokens, *, batch_size: int = 8, precision: Precision = "auto"
) -> Perplexity:
    """Perplexity over all held-out text.

    The tokens are cut into windows of the network's context, the last one shorter, and every token
    is predicted exactly once, from those before it in its window and the one before the window; the
    very first from the end of a document.

    Parameters
    ----------
    tokens
        Of the held-out documents.
    batch_size
        Windows at a time; it takes memory and changes nothing.
    precision
        As of `TrainingSettings`.

    Raises
    ------
    Diverged
        The loss is not finite.
    OutOfMemory
    InvalidInput
        There are no tokens, or ones that the network does not know.

    Notes
    -----
    The standard error says how much the value would change with other documents of the same kind.
    With losses :math:`l_d` and lengths :math:`n_d` of D documents, the mean loss
    :math:`m = \\sum l_d / \\sum n_d` is a ratio, whose variance is
    :math:`D / (D - 1) \\sum (l_d - m n_d)^2 / (\\sum n_d)^2` (Cochran 1977, Sampling Techniques,
    section 6.4); the delta method makes :math:`e^m` times its root of it. Training is not
    repeated, so its luck is not in it.
    """
    if not len(tokens) or not tokens.n_bytes:
        raise InvalidInput("expected held-out tokens, found none")
    if tokens.vocab_size > model.vocab_size:
        raise InvalidInput(
            f"expected tokens of a vocabulary of at most {model.vocab_size}, the network's, found "
            f"{tokens.vocab_size}"
        )
    if type(batch_size) is not int or batch_size < 1:
        raise InvalidInput(f"batch_size: expected a positive integer, found {batch_size!r}")
    with memory_given_back(model.cos.device, f"perplexity of {model.arch}"):
        losses = token_losses(model, tokens, batch_size=batch_size, precision=precision)
    if not np.isfinite(losses).all() or losses.mean() > _LARGEST:
        raise Diverged(f"perplexity of {model.arch}: the mean loss is {losses.mean():g} nats")
    return summary(losses, tokens)


def summary(losses: NDArray[np.float64], tokens: Tokens) -> Perplexity:
    """Perplexity from the loss of each token.

    Parameters
    ----------
    losses : (n,) float64
        In nats, one for each of `tokens`.
    """
    total = float(losses.sum())
    mean = total / len(losses)
    ends = np.flatnonzero(tokens.ids == tokens.end)
    starts = np.concatenate(([0], ends + 1))
    starts = starts[starts < len(losses)]
    in_document = np.add.reduceat(losses, starts)  # (D,)
    lengths = np.diff(np.append(starts, len(losses)))  # (D,)
    D = len(starts)
    residual = float(((in_document - mean * lengths) ** 2).sum())
    std_of_mean = math.sqrt(D / (D - 1) * residual) / len(losses) if D > 1 else math.nan
    value = math.exp(mean)
    return Perplexity(
        value,
        value * std_of_mean,
        total / math.log(2) / tokens.n_bytes,
        total,
        len(losses),
        D,
    )


@torch.no_grad()
def token_losses(
    model: GPT, tokens: Tokens, *, batch_size: int = 8, precision: Precision = "auto"
) -> NDArray[np.float64]:
    """The loss of each token as `perplexity` predicts it.

    Returns
    -------
    (n,) float64, in nats
    """
    device, context = model.cos.device, model.context
    losses = np.empty(len(tokens))
    for start in range(0, len(tokens), batch_size * context):
        targets = torch.from_numpy(
            tokens.ids[start : start + batch_size * context].astype(np.int64)
        )
        before = tokens.end if start == 0 else int(tokens.ids[start - 1])
        read = torch.cat((torch.tensor([before]), targets[:-1]))
        whole = len(targets) // context * context
        for rows in (slice(0, whole), slice(whole, len(targets))):  # the last window is shorter
            if rows.start == rows.stop:
                continue
            length = min(context, rows.stop - rows.start)
            with autocast(device, precision):
                logits = model(read[rows].view(-1, length).to(device))  # (B, T, vocab_size)
            loss = F.cross_entropy(
                logits.flatten(0, 1).float(), targets[rows].to(device), reduction="none"
            )
            losses[start + rows.start : start + rows.stop] = loss.cpu()
    return losses
