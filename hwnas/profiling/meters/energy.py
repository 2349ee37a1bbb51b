"""How much energy one forward pass of a batch takes, by a counter of the device; never a guess."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from hwnas.errors import InvalidInput
from hwnas.profiling.gpt import GPT
from hwnas.profiling.meters.energy_counter import (
    BoardCounter,
    Counter,
    PackageCounter,
    relative_error,
)
from hwnas.profiling.meters.forward_pass import (
    Environment,
    Pass,
    PassSettings,
    Protocol,
    forward_pass,
)
from hwnas.profiling.meters.latency import state_of
from hwnas.profiling.meters.nvml import BoardState, NoMeter, board, throttled
from hwnas.profiling.meters.sustained_load import (
    LEAD_IN,
    InTurn,
    Load,
    Nothing,
    Queue,
    Segment,
    segments,
)

JOULES_PER_MWH = 3.6
_BLOCKS = 10  # of segments, from whose scatter an error is estimated
_PATIENCE = 20  # segments with a throttled board that are left out


@dataclass(frozen=True, slots=True)
class Power:
    """Power in W, and its relative error with 95 % confidence."""

    watts: float
    error: float


@dataclass(frozen=True, slots=True)
class Energy:
    """How much energy one forward pass of a batch takes, while one follows the other.

    Attributes
    ----------
    joules, net_joules
        For one pass; net of what the idle device takes in the same time.
    error, net_error
        Of both, relative, with 95 % confidence: from the segments' scatter and from how exactly
        the counter's ticks were seen. What the counter itself has wrong is not in it.
    idle
        Power before, with nothing running.
    power
        In W, while the passes ran.
    seconds
        For one pass.
    window
        Seconds in which it was measured, from one tick of the counter to another.
    passes
        Passes in that window.
    precise
        Whether `error` was as small as asked for before the cap was met.
    dropped
        Segments that were left out because the board was throttled.
    states
        Of a GPU's board after each segment, those dropped included.
    counter
        What was counted.
    protocol, environment
        How and on what it was measured.
    """

    joules: float
    net_joules: float
    error: float
    net_error: float
    idle: Power
    power: float
    seconds: float
    window: float
    passes: float
    precise: bool
    dropped: int
    states: tuple[BoardState, ...]
    counter: str
    protocol: Protocol
    environment: Environment

    @property
    def mwh(self) -> float:
        """`joules` in mWh."""
        return self.joules / JOULES_PER_MWH

    @property
    def net_mwh(self) -> float:
        """`net_joules` in mWh."""
        return self.net_joules / JOULES_PER_MWH


class EnergyMeter:
    """Measures energy on one device; made by `energy_meter`.

    Parameters
    ----------
    device
        What the counter counts for.
    state
        Reads the state of its board.
    clock, sleep
        Seconds that have passed, and what waits for some.
    """

    def __init__(
        self,
        device: torch.device,
        counter: Counter,
        *,
        state: Callable[[], BoardState] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.device, self.counter = device, counter
        self._state, self._clock, self._sleep = state, clock, sleep

    def idle(self, *, seconds: float = 1.0) -> Power:
        """Power with nothing of ours running; half a second before it counts.

        Raises
        ------
        NoMeter
            The counter does not move.
        """
        found: list[Segment] = []
        for segment in segments(self.counter, Nothing(self._sleep), clock=self._clock):
            found.append(segment)
            window = sum(s.seconds for s in found)
            if window >= seconds:
                watts = sum(s.joules for s in found) / window
                ratios = [s.joules / s.seconds for s in found]
                return Power(watts, relative_error(ratios, segment.violation, window))
        raise AssertionError("segments never end")

    def measure(
        self,
        model: GPT,
        settings: PassSettings | None = None,
        *,
        within: float = 0.02,
        min_seconds: float = 1.0,
        max_seconds: float = 10.0,
        idle: Power | None = None,
    ) -> Energy:
        """Measure one forward pass of a batch, by many that follow one another.

        Parameters
        ----------
        model
            On the meter's device.
        settings
            What is measured.
        within
            The window grows until the relative error of `joules` is at most this.
        min_seconds, max_seconds
            Bounds on the window.
        idle
            Measured before, by `idle`; by default it is measured now.

        Raises
        ------
        OutOfMemory, NoMeter
        InvalidInput
            The network is on another device, or the settings do not fit.
        """
        for name, value in (("within", within), ("max_seconds", max_seconds)):
            if type(value) not in (int, float) or not value > 0:
                raise InvalidInput(f"{name}: expected a number above 0, found {value!r}")
        if type(min_seconds) not in (int, float) or not 0 <= min_seconds <= max_seconds:
            raise InvalidInput(
                f"min_seconds: expected 0 to max_seconds, {max_seconds:g}, found {min_seconds!r}"
            )
        if model.cos.device != self.device:
            raise InvalidInput(
                f"expected a network on {self.device}, found one on {model.cos.device}"
            )
        with forward_pass(model, settings or PassSettings()) as ready:
            idle = self.idle() if idle is None else idle
            load = self._load(ready)
            found, dropped, states = self.window(
                load, within=within, min_seconds=min_seconds, max_seconds=max_seconds
            )
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
        return self._energy(found, dropped, states, idle, within, ready)

    def window(
        self, load: Load, *, within: float, min_seconds: float, max_seconds: float
    ) -> tuple[list[Segment], int, tuple[BoardState, ...]]:
        """Segments under a load, as many as `measure` says.

        Returns
        -------
        segments, dropped, states
            The segments that count, the number of the others, and the board after each.
        """
        found: list[Segment] = []
        states: list[BoardState] = []
        dropped, began = 0, self._clock()
        for segment in segments(self.counter, load, clock=self._clock):
            over = self._clock() - began >= max_seconds + LEAD_IN
            if self._state is not None:
                states.append(self._state())
                if throttled(states[-1]) and dropped < _PATIENCE and not (over and not found):
                    dropped += 1
                    continue
            if segment.passes > 0:
                found.append(segment)
            enough = sum(s.seconds for s in found) >= min_seconds and _error(found) <= within
            if found and (enough or over):
                return found, dropped, tuple(states)
        raise AssertionError("segments never end")

    def _load(self, ready: Pass) -> Load:
        if self.device.type != "cuda":
            return InTurn(ready.run)

        def mark() -> Callable[[], bool]:
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
            query: Callable[[], bool] = event.query
            return query

        return Queue(ready.run, mark, clock=self._clock)

    def _energy(
        self,
        found: list[Segment],
        dropped: int,
        states: tuple[BoardState, ...],
        idle: Power,
        within: float,
        ready: Pass,
    ) -> Energy:
        window, joules = sum(s.seconds for s in found), sum(s.joules for s in found)
        passes, error = sum(s.passes for s in found), _error(found)
        gross, seconds = joules / passes, window / passes
        net = gross - idle.watts * seconds
        off = error * gross + idle.error * idle.watts * seconds
        return Energy(
            joules=gross,
            net_joules=net,
            error=error,
            net_error=off / net if net > 0 else float("inf"),
            idle=idle,
            power=joules / window,
            seconds=seconds,
            window=window,
            passes=passes,
            precise=error <= within,
            dropped=dropped,
            states=states,
            counter=self.counter.name,
            protocol=ready.protocol,
            environment=ready.environment,
        )


def energy_meter(device: str | torch.device) -> EnergyMeter:
    """A meter for a device.

    Raises
    ------
    NoMeter
        The device's energy cannot be read here; the text says why.
    """
    device = torch.device(device)
    if device.type == "cpu":
        return EnergyMeter(device, PackageCounter())
    if device.type != "cuda":
        raise NoMeter(f"no counter of energy is known for device {device}")
    if not torch.cuda.is_available():
        raise NoMeter(f"no energy of {device}: torch finds no CUDA device here")
    index = torch.cuda.current_device() if device.index is None else device.index
    device = torch.device("cuda", index)
    found = board(device)
    if found.is_shared:
        raise NoMeter(f"no energy of {device}: a part of a GPU (MIG), which counts as a whole")
    counter = BoardCounter(found)
    counter.read()
    return EnergyMeter(device, counter, state=state_of(device))


def _error(found: list[Segment]) -> float:
    """Relative error of the mean, from blocks of neighbouring segments.

    How much of a pass was over at a tick is not exactly known, and what one segment has too much
    of its neighbour lacks; in a block it evens out (Law 2015, Simulation Modeling and Analysis,
    section 9.5.3, batch means).
    """
    if not found:
        return float("inf")
    ends = np.linspace(0, len(found), min(len(found), _BLOCKS) + 1).astype(int)
    blocks = [found[begin:end] for begin, end in pairwise(ends)]
    ratios = [sum(s.joules for s in block) / sum(s.passes for s in block) for block in blocks]
    window = sum(s.seconds for s in found)
    return relative_error(ratios, max(s.violation for s in found), window)
