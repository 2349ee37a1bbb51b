"""Times of generation, of passes whose times are known."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hwnas.errors import InvalidInput
from hwnas.profiling.meters.generation import (
    first_token_time,
    fit_line,
    request_parts,
    request_times,
    step_times,
)
from hwnas.profiling.meters.timing import Timing
from hwnas.workloads import Workload

CPU = torch.device("cpu")
SHORT, LONG = Workload(4, 3, 1), Workload(100, 900, 1)


class KnownPasses:
    """Passes that are named in a log; a step takes as many ms as a function of its position says.

    As with graphs, there is one step, at the last position that was asked for.
    """

    def __init__(self, step_ms: Callable[[int], float] = float, size: int = 128) -> None:
        self.step_ms, self.size = step_ms, size
        self.log: list[str] = []
        self.position = -1

    def prefill_pass(self, prompt: int) -> Callable[[], object]:
        return lambda: self.log.append(f"prefill {prompt}")

    def step_pass(self, position: int) -> Callable[[], object]:
        self.position = position
        return lambda: self.log.append(f"step {self.position}")

    def buckets(self, prompt: int, generate: int) -> list[tuple[int, int]]:
        positions = range(prompt, prompt + generate - 1)
        lengths = [-(-(p + 1) // self.size) * self.size for p in positions]
        return [(length, lengths.count(length)) for length in sorted(set(lengths))]

    def time_step(self, run: Callable[[], object]) -> Timing:
        run()
        ms = self.step_ms(self.position)
        return Timing(ms, 0, (ms, ms), 0.01 * ms, 4, 20, True, True, 9, 0, (), np.array([ms]))


@given(
    prompt=st.integers(1, 700), generate=st.integers(2, 700), curvature=st.sampled_from([0.0, 1e-3])
)
def test_mean_over_the_steps(prompt: int, generate: int, curvature: float) -> None:
    """The mean weighs buckets by their steps, also where a line replaces measurements."""
    passes = KnownPasses(lambda position: 5 + 0.01 * position + curvature * position**1.5)
    result = step_times(passes, Workload(prompt, generate, 1), passes.time_step)
    positions = range(prompt, prompt + generate - 1)
    assert result.mean == pytest.approx(np.mean([*map(passes.step_ms, positions)]), rel=0.01)
    assert sum(row.bucket.steps for row in result.buckets) == generate - 1
    assert all(int(step.split()[1]) in positions for step in passes.log)
    n_buckets = len(result.buckets)
    assert len(result.timings) >= min(n_buckets, 3)
    if curvature == 0:
        assert len(result.timings) == min(n_buckets, 3)
    assert 0 < result.std <= 0.01 * max(row.ms for row in result.buckets)


def test_all_buckets_are_measured_where_no_line_fits() -> None:
    passes = KnownPasses(lambda position: 2.0 if position < 500 else 3.0)
    result = step_times(passes, LONG, passes.time_step)
    assert result.line_error is not None
    assert result.line_error > 0.01
    assert len(result.timings) == len(result.buckets) == 8
    straight = KnownPasses(lambda position: 2.0 + 0.001 * position)
    result = step_times(straight, LONG, straight.time_step)
    assert [row.timing is None for row in result.buckets].count(True) == 5
    assert result.line_error is not None
    assert result.line_error < 1e-9


def test_imprecise_steps_make_an_imprecise_mean() -> None:
    passes = KnownPasses()

    def time_step(run: Any) -> Timing:
        return replace(passes.time_step(run), precise=False)

    assert not step_times(passes, LONG, time_step).precise
    assert step_times(passes, LONG, passes.time_step).precise


def test_workloads_without_steps() -> None:
    passes = KnownPasses()
    with pytest.raises(InvalidInput, match="generates at least 2 tokens, found 1"):
        step_times(passes, Workload(4, 1, 1), passes.time_step)
    times = request_times(passes, Workload(4, 1, 1), CPU, max_seconds=0.01)
    assert np.isnan(times.tpot).all()
    assert set(passes.log) == {"prefill 4"}


def test_a_request_has_its_passes_in_their_order() -> None:
    passes = KnownPasses(size=2)
    parts = request_parts(passes, Workload(4, 6, 1))
    for part in parts:
        run = part.prepare()
        for _ in range(part.count):
            run()
    # Positions 4 and 5, 6 and 7, and 8: by the step in the middle of each bucket.
    assert passes.log == ["prefill 4", "step 4", "step 4", "step 6", "step 6", "step 8"]


def test_times_of_requests() -> None:
    class Sleeping(KnownPasses):
        def prefill_pass(self, prompt: int) -> Callable[[], object]:
            return lambda: time.sleep(0.004)

        def step_pass(self, position: int) -> Callable[[], object]:
            return lambda: time.sleep(0.001)

    times = request_times(Sleeping(), SHORT, CPU, max_seconds=0.3)
    assert len(times.ttft) >= 1
    # A sleep lasts longer on a busy machine, never shorter.
    assert times.ttft.min() >= 4
    assert times.tpot.min() >= 1
    assert np.allclose(times.latency, times.ttft + 2 * times.tpot)
    timing = first_token_time(Sleeping(), SHORT, CPU, within=0.5, max_seconds=0.3)
    assert timing.median >= 4


@given(slope=st.floats(0.01, 1), intercept=st.floats(0, 10))
def test_line(slope: float, intercept: float) -> None:
    x = np.array([128.0, 256.0, 512.0])
    values, error = fit_line(x, slope * x + intercept, [384.0])
    assert values[0] == pytest.approx(384 * slope + intercept)
    assert error < 1e-9
    _, error = fit_line(x, (slope * x + intercept) * [1, 1.05, 1], x)
    assert 0.01 < error < 0.05
