"""Random architectures that the tests of space plots share."""

from __future__ import annotations

from typing import Any

import pytest

import hwnas
from hwnas.api import run
from hwnas.reports.plots.sampled_architectures import SampledArchitectures, sample_architectures
from hwnas.runner.results import Result


@pytest.fixture(scope="session")
def sample() -> SampledArchitectures:
    """90 random architectures of gpt-s with all metrics of the surrogate."""
    return sample_architectures(hwnas.surrogate("gpt-s"), 90)


@pytest.fixture(scope="session")
def twins(small_experiment: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A run in which the optimizers "random" and "twin" have identical trials."""
    optimizers = ["random", {"type": "random", "name": "twin"}, "uniform"]
    content = {**small_experiment, "optimizers": optimizers}
    return run(content, out=tmp_path_factory.mktemp("plots") / "twins", draw=False)
