"""Latency of a forward pass of a batch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from hwnas.errors import InvalidInput
from hwnas.profiling.language_model import LanguageModel
from hwnas.profiling.meters.convergence import is_precise, is_steady, median_interval
from hwnas.profiling.meters.forward_pass import (
    Environment,
    PassSettings,
    Protocol,
    prepare_forward_pass,
)
from hwnas.profiling.meters.nvml import GpuState, is_throttled, state_reader
from hwnas.typing import Array

_ROUND_SIZE = 10  # samples between two readings of the GPU's state, or fewer where fewer suffice
# Samples that suffice, by the ms above which they do: longer work averages over more kernels. Six
# are the fewest of which a median has an interval.
_FEWEST_SAMPLES = ((100.0, 6), (10.0, 10), (0.0, 20))
_THROTTLE_PAUSE = 1.0  # seconds to wait after a round with a throttled GPU


@dataclass(frozen=True, slots=True)
class Latency:
    """Latency of a forward pass of a batch.

    Attributes
    ----------
    median, p90
        Median and 90 % quantile, in ms.
    spread
        Interquartile range, in ms.
    interval
        95 % interval of the median by order statistics, in ms; NaN for fewer than six repeats.
    repeats
        Number of samples.
    precise
        Whether the interval was as narrow as requested before a limit was reached.
    steady
        Whether the warm-up ended because the latency was steady.
    warm_up
        Number of passes before the first sample.
    dropped
        Number of rounds of ten samples that were repeated because the GPU was throttled.
    states
        States of the GPU after each round, including dropped rounds.
    protocol, environment
        Settings, hardware and software of the measurement.
    samples : (repeats,) float64
        In ms, in the order of measurement.
    """

    median: float
    p90: float
    spread: float
    interval: tuple[float, float]
    repeats: int
    precise: bool
    steady: bool
    warm_up: int
    dropped: int
    states: tuple[GpuState, ...]
    protocol: Protocol
    environment: Environment
    samples: Array = field(repr=False, compare=False, metadata={"record": False})


def latency(
    model: LanguageModel,
    settings: PassSettings | None = None,
    *,
    within: float = 0.01,
    min_repeats: int | None = None,
    max_repeats: int = 2000,
    max_seconds: float = 10.0,
    warm_up_seconds: float = 1.0,
) -> Latency:
    """Measure the latency of a model on its device.

    On CUDA each pass is timed by events, and the host waits for its end; on a CPU it is timed by
    the wall clock.

    Parameters
    ----------
    model
        Model to measure.
    settings
        Forward pass to measure.
    within
        Passes are repeated until the interval of the median is within this share of the median.
    min_repeats, max_repeats
        Bounds on the number of samples, the lower one by default that of `fewest_samples`.
    max_seconds, warm_up_seconds
        Limits of the sampling and of the warm-up, each checked at the end of a pass.

    Raises
    ------
    OutOfMemory
        The device has not enough memory.
    InvalidInput
        The settings do not fit the model or its device.

    Examples
    --------
    >>> from hwnas.profiling.gpt import GPT
    >>> from hwnas.spaces.architecture import Architecture
    >>> arch = Architecture.parse("tiny-1-32-2-1-True")
    >>> model = GPT(arch, head_size=16, context=8, vocab_size=50)
    >>> latency(model, PassSettings(batch_size=1), max_seconds=0.1).median > 0
    True
    """
    _check_arguments(within, min_repeats, max_repeats, max_seconds, warm_up_seconds)
    with prepare_forward_pass(model, settings or PassSettings()) as forward_pass:
        # Clocks, caches and allocators settle during the warm-up, whose samples do not count.
        time_pass = pass_timer(forward_pass.run, forward_pass.device)
        discarded, steady = warm_up(time_pass, max_seconds=warm_up_seconds)
        if min_repeats is None:
            min_repeats = min(fewest_samples(min(discarded)), max_repeats)
        result = collect_samples(
            time_pass,
            within=within,
            min_repeats=min_repeats,
            max_repeats=max_repeats,
            max_seconds=max_seconds,
            state=state_reader(forward_pass.device),
        )
    # The statistics are those of all samples; no outliers are removed.
    samples = np.array(result.samples)
    p25, median, p75, p90 = (float(v) for v in np.quantile(samples, (0.25, 0.5, 0.75, 0.9)))
    return Latency(
        median,
        p90,
        p75 - p25,
        median_interval(samples),
        len(samples),
        is_precise(samples, within),
        steady,
        len(discarded),
        result.dropped,
        result.states,
        forward_pass.protocol,
        forward_pass.environment,
        samples,
    )


def _check_arguments(
    within: float,
    min_repeats: int | None,
    max_repeats: int,
    max_seconds: float,
    warm_up_seconds: float,
) -> None:
    for name, value in (("within", within), ("max_seconds", max_seconds)):
        if type(value) not in (int, float) or not value > 0:
            raise InvalidInput(f"{name}: expected a number above 0, found {value!r}")
    if type(warm_up_seconds) not in (int, float) or not warm_up_seconds >= 0:
        raise InvalidInput(
            f"warm_up_seconds: expected a number of at least 0, found {warm_up_seconds!r}"
        )
    fewest = 1 if min_repeats is None else min_repeats
    if type(fewest) is not int or type(max_repeats) is not int or fewest < 1:
        raise InvalidInput(
            f"min_repeats, max_repeats: expected positive integers, found {min_repeats!r} and "
            f"{max_repeats!r}"
        )
    if max_repeats < fewest:
        raise InvalidInput(f"max_repeats: expected at least {fewest}, found {max_repeats}")


def pass_timer(
    run: Callable[[], object], device: torch.device, *, replays: int = 1
) -> Callable[[], float]:
    """Return a function that runs a pass, waits for its end and returns its duration in ms.

    Parameters
    ----------
    run
        Function that runs the pass; on CUDA it returns before the pass has ended.
    device
        Device on which it runs.
    replays
        Number of consecutive passes of which the mean duration is returned.
    """
    if device.type != "cuda":

        def time_by_clock() -> float:
            start = time.perf_counter_ns()
            for _ in range(replays):
                run()
            return (time.perf_counter_ns() - start) / 1e6 / replays

        return time_by_clock

    # Events are timestamps taken by the GPU itself, so launching the pass does not count.
    start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    torch.cuda.synchronize(device)

    def time_by_events() -> float:
        # A pass before the first of several keeps the GPU busy until that one is launched, so that
        # there is no gap after the start.
        if replays > 1:
            run()
        start.record()
        for _ in range(replays):
            run()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / replays

    return time_by_events


def warm_up(
    time_pass: Callable[[], float],
    *,
    max_seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[list[float], bool]:
    """Run passes until their duration is steady, or the time limit is reached.

    Returns
    -------
    durations, steady
        Durations of the passes in ms, and whether they were steady in the end.
    """
    samples: list[float] = []
    start = clock()
    while True:
        samples.append(time_pass())
        if is_steady(samples):
            return samples, True
        if clock() - start >= max_seconds:
            return samples, False


def fewest_samples(milliseconds: float) -> int:
    """Return the least number of samples of work of a duration: the longer it is, the fewer.

    Examples
    --------
    >>> fewest_samples(3.0), fewest_samples(30.0), fewest_samples(300.0)
    (20, 10, 6)
    """
    return next(count for limit, count in _FEWEST_SAMPLES if milliseconds >= limit)


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples of a latency.

    Attributes
    ----------
    samples
        In ms.
    dropped
        Number of dropped rounds.
    states
        States of the GPU after each round, including dropped rounds.
    """

    samples: tuple[float, ...]
    dropped: int
    states: tuple[GpuState, ...]


