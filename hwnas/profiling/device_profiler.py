"""Profiler of a device: all of its meters behind one method."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
import torch

from hwnas.errors import InvalidInput, UnknownName
from hwnas.measured_metrics import device_metrics, workload_metrics
from hwnas.objectives import Metric
from hwnas.profiling.errors import release_memory
from hwnas.profiling.language_model import LanguageModel, build_model
from hwnas.profiling.meters.convergence import NORMAL_97_5, median_standard_error
from hwnas.profiling.meters.emulation import warn_if_emulated
from hwnas.profiling.meters.energy import Energy, EnergyMeter, Power, energy_meter
from hwnas.profiling.meters.forward_pass import PassSettings
from hwnas.profiling.meters.latency import Latency, latency
from hwnas.profiling.meters.memory import PeakMemory, peak_memory
from hwnas.profiling.meters.nvml import NoMeter
from hwnas.profiling.meters.request_energy import energy_per_token
from hwnas.profiling.meters.requests import RequestLatency, RequestMeter
from hwnas.spaces import LanguageModelSpace
from hwnas.typing import Array
from hwnas.workloads import Workload

Measure = Literal[
    "peak_memory", "ttft", "tpot", "latency", "throughput", "energy", "energy_per_token"
]
MEASURES: tuple[Measure, ...] = get_args(Measure)
"""Names of the measures, the fastest measurement first."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """Result of one measurement of a model.

    Attributes
    ----------
    value
        In the unit of the metric: ms, tokens/s, mWh, mJ or MB.
    std
        Standard error of `value`; 0 for a peak memory, which is not sampled.
    record
        Complete result of the meter.
    samples : (n,) float64, optional
        Values of single requests or passes, for quantiles.
    """

    value: float
    std: float
    record: Latency | Energy | PeakMemory | RequestLatency
    samples: Array | None = field(default=None, repr=False, compare=False)

    @property
    def precise(self) -> bool:
        """Whether the value is as precise as requested; a time limit may have come first."""
        return isinstance(self.record, PeakMemory) or self.record.precise

    def quantile(self, level: float) -> float:
        """Return a quantile of the samples of a time.

        Raises
        ------
        InvalidInput
            There are none.
        """
        samples = self.record.samples if isinstance(self.record, Latency) else self.samples
        if samples is None:
            raise InvalidInput(
                f"expected a latency with samples, found {type(self.record).__name__}"
            )
        return float(np.quantile(samples, level))


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
        Maximum duration of the sampling of one time, and of the window of one energy.
    workloads
        Workloads to measure, by name.

    Attributes
    ----------
    device
        The torch device.
    name
        Name of the device behind the @ of its metrics.
    metrics
        Metrics that can be measured on this machine, by name: ``latency@cpu``, ``tpot.chat@cpu``.
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
        workloads: Mapping[str, Workload] | None = None,
    ) -> None:
        self.name, self.device = resolve_device(device)
        self.passes = passes or PassSettings()
        self.within, self.energy_within, self.max_seconds = within, energy_within, max_seconds
        self.metrics: dict[str, Metric] = {}
        self.missing: dict[str, str] = {}
        self.workloads = dict(workloads or {})
        self._energy_meter: EnergyMeter | None = None
        self._idle_power: Power | None = None
        self._requests: RequestMeter | None = None  # of the model that was measured last
        # Energy is the only measure that not every device supports.
        no_energy = ""
        try:
            self._energy_meter = energy_meter(self.device)
        except NoMeter as error:
            no_energy = str(error)
        for quantity, metric in self._all_metrics().items():
            if no_energy and quantity.startswith("energy"):
                self.missing[f"{quantity}@{self.name}"] = no_energy
            else:
                self.metrics[f"{quantity}@{self.name}"] = metric

    def _all_metrics(self) -> dict[str, Metric]:
        """Return the metrics that a device may have, by their names without it."""
        metrics = device_metrics(_describe(self.passes))
        for name, workload in self.workloads.items():
            metrics |= {
                quantity: metric
                for quantity, metric in workload_metrics(name, workload).items()
                if quantity.partition(".")[0] in MEASURES
            }
        return metrics

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

    def measure(
        self,
        model: LanguageModel,
        measure: Measure,
        workload: Workload | None = None,
        *,
        quantiles: bool = False,
    ) -> Measurement:
        """Measure a model that is on the device.

        What several metrics of one model share is measured once. Call `release` when the model is
        no longer measured.

        Parameters
        ----------
        model
            The model; it is not changed.
        measure
            One of `MEASURES`.
        workload
            Requests, or one forward pass, to measure; by default the forward pass of `passes`.
        quantiles
            Whether quantiles over requests will be asked for, which needs whole requests.

        Raises
        ------
        TrialFailed
            There is not enough memory, or the time limit is exceeded.
        NoMeter
            The measure is not available on the device.
        UnknownName
            There is no such measure.
        InvalidInput
            The workload has no such metric, or does not fit the model.
        """
        if measure not in MEASURES:
            raise UnknownName("measure", measure, MEASURES)
        if measure in ("energy", "energy_per_token") and self._energy_meter is None:
            raise NoMeter(self.missing[f"energy@{self.name}"])
        if workload is not None and measure != "peak_memory":
            warn_if_emulated(self.device, workload.precision)
        if workload is not None and workload.generate > 0:
            return self._measure_requests(model, measure, workload, quantiles)
        if self._requests is not None:
            self._requests.close()  # its memory is not part of a forward pass
        passes = self.passes if workload is None else _pass_settings(workload, self.passes)
        if measure == "latency":
            time = latency(model, passes, within=self.within, max_seconds=self.max_seconds)
            return Measurement(time.median, median_standard_error(time.samples), time)
        if measure == "peak_memory":
            peak = peak_memory(model, passes)
            return Measurement(peak.value, 0.0, peak)
        if measure != "energy" or self._energy_meter is None:
            raise InvalidInput(f"{measure}: expected a workload that generates tokens, found none")
        energy = self._energy_meter.measure(
            model,
            passes,
            within=self.energy_within,
            min_seconds=min(0.5, self.max_seconds),
            max_seconds=self.max_seconds,
            idle=self._idle(),
        )
        return Measurement(energy.mwh, energy_std(energy) * energy.mwh, energy)

    def inference_model(self, model: LanguageModel, precision: str) -> LanguageModel:
        """Return a model with its weights in a precision: itself, or a copy until `release`."""
        return self._request_meter(model).inference_model(precision)

    def release(self) -> None:
        """Release what is kept of the last model: copies of weights, caches, graphs, results."""
        if self._requests is not None:
            self._requests.close()
            self._requests = None

    def _measure_requests(
        self, model: LanguageModel, measure: Measure, workload: Workload, quantiles: bool
    ) -> Measurement:
        meter = self._request_meter(model)
        if measure == "peak_memory":
            peak = meter.peak_memory(workload)
            return Measurement(peak.value, 0.0, peak)
        if measure == "energy_per_token" and self._energy_meter is not None:
            energy = meter.energy(
                workload, self._energy_meter, within=self.energy_within, idle=self._idle()
            )
            value = energy_per_token(energy, workload)
            return Measurement(value, energy_std(energy) * value, energy)
        if measure == "energy":
            raise InvalidInput(
                "energy: expected a workload of one forward pass; use energy_per_token"
            )
        times: dict[str, Any] = {
            "ttft": meter.ttft,
            "tpot": meter.tpot,
            "latency": meter.latency,
            "throughput": meter.latency,
        }
        record = times[measure](workload)
        if measure == "throughput":
            throughput = 1e3 * workload.batch * workload.generate / record.value
            return Measurement(throughput, throughput * record.std / record.value, record)
        samples = getattr(meter.times(workload), measure) if quantiles else None
        return Measurement(record.value, record.std, record, samples)

    def _request_meter(self, model: LanguageModel) -> RequestMeter:
        if self._requests is None or self._requests.model is not model:
            self.release()
            self._requests = RequestMeter(
                model, self.passes, within=self.within, max_seconds=self.max_seconds
            )
        return self._requests

    def _idle(self) -> Power:
        """Return the idle power, which is measured once for all models."""
        if self._idle_power is None:
            assert self._energy_meter is not None
            self._idle_power = self._energy_meter.idle()
        return self._idle_power


def energy_std(energy: Energy) -> float:
    """Return the relative standard error of an energy.

    The meter's error is half of a 95 % interval. In a window that is too short for an estimate it
    is infinite, and the standard error is then the value itself.
    """
    return energy.error / NORMAL_97_5 if math.isfinite(energy.error) else 1.0


def fitting_workloads(
    space: LanguageModelSpace, workloads: Mapping[str, Workload]
) -> tuple[dict[str, Workload], dict[str, str]]:
    """Return the workloads that the models of a space can do, and the reasons for the others.

    Examples
    --------
    >>> import hwnas
    >>> from hwnas.workloads import BUILT_IN
    >>> space = hwnas.space({"name": "tiny", "embed_dim": [16], "n_layer": [2], "mlp_ratio": [1],
    ...                      "n_head": [2], "head_size": 8, "context": 800, "vocab_size": 50})
    >>> fitting, reasons = fitting_workloads(space, BUILT_IN)
    >>> list(fitting), list(reasons)
    (['chat'], ['forward', 'serve'])
    """
    fitting, reasons = {}, {}
    for name, workload in workloads.items():
        try:
            workload.check(space)
            if workload.generate == 0:
                for precision in space.choices.get("precision", [workload.precision]):
                    _pass_settings(replace(workload, precision=str(precision)), PassSettings())
            fitting[name] = workload
        except InvalidInput as error:
            reasons[name] = str(error)
    return fitting, reasons


def workload_of(space: LanguageModelSpace, arch: Any, workload: Workload) -> Workload:
    """Return a workload with the precision that an architecture chooses, if its space has one."""
    names = list(space.choices)
    if "precision" not in names:
        return workload
    column = names.index("precision")
    precision = space.choices["precision"][int(space.encode([arch])[0, column])]
    return replace(workload, precision=str(precision))


def _pass_settings(workload: Workload, passes: PassSettings) -> PassSettings:
    """Return the settings of a forward pass of a workload that generates nothing."""
    return replace(
        passes,
        batch_size=workload.batch,
        tokens=workload.prompt,
        precision=workload.precision,  # type: ignore[arg-type]  # checked there
    )


def _describe(passes: PassSettings) -> str:
    """Return a short text on a forward pass."""
    tokens = "the context's" if passes.tokens is None else f"{passes.tokens:,}"
    precision = "" if passes.precision == "auto" else f", {passes.precision}"
    return f"one forward pass of {passes.batch_size} x {tokens} tokens{precision}"


def resolve_device(name: str) -> tuple[str, torch.device]:
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
        known = (
            f"one of the {count} CUDA devices" if count else "auto or cpu, without a CUDA device"
        )
        raise InvalidInput(f"device: expected {known} here, found {name!r}")
    return name, torch.device("cuda", index if index >= 0 else torch.cuda.current_device())
