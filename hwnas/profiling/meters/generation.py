"""Times of generation: to the first token, per output token, and of whole requests.

A request is a prefill of the prompt, which yields the first token, and one decoding step for each
further token. Steps are grouped into buckets by the number of positions that they attend to, and
each bucket is represented by the step in its middle.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike

from hwnas.errors import InvalidInput
from hwnas.profiling.meters.convergence import is_precise
from hwnas.profiling.meters.nvml import GpuState
from hwnas.profiling.meters.timing import Timing, time_work
from hwnas.typing import Array
from hwnas.workloads import Workload

LINE_TOLERANCE = 0.01  # largest relative miss of a line that stands in for measurements
_ON_LINE = 3  # buckets that are measured for a line
_MAX_REQUESTS = 100  # requests that are timed for quantiles
_MIN_REQUESTS = 20


class Passes(Protocol):
    """Passes of which requests consist, as `hwnas.profiling.generation.Generator` has them."""

    def prefill_pass(self, prompt: int) -> Callable[[], object]:
        """Return a function that launches one prefill of fixed tokens."""

    def step_pass(self, position: int) -> Callable[[], object]:
        """Return a function that launches one decoding step at a position, until the next call."""

    def buckets(self, prompt: int, generate: int) -> Sequence[tuple[int, int]]:
        """Return the maximum length of the cache in each bucket, and the number of its steps."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Decoding steps of a request that attend to a similar number of positions.

    Attributes
    ----------
    length, steps
        Maximum number of positions to which a step attends, and number of steps.
    position
        Position of the step in the middle.
    """

    length: int
    steps: int
    position: int


def request_buckets(passes: Passes, workload: Workload) -> list[Bucket]:
    """Return the buckets of the decoding steps of a request, none if it generates one token."""
    buckets, position = [], workload.prompt
    if workload.generate < 2:
        return []
    for length, steps in passes.buckets(workload.prompt, workload.generate):
        buckets.append(Bucket(length, steps, position + (steps - 1) // 2))
        position += steps
    return buckets


@dataclass(frozen=True, slots=True)
class StepTime:
    """Time of the decoding steps of a bucket.

    Attributes
    ----------
    bucket
        The bucket.
    ms, std
        Time of its middle step and the standard error of that, in ms.
    timing
        Measurement; None where the time is that of a line through other buckets.
    """

    bucket: Bucket
    ms: float
    std: float
    timing: Timing | None


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Time per output token: the mean over all decoding steps of a request.

    Attributes
    ----------
    mean, std
        In ms; `std` is the standard error of `mean`.
    buckets
        Times of the buckets, the shortest first.
    line_error
        Largest relative distance of a line through three measurements from them; None where there
        are no more than three buckets.
    precise
        Whether all measurements were as precise as requested.
    """

    mean: float
    std: float
    buckets: tuple[StepTime, ...]
    line_error: float | None
    precise: bool

    @property
    def timings(self) -> tuple[Timing, ...]:
        """Measurements of single buckets."""
        return tuple(bucket.timing for bucket in self.buckets if bucket.timing is not None)

    @property
    def states(self) -> tuple[GpuState, ...]:
        """States of the GPU during all measurements."""
        return tuple(state for timing in self.timings for state in timing.states)