def collect_samples(
    time_pass: Callable[[], float],
    *,
    within: float,
    min_repeats: int,
    max_repeats: int,
    max_seconds: float,
    state: Callable[[], GpuState] | None = None,
    max_dropped: int = 5,
    clock: Callable[[], float] = time.perf_counter,
    pause: Callable[[float], None] = time.sleep,
) -> Samples:
    """Collect samples, in rounds of up to ten, until their median is precise or a limit is reached.

    Parameters
    ----------
    time_pass
        Function that returns one sample, in ms.
    within, min_repeats, max_repeats, max_seconds
        See `latency`.
    state
        Function that reads the state of the GPU after each round. A round that ends with a
        throttled GPU is dropped.
    max_dropped
        Maximum number of dropped rounds; later rounds count in any case.
    clock, pause
        Functions that return the time in s, and that wait for a number of seconds.
    """
    samples: list[float] = []
    states: list[GpuState] = []
    dropped, start = 0, clock()
    round_size = min(_ROUND_SIZE, min_repeats)
    while True:
        # Measure a round; it ends early at the time limit or at the maximum number of samples.
        batch: list[float] = []
        while len(batch) < min(round_size, max_repeats - len(samples)):
            batch.append(time_pass())
            if clock() - start >= max_seconds:
                break
        # Repeat the round if the GPU was throttled, after a pause in which it can cool down.
        if state is not None:
            states.append(state())
            if is_throttled(states[-1]) and dropped < max_dropped:
                dropped += 1
                pause(_THROTTLE_PAUSE)
                continue
        samples += batch
        is_enough = len(samples) >= min_repeats and is_precise(samples, within)
        if is_enough or len(samples) >= max_repeats or clock() - start >= max_seconds:
            return Samples(tuple(samples), dropped, tuple(states))
