"""SMS-EMOA on integer codes (pymoo)."""

from __future__ import annotations

from pymoo.algorithms.moo.sms import SMSEMOA as PymooSMSEMOA
from pymoo.core.algorithm import Algorithm

from hwnas.spaces import SearchSpace

from ._pymoo import GenerationalOptimizer


class SMSEMOA(GenerationalOptimizer):
    """Evolution with selection by contribution to the population's hypervolume.

    Parameters
    ----------
    pop_size
        Size of the population and of each generation of offspring (in the original: 1).

    References
    ----------
    Beume, Naujoks and Emmerich, "SMS-EMOA: Multiobjective selection based on dominated
    hypervolume", European Journal of Operational Research 2007.
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
        return PymooSMSEMOA(pop_size=self.pop_size, **self._operators())
