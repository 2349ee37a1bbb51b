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
from hwnas.profiling.measurement_log import to_json
from hwnas.profiling.meters import latency as latency_module
from hwnas.profiling.meters.forward_pass import (
    ForwardPass,
    PassSettings,
    environment,
    resolve_protocol,
)
from hwnas.profiling.meters.latency import collect_samples, latency, pass_timer, warm_up
from hwnas.profiling.meters.nvml import GpuState
from hwnas.spaces.architecture import Architecture

NORMAL_STATE = GpuState(1980, 2619, 60, 300.0, ("sw_power_cap",))
THROTTLED_STATE = GpuState(1200, 2619, 90, 300.0, ("hw_thermal_slowdown",))
SETTINGS = {"within": 0.01, "min_repeats": 20, "max_repeats": 200, "max_seconds": 1e9}


class Device:
    """Device with its own clock whose passes have prescribed durations, in ms."""

    def __init__(self, times: Iterator[float]) -> None:
        self.times, self.now = times, 0.0

    def time_pass(self) -> float:
        ms = next(self.times)
        self.now += ms / 1e3
        return ms

    def clock(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def collect_samples(self, state: Callable[[], GpuState] | None = None, **settings: Any) -> Any:
        clocks = {"clock": self.clock, "pause": self.pause}
        return collect_samples(self.time_pass, state=state, **{**SETTINGS, **clocks, **settings})


def test_constant_latency_needs_the_minimum_number_of_samples() -> None:
    assert Device(repeat(3.0)).collect_samples().samples == (3.0,) * 20


def test_sampling_continues_until_the_median_is_precise() -> None:
    rng = np.random.default_rng(0)
    result = Device(iter(rng.normal(5, 0.25, size=9999).tolist())).collect_samples(max_repeats=5000)
    # 1.96 * 1.25 * 0.05 / sqrt(n) = 0.01
    assert 80 <= len(result.samples) <= 300


def test_limits_of_repeats_and_seconds() -> None:
    scattered = [1.0, 9.0, 5.0]
    assert len(Device(chain(scattered * 999)).collect_samples(max_repeats=33).samples) == 33
    result = Device(repeat(400.0)).collect_samples(max_seconds=2.0)
    assert len(result.samples) == 5
    assert len(Device(repeat(9e3)).collect_samples(max_seconds=2.0).samples) == 1


def test_throttled_rounds_are_repeated() -> None:
    device = Device(chain([9.0] * 10, repeat(3.0)))
    states = chain([THROTTLED_STATE], repeat(NORMAL_STATE))
    result = device.collect_samples(lambda: next(states))
    assert result.samples == (3.0,) * 20
    assert result.dropped == 1
    assert result.states == (THROTTLED_STATE, NORMAL_STATE, NORMAL_STATE)


def test_rounds_of_a_permanently_throttled_gpu_count() -> None:
    result = Device(repeat(9.0)).collect_samples(lambda: THROTTLED_STATE, max_dropped=3)
    assert (len(result.samples), result.dropped, len(result.states)) == (20, 3, 5)


def test_warm_up_ends_when_the_latency_is_steady() -> None:
    falling = Device(chain([100.0 / k for k in range(1, 21)], repeat(5.0)))
    discarded, steady = warm_up(falling.time_pass, max_seconds=100, clock=falling.clock)
    assert steady
    assert 23 <= len(discarded) <= 27
    endless = Device(100.0 / k for k in range(1, 10**6))
    discarded, steady = warm_up(endless.time_pass, max_seconds=0.3, clock=endless.clock)
    assert discarded == [100.0 / k for k in range(1, 12)]  # 1 + 1/2 + ... + 1/11 > 3
    assert not steady


def test_cuda_pass_is_timed_by_events(model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing
            self.name = "end" if "created" in log else "begin"
            log.append("created")

        def record(self) -> None:
            log.append(self.name)

        def synchronize(self) -> None:
            log.append(f"wait for {self.name}")

        def elapsed_time(self, end: Event) -> float:
            return 1.5 if (self.name, end.name) == ("begin", "end") else -1.5

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: log.append("synchronize"))
    cpu = torch.device("cpu")
    protocol = resolve_protocol(model, PassSettings())
    forward_pass = ForwardPass(
        lambda: log.append("run"), torch.device("cuda"), protocol, environment(cpu)
    )
    time_pass = pass_timer(forward_pass.run, forward_pass.device)
    assert time_pass() == 1.5
    assert log[2:] == ["synchronize", "begin", "run", "end", "wait for end"]
    # Of several passes, one before the first fills the gap until that one is launched.
    log.clear()
    time_passes = pass_timer(forward_pass.run, forward_pass.device, replays=3)
    assert time_passes() == 0.5
    assert log[3:] == ["run", "begin", "run", "run", "run", "end", "wait for end"]


@pytest.mark.parametrize(("ms", "repeats"), [(3.0, 20), (30.0, 10), (300.0, 6)])
def test_long_passes_need_fewer_samples(
    ms: float, repeats: int, model: GPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency_module, "pass_timer", lambda run, device: lambda: ms)
    result = latency(model, PassSettings(batch_size=1))
    assert (result.median, result.repeats, result.precise) == (ms, repeats, True)
    # Numbers that are asked for hold; rounds are of ten.
    assert latency(model, PassSettings(batch_size=1), min_repeats=33).repeats == 40
    assert latency(model, PassSettings(batch_size=1), max_repeats=5).repeats == 5


def test_latency_of_real_models() -> None:
    def new_model(n_layer: int) -> GPT:
        arch = Architecture("x", 64, n_layer, (2,) * n_layer, (2,) * n_layer, True)
        return GPT(arch, head_size=16, context=64, vocab_size=257)

    settings = PassSettings(batch_size=2, threads=1)
    small, same, large = (latency(new_model(n), settings, max_seconds=0.4) for n in (1, 1, 12))
    for result in (small, same, large):
        low, high = result.interval
        assert 0 < low <= result.median <= high
        assert result.median <= result.p90
        assert result.spread >= 0
        assert result.warm_up >= 1
        json.dumps(to_json(result))
    assert 0.3 < small.median / same.median < 3
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
def test_invalid_arguments(model: GPT, settings: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        latency(model, **settings)
