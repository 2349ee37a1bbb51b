"""Fixtures: a tiny model, text that it can learn, and a simulated device with an energy counter."""

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
    previous = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(previous)


@pytest.fixture
def model() -> GPT:
    return GPT(ARCH, head_size=16, context=64, vocab_size=257)


@pytest.fixture(scope="session")
def corpus() -> Tokens:
    """Tokens of 40 documents with a vocabulary of 10 words."""
    words = ["the", "network", "reads", "some", "text", "and", "says", "what", "comes", "next"]
    rng = np.random.default_rng(0)
    documents = [" ".join(rng.choice(words, size=int(n))) for n in rng.integers(2, 30, size=40)]
    return tokens(documents, ByteTokenizer())


class Machine(Counter):
    """Device with its own clock that consumes 50 W when idle and 250 W during passes of 7 ms.

    Its counter is updated every 100 ms with the energy consumed so far.
    """

    name = "machine"
    idle, busy, seconds, period = 50.0, 250.0, 0.007, 0.1

    def __init__(self) -> None:
        self.now = 12.345
        self.work: list[tuple[float, float]] = []  # start and end of each pass
        self.n_complete, self.complete_seconds = 0, 0.0  # passes before the last query

    def clock(self) -> float:
        self.now += 1e-4
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def read(self) -> float:
        return self.consumed(math.floor(self.now / self.period) * self.period)

    def consumed(self, until: float) -> float:
        """Return the energy until a time, in J; times must not decrease between calls."""
        while self.n_complete < len(self.work) and self.work[self.n_complete][1] <= until:
            self.complete_seconds += self.seconds
            self.n_complete += 1
        current = [
            max(until - start, 0) for start, _ in self.work[self.n_complete : self.n_complete + 1]
        ]
        return self.idle * until + (self.busy - self.idle) * (self.complete_seconds + sum(current))

    def run(self) -> None:
        """Run a pass as on a CPU: it has ended when this returns."""
        self.begin()
        self.now = self.work[-1][1]

    def begin(self) -> None:
        """Enqueue a pass as on a GPU: it starts when the previous passes have ended."""
        start = max(self.now, self.work[-1][1] if self.work else 0.0)
        self.work.append((start, start + self.seconds))

    def mark(self) -> Callable[[], bool]:
        """Return a function that returns whether the passes enqueued so far have ended."""
        end = self.work[-1][1]
        return lambda: self.now >= end


@pytest.fixture
def machine() -> Machine:
    return Machine()
