"""How long one forward pass of a batch takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from hwnas.errors import InvalidInput
from hwnas.profiling.gpt import GPT
from hwnas.profiling.meters.convergence import is_precise, is_steady, median_interval
from hwnas.profiling.meters.forward_pass import (
    Environment,
    Pass,
    PassSettings,
    Protocol,
    forward_pass,
)
from hwnas.profiling.meters.nvml import BoardState, NoMeter, board, throttled

_ROUND = 10  # samples between two looks at the board
_PAUSE = 1.0  # seconds for a throttled board


@dataclass(frozen=True, slots=True)
class Latency:
    """How long one forward pass of a batch takes.

    Attributes
    ----------
    median, p90
        In ms.
    spread
        From the lower to the upper quartile, in ms.
    interval
        95 % interval of the median by order statistics, in ms; NaN for fewer than six repeats.
    repeats
        Number of samples.
    precise
        Whether the interval was as narrow as asked for before a cap was met.
    steady
        Whether the warm-up ended because nothing changed any more.
    warm_up
        Passes before the first sample.
    dropped
        Rounds of ten samples that were repeated because the board was throttled.
    states
        Of a GPU's board after each round, those dropped included.
    protocol, environment
        How and on what it was measured.
    samples : (repeats,) float64
        In ms, in the order in which they were taken.
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
    states: tuple[BoardState, ...]
    protocol: Protocol
    environment: Environment
    samples: NDArray[np.float64] = field(repr=False, compare=False, metadata={"record": False})


def latency(
    model: GPT,
    settings: PassSettings | None = None,
    *,
    within: float = 0.01,
    min_repeats: int = 20,
    max_repeats: int = 2000,
    max_seconds: float = 10.0,
    warm_up_seconds: float = 3.0,
) -> Latency:
    """Measure the latency of a network on the device where it is.

    On CUDA by events around each pass, the device waited for after each; on a CPU by the wall
    clock.

    Parameters
    ----------
    settings
        What is measured.
    within
        It is repeated until the interval of the median ends within this share of it.
    min_repeats, max_repeats
        Bounds on the number of samples.
    max_seconds, warm_up_seconds
        Caps on sampling and on the warm-up, each met at the end of a pass.

    Raises
    ------
    OutOfMemory
    InvalidInput
        The settings do not fit the network or its device.
    """
    for name, value in (("within", within), ("max_seconds", max_seconds)):
        if type(value) not in (int, float) or not value > 0:
            raise InvalidInput(f"{name}: expected a number above 0, found {value!r}")
    if type(warm_up_seconds) not in (int, float) or not warm_up_seconds >= 0:
        raise InvalidInput(
            f"warm_up_seconds: expected a number of at least 0, found {warm_up_seconds!r}"
        )
    if type(min_repeats) is not int or type(max_repeats) is not int or min_repeats < 1:
        raise InvalidInput(
            f"min_repeats, max_repeats: expected positive integers, found {min_repeats!r} and "
            f"{max_repeats!r}"
        )
    if max_repeats < min_repeats:
        raise InvalidInput(f"max_repeats: expected at least {min_repeats}, found {max_repeats}")
    with forward_pass(model, settings or PassSettings()) as ready:
        timed = timer(ready)
        passes, steady = warmed_up(timed, max_seconds=warm_up_seconds)
        found = repeated(
            timed,
            within=within,
            min_repeats=min_repeats,
            max_repeats=max_repeats,
            max_seconds=max_seconds,
            state=state_of(ready.device),
        )
    samples = np.array(found.samples)
    p25, median, p75, p90 = (float(v) for v in np.quantile(samples, (0.25, 0.5, 0.75, 0.9)))
    return Latency(
        median,
        p90,
        p75 - p25,
        median_interval(samples),
        len(samples),
        is_precise(samples, within),
        steady,
        passes,
        found.dropped,
        found.states,
        ready.protocol,
        ready.environment,
        samples,
    )


def timer(ready: Pass) -> Callable[[], float]:
    """A function that does a pass, waits for its end and says how many ms it took."""
    if ready.device.type != "cuda":

        def by_the_wall() -> float:
            begin = time.perf_counter_ns()
            ready.run()
            return (time.perf_counter_ns() - begin) / 1e6

        return by_the_wall

    begin = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    torch.cuda.synchronize(ready.device)

    def by_events() -> float:
        begin.record()
        ready.run()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end))

    return by_events


def state_of(device: torch.device) -> Callable[[], BoardState] | None:
    """What reads the state of a device's board, where it has one that can be read."""
    if device.type != "cuda":
        return None
    try:
        return board(device).state
    except NoMeter:
        return None


def warmed_up(
    timed: Callable[[], float],
    *,
    max_seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[int, bool]:
    """Do passes until nothing changes any more, or time is over.

    Returns
    -------
    passes, steady
        How many, and whether nothing changed any more.
    """
    samples: list[float] = []
    began = clock()
    while True:
        samples.append(timed())
        if is_steady(samples):
            return len(samples), True
        if clock() - began >= max_seconds:
            return len(samples), False


@dataclass(frozen=True, slots=True)
class Samples:
    """Times in ms; how many rounds were dropped, and the board's state after every round."""

    samples: tuple[float, ...]
    dropped: int
    states: tuple[BoardState, ...]


def repeated(
    timed: Callable[[], float],
    *,
    within: float,
    min_repeats: int,
    max_repeats: int,
    max_seconds: float,
    state: Callable[[], BoardState] | None = None,
    patience: int = 5,
    clock: Callable[[], float] = time.perf_counter,
    pause: Callable[[float], None] = time.sleep,
) -> Samples:
    """Take samples, ten at a time, until their median is as sure as asked for or a cap is met.

    Parameters
    ----------
    timed
        Takes one, in ms.
    state
        Reads the board after each round; a round with a throttled board is dropped.
    patience
        So many rounds at most; those that follow are kept.
    clock, pause
        Seconds that have passed, and what waits for a number of them.
    """
    kept: list[float] = []
    states: list[BoardState] = []
    dropped, began = 0, clock()
    while True:
        taken: list[float] = []
        while len(taken) < min(_ROUND, max_repeats - len(kept)):
            taken.append(timed())
            if clock() - began >= max_seconds:
                break
        if state is not None:
            states.append(state())
            if throttled(states[-1]) and dropped < patience:
                dropped += 1
                pause(_PAUSE)
                continue
        kept += taken
        enough = len(kept) >= min_repeats and is_precise(kept, within)
        if enough or len(kept) >= max_repeats or clock() - began >= max_seconds:
            return Samples(tuple(kept), dropped, tuple(states))
