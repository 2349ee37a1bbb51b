"""A device with its meters, and what it can say of a network."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch

from hwnas.errors import InvalidInput, UnknownName
from hwnas.metrics import Metric
from hwnas.profiling.errors import memory_given_back
from hwnas.profiling.gpt import GPT, build_gpt
from hwnas.profiling.meters.energy import Energy, EnergyMeter, Power, energy_meter
from hwnas.profiling.meters.forward_pass import PassSettings
from hwnas.profiling.meters.latency import Latency, latency
from hwnas.profiling.meters.memory import PeakMemory, peak_memory
from hwnas.profiling.meters.nvml import NoMeter
from hwnas.spaces import SearchSpace
from hwnas.spaces.architecture import Architecture

Measure = Literal["peak_memory", "latency", "energy"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
"""What can be measured, the fastest first."""

_WARM_UP = 3.0  # seconds at most
_METRICS = {
    "peak_memory": Metric("MB", "cheap"),
    "latency": Metric("ms", "cheap", quantiles=True),
    "energy": Metric("mWh", "cheap"),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One thing that was measured of a network.

    Attributes
    ----------
    value
        The median latency in ms, the gross energy in mWh, the peak memory in MB.
    std
        Its standard error; 0 for a peak memory, which is no sample.
    record
        All that there is to say of it.
    """

    value: float
    std: float
    record: Latency | Energy | PeakMemory

    def quantile(self, level: float) -> float:
        """A quantile of a latency's samples, in ms; for anything else InvalidInput."""
        if not isinstance(self.record, Latency):
            raise InvalidInput(f"expected a latency, found {type(self.record).__name__}")
        return float(np.quantile(self.record.samples, level))


class Bench:
    """A device with its meters.

    Parameters
    ----------
    device
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``; ``"auto"`` is CUDA where there is some.
    passes
        What is measured.
    within
        See `hwnas.profiling.meters.latency.latency`.
    energy_within
        See `hwnas.profiling.meters.energy.EnergyMeter.measure`.
    max_seconds
        What the samples of one latency, or the window of one energy, take at most; a warm-up takes
        no longer either.

    Attributes
    ----------
    device
        As torch has it.
    name
        What stands behind the @ of its metrics.
    metrics
        What can be measured here, by name: ``latency@cpu``.
    missing
        Why something else cannot, by name.

    Raises
    ------
    InvalidInput
        There is no such device.
    """

    def __init__(
        self,
        *,
        device: str = "auto",
        passes: PassSettings | None = None,
        within: float = 0.01,
        energy_within: float = 0.03,
        max_seconds: float = 10.0,
    ) -> None:
        self.name, self.device = _device_of(device)
        self.passes = passes or PassSettings()
        self.within, self.energy_within, self.max_seconds = within, energy_within, max_seconds
        self.metrics: dict[str, Metric] = {}
        self.missing: dict[str, str] = {}
        self._meter: EnergyMeter | None = None
        self._idle: Power | None = None
        try:
            self._meter = energy_meter(self.device)
        except NoMeter as error:
            self.missing[f"energy@{self.name}"] = str(error)
        for measure, metric in _METRICS.items():
            if f"{measure}@{self.name}" not in self.missing:
                self.metrics[f"{measure}@{self.name}"] = metric

    def built(self, space: SearchSpace, arch: Architecture, *, seed: int = 0) -> GPT:
        """The network of an architecture, on the device.

        Raises
        ------
        OutOfMemory
        InvalidInput
            The space does not offer the architecture.
        """
        with memory_given_back(self.device, f"building {arch}"):
            return build_gpt(space, arch, seed=seed, device=self.device)

    def measure(self, model: GPT, measure: Measure) -> Measured:
        """Measure one thing of a network that is on the device.

        Raises
        ------
        TrialFailed
            Not enough memory, or too little time.
        NoMeter
            It cannot be measured here.
        """
        if measure == "latency":
            time = latency(model, self.passes, within=self.within, max_seconds=self.max_seconds)
            return Measured(time.median, _error_of_median(time), time)
        if measure == "peak_memory":
            peak = peak_memory(model, self.passes)
            return Measured(peak.value, 0.0, peak)
        if measure != "energy":
            raise UnknownName("measure", measure, MEASURES)
        if self._meter is None:
            raise NoMeter(self.missing[f"energy@{self.name}"])
        if self._idle is None:
            self._idle = self._meter.idle()
        energy = self._meter.measure(
            model,
            self.passes,
            within=self.energy_within,
            min_seconds=min(0.5, self.max_seconds),
            max_seconds=self.max_seconds,
            idle=self._idle,
        )
        error = energy.error / 1.96 if math.isfinite(energy.error) else 1.0  # too short a window
        return Measured(energy.mwh, error * energy.mwh, energy)


def _error_of_median(time: Latency) -> float:
    """Standard error of a median latency; of a single sample all of it."""
    low, high = time.interval
    if math.isfinite(high - low):
        return (high - low) / 2 / 1.96
    if time.repeats < 2:
        return time.median
    # That of a normal distribution's median (Kendall and Stuart 1977, section 10.10).
    return float(math.sqrt(math.pi / 2 / time.repeats) * time.samples.std(ddof=1))


def _device_of(name: str) -> tuple[str, torch.device]:
    """A device's name in metrics and the device."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise InvalidInput(f"device: expected auto, cpu, cuda or cuda:1, found {name!r}")
    if name == "cpu":
        return name, torch.device(name)
    index = int(name.partition(":")[2] or -1)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if max(index, 0) >= count:
        raise InvalidInput(f"device: torch finds {count} CUDA devices here, found {name!r}")
    return name, torch.device("cuda", index if index >= 0 else torch.cuda.current_device())
