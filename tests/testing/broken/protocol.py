"""Optimizers with a fault in their randomness or in the form of their proposals."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np

from broken.correct import HillClimber
from hwnas.errors import SpaceExhausted
from hwnas.spaces import SearchSpace
from hwnas.typing import Codes


class NeedsLayers(HillClimber):
    """Looks at the first layer, which a flat space does not have."""

    def configure(self) -> None:
        self.first_layer = self.space.groups[0].columns


class NeedsBias(HillClimber):
    """Looks for a column of the family of GPT."""

    def configure(self) -> None:
        self.bias = self.space.columns.index("bias")


class IgnoresConditions(HillClimber):
    """Proposes a choice that is switched off by the choice of another column."""

    def ask(self, n: int) -> Codes:
        codes = super().ask(n).copy()
        inside = self.space.layer_columns.ravel()
        outside = [j for j in range(codes.shape[1]) if j not in inside]
        active = self.space.active(codes)
        codes[:, outside] += (~active[:, outside]).astype(np.int8)
        return codes


class AcceptsAnySetting(HillClimber):
    """Accepts misspelt settings."""

    def __init__(
        self,
        space: SearchSpace,
        n_objectives: int,
        *,
        seed: int,
        n_constraints: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(space, n_objectives, seed=seed, n_constraints=n_constraints)


class EmptyGenerations(HillClimber):
    """Declares generations of no evaluations."""

    generation = 0


class UndecidedAboutConstraints(HillClimber):
    """Declares neither that it handles constraints nor that it does not."""

    handles_constraints = None  # type: ignore[assignment]


class Unseeded(HillClimber):
    """Ignores its seed: every instance draws differently, but equally in every test run."""

    # A counter in place of the system's entropy: the test must fail or pass every time.
    seeds = itertools.count()

    def configure(self) -> None:
        self.rng = np.random.default_rng(next(self.seeds))


class FixedSeed(HillClimber):
    """Draws the same with every seed."""

    def configure(self) -> None:
        self.rng = np.random.default_rng(3)


class UnseededAfterResults(HillClimber):
    """Ignores its seed once it has results."""

    seeds = itertools.count()

    def parents(self) -> Codes:
        if len(self.history):
            self.rng = self._sampler.rng = np.random.default_rng(next(self.seeds))
        return super().parents()


class SharedGenerator(HillClimber):
    """Shares one generator among all instances."""

    generator = np.random.default_rng(0)

    def configure(self) -> None:
        SharedGenerator.generator = self.rng

    def ask(self, n: int) -> Codes:
        self.rng = self._sampler.rng = SharedGenerator.generator
        return super().ask(n)


class ReadsGlobalGenerator(HillClimber):
    """Draws from NumPy's global generator."""

    def ask(self, n: int) -> Codes:
        # Reading alone changes the global state as well.
        self.rng = np.random.default_rng(np.random.randint(2**31))  # noqa: NPY002
        self._sampler.rng = self.rng
        return super().ask(n)


class SeedsGlobalGenerator(HillClimber):
    """Seeds Python's global generator, but does not draw from it."""

    def ask(self, n: int) -> Codes:
        random.seed(0)
        return super().ask(n)


class NonCanonicalCodes(HillClimber):
    """Sets choices of absent layers."""

    def ask(self, n: int) -> Codes:
        codes = super().ask(n).copy()
        codes[~self.space.active(codes)] = 1
        return codes


class Int64Codes(HillClimber):
    """Proposes codes of int64."""

    def ask(self, n: int) -> Codes:
        return super().ask(n).astype(np.int64)  # type: ignore[return-value]


class FortranOrder(HillClimber):
    """Proposes arrays in Fortran order."""

    def ask(self, n: int) -> Codes:
        return np.asfortranarray(super().ask(n))


class TooManyCodes(HillClimber):
    """Proposes one architecture more than requested."""

    def ask(self, n: int) -> Codes:
        return super().ask(n + 1)


class RepeatsProposals(HillClimber):
    """Proposes its first architecture again and again."""

    _first: Codes | None = None

    def ask(self, n: int) -> Codes:
        # An ask for one is answered by a new architecture, as a search would not end otherwise.
        if self._first is None or n == 1:
            codes = super().ask(n)
            self._first = codes[:1].copy()
            return codes
        return np.concatenate([super().ask(n - 1), self._first])


class EmptyAnswers(HillClimber):
    """Answers every other ask with no codes."""

    _answers = False

    def ask(self, n: int) -> Codes:
        self._answers = not self._answers
        return super().ask(n) if self._answers else self.space.encode([])


class ExhaustedTooEarly(HillClimber):
    """Stops two architectures before the end of the space."""

    def ask(self, n: int) -> Codes:
        if len(self._sampler) >= self.space.size - 2:
            raise SpaceExhausted("two architectures are left")
        return super().ask(min(n, self.space.size - 2 - len(self._sampler)))


class NeverExhausted(HillClimber):
    """Answers with no codes where it should raise SpaceExhausted."""

    def ask(self, n: int) -> Codes:
        try:
            return super().ask(n)
        except SpaceExhausted:
            return self.space.encode([])


class ReadsReturnedArray(HillClimber):
    """Reads the array that it returned at the ask before."""

    _returned: Codes | None = None

    def ask(self, n: int) -> Codes:
        # As many draws as the caller's array says now: its changes show in the next proposals.
        if self._returned is not None:
            self.rng.random(int(self._returned.sum()))
        self._returned = super().ask(n)
        return self._returned
