"""Meters of requests: agreement of closed forms with memory, networks a minute, repeatability."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from hardware_common import Work, homogeneous, percent, save, table, verdict
from hardware_meters import SIZES, Stopwatch, breakdown, deviation, meter_of

import hwnas
from hwnas.profiling import EnergyMeter, TrialFailed
from hwnas.profiling.device_profiler import DeviceProfiler
from hwnas.profiling.generation import Generator, cast_for_inference, generator
from hwnas.profiling.meters import requests, timing
from hwnas.profiling.meters.forward_pass import environment
from hwnas.profiling.meters.request_memory import model_bytes
from hwnas.workloads import BUILT_IN, Workload, kv_cache_bytes, weight_bytes

SCRIPT = Path(__file__).with_name("hardware.py")
TIMES = ("ttft", "tpot")
WANTED = {"ttft": 0.01, "tpot": 0.01, "energy_per_token": 0.03, "memory": 0.01, "a_minute": 30}
_RATE_SHARE = 0.25  # of the seconds for networks a minute
_MEMORY_NETWORKS = 4  # of each space


@dataclass
class Deadline:
    """Time limit: nothing is begun that would probably end after it."""

    seconds: float

    def __post_init__(self) -> None:
        self.end = time.perf_counter() + self.seconds

    def allows(self, seconds: float) -> bool:
        """Return whether work of so many seconds may begin."""
        return time.perf_counter() + seconds <= self.end


def workloads_of(work: Work) -> dict[str, Workload]:
    """Chat and serve, or shorter ones that fit the tiny networks."""
    if not work.small:
        return {name: BUILT_IN[name] for name in ("chat", "serve")}
    return {"chat": Workload(12, 8, 1, "float32"), "serve": Workload(20, 8, 4, "bfloat16")}


def profiler_of(work: Work) -> DeviceProfiler:
    """The meters, with short limits where the figures say nothing."""
    limits = {"within": 0.2, "max_seconds": 0.3} if work.small else {}
    return DeviceProfiler(device=work.device, workloads=workloads_of(work), **limits)


def all_requests(work: Work, out: Path, *, seconds: float) -> None:
    """Memory, networks a minute, and the same in new processes; writes requests.json."""
    deadline = Deadline(seconds)
    results: dict[str, Any] = {"workloads": {n: w.meaning for n, w in workloads_of(work).items()}}
    results["device_name"] = environment(torch.device(work.device)).device_name
    # Each part saves what it has as it goes.
    for row in memory_rows(work):
        results.setdefault("memory", []).append(row)
        save(out, "requests", work, results)
        print(
            f"memory of {row['space']}, {row['precision']}: off by {row['off_by']:.3%}", flush=True
        )
    for rate in rates(work, Deadline(_RATE_SHARE * seconds)):
        results["rate"] = rate
        save(out, "requests", work, results)
        print(f"{rate['networks']} networks, {rate['a_minute']:.1f} a minute", flush=True)
    elapsed = 0.0
    while len(results.get("processes", [])) < work.processes and deadline.allows(1.1 * elapsed):
        begin = time.perf_counter()
        process = in_new_process(work, deadline.end - begin)
        if process is None:
            break
        elapsed = time.perf_counter() - begin
        results.setdefault("processes", []).append(process)
        results["networks"] = agreements(results["processes"])
        save(out, "requests", work, results)
        print(f"process {len(results['processes'])}: {elapsed:.0f} s", flush=True)
    meter = meter_of(work.device)
    results["no_energy"] = None if isinstance(meter, EnergyMeter) else meter
    save(out, "requests", work, results)
    for header, body in requests_tables(results):
        print(table(header, body), end="\n\n")


# -- memory ----------------------------------------------------------------------------------------


def memory_rows(work: Work) -> Iterator[dict[str, Any]]:
    """Closed forms beside the memory that torch allocates, for networks drawn at random."""
    names = ["gpt-s"] if work.small else ["gpt-s", "gpt-l-wide", "llama-s"]
    spaces = [work.space] if work.small else [hwnas.space(name) for name in names]
    for space in spaces:
        for precision in ("float32", "bfloat16", "int8"):
            sizes = (20, 8, 4) if work.small else (896, 128, 16)
            workload = Workload(*sizes, precision)
            codes = space.sample(_MEMORY_NETWORKS, np.random.default_rng(0))
            measured = [measured_bytes(work, space, a, workload) for a in space.decode(codes)]
            weights, cache, allocated = np.array(measured, dtype=np.float64).T
            closed = weight_bytes(space, codes, workload), kv_cache_bytes(space, codes, workload)
            row: dict[str, Any] = {
                "space": space.name,
                "precision": precision,
                "networks": len(codes),
                "weights_off_by": float(np.abs(closed[0] / weights - 1).max()),
                "cache_off_by": float(np.abs(closed[1] / cache - 1).max()),
                "blocks_off_by": float(np.abs(sum(closed) / allocated - 1).max()),
            }
            yield row | {"off_by": max(row["weights_off_by"], row["cache_off_by"])}


def measured_bytes(work: Work, space: Any, arch: Any, workload: Workload) -> tuple[int, int, int]:
    """Bytes of weights, of the cache, and of both in the allocator's blocks.

    On CUDA the first two are what torch asks of its allocator, and the last what the allocator
    hands out, whose blocks are rounded up. On a CPU they are the sizes of the tensors.
    """
    device = torch.device(work.device)

    def counts() -> tuple[int, int]:
        gc.collect()
        if device.type != "cuda":
            return 0, 0
        torch.cuda.empty_cache()
        stats = torch.cuda.memory_stats(device)
        keys = ("requested_bytes.all.current", "allocated_bytes.all.current")
        return stats.get(keys[0], 0), stats.get(keys[1], 0)

    baseline = counts()
    model = cast_for_inference(profiler_of(work).build_model(space, arch), workload.precision)
    with_model = counts()
    keeper = Generator(model, batch=workload.batch, positions=workload.positions, mode="eager")
    with_cache, cache_bytes = counts(), keeper.cache_bytes
    inputs = 8 * workload.batch + 4  # the token and the position of a step
    keeper.close()
    if device.type != "cuda":
        return model_bytes(model), cache_bytes, model_bytes(model) + cache_bytes
    return (
        with_model[0] - baseline[0],
        with_cache[0] - with_model[0] - inputs,
        with_cache[1] - baseline[1],
    )


# -- networks a minute -----------------------------------------------------------------------------


@contextmanager
def watching(watch: Stopwatch) -> Iterator[None]:
    """Time the steps of the meters of requests."""
    steps: list[tuple[str, Any, str]] = [
        ("cast weights", requests, "cast_for_inference"),
        ("capture", generator, "capture_graph"),
        ("warm-up", timing, "warm_up"),
        ("sampling", timing, "collect_samples"),
        ("collecting garbage", gc, "collect"),
        ("emptying torch's cache", torch.cuda, "empty_cache"),
    ]
    with ExitStack() as stack:
        for name, home, step in steps:
            stack.enter_context(patch.object(home, step, watch.timed(name, getattr(home, step))))
        yield


def rates(work: Work, deadline: Deadline) -> Iterator[dict[str, Any]]:
    """TTFT and TPOT of both workloads, network after network; yields all so far after each."""
    archs = work.space.decode(work.space.sample(work.archs, np.random.default_rng(0)))
    profiler, workloads = profiler_of(work), workloads_of(work)
    # The first network loads kernels and is not counted; it is reported by itself.
    rows: list[dict[str, Any]] = []
    parts: list[dict[str, float]] = []
    first_seconds = 0.0
    for arch in [archs[0], *archs]:
        begin, watch = time.perf_counter(), Stopwatch()
        row: dict[str, Any] = {"arch": str(arch)}
        try:
            with watching(watch), watch.part("the rest"):
                with watch.part("build"):
                    model = profiler.build_model(work.space, arch)
                for name, workload in workloads.items():
                    for measure in TIMES:
                        result = profiler.measure(model, measure, workload)
                        row |= {f"{measure}.{name}": result.value}
                        row[f"{measure}.{name} precise"] = result.precise
        except TrialFailed as error:
            row["failed"] = str(error)
        finally:
            profiler.release()
        elapsed = time.perf_counter() - begin
        if not first_seconds:
            first_seconds = elapsed
            continue
        rows.append(row | {"seconds": elapsed})
        parts.append(dict(watch.spent))
        total = sum(r["seconds"] for r in rows)
        precise = [all(v for k, v in r.items() if k.endswith(" precise")) for r in rows]
        yield {
            "networks": len(rows),
            "fine": sum(precise),
            "first_seconds": first_seconds,
            "seconds": total,
            "a_minute": 60 * sum(precise) / total,
            "parts": breakdown(parts),
            "rows": rows,
        }
        if not deadline.allows(total / len(rows)):
            return


# -- the same again --------------------------------------------------------------------------------


def request_once(work: Work) -> dict[str, Any]:
    """TTFT, TPOT and energy per token of three networks, measured in this process."""
    profiler, rows = profiler_of(work), {}
    has_energy = not profiler.missing
    for size, which in SIZES.items():
        model = profiler.build_model(work.space, homogeneous(work.space, which))
        for name, workload in workloads_of(work).items():
            row: dict[str, Any] = {"arch": str(model.arch)}
            for measure in (*TIMES, *["energy_per_token"] * has_energy):
                begin = time.perf_counter()
                result = profiler.measure(model, measure, workload)  # type: ignore[arg-type]
                row |= {measure: result.value, f"{measure} std": result.std}
                row[f"{measure} precise"] = result.precise
                row[f"{measure} seconds"] = time.perf_counter() - begin
                if measure == "energy_per_token":
                    row |= {"window": result.record.window, "watts": result.record.power}  # type: ignore[union-attr]
            rows[f"{size}, {name}"] = row
        profiler.release()
    return rows


def in_new_process(work: Work, seconds: float) -> dict[str, Any] | None:
    """`request_once` in a new process; None if the time is over before it ends."""
    command = [sys.executable, str(SCRIPT), "request_once", "--device", work.device]
    command += ["--small"] * work.small
    paths = os.pathsep.join(filter(None, (str(SCRIPT.parents[1]), os.environ.get("PYTHONPATH"))))
    try:
        process = subprocess.run(
            command,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=max(seconds, 1.0),
            env=os.environ | {"PYTHONPATH": paths},
        )
    except subprocess.TimeoutExpired:
        print("the time is over; a process was stopped", flush=True)
        return None
    result: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return result


def agreements(processes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Medians over processes and the deviations from them, for each network and workload."""
    rows = []
    for name in processes[0]:
        row: dict[str, Any] = {"network": name, "processes": len(processes)}
        for measure in (*TIMES, "energy_per_token"):
            values = [p[name][measure] for p in processes if measure in p[name]]
            if values:
                row |= {measure: float(np.median(values)), f"{measure} off": deviation(values)}
        rows.append(row)
    return rows


