"""One forward pass of a batch, made ready to be measured: what runs, how, and where."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

import torch

from hwnas.errors import InvalidInput
from hwnas.profiling.errors import memory_given_back
from hwnas.profiling.gpt import GPT
from hwnas.profiling.meters.nvml import BoardState, NoMeter, board
from hwnas.profiling.training.config import Precision, autocast

Mode = Literal["auto", "graph", "eager", "compiled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PassSettings:
    """What is measured: one forward pass of a batch. The defaults are HW-GPT-Bench's.

    Attributes
    ----------
    batch_size
        Sequences.
    tokens
        Length of a sequence; the network's context by default.
    precision
        As of `TrainingSettings`. A network whose weights are bfloat16 runs as it is; weights in
        float32 are cast in every pass, as HW-GPT-Bench does it.
    mode
        ``"graph"``: a CUDA graph, so the host's time to launch kernels does not count;
        ``"eager"``; ``"compiled"`` with torch.compile. ``"auto"`` is a graph on CUDA and eager
        elsewhere.
    threads
        Of torch on the CPU; by default as many as it has now.
    cpus
        Processors to which all threads of this process are pinned meanwhile (Linux); by default
        the system places them.

    Raises
    ------
    InvalidInput
        A setting is not of its type or range.
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
        for name, known in (("precision", get_args(Precision)), ("mode", get_args(Mode))):
            if getattr(self, name) not in known:
                raise InvalidInput(
                    f"{name}: expected one of {', '.join(known)}, found {getattr(self, name)!r}"
                )


@dataclass(frozen=True, slots=True)
class Protocol:
    """How something was measured, with nothing left to a default.

    Attributes
    ----------
    device
        ``"cpu"``, ``"cuda:0"``.
    mode, batch_size, tokens, precision, threads, cpus
        As in `PassSettings`; no threads on a GPU.
    weights
        Type of the weights.
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
    """What it was measured on.

    Attributes
    ----------
    device_name
        Of the GPU or the processor.
    cpu_count
        Processors that this process may use.
    state
        Of a GPU's board, before the measurement.
    """

    device_name: str
    torch: str
    cuda: str | None
    driver: str | None
    system: str
    cpu_count: int
    state: BoardState | None


@dataclass(frozen=True, slots=True)
class Pass:
    """A forward pass that is ready.

    Attributes
    ----------
    run
        Do it once; on CUDA it returns before it is done.
    device
        Where it runs.
    protocol, environment
        To be stored with every value.
    """

    run: Callable[[], object]
    device: torch.device
    protocol: Protocol
    environment: Environment


@contextmanager
def forward_pass(model: GPT, settings: PassSettings) -> Iterator[Pass]:
    """A forward pass of a network on the device where it is; its memory is given back afterwards.

    Raises
    ------
    OutOfMemory
    InvalidInput
        The network has no weights, or the settings do not fit it or its device.
    """
    protocol = protocol_of(model, settings)
    device = model.cos.device
    if device.type == "meta":
        raise InvalidInput(f"{model.arch}: expected a network with weights, found one on meta")
    with memory_given_back(device, f"measuring {model.arch}"), _pinned(protocol):
        generator = torch.Generator().manual_seed(0)
        shape = (protocol.batch_size, protocol.tokens)
        batch = torch.randint(model.vocab_size, shape, generator=generator).to(device)
        casts = protocol.precision == "bfloat16" and protocol.weights != "bfloat16"
        compiled = protocol.mode == "compiled"
        network = torch.compile(model, dynamic=False) if compiled else model

        @torch.no_grad()
        def run() -> object:
            with autocast(device, "bfloat16" if casts else "float32"):
                return network(batch)

        try:
            if compiled:
                run()  # compiles, which takes longer than any warm-up
            if device.type == "cuda":
                with torch.cuda.device(device):
                    ready = _graph(run) if protocol.mode == "graph" else run
                    yield Pass(ready, device, protocol, environment(device))
            else:
                yield Pass(run, device, protocol, environment(device))
        finally:
            if compiled:
                torch.compiler.reset()  # or, after a few networks, torch compiles no more


def protocol_of(model: GPT, settings: PassSettings) -> Protocol:
    """The settings as they are for a network and its device.

    Raises
    ------
    InvalidInput
        They do not fit.
    """
    device = model.cos.device
    cuda = device.type == "cuda"
    tokens = model.context if settings.tokens is None else settings.tokens
    if tokens > model.context:
        raise InvalidInput(
            f"tokens: expected at most {model.context}, the network's context, found {tokens}"
        )
    if settings.mode == "graph" and not cuda:
        raise InvalidInput(f"mode: graph needs a CUDA device, found {device}")
    weights = str(model.embedding.weight.dtype).removeprefix("torch.")
    precision: str = settings.precision
    if precision == "auto":
        precision = "bfloat16" if cuda or weights == "bfloat16" else "float32"
    if weights not in ("float32", precision):
        raise InvalidInput(f"precision: {precision} does not fit weights in {weights}")
    mode = settings.mode if settings.mode != "auto" else "graph" if cuda else "eager"
    threads = None if cuda else settings.threads or torch.get_num_threads()
    return Protocol(
        str(device), mode, settings.batch_size, tokens, precision, weights, threads, settings.cpus
    )


def environment(device: torch.device) -> Environment:
    """What a device and the software around it are called; what cannot be read is None."""
    name, driver, state = _cpu_name(), None, None
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        try:
            found = board(device)
            driver, state = found.driver, found.state()
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


@lru_cache
def _side(index: int) -> torch.cuda.Stream:
    """One stream for each device: every further one would keep a workspace of cuBLAS for good."""
    return torch.cuda.Stream(index)  # type: ignore[no-untyped-call]


def _graph(run: Callable[[], object]) -> Callable[[], object]:
    """The pass as a CUDA graph; what kernels choose at first, they choose before it is taken."""
    side = _side(torch.cuda.current_device())
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = run()

    def replay(kept: object = output) -> None:  # the graph writes to it as long as it is replayed
        graph.replay()

    return replay


@contextmanager
def _pinned(protocol: Protocol) -> Iterator[None]:
    """Threads and processors as a protocol says; as before when it is over."""
    threads = torch.get_num_threads()
    places: dict[int, set[int]] = {}
    try:
        if protocol.threads is not None:
            torch.set_num_threads(protocol.threads)
        if protocol.cpus is not None:
            places = _pin(protocol.cpus)
        yield
    finally:
        torch.set_num_threads(threads)
        for thread, before in places.items():
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.sched_setaffinity(thread, before)


def _pin(cpus: tuple[int, ...]) -> dict[int, set[int]]:
    """Pin every thread of this process; returns where each was allowed before."""
    if not hasattr(os, "sched_setaffinity"):
        raise InvalidInput(f"cpus: this system pins no threads, found {cpus}")
    if not cpus or not set(cpus) <= available_cpus():
        raise InvalidInput(f"cpus: expected some of {sorted(available_cpus())}, found {cpus}")
    before = {}
    for entry in Path("/proc/self/task").iterdir():
        thread = int(entry.name)
        with suppress(ProcessLookupError):
            before[thread] = os.sched_getaffinity(thread)
            os.sched_setaffinity(thread, cpus)
    return before


def available_cpus() -> set[int]:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
