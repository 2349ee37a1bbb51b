"""A tiny network, and text that it can learn."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from hwnas.architectures import Architecture
from hwnas.profiling.models import GPT
from hwnas.profiling.tokenizers import Bytes, Tokens, tokens

ARCH = Architecture.parse("tiny-2-32-2-1-1-2-True")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def model() -> GPT:
    return GPT(ARCH, head_size=16, context=64, vocab_size=257)


@pytest.fixture(scope="session")
def corpus() -> Tokens:
    """40 documents of words that come again and again."""
    words = ["the", "network", "reads", "some", "text", "and", "says", "what", "comes", "next"]
    rng = np.random.default_rng(0)
    documents = [" ".join(rng.choice(words, size=int(n))) for n in rng.integers(2, 30, size=40)]
    return tokens(documents, Bytes())
