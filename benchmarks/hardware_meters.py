"""Repeatability of the meters, and the number of architectures that they measure a minute."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from hardware_common import Work, homogeneous, percent, save, table
from numpy.typing import ArrayLike

from hwnas.profiling import (
    GPT,
    EnergyMeter,
    NoMeter,
    build_gpt,
    energy_meter,
    latency,
    peak_memory,
)
from hwnas.profiling.meters import forward_pass, memory
from hwnas.profiling.meters import latency as latencies
from hwnas.spaces.architecture import Architecture

SCRIPT = Path(__file__).with_name("hardware.py")
ENERGY_WITHIN = 0.03
SIZES = {"smallest": 0.0, "middle": 0.5, "largest": 1.0}

# -- again -----------------------------------------------------------------------------------------


def once(work: Work) -> dict[str, Any]:
    """Latency and energy of three networks, measured in this process."""
    meter = meter_of(work.device)
    rows = {}
    for name, which in SIZES.items():
        model = built(work, homogeneous(work.space, which))
        time_of = latency(model)
        row: dict[str, Any] = {"arch": str(model.arch), "latency_ms": time_of.median}
        row |= {"interval_ms": time_of.interval, "repeats": time_of.repeats}
        row |= {"precise": time_of.precise, "dropped": time_of.dropped}
        if isinstance(meter, EnergyMeter):
            energy = meter.measure(model)
            row |= {"joules": energy.joules, "net_joules": energy.net_joules}
            row |= {"error": energy.error, "watts": energy.power, "idle": energy.idle.watts}
            row |= {"window": energy.window}
        rows[name] = row
    return rows


def again(work: Work, out: Path) -> None:
    """The same three networks in several new processes; writes again.json."""
    command = [sys.executable, str(SCRIPT), "once", "--device", work.device]
    command += ["--small"] * work.small
    root = str(SCRIPT.parents[1])
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    processes = []
    for _ in range(work.processes):
        begin = time.perf_counter()
        process = subprocess.run(
            command,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": paths},
        )
        processes.append(json.loads(process.stdout.splitlines()[-1]))
        print(f"process {len(processes)}: {time.perf_counter() - begin:.0f} s", flush=True)
    meter = meter_of(work.device)
    no_energy = None if isinstance(meter, EnergyMeter) else meter
    results = {
        "processes": processes,
        "networks": [agreement(name, [p[name] for p in processes]) for name in SIZES],
        "no_energy": no_energy,
    }
    save(out, "again", work, results)
    print(table(*again_table(results)))


def agreement(name: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians over processes and the deviations from them, for one network."""
    result: dict[str, Any] = {"network": name, "arch": rows[0]["arch"]}
    for key in ("latency_ms", "joules", "net_joules"):
        if key in rows[0]:
            values = [row[key] for row in rows]
            result |= {key: float(np.median(values)), f"{key}_deviation": deviation(values)}
    return result


def deviation(values: ArrayLike) -> float:
    """The greatest distance from the median, as a share of it.

    Examples
    --------
    >>> deviation([1.0, 2.0, 2.2])
    0.5
    """
    array = np.asarray(values, dtype=np.float64)
    median = float(np.median(array))
    return float(np.abs(array - median).max()) / median


def again_table(results: dict[str, Any]) -> tuple[list[str], list[list[object]]]:
    """Header and rows."""
    header = ["network", "latency, ms", "off by", "energy, J", "off by", "net of idle, J", "off by"]
    rows: list[list[object]] = []
    for network in results["networks"]:
        row: list[object] = [network["network"]]
        for key in ("latency_ms", "joules", "net_joules"):
            row += [network.get(key), percent(network.get(f"{key}_deviation"))]
        rows.append(row)
    return header, rows


# -- throughput ------------------------------------------------------------------------------------


class Stopwatch:
    """Seconds that parts take; a part's time is not counted in the part that it is in."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self._inner: list[float] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a block."""
        begin = time.perf_counter()
        self._inner.append(0.0)
        try:
            yield
        finally:
            seconds = time.perf_counter() - begin
            self.spent[name] += seconds - self._inner.pop()
            if self._inner:
                self._inner[-1] += seconds

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, every call of which is a part."""

        def call(*args: Any, **settings: Any) -> Any:
            with self.part(name):
                return function(*args, **settings)

        return call

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Time the steps of the meters."""
        steps: list[tuple[str, Any, str]] = [
            ("graph", forward_pass, "capture_graph"),
            ("warm-up", latencies, "warm_up"),
            ("sampling", latencies, "collect_samples"),
            ("energy window", EnergyMeter, "window"),
            ("peak memory", memory, "_measure_on_cuda"),
            ("peak memory", memory, "_measure_on_cpu"),
            ("collecting garbage", gc, "collect"),
            ("emptying torch's cache", torch.cuda, "empty_cache"),
        ]
        with ExitStack() as stack:
            for name, home, step in steps:
                stack.enter_context(patch.object(home, step, self.timed(name, getattr(home, step))))
            yield


