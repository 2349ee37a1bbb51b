"""Shared starts: every optimizer of a run begins each seed with the same architectures."""

from __future__ import annotations

import numpy as np

from hwnas.experiment import Experiment
from hwnas.optimizers import MultiFidelityOptimizer, Optimizer, UniqueSampler
from hwnas.related_trials import RelatedTrials
from hwnas.spaces import SearchSpace
from hwnas.typing import Array, Codes

_STREAM = 0x5A4ED  # of the design, so that it has no random numbers in common with an optimizer


def shared_design(space: SearchSpace, n: int, seed: int) -> Codes:
    """Return the random architectures that all searches of a seed begin with.

    Parameters
    ----------
    space
        Search space.
    n
        Number of architectures.
    seed
        Seed of the searches.

    Returns
    -------
    (k, d) int8, distinct
        Fewer than `n` only if the space has no more.

    Examples
    --------
    >>> space = SearchSpace("pairs", {"a": [0, 1], "b": [0, 1, 2]})
    >>> shared_design(space, 3, seed=0).shape, shared_design(space, 50, seed=0).shape
    ((3, 2), (6, 2))
    """
    return UniqueSampler(space, np.random.default_rng([_STREAM, seed])).sample(n)


def with_shared_start(optimizer: Optimizer, experiment: Experiment, seed: int) -> Optimizer:
    """Return an optimizer that begins with the shared design of its experiment, if it has one.

    Parameters
    ----------
    optimizer
        Optimizer in its initial state.
    experiment
        Experiment, see `hwnas.experiment.Experiment.initial`.
    seed
        Seed of the search.
    """
    if experiment.initial is None:
        return optimizer
    codes = shared_design(optimizer.space, experiment.initial["shared"], seed)
    has_fidelities = isinstance(optimizer, MultiFidelityOptimizer)
    base = _MultiFidelityStart if has_fidelities else SharedStart
    # Errors and warnings about an optimizer name its class.
    cls: type[SharedStart] = type(type(optimizer).__name__, (base,), {})
    return cls(optimizer, codes)


class SharedStart(Optimizer):
    """Optimizer whose first proposals are given; the results of all are told before others.

    Parameters
    ----------
    optimizer
        Optimizer in its initial state, which proposes what comes after.
    codes : (k, d) int8
        First proposals.
    """

    def __init__(self, optimizer: Optimizer, codes: Codes) -> None:
        Optimizer.__init__(
            self,
            optimizer.space,
            optimizer.n_objectives,
            seed=0,
            n_constraints=optimizer.n_constraints,
        )
        self.optimizer = optimizer
        optimizer.start_with(codes)
        self.batch, self.asynchronous = optimizer.batch, optimizer.asynchronous
        self.generation = optimizer.generation
        self.handles_constraints = optimizer.handles_constraints
        self.n_initial = max(len(codes), optimizer.n_initial)
        self._unasked = codes
        self._outstanding: set[bytes] = set()

    def ask(self, n: int) -> Codes:
        """Return the given architectures, nothing until all have results, then proposals."""
        return self.optimizer.ask(n) if self._is_over else self._next_given(n)

    @property
    def _is_over(self) -> bool:
        """Whether all given architectures have results."""
        return not (len(self._unasked) or self._outstanding)

    def _next_given(self, n: int) -> Codes:
        """Return the next given architectures; none while the last ones have no results."""
        codes, self._unasked = self._unasked[:n], self._unasked[n:]
        self._outstanding.update(code.tobytes() for code in codes)
        return codes

    def update(
        self,
        codes: Codes,
        losses: Array,
        *,
        std: Array | None = None,
        constraints: Array | None = None,
    ) -> None:
        """Pass the results on."""
        self._close(codes)
        self.optimizer.tell(codes, losses, std=std, constraints=constraints)

    def fail(self, codes: Codes, reason: str) -> None:
        """Pass failures on."""
        self._close(codes)
        self.optimizer.fail(codes, reason)

    def tell_infeasible(self, codes: Codes, constraints: Array) -> None:
        """Pass violations on."""
        self._close(codes)
        self.optimizer.tell_infeasible(codes, constraints)

    def tell_related(self, related: RelatedTrials) -> None:
        """Pass trials of another problem on."""
        self.optimizer.tell_related(related)

    def recommend(self, n: int | None = None) -> Codes:
        """Return the recommendation of the optimizer."""
        return self.optimizer.recommend(n)

    def diagnostics(self) -> list[str]:
        """Return the diagnostics of the optimizer."""
        return self.optimizer.diagnostics()

    def _close(self, codes: Codes) -> None:
        """Note that architectures (k, d) have results."""
        if self._outstanding:
            self._outstanding.difference_update(code.tobytes() for code in codes)


class _MultiFidelityStart(SharedStart, MultiFidelityOptimizer):
    """Shared start at the lowest fidelity, from which the optimizer can promote."""

    optimizer: MultiFidelityOptimizer

    def __init__(self, optimizer: MultiFidelityOptimizer, codes: Codes) -> None:
        super().__init__(optimizer, codes)
        self.fidelities = optimizer.fidelities

    def ask(self, n: int) -> tuple[Codes, int]:  # type: ignore[override]
        """Return the given architectures at the lowest fidelity, then proposals."""
        if self._is_over:
            return self.optimizer.ask(n)
        return self._next_given(n), self.fidelities[0]
