from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from hwnas.profiling.meters.sustained_load import InTurn, Load, Nothing, Queue, Segment, segments


def found(machine: Any, load: Load, count: int = 8) -> list[Segment]:
    return list(islice(segments(machine, load, clock=machine.clock), count))


def test_an_idle_device(machine: Any) -> None:
    for segment in found(machine, Nothing(machine.sleep)):
        assert segment.joules / segment.seconds == pytest.approx(50, rel=0.02)
        assert abs(segment.seconds - 0.1) <= segment.violation < 0.002
        assert segment.passes == 0


def test_a_queue_keeps_a_gpu_busy(machine: Any) -> None:
    load = Queue(machine.begin, machine.mark, clock=machine.clock)
    parts = found(machine, load, 20)
    for segment in parts:
        assert segment.joules / segment.seconds == pytest.approx(250, rel=0.01)
        assert segment.passes == pytest.approx(0.1 / 0.007, rel=0.02)
        assert segment.violation < 0.001
    total = sum(s.passes for s in parts)
    assert sum(s.joules for s in parts) / total == pytest.approx(250 * 0.007, rel=0.002)
    gaps = [b[0] - a[1] for a, b in zip(machine.work, machine.work[1:], strict=False)]
    assert max(gaps) == pytest.approx(0)


def test_a_queue_is_never_long(machine: Any) -> None:
    load = Queue(machine.begin, machine.mark, clock=machine.clock)
    for _ in range(500):
        load.work()
        assert sum(end > machine.now for _, end in machine.work) <= 3
    assert load.passes(machine.now) == pytest.approx(machine.now / 0.007 - 12.345 / 0.007, abs=0.2)


def test_passes_in_turn_are_whole(machine: Any) -> None:
    machine.period = 0.001
    parts = found(machine, InTurn(machine.run))
    for segment in parts:
        assert segment.passes == 8  # the first number of 7 ms that lasts 50 ms
        assert 0.056 <= segment.seconds < 0.0585
        assert segment.joules == pytest.approx(250 * 0.056, rel=0.02)


def test_power_settles_before_the_first_segment(machine: Any) -> None:
    machine.period = 0.001
    next(segments(machine, InTurn(machine.run), clock=machine.clock))
    assert 0.55 < machine.now - 12.345 < 0.58
