"""What can be said of a network: the properties of a metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """What a backend can measure.

    Attributes
    ----------
    unit
        ``"ms"``; empty for a plain number.
    cost
        ``"free"`` (computed), ``"cheap"`` (a measurement) or ``"dear"`` (a training).
    fidelity_dependent
        Whether the value changes with the fidelity, and so must be measured again at a higher one.
    quantiles
        Whether ``metric:p90`` can be asked for.
    """

    unit: str = ""
    cost: Literal["free", "cheap", "dear"] = "cheap"
    fidelity_dependent: bool = False
    quantiles: bool = False
