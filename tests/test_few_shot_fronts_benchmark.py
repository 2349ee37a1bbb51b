"""Fronts of few measurements in benchmarks/few_shot_fronts.py, from tables that are known."""

import sys
from pathlib import Path

import numpy as np
import pytest

import hwnas

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import few_shot_fronts
import workloads_measure as measuring
from workloads_rows import COLUMNS
from workloads_statistics import measured


def make_rows(name: str, count: int) -> list[dict[str, str]]:
    """Rows whose latency is proportional to the parameters, which are additive."""
    space = hwnas.space(name)
    archs = measuring.sample(space)[:count]
    params = space.params(space.encode([str(arch) for arch in archs]))
    return [
        dict.fromkeys(COLUMNS, "")
        | {
            "arch": str(arch),
            "index": str(index),
            "piece": "1",
            "latency": repr(value / 1e6),
        }
        for index, (arch, value) in enumerate(zip(archs, params.tolist(), strict=True))
    ]


@pytest.mark.parametrize("name", ["gpt-s", "llama-s"])
def test_an_additive_metric_loses_next_to_nothing(name: str) -> None:
    of = measured(name, make_rows(name, 70))
    found = few_shot_fronts.judged_fronts(of, "latency", [30], 2)
    assert found is not None
    assert found.n_networks == 70
    assert np.isnan(found.ratios[0]) == (name == "llama-s")
    assert len(found.losses[30]) == 2
    assert max(loss.hypervolume for loss in found.losses[30]) < 0.01
    text = few_shot_fronts.page([found], [30], 2)
    assert f"| {name}" in text


def test_few_networks_are_left_out() -> None:
    of = measured("gpt-s", make_rows("gpt-s", 59))
    assert few_shot_fronts.judged_fronts(of, "latency", [30], 1) is None
