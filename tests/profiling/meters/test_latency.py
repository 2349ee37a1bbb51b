from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from typing import Any

import numpy as np
import pytest
import torch

from hwnas.errors import InvalidInput
from hwnas.profiling.gpt import GPT
from hwnas.profiling.measurement_log import plain
from hwnas.profiling.meters.forward_pass import Pass, PassSettings, environment, protocol_of
from hwnas.profiling.meters.latency import latency, repeated, timer, warmed_up
from hwnas.profiling.meters.nvml import BoardState
from hwnas.spaces.architecture import Architecture

COOL = BoardState(1980, 2619, 60, 300.0, ("sw_power_cap",))
HOT = BoardState(1200, 2619, 90, 300.0, ("hw_thermal_slowdown",))
SETTINGS = {"within": 0.01, "min_repeats": 20, "max_repeats": 200, "max_seconds": 1e9}


class Device:
    """Passes that take what a test says, in ms, on a clock of their own."""

    def __init__(self, times: Iterator[float]) -> None:
        self.times, self.now = times, 0.0

    def timed(self) -> float:
        ms = next(self.times)
        self.now += ms / 1e3
        return ms

    def clock(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def repeated(self, state: Callable[[], BoardState] | None = None, **settings: Any) -> Any:
        clocks = {"clock": self.clock, "pause": self.pause}
        return repeated(self.timed, state=state, **{**SETTINGS, **clocks, **settings})


def test_what_does_not_vary_needs_the_fewest() -> None:
    assert Device(repeat(3.0)).repeated().samples == (3.0,) * 20


def test_it_goes_on_until_the_median_is_sure() -> None:
    rng = np.random.default_rng(0)
    found = Device(iter(rng.normal(5, 0.25, size=9999).tolist())).repeated(max_repeats=5000)
    # 1.96 * 1.25 * 0.05 / sqrt(n) = 0.01
    assert 80 <= len(found.samples) <= 300


def test_caps_on_repeats_and_seconds() -> None:
    wild = [1.0, 9.0, 5.0]
    assert len(Device(chain(wild * 999)).repeated(max_repeats=33).samples) == 33
    found = Device(repeat(400.0)).repeated(max_seconds=2.0)
    assert len(found.samples) == 5
    assert len(Device(repeat(9e3)).repeated(max_seconds=2.0).samples) == 1


def test_throttled_rounds_are_repeated() -> None:
    device = Device(chain([9.0] * 10, repeat(3.0)))
    states = chain([HOT], repeat(COOL))
    found = device.repeated(lambda: next(states))
    assert found.samples == (3.0,) * 20
    assert found.dropped == 1
    assert found.states == (HOT, COOL, COOL)


def test_a_board_that_stays_hot_is_taken_as_it_is() -> None:
    found = Device(repeat(9.0)).repeated(lambda: HOT, patience=3)
    assert (len(found.samples), found.dropped, len(found.states)) == (20, 3, 5)


def test_warm_up_ends_when_nothing_changes() -> None:
    falling = Device(chain([100.0 / k for k in range(1, 21)], repeat(5.0)))
    passes, steady = warmed_up(falling.timed, max_seconds=100, clock=falling.clock)
    assert steady
    assert 23 <= passes <= 27
    endless = Device(100.0 / k for k in range(1, 10**6))
    assert warmed_up(endless.timed, max_seconds=0.3, clock=endless.clock) == (
        11,
        False,
    )  # 1 + 1/2 + ... + 1/11 > 3


def test_on_cuda_events_stand_around_a_pass(model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing
            self.name = "end" if "made" in log else "begin"
            log.append("made")

        def record(self) -> None:
            log.append(self.name)

        def synchronize(self) -> None:
            log.append(f"wait for {self.name}")

        def elapsed_time(self, other: Event) -> float:
            return 1.5 if (self.name, other.name) == ("begin", "end") else -1.5

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: log.append("synchronize"))
    cpu = torch.device("cpu")
    protocol = protocol_of(model, PassSettings())
    ready = Pass(lambda: log.append("run"), torch.device("cuda"), protocol, environment(cpu))
    timed = timer(ready)
    assert timed() == 1.5
    assert log[2:] == ["synchronize", "begin", "run", "end", "wait for end"]


def test_of_a_real_network() -> None:
    def network(n_layer: int) -> GPT:
        arch = Architecture("x", 64, n_layer, (2,) * n_layer, (2,) * n_layer, True)
        return GPT(arch, head_size=16, context=64, vocab_size=257)

    settings = PassSettings(batch_size=2, threads=1)
    small, again, large = (latency(network(n), settings, max_seconds=0.4) for n in (1, 1, 12))
    for found in (small, again, large):
        low, high = found.interval
        assert 0 < low <= found.median <= high
        assert found.median <= found.p90
        assert found.spread >= 0
        assert found.warm_up >= 1
        json.dumps(plain(found))
    assert 0.3 < small.median / again.median < 3
    assert large.median > 2 * small.median
    assert (small.protocol.mode, small.protocol.device, small.protocol.threads) == (
        "eager",
        "cpu",
        1,
    )
    assert small.environment.torch == torch.__version__


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"within": 0}, "within: expected a number above 0, found 0"),
        ({"max_seconds": "3"}, "max_seconds: expected a number above 0, found '3'"),
        ({"warm_up_seconds": -1}, "warm_up_seconds: expected a number of at least 0, found -1"),
        ({"min_repeats": 0}, "expected positive integers, found 0 and"),
        ({"min_repeats": 9, "max_repeats": 8}, "max_repeats: expected at least 9, found 8"),
    ],
)
def test_what_is_no_setting(model: GPT, settings: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        latency(model, **settings)
