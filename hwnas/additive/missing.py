"""Hypervolume that is missing from a measured front, by draws of whole objectives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hwnas import pareto
from hwnas.additive.choice import AnyEffects
from hwnas.additive.column_effects import ColumnEffects
from hwnas.additive.function_draws import FunctionDraws
from hwnas.additive.model import AdditiveModel, Design
from hwnas.additive.scalarized_front import scalarized_front, weight_vectors
from hwnas.additive.supported_points import nearly_supported
from hwnas.spaces import SearchSpace
from hwnas.typing import Array, BoolArray, Codes, IndexArray

_N_WEIGHTS = 400  # weighted sums of three and more tables, or with constraints
_PENALTIES = (0.0, 0.3, 1.0, 3.0)  # of violations, in units of the objectives' ranges
_MAX_CANDIDATES = 1500  # architectures of a draw that are evaluated with its kernels
_SMALL_SPACE = 2000  # architectures that are all candidates
_ROUNDS, _N_CHILDREN = 4, 250  # of mutation, where objectives are no sums over layers


@dataclass(frozen=True)
class Measured:
    """Architectures that a search has measured completely.

    Attributes
    ----------
    codes : (n, d) int8, distinct
    losses : (n, m)
        Means of their measurements.
    violations : (n, c)
        At most 0 where feasible.
    noisy
        Whether the losses have errors.
    others : (k, d) int8, optional
        Architectures that were tried without success, or are no candidates for other reasons.
    """

    codes: Codes
    losses: Array
    violations: Array
    noisy: bool = False
    others: Codes | None = None

    @property
    def feasible(self) -> BoolArray:
        """Mask (n,) of those that keep all constraints."""
        return np.asarray((self.violations <= 0).all(axis=1))


def missing_draws(
    models: Sequence[AdditiveModel],
    measured: Measured,
    n: int,
    rng: np.random.Generator,
    reference: Callable[[Array], Array],
) -> Array:
    """Return draws of the hypervolume that the measured architectures lack.

    Each draw of all objectives and constraints has a front of its own, of members that are measured
    and others that are not. What is missing is one minus the hypervolume of the measured front
    relative to that of the whole. Under noise the measured front is that of the posterior means,
    and its members have their drawn values.

    Parameters
    ----------
    models
        Models of the m objectives, then of the c violations; those of the objectives were fitted to
        `measured`.
    measured
        The architectures.
    n
        Number of draws.
    rng
        Source of randomness.
    reference
        Returns the reference point (m,) of a front (k, m).

    Returns
    -------
    (n,)
        From 0, nothing is missing, to 1: no architecture is known to be feasible.
    """
    m = measured.losses.shape[1]
    draws = [FunctionDraws(model, n, rng) for model in models]
    chosen = _chosen(models[:m], measured)
    tried = measured.codes if measured.others is None else measured.others
    measured_keys = {code.tobytes() for code in (*measured.codes, *tried)}
    out = np.empty(n)
    for i in range(n):
        codes = _candidates(models, draws, i, measured, rng)
        codes = codes[[code.tobytes() not in measured_keys for code in codes]]
        values = _drawn_values(models, draws, i, codes)
        values = values[(values[:, m:] <= 0).all(axis=1), :m]
        observed = measured.losses
        if measured.noisy:
            observed = np.stack([draw.observed[i] for draw in draws[:m]], axis=1)
        union = np.concatenate([observed[measured.feasible], values])
        out[i] = _missing(observed[chosen], union, reference)
    return out


def _missing(points: Array, union: Array, reference: Callable[[Array], Array]) -> float:
    """Return the share of the hypervolume of all points that the first of them lack."""
    front = union[pareto.non_dominated(union)]
    if len(points) == 0 or len(front) == 0:
        return 1.0
    point = reference(front)
    best = pareto.hypervolume(front, point)
    return float(max(0.0, 1 - pareto.hypervolume(points, point) / best)) if best > 0 else 0.0


def _chosen(models: Sequence[AdditiveModel], measured: Measured) -> IndexArray:
    """Return the indices of the feasible members of the front, under noise by posterior means."""
    feasible = np.flatnonzero(measured.feasible)
    values = measured.losses[feasible]
    if measured.noisy and len(feasible):
        values = np.stack([model.mean(model.design)[feasible] for model in models], axis=1)
    return feasible[pareto.non_dominated(values)]


def _drawn_values(
    models: Sequence[AdditiveModel], draws: Sequence[FunctionDraws], i: int, codes: Codes
) -> Array:
    """Return all outcomes (k, m + c) of draw `i`."""
    design = Design(models[0].effects, codes)
    return np.stack([draw(i, design) for draw in draws], axis=1)


def _candidates(
    models: Sequence[AdditiveModel],
    draws: Sequence[FunctionDraws],
    i: int,
    measured: Measured,
    rng: np.random.Generator,
) -> Codes:
    """Return architectures that may be on the front of draw `i`."""
    effects, space, m = models[0].effects, models[0].effects.space, measured.losses.shape[1]
    if space.size <= _SMALL_SPACE:
        return np.concatenate(list(space.enumerate()))
    # 1. The front of the tables, of sums over layers alone.
    tables = [draw.tables(i) for draw in draws]
    base = np.stack([table[0][0] for table in tables])  # (m + c, R)
    layers = np.stack([table[1][0] for table in tables])  # (m + c, R, L, O)
    if len(models) == 2:
        codes = effects.codes(*nearly_supported(base, layers, effects.present))
    else:
        # Violations in raw units, where 0 is the bound.
        for j, model in enumerate(models[m:], m):
            base[j] = model.scale.inverse(base[j])
            layers[j] *= model.scale.spread
        weights = weight_vectors(_N_WEIGHTS, m, len(models) - m, rng)
        codes = scalarized_front(effects, base, layers, weights, m)
        if m == 2:
            codes = np.concatenate([codes, *_penalized_fronts(effects, base, layers)])
    codes = np.unique(codes, axis=0)
    if len(codes) > _MAX_CANDIDATES:
        codes = codes[np.sort(rng.choice(len(codes), _MAX_CANDIDATES, replace=False))]
    # 2. Sums of single choices say less: go on from there by mutation.
    if isinstance(effects, ColumnEffects):
        codes = np.concatenate([codes, measured.codes[measured.feasible]])
        for _ in range(_ROUNDS):
            values = _drawn_values(models, draws, i, codes)
            order = _by_violation(values, m)
            parents = codes[order[pareto.non_dominated(values[order, :m])]]
            codes = np.unique(np.concatenate([codes, _mutated(space, parents, rng)]), axis=0)
    return codes


def _penalized_fronts(effects: AnyEffects, base: Array, layers: Array) -> list[Codes]:
    """Return fronts of two objectives to which multiples of the violations are added."""
    spans = np.ptp(layers, axis=3).sum(axis=2).mean(axis=1)  # (2 + c,)
    spans = np.where(spans > 0, spans, 1.0)[:, None]
    scaled_base = base / spans
    scaled_layers = layers / spans[..., None, None]
    fronts = []
    for penalty in _PENALTIES:
        bases, tables = (x[:2] + penalty * x[2:].sum(axis=0) for x in (scaled_base, scaled_layers))
        fronts.append(effects.codes(*nearly_supported(bases, tables, effects.present)))
    return fronts


def _by_violation(values: Array, m: int) -> IndexArray:
    """Return the indices of feasible outcomes (k, m + c), or of those that violate least."""
    violation = np.maximum(values[:, m:], 0).sum(axis=1)
    feasible = np.flatnonzero(violation == 0)
    return feasible if len(feasible) else np.argsort(violation)[:10]


def _mutated(space: SearchSpace, parents: Codes, rng: np.random.Generator) -> Codes:
    """Return architectures that differ from parents in one or two choices."""
    codes = parents[rng.integers(len(parents), size=_N_CHILDREN)].astype(np.int64)
    rows = np.arange(len(codes))
    for _ in range(2):
        column = rng.integers(codes.shape[1], size=len(codes))
        step = rng.geometric(0.5, size=len(codes)) * rng.choice([-1, 1], size=len(codes))
        codes[rows, column] += step
    return space.canonical(np.clip(codes, 0, space.cardinalities - 1))
