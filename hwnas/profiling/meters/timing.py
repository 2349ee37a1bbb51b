"""Time of work that is repeated on a device, however short it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from hwnas.profiling.meters.convergence import is_precise, median_interval, median_standard_error
from hwnas.profiling.meters.latency import collect_samples, fewest_samples, pass_timer, warm_up
from hwnas.profiling.meters.nvml import GpuState, state_reader
from hwnas.typing import Array

_MIN_INTERVAL = 3.0  # ms of an interval, far above the resolution of events and the launch of work
_MAX_REPEATS = 2000
_ESTIMATES = 3  # runs before the warm-up


@dataclass(frozen=True, slots=True)
class Timing:
    """Time of a piece of work.

    Attributes
    ----------
    median, spread
        Median and interquartile range, in ms.
    interval
        95 % interval of the median by order statistics, in ms; NaN for fewer than six repeats.
    std
        Standard error of the median, in ms.
    replays
        Number of runs that one sample is the mean of.
    repeats, precise, steady, warm_up, dropped, states
        As in `hwnas.profiling.meters.latency.Latency`; `warm_up` counts samples, too.
    samples : (repeats,) float64
        In ms, in the order of measurement.
    """

    median: float
    spread: float
    interval: tuple[float, float]
    std: float
    replays: int
    repeats: int
    precise: bool
    steady: bool
    warm_up: int
    dropped: int
    states: tuple[GpuState, ...]
    samples: Array = field(repr=False, compare=False, metadata={"record": False})


def time_work(
    run: Callable[[], object],
    device: torch.device,
    *,
    within: float = 0.01,
    max_seconds: float = 10.0,
    warm_up_seconds: float = 1.0,
) -> Timing:
    """Measure the time of work by the protocol of `hwnas.profiling.meters.latency.latency`.

    Work of less than 3 ms is repeated within one sample, so that neither the resolution of the
    timer nor the launch of the first run matters.

    Parameters
    ----------
    run
        Function that does the work; on CUDA it launches it on the current stream.
    device
        Device of the work.
    within, max_seconds, warm_up_seconds
        See `hwnas.profiling.meters.latency.latency`.

    Examples
    --------
    >>> timing = time_work(lambda: sum(range(1000)), torch.device("cpu"), max_seconds=0.1)
    >>> timing.replays > 1
    True
    """
    # The first run may load kernels; the fastest of three tells how many fill a sample. Where one
    # takes seconds, it is all there is time for.
    limit = min(warm_up_seconds, max_seconds)
    time_run = pass_timer(run, device)
    estimates = [time_run()]
    while len(estimates) < _ESTIMATES and sum(estimates) < 1e3 * limit:
        estimates.append(time_run())
    replays = replay_count(min(estimates))
    time_sample = pass_timer(run, device, replays=replays)
    # The estimates are a part of the warm-up.
    n_warm_up, steady, seconds_left = 0, False, limit - sum(estimates) / 1e3
    if seconds_left > 0:
        discarded, steady = warm_up(time_sample, max_seconds=seconds_left)
        n_warm_up = len(discarded)
    result = collect_samples(
        time_sample,
        within=within,
        min_repeats=fewest_samples(replays * min(estimates)),
        max_repeats=_MAX_REPEATS,
        max_seconds=max_seconds,
        state=state_reader(device),
    )
    samples = np.array(result.samples)
    p25, median, p75 = (float(v) for v in np.quantile(samples, (0.25, 0.5, 0.75)))
    return Timing(
        median,
        p75 - p25,
        median_interval(samples),
        median_standard_error(samples),
        replays,
        len(samples),
        is_precise(samples, within),
        steady,
        n_warm_up,
        result.dropped,
        result.states,
        samples,
    )


def replay_count(milliseconds: float) -> int:
    """Return the number of runs in a sample of work of a duration.

    Examples
    --------
    >>> replay_count(0.5), replay_count(20.0)
    (6, 1)
    """
    return max(1, math.ceil(_MIN_INTERVAL / max(milliseconds, 1e-3)))
