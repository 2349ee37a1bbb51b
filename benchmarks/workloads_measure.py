"""Measurement of random networks under all workloads, for ``workloads.py``."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from workloads_rows import (
    ENERGIES,
    ENERGY_SECONDS,
    FOLDER,
    FORWARD_BATCH,
    N_ANCHORS,
    TIME_SECONDS,
    TIMES,
    Row,
    append_row,
    has_all,
    rows_of,
)

import hwnas
from hwnas.profiling import TrialFailed
from hwnas.profiling.device_profiler import DeviceProfiler, Measurement
from hwnas.profiling.meters.forward_pass import environment
from hwnas.spaces import LanguageModelSpace
from hwnas.workloads import BUILT_IN, Workload

_POOL = 512  # networks drawn of each space, of which the first ones are measured
_ANCHOR_ENERGIES = 2  # anchors whose energies are measured again in every piece
_SMALL_SECONDS = 0.05
_TINY: dict[str, dict[str, Any]] = {
    "gpt": {"embed_dim": [16, 32, 48], "n_layer": [1, 2], "mlp_ratio": [1, 2], "n_head": [1, 2]},
    "llama": {
        "family": "llama", "embed_dim": [16, 32, 48], "n_layer": [1, 2], "mlp_dim": [16, 32],
        "n_head": [1, 2], "n_kv_head": [1, 2],
    },
}  # fmt: skip


def measure(
    names: Sequence[str],
    *,
    count: int,
    n_energies: int,
    seconds: float,
    out: Path,
    device: str,
    small: bool = False,
    time_seconds: float = TIME_SECONDS,
    reference: Path = FOLDER,
) -> None:
    """Measure the networks of several spaces that this card has no values of, and append rows.

    Parameters
    ----------
    names
        Spaces, measured in this order.
    count, n_energies
        Number of networks of each sample with times, and of those with energies as well.
    seconds
        Time limit. What one space leaves of its equal share is divided among those after it.
    out
        Folder of the CSVs.
    device
        ``"cuda"``, ``"cpu"``.
    small
        Tiny networks and workloads; the CSVs are called ``small-SPACE.csv``.
    time_seconds
        Seconds of sampling of one time at most.
    reference
        Folder of rows that are not measured again, beside those in `out`.
    """
    end = time.monotonic() + seconds
    profilers = {
        energy: make_profiler(device, small, energy, time_seconds) for energy in (False, True)
    }
    if profilers[True].missing:
        print(*profilers[True].missing.values(), sep="\n", flush=True)
        n_energies = 0
    for k, name in enumerate(names):
        now = time.monotonic()
        share = (end - now) / (len(names) - k)
        _measure_space(
            make_space(name, small),
            workloads_of(name, small),
            profilers,
            folders=(out, reference),
            counts=(count, n_energies),
            end=now + share,
        )


def sample(space: LanguageModelSpace) -> list[Any]:
    """Return the architectures of a space in the order in which they are measured, all distinct."""
    rng = np.random.default_rng(zlib.crc32(space.name.encode()))
    return list(dict.fromkeys(space.decode(space.sample(_POOL, rng))))


def plan(
    texts: Sequence[str], rows: Sequence[Row], counts: tuple[int, int]
) -> list[tuple[int, bool]]:
    """Return the indices of the networks to measure, each with whether its energy is wanted.

    Parameters
    ----------
    texts
        Architectures of the sample.
    rows
        Rows of earlier pieces on the same card. Networks that failed there are not tried again.
    counts
        Number of networks with times, and with energies.

    Examples
    --------
    >>> plan(["a", "b"], [], (2, 1))
    [(0, True), (1, False)]
    """
    finished = {row["arch"] for row in rows if row["failed"] or has_all(row, TIMES)}
    with_energy = {row["arch"] for row in rows if row["failed"] or has_all(row, ENERGIES)}
    wanted = []
    for index, text in enumerate(texts[: counts[0]]):
        # A few anchors show how energies repeat; all of them do so for times.
        is_repeated = index < _ANCHOR_ENERGIES
        energy = index < counts[1] and (is_repeated or text not in with_energy)
        if index < N_ANCHORS or energy or text not in finished:
            wanted.append((index, energy))
    return wanted


def _measure_space(
    space: LanguageModelSpace,
    workloads: dict[str, Workload],
    profilers: dict[bool, DeviceProfiler],
    *,
    folders: tuple[Path, Path],
    counts: tuple[int, int],
    end: float,
) -> None:
    rows = rows_of(space.name, folders)
    piece = 1 + max((int(row["piece"]) for row in rows), default=0)
    archs = sample(space)
    origin = origin_of(profilers[False], workloads)
    own = [row for row in rows if row["card"] == origin["card"]]
    wanted = plan([str(arch) for arch in archs], own, counts)
    print(f"{space.name}: piece {piece}, {len(wanted)} networks to measure", flush=True)
    longest = {False: 0.0, True: 0.0}
    for n_measured, (index, energy) in enumerate(wanted):
        begin = time.monotonic()
        if begin + longest[energy] > end:
            print(f"{space.name}: the time is over after {n_measured} networks", flush=True)
            return
        row: dict[str, object] = {"arch": str(archs[index]), "index": index, "piece": piece}
        row |= {"anchor": "anchor" if index < N_ANCHORS else ""} | origin
        row |= measure_network(profilers[energy], space, archs[index], workloads, energy=energy)
        spent = time.monotonic() - begin
        append_row(folders[0] / f"{space.name}.csv", row | {"seconds": spent})
        # The first network loads kernels and says little about the next.
        longest[energy] = max(longest[energy], spent) if n_measured else 0.0
        print(
            f"{space.name} {index}: {spent:.2f} s, tpot.serve {row.get('tpot.serve', math.nan):.4g}"
            f" {row['failed']}",
            flush=True,
        )


def measure_network(
    profiler: DeviceProfiler,
    space: LanguageModelSpace,
    arch: Any,
    workloads: dict[str, Workload],
    *,
    energy: bool,
) -> dict[str, object]:
    """Return the values of one network, the imprecise ones, and why others are missing."""
    values: dict[str, object] = {}
    imprecise: list[str] = []
    failed = ""
    try:
        model = profiler.build_model(space, arch)
        # One workload after the other: its cache and graphs are kept for all of its metrics.
        for name in workloads:
            for metric in _metrics_of(name, energy):
                result: Measurement = profiler.measure(
                    model,
                    metric.partition(".")[0],  # type: ignore[arg-type]  # checked there
                    workloads[name],
                )
                values[metric] = result.value
                imprecise += [] if result.precise else [metric]
    except TrialFailed as error:
        failed = str(error).splitlines()[0]
    finally:
        profiler.release()
    return values | {"imprecise": " ".join(imprecise), "failed": failed}


def _metrics_of(workload: str, energy: bool) -> list[str]:
    """Return the metrics of one of the three workloads."""
    metrics = [*TIMES, *ENERGIES] if energy else list(TIMES)
    return [m for m in metrics if (m.partition(".")[2] or "forward") == workload]


def make_profiler(
    device: str, small: bool, energy: bool, time_seconds: float = TIME_SECONDS
) -> DeviceProfiler:
    """Return a profiler whose time limits suit times alone, or times and energies."""
    seconds = ENERGY_SECONDS if energy else time_seconds
    if not small:
        return DeviceProfiler(device=device, max_seconds=seconds)
    return DeviceProfiler(device=device, max_seconds=_SMALL_SECONDS, within=0.5)


def make_space(name: str, small: bool = False) -> LanguageModelSpace:
    """Return a space, or a tiny one of the same family."""
    tiny = {
        "name": f"small-{name}", "head_size": 8, "context": 32, "vocab_size": 64,
        **_TINY[name.partition("-")[0]],
    }  # fmt: skip
    space = hwnas.space(tiny if small else name)
    assert isinstance(space, LanguageModelSpace)
    return space


def workloads_of(name: str, small: bool) -> dict[str, Workload]:
    """Return the forward pass, chat and serve, or shorter ones for tiny networks."""
    if small:
        return {
            "forward": Workload(32, 0, 2),
            "chat": Workload(12, 8, 1),
            "serve": Workload(20, 8, 4),
        }
    forward = replace(BUILT_IN["forward"], batch=FORWARD_BATCH[name])
    return {"forward": forward, "chat": BUILT_IN["chat"], "serve": BUILT_IN["serve"]}


def workload_text(workload: Workload) -> str:
    """Return a short text on a workload without commas.

    Examples
    --------
    >>> workload_text(Workload(512, 256, 1)), workload_text(Workload(1024, 0, 8))
    ('1 x (512 + 256) bfloat16', '8 x 1024 bfloat16')
    """
    tokens = f"({workload.prompt} + {workload.generate})" if workload.generate else workload.prompt
    return f"{workload.batch} x {tokens} {workload.precision}"


def origin_of(profiler: DeviceProfiler, workloads: dict[str, Workload]) -> dict[str, object]:
    """Return what all rows of a piece have in common: workloads, hardware, software and the day."""
    machine = environment(profiler.device)
    return {
        **{name: workload_text(workload) for name, workload in workloads.items()},
        "card": machine.device_name,
        "torch": machine.torch,
        "cuda": machine.cuda or "",
        "driver": machine.driver or "",
        "date": datetime.now(UTC).date().isoformat(),
    }
