"""Local search for several objectives: neighbours of the non-dominated architectures."""

from __future__ import annotations

import numpy as np

from hwnas import pareto
from hwnas.errors import InvalidInput
from hwnas.optimizers import Optimizer, UniqueSampler
from hwnas.spaces import SearchSpace
from hwnas.typing import Array, Codes

from ._nondominated_sort import crowding_distance, total_violation


class LocalSearch(Optimizer):
    """Multi-objective (Pareto) local search.

    An archive holds the non-dominated architectures, and proposals differ from a member of it in
    one choice. Members in sparse regions of the front are preferred. Once all neighbours of all
    members are known, the search restarts with an empty archive and random architectures.

    Parameters
    ----------
    initial
        Number of random architectures of each start.
    sample_size
        Number of random members of which the one with the largest crowding distance is selected; 1
        selects members uniformly.

    References
    ----------
    Paquete, Chiarandini and Stützle, "Pareto local optimum sets in the biobjective traveling
    salesman problem: an experimental study", Metaheuristics for Multiobjective Optimisation, 2004.
    White, Nolen and Savani, "Exploring the loss landscape in neural architecture search", UAI 2021.
    """

    batch = 10
    asynchronous = True

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
        self.initial = self.n_initial = initial
        self.sample_size = sample_size
        self._sampler = UniqueSampler(space, self.rng)
        self._pending: set[bytes] = set()  # proposals without a result
        self._restart()

    def _restart(self) -> None:
        """Empty the archive and begin with random architectures."""
        self._n_random = self.initial  # random architectures still to propose
        self._codes = self.space.encode([])
        self._losses = np.empty((0, self.n_objectives))
        self._violation = np.empty(0)
        # Neighbours of each member not yet proposed, in random order; the next one is the last.
        self._unexplored: dict[bytes, list[Codes]] = {}

    def ask(self, n: int) -> Codes:
        """Return up to `n` architectures: random ones at a start, then neighbours of members."""
        if self._n_random == 0:
            codes = self._propose_neighbours(n)
            # A pending result may bring new members, and with them new neighbours.
            if len(codes) or self._pending:
                return self._start(codes)
            self._restart()
        codes = self._sampler.sample(min(n, self._n_random))
        self._n_random -= len(codes)
        return self._start(codes)

    def _start(self, codes: Codes) -> Codes:
        """Return proposals (k, d), which are pending from now on."""
        self._pending.update(code.tobytes() for code in codes)
        return codes

    def start_with(self, codes: Codes) -> None:
        """Leave out the random architectures of the first start."""
        self._n_random = self.n_initial = 0

    def fail(self, codes: Codes, reason: str) -> None:
        """Forget failed architectures."""
        self._pending.difference_update(code.tobytes() for code in codes)

    def _propose_neighbours(self, n: int) -> Codes:
        """Return up to `n` new neighbours of members, none if all of them are known."""
        keys = [code.tobytes() for code in self._codes]
        crowding = crowding_distance(self._losses)
        members = [i for i, key in enumerate(keys) if self._unexplored.get(key, True)]
        proposals: list[Codes] = []
        while len(proposals) < n and members:
            # Tournament for the least crowded member.
            competitors = self.rng.integers(len(members), size=self.sample_size).tolist()
            winner = max(competitors, key=lambda j: float(crowding[members[j]]))
            neighbour = self._next_neighbour(keys[members[winner]])
            if len(neighbour):
                proposals.append(neighbour)
            else:
                del members[winner]
        return np.concatenate([self.space.encode([]), *proposals])

    def _next_neighbour(self, key: bytes) -> Codes:
        """Return a new neighbour (1, d) of a member, (0, d) if all of them are known."""
        if key not in self._unexplored:
            neighbours = self.space.neighbours(np.frombuffer(key, dtype=np.int8))
            order = self.rng.permutation(len(neighbours))
            self._unexplored[key] = list(neighbours[order, None])
        unexplored = self._unexplored[key]
        while unexplored:
            code = self._sampler.take(unexplored.pop())
            if len(code):
                return code
        return self.space.encode([])

    def update(
        self,
        codes: Codes,
        losses: Array,
        *,
        std: Array | None = None,
        constraints: Array | None = None,
    ) -> None:
        """Update the archive: the non-dominated of the architectures of least violation."""
        self._sampler.take(codes)
        self._pending.difference_update(code.tobytes() for code in codes)
        violation = np.concatenate([self._violation, total_violation(constraints, len(codes))])
        codes = np.concatenate([self._codes, codes])
        losses = np.concatenate([self._losses, losses])
        # With a feasible architecture the least violation is 0.
        indices = np.flatnonzero(violation == violation.min(initial=np.inf))
        indices = indices[pareto.non_dominated(losses[indices])]
        self._codes, self._losses = codes[indices], losses[indices]
        self._violation = violation[indices]
        # Members that left the archive lose their list of neighbours.
        members = {code.tobytes() for code in self._codes}
        self._unexplored = {key: v for key, v in self._unexplored.items() if key in members}
