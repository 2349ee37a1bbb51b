"""Choice of an optimizer by the problem."""

from __future__ import annotations

import numpy as np

from hwnas.additive.choice import create_effects
from hwnas.additive.effects import Effects
from hwnas.errors import SpaceExhausted
from hwnas.optimizers import Optimizer
from hwnas.related_trials import RelatedTrials
from hwnas.spaces import SearchSpace
from hwnas.typing import Array, Codes

from .additive import Additive
from .local_search import LocalSearch

MAX_PROCESS = 300  # evaluations beyond which a Gaussian process is too slow for its gain
MAX_MODEL = 3000  # evaluations beyond which any model is
_MAX_REPEATED = 20  # asks in a row that bring only what another optimizer has proposed


class Auto(Optimizer):
    """Choice of an optimizer by the space, the objectives and the evaluations so far.

    It depends on nothing else, so that a search that is given more goes on as one that had it from
    the start. Rules, and what they were derived from: ``docs/optimizers.md``.

    - Objectives over layers, with or without noise and constraints: `additive`.
    - Other spaces, up to 300 evaluations: with two objectives `additive` and `ehvi` take turns, and
      each learns from the results of both, if BoTorch is installed; otherwise `additive`.
    - Other spaces, from then on: `additive` and `local_search` take turns, because a model can be
      wrong where effects do not add up.
    - After 3,000 evaluations, or with one objective or more than five: `local_search`.

    References
    ----------
    Algorithm selection with results shared between the methods: Kotthoff, "Algorithm selection for
    combinatorial search problems: a survey", AI Magazine 2014.
    """

    batch = 4
    asynchronous = True

    def __init__(
        self, space: SearchSpace, n_objectives: int, *, seed: int, n_constraints: int = 0
    ) -> None:
        super().__init__(space, n_objectives, seed=seed, n_constraints=n_constraints)
        self._seed = seed
        self._open: set[bytes] = set()  # proposals without a result
        self._n_asks = 0
        self._adds_up = isinstance(create_effects(space), Effects)
        self._members, self._reasons = self._choose()
        self.n_initial = self._members[0].n_initial

    def ask(self, n: int) -> Codes:
        """Return proposals of the optimizer whose turn it is, without those that are open."""
        self._switch()
        for _ in range(_MAX_REPEATED):
            member = self._members[self._n_asks % len(self._members)]
            if len(self.history) < self.n_initial:  # the initial design comes from one of them
                member = self._members[0]
            self._n_asks += 1
            codes = member.ask(n)
            codes = codes[[code.tobytes() not in self._open for code in codes]]
            if len(codes):
                self._open.update(code.tobytes() for code in codes)
                return codes
        if self._open:
            return self.space.encode([])
        raise SpaceExhausted(f"nothing new to propose in {self.space.name}")

    def update(
        self,
        codes: Codes,
        losses: Array,
        *,
        std: Array | None = None,
        constraints: Array | None = None,
    ) -> None:
        """Pass the results on to all optimizers."""
        self._close(codes)
        for member in self._members:
            member.tell(codes, losses, std=std, constraints=constraints)

    def start_with(self, codes: Codes) -> None:
        """Pass it on to all optimizers."""
        for member in self._members:
            member.start_with(codes)
        self.n_initial = self._members[0].n_initial

    def fail(self, codes: Codes, reason: str) -> None:
        """Pass failures on to all optimizers."""
        self._close(codes)
        for member in self._members:
            member.fail(codes, reason)

    def tell_infeasible(self, codes: Codes, constraints: Array) -> None:
        """Pass violations on to all optimizers."""
        self._close(codes)
        for member in self._members:
            member.tell_infeasible(codes, constraints)

    def tell_related(self, related: RelatedTrials) -> None:
        """Pass trials of another problem on to the first optimizer, the only one that can learn."""
        self._members[0].tell_related(related)
        self.n_initial = self._members[0].n_initial

    def recommend(self, n: int | None = None) -> Codes:
        """Return the recommendation of the first optimizer."""
        return self._members[0].recommend(n)

    def diagnostics(self) -> list[str]:
        """Return each choice with its reason, and what the first optimizer says."""
        return [*self._reasons, *self._members[0].diagnostics()]

    def _close(self, codes: Codes) -> None:
        """Remove architectures (k, d) from the open proposals."""
        self._open.difference_update(code.tobytes() for code in codes)

    def _choose(self) -> tuple[list[Optimizer], list[str]]:
        """Return the optimizers to start with, and the reason for them."""
        m = self.n_objectives
        if not 2 <= m <= 5:
            return [self._local_search()], [f"auto chose local_search: {m} objectives"]
        members: list[Optimizer] = [
            Additive(self.space, m, seed=self._seed, n_constraints=self.n_constraints)
        ]
        if self._adds_up:
            return members, ["auto chose additive: the space has layers, whose effects add up"]
        if m > 2:
            return members, [f"auto chose additive: {m} objectives, with which ehvi is slow"]
        try:  # an extra, which takes seconds to load
            from .ehvi import EHVI
        except ImportError:
            reason = "the space has no layers, and BoTorch, for turns with ehvi, is not installed"
            return members, [f"auto chose additive: {reason}"]
        members.append(
            EHVI(self.space, m, seed=self._seed, n_constraints=self.n_constraints, initial=1)
        )
        reason = "the space has no layers, so effects may not add up"
        return members, [f"auto chose additive and ehvi in turns: {reason}"]

    def _switch(self) -> None:
        """Leave an optimizer once its proposals take longer than they are worth."""
        n, first = len(self.history), self._members[0]
        if not isinstance(first, Additive):
            return
        local = next((m for m in self._members if isinstance(m, LocalSearch)), None)
        if n >= MAX_MODEL:
            self._members = [local or self._told_local_search()]
            self._reasons.append(f"auto chose local_search: {MAX_MODEL:,} evaluations")
        # Where effects do not add up, a model can be wrong about all that is left.
        elif n >= MAX_PROCESS and local is None and not self._adds_up:
            self._members = [first, self._told_local_search()]
            reason = f"{MAX_PROCESS} evaluations"
            self._reasons.append(f"auto chose additive and local_search in turns: {reason}")

    def _local_search(self) -> LocalSearch:
        """Return a local search, which is told what there is instead of starting at random."""
        return LocalSearch(
            self.space,
            self.n_objectives,
            seed=self._seed,
            n_constraints=self.n_constraints,
            initial=1 if len(self.history) else 50,
        )

    def _told_local_search(self) -> LocalSearch:
        """Return a local search that knows all results, and that open proposals have none yet."""
        member, h = self._local_search(), self.history
        if self._open:
            rows = [np.frombuffer(key, dtype=np.int8) for key in sorted(self._open)]
            member.fail(np.stack(rows), "proposed before")
        member.tell(
            h.codes, h.losses, std=h.std, constraints=h.constraints if self.n_constraints else None
        )
        member.start_with(h.codes)
        return member
