from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from typing import Any

import numpy as np
import pytest
import torch

from hwnas.profiling.meters import timing as timing_module
from hwnas.profiling.meters.convergence import median_standard_error
from hwnas.profiling.meters.timing import replay_count, time_work

CPU = torch.device("cpu")


class Clockwork:
    """Work of known durations, by a timer that returns them without waiting.

    Parameters
    ----------
    durations
        Of one run after the other, in ms.
    """

    def __init__(self, durations: Iterator[float], monkeypatch: pytest.MonkeyPatch) -> None:
        self.durations, self.n_runs = durations, 0
        monkeypatch.setattr(timing_module, "pass_timer", self.pass_timer)

    def run(self) -> float:
        self.n_runs += 1
        return next(self.durations)

    def pass_timer(self, run: Any, device: object, *, replays: int = 1) -> Callable[[], float]:
        return lambda: sum(run() for _ in range(replays)) / replays


def test_short_work_is_repeated_within_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    # The first run loads kernels.
    work = Clockwork(chain([50.0], repeat(0.25)), monkeypatch)
    timing = time_work(work.run, CPU)
    assert (timing.median, timing.replays) == (0.25, 12)
    assert len(timing.samples) == timing.repeats == 20
    assert (timing.precise, timing.steady, timing.std) == (True, True, 0.0)
    # Three runs tell the duration, and every sample is the mean of several.
    assert work.n_runs == 3 + 12 * (timing.warm_up + timing.repeats)


@pytest.mark.parametrize(("ms", "repeats"), [(4.0, 20), (12.0, 10), (120.0, 6)])
def test_long_work_needs_fewer_samples(
    ms: float, repeats: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    timing = time_work(Clockwork(repeat(ms), monkeypatch).run, CPU)
    assert (timing.median, timing.replays, timing.repeats) == (ms, 1, repeats)
    assert timing.precise


def test_slow_work_runs_twice_at_most() -> None:
    n_runs = 0

    def run() -> None:
        nonlocal n_runs
        n_runs += 1
        time.sleep(0.05)

    timing = time_work(run, CPU, max_seconds=0.04)
    assert n_runs == 2  # an estimate and a sample
    assert timing.median >= 50
    assert (timing.warm_up, timing.repeats, timing.steady, timing.precise) == (0, 1, False, False)
    assert timing.std == timing.median


def test_a_limit_leaves_an_imprecise_value(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    durations = (float(value) for value in rng.uniform(4, 8, size=100_000))
    timing = time_work(Clockwork(durations, monkeypatch).run, CPU, within=1e-6, max_seconds=0.05)
    assert not timing.precise
    assert timing.std == median_standard_error(timing.samples) > 0


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
