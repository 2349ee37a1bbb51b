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
from hwnas.profiling.meters import energy as energy_module
from hwnas.profiling.meters.energy import EnergyMeter, Power, energy_meter
from hwnas.profiling.meters.energy_counter import PackageCounter
from hwnas.profiling.meters.forward_pass import PassSettings
from hwnas.profiling.meters.nvml import GpuState, NoMeter
from hwnas.profiling.meters.sustained_load import QueuedLoad

NORMAL_STATE = GpuState(1980, 2619, 60, 300.0, ())
THROTTLED_STATE = GpuState(1200, 2619, 90, 300.0, ("hw_slowdown",))
WINDOW_OPTIONS = {"within": 0.02, "min_seconds": 1.0, "max_seconds": 10.0}


def create_meter(machine: Any, **options: Any) -> EnergyMeter:
    cpu = torch.device("cpu")
    return EnergyMeter(cpu, machine, clock=machine.clock, sleep=machine.sleep, **options)


def create_queue(machine: Any) -> QueuedLoad:
    return QueuedLoad(machine.begin, machine.mark, clock=machine.clock)


def test_idle_power(machine: Any) -> None:
    power = create_meter(machine).idle()
    assert power.watts == pytest.approx(50, rel=power.error)
    assert 0 < power.error < 0.02
    assert machine.now - 12.345 < 1.8


def test_window_has_the_minimum_length(machine: Any) -> None:
    segments, dropped, states = create_meter(machine).window(
        create_queue(machine), **WINDOW_OPTIONS
    )
    assert 1.0 <= sum(s.seconds for s in segments) < 1.15
    assert (dropped, states) == (0, ())
    longer, _, _ = create_meter(machine).window(
        create_queue(machine), **{**WINDOW_OPTIONS, "min_seconds": 2.0}
    )
    assert 2.0 <= sum(s.seconds for s in longer) < 2.15


def test_imprecise_window_ends_at_the_time_limit(machine: Any) -> None:
    segments, _, _ = create_meter(machine).window(
        create_queue(machine), **{**WINDOW_OPTIONS, "within": 1e-9}
    )
    assert 9.8 < sum(s.seconds for s in segments) < 10.3


def test_throttled_segments_are_dropped(machine: Any) -> None:
    states = chain([THROTTLED_STATE] * 3, repeat(NORMAL_STATE))
    meter = create_meter(machine, state=lambda: next(states))
    segments, dropped, log = meter.window(create_queue(machine), **WINDOW_OPTIONS)
    assert dropped == 3
    assert sum(s.seconds for s in segments) >= 1
    assert log[:4] == (THROTTLED_STATE, THROTTLED_STATE, THROTTLED_STATE, NORMAL_STATE)
    assert len(log) == 3 + len(segments)


def test_segments_of_a_permanently_throttled_gpu_count(machine: Any) -> None:
    meter = create_meter(machine, state=lambda: THROTTLED_STATE)
    segments, dropped, log = meter.window(create_queue(machine), **WINDOW_OPTIONS)
    assert dropped == 20
    assert len(log) == 20 + len(segments)


def test_gross_and_net_energy(machine: Any, model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        EnergyMeter, "_create_load", lambda self, forward_pass: create_queue(machine)
    )
    energy = create_meter(machine).measure(model, PassSettings(batch_size=1))
    assert energy.joules == pytest.approx(250 * 0.007, rel=energy.error)
    assert energy.net_joules == pytest.approx(200 * 0.007, rel=energy.net_error)
    assert energy.net_error > energy.error
    assert energy.precise
    assert 0 < energy.error < 0.02
    assert energy.power == pytest.approx(250, rel=0.01)
    assert energy.seconds == pytest.approx(0.007, rel=0.01)
    assert energy.passes == pytest.approx(energy.window / 0.007, rel=0.01)
    assert energy.mwh == pytest.approx(energy.joules / 3.6)
    assert energy.net_mwh == pytest.approx(energy.net_joules / 3.6)
    assert energy.counter == "machine"
    assert energy.protocol.batch_size == 1


