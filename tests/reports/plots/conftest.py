"""Random architectures that the tests of space plots share."""

from __future__ import annotations

import pytest

import hwnas
from hwnas.reports.plots.sampled_architectures import SampledArchitectures, sample_architectures


@pytest.fixture(scope="session")
def sample() -> SampledArchitectures:
    """90 random architectures of gpt-s with all metrics of the surrogate."""
    return sample_architectures(hwnas.surrogate("gpt-s"), 90)
