"""Complete settings of a measurement of requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from hwnas.profiling.meters.forward_pass import Protocol


@dataclass(frozen=True, slots=True)
class RequestProtocol:
    """Complete settings of a measurement of requests; defaults are replaced by their values.

    Attributes
    ----------
    device, mode, threads, cpus
        As in `hwnas.profiling.meters.forward_pass.Protocol`.
    prompt, generate, batch, precision
        See `hwnas.workloads.Workload`.
    """

    device: str
    mode: str
    prompt: int
    generate: int
    batch: int
    precision: str
    threads: int | None
    cpus: tuple[int, ...] | None


AnyProtocol: TypeAlias = Protocol | RequestProtocol
