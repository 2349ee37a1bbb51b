"""Forward pass of a batch, prepared for measurement, with a record of how and where it runs."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch

from hwnas.errors import InvalidInput
from hwnas.profiling.cuda_graph import capture_graph
from hwnas.profiling.errors import release_memory
from hwnas.profiling.language_model import LanguageModel
from hwnas.profiling.meters.nvml import GpuState, NoMeter, nvml_device
from hwnas.profiling.training.config import Precision, autocast

Mode = Literal["auto", "graph", "eager", "compiled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PassSettings:
    """Settings of a forward pass of a batch. The defaults are those of HW-GPT-Bench for gpt-s.

    Attributes
    ----------
    batch_size
        Number of sequences.
    tokens
        Length of a sequence; by default the context of the model.
    precision
        See `TrainingSettings`. A model with bfloat16 weights runs as it is; float32 weights are
        cast in every pass, as in HW-GPT-Bench.
    mode
        ``"graph"``: a CUDA graph, which excludes the host's time to launch kernels;
        ``"eager"``; ``"compiled"`` with torch.compile. ``"auto"`` is a graph on CUDA and eager
        elsewhere.
    threads
        Number of torch's threads on the CPU; by default it is not changed.
    cpus
        Processors to which all threads of this process are pinned during the measurement (Linux);
        by default they are not pinned.

    Raises
    ------
    InvalidInput
        A setting has the wrong type or is out of range.

    Examples
    --------
    >>> PassSettings(batch_size=1, tokens=128).precision
    'auto'
    """

    batch_size: int = 8
    tokens: int | None = None
    precision: Precision = "auto"
    mode: Mode = "auto"
    threads: int | None = None
    cpus: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "tokens", "threads"):
            value = getattr(self, name)
            if (value is None and name != "batch_size") or (type(value) is int and value >= 1):
                continue
            raise InvalidInput(f"{name}: expected a positive integer, found {value!r}")
        for name, choices in (("precision", get_args(Precision)), ("mode", get_args(Mode))):
            if getattr(self, name) not in choices:
                raise InvalidInput(
                    f"{name}: expected one of {', '.join(choices)}, found {getattr(self, name)!r}"
                )


@dataclass(frozen=True, slots=True)
class Protocol:
    """Complete settings of a measurement; defaults are replaced by their values.

    Attributes
    ----------
    device
        ``"cpu"``, ``"cuda:0"``.
    mode, batch_size, tokens, precision, threads, cpus
        See `PassSettings`; threads is None on a GPU.
    weights
        Data type of the weights.
    """

    device: str
    mode: str
    batch_size: int
    tokens: int
    precision: str
    weights: str
    threads: int | None
    cpus: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Environment:
    """Hardware and software of a measurement.

    Attributes
    ----------
    device_name
        Name of the GPU or of the processor.
    torch, cuda, driver, system
        Versions; cuda is that of torch, and None in a build without CUDA.
    cpu_count
        Number of processors that this process may use.
    state
        State of the GPU before the measurement; None on a CPU, or if it cannot be read.
    """

    device_name: str
    torch: str
    cuda: str | None
    driver: str | None
    system: str
    cpu_count: int
    state: GpuState | None


@dataclass(frozen=True, slots=True)
class ForwardPass:
    """Forward pass that is prepared for measurement.

    Attributes
    ----------
    run
        Function that runs the pass; on CUDA it returns before the pass has ended.
    device
        Device on which it runs.
    protocol, environment
        Settings, hardware and software, to be stored with each measured value.
    """

    run: Callable[[], object]
    device: torch.device
    protocol: Protocol
    environment: Environment


@contextmanager
def prepare_forward_pass(model: LanguageModel, settings: PassSettings) -> Iterator[ForwardPass]:
    """Prepare the forward pass of a model on its device; release its memory afterwards.

    Raises
    ------
    OutOfMemory
        The device has not enough memory.
    InvalidInput
        The model has no weights, or the settings do not fit the model or its device.

    Examples
    --------
    >>> from hwnas.profiling.gpt import GPT
    >>> from hwnas.spaces.architecture import Architecture
    >>> arch = Architecture.parse("tiny-1-32-2-1-True")
    >>> model = GPT(arch, head_size=16, context=8, vocab_size=50)
    >>> with prepare_forward_pass(model, PassSettings(batch_size=2)) as forward_pass:
    ...     forward_pass.run().shape
    torch.Size([2, 8, 50])
    """
    protocol = resolve_protocol(model, settings)
    device = model.device
    if device.type == "meta":
        raise InvalidInput(f"{model.arch}: expected a model with weights, found one on meta")
    action = f"measuring {model.arch}"
    with release_memory(device, action), thread_settings(protocol.threads, protocol.cpus):
        # The token ids do not affect the time; a fixed seed makes the output reproducible.
        generator = torch.Generator().manual_seed(0)
        shape = (protocol.batch_size, protocol.tokens)
        batch = torch.randint(model.vocab_size, shape, generator=generator).to(device)
        is_cast = protocol.precision == "bfloat16" and protocol.weights != "bfloat16"
        is_compiled = protocol.mode == "compiled"
        network = torch.compile(model, dynamic=False) if is_compiled else model

        @torch.no_grad()
        def run() -> object:
            with autocast(device, "bfloat16" if is_cast else "float32"):
                return network(batch)

        try:
            if is_compiled:
                run()  # compiles, which takes longer than any warm-up
            if device.type == "cuda":
                with torch.cuda.device(device):
                    run_on_gpu = capture_graph(run) if protocol.mode == "graph" else run
                    yield ForwardPass(run_on_gpu, device, protocol, environment(device))
            else:
                yield ForwardPass(run, device, protocol, environment(device))
        finally:
            if is_compiled:
                # torch stops compiling after a few models unless its caches are cleared.
                torch.compiler.reset()


def resolve_protocol(model: LanguageModel, settings: PassSettings) -> Protocol:
    """Return the settings with all defaults replaced, for a model and its device.

    Raises
    ------
    InvalidInput
        The settings do not fit the model or its device.
    """
    # Workload: batch_size is explicit, the length of the sequences defaults to the context.
    device = model.device
    is_cuda = device.type == "cuda"
    tokens = model.context if settings.tokens is None else settings.tokens
    if tokens > model.context:
        raise InvalidInput(
            f"tokens: expected at most {model.context}, the model's context, found {tokens}"
        )
    if settings.mode == "graph" and not is_cuda:
        raise InvalidInput(f"mode: graph needs a CUDA device, found {device}")
    # Precision: "auto" is bfloat16 on CUDA and that of the weights elsewhere.
    weights = str(model.dtype).removeprefix("torch.")
    precision: str = settings.precision
    if precision == "auto":
        precision = "bfloat16" if is_cuda or weights == "bfloat16" else "float32"
    # float32 weights can be cast to any precision; other weights must have the precision already.
    if weights not in ("float32", precision):
        raise InvalidInput(f"precision: {precision} does not fit weights in {weights}")
    mode = settings.mode if settings.mode != "auto" else "graph" if is_cuda else "eager"
    threads = None if is_cuda else settings.threads or torch.get_num_threads()
    return Protocol(
        str(device), mode, settings.batch_size, tokens, precision, weights, threads, settings.cpus
    )


def environment(device: torch.device) -> Environment:
    """Return the hardware and software of a device; values that cannot be read are None."""
    name, driver, state = _cpu_name(), None, None
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        try:
            gpu = nvml_device(device)
            driver, state = gpu.driver, gpu.state()
        except NoMeter:
            pass
    return Environment(
        name,
        torch.__version__,
        torch.version.cuda,
        driver,
        f"{platform.system()} {platform.release()} {platform.machine()}",
        len(available_cpus()),
        state,
    )


@contextmanager
def thread_settings(threads: int | None, cpus: tuple[int, ...] | None) -> Iterator[None]:
    """Apply a number of threads and the processors to pin them to; restore both at the end."""
    previous = torch.get_num_threads()
    affinities: dict[int, set[int]] = {}
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        if cpus is not None:
            affinities = _pin_threads(cpus)
        yield
    finally:
        torch.set_num_threads(previous)
        for thread, allowed in affinities.items():
            with suppress(ProcessLookupError):  # the thread may have ended
                os.sched_setaffinity(thread, allowed)


def _pin_threads(cpus: tuple[int, ...]) -> dict[int, set[int]]:
    """Pin every thread of this process; return the processors previously allowed for each."""
    # macOS and Windows have no such function.
    if not hasattr(os, "sched_setaffinity"):
        raise InvalidInput(f"cpus: this system pins no threads, found {cpus}")
    if not cpus or not set(cpus) <= available_cpus():
        raise InvalidInput(f"cpus: expected some of {sorted(available_cpus())}, found {cpus}")
    # The affinity of a process is that of its main thread; torch's other threads exist already.
    affinities = {}
    for entry in Path("/proc/self/task").iterdir():
        thread = int(entry.name)
        with suppress(ProcessLookupError):
            affinities[thread] = os.sched_getaffinity(thread)
            os.sched_setaffinity(thread, cpus)
    return affinities


def available_cpus() -> set[int]:
    """Return the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _cpu_name() -> str:
    # On Linux `platform.processor` is often empty.
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
