"""Shared parts of ``hardware.py``: sizes of the work, records in JSON, tables."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from hwnas.profiling.meters.forward_pass import environment
from hwnas.profiling.peak_flops import peak_flops
from hwnas.spaces import GPTSpace, SearchSpace, space
from hwnas.spaces.architecture import Architecture

HERE = Path(__file__).parent
OUT = HERE / "hardware"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Amount of work to measure.

    Attributes
    ----------
    device
        ``"cuda"``, ``"cpu"``.
    small
        A shortened form that tries the script; its figures say nothing.
    space, largest
        Spaces of `again`, `throughput` and `training`, and of `largest`.
    processes
        Of `again`.
    archs, energies
        Of `throughput`: with latency and memory; with energy.
    batch_size
        Of `largest`.
    """

    device: str
    small: bool
    space: SearchSpace
    largest: SearchSpace
    processes: int
    archs: int
    energies: int
    batch_size: int


def work_of(device: str, small: bool) -> Work:
    """The work as it is wanted, or its shortened form."""
    if not small:
        return Work(
            device=device,
            small=False,
            space=space("gpt-s"),
            largest=space("gpt-xl"),
            processes=5,
            archs=60,
            energies=24,
            batch_size=8,
        )
    tiny = GPTSpace(
        "tiny",
        embed_dim=[32, 64],
        n_layer=[1, 2],
        mlp_ratio=[1, 2, 4],
        n_head=[1, 2, 4],
        head_size=16,
        context=32,
        vocab_size=254,
    )
    return Work(
        device=device,
        small=True,
        space=tiny,
        largest=tiny,
        processes=2,
        archs=4,
        energies=2,
        batch_size=2,
    )


def homogeneous(space: SearchSpace, which: float) -> Architecture:
    """The network whose every number is the smallest choice (0), the middle one (0.5), the largest.

    Examples
    --------
    >>> from hwnas.spaces import space
    >>> str(homogeneous(space("gpt-s"), 0.5))[:14]
    'gpt-s-11-384-3'
    """
    embed_dim, n_layer, ratio, heads = (
        choices[round(which * (len(choices) - 1))]
        for choices in (space.embed_dim, space.n_layer, space.mlp_ratio, space.n_head)
    )
    bias = space.bias[-1] if which >= 0.5 else space.bias[0]
    return Architecture(
        space.name, embed_dim, n_layer, (ratio,) * n_layer, (heads,) * n_layer, bias
    )


def peak_of(device: str) -> float | None:
    """Operations a second that a GPU does at best in bfloat16; None where that is not known."""
    if torch.device(device).type != "cuda":
        return None
    return peak_flops(torch.cuda.get_device_name(device), "bfloat16")


def machine(device: str) -> dict[str, Any]:
    """On what something was measured."""
    return asdict(environment(torch.device(device))) | {"python": platform.python_version()}


def command(arguments: Sequence[str] | None = None) -> str:
    """The command that is running, without the folder for its results."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "--out" in words:
        at = words.index("--out")
        del words[at : at + 2]
    words = [word for word in words if not word.startswith("--out=")]
    return " ".join(["python benchmarks/hardware.py", *words])


def save(out: Path, name: str, work: Work, results: dict[str, Any]) -> None:
    """Write a record; it can be done again and again as results come."""
    record = {
        "command": command(),
        "date": datetime.now(UTC).date().isoformat(),
        "small": work.small,
        "device": work.device,
        "machine": machine(work.device),
        "results": results,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown; numbers stand at the right."""
    body = [[shown(cell) for cell in row] for row in rows]
    lines = [list(header), *body]
    widths = [max(len(line[k]) for line in lines) for k in range(len(header))]
    numeric = [all(_is_number(line[k]) for line in body) for k in range(len(header))]
    rule = ["-" * max(w - n, 2) + ":" * n for w, n in zip(widths, numeric, strict=True)]
    padded = [
        [c.rjust(w) if n else c.ljust(w) for c, w, n in zip(line, widths, numeric, strict=True)]
        for line in lines
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in (padded[0], rule, *padded[1:]))


def shown(cell: object) -> str:
    """A cell of a table: four digits for a number, nothing for None."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.4g}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def percent(share: float | None, digits: int = 2) -> str | None:
    """A share as a percentage."""
    return None if share is None else f"{100 * share:.{digits}f} %"


def verdict(holds: bool | None) -> str:
    """Yes or no for a figure that is as wanted or is not; empty where nothing was wanted."""
    return "" if holds is None else "yes" if holds else "no"


def _is_number(cell: str) -> bool:
    digits = cell.removesuffix(" %").replace(",", "").replace(".", "").replace("-", "")
    return not cell or digits.replace("e", "").replace("+", "").isdigit()
