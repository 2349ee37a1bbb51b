"""The published figures as additive tables: the file format, and how tables are read from it.

One npz file per scale, written by ``benchmarks/fit_surrogate.py``. A table is three float32 arrays,
with E, D, B, L, R, H as in `hwnas.surrogates.tables` (an axis of length 1 stands for equal
entries):

================  =====================  =================================================
``METRIC_base``   (E, D, B)              term of the architecture as a whole
``METRIC_ratio``  (E, D or 1, 1, L, R)   term of the ``mlp_ratio`` of each active layer
``METRIC_head``   (E, D or 1, 1, L, H)   term of the ``n_head`` of each active layer
================  =====================  =================================================

Latency and energy have an axis of devices before the others, and in addition to their medians
``METRIC_gap_...``, with one axis more: the *gaps* from each of nine levels to the next, in order.
No entry of a gap is negative, so quantiles cannot cross, not even by rounding. Perplexity and
memory depend on ``bias``, latency and energy do not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import InvalidInput
from hwnas.spaces import GPTSpace, SearchSpace, require_gpt
from hwnas.spaces import space as named_space
from hwnas.surrogates.quantiles import LEVELS, MEDIAN, locate_level
from hwnas.surrogates.tables import AdditiveTable
from hwnas.typing import IndexArray

DATA = Path(__file__).parent / "data"
SCALES = ("gpt-s", "gpt-m", "gpt-l")


@dataclass(frozen=True, eq=False)
class PublishedFigures:
    """The published figures of one space.

    Attributes
    ----------
    space
        One of `SCALES` or cut down from it.
    arrays
        The arrays of the file, cut down to the space.
    provenance
        Source of the fit, its held-out errors, licence and citation.
    """

    space: GPTSpace
    arrays: dict[str, NDArray[np.float32]]
    provenance: dict[str, Any]
    _quantile_tables: dict[tuple[str, str], tuple[AdditiveTable, ...]] = field(default_factory=dict)

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the devices, in the order of the arrays."""
        return tuple(self.provenance["devices"])

    def table(self, metric: str) -> AdditiveTable:
        """Return the table of ``"perplexity"``, ``"float16_memory"`` or ``"bfloat16_memory"``."""
        return self._table(metric, ())

    def quantile_tables(self, metric: str, device: str) -> tuple[AdditiveTable, ...]:
        """Return the nine tables of ``"latency"`` or ``"energy"`` on a device, one per level."""
        if (metric, device) in self._quantile_tables:
            return self._quantile_tables[metric, device]
        row = self.devices.index(device)
        median = self._table(metric, (row,))
        gaps = [self._table(f"{metric}_gap", (row, k)) for k in range(len(LEVELS) - 1)]
        # From the median outwards: each level is its inner neighbor plus or minus a gap.
        above, below = [median], [median]
        for gap in gaps[MEDIAN:]:
            above.append(above[-1] + gap)
        for gap in reversed(gaps[:MEDIAN]):
            below.append(below[-1] + -1 * gap)
        self._quantile_tables[metric, device] = (*reversed(below), *above[1:])
        return self._quantile_tables[metric, device]

    def quantile_table(self, metric: str, device: str, level: float) -> AdditiveTable:
        """Return the table of a quantile: one of the nine, or interpolated between two of them."""
        tables = self.quantile_tables(metric, device)
        if level in LEVELS:
            return tables[LEVELS.index(level)]
        k, weight = locate_level(level)
        # No entry of the gap is negative, so rounding keeps the order of levels.
        gap = tables[k + 1] + -1 * tables[k]
        return tables[k] + weight * gap if weight < 1 else tables[k + 1] + (weight - 1) * gap

    def _table(self, metric: str, index: tuple[int, ...]) -> AdditiveTable:
        # Files hold float32; tables and their sums are float64.
        base, ratio, head = (
            self.arrays[f"{metric}_{part}"][index].astype(np.float64)
            for part in ("base", "ratio", "head")
        )
        # Axes of length 1 stand for equal entries: they are expanded without a copy.
        root = self.space.cardinalities[:3].tolist()
        layers = ratio[..., :, None] + head[..., None, :]  # (E, D or 1, 1, L, R, H)
        return AdditiveTable(
            np.array(self.space.n_layer),
            np.broadcast_to(base, root),
            np.broadcast_to(layers, (*root, *layers.shape[3:])),
        )


def load_figures(space: GPTSpace) -> PublishedFigures:
    """Return the published figures of a space.

    Raises
    ------
    InvalidInput
        There are none, see `scale_of`.

    Examples
    --------
    >>> load_figures(require_gpt(named_space("gpt-s"))).devices[:3]
    ('a100', 'a40', 'h100')
    """
    scale = scale_of(space)
    return _cut_down(_load_arrays(scale), require_gpt(named_space(scale)), space)


def scale_of(space: SearchSpace) -> str:
    """Return the one of `SCALES` that a space is, or is cut down from.

    Raises
    ------
    InvalidInput
        It is cut down from none of them.

    Examples
    --------
    >>> scale_of(named_space("gpt-m"))
    'gpt-m'
    """
    for scale in SCALES:
        if isinstance(space, GPTSpace) and _is_within(space, require_gpt(named_space(scale))):
            return scale
    raise InvalidInput(
        f"space {space.name!r}: there are no published figures for it, only for "
        f"{', '.join(SCALES)} and spaces cut down from one of them; choose one of these, "
        "measure with the profile backend, or add a device with hwnas device add"
    )


def _load_arrays(scale: str) -> dict[str, NDArray[Any]]:
    with np.load(DATA / f"{scale}.npz", allow_pickle=False) as file:
        return dict(file)


def _is_within(part: GPTSpace, scale: GPTSpace) -> bool:
    choices = ("embed_dim", "n_layer", "mlp_ratio", "n_head", "bias")
    constants = ("head_size", "context", "vocab_size")
    if part.precision:  # figures are of one precision each
        return False
    return all(set(getattr(part, c)) <= set(getattr(scale, c)) for c in choices) and all(
        getattr(part, c) == getattr(scale, c) for c in constants
    )


def _cut_down(arrays: dict[str, NDArray[Any]], scale: GPTSpace, part: GPTSpace) -> PublishedFigures:
    """Return the entries of a scale's tables that belong to a part's choices."""

    def positions(choice: str) -> IndexArray:
        return np.asarray(np.searchsorted(getattr(scale, choice), getattr(part, choice)))

    root = [positions("embed_dim"), positions("n_layer"), positions("bias")]
    layer = np.arange(part.n_layer[-1])
    # Positions to take along the trailing axes of each kind of array.
    positions_by_kind = {
        "base": root,
        "ratio": [*root, layer, positions("mlp_ratio")],
        "head": [*root, layer, positions("n_head")],
    }
    provenance = json.loads(str(arrays.pop("provenance")))
    out = {}
    for name, array in arrays.items():
        axes = positions_by_kind[name.rpartition("_")[2]]
        first = array.ndim - len(axes)  # the axes of devices and gaps come first
        for axis, indices in enumerate(axes, start=first):
            if array.shape[axis] > 1:
                array = array.take(indices, axis=axis)
        out[name] = array
    return PublishedFigures(part, out, provenance)