def step_times(
    passes: Passes, workload: Workload, time_step: Callable[[Callable[[], object]], Timing]
) -> StepTimes:
    """Measure the time per output token.

    Up to three buckets are measured each. Of more, the first, the middle and the last one are
    measured. A line through these stands in for the others where it misses none of the three by
    1 %; else all are measured.

    Parameters
    ----------
    passes
        Passes of the workload's batch.
    workload
        Its prompt and number of generated tokens, at least two.
    time_step
        Function that measures a step.

    Raises
    ------
    InvalidInput
        The workload has no decoding steps.
    """
    buckets = request_buckets(passes, workload)
    n = len(buckets)
    if not buckets:
        raise InvalidInput(
            f"tpot: expected a workload that generates at least 2 tokens, found {workload.generate}"
        )

    def measure(k: int) -> Timing:
        return time_step(passes.step_pass(buckets[k].position))

    # Measure all buckets, or three of them and a line through these.
    timings = {k: measure(k) for k in (range(n) if n <= _ON_LINE else (0, n // 2, n - 1))}
    ms, errors, line_error = np.zeros(n), np.zeros(n), None
    if len(timings) < n:
        measured, positions = [*timings], np.array([bucket.position for bucket in buckets])
        medians = [timings[k].median for k in measured]
        line, line_error = fit_line(positions[measured], medians, positions)
        if line_error < LINE_TOLERANCE:
            ms, errors = line, np.full(n, max(timing.std for timing in timings.values()))
        else:
            timings |= {k: measure(k) for k in range(n) if k not in timings}
    for k, timing in timings.items():
        ms[k], errors[k] = timing.median, timing.std
    # Mean over the steps. Errors of different buckets are independent, those of a line are not:
    # there the sum of the errors, which is an upper bound, replaces the root of the squares.
    shares = np.array([bucket.steps for bucket in buckets]) / (workload.generate - 1)
    std = math.hypot(*(shares * errors)) if len(timings) == n else float(shares @ errors)
    rows = [
        StepTime(bucket, float(ms[k]), float(errors[k]), timings.get(k))
        for k, bucket in enumerate(buckets)
    ]
    precise = all(timing.precise for timing in timings.values())
    return StepTimes(float(shares @ ms), std, tuple(rows), line_error, precise)


def fit_line(x: ArrayLike, y: ArrayLike, at: ArrayLike) -> tuple[Array, float]:
    """Fit a line by least squares.

    Parameters
    ----------
    x, y : (n,) numbers
        Points, at least two of which have different x.
    at : (m,) numbers

    Returns
    -------
    values : (m,) float64
        The line at `at`.
    error
        Largest distance of the line from a point, relative to the point.

    Examples
    --------
    >>> values, error = fit_line([1, 2, 3], [2, 4, 6], [4])
    >>> round(float(values[0]), 6), round(error, 6)
    (8.0, 0.0)
    """
    slope, intercept = np.polyfit(np.asarray(x, float), np.asarray(y, float), 1)
    misses = np.abs(slope * np.asarray(x) + intercept - np.asarray(y)) / np.asarray(y)
    return np.asarray(slope * np.asarray(at) + intercept), float(misses.max())


@dataclass(frozen=True, slots=True)
class Part:
    """Equal passes of a request, one after the other.

    Attributes
    ----------
    prepare
        Function that returns the pass; another part's call makes it invalid.
    count
        Number of passes.
    """

    prepare: Callable[[], Callable[[], object]]
    count: int


def request_parts(passes: Passes, workload: Workload) -> list[Part]:
    """Return the parts of a request: the prefill, and the steps of each bucket."""
    steps = [
        Part(partial(passes.step_pass, bucket.position), bucket.steps)
        for bucket in request_buckets(passes, workload)
    ]
    return [Part(partial(passes.prefill_pass, workload.prompt), 1), *steps]


@dataclass(frozen=True, slots=True)
class RequestTimes:
    """Times of repeated requests.

    Attributes
    ----------
    ttft, tpot, latency : (n,) float64
        In ms, one for each request: to the first token, the mean of its steps (NaN without steps),
        and all of it.
    """

    ttft: Array
    tpot: Array
    latency: Array


def request_times(
    passes: Passes, workload: Workload, device: torch.device, *, max_seconds: float = 10.0
) -> RequestTimes:
    """Measure whole requests, one after the other, for quantiles over requests.

    There are 20 to 100 of them, fewer where `max_seconds` is over before. The first one, which
    warms up, does not count.
    """
    time_request = request_timer(request_parts(passes, workload), device)
    time_request()
    pairs: list[tuple[float, float]] = []
    start = time.perf_counter()
    while len(pairs) < _MAX_REQUESTS:
        pairs.append(time_request())
        total = [sum(pair) for pair in pairs]
        is_enough = len(pairs) >= _MIN_REQUESTS and is_precise(total, 0.01)
        if is_enough or time.perf_counter() - start >= max_seconds:
            break
    first, later_times = np.array(pairs).T
    n_steps = workload.generate - 1
    tpot = later_times / n_steps if n_steps > 0 else np.full(len(later_times), np.nan)
    return RequestTimes(first, tpot, first + later_times)


def request_timer(parts: Sequence[Part], device: torch.device) -> Callable[[], tuple[float, float]]:
    """Return a function that runs a request; it returns the ms of the prefill and of the rest."""
    prefill, *steps = parts
    mark, wait = _timestamps(device)

    def time_request() -> tuple[float, float]:
        run = prefill.prepare()
        marks = [mark()]
        run()
        marks.append(mark())
        for part in steps:
            run = part.prepare()
            for _ in range(part.count):
                run()
        marks.append(mark())
        start, middle, end = wait(marks)
        return middle - start, end - middle

    return time_request


def _timestamps(
    device: torch.device,
) -> tuple[Callable[[], Any], Callable[[list[Any]], list[float]]]:
    """Return a function that takes a timestamp, and one that turns timestamps into ms."""
    if device.type != "cuda":
        return time.perf_counter_ns, lambda marks: [mark / 1e6 for mark in marks]

    def record() -> Any:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def elapsed(events: list[Any]) -> list[float]:
        events[-1].synchronize()
        return [float(events[0].elapsed_time(event)) for event in events]

    torch.cuda.synchronize(device)
    return record, elapsed


def first_token_time(
    passes: Passes,
    workload: Workload,
    device: torch.device,
    *,
    within: float = 0.01,
    max_seconds: float = 10.0,
) -> Timing:
    """Measure the time of a prefill of the prompt, which yields the first token."""
    run = passes.prefill_pass(workload.prompt)
    return time_work(run, device, within=within, max_seconds=max_seconds)
