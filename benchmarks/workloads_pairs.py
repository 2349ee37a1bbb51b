"""Pairs of networks on fronts: their choice, and the verdict of their measurement.

Random networks are near the middle of their space, those on a front near its ends: only
measurements say whether the models that were fitted to the former hold there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from workloads_fronts import Fronts, find_fronts
from workloads_rows import (
    FOUND_FOR,
    JUDGED_BY,
    PAIRS_FILE,
    TIMES,
    Pair,
    Row,
    rows_of,
    write_pairs,
)
from workloads_statistics import Measured, measured

from hwnas.surrogates.tables import predict
from hwnas.typing import Codes


def choose_pairs(names: Sequence[str], *, count: int, folder: Path) -> None:
    """Choose pairs of each space from the rows of a folder, and write them into that folder."""
    pairs = []
    for name in names:
        rows = rows_of(name, [folder])
        if not rows:
            print(f"{name}: no rows in {folder}; measure some first")
            continue
        networks = measured(name, rows)
        space_pairs = pairs_of(find_fronts(networks, (FOUND_FOR, JUDGED_BY)), count)
        for index, codes in enumerate(space_pairs):
            first, second = map(str, networks.space.decode(codes))
            pairs.append(Pair(name, index, first, second))
        print(f"{name}: {len(space_pairs)} pairs")
    write_pairs(folder / PAIRS_FILE, pairs)


def pairs_of(fronts: Fronts, count: int) -> list[Codes]:
    """Return pairs of networks, the second the best by decoding of at most the first's perplexity.

    Parameters
    ----------
    fronts
        Fronts for the forward pass and for decoding.
    count
        Number of pairs, evenly spaced along the front for the forward pass.

    Returns
    -------
    list of (2, d) int8
        Empty where there are too few networks for fronts.
    """
    if not {FOUND_FOR, JUDGED_BY} <= fronts.tables.keys():
        return []
    tables = [fronts.perplexity, fronts.tables[JUDGED_BY]]
    front, best = fronts.codes[FOUND_FOR], fronts.codes[JUDGED_BY]
    perplexities, values = predict(tables, front)[:, 0], predict(tables, best)
    order = np.argsort(perplexities)
    # At the ends both fronts may have the same network.
    chosen = np.unique(((np.arange(count) + 0.5) / count * len(order)).astype(int))
    pairs = []
    for k in order[chosen]:
        allowed = np.flatnonzero(values[:, 0] <= perplexities[k])
        counterpart = allowed[values[allowed, 1].argmin()]
        pairs.append(np.stack([front[k], best[counterpart]]))
    return pairs


@dataclass(frozen=True, slots=True)
class Verdict:
    """Measured networks on fronts beside the predictions for them.

    Attributes
    ----------
    pairs
        Number of pairs.
    measured, predicted
        Mean and maximum relative excess of the first of a pair over the second at decoding.
    errors
        Mean relative error of the linear model of each time on all of these networks.
    """

    pairs: int
    measured: tuple[float, float]
    predicted: tuple[float, float]
    errors: dict[str, float]


def verdict(random_networks: Measured, fronts: Fronts, rows: Sequence[Row]) -> Verdict | None:
    """Return what measured pairs say of the models; ``None`` without a complete pair.

    Parameters
    ----------
    random_networks, fronts
        Random networks of a space, and the fronts of the models that were fitted to them.
    rows
        Rows of `check`.
    """
    pairs: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        if not row["failed"]:
            pairs.setdefault((row["piece"], row["index"]), {})[row["anchor"]] = row
    complete = [pair for pair in pairs.values() if len(pair) == 2]
    if not complete or not set(TIMES) <= fronts.tables.keys():
        return None
    networks = [pair[metric] for pair in complete for metric in (FOUND_FOR, JUDGED_BY)]
    codes = random_networks.space.encode([row["arch"] for row in networks])
    predicted = predict([fronts.tables[metric] for metric in TIMES], codes)
    actual = np.array([[float(row[metric]) for metric in TIMES] for row in networks])
    errors = np.abs(predicted / actual - 1).mean(axis=0)
    judged = TIMES.index(JUDGED_BY)
    excess = [values[::2, judged] / values[1::2, judged] - 1 for values in (actual, predicted)]
    summaries = [(float(values.mean()), float(values.max())) for values in excess]
    by_metric = dict(zip(TIMES, errors.tolist(), strict=True))
    return Verdict(len(complete), summaries[0], summaries[1], by_metric)
