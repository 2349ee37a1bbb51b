"""Synthetic problems for optimizers: cheap, exact, and symmetric under a change of sign.

Half of the choices in the layers of an architecture determine its distance g from the front, which
all losses share. The other half, with the width, determine its position t along the front::

    f1 = t + g,  f2 = (1 - t) + g

In a space without two choices a layer, every second column has the part of these halves. Reversing
every choice of an architecture reverses the losses, and a uniform sample contains both
equally often. So an optimizer that does not learn from the losses finds as much of -f as of f, one
that minimizes them finds more of f, and one with a wrong sign more of -f.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hwnas.spaces import GPTSpace, SearchSpace
from hwnas.typing import Array, Codes

FIDELITIES = (1, 3, 9)
_FEASIBLE_SHARE = 0.2  # of a space: few enough to tell a preference from uniform samples
_N_SAMPLES = 5000  # of a space, to find the distance that this share exceeds
_FIDELITY_ERROR = 0.05  # standard deviation of the losses at fidelity 1, of a range of about 2

# 44,226 architectures to search in, 80 to know completely and 12 to exhaust.
MEDIUM, SMALL, TINY = (
    GPTSpace(
        "check", embed_dim=[8, 16, 32], n_layer=[2, 3, 4], mlp_ratio=[1, 2, 3], n_head=[1, 2, 3]
    ),
    GPTSpace("check-small", embed_dim=[8, 16], n_layer=[1, 2], mlp_ratio=[1, 2], n_head=[1, 2]),
    GPTSpace(
        "check-tiny", embed_dim=[8, 16], n_layer=[1, 2], mlp_ratio=[1, 2], n_head=[1], bias=[True]
    ),
)
# Other spaces that an optimizer may meet: with texts, bools, conditions and allowed combinations.
LAYERED, FLAT, PAIR = (
    SearchSpace(
        "check-layered",
        {"depth": [1, 2, 4], "kind": ["a", "b", "c"], "rate": [0.1, 0.2, 0.4], "on": [False, True]},
        layers={"act": ["relu", "prelu", "tanh"], "width": [8, 16, 32], "heads": [1, 2, 3]},
        conditions={"rate": {"kind": ["b", "c"]}},
        allowed=lambda layer: layer["width"] > 8 or layer["heads"] < 3,
    ),
    SearchSpace(
        "check-flat",
        {
            "rate": [i / 20 for i in range(20)],
            "kind": ["a", "b", "c", "d"],
            "on": [False, True],
            "steps": [1, 2, 4, 8],
            "decay": [0.0, 0.1, 0.2, 0.3],
        },
        conditions={"decay": {"kind": ["a", "c"]}},
    ),
    SearchSpace("check-pair", {"width": [1, 2, 3, 4, 5], "kind": ["a", "b", "c", "d"]}),
)


@dataclass(frozen=True)
class SyntheticProblem:
    """Losses and constraint violations of the architectures of a space.

    Attributes
    ----------
    space
        Search space.
    m, c
        Numbers of losses and of constraint violations.
    scale, offset
        Unit of the first loss, which is multiplied by `scale`, then shifted by `offset`.
    constant
        Whether all losses are equal.

    Examples
    --------
    >>> problem = SyntheticProblem(TINY)
    >>> codes = TINY.sample(3, np.random.default_rng(0))
    >>> problem.losses(codes).shape
    (3, 2)
    """

    space: SearchSpace = MEDIUM
    m: int = 2
    c: int = 0
    scale: float = 1.0
    offset: float = 0.0
    constant: bool = False

    def losses(self, codes: Codes, fidelity: int = FIDELITIES[-1]) -> Array:
        """Return losses (n, m), with an error below the top fidelity."""
        t, g = self._position_and_distance(codes)
        # Losses between the first and the last are weighted means of both.
        weights = np.linspace(0, 1, self.m)
        out = t[:, None] * (1 - weights) + (1 - t)[:, None] * weights + g[:, None]
        if self.m > 2:  # a term that keeps a loss from being a function of the others
            term = 0.1 * np.sin(codes @ np.arange(1, codes.shape[1] + 1))
            out += term[:, None] * (weights - 0.5)
        # The error decreases with the fidelity, as of a mean of that many measurements.
        if fidelity < FIDELITIES[-1]:
            errors = [_standard_normal(row, self.m) for row in codes]
            out += _FIDELITY_ERROR / np.sqrt(fidelity) * np.reshape(errors, out.shape)
        if self.constant:
            out[:] = 1.0
        out[:, 0] = out[:, 0] * self.scale + self.offset
        return np.asarray(out)

    def violations(self, codes: Codes) -> Array:
        """Return constraint violations g(x) (n, c).

        All architectures but those farthest from the front violate the first constraint, none
        another one.
        """
        out = np.full((len(codes), self.c), -1.0)
        out[:, :1] = self._min_distance - self._position_and_distance(codes)[1][:, None]
        return out[:, : self.c]

    @cached_property
    def feasible_share(self) -> float:
        """Share of the space that violates no constraint, about a fifth; estimated by samples."""
        return float((self._sampled_distances >= self._min_distance).mean()) if self.c else 1.0

    def front_positions(self, codes: Codes) -> Array:
        """Return positions t along the front (n,): the first loss is least at 0, the last at 1."""
        return self._position_and_distance(codes)[0]

    def unscaled(self) -> SyntheticProblem:
        """Return the problem in its own units and without constraints."""
        return replace(self, scale=1.0, offset=0.0, c=0)

    @cached_property
    def _sampled_distances(self) -> Array:
        codes = self.space.sample(_N_SAMPLES, np.random.default_rng(0))
        return self._position_and_distance(codes)[1]

    @cached_property
    def _min_distance(self) -> float:
        """Least distance g of a feasible architecture."""
        # A distance that occurs, so that some architectures are feasible in every space.
        share = 1 - _FEASIBLE_SHARE
        return float(np.quantile(self._sampled_distances, share, method="lower"))

    def _position_and_distance(self, codes: Codes) -> tuple[Array, Array]:
        """Return positions t along the front (n,) and distances g from it (n,), both in [0, 1]."""
        # Choices in [0, 1]; those of absent layers are neutral.
        scales = np.maximum(self.space.cardinalities - 1, 1)
        choices = np.where(self.space.active(codes), codes / scales, 0.5)
        layers = self.space.layer_columns
        if layers.shape[1] < 2:  # the first column of each pair counts for g, the second for t
            n, d = choices.shape
            choices = np.concatenate([choices, np.full((n, 2 - d % 2), 0.5)], axis=1)
            layers = np.arange(d + d % 2).reshape(-1, 2)
        per_layer = choices[:, layers]  # (n, L, choices)
        # Unequal weights of the layers make ties rare.
        weights = 1 + 0.1 * np.sin(np.arange(len(layers)))
        means = np.average(per_layer, axis=1, weights=weights)
        # The width counts like a part of the second choice of the layers.
        return 0.4 * choices[:, 0] + 0.6 * means[:, 1], means[:, 0]


def _standard_normal(row: Codes, m: int) -> Array:
    """Return `m` normal draws that depend on a code alone."""
    # Not from a generator that is shared: the errors must not depend on the order of calls.
    digest = hashlib.sha256(row.tobytes()).digest()
    seed = int.from_bytes(digest[:8], "little")
    return np.random.default_rng(seed).standard_normal(m)
