"""Energy of a forward pass of a batch, measured by an energy counter of the device."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from hwnas.errors import InvalidInput
from hwnas.profiling.language_model import LanguageModel
from hwnas.profiling.meters.energy_counter import (
    Counter,
    NvmlCounter,
    PackageCounter,
    relative_error,
)
from hwnas.profiling.meters.forward_pass import (
    Environment,
    ForwardPass,
    PassSettings,
    prepare_forward_pass,
)
from hwnas.profiling.meters.nvml import (
    GpuState,
    NoMeter,
    is_throttled,
    nvml_device,
    state_reader,
)
from hwnas.profiling.meters.request_protocol import AnyProtocol
from hwnas.profiling.meters.sustained_load import (
    LEAD_IN,
    MIN_SEGMENT,
    IdleLoad,
    Load,
    QueuedLoad,
    Segment,
    SequentialLoad,
    measure_segments,
)

JOULES_PER_MWH = 3.6
_N_BLOCKS = 10  # blocks of segments whose scatter estimates the error
_MAX_DROPPED = 20  # segments with a throttled GPU that are dropped at most


@dataclass(frozen=True, slots=True)
class Power:
    """Power in W, and its relative error with 95 % confidence."""

    watts: float
    error: float


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy of a forward pass of a batch under sustained load.

    Attributes
    ----------
    joules, net_joules
        Energy per pass, or per request of a workload; net of the energy of the idle device in the
        same time.
    error, net_error
        Relative errors of both, with 95 % confidence. They include the scatter of the segments and
        the uncertainty of the counter's ticks, but not the error of the counter itself.
    idle
        Power of the idle device before the measurement.
    power
        Mean power during the passes, in W.
    seconds
        Duration of a pass.
    window
        Length of the measured window in s, from a tick of the counter to another.
    passes
        Number of passes in that window.
    precise
        Whether `error` was as small as requested before the time limit was reached.
    dropped
        Number of segments that were dropped because the GPU was throttled.
    states
        States of the GPU after each segment, including dropped segments.
    counter
        Name of the counter.
    protocol, environment
        Settings, hardware and software of the measurement.
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
    states: tuple[GpuState, ...]
    counter: str
    protocol: AnyProtocol
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
    """Meter of energy on one device; `energy_meter` creates it.

    Parameters
    ----------
    device
        Device of the counter.
    counter
        Energy counter of the device.
    state
        Function that reads the state of the GPU.
    clock, sleep
        Functions that return the time in s, and that wait for a number of seconds.
    """

    def __init__(
        self,
        device: torch.device,
        counter: Counter,
        *,
        state: Callable[[], GpuState] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.device, self.counter = device, counter
        self.clock, self._state, self._sleep = clock, state, sleep

    def idle(self, *, seconds: float = 1.0) -> Power:
        """Measure the power of the idle device, after half a second of settling.

        Parameters
        ----------
        seconds
            Minimum length of the window.

        Raises
        ------
        NoMeter
            The counter does not tick.
        """
        segments: list[Segment] = []
        for segment in measure_segments(self.counter, IdleLoad(self._sleep), clock=self.clock):
            segments.append(segment)
            window = sum(s.seconds for s in segments)
            # Neighbouring segments share a tick, so only the two ticks at the ends of the window
            # are uncertain: the window is as uncertain as one segment.
            if window >= seconds:
                watts = sum(s.joules for s in segments) / window
                ratios = [s.joules / s.seconds for s in segments]
                return Power(watts, relative_error(ratios, segment.uncertainty, window))
        raise AssertionError("segments never end")

    def measure(
        self,
        model: LanguageModel,
        settings: PassSettings | None = None,
        *,
        within: float = 0.02,
        min_seconds: float = 1.0,
        max_seconds: float = 10.0,
        idle: Power | None = None,
    ) -> Energy:
        """Measure the energy of a forward pass of a batch, over many consecutive passes.

        Parameters
        ----------
        model
            Model on the meter's device.
        settings
            Forward pass to measure.
        within
            The window grows until the relative error of `joules` is at most this.
        min_seconds, max_seconds
            Bounds on the length of the window.
        idle
            Power of the idle device from an earlier call of `idle`; by default it is measured now.

        Raises
        ------
        OutOfMemory
            The device has not enough memory.
        NoMeter
            The counter does not tick.
        InvalidInput
            The model is on another device, or the settings do not fit.
        """
        self._check_arguments(model, within, min_seconds, max_seconds)
        with prepare_forward_pass(model, settings or PassSettings()) as forward_pass:
            return self.measure_load(
                self._create_load(forward_pass),
                forward_pass.protocol,
                forward_pass.environment,
                within=within,
                min_seconds=min_seconds,
                max_seconds=max_seconds,
                idle=idle,
            )

    def measure_load(
        self,
        load: Load,
        protocol: AnyProtocol,
        environment: Environment,
        *,
        within: float,
        min_seconds: float,
        max_seconds: float,
        idle: Power | None = None,
        segment_seconds: float = MIN_SEGMENT,
    ) -> Energy:
        """Measure the energy of a pass of a load, over many consecutive passes.

        Parameters
        ----------
        load
            Passes of a workload on the meter's device.
        protocol, environment
            Of the passes, for the result.
        segment_seconds
            Minimum length of a segment, long enough for the segments to be alike.
        within, min_seconds, max_seconds, idle
            See `measure`.
        """
        # The idle power is measured with the model in memory, before the first pass.
        idle = self.idle() if idle is None else idle
        segments, dropped, states = self.window(
            load,
            within=within,
            min_seconds=min_seconds,
            max_seconds=max_seconds,
            segment_seconds=segment_seconds,
        )
        # Passes may still be queued; their memory must not be released before they end.
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        # Ratio estimator: total energy over total passes, not the mean of the segments' ratios.
        window, joules = sum(s.seconds for s in segments), sum(s.joules for s in segments)
        passes, error = sum(s.passes for s in segments), _window_error(segments)
        gross, seconds = joules / passes, window / passes
        net = gross - idle.watts * seconds
        # The absolute errors of gross and idle energy add up: an upper bound.
        net_error = error * gross + idle.error * idle.watts * seconds
        return Energy(
            joules=gross,
            net_joules=net,
            error=error,
            net_error=net_error / net if net > 0 else float("inf"),
            idle=idle,
            power=joules / window,
            seconds=seconds,
            window=window,
            passes=passes,
            precise=error <= within,
            dropped=dropped,
            states=states,
            counter=self.counter.name,
            protocol=protocol,
            environment=environment,
        )

    def window(
        self,
        load: Load,
        *,
        within: float,
        min_seconds: float,
        max_seconds: float,
        segment_seconds: float = MIN_SEGMENT,
    ) -> tuple[list[Segment], int, tuple[GpuState, ...]]:
        """Measure segments under a load until the bounds of `measure` are met.

        Returns
        -------
        segments, dropped, states
            Segments that count, number of dropped segments, and states of the GPU after each
            segment, including dropped segments.
        """
        segments: list[Segment] = []
        states: list[GpuState] = []
        dropped, start = 0, self.clock()
        for segment in measure_segments(
            self.counter, load, clock=self.clock, min_seconds=segment_seconds
        ):
            # The lead-in before the first segment does not count.
            is_over = self.clock() - start >= max_seconds + LEAD_IN
            # Drop the segment if the GPU was throttled, unless it would be the only one.
            if self._state is not None:
                states.append(self._state())
                is_only = is_over and not segments
                if is_throttled(states[-1]) and dropped < _MAX_DROPPED and not is_only:
                    dropped += 1
                    continue
            # A segment may be shorter than a pass; energy per pass is then undefined.
            if segment.passes > 0:
                segments.append(segment)
            is_enough = (
                sum(s.seconds for s in segments) >= min_seconds
                and _window_error(segments) <= within
            )
            if segments and (is_enough or is_over):
                return segments, dropped, tuple(states)
        raise AssertionError("segments never end")

    def _check_arguments(
        self, model: LanguageModel, within: float, min_seconds: float, max_seconds: float
    ) -> None:
        for name, value in (("within", within), ("max_seconds", max_seconds)):
            if type(value) not in (int, float) or not value > 0:
                raise InvalidInput(f"{name}: expected a number above 0, found {value!r}")
        if type(min_seconds) not in (int, float) or not 0 <= min_seconds <= max_seconds:
            raise InvalidInput(
                f"min_seconds: expected 0 to max_seconds, {max_seconds:g}, found {min_seconds!r}"
            )
        if model.device != self.device:
            raise InvalidInput(f"expected a model on {self.device}, found one on {model.device}")

    def _create_load(self, forward_pass: ForwardPass) -> Load:
        if self.device.type != "cuda":
            return SequentialLoad(forward_pass.run)

        return QueuedLoad(forward_pass.run, enqueue_mark, clock=self.clock)


def enqueue_mark() -> Callable[[], bool]:
    """Enqueue an event on the current CUDA stream; return a query for its end, without blocking."""
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record()
    query: Callable[[], bool] = event.query
    return query


def energy_meter(device: str | torch.device) -> EnergyMeter:
    """Create the energy meter of a device.

    Raises
    ------
    NoMeter
        The energy of the device cannot be read on this machine; the message is the reason.

    Examples
    --------
    >>> try:
    ...     energy_meter("meta")
    ... except NoMeter as error:
    ...     print(error)
    no counter of energy is known for device meta
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
    gpu = nvml_device(device)
    # An instance has no counter of its own; that of the GPU includes the other instances.
    if gpu.is_shared:
        raise NoMeter(f"no energy of {device}: a part of a GPU (MIG), which counts as a whole")
    counter = NvmlCounter(gpu)
    counter.read()  # raises NoMeter if the GPU has no counter
    return EnergyMeter(device, counter, state=state_reader(device))


def _window_error(segments: Sequence[Segment]) -> float:
    """Return the relative error of the energy per pass; infinite without segments.

    The share of a pass that is completed at a tick is only estimated, so an error in one segment
    has the opposite sign in the next. Within a block of segments such errors cancel (Law 2015,
    Simulation Modeling and Analysis, section 9.5.3, batch means).
    """
    if not segments:
        return float("inf")
    # Blocks of neighbouring segments with nearly equal lengths.
    ends = np.linspace(0, len(segments), min(len(segments), _N_BLOCKS) + 1).astype(int)
    blocks = [segments[start:end] for start, end in pairwise(ends)]
    ratios = [sum(s.joules for s in block) / sum(s.passes for s in block) for block in blocks]
    window = sum(s.seconds for s in segments)
    return relative_error(ratios, max(s.uncertainty for s in segments), window)
