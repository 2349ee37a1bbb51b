"""Measurement of the pairs of networks that ``workloads_pairs.py`` chose, for ``workloads.py``."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

from workloads_measure import make_profiler, make_space, measure_network, origin_of, workloads_of
from workloads_rows import (
    FOLDER,
    FOUND_FOR,
    JUDGED_BY,
    PAIRS_FILE,
    append_row,
    read_pairs,
    rows_of,
)

from hwnas.profiling.device_profiler import DeviceProfiler


def check(
    names: Sequence[str], *, seconds: float, out: Path, device: str, small: bool = False
) -> None:
    """Measure pairs of networks of equal perplexity and append their rows to ``front-SPACE.csv``.

    A row's ``anchor`` is the metric for which its network was found, its ``index`` the pair.

    Parameters
    ----------
    names
        Spaces of which pairs were chosen.
    seconds
        Time limit of all; each space has an equal share of what is left.
    out
        Folder of the CSVs.
    device
        ``"cuda"``, ``"cpu"``.
    small
        Short workloads, to try the script.
    """
    end = time.monotonic() + seconds
    profiler = make_profiler(device, small, energy=False)
    for k, name in enumerate(names):
        now = time.monotonic()
        _check_space(name, profiler, out, end=now + (end - now) / (len(names) - k), small=small)


def _check_space(
    name: str, profiler: DeviceProfiler, out: Path, *, end: float, small: bool
) -> None:
    space, workloads = make_space(name), workloads_of(name, small)
    origin = origin_of(profiler, workloads)
    rows = rows_of(f"front-{name}", (out, FOLDER))
    piece = 1 + max((int(row["piece"]) for row in rows), default=0)
    finished = {row["arch"] for row in rows}
    file = next((f for f in (out / PAIRS_FILE, FOLDER / PAIRS_FILE) if f.exists()), None)
    if file is None:
        raise SystemExit(f"{FOLDER / PAIRS_FILE}: expected pairs; choose them with pairs")
    for pair in read_pairs(file):
        if pair.space != name or {pair.first, pair.second} <= finished:
            continue
        if time.monotonic() > end:
            print(f"{name}: the time is over before pair {pair.number}", flush=True)
            return
        # Both of a pair, one after the other, so that a drift of the device cancels.
        for metric, arch in ((FOUND_FOR, pair.first), (JUDGED_BY, pair.second)):
            begin = time.monotonic()
            row: dict[str, object] = {"arch": arch, "index": pair.number, "anchor": metric}
            row |= {"piece": piece, **origin}
            row |= measure_network(profiler, space, space.parse(arch), workloads, energy=False)
            row["seconds"] = time.monotonic() - begin
            append_row(out / f"front-{name}.csv", row)
            decoding = row.get("tpot.serve", math.nan)
            print(f"{name} pair {pair.number}, {metric}: tpot.serve {decoding:.4g}", flush=True)
