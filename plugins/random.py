"""Random search: every choice independent and uniform, no network twice."""

from __future__ import annotations

from hwnas.optimizers import Array, Optimizer, Unseen
from hwnas.spaces import Codes, SearchSpace


class Random(Optimizer):
    """Random search.

    References
    ----------
    Bergstra and Bengio, "Random search for hyper-parameter optimization", JMLR 2012.
    """

    batch = 1000

    def __init__(
        self, space: SearchSpace, n_objectives: int, *, seed: int, n_constraints: int = 0
    ) -> None:
        super().__init__(space, n_objectives, seed=seed, n_constraints=n_constraints)
        self._unseen = Unseen(space, self.rng)

    def ask(self, n: int) -> Codes:
        """The next `n` networks never proposed or told before."""
        return self._unseen.sample(n)

    def tell(
        self,
        codes: Codes,
        losses: Array,
        *,
        std: Array | None = None,
        constraints: Array | None = None,
    ) -> None:
        """Whoever proposed these networks, they are not proposed again."""
        self._unseen.take(codes)
