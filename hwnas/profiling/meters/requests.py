"""Meter of the requests of one model: what its metrics share is measured once."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeVar, cast

import torch

from hwnas.profiling.errors import release_memory
from hwnas.profiling.generation import Generator, cast_for_inference
from hwnas.profiling.generation.generator import DecodingMode
from hwnas.profiling.language_model import LanguageModel
from hwnas.profiling.meters.energy import Energy, EnergyMeter, Power
from hwnas.profiling.meters.forward_pass import (
    Environment,
    PassSettings,
    environment,
    thread_settings,
)
from hwnas.profiling.meters.generation import (
    RequestTimes,
    StepTimes,
    first_token_time,
    request_times,
    step_times,
)
from hwnas.profiling.meters.memory import PeakMemory
from hwnas.profiling.meters.nvml import GpuState
from hwnas.profiling.meters.request_energy import request_energy
from hwnas.profiling.meters.request_memory import request_memory
from hwnas.profiling.meters.request_protocol import RequestProtocol
from hwnas.profiling.meters.timing import Timing, time_work
from hwnas.workloads import Workload

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class RequestLatency:
    """Times of a request and of its parts.

    Attributes
    ----------
    value, std
        Time of the whole request, or of the one part that was asked for, and its standard error,
        in ms.
    ttft, tpot
        Times of its parts; None where it has no such part, or that was not asked for.
    protocol, environment
        Settings, hardware and software of the measurement.
    """

    value: float
    std: float
    ttft: Timing | None
    tpot: StepTimes | None
    protocol: RequestProtocol
    environment: Environment

    @property
    def precise(self) -> bool:
        """Whether all parts were measured as precisely as requested."""
        return all(part.precise for part in (self.ttft, self.tpot) if part is not None)

    @property
    def states(self) -> tuple[GpuState, ...]:
        """States of the GPU during the measurements."""
        return tuple(s for part in (self.ttft, self.tpot) if part is not None for s in part.states)


class RequestMeter:
    """Meter of the requests of one model.

    Close it when its model is no longer measured: until then it holds a copy of the weights in the
    precision of the last workload, and the cache and graphs of that.

    Parameters
    ----------
    model
        Model on its device. It is not changed.
    settings
        Mode, threads and processors; the rest belongs to forward passes. ``"compiled"`` is
        ``"auto"`` here.
    within, max_seconds
        See `hwnas.profiling.meters.latency.latency`; the limit holds for each part of a request.

    Examples
    --------
    >>> from hwnas.profiling.gpt import GPT
    >>> from hwnas.spaces.architecture import Architecture
    >>> arch = Architecture.parse("tiny-1-32-2-1-True")
    >>> model = GPT(arch, head_size=16, context=16, vocab_size=50)
    >>> with RequestMeter(model, PassSettings(), within=0.5, max_seconds=0.1) as meter:
    ...     meter.tpot(Workload(prompt=4, generate=4, batch=1, precision="float32")).value > 0
    True
    """

    def __init__(
        self,
        model: LanguageModel,
        settings: PassSettings,
        *,
        within: float = 0.01,
        max_seconds: float = 10.0,
    ) -> None:
        self.model, self.settings = model, settings
        self.within, self.max_seconds = within, max_seconds
        self._inference_model: tuple[str, LanguageModel] | None = None  # with its precision
        self._generator: tuple[Workload, Generator] | None = None
        self._resolved_mode: str = self._mode
        self._results: dict[tuple[str, Workload], object] = {}

    def __enter__(self) -> RequestMeter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the weights, the cache and the graphs; results stay."""
        self._close_generator()
        self._inference_model = None

    def ttft(self, workload: Workload) -> RequestLatency:
        """Measure the time to the first token."""
        timing = self._first_token(workload)
        return self._latency(workload, timing.median, timing.std, timing, None)

    def tpot(self, workload: Workload) -> RequestLatency:
        """Measure the time per output token."""
        steps = self._steps(workload)
        return self._latency(workload, steps.mean, steps.std, None, steps)

    def latency(self, workload: Workload) -> RequestLatency:
        """Measure the time of the whole request from that of its parts."""
        first, n_steps = self._first_token(workload), workload.generate - 1
        if n_steps < 1:
            return self._latency(workload, first.median, first.std, first, None)
        steps = self._steps(workload)
        value = first.median + n_steps * steps.mean
        return self._latency(
            workload, value, math.hypot(first.std, n_steps * steps.std), first, steps
        )

    def times(self, workload: Workload) -> RequestTimes:
        """Measure whole requests for quantiles."""
        return self._once(
            "times",
            workload,
            lambda passes: request_times(
                passes, workload, self.model.device, max_seconds=self.max_seconds
            ),
        )

    def energy(
        self, workload: Workload, meter: EnergyMeter, *, within: float, idle: Power
    ) -> Energy:
        """Measure the energy of a request of the whole batch."""
        return self._once(
            "energy",
            workload,
            lambda passes: request_energy(
                meter,
                passes,
                workload,
                self._protocol(workload),
                environment(self.model.device),
                within=within,
                max_seconds=self.max_seconds,
                idle=idle,
            ),
        )

    def peak_memory(self, workload: Workload) -> PeakMemory:
        """Measure the peak memory of a request."""
        key = ("peak_memory", workload)
        if key not in self._results:
            # The cache and the graphs of other measurements are not part of it.
            self._close_generator()
            with self._prepared(workload):
                # A CPU needs no weights: a separate process draws its own.
                is_cuda = self.model.device.type == "cuda"
                model = self.inference_model(workload.precision) if is_cuda else self.model
                self._results[key] = request_memory(model, workload, self._protocol(workload))
        return cast(PeakMemory, self._results[key])

    def inference_model(self, precision: str) -> LanguageModel:
        """Return the model with weights in a precision: itself, or a copy that is kept."""
        if precision == str(self.model.dtype).removeprefix("torch."):
            return self.model
        if self._inference_model is None or self._inference_model[0] != precision:
            self.close()  # one copy at a time
            model = cast_for_inference(copy.deepcopy(self.model), precision)
            self._inference_model = (precision, model)
        return self._inference_model[1]

    def _first_token(self, workload: Workload) -> Timing:
        return self._once(
            "ttft",
            workload,
            lambda passes: first_token_time(
                passes,
                workload,
                self.model.device,
                within=self.within,
                max_seconds=self.max_seconds,
            ),
        )

    def _steps(self, workload: Workload) -> StepTimes:
        def time_step(run: Callable[[], object]) -> Timing:
            return time_work(
                run, self.model.device, within=self.within, max_seconds=self.max_seconds
            )

        return self._once("tpot", workload, lambda passes: step_times(passes, workload, time_step))

    def _once(
        self, quantity: str, workload: Workload, measure: Callable[[Generator], _Result]
    ) -> _Result:
        """Return a result from before, or measure it."""
        key = (quantity, workload)
        if key not in self._results:
            with self._prepared(workload):
                self._results[key] = measure(self._open_generator(workload))
        return cast(_Result, self._results[key])

    @contextmanager
    def _prepared(self, workload: Workload) -> Iterator[None]:
        """Set device and threads; after an error release all memory."""
        device, protocol = self.model.device, self._protocol(workload)
        with (
            release_memory(device, f"measuring {self.model.arch}"),
            thread_settings(protocol.threads, protocol.cpus),
            torch.cuda.device(device) if device.type == "cuda" else nullcontext(),
        ):
            try:
                yield
            except BaseException:
                self.close()
                raise

    def _open_generator(self, workload: Workload) -> Generator:
        if self._generator is None or self._generator[0] != workload:
            self._close_generator()
            generator = Generator(
                self.inference_model(workload.precision),
                batch=workload.batch,
                positions=workload.positions,
                mode=self._mode,
            )
            self._generator, self._resolved_mode = (workload, generator), generator.mode
        return self._generator[1]

    def _close_generator(self) -> None:
        if self._generator is not None:
            self._generator[1].close()
            self._generator = None

    @property
    def _mode(self) -> DecodingMode:
        return "auto" if self.settings.mode == "compiled" else self.settings.mode

    def _protocol(self, workload: Workload) -> RequestProtocol:
        is_cuda = self.model.device.type == "cuda"
        threads = None if is_cuda else self.settings.threads or torch.get_num_threads()
        return RequestProtocol(
            str(self.model.device),
            self._resolved_mode,
            workload.prompt,
            workload.generate,
            workload.batch,
            workload.precision,
            threads,
            self.settings.cpus,
        )

    def _latency(
        self,
        workload: Workload,
        value: float,
        std: float,
        first: Timing | None,
        steps: StepTimes | None,
    ) -> RequestLatency:
        protocol, machine = self._protocol(workload), environment(self.model.device)
        return RequestLatency(value, std, first, steps, protocol, machine)
