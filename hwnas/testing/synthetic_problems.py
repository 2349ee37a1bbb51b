"""Made-up problems for optimizers: cheap, exact, and the same upside down.

Half of what a network's layers choose is how far it is from the front, g, which every loss shares;
the other half, with the width, is where along the front it is, t::

    f1 = t + g,  f2 = (1 - t) + g

What turns every choice of a network around turns the losses around, and a uniform sample as often
has the one as the other. So whoever does not learn from the losses finds as much of -f as of f,
who minimises them finds more of f, and who has a sign wrong more of -f.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np

from hwnas import pareto
from hwnas.spaces import Codes, SearchSpace
from hwnas.typing import Array

FIDELITIES = (1, 3, 9)
STAGES = (15, 25, 50, 100, 200, 400)
RIVALS = 20  # random searches to compare with
SLACK_AT = 0.5  # g at which a network begins to be feasible

# 44,226 networks, 80 and 12: to search in, to know all of, to be through with.
MEDIUM, SMALL, TINY = (
    SearchSpace(
        "check", embed_dim=[8, 16, 32], n_layer=[2, 3, 4], mlp_ratio=[1, 2, 3], n_head=[1, 2, 3]
    ),
    SearchSpace("check-small", embed_dim=[8, 16], n_layer=[1, 2], mlp_ratio=[1, 2], n_head=[1, 2]),
    SearchSpace(
        "check-tiny", embed_dim=[8, 16], n_layer=[1, 2], mlp_ratio=[1, 2], n_head=[1], bias=[True]
    ),
)


@dataclass(frozen=True)
class Problem:
    """Losses and violations of the networks of a space.

    Attributes
    ----------
    space
        Whose networks.
    m, c
        How many losses and violations.
    scale, offset
        Units of the first loss: it is multiplied, then moved.
    flat
        Whether all losses are the same.
    """

    space: SearchSpace = MEDIUM
    m: int = 2
    c: int = 0
    scale: float = 1.0
    offset: float = 0.0
    flat: bool = False

    def losses(self, codes: Codes, fidelity: int = FIDELITIES[-1]) -> Array:
        """Losses (n, m); below the top fidelity they are a little off."""
        t, g = self._parts(codes)
        along = np.linspace(0, 1, self.m)
        out = t[:, None] * (1 - along) + (1 - t)[:, None] * along + g[:, None]
        if self.m > 2:  # so that no loss follows from the others
            out += 0.1 * np.sin(codes @ np.arange(1, codes.shape[1] + 1))[:, None] * (along - 0.5)
        if fidelity < FIDELITIES[-1]:
            error = [_noise(row, self.m) for row in codes]
            out += 0.05 / np.sqrt(fidelity) * np.reshape(error, out.shape)
        if self.flat:
            out[:] = 1.0
        out[:, 0] = out[:, 0] * self.scale + self.offset
        return np.asarray(out)

    def violations(self, codes: Codes) -> Array:
        """Slacks (n, c): the better half of the networks breaks the first, none the others."""
        out = np.full((len(codes), self.c), -1.0)
        out[:, :1] = SLACK_AT - self._parts(codes)[1][:, None]
        return out[:, : self.c]

    def along(self, codes: Codes) -> Array:
        """Where along the front networks lie (n,): at 0 the first loss is least, at 1 the last."""
        return self._parts(codes)[0]

    def plain(self) -> Problem:
        """The same in units of its own and without constraints."""
        return replace(self, scale=1.0, offset=0.0, c=0)

    @cached_property
    def _layers(self) -> np.ndarray:
        return np.array([group.columns for group in self.space.groups], dtype=np.intp)

    def _parts(self, codes: Codes) -> tuple[Array, Array]:
        """Where along the front (n,), and how far from it (n,), both from 0 to 1."""
        most = np.maximum(self.space.cardinalities - 1, 1)
        chosen = np.where(self.space.active(codes), codes / most, 0.5)
        per_layer = chosen[:, self._layers]  # (n, L, 2)
        weights = 1 + 0.1 * np.sin(np.arange(len(self._layers)))
        means = np.average(per_layer, axis=1, weights=weights)
        return 0.4 * chosen[:, 0] + 0.6 * means[:, 1], means[:, 0]


class Field:
    """What random searches find of a problem of two losses.

    Parameters
    ----------
    problem
        In its own units, unconstrained.
    """

    def __init__(self, problem: Problem) -> None:
        rng = np.random.default_rng(0)
        self._runs = [
            problem.losses(problem.space.sample(1000, rng), FIDELITIES[-1]) for _ in range(RIVALS)
        ]
        together = np.concatenate(self._runs)
        self._ends = {1: together.max(axis=0), -1: (-together).max(axis=0)}
        self._known: dict[tuple[int, int], Array] = {}

    def volume(self, losses: Array, sign: int = 1) -> float:
        """Hypervolume of losses, or turned around, below what random search found worst."""
        return pareto.hypervolume(sign * losses, self._ends[sign])

    def volumes(self, n: int, sign: int = 1) -> Array:
        """What each random search has after `n` evaluations, ascending."""
        if (n, sign) not in self._known:
            found = sorted(self.volume(run[:n], sign) for run in self._runs)
            self._known[n, sign] = np.array(found)
        return self._known[n, sign]

    def standing(self, losses: Array, n: int, sign: int = 1) -> float:
        """How many standard deviations above the mean of the random searches."""
        rivals = self.volumes(n, sign)
        return float((self.volume(losses, sign) - rivals.mean()) / max(rivals.std(), 1e-9))


@cache
def field_of(space: SearchSpace) -> Field:
    """The random searches of a space's problem."""
    return Field(Problem(space))


def _noise(row: Codes, m: int) -> Array:
    digest = hashlib.sha256(row.tobytes()).digest()
    seed = int.from_bytes(digest[:8], "little")
    return np.random.default_rng(seed).standard_normal(m)