def requests_tables(results: dict[str, Any]) -> Iterator[tuple[list[str], list[list[object]]]]:
    """Header and rows of repeatability, of networks a minute and of memory."""
    if networks := results.get("networks"):
        header = ["network", "ttft, ms", "off by", "tpot, ms", "off by", "mJ a token", "off by"]
        rows: list[list[object]] = []
        for network in networks:
            row: list[object] = [network["network"]]
            for measure in (*TIMES, "energy_per_token"):
                row += [network.get(measure), percent(network.get(f"{measure} off"))]
            rows.append(row)
        yield header, rows
    if rate := results.get("rate"):
        keys = ("networks", "fine", "first_seconds", "seconds", "a_minute")
        header = ["networks", "as precise as wanted", "s of the first", "seconds", "a minute"]
        yield header, [[rate[key] for key in keys]]
        parts = [[part, times["mean"], times["most"]] for part, times in rate["parts"].items()]
        yield ["seconds in", "mean", "most"], parts
    if memory := results.get("memory"):
        header = ["space", "precision", "networks", "weights off by", "cache off by", "blocks"]
        keys = ("space", "precision", "networks")
        offs = ("weights_off_by", "cache_off_by", "blocks_off_by")
        yield header, [[*(m[k] for k in keys), *(percent(m[k], 3) for k in offs)] for m in memory]
    yield ["", "wanted", "measured", "holds"], verdicts(results)


def verdicts(results: dict[str, Any]) -> list[list[object]]:
    """Return rows of wanted and measured values."""
    rows: list[list[object]] = []
    for measure in (*TIMES, "energy_per_token"):
        offs = [n[f"{measure} off"] for n in results.get("networks", []) if f"{measure} off" in n]
        if offs:
            wanted = WANTED[measure]
            cells = [f"at most {percent(wanted, 0)}", percent(max(offs))]
            rows.append([f"{measure} off by", *cells, verdict(max(offs) <= wanted)])
    if rate := results.get("rate"):
        is_fast = rate["a_minute"] >= WANTED["a_minute"]
        wanted_rate = f"at least {WANTED['a_minute']}"
        rows.append(["networks a minute", wanted_rate, f"{rate['a_minute']:.1f}", verdict(is_fast)])
    if memory := results.get("memory"):
        off = max(row["off_by"] for row in memory)
        cells = [f"at most {percent(WANTED['memory'], 0)}", percent(off, 3)]
        rows.append(["memory off by", *cells, verdict(off <= WANTED["memory"])])
    return rows
