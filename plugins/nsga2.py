"""NSGA-II on integer codes (pymoo)."""

from __future__ import annotations

from pymoo.algorithms.moo.nsga2 import NSGA2 as PymooNSGA2
from pymoo.core.algorithm import Algorithm

from hwnas.spaces import SearchSpace

from ._pymoo import GenerationalOptimizer


class NSGA2(GenerationalOptimizer):
    """Non-dominated sorting genetic algorithm.

    Parameters
    ----------
    pop_size
        Size of the population and of each generation of offspring.

    References
    ----------
    Deb, Pratap, Agarwal and Meyarivan, "A fast and elitist multiobjective genetic algorithm:
    NSGA-II", IEEE Transactions on Evolutionary Computation 2002.
    """

    def __init__(
        self,
        space: SearchSpace,
        n_objectives: int,
        *,
        seed: int,
        n_constraints: int = 0,
        pop_size: int = 16,
    ) -> None:
        super().__init__(
            space, n_objectives, seed=seed, n_constraints=n_constraints, pop_size=pop_size
        )

    def _create_algorithm(self) -> Algorithm:
        return PymooNSGA2(pop_size=self.pop_size, **self._operators())
