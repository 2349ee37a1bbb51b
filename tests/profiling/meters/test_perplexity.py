from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from hwnas.errors import InvalidInput
from hwnas.profiling.data.tokenizer import ByteTokenizer, Tokens, tokens
from hwnas.profiling.errors import Diverged
from hwnas.profiling.gpt import GPT
from hwnas.profiling.meters import perplexity as perplexity_module
from hwnas.profiling.meters.perplexity import Perplexity, perplexity, summarize_losses, token_losses


def test_uniform_predictions(model: GPT, corpus: Tokens) -> None:
    torch.nn.init.zeros_(model.head.weight)
    result = perplexity(model, corpus)
    assert result.value == pytest.approx(257)
    assert result.std == pytest.approx(0, abs=1e-3)
    assert result.bits_per_byte == pytest.approx(len(corpus) * math.log2(257) / corpus.n_bytes)
    assert (result.n_tokens, result.n_documents) == (len(corpus), 40)


@torch.no_grad()
def test_every_token_is_predicted_once(model: GPT, corpus: Tokens) -> None:
    """Compare with a direct computation, window by window."""
    ids = corpus.ids[: 64 * 3 + 10].astype(np.int64)
    losses = []
    for start in range(0, len(ids), 64):
        window = ids[start : start + 64]
        inputs = np.concatenate(([256 if start == 0 else ids[start - 1]], window[:-1]))
        logits = model(torch.from_numpy(inputs)[None])[0].double()
        losses += [-logits.log_softmax(-1)[i, token].item() for i, token in enumerate(window)]
    selection = replace(corpus, ids=corpus.ids[: len(ids)])
    for batch_size in (1, 2, 3, 50):
        assert token_losses(model, selection, batch_size=batch_size) == pytest.approx(
            losses, rel=1e-4
        )
    assert perplexity(model, selection).value == pytest.approx(math.exp(np.mean(losses)), rel=1e-4)


@pytest.mark.parametrize("n", [1, 63, 64, 65, 128])
def test_incomplete_windows(model: GPT, corpus: Tokens, n: int) -> None:
    expected = token_losses(model, replace(corpus, ids=corpus.ids[:200]))
    losses = token_losses(model, replace(corpus, ids=corpus.ids[:n]))
    assert losses == pytest.approx(expected[:n], rel=1e-4)


def summarize(losses: list[float], documents: list[str]) -> Perplexity:
    return summarize_losses(np.array(losses, dtype=float), tokens(documents, ByteTokenizer()))


def test_values_computed_by_hand() -> None:
    # Documents of 3 and 2 tokens, including their ends, and 2 + 1 = 3 bytes.
    result = summarize([1, 2, 3, 4, 5], ["ab", "c"])
    assert result.value == pytest.approx(math.exp(3))
    assert result.loss == 15
    assert result.bits_per_byte == pytest.approx(15 / math.log(2) / 3)
    # Residuals 6 - 3 * 3 and 9 - 3 * 2; variance 2 / 1 * (9 + 9) / 25 of the mean.
    assert result.std == pytest.approx(math.exp(3) * math.sqrt(2 * 18 / 25))


def test_standard_error_is_the_variation_over_documents() -> None:
    rng = np.random.default_rng(0)

    def sample() -> tuple[list[float], list[str]]:
        documents = ["x" * int(n) for n in rng.integers(1, 30, size=60)]
        level = rng.normal(2, 0.3, size=60)  # mean loss of a document; its tokens are similar
        losses = [
            loss
            for document, mean in zip(documents, level, strict=True)
            for loss in rng.normal(mean, 0.1, size=len(document) + 1)
        ]
        return losses, documents

    results = [summarize(*sample()) for _ in range(300)]
    spread = np.std([result.value for result in results])
    assert np.mean([result.std for result in results]) == pytest.approx(spread, rel=0.15)


def test_single_document_has_no_standard_error() -> None:
    assert math.isnan(summarize([1, 2, 3], ["ab"]).std)


def test_diverged_model(model: GPT, corpus: Tokens) -> None:
    torch.nn.init.constant_(model.head.weight, math.nan)
    with pytest.raises(Diverged, match=r"perplexity of tiny-2.*: the mean loss is nan nats"):
        perplexity(model, corpus)


def test_loss_too_large_for_a_perplexity(
    model: GPT, corpus: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        perplexity_module, "token_losses", lambda *_, **__: np.full(len(corpus), 1e3)
    )
    with pytest.raises(Diverged, match="the mean loss is 1000 nats"):
        perplexity(model, corpus)


def test_invalid_arguments(model: GPT, corpus: Tokens) -> None:
    with pytest.raises(InvalidInput, match="expected held-out tokens, found none"):
        perplexity(model, replace(corpus, ids=corpus.ids[:0]))
    with pytest.raises(InvalidInput, match="vocabulary of at most 257"):
        perplexity(model, replace(corpus, vocab_size=300))
    with pytest.raises(InvalidInput, match="batch_size: expected a positive integer, found 0"):
        perplexity(model, corpus, batch_size=0)
