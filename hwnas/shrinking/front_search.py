"""Members of the front of corrected scores, evaluated in rounds.

Each round predicts the loss of every member of the space, finds the exact front of prediction and
time, and evaluates those of its members that add most hypervolume to what has been evaluated; half
of them are from fronts of draws of the correction, so that what is uncertain is tried too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hwnas import pareto
from hwnas.hypervolume_improvement import added_areas, sorted_front
from hwnas.shrinking.block_times import table_of_layers
from hwnas.shrinking.correction import CorrectedScores, correct_scores
from hwnas.spaces import ShrunkLlamaSpace
from hwnas.surrogates.layer_layout import LayerLayout
from hwnas.surrogates.pareto_front import Limit, find_front
from hwnas.surrogates.tables import AdditiveTable
from hwnas.typing import Array, Codes, IndexArray

_N_DRAWS, _MAX_DRAWS = 4, 64  # fronts of draws in a round
_UNLIMITED = 10.0  # loss of the reference point where no loss is too large, in nats
_TIE = 1e-6  # weight of the time in the loss, which decides between members of equal loss

Evaluate = Callable[[Codes], Array]  # codes (k, d) to the losses (k,) that they really add


@dataclass(frozen=True, eq=False)
class SearchedFront:
    """Result of a search.

    Attributes
    ----------
    codes : (n, d)
        Evaluated members, in their order; the whole model is the first.
    added, times : (n,)
        Losses that they add in nats per token, and their predicted times in ms.
    predicted : (n,)
        Losses that were predicted for them, each before it was evaluated, by corrected scores.
    scored : (n,)
        Losses that the sum of their scores predicts, without any evaluation.
    corrected
        Scores corrected by all of them.
    """

    codes: Codes
    added: Array
    times: Array
    predicted: Array
    scored: Array
    corrected: CorrectedScores

    @property
    def front(self) -> IndexArray:
        """Indices of the members that no other dominates, the fastest first."""
        points = np.stack([self.added, self.times], axis=1)
        indices = np.flatnonzero(pareto.non_dominated(points))
        return indices[np.argsort(self.times[indices], kind="stable")]


def search_front(
    space: ShrunkLlamaSpace,
    scores: Array,
    times: AdditiveTable,
    evaluate: Evaluate,
    *,
    evaluations: int = 60,
    batch: int = 5,
    max_loss: float = np.inf,
    min_time: float = -np.inf,
    seed: int = 0,
    report: Callable[[int, int], None] = lambda count, total: None,
) -> SearchedFront:
    """Return the front of real losses and times that few evaluations find.

    Parameters
    ----------
    scores : (L, R, H)
        Losses that alternatives add alone.
    times
        Table of the time to minimize.
    evaluate
        Function that evaluates members.
    evaluations
        Number of members to evaluate at most, the whole model included; fewer if no other is
        expected to add hypervolume.
    batch
        Number of members of a round.
    max_loss
        Added loss up to which members are of interest, by their scores.
    min_time
        Time down to which members are of interest.
    seed
        Seed of the draws.
    report
        Called after each round with the number of evaluated members, and of all.
    """
    rng, layout = np.random.default_rng(seed), LayerLayout(space)
    full_code = space.canonical(space.cardinalities[None] - 1)
    codes, added = full_code, np.asarray(evaluate(full_code))
    predicted = np.zeros(1)
    plain = table_of_layers(space, 0.0, scores)
    corrected = CorrectedScores(plain)
    while len(codes) < evaluations:
        n, n_draws = min(batch, evaluations - len(codes)), _N_DRAWS
        chosen = codes[:0]
        # Where members of these fronts are evaluated or add nothing, more draws have others.
        while len(chosen) < n and n_draws <= _MAX_DRAWS:
            if len(codes) > 1:
                corrected = correct_scores(
                    space, scores, codes[1:], added[1:], n_draws=n_draws, rng=rng
                )
            chosen = _choose(corrected, times, layout, codes, added, n, max_loss, min_time)
            n_draws *= 4
        if len(chosen) == 0:
            break
        predicted = np.append(predicted, corrected.predict(space, chosen))
        codes = np.concatenate([codes, chosen])
        added = np.append(added, evaluate(chosen))
        report(len(codes), evaluations)
    packed = layout.pack(codes)
    if len(codes) > 1:
        corrected = correct_scores(space, scores, codes[1:], added[1:])
    return SearchedFront(
        codes, added, times.predict(packed), predicted, plain.predict(packed), corrected
    )


def predicted_front(
    space: ShrunkLlamaSpace, losses: AdditiveTable, times: AdditiveTable, max_loss: float = np.inf
) -> Codes:
    """Return the front of two tables up to a loss: exact, or the nearest that is within reach."""
    # The time in the loss keeps members out that have a faster one of equal loss.
    tied = losses + (_TIE / max(times.maximum(), 1e-9)) * times
    limits = [Limit(tied, max_loss)] if np.isfinite(max_loss) else []
    solution = find_front([tied, times], limits)
    packed = np.empty((0, 3 + 2 * len(space.layer_columns)), np.int8)
    if solution is not None:
        packed = solution[0]
    return LayerLayout(space).unpack(packed)


def _choose(
    corrected: CorrectedScores,
    times: AdditiveTable,
    layout: LayerLayout,
    evaluated: Codes,
    added: Array,
    n: int,
    max_loss: float,
    min_time: float,
) -> Codes:
    """Return up to `n` members of the predicted fronts that add most hypervolume, one by one.

    The hypervolume is that of perplexity, relative to the whole model's, and time.
    """
    space = layout.space
    assert isinstance(space, ShrunkLlamaSpace)
    limit = np.inf
    if np.isfinite(max_loss):
        limit = (max_loss / corrected.factor) ** (1 / corrected.power)
    reference = np.array([np.exp(min(max_loss, _UNLIMITED)), times.maximum()])
    taken = {code.tobytes() for code in evaluated}
    found = _points(added, times.predict(layout.pack(evaluated)))
    tables = [corrected.table, *corrected.draws]
    chosen: list[Codes] = []
    for k, table in enumerate(tables):
        front = predicted_front(space, table, times, limit)
        values = times.predict(layout.pack(front))
        is_new = np.array([code.tobytes() not in taken for code in front], dtype=bool)
        # A network without layers is no model that other software loads.
        is_new &= (values >= min_time) & (space.depth_of(front) > 0)
        front, values = front[is_new], values[is_new]
        points = _points(corrected.link(table.predict(layout.pack(front))), values)
        # Half of a round is from the mean, the rest from the draws.
        share = (
            n if len(tables) == 1 else (n + 1) // 2 if k == 0 else -(-n // 2 // (len(tables) - 1))
        )
        for _ in range(min(share, n - len(chosen), len(front))):
            gains = added_areas(sorted_front(found, reference), points, reference)
            j = int(gains.argmax())
            if gains[j] <= 0:
                break
            chosen.append(front[j])
            taken.add(front[j].tobytes())
            found = np.concatenate([found, points[j : j + 1]])
            front, points = np.delete(front, j, axis=0), np.delete(points, j, axis=0)
    return np.array(chosen, dtype=np.int8).reshape(-1, evaluated.shape[1])


def _points(added: Array, times: Array) -> Array:
    """Return perplexities relative to that of the whole model, and times, (n, 2)."""
    return np.stack([np.exp(np.minimum(added, _UNLIMITED)), times], axis=1)
