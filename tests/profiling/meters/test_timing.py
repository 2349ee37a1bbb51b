from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from hwnas.profiling.meters.convergence import median_standard_error
from hwnas.profiling.meters.timing import replay_count, time_work

CPU = torch.device("cpu")


def test_short_work_is_repeated_within_a_sample() -> None:
    n_runs = 0

    def run() -> None:
        nonlocal n_runs
        n_runs += 1
        time.sleep(2e-4)

    timing = time_work(run, CPU, within=0.5, max_seconds=0.5)
    assert 0.2 <= timing.median < 2
    assert 2 <= timing.replays <= 15
    assert len(timing.samples) == timing.repeats >= 20
    # Three runs tell the duration, and every sample is the mean of several.
    assert n_runs == 3 + timing.replays * (timing.warm_up + timing.repeats)
    assert timing.std == median_standard_error(timing.samples)


def test_long_work_needs_fewer_samples() -> None:
    timing = time_work(lambda: time.sleep(0.012), CPU, within=0.5)
    assert (timing.replays, timing.repeats) == (1, 10)
    assert timing.median == pytest.approx(12, rel=0.2)
    assert timing.precise


def test_slow_work_runs_twice_at_most() -> None:
    n_runs = 0

    def run() -> None:
        nonlocal n_runs
        n_runs += 1
        time.sleep(0.05)

    timing = time_work(run, CPU, max_seconds=0.04)
    assert n_runs == 2  # an estimate and a sample
    assert (timing.warm_up, timing.repeats, timing.steady, timing.precise) == (0, 1, False, False)
    assert timing.std == timing.median


def test_a_limit_leaves_an_imprecise_value() -> None:
    rng = np.random.default_rng(0)
    timing = time_work(lambda: time.sleep(0.004 * rng.uniform()), CPU, within=1e-6, max_seconds=0.2)
    assert not timing.precise
    assert timing.repeats > 1


@pytest.mark.parametrize(
    ("milliseconds", "count"), [(0.0, 3000), (0.1, 30), (3.0, 1), (3.1, 1), (500.0, 1)]
)
def test_replays(milliseconds: float, count: int) -> None:
    assert replay_count(milliseconds) == pytest.approx(count, abs=1)


def test_standard_error_of_a_median() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(10.0, 1.0, size=(2000, 100))
    scatter = np.median(samples, axis=1).std()
    errors = [median_standard_error(row) for row in samples]
    assert np.mean(errors) == pytest.approx(scatter, rel=0.1)
    assert median_standard_error([3.0]) == 3.0
    few = [median_standard_error(row[:4]) for row in samples]
    assert np.mean(few) == pytest.approx(np.median(samples[:, :4], axis=1).std(), rel=0.25)
