"""Names of optimizers as parameters of tests, of which some are slow tests.

`ehvi` stands for the optimizers whose model is a Gaussian process; with the others a test of every
optimizer takes as long as all the rest, so `make test-slow` runs them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

GAUSSIAN_PROCESSES = {"gp", "lsbo", "parego", "rsbo"}


def by_cost(names: Iterable[str], slow: Iterable[str] = GAUSSIAN_PROCESSES) -> list[Any]:
    """Return names as parameters; those that are `slow` are marked so."""
    marked = set(slow)
    return [pytest.param(n, marks=pytest.mark.slow) if n in marked else n for n in names]
