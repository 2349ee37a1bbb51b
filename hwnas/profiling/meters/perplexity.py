"""Perplexity of a model on held-out text."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hwnas.errors import InvalidInput
from hwnas.profiling.data.tokenizer import Tokens
from hwnas.profiling.errors import Diverged, release_memory
from hwnas.profiling.training.config import Precision, autocast
from hwnas.typing import Array

_BATCH_TOKENS = 8192  # whose logits are in memory at once
_MAX_LOSS = math.log(sys.float_info.max)  # largest mean loss whose exponential is finite


class NextTokenModel(Protocol):
    """Model that predicts the next token at each position, of hwnas or of another library.

    Its call takes tokens (B, T) and returns logits (B, T, vocab_size).
    """

    @property
    def arch(self) -> object:
        """Its architecture, for messages."""

    @property
    def context(self) -> int:
        """Maximum number of tokens of a sequence."""

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""

    @property
    def device(self) -> torch.device:
        """Device of the tokens that it takes."""

    def __call__(self, tokens: Tensor, /) -> Tensor:
        """Return the logits."""


@dataclass(frozen=True, slots=True)
class Perplexity:
    """Perplexity on held-out text.

    Attributes
    ----------
    value
        ``exp`` of the mean loss per token; all tokens have the same weight, in any document.
    std
        Standard error of `value`, see `perplexity`; NaN for a single document.
    bits_per_byte
        Total loss, including that of the ends of documents, in bits per byte of the text. It makes
        different tokenizers comparable.
    loss
        Sum over all tokens, in nats.
    n_tokens, n_documents
        Number of predicted tokens and of their documents; the end of a document is a token.
    """

    value: float
    std: float
    bits_per_byte: float
    loss: float
    n_tokens: int
    n_documents: int


def perplexity(
    model: NextTokenModel, tokens: Tokens, *, batch_size: int = 8, precision: Precision = "auto"
) -> Perplexity:
    """Compute the perplexity over all held-out text.

    The tokens are split into windows of the model's context, the last one shorter. Every token is
    predicted exactly once, from the previous tokens of its window and the last token before the
    window; the first token of all is predicted from an end-of-document token.

    Parameters
    ----------
    model
        Model to evaluate.
    tokens
        Tokens of the held-out documents.
    batch_size
        Number of windows per batch. It determines the memory, not the result.
    precision
        See `TrainingSettings`.

    Raises
    ------
    Diverged
        The loss is not finite.
    OutOfMemory
        The device has not enough memory.
    InvalidInput
        There are no tokens, or the vocabulary is larger than that of the model.

    Notes
    -----
    The standard error describes the variation of the value over samples of documents of the same
    kind. With losses :math:`l_d` and lengths :math:`n_d` of D documents, the mean loss
    :math:`m = \\sum l_d / \\sum n_d` is a ratio, whose variance is
    :math:`D / (D - 1) \\sum (l_d - m n_d)^2 / (\\sum n_d)^2` (Cochran 1977, Sampling Techniques,
    section 6.4). By the delta method the standard error of the perplexity is :math:`e^m` times the
    square root of that variance. It does not include the variation over training seeds.

    Examples
    --------
    >>> from hwnas.profiling import tokenizer, tokens
    >>> from hwnas.profiling.gpt import GPT
    >>> from hwnas.spaces.architecture import Architecture
    >>> arch = Architecture.parse("tiny-1-32-2-1-True")
    >>> model = GPT(arch, head_size=16, context=8, vocab_size=257)
    >>> perplexity(model, tokens(["some text", "more"], tokenizer("bytes"))).n_tokens
    15
    """
    if not len(tokens) or not tokens.n_bytes:
        raise InvalidInput("expected held-out tokens, found none")
    if tokens.vocab_size > model.vocab_size:
        raise InvalidInput(
            f"expected tokens of a vocabulary of at most {model.vocab_size}, the model's, found "
            f"{tokens.vocab_size}"
        )
    if type(batch_size) is not int or batch_size < 1:
        raise InvalidInput(f"batch_size: expected a positive integer, found {batch_size!r}")
    with release_memory(model.device, f"perplexity of {model.arch}"):
        losses = token_losses(model, tokens, batch_size=batch_size, precision=precision)
    if not np.isfinite(losses).all() or losses.mean() > _MAX_LOSS:
        raise Diverged(f"perplexity of {model.arch}: the mean loss is {losses.mean():g} nats")
    return summarize_losses(losses, tokens)


def evaluation_batch(context: int) -> int:
    """Return a batch size, in windows of a context, with which the logits fit into memory.

    >>> evaluation_batch(1024)
    8
    """
    return max(1, _BATCH_TOKENS // context)


def summarize_losses(losses: Array, tokens: Tokens) -> Perplexity:
    """Compute the perplexity from the loss of each token.

    Parameters
    ----------
    losses : (n,) float64
        In nats, one for each of `tokens`.
    """
    total = float(losses.sum())
    mean = total / len(losses)
    # Sum the losses of each of D documents. A document starts after the end of the previous one.
    ends = np.flatnonzero(tokens.ids == tokens.end)
    starts = np.concatenate(([0], ends + 1))
    starts = starts[starts < len(losses)]
    document_losses = np.add.reduceat(losses, starts)  # (D,)
    lengths = np.diff(np.append(starts, len(losses)))  # (D,)
    D = len(starts)
    # Variance of a ratio of sums (Cochran 1977, section 6.4).
    residual = float(((document_losses - mean * lengths) ** 2).sum())
    mean_std = math.sqrt(D / (D - 1) * residual) / len(losses) if D > 1 else math.nan
    # Standard error of exp(mean) by the delta method: the derivative of exp times that of the mean.
    value = math.exp(mean)
    return Perplexity(
        value,
        value * mean_std,
        total / math.log(2) / tokens.n_bytes,
        total,
        len(losses),
        D,
    )


@torch.no_grad()
def token_losses(
    model: NextTokenModel, tokens: Tokens, *, batch_size: int = 8, precision: Precision = "auto"
) -> Array:
    """Compute the loss of each token, predicted as described in `perplexity`.

    Returns
    -------
    (n,) float64, in nats
    """
    device, context = model.device, model.context
    losses = np.empty(len(tokens))
    for start in range(0, len(tokens), batch_size * context):
        targets = torch.from_numpy(
            tokens.ids[start : start + batch_size * context].astype(np.int64)
        )
        # The input of each target is the token before it.
        previous = tokens.end if start == 0 else int(tokens.ids[start - 1])
        inputs = torch.cat((torch.tensor([previous]), targets[:-1]))
        # Complete windows form one batch; the last window may be shorter and is a batch of its own.
        n_complete = len(targets) // context * context
        for window in (slice(0, n_complete), slice(n_complete, len(targets))):
            if window.start == window.stop:
                continue
            length = min(context, window.stop - window.start)
            with autocast(device, precision):
                logits = model(inputs[window].view(-1, length).to(device))  # (B, T, vocab_size)
            loss = F.cross_entropy(
                logits.flatten(0, 1).float(), targets[window].to(device), reduction="none"
            )
            losses[start + window.start : start + window.stop] = loss.cpu()
    return losses
