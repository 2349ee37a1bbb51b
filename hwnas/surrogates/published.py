"""The published figures as additive tables: what is on disk, and how it becomes tables.

One npz a scale, written by ``benchmarks/fit_surrogate.py``. A table is three float32 arrays, with
E, D, B, L, R, H as in `hwnas.surrogates.tables` (an axis of length 1 stands for equal entries):

================  =====================  ========================================
``METRIC_base``   (E, D, B)              what is added once
``METRIC_ratio``  (E, D or 1, 1, L, R)   what the ratio of each active layer adds
``METRIC_head``   (E, D or 1, 1, L, H)   what its heads add
================  =====================  ========================================

Latency and energy have an axis of devices before the others, and beside their medians
``METRIC_gap_...``, with one axis more: the *gaps* from each of nine levels to the next, in order.
No entry of a gap is negative, so quantiles cannot cross, not even by rounding. Perplexity and
memory react to bias, latency and energy do not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import InvalidInput
from hwnas.spaces import SearchSpace, space
from hwnas.surrogates.quantiles import LEVELS, MEDIAN, piece
from hwnas.surrogates.tables import AdditiveTable

DATA = Path(__file__).parent / "data"
SCALES = ("gpt-s", "gpt-m", "gpt-l")


@dataclass(frozen=True, eq=False)
class Published:
    """The published figures of one space.

    Attributes
    ----------
    space
        One of `SCALES` or cut down from it.
    arrays
        What is on disk, cut down to the space.
    provenance
        What was fitted to what, with which error, licence and citation.
    """

    space: SearchSpace
    arrays: dict[str, NDArray[np.float32]]
    provenance: dict[str, Any]
    _nine: dict[tuple[str, str], tuple[AdditiveTable, ...]] = field(default_factory=dict)

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the devices, in the order of the arrays."""
        return tuple(self.provenance["devices"])

    def table(self, metric: str) -> AdditiveTable:
        """The table of ``"perplexity"``, ``"float16_memory"`` or ``"bfloat16_memory"``."""
        return self._table(metric, ())

    def quantiles(self, metric: str, device: str) -> tuple[AdditiveTable, ...]:
        """The tables of ``"latency"`` or ``"energy"`` on one device, one for each of `LEVELS`."""
        if (metric, device) in self._nine:
            return self._nine[metric, device]
        row = self.devices.index(device)
        median = self._table(metric, (row,))
        gaps = [self._table(f"{metric}_gap", (row, k)) for k in range(len(LEVELS) - 1)]
        above, below = [median], [median]
        for gap in gaps[MEDIAN:]:
            above.append(above[-1] + gap)
        for gap in reversed(gaps[:MEDIAN]):
            below.append(below[-1] + -1 * gap)
        self._nine[metric, device] = (*reversed(below), *above[1:])
        return self._nine[metric, device]

    def quantile(self, metric: str, device: str, level: float) -> AdditiveTable:
        """The table of a quantile: one of the nine, or a mixture of two neighbours."""
        nine = self.quantiles(metric, device)
        if level in LEVELS:
            return nine[LEVELS.index(level)]
        k, weight = piece(level)
        gap = nine[k + 1] + -1 * nine[k]  # of which no entry is negative: rounding keeps the order
        return nine[k] + weight * gap if weight < 1 else nine[k + 1] + (weight - 1) * gap

    def _table(self, metric: str, index: tuple[int, ...]) -> AdditiveTable:
        base, ratio, head = (
            self.arrays[f"{metric}_{part}"][index].astype(np.float64)
            for part in ("base", "ratio", "head")
        )
        root = self.space.cardinalities[:3].tolist()
        layers = ratio[..., :, None] + head[..., None, :]  # (E, D or 1, 1, L, R, H)
        return AdditiveTable(
            np.array(self.space.n_layer),
            np.broadcast_to(base, root),
            np.broadcast_to(layers, (*root, *layers.shape[3:])),
        )


def published(wanted: SearchSpace) -> Published:
    """The published figures of a space.

    Raises
    ------
    InvalidInput
        There are none, see `scale_of`.
    """
    scale = scale_of(wanted)
    return _cut(_load(scale), space(scale), wanted)


def scale_of(wanted: SearchSpace) -> str:
    """Which of `SCALES` a space is, or is cut down from.

    Raises
    ------
    InvalidInput
        None of them.
    """
    for scale in SCALES:
        if _is_within(wanted, space(scale)):
            return scale
    raise InvalidInput(
        f"space {wanted.name!r}: there are no published figures for it, only for "
        f"{', '.join(SCALES)} and spaces cut down from one of them; choose one of these, or "
        "measure with the profile backend"
    )


def _load(scale: str) -> dict[str, NDArray[Any]]:
    with np.load(DATA / f"{scale}.npz", allow_pickle=False) as file:
        return dict(file)


def _is_within(part: SearchSpace, whole: SearchSpace) -> bool:
    choices = ("embed_dim", "n_layer", "mlp_ratio", "n_head", "bias")
    fixed = ("head_size", "context", "vocab_size")
    return all(set(getattr(part, c)) <= set(getattr(whole, c)) for c in choices) and all(
        getattr(part, f) == getattr(whole, f) for f in fixed
    )


def _cut(arrays: dict[str, NDArray[Any]], whole: SearchSpace, part: SearchSpace) -> Published:
    """The rows of the tables that belong to the part's choices."""

    def index(choice: str) -> NDArray[np.intp]:
        return np.asarray(np.searchsorted(getattr(whole, choice), getattr(part, choice)))

    root = [index("embed_dim"), index("n_layer"), index("bias")]
    layer = np.arange(part.n_layer[-1])
    axes = {
        "base": root,
        "ratio": [*root, layer, index("mlp_ratio")],
        "head": [*root, layer, index("n_head")],
    }
    provenance = json.loads(str(arrays.pop("provenance")))
    out = {}
    for name, array in arrays.items():
        wanted = axes[name.rpartition("_")[2]]
        first = array.ndim - len(wanted)  # devices and gaps come before
        for axis, chosen in enumerate(wanted, start=first):
            if array.shape[axis] > 1:
                array = array.take(chosen, axis=axis)
        out[name] = array
    return Published(part, out, provenance)