def throughput(work: Work, out: Path) -> None:
    """Latency and memory of many networks, then latency and energy; writes throughput.json."""
    archs = work.space.decode(work.space.sample(work.archs, np.random.default_rng(0)))
    if torch.device(work.device).type == "cuda":
        torch.zeros(1, device=work.device)  # the context of CUDA is not counted
    results: dict[str, Any] = {"memory": measured(work, archs, _latency_and_memory)}
    rows = results["memory"]["rows"]
    results["fits"] = fits(archs, [row["latency_ms"] for row in rows])
    save(out, "throughput", work, results)
    meter = meter_of(work.device)
    if isinstance(meter, EnergyMeter):
        begin = time.perf_counter()
        idle = meter.idle()
        idle_seconds = time.perf_counter() - begin

        def latency_and_energy(model: GPT) -> dict[str, Any]:
            energy = meter.measure(model, within=ENERGY_WITHIN, idle=idle)
            row = {"joules": energy.joules, "error": energy.error, "watts": energy.power}
            return _latency(model) | row | {"window": energy.window, "dropped": energy.dropped}

        results["energy"] = measured(work, archs[: work.energies], latency_and_energy, idle_seconds)
    else:
        results["no_energy"] = meter
    save(out, "throughput", work, results)
    for header, body in throughput_tables(results):
        print(table(header, body), end="\n\n")


def measured(
    work: Work,
    archs: Sequence[Architecture],
    measure: Callable[[GPT], dict[str, Any]],
    extra_seconds: float = 0.0,
) -> dict[str, Any]:
    """Measure networks one after the other; `extra_seconds` are added to theirs."""
    rows, parts = [], []
    begin = time.perf_counter()
    for arch in archs:
        watch, start = Stopwatch(), time.perf_counter()
        with watch.watching(), watch.part("the rest"):
            with watch.part("build"):
                model = built(work, arch)
            row = {"arch": str(arch)} | measure(model)
            del model
        rows.append(row | {"seconds": time.perf_counter() - start})
        parts.append(dict(watch.spent))
    seconds = time.perf_counter() - begin + extra_seconds
    fine = [row["precise"] and row.get("error", 0.0) <= ENERGY_WITHIN for row in rows]
    return {
        "networks": len(rows),
        "fine": sum(fine),
        "seconds": seconds,
        "a_minute": 60 * sum(fine) / seconds,
        "parts": breakdown(parts),
        "slowest": max(zip(rows, parts, strict=True), key=lambda pair: pair[0]["seconds"]),
        "rows": rows,
    }


def breakdown(parts: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and greatest seconds of each part, the dearest first."""
    names = {name for part in parts for name in part}
    columns = {name: [part.get(name, 0.0) for part in parts] for name in names}
    statistics = {n: {"mean": float(np.mean(v)), "most": max(v)} for n, v in columns.items()}
    return dict(sorted(statistics.items(), key=lambda item: -item[1]["mean"]))


def fits(archs: Sequence[Architecture], values: Sequence[float]) -> dict[str, dict[str, Any]]:
    """For each width, R2 of a linear model of depth, sums of ratios and of heads, and bias."""
    results = {}
    for width in sorted({arch.embed_dim for arch in archs}):
        at = [k for k, arch in enumerate(archs) if arch.embed_dim == width]
        features = [
            [archs[k].n_layer, sum(archs[k].mlp_ratio), sum(archs[k].n_head), archs[k].bias]
            for k in at
        ]
        r2 = r_squared(features, [values[k] for k in at])
        results[str(width)] = {"networks": len(at), "r2": r2}
    return results


def r_squared(features: ArrayLike, values: ArrayLike) -> float | None:
    """R2 of a least-squares fit with an intercept; None with too few values for one.

    Parameters
    ----------
    features : (n, k) numbers
    values : (n,) numbers
    """
    x, y = np.asarray(features, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if len(y) < x.shape[1] + 3:
        return None
    x = np.column_stack((np.ones(len(y)), x))
    residuals = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    return float(1 - (residuals**2).sum() / ((y - y.mean()) ** 2).sum())


def throughput_tables(
    results: dict[str, Any],
) -> Iterator[tuple[list[str], list[list[object]]]]:
    """Header and rows of what was measured, of where the time went, and of the fits."""
    phases = [name for name in ("memory", "energy") if name in results]
    header = ["measured", "networks", "as precise as wanted", "seconds", "a minute"]
    keys = ("networks", "fine", "seconds", "a_minute")
    yield header, [[TITLES[n], *(results[n][key] for key in keys)] for n in phases]
    for name in phases:
        slowest = results[name]["slowest"][1]
        rows: list[list[object]] = [
            [part, times["mean"], times["most"], slowest.get(part)]
            for part, times in results[name]["parts"].items()
        ]
        yield [f"{TITLES[name]}: seconds in", "mean", "most", "of the slowest network"], rows
    yield (
        ["embed_dim", "networks", "R2 of latency"],
        [[int(width), f["networks"], f["r2"]] for width, f in results["fits"].items()],
    )


TITLES = {"memory": "latency and peak memory", "energy": "latency and energy"}


def _latency(model: GPT) -> dict[str, Any]:
    result = latency(model)
    low, high = result.interval
    share = max(result.median - low, high - result.median) / result.median
    row = {"latency_ms": result.median, "interval": share, "repeats": result.repeats}
    return row | {"precise": result.precise, "steady": result.steady, "warm_up": result.warm_up}


def _latency_and_memory(model: GPT) -> dict[str, Any]:
    return _latency(model) | {"peak_mb": peak_memory(model).value}


def built(work: Work, arch: Architecture) -> GPT:
    """A network, its first weights drawn."""
    model = build_gpt(work.space, arch, device=work.device)
    if model.cos.device.type == "cuda":
        torch.cuda.synchronize(model.cos.device)
    return model


def meter_of(device: str) -> EnergyMeter | str:
    """Energy meter of a device, or the reason why there is none."""
    try:
        return energy_meter(device)
    except NoMeter as reason:
        return str(reason)
