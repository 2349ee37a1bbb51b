"""A tiny trained Llama, its space and tokens that it has learned."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from hwnas.profiling import TrainingSettings, train
from hwnas.profiling.data.tokenizer import ByteTokenizer, Tokens, tokens
from hwnas.profiling.llama import Llama
from hwnas.shrinking.members import space_of_members
from hwnas.spaces import LlamaArchitecture, ShrunkLlamaSpace

ARCH = LlamaArchitecture("tiny", 32, 3, (48,) * 3, (4,) * 3, (2,) * 3, tied=True)
SIZES = {"head_size": 8, "context": 32, "vocab_size": 257, "rotary_base": 500.0, "norm_eps": 1e-6}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    previous = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(previous)


@pytest.fixture(scope="session")
def corpus() -> Tokens:
    """Tokens of documents with a vocabulary of 10 words."""
    words = ["the", "network", "reads", "some", "text", "and", "says", "what", "comes", "next"]
    rng = np.random.default_rng(0)
    documents = [" ".join(rng.choice(words, size=int(n))) for n in rng.integers(5, 30, size=60)]
    return tokens(documents, ByteTokenizer())


@pytest.fixture(scope="session")
def trained(corpus: Tokens) -> Llama:
    model = Llama(ARCH, **SIZES)  # type: ignore[arg-type]
    train(model, corpus, TrainingSettings(steps=150, batch_size=8, learning_rate=1e-2))
    return model.requires_grad_(False).eval()


@pytest.fixture
def model(trained: Llama) -> Llama:
    """A copy, which a test may change."""
    copy = Llama(ARCH, **SIZES)  # type: ignore[arg-type]
    copy.load_state_dict(trained.state_dict())
    return copy.requires_grad_(False).eval()


@pytest.fixture
def space(model: Llama) -> ShrunkLlamaSpace:
    return space_of_members(model, head_steps=2, mlp_steps=2)
