"""NSGA-II on integer codes (pymoo)."""

from __future__ import annotations

from pymoo.algorithms.moo.nsga2 import NSGA2 as PymooNSGA2
from pymoo.core.algorithm import Algorithm
from pymoo.operators.crossover.ux import UniformCrossover
from pymoo.operators.mutation.pm import PolynomialMutation

from hwnas.errors import InvalidInput
from hwnas.spaces import SearchSpace

from ._pymoo import Canonical, Fresh, Generational


class NSGA2(Generational):
    """Non-dominated sorting genetic algorithm.

    Parameters
    ----------
    pop_size
        Population, and offspring a generation.

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
        pop_size: int = 100,
    ) -> None:
        if pop_size < 2:
            raise InvalidInput(f"pop_size: expected at least 2, found {pop_size}")
        self.pop_size = self.batch = pop_size
        super().__init__(space, n_objectives, seed=seed, n_constraints=n_constraints)

    def _made(self) -> Algorithm:
        return PymooNSGA2(
            pop_size=self.pop_size,
            crossover=UniformCrossover(),
            mutation=PolynomialMutation(eta=3.0, vtype=float),
            repair=Canonical(self.space),
            eliminate_duplicates=Fresh(self._unseen),
        )
