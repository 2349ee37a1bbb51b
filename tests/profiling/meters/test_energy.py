from __future__ import annotations

import math
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hwnas.errors import HwnasError, InvalidInput
from hwnas.profiling.gpt import GPT
from hwnas.profiling.meters import energy as energies
from hwnas.profiling.meters.energy import EnergyMeter, Power, energy_meter
from hwnas.profiling.meters.energy_counter import PackageCounter
from hwnas.profiling.meters.forward_pass import PassSettings
from hwnas.profiling.meters.nvml import BoardState, NoMeter
from hwnas.profiling.meters.sustained_load import Queue

COOL = BoardState(1980, 2619, 60, 300.0, ())
HOT = BoardState(1200, 2619, 90, 300.0, ("hw_slowdown",))
WINDOW = {"within": 0.02, "min_seconds": 1.0, "max_seconds": 10.0}


def meter_of(machine: Any, **more: Any) -> EnergyMeter:
    cpu = torch.device("cpu")
    return EnergyMeter(cpu, machine, clock=machine.clock, sleep=machine.sleep, **more)


def queue_of(machine: Any) -> Queue:
    return Queue(machine.begin, machine.mark, clock=machine.clock)


def test_idle_power(machine: Any) -> None:
    found = meter_of(machine).idle()
    assert found.watts == pytest.approx(50, rel=found.error)
    assert 0 < found.error < 0.02
    assert machine.now - 12.345 < 1.8


def test_a_window_is_as_long_as_it_has_to_be(machine: Any) -> None:
    found, dropped, states = meter_of(machine).window(queue_of(machine), **WINDOW)
    assert 1.0 <= sum(s.seconds for s in found) < 1.15
    assert (dropped, states) == (0, ())
    longer, _, _ = meter_of(machine).window(queue_of(machine), **{**WINDOW, "min_seconds": 2.0})
    assert 2.0 <= sum(s.seconds for s in longer) < 2.15


def test_a_window_that_is_never_sure_ends_at_the_cap(machine: Any) -> None:
    found, _, _ = meter_of(machine).window(queue_of(machine), **{**WINDOW, "within": 1e-9})
    assert 9.8 < sum(s.seconds for s in found) < 10.3


def test_throttled_segments_are_left_out(machine: Any) -> None:
    states = chain([HOT] * 3, repeat(COOL))
    meter = meter_of(machine, state=lambda: next(states))
    found, dropped, log = meter.window(queue_of(machine), **WINDOW)
    assert dropped == 3
    assert sum(s.seconds for s in found) >= 1
    assert log[:4] == (HOT, HOT, HOT, COOL)
    assert len(log) == 3 + len(found)


def test_a_board_that_stays_hot_is_taken_as_it_is(machine: Any) -> None:
    found, dropped, log = meter_of(machine, state=lambda: HOT).window(queue_of(machine), **WINDOW)
    assert dropped == 20
    assert len(log) == 20 + len(found)


def test_gross_and_net_of_a_pass(machine: Any, model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EnergyMeter, "_load", lambda self, ready: queue_of(machine))
    found = meter_of(machine).measure(model, PassSettings(batch_size=1))
    assert found.joules == pytest.approx(250 * 0.007, rel=found.error)
    assert found.net_joules == pytest.approx(200 * 0.007, rel=found.net_error)
    assert found.net_error > found.error
    assert found.precise
    assert 0 < found.error < 0.02
    assert found.power == pytest.approx(250, rel=0.01)
    assert found.seconds == pytest.approx(0.007, rel=0.01)
    assert found.passes == pytest.approx(found.window / 0.007, rel=0.01)
    assert found.mwh == pytest.approx(found.joules / 3.6)
    assert found.net_mwh == pytest.approx(found.net_joules / 3.6)
    assert found.counter == "machine"
    assert found.protocol.batch_size == 1