def test_idle_power_is_an_option(machine: Any, model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        EnergyMeter, "_create_load", lambda self, forward_pass: create_queue(machine)
    )
    meter, idle = create_meter(machine), Power(100.0, 0.0)
    energy = meter.measure(model, PassSettings(batch_size=1), idle=idle)
    assert energy.idle == idle
    assert energy.joules - energy.net_joules == pytest.approx(100 * energy.seconds)
    assert machine.now - 12.345 < 1.8  # no time was spent on the idle device


def test_energy_of_a_real_model_on_a_cpu(model: GPT, tmp_path: Path) -> None:
    """The counter is a file that a thread of the test updates as under constant 20 W."""
    import threading
    import time

    zone = tmp_path / "intel-rapl:0"
    zone.mkdir()
    (zone / "name").write_text("package-0", encoding="utf-8")
    (zone / "max_energy_range_uj").write_text("5000000", encoding="utf-8")
    file, stop = zone / "energy_uj", threading.Event()
    file.write_text("0", encoding="utf-8")

    def update() -> None:
        start = time.perf_counter()
        while not stop.wait(0.002):
            reading = int(20e6 * (time.perf_counter() - start)) % 5_000_001
            partial = tmp_path / "partial"
            partial.write_text(str(reading), encoding="utf-8")
            partial.replace(file)

    thread = threading.Thread(target=update, daemon=True)
    thread.start()
    try:
        meter = EnergyMeter(torch.device("cpu"), PackageCounter(tmp_path))
        settings = PassSettings(batch_size=1)
        energy = meter.measure(
            model, settings, min_seconds=0.5, max_seconds=1.0, idle=Power(5.0, 0.1)
        )
    finally:
        stop.set()
        thread.join()
    assert energy.power == pytest.approx(20, rel=0.2)
    assert energy.joules == pytest.approx(20 * energy.seconds, rel=0.2)
    assert energy.passes == int(energy.passes) > 5
    assert energy.counter == "RAPL, 1 package"


def test_cuda_load_records_an_event_after_each_pass(
    machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []

    class Event:
        def record(self) -> None:
            log.append("record")

        def query(self) -> bool:
            return False

    monkeypatch.setattr(torch.cuda, "Event", Event)
    forward_pass: Any = SimpleNamespace(run=lambda: log.append("run"))
    meter = EnergyMeter(torch.device("cuda:0"), machine, clock=machine.clock)
    load = meter._create_load(forward_pass)
    for _ in range(9):
        load.step()
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
def test_invalid_arguments(machine: Any, model: GPT, settings: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        create_meter(machine).measure(model, **settings)


def test_model_on_another_device(machine: Any, model: GPT) -> None:
    meter = EnergyMeter(torch.device("cuda:0"), machine)
    with pytest.raises(InvalidInput, match="expected a model on cuda:0, found one on cpu"):
        meter.measure(model)


def test_devices_without_a_meter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(energy_module, "PackageCounter", lambda: PackageCounter(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device, reason in (
        ("cpu", "no RAPL package"),
        ("cuda", "torch finds no CUDA device here"),
        ("meta", "no counter of energy is known for device meta"),
    ):
        with pytest.raises(NoMeter, match=reason):
            energy_meter(device)
    assert issubclass(NoMeter, HwnasError)


def test_instance_of_a_gpu_has_no_meter(monkeypatch: pytest.MonkeyPatch) -> None:
    class Instance:
        is_shared = True
        state = energy = None

        def __init__(self, *settings: object) -> None:
            pass

    monkeypatch.setattr(energy_module, "nvml_device", Instance)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    with pytest.raises(NoMeter, match=r"no energy of cuda:3: a part of a GPU \(MIG\)"):
        energy_meter("cuda")
    Instance.is_shared = False
    Instance.energy = lambda self: 12  # type: ignore[assignment]
    monkeypatch.setattr(energy_module, "state_reader", lambda device: None)
    meter = energy_meter("cuda")
    assert meter.device == torch.device("cuda:3")
    assert meter.counter.read() == pytest.approx(0.012)
    assert not math.isnan(meter.counter.read())
