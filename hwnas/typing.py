"""Type aliases of arrays."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]  # values, losses, standard errors
BoolArray: TypeAlias = NDArray[np.bool_]  # masks
IntArray: TypeAlias = NDArray[np.int64]  # counts
IndexArray: TypeAlias = NDArray[np.intp]  # indices into other arrays
Codes: TypeAlias = NDArray[np.int8]  # (n, d) architectures, see `hwnas.spaces`
TokenArray: TypeAlias = NDArray[np.unsignedinteger[Any]]  # token ids of a text
