"""Which of many are shown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def evenly(places: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """At most so many of some places (n,), the first and the last and evenly between them."""
    if len(places) <= most:
        return places
    return places[np.linspace(0, len(places) - 1, most).astype(np.intp)]
