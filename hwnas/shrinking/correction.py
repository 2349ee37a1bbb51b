"""Scores corrected by evaluated members: what the sum over layers says, and where it is off.

The loss that a member really adds is modeled as ``a * Z ** p``. The link takes up what all layers
have in common: parts that are left out together cost more than each alone. ``Z`` is a sum over
layers again: the scores of each layer, taken apart into those of its MLP alone, of its attention
alone and of both together, each times a factor. Factors are 1 before anything is evaluated, with a
normal prior, and the posterior is that of Bayesian linear regression (Bishop 2006, Pattern
Recognition and Machine Learning, section 3.3) with relative errors; its two scales have the largest
evidence.

Since the link is increasing, the front of the loss is that of ``Z``, and it is exact by the dynamic
program of `hwnas.surrogates.pareto_front`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from hwnas.shrinking.block_times import table_of_layers
from hwnas.spaces import ShrunkLlamaSpace
from hwnas.surrogates.layer_layout import LayerLayout
from hwnas.surrogates.tables import AdditiveTable
from hwnas.typing import Array, Codes

_SMALLEST = 1e-3  # nats; smaller losses that are added tell nothing of the link
_POWERS = (0.5, 2.5)  # range of p
_FACTOR_SCALES = (0.05, 0.1, 0.2, 0.4)  # standard deviations of factors to choose from
_ERROR_SCALES = (0.03, 0.06, 0.12, 0.24)  # and of relative errors
_FLOOR = 0.02  # error of small sums, as a share of the median sum
MIN_CORRECTED = 5  # members from which scores are corrected


@dataclass(frozen=True, eq=False)
class CorrectedScores:
    """Prediction of the loss that members add.

    Attributes
    ----------
    table
        The sum Z over layers.
    factor, power
        The link, a and p.
    draws
        Draws of Z from the posterior of the factors.
    """

    table: AdditiveTable
    factor: float = 1.0
    power: float = 1.0
    draws: tuple[AdditiveTable, ...] = ()

    def predict(self, space: ShrunkLlamaSpace, codes: Codes) -> Array:
        """Return the losses (n,) that members add, in nats per token."""
        return self.link(self.table.predict(LayerLayout(space).pack(codes)))

    def link(self, sums: Array) -> Array:
        """Return the losses that sums over layers stand for."""
        return np.asarray(self.factor * np.maximum(sums, 0) ** self.power)


def correct_scores(
    space: ShrunkLlamaSpace,
    scores: Array,
    codes: Codes,
    added: Array,
    *,
    n_draws: int = 0,
    rng: np.random.Generator | None = None,
) -> CorrectedScores:
    """Return scores that agree with evaluated members.

    Parameters
    ----------
    scores : (L, R, H)
        Losses that alternatives add alone, see `hwnas.shrinking.block_scores`.
    codes : (n, d)
        Evaluated members.
    added : (n,)
        Losses that they really add to that of the whole model, in nats per token.
    n_draws
        Number of draws of the corrected sum.
    rng
        Generator of the draws.

    Examples
    --------
    The second layer costs twice what it costs alone.

    >>> space = ShrunkLlamaSpace("mine", embed_dim=64, n_layer=2, mlp_dim=[0, 64, 128],
    ...                          n_head=[0, 2, 4])
    >>> scores = np.linspace(0.3, 0, 9).reshape(3, 3) * np.ones((2, 1, 1))
    >>> codes = space.sample(30, np.random.default_rng(0))
    >>> truth = table_of_layers(space, 0.0, scores * np.array([1, 2])[:, None, None])
    >>> added = truth.predict(LayerLayout(space).pack(codes))
    >>> corrected = correct_scores(space, scores, codes, added)
    >>> bool(np.abs(corrected.predict(space, codes) / added - 1).max() < 0.15)
    True
    """
    parts = parts_of_scores(scores)  # (3, L, R, H)
    sums = _part_sums(space, parts, codes)  # (n, 3 L)
    total = sums.sum(axis=1)
    factor, power = _link(total, added)
    if len(added) < MIN_CORRECTED:
        return CorrectedScores(table_of_layers(space, 0.0, scores), factor, power)
    wanted = (np.maximum(added, 0) / factor) ** (1 / power)  # sums that fit the link
    mean, covariance = _posterior(sums, wanted - total)
    changes = mean[None]
    if n_draws and rng is not None:
        samples = rng.multivariate_normal(mean, covariance, size=n_draws, method="eigh")
        changes = np.concatenate([changes, samples])
    tables = [
        table_of_layers(space, 0.0, (parts * (1 + change.reshape(3, -1, 1, 1))).sum(axis=0))
        for change in changes
    ]
    return CorrectedScores(tables[0], factor, power, tuple(tables[1:]))


def parts_of_scores(scores: Array) -> Array:
    """Return the scores of MLPs alone, of attention alone, and the rest, (3, L, R, H).

    >>> parts_of_scores(np.array([[[5.0, 3.0], [1.0, 0.0]]]))[:, 0, 0, 0].tolist()
    [3.0, 1.0, 1.0]
    """
    mlp = np.broadcast_to(scores[:, :, -1:], scores.shape)
    attention = np.broadcast_to(scores[:, -1:, :], scores.shape)
    return np.stack([mlp, attention, scores - mlp - attention])


def _part_sums(space: ShrunkLlamaSpace, parts: Array, codes: Codes) -> Array:
    """Return the parts of the scores of each layer of members, (n, 3 L)."""
    layers = space.of_layers(np.ascontiguousarray(codes)).astype(np.intp)  # (n, L, 2)
    rows = np.arange(layers.shape[1])
    return np.concatenate([part[rows, layers[:, :, 0], layers[:, :, 1]] for part in parts], axis=1)


def _link(sums: Array, added: Array) -> tuple[float, float]:
    """Return factor and power of the link, fitted to logarithms by least squares."""
    is_seen = (sums > _SMALLEST) & (added > _SMALLEST)
    if is_seen.sum() < 3 or np.ptp(np.log(sums[is_seen])) < 0.1:
        return 1.0, 1.0
    x, y = np.log(sums[is_seen]), np.log(added[is_seen])
    power = float(np.clip(np.polyfit(x, y, 1)[0], *_POWERS))
    return float(np.exp((y - power * x).mean())), power


def _posterior(rows: Array, residual: Array) -> tuple[Array, Array]:
    """Return mean and covariance of the changes of factors, with the scales of largest evidence.

    Parameters
    ----------
    rows : (n, k)
        Parts of the scores.
    residual : (n,)
        What is left of the wanted sums.
    """
    total = np.abs(rows.sum(axis=1))
    size = np.hypot(total, _FLOOR * np.median(total) + 1e-12)
    best, chosen = -np.inf, (0.1, 0.1)
    for prior, error in itertools.product(_FACTOR_SCALES, _ERROR_SCALES):
        covariance = prior**2 * rows @ rows.T + np.diag((error * size) ** 2)
        root = np.linalg.cholesky(covariance)
        white = np.linalg.solve(root, residual)
        evidence = -0.5 * white @ white - np.log(np.diag(root)).sum()
        if evidence > best:
            best, chosen = evidence, (prior, error)
    prior, error = chosen
    weighted = rows / ((error * size) ** 2)[:, None]
    precision = np.eye(rows.shape[1]) / prior**2 + rows.T @ weighted
    covariance = np.linalg.inv(precision)
    return covariance @ (weighted.T @ residual), covariance
