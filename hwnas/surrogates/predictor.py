"""Medians and quantiles of metrics, from additive tables and, on request, boosted trees."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hwnas.objectives import Objective
from hwnas.spaces import GPTSpace, LanguageModelSpace, SearchSpace
from hwnas.surrogates.added_devices import AddedDevices
from hwnas.surrogates.layer_layout import LayerLayout
from hwnas.surrogates.metrics import DISTRIBUTION_UNITS, NUMBER_UNITS
from hwnas.surrogates.published import DATA, PublishedFigures, load_figures
from hwnas.surrogates.quantiles import LEVELS, MEDIAN
from hwnas.surrogates.tables import AdditiveTable, predict
from hwnas.surrogates.trees import trees_of
from hwnas.typing import Array, Codes
from hwnas.workloads import BUILT_IN, BYTES, MB, Workload


class MetricPredictor:
    """Predictions of the metrics of one space.

    Parameters
    ----------
    space
        Space of models with layers.
    scale
        Space with published figures that it is, or is cut down from; ``None`` where there is none.
    with_trees
        Add the corrections of `hwnas.surrogates.trees` to the tables.
    workloads
        Workloads that closed forms may be of, by name.
    added
        Figures of the devices of users.

    Attributes
    ----------
    space
        The space.
    layout
        Its codes, as tables index them.
    figures
        The published figures, as tables; ``None`` without.
    trees
        The corrections; ``None`` without.
    """

    def __init__(
        self,
        space: SearchSpace,
        scale: str | None,
        *,
        with_trees: bool = False,
        workloads: Mapping[str, Workload] = BUILT_IN,
        added: AddedDevices | None = None,
    ) -> None:
        self.space, self.scale, self.workloads = space, scale, workloads
        self.layout = LayerLayout(space)
        self.added = AddedDevices(space, {}, workloads) if added is None else added
        self.figures: PublishedFigures | None = None
        self.trees = None
        if scale is not None:
            assert isinstance(space, GPTSpace)  # no other has figures
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
        tables = [self.table(objective) for objective in objectives]
        values = predict(tables, self.layout.pack(codes))
        if self.trees is not None:
            # All quantiles of a metric get the same correction, so their order is preserved.
            added = self.added.figures
            keys = ["" if o.key in added else o.key for o in objectives]  # "" has no trees
            values += self.trees.correction(codes, keys)
        return np.asarray(values / [divisor_of(objective) for objective in objectives])

    def table(self, objective: Objective) -> AdditiveTable:
        """Return the table of a metric: its median, or the quantile that is named.

        Its values are in the metric's unit times `divisor_of`. The same metric and level give the
        same object.
        """
        key = objective.key
        if key in self.added.figures:
            return self.added.table(key, objective.level)
        is_distribution = objective.metric in DISTRIBUTION_UNITS
        level = (objective.level or LEVELS[MEDIAN]) if is_distribution else None
        if (key, level) not in self._tables:
            if level is not None:
                assert self.figures is not None
                table = self.figures.quantile_table(objective.metric, objective.devices[0], level)
            elif key in NUMBER_UNITS:
                assert self.figures is not None
                table = self.figures.table(key)
            elif objective.workload is not None:
                workload, count = self.workloads[objective.workload], BYTES[objective.metric]
                models = self.space
                assert isinstance(models, LanguageModelSpace)  # no others have workloads
                table = AdditiveTable.from_function(
                    models, lambda codes: count(models, codes, workload)
                )
            else:
                table = AdditiveTable.from_function(self.space, getattr(self.space, key))
            self._tables[key, level] = table
        return self._tables[key, level]

    @property
    def provenance(self) -> dict[str, Any]:
        """Source of the fit, its held-out errors, licence and citation."""
        source = self.trees or self.figures
        return {} if source is None else source.provenance

    def data_hash(self, devices: Sequence[str]) -> str:
        """Return the SHA-256 of the files that predictions rest on, as 64 hexadecimal digits.

        Parameters
        ----------
        devices
            Names of the measured devices whose files belong to them; those of tables always do.
        """
        files = []
        if self.scale is not None:
            files = [f"{self.scale}.npz"] + ([f"{self.scale}-trees.npz"] if self.trees else [])
        contents = [(DATA / file).read_bytes() for file in files]
        contents += [self.added.devices[name].sha256.encode() for name in devices]
        contents += [file.sha256.encode() for file in self.added.tables]
        return hashlib.sha256(b"".join(contents)).hexdigest()


def divisor_of(objective: Objective) -> float:
    """Return the number by which values of a metric's table are divided.

    Memory of a workload is added up in bytes: sums of integers are exact, in any order of layers.
    """
    return float(MB) if objective.workload is not None and objective.metric in BYTES else 1.0


def bound_of_table(objective: Objective, bound: float) -> float:
    """Return the greatest value of a metric's table that is at most a bound in the metric's unit.

    Examples
    --------
    >>> bound_of_table(Objective.parse("kv_cache.serve"), 0.1), bound_of_table(
    ...     Objective.parse("params"), 1e8
    ... )
    (100000.0, 100000000.0)
    """
    divisor = divisor_of(objective)
    if divisor == 1:
        return bound
    # The product is rounded: the integers around it decide.
    nearest = np.rint(bound * divisor) + np.array([-1.0, 0.0, 1.0])
    return float(nearest[nearest / divisor <= bound].max(initial=nearest[0]))
