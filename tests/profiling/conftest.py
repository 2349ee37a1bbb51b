"""A tiny network, text that it can learn, and a machine that takes energy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from hwnas.profiling.data.tokenizer import ByteTokenizer, Tokens, tokens
from hwnas.profiling.gpt import GPT
from hwnas.profiling.meters.energy_counter import Counter
from hwnas.spaces.architecture import Architecture

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
    return tokens(documents, ByteTokenizer())


class Machine(Counter):
    """A device with its own clock, which takes 50 W when idle and 250 W in a pass of 7 ms.

    Its counter ticks every 100 ms, and then shows all that was taken until then.
    """

    name = "machine"
    idle, busy, seconds, period = 50.0, 250.0, 0.007, 0.1

    def __init__(self) -> None:
        self.now = 12.345
        self.work: list[tuple[float, float]] = []  # when passes begin and end
        self.over, self.passing = 0, 0.0  # those that are behind us, and their seconds

    def clock(self) -> float:
        self.now += 1e-4
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def read(self) -> float:
        return self.taken(math.floor(self.now / self.period) * self.period)

    def taken(self, until: float) -> float:
        """All energy up to a moment, in J; the moments never go back."""
        while self.over < len(self.work) and self.work[self.over][1] <= until:
            self.passing += self.seconds
            self.over += 1
        begun = [max(until - begin, 0) for begin, _ in self.work[self.over : self.over + 1]]
        return self.idle * until + (self.busy - self.idle) * (self.passing + sum(begun))

    def run(self) -> None:
        """A pass of a CPU: it is over when this returns."""
        self.begin()
        self.now = self.work[-1][1]

    def begin(self) -> None:
        """A pass of a GPU: it begins when those before it are over."""
        begin = max(self.now, self.work[-1][1] if self.work else 0.0)
        self.work.append((begin, begin + self.seconds))

    def mark(self) -> Callable[[], bool]:
        """Whether what was begun is over."""
        end = self.work[-1][1]
        return lambda: self.now >= end


@pytest.fixture
def machine() -> Machine:
    return Machine()
