"""Profiler of a device: all of its meters behind one method."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch

from hwnas.errors import InvalidInput, UnknownName
from hwnas.measured_metrics import device_metrics
from hwnas.objectives import Metric
from hwnas.profiling.errors import release_memory
from hwnas.profiling.language_model import LanguageModel, build_model
from hwnas.profiling.meters.energy import Energy, EnergyMeter, Power, energy_meter
from hwnas.profiling.meters.forward_pass import PassSettings
from hwnas.profiling.meters.latency import Latency, latency
from hwnas.profiling.meters.memory import PeakMemory, peak_memory
from hwnas.profiling.meters.nvml import NoMeter
from hwnas.spaces import LanguageModelSpace

Measure = Literal["peak_memory", "latency", "energy"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
"""Names of the measures, the fastest measurement first."""

_NORMAL_97_5 = 1.96  # 97.5 % quantile of the standard normal distribution


@dataclass(frozen=True, slots=True)
class Measurement:
    """Result of one measurement of a model.

    Attributes
    ----------
    value
        Median latency in ms, gross energy in mWh, or peak memory in MB.
    std
        Standard error of `value`; 0 for a peak memory, which is not sampled.
    record
        Complete result of the meter.
    """

    value: float
    std: float
    record: Latency | Energy | PeakMemory

    def quantile(self, level: float) -> float:
        """Return a quantile of the samples of a latency, in ms.

        Raises
        ------
        InvalidInput
            The measurement is not a latency.
        """
        if not isinstance(self.record, Latency):
            raise InvalidInput(f"expected a latency, found {type(self.record).__name__}")
        return float(np.quantile(self.record.samples, level))


class DeviceProfiler:
    """Device with its meters.

    Parameters
    ----------
    device
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``; ``"auto"`` is CUDA if it is available.
    passes
        Forward pass to measure.
    within
        See `hwnas.profiling.meters.latency.latency`.
    energy_within
        See `hwnas.profiling.meters.energy.EnergyMeter.measure`.
    max_seconds
        Maximum duration of the sampling of one latency, and of the window of one energy.

    Attributes
    ----------
    device
        The torch device.
    name
        Name of the device behind the @ of its metrics.
    metrics
        Metrics that can be measured on this machine, by name: ``latency@cpu``.
    missing
        Reasons for which other metrics cannot be measured, by name.

    Raises
    ------
    InvalidInput
        The device does not exist.

    Examples
    --------
    >>> import hwnas
    >>> space = hwnas.space({"name": "tiny", "embed_dim": [16], "n_layer": [2], "mlp_ratio": [1],
    ...                      "n_head": [2], "head_size": 8, "context": 16, "vocab_size": 50})
    >>> profiler = DeviceProfiler(device="cpu", passes=PassSettings(batch_size=1), max_seconds=0.1)
    >>> model = profiler.build_model(space, space.parse("tiny-2-16-1-1-2-2-True"))
    >>> profiler.measure(model, "latency").value > 0
    True
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
        self.name, self.device = _resolve_device(device)
        self.passes = passes or PassSettings()
        self.within, self.energy_within, self.max_seconds = within, energy_within, max_seconds
        self.metrics: dict[str, Metric] = {}
        self.missing: dict[str, str] = {}
        self._energy_meter: EnergyMeter | None = None
        self._idle_power: Power | None = None
        # Energy is the only measure that not every device supports.
        try:
            self._energy_meter = energy_meter(self.device)
        except NoMeter as error:
            self.missing[f"energy@{self.name}"] = str(error)
        for measure, metric in device_metrics(_workload(self.passes)).items():
            if f"{measure}@{self.name}" not in self.missing:
                self.metrics[f"{measure}@{self.name}"] = metric

    def build_model(
        self, space: LanguageModelSpace, arch: object, *, seed: int = 0
    ) -> LanguageModel:
        """Build the model of an architecture on the device.

        Raises
        ------
        OutOfMemory
            The device has not enough memory.
        InvalidInput
            The architecture is not in the space.
        """
        with release_memory(self.device, f"building {arch}"):
            return build_model(space, arch, seed=seed, device=self.device)

    def measure(self, model: LanguageModel, measure: Measure) -> Measurement:
        """Measure a model that is on the device.

        Raises
        ------
        TrialFailed
            There is not enough memory, or the time limit is exceeded.
        NoMeter
            The measure is not available on the device.
        UnknownName
            There is no such measure.
        """
        if measure == "latency":
            time = latency(model, self.passes, within=self.within, max_seconds=self.max_seconds)
            return Measurement(time.median, _median_standard_error(time), time)
        if measure == "peak_memory":
            peak = peak_memory(model, self.passes)
            return Measurement(peak.value, 0.0, peak)
        if measure != "energy":
            raise UnknownName("measure", measure, MEASURES)
        return self._measure_energy(model)

    def _measure_energy(self, model: LanguageModel) -> Measurement:
        """Measure the energy; the idle power is measured once for all models."""
        if self._energy_meter is None:
            raise NoMeter(self.missing[f"energy@{self.name}"])
        if self._idle_power is None:
            self._idle_power = self._energy_meter.idle()
        energy = self._energy_meter.measure(
            model,
            self.passes,
            within=self.energy_within,
            min_seconds=min(0.5, self.max_seconds),
            max_seconds=self.max_seconds,
            idle=self._idle_power,
        )
        # The meter's error is half of a 95 % interval. In a window that is too short for an
        # estimate it is infinite, and the standard error is then the value itself.
        error = energy.error / _NORMAL_97_5 if math.isfinite(energy.error) else 1.0
        return Measurement(energy.mwh, error * energy.mwh, energy)


def _workload(passes: PassSettings) -> str:
    """Return a short text on a forward pass."""
    tokens = "the context's" if passes.tokens is None else f"{passes.tokens:,}"
    precision = "" if passes.precision == "auto" else f", {passes.precision}"
    return f"one forward pass of {passes.batch_size} x {tokens} tokens{precision}"


def _median_standard_error(time: Latency) -> float:
    """Return the standard error of a median latency; for a single sample the median itself."""
    low, high = time.interval
    if math.isfinite(high - low):
        return (high - low) / 2 / _NORMAL_97_5
    if time.repeats < 2:
        return time.median
    # Too few samples for an interval of order statistics: standard error of the median of a normal
    # distribution (Kendall and Stuart 1977, section 10.10).
    return float(math.sqrt(math.pi / 2 / time.repeats) * time.samples.std(ddof=1))


def _resolve_device(name: str) -> tuple[str, torch.device]:
    """Return the name of a device in metrics, and the torch device."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise InvalidInput(f"device: expected auto, cpu, cuda or cuda:1, found {name!r}")
    if name == "cpu":
        return name, torch.device(name)
    index = int(name.partition(":")[2] or -1)  # -1 stands for the current device
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if max(index, 0) >= count:
        raise InvalidInput(f"device: torch finds {count} CUDA devices here, found {name!r}")
    return name, torch.device("cuda", index if index >= 0 else torch.cuda.current_device())
