"""Scores corrected by evaluated members: what the sum over layers says, and where it is off.

The loss that a member really adds is modeled as ``a * Z**p``: parts that are left out together cost
more than each alone, and the link takes up what they have in common. ``Z``, a sum over layers, is
the sum of the scores and of a correction, the additive model of `hwnas.additive` of what the link
leaves unexplained. The front of ``Z`` is that of the loss, since the link is increasing, and it is
exact by the dynamic program of `hwnas.surrogates.pareto_front`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwnas.additive.effects import Effects
from hwnas.additive.model import Design, fit_model
from hwnas.shrinking.block_times import table_of_layers
from hwnas.spaces import ShrunkLlamaSpace
from hwnas.surrogates.layer_layout import LayerLayout
from hwnas.surrogates.tables import AdditiveTable
from hwnas.typing import Array, Codes

_SMALLEST = 1e-4  # nats; smaller losses that are added are noise
_POWERS = (0.5, 2.5)  # range of p
MIN_CORRECTED = 8  # members from which scores are corrected


@dataclass(frozen=True, eq=False)
class CorrectedScores:
    """Prediction of the loss that members add.

    Attributes
    ----------
    table
        The sum Z over layers.
    factor, power
        The link, a and p.
    tables
        Draws of Z from the posterior of the correction.
    """

    table: AdditiveTable
    factor: float = 1.0
    power: float = 1.0
    draws: tuple[AdditiveTable, ...] = ()

    def predict(self, space: ShrunkLlamaSpace, codes: Codes) -> Array:
        """Return the losses (n,) that members add, in nats per token."""
        sums = self.table.predict(LayerLayout(space).pack(codes))
        return np.asarray(self.factor * np.maximum(sums, 0) ** self.power)


def correct_scores(
    space: ShrunkLlamaSpace,
    scores: AdditiveTable,
    codes: Codes,
    added: Array,
    *,
    n_draws: int = 0,
    rng: np.random.Generator | None = None,
) -> CorrectedScores:
    """Return scores that agree with evaluated members.

    Parameters
    ----------
    scores
        Table of the losses that alternatives add alone, see `hwnas.shrinking.block_scores`.
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
    Pairs of alternatives cost twice what they cost alone; the order stays.

    >>> space = ShrunkLlamaSpace("mine", embed_dim=64, n_layer=3, mlp_dim=[0, 64, 128],
    ...                          n_head=[0, 2, 4])
    >>> layers = np.linspace(0.3, 0, 9).reshape(3, 3) * np.array([1, 2, 3])[:, None, None]
    >>> scores = table_of_layers(space, 0.0, layers)
    >>> codes = space.sample(30, np.random.default_rng(0))
    >>> truth = scores.predict(LayerLayout(space).pack(codes)) ** 1.5
    >>> corrected = correct_scores(space, scores, codes, truth)
    >>> predicted = corrected.predict(space, codes)
    >>> round(corrected.power, 2), bool(np.allclose(predicted, truth, rtol=0.02))
    (1.5, True)
    """
    sums = scores.predict(LayerLayout(space).pack(codes))
    factor, power = _link(sums, added)
    if len(np.unique(codes, axis=0)) < MIN_CORRECTED:
        return CorrectedScores(scores, factor, power)
    wanted = (np.maximum(added, _SMALLEST) / factor) ** (1 / power)  # sums that fit the link
    effects = Effects(space)
    # A small added loss is known to its own size, a large one to a share of it.
    std = 0.02 * np.maximum(wanted, np.median(wanted))
    model = fit_model(effects, Design(effects, codes), wanted - sums, std, scales=(False,))
    weights = model.weights[None]
    if n_draws and rng is not None:
        weights = np.concatenate([weights, model.sample_weights(n_draws, rng)])
    base, layers = effects.tables(weights)  # (s, 1), (s, 1, L, O)
    tables = [
        scores + _as_table(space, effects, spread_base, spread_layers)
        for spread_base, spread_layers in zip(
            base[:, 0] * model.scale.spread + model.scale.center,
            layers[:, 0] * model.scale.spread,
            strict=True,
        )
    ]
    return CorrectedScores(tables[0], factor, power, tuple(tables[1:]))


def _link(sums: Array, added: Array) -> tuple[float, float]:
    """Return factor and power of the link, fitted to logarithms by least squares."""
    is_seen = (sums > _SMALLEST) & (added > _SMALLEST)
    if is_seen.sum() < 3 or np.ptp(np.log(sums[is_seen])) < 0.1:
        return 1.0, 1.0
    x, y = np.log(sums[is_seen]), np.log(added[is_seen])
    power = float(np.clip(np.polyfit(x, y, 1)[0], *_POWERS))
    return float(np.exp((y - power * x).mean())), power


def _as_table(
    space: ShrunkLlamaSpace, effects: Effects, base: float, layers: Array
) -> AdditiveTable:
    """Return effects of a space's layers (L, O) as a table."""
    table = np.zeros((len(layers), len(space.mlp_dim), len(space.n_head)))
    options = effects.options.astype(np.intp)  # (O, 2)
    table[:, options[:, 0], options[:, 1]] = layers
    return table_of_layers(space, base, table)
