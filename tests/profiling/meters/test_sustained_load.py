from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from hwnas.profiling.meters.sustained_load import (
    IdleLoad,
    Load,
    QueuedLoad,
    Segment,
    SequentialLoad,
    measure_segments,
)


def first_segments(machine: Any, load: Load, count: int = 8) -> list[Segment]:
    return list(islice(measure_segments(machine, load, clock=machine.clock), count))


def test_idle_device(machine: Any) -> None:
    for segment in first_segments(machine, IdleLoad(machine.sleep)):
        assert segment.joules / segment.seconds == pytest.approx(50, rel=0.02)
        assert abs(segment.seconds - 0.1) <= segment.uncertainty < 0.002
        assert segment.passes == 0


def test_queue_keeps_a_gpu_busy(machine: Any) -> None:
    load = QueuedLoad(machine.begin, machine.mark, clock=machine.clock)
    segments = first_segments(machine, load, 20)
    for segment in segments:
        assert segment.joules / segment.seconds == pytest.approx(250, rel=0.01)
        assert segment.passes == pytest.approx(0.1 / 0.007, rel=0.02)
        assert segment.uncertainty < 0.001
    total = sum(s.passes for s in segments)
    assert sum(s.joules for s in segments) / total == pytest.approx(250 * 0.007, rel=0.002)
    gaps = [b[0] - a[1] for a, b in zip(machine.work, machine.work[1:], strict=False)]
    assert max(gaps) == pytest.approx(0)


def test_queue_has_a_maximum_length(machine: Any) -> None:
    load = QueuedLoad(machine.begin, machine.mark, clock=machine.clock)
    for _ in range(500):
        load.step()
        assert sum(end > machine.now for _, end in machine.work) <= 3
    assert load.passes(machine.now) == pytest.approx(machine.now / 0.007 - 12.345 / 0.007, abs=0.2)


def test_sequential_passes_are_whole_numbers(machine: Any) -> None:
    machine.period = 0.001
    segments = first_segments(machine, SequentialLoad(machine.run))
    for segment in segments:
        assert segment.passes == 8  # the first number of 7 ms that lasts 50 ms
        assert 0.056 <= segment.seconds < 0.0585
        assert segment.joules == pytest.approx(250 * 0.056, rel=0.02)


def test_power_settles_before_the_first_segment(machine: Any) -> None:
    machine.period = 0.001
    next(measure_segments(machine, SequentialLoad(machine.run), clock=machine.clock))
    assert 0.55 < machine.now - 12.345 < 0.58
