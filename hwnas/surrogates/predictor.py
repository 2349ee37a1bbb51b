"""Medians and quantiles of metrics, from additive tables and, on request, boosted trees."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from hwnas.objectives import Objective
from hwnas.spaces import GPTSpace
from hwnas.surrogates.published import DATA, load_figures, scale_of
from hwnas.surrogates.quantiles import LEVELS, MEDIAN
from hwnas.surrogates.tables import AdditiveTable, predict
from hwnas.surrogates.trees import trees_of
from hwnas.typing import Array, Codes

# Published metrics and their units: one number per architecture, or a distribution per device.
NUMBER_UNITS = {"perplexity": "", "float16_memory": "MB", "bfloat16_memory": "MB"}
DISTRIBUTION_UNITS = {"latency": "ms", "energy": "mWh"}


class MetricPredictor:
    """Predictions of the metrics of one space.

    Parameters
    ----------
    space
        gpt-s, gpt-m, gpt-l, or a space cut down from one of them.
    with_trees
        Add the corrections of `hwnas.surrogates.trees` to the tables.

    Attributes
    ----------
    space
        The space.
    figures
        The published figures, as tables.
    trees
        The corrections; ``None`` without.

    Raises
    ------
    InvalidInput
        There are no published figures for the space.
    """

    def __init__(self, space: GPTSpace, *, with_trees: bool = False) -> None:
        self.space = space
        self.figures = load_figures(space)
        self.trees = trees_of(space) if with_trees else None
        self._tables: dict[tuple[str, float | None], AdditiveTable] = {}

    def predict(self, codes: Codes, objectives: Sequence[Objective]) -> Array:
        """Return the metrics of architectures (n, d) in raw units, (n, m).

        Parameters
        ----------
        codes : (n, d) int8
            Canonical codes.
        objectives
            m metrics that exist, each on one device.
        """
        values = predict([self.table(objective) for objective in objectives], codes)
        if self.trees is not None:
            # All quantiles of a metric get the same correction, so their order is preserved.
            values += self.trees.correction(codes, [objective.key for objective in objectives])
        return values

    def table(self, objective: Objective) -> AdditiveTable:
        """Return the table of a metric: its median, or the quantile that is named.

        The same metric and level give the same object.
        """
        key = objective.key
        is_distribution = objective.metric in DISTRIBUTION_UNITS
        level = (objective.level or LEVELS[MEDIAN]) if is_distribution else None
        if (key, level) not in self._tables:
            if level is not None:
                table = self.figures.quantile_table(objective.metric, objective.devices[0], level)
            elif key in NUMBER_UNITS:
                table = self.figures.table(key)
            else:
                table = AdditiveTable.from_function(self.space, getattr(self.space, key))
            self._tables[key, level] = table
        return self._tables[key, level]

    @property
    def provenance(self) -> dict[str, Any]:
        """Source of the fit, its held-out errors, licence and citation."""
        return (self.trees or self.figures).provenance

    def data_hash(self) -> str:
        """Return the SHA-256 of the files that predictions rest on, as 64 hexadecimal digits."""
        scale = scale_of(self.space)
        files = [f"{scale}.npz"] + ([f"{scale}-trees.npz"] if self.trees else [])
        return hashlib.sha256(b"".join((DATA / file).read_bytes() for file in files)).hexdigest()
