"""Fronts found for one workload and judged by another, for ``workloads.py``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from workloads_statistics import Measured, is_enough, of_width

from hwnas.objectives import Objective
from hwnas.spaces import GPTSpace
from hwnas.surrogates import surrogate
from hwnas.surrogates.pareto_front import exact_front
from hwnas.surrogates.tables import AdditiveTable, predict
from hwnas.surrogates.transfer import Loss, loss
from hwnas.typing import Array, Codes


@dataclass(frozen=True)
class Fronts:
    """Exact fronts of perplexity and each of several metrics.

    Attributes
    ----------
    perplexity
        Table of the perplexity.
    tables
        Table of each metric.
    codes
        Front for each metric, (n, d) int8.
    """

    perplexity: AdditiveTable
    tables: dict[str, AdditiveTable]
    codes: dict[str, Codes]

    def points(self, found_for: str, judged_by: str) -> Array:
        """Return perplexity and another metric of a front (n, 2), by increasing perplexity."""
        return front_points([self.perplexity, self.tables[judged_by]], self.codes[found_for])

    def loss(self, found_for: str, judged_by: str) -> Loss:
        """Return what the front for one metric loses by another."""
        return loss(self.points(found_for, judged_by), self.points(judged_by, judged_by))


def front_points(tables: Sequence[AdditiveTable], codes: Codes) -> Array:
    """Return the two losses of a front's architectures (n, 2), in lexicographic order."""
    points = predict(list(tables), codes)
    return points[np.lexsort(points.T[::-1])]


def table_of(networks: Measured, metric: str) -> AdditiveTable | None:
    """Return a linear model for each width as an additive table.

    Parameters
    ----------
    networks
        Networks of a space of GPTs.
    metric
        Metric that they were measured by.

    Returns
    -------
    AdditiveTable, or None
        ``None`` where a width has too few networks.
    """
    space = networks.space
    assert isinstance(space, GPTSpace)
    e, d, b, r, h = space.cardinalities[:5].tolist()
    base, layers = np.zeros((e, d, b)), np.zeros((e, d, b, space.n_layer[-1], r, h))
    ratios, heads = np.array(space.mlp_ratio)[:, None], np.array(space.n_head)
    for k, width in enumerate(space.embed_dim):
        x, y = of_width(networks, metric, width)
        if not is_enough(x):
            return None
        constant, layer, ratio, head, bias = np.linalg.lstsq(x, y, rcond=None)[0]
        base[k] = constant + bias * np.array(space.bias)
        layers[k] = layer + ratio * ratios + head * heads
    return AdditiveTable(np.array(space.n_layer), base, layers)


def find_fronts(networks: Measured, metrics: tuple[str, ...]) -> Fronts:
    """Return the exact fronts of perplexity and those metrics of which there is enough."""
    assert isinstance(networks.space, GPTSpace)
    perplexity = surrogate(networks.space).predictor.table(Objective.parse("perplexity"))
    fitted = {metric: table_of(networks, metric) for metric in metrics}
    tables = {metric: table for metric, table in fitted.items() if table is not None}
    codes = {}
    for metric, table in tables.items():
        front = exact_front([perplexity, table])
        assert front is not None, f"{networks.space.name}, {metric}: too many labels"
        codes[metric] = front
    return Fronts(perplexity, tables, codes)
