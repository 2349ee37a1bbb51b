"""Energy of requests, on a simulated device whose prefills need more power than steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from hwnas.profiling.meters import energy as energy_module
from hwnas.profiling.meters import request_energy as module
from hwnas.profiling.meters.energy import EnergyMeter, Power
from hwnas.profiling.meters.forward_pass import environment
from hwnas.profiling.meters.generation import Part
from hwnas.profiling.meters.request_energy import energy_per_token, request_energy, split_parts
from hwnas.profiling.meters.request_protocol import RequestProtocol
from hwnas.profiling.meters.sustained_load import CyclicLoad
from hwnas.workloads import Workload

WORKLOAD = Workload(prompt=8, generate=11, batch=4)
PREFILL, STEP = (0.060, 500.0), (0.004, 300.0)  # seconds and watts
JOULES = 0.060 * 500 + 10 * 0.004 * 300


class TwoPowers:
    """Device with 50 W when idle and a power of its own for each piece of work."""

    name, period, idle = "two powers", 0.02, 50.0

    def __init__(self) -> None:
        self.now = 3.21
        self.work: list[tuple[float, float, float]] = []
        self.first, self.settled = 0, 0.0

    def clock(self) -> float:
        self.now += 1e-4
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def enqueue(self, seconds: float, watts: float) -> None:
        start = max(self.now, self.work[-1][1] if self.work else 0.0)
        self.work.append((start, start + seconds, watts))

    def run(self, seconds: float, watts: float) -> None:
        self.enqueue(seconds, watts)
        self.now = self.work[-1][1]

    def mark(self) -> Callable[[], bool]:
        end = self.work[-1][1]
        return lambda: self.now >= end

    def read(self) -> float:
        until = int(self.now / self.period) * self.period
        while self.first < len(self.work) and self.work[self.first][1] <= until:
            start, end, watts = self.work[self.first]
            self.settled += (end - start) * (watts - self.idle)
            self.first += 1
        rest = sum(
            max(min(end, until) - start, 0) * (watts - self.idle)
            for start, end, watts in self.work[self.first : self.first + 1]
        )
        return self.idle * until + self.settled + rest


class SimulatedPasses:
    def __init__(self, do: Callable[[float, float], None]) -> None:
        self.do = do

    def prefill_pass(self, prompt: int) -> Callable[[], object]:
        return lambda: self.do(*PREFILL)

    def step_pass(self, position: int) -> Callable[[], object]:
        return lambda: self.do(*STEP)

    def buckets(self, prompt: int, generate: int) -> list[tuple[int, int]]:
        return [(16, 8), (32, 2)]


@pytest.mark.parametrize("is_gpu", [True, False])
def test_energy_of_requests(is_gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    device = TwoPowers()
    device.period = 0.02 if is_gpu else 0.001  # a counter of processors ticks every ms
    # Passes of the simulated device take no time by the clock of this machine.
    monkeypatch.setattr(
        module, "part_ms", lambda part, meter: part.count * (4.0 if part.count > 1 else 60.0)
    )
    if is_gpu:
        create = CyclicLoad

        def queued(pieces: Any, mark: Any, *, clock: Any) -> CyclicLoad:
            return create(pieces, device.mark, clock=clock)

        monkeypatch.setattr(module, "CyclicLoad", queued)
    meter = EnergyMeter(torch.device("cpu"), device, clock=device.clock, sleep=device.sleep)  # type: ignore[arg-type]
    passes = SimulatedPasses(device.enqueue if is_gpu else device.run)
    protocol = RequestProtocol("cpu", "eager", 8, 11, 4, "float32", 1, None)
    energy = request_energy(
        meter,
        passes,
        WORKLOAD,
        protocol,
        environment(torch.device("cpu")),
        within=0.02,
        idle=Power(50.0, 0.0),
    )
    assert energy.joules == pytest.approx(JOULES, rel=0.02)
    assert energy.net_joules == pytest.approx(JOULES - 50 * 0.1, rel=0.02)
    assert energy.seconds == pytest.approx(0.1, rel=0.03)  # a CPU waits while the counter is read
    assert energy.precise
    assert 1.0 <= energy.window < 2.5
    assert energy.passes >= 8
    assert energy.protocol == protocol
    assert energy_per_token(energy, WORKLOAD) == pytest.approx(1e3 * JOULES / 44, rel=0.02)


def test_long_parts_are_split() -> None:
    log: list[str] = []
    parts = [Part(lambda: partial(log.append, "p"), 1), Part(lambda: partial(log.append, "s"), 7)]
    pieces = split_parts(parts, [60.0, 21.0])
    assert len(pieces) == 1 + 3
    assert sum(share for _, share in pieces) == pytest.approx(1)
    assert pieces[0][1] == pytest.approx(60 / 81)
    for run, _ in pieces:
        run()
        log.append("|")
    assert "".join(log) == "p|sss|ss|ss|"


def test_marks_are_events(monkeypatch: pytest.MonkeyPatch) -> None:
    class Event:
        def record(self) -> None:
            self.is_recorded = True

        def query(self) -> bool:
            return self.is_recorded

    monkeypatch.setattr(torch.cuda, "Event", Event)
    assert energy_module.enqueue_mark()()


def test_duration_of_a_part() -> None:
    meter = EnergyMeter(torch.device("cpu"), TwoPowers())  # type: ignore[arg-type]
    part = Part(lambda: lambda: time.sleep(0.002), 5)
    assert 10 <= module.part_ms(part, meter) < 200  # a sleep lasts longer on a busy machine