def test_idle_power_may_be_given(machine: Any, model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EnergyMeter, "_load", lambda self, ready: queue_of(machine))
    meter, given = meter_of(machine), Power(100.0, 0.0)
    found = meter.measure(model, PassSettings(batch_size=1), idle=given)
    assert found.idle == given
    assert found.joules - found.net_joules == pytest.approx(100 * found.seconds)
    assert machine.now - 12.345 < 1.8  # nothing was spent on the idle device


def test_a_processor_runs_the_real_network(model: GPT, tmp_path: Path) -> None:
    """The counter is a file that a thread of the test fills: 20 W all the time."""
    import threading
    import time

    zone = tmp_path / "intel-rapl:0"
    zone.mkdir()
    (zone / "name").write_text("package-0", encoding="utf-8")
    (zone / "max_energy_range_uj").write_text("5000000", encoding="utf-8")
    file, over = zone / "energy_uj", threading.Event()
    file.write_text("0", encoding="utf-8")

    def fill() -> None:
        began = time.perf_counter()
        while not over.wait(0.002):
            energy = int(20e6 * (time.perf_counter() - began)) % 5_000_001
            partial = tmp_path / "partial"
            partial.write_text(str(energy), encoding="utf-8")
            partial.replace(file)

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        meter = EnergyMeter(torch.device("cpu"), PackageCounter(tmp_path))
        settings = PassSettings(batch_size=1)
        found = meter.measure(
            model, settings, min_seconds=0.5, max_seconds=1.0, idle=Power(5.0, 0.1)
        )
    finally:
        over.set()
        thread.join()
    assert found.power == pytest.approx(20, rel=0.2)
    assert found.joules == pytest.approx(20 * found.seconds, rel=0.2)
    assert found.passes == int(found.passes) > 5
    assert found.counter == "RAPL, 1 package"


def test_on_cuda_an_event_stands_after_each_pass(
    machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []

    class Event:
        def record(self) -> None:
            log.append("record")

        def query(self) -> bool:
            return False

    monkeypatch.setattr(torch.cuda, "Event", Event)
    ready: Any = SimpleNamespace(run=lambda: log.append("run"))
    load = EnergyMeter(torch.device("cuda:0"), machine, clock=machine.clock)._load(ready)
    for _ in range(9):
        load.work()
    assert log == ["run", "record"] * 3
    assert load.passes(machine.now) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"within": -1}, "within: expected a number above 0, found -1"),
        ({"max_seconds": 0}, "max_seconds: expected a number above 0, found 0"),
        ({"min_seconds": 11}, "min_seconds: expected 0 to max_seconds, 10, found 11"),
    ],
)
def test_what_is_no_setting(machine: Any, model: GPT, settings: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        meter_of(machine).measure(model, **settings)


def test_a_network_elsewhere(machine: Any, model: GPT) -> None:
    meter = EnergyMeter(torch.device("cuda:0"), machine)
    with pytest.raises(InvalidInput, match="expected a network on cuda:0, found one on cpu"):
        meter.measure(model)


def test_why_there_is_no_meter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(energies, "PackageCounter", lambda: PackageCounter(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device, reason in (
        ("cpu", "no RAPL package"),
        ("cuda", "torch finds no CUDA device here"),
        ("meta", "no counter of energy is known for device meta"),
    ):
        with pytest.raises(NoMeter, match=reason):
            energy_meter(device)
    assert issubclass(NoMeter, HwnasError)


def test_a_part_of_a_gpu_has_no_meter(monkeypatch: pytest.MonkeyPatch) -> None:
    class Part:
        is_shared = True
        state = energy = None

        def __init__(self, *settings: object) -> None:
            pass

    monkeypatch.setattr(energies, "board", Part)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    with pytest.raises(NoMeter, match=r"no energy of cuda:3: a part of a GPU \(MIG\)"):
        energy_meter("cuda")
    Part.is_shared = False
    Part.energy = lambda self: 12  # type: ignore[assignment]
    monkeypatch.setattr(energies, "state_of", lambda device: None)
    meter = energy_meter("cuda")
    assert meter.device == torch.device("cuda:3")
    assert meter.counter.read() == pytest.approx(0.012)
    assert not math.isnan(meter.counter.read())
