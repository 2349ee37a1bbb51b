"""Local search for several objectives: the neighbours of whatever nothing dominates."""

from __future__ import annotations

import numpy as np

from hwnas import pareto
from hwnas.errors import InvalidInput
from hwnas.optimizers import Optimizer, UniqueSampler
from hwnas.spaces import Codes, SearchSpace
from hwnas.typing import Array

from ._nondominated_sort import crowding_distance, total_violation


class LocalSearch(Optimizer):
    """Multi-objective (Pareto) local search.

    Keeps an archive of what nothing dominates and proposes, one at a time, networks that differ
    from a member in a single choice. Members with few others near them go first. Once all
    neighbours of all members are known it starts again, with an empty archive and fresh samples.

    Parameters
    ----------
    initial
        How many random networks a start has.
    sample_size
        The loneliest of so many random members, by crowding distance, is the one whose neighbour
        comes next. 1 takes any member.

    References
    ----------
    Paquete, Chiarandini and Stützle, "Pareto local optimum sets in the biobjective traveling
    salesman problem: an experimental study", Metaheuristics for Multiobjective Optimisation, 2004.
    White, Nolen and Savani, "Exploring the loss landscape in neural architecture search", UAI 2021.
    """

    batch = 10

    def __init__(
        self,
        space: SearchSpace,
        n_objectives: int,
        *,
        seed: int,
        n_constraints: int = 0,
        initial: int = 50,
        sample_size: int = 10,
    ) -> None:
        if initial < 1:
            raise InvalidInput(f"initial: expected at least 1, found {initial}")
        if sample_size < 1:
            raise InvalidInput(f"sample_size: expected at least 1, found {sample_size}")
        super().__init__(space, n_objectives, seed=seed, n_constraints=n_constraints)
        self.initial, self.sample_size = initial, sample_size
        self._sampler = UniqueSampler(space, self.rng)
        self._start()

    def _start(self) -> None:
        self._fresh = self.initial  # random networks still to propose
        self._codes = self.space.encode([])
        self._losses = np.empty((0, self.n_objectives))
        self._violation = np.empty(0)
        # Of a member whose turn has come: its neighbours, in random order, the next one last.
        self._left: dict[bytes, list[Codes]] = {}

    def ask(self, n: int) -> Codes:
        """Up to `n` networks: random ones at a start, then neighbours of the archive's members."""
        if self._fresh == 0:
            codes = self._neighbours(n)
            if len(codes):
                return codes
            self._start()
        codes = self._sampler.sample(min(n, self._fresh))
        self._fresh -= len(codes)
        return codes

    def _neighbours(self, n: int) -> Codes:
        """Up to `n` new neighbours of members, none when all are known."""
        keys = [code.tobytes() for code in self._codes]
        lonely = crowding_distance(self._losses)
        members = [i for i, key in enumerate(keys) if self._left.get(key, True)]
        found: list[Codes] = []
        while len(found) < n and members:
            drawn = self.rng.integers(len(members), size=self.sample_size).tolist()
            at = max(drawn, key=lambda j: float(lonely[members[j]]))
            step = self._step(keys[members[at]])
            if len(step):
                found.append(step)
            else:
                del members[at]
        return np.concatenate([self.space.encode([]), *found])

    def _step(self, key: bytes) -> Codes:
        """A new neighbour (1, d) of a member, (0, d) if there is none."""
        if key not in self._left:
            around = self.space.neighbours(np.frombuffer(key, dtype=np.int8))
            self._left[key] = list(around[self.rng.permutation(len(around)), None])
        left = self._left[key]
        while left:
            fresh = self._sampler.take(left.pop())
            if len(fresh):
                return fresh
        return self.space.encode([])

    def update(
        self,
        codes: Codes,
        losses: Array,
        *,
        std: Array | None = None,
        constraints: Array | None = None,
    ) -> None:
        """Archive what nothing dominates, or breaks the constraints less, whoever proposed it."""
        self._sampler.take(codes)
        violation = np.concatenate([self._violation, total_violation(constraints, len(codes))])
        codes = np.concatenate([self._codes, codes])
        losses = np.concatenate([self._losses, losses])
        least = np.flatnonzero(violation == violation.min(initial=np.inf))
        keep = least[pareto.non_dominated(losses[least])]
        self._codes, self._losses, self._violation = codes[keep], losses[keep], violation[keep]
        members = {code.tobytes() for code in self._codes}
        self._left = {key: left for key, left in self._left.items() if key in members}
