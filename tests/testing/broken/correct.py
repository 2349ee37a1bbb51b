"""Optimizers without a fault."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hwnas import pareto
from hwnas.errors import SpaceExhausted
from hwnas.optimizers import MultiFidelityOptimizer, Optimizer, UniqueSampler
from hwnas.spaces import SearchSpace
from hwnas.typing import Codes

N_INITIAL = 8


class HillClimber(Optimizer):
    """Random neighbours of members of the observed front."""

    def __init__(
        self, space: SearchSpace, n_objectives: int, *, seed: int, n_constraints: int = 0
    ) -> None:
        super().__init__(space, n_objectives, seed=seed, n_constraints=n_constraints)
        self.configure()
        self._sampler = UniqueSampler(space, self.rng)

    def configure(self) -> None:
        """Hook before the sampler gets the generator."""

    def parents(self) -> Codes:
        return self.recommend()

    def ask(self, n: int) -> Codes:
        if len(self.history) < N_INITIAL:
            return self._sampler.sample(n)
        parents = self.parents()
        neighbours = [self.space.neighbours(self.rng.choice(parents)) for _ in range(n)]
        codes = self._sampler.take(np.stack([self.rng.choice(codes) for codes in neighbours]))
        return codes if len(codes) else self._sampler.sample(n)

    def update(
        self, codes: Codes, losses: Any, *, std: Any = None, constraints: Any = None
    ) -> None:
        self._sampler.take(codes)


class RandomSearch(HillClimber):
    """Uniform samples; does not claim to beat random search."""

    claims_to_beat_random = False
    handles_constraints = False

    def ask(self, n: int) -> Codes:
        return self._sampler.sample(n)


class DisregardsConstraints(HillClimber):
    """Searches without regard to the constraints, as it declares; recommends feasible ones."""

    handles_constraints = False

    def parents(self) -> Codes:
        return self.history.codes[pareto.non_dominated(self.history.losses)]


class AllFidelities(MultiFidelityOptimizer):
    """Random samples, each measured at every fidelity in turn."""

    claims_to_beat_random = False
    handles_constraints = False

    def __init__(
        self,
        space: SearchSpace,
        n_objectives: int,
        *,
        seed: int,
        fidelities: Sequence[int],
        n_constraints: int = 0,
    ) -> None:
        super().__init__(
            space, n_objectives, seed=seed, fidelities=fidelities, n_constraints=n_constraints
        )
        self._sampler = UniqueSampler(space, self.rng)
        self._ready: list[list[Codes]] = [[] for _ in fidelities]  # to be promoted to each rung
        self._rungs: dict[bytes, int] = {}  # of the outstanding codes

    def level(self, rung: int) -> int:
        return self.fidelities[rung]

    def ask(self, n: int) -> tuple[Codes, int]:  # type: ignore[override]
        # The highest rung first; new samples where nothing is to be promoted.
        for rung in reversed(range(1, len(self.fidelities))):
            if ready := self._ready[rung]:
                codes, self._ready[rung] = np.stack(ready[:n]), ready[n:]
                break
        else:
            rung = 0
            try:
                codes = self._sampler.sample(n)
            except SpaceExhausted:
                if self._rungs:
                    return self.space.encode([]), self.level(0)
                raise
        self._rungs.update((code.tobytes(), rung) for code in codes)
        return codes, self.level(rung)

    def update(
        self, codes: Codes, losses: Any, *, std: Any = None, constraints: Any = None
    ) -> None:
        self._sampler.take(codes)
        for code in codes:
            rung = self._rungs.pop(code.tobytes(), len(self.fidelities)) + 1
            if rung < len(self.fidelities):
                self._ready[rung].append(code.copy())

    def fail(self, codes: Codes, reason: str) -> None:
        for code in codes:
            self._rungs.pop(code.tobytes(), None)
