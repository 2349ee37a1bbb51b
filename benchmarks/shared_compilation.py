"""Tokens a second of a search's trainings with shared compiled code, over its whole time.

    python benchmarks/shared_compilation.py --networks 40 --steps 400

trains random networks of gpt-s one after the other, as a search does, once for each variant:

``eager``
    Uncompiled. Its speed is constant, so `--eager-steps` of each network are enough.
``cold``, ``warm``
    ``compile: auto`` with shared code, first with an empty cache, then with what ``cold`` left.
``long``
    The first networks again, without shared code, trained for so many steps that the rule compiles
    them as a whole; beside ``eager`` of the same networks.

The time of a variant runs from its first training to the end of its last, with all compilation.
The result is saved after each network, beside a page of the same name. A variant
that is ended by `--seconds` is compared with ``eager`` over the networks that it trained.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hardware_common import HERE, peak_of, table, work_of
from hardware_training import words
from torch._dynamo.utils import counters

from hwnas.profiling import TrainingSettings, build_model, train
from hwnas.profiling.training.shared_code import SharedCode, expected_models

WANTED = {"cold": 1.15, "warm": 1.4, "long": 1.8}


def main() -> None:
    """Run the variants that were asked for, save and print."""
    options = parsed()
    work = work_of(options.device, options.small)
    archs = work.space.decode(work.space.sample(options.networks, np.random.default_rng(0)))
    data = words(2_000_000, work.space.vocab_size)
    results = read(options)
    end = time.perf_counter() + options.seconds
    for variant in options.variants:
        if variant == "cold":
            shutil.rmtree(options.cache, ignore_errors=True)
        runs: list[dict[str, Any]] = []
        results["variants"][variant] = {"runs": runs, "complete": False}
        code = None
        if variant in ("cold", "warm"):
            code = SharedCode(
                options.cache,
                workers=options.workers,
                expected=lambda: expected_models(work.space),
            )
        begin = time.perf_counter()
        for arch in archs[: options.long_networks if variant == "long" else None]:
            if time.perf_counter() > end:
                print(f"{options.seconds:g} s are over at {variant}, network {len(runs)}")
                break
            runs.append(trained(work, arch, data, variant, code, options))
            results["variants"][variant]["seconds"] = time.perf_counter() - begin
            save(options.out, results)
            print(progress(variant, runs), flush=True)
        else:
            results["variants"][variant]["complete"] = True
        if code is not None:
            code.close()
        save(options.out, results)
    print(summary(results))


def trained(
    work: Any, arch: Any, data: Any, variant: str, code: SharedCode | None, options: Any
) -> dict[str, Any]:
    """Train one network; return its tokens, seconds and loss."""
    steps = options.long_steps if variant == "long" else options.steps
    until = min(options.eager_steps, steps) if variant == "eager" else steps
    compiled = "off" if variant == "eager" else options.compile
    begin = time.perf_counter()
    model = build_model(work.space, arch, device=work.device)
    settings = TrainingSettings(steps=steps, batch_size=options.batch, compile=compiled)
    compiled_before = len(code.functions) if code is not None else 0
    end = train(model, data, settings, until=until, code=code, peak_flops=peak_of(work.device))
    seconds = time.perf_counter() - begin
    tokens = until * options.batch * model.context
    row: dict[str, Any] = {"arch": str(arch), "steps": until, "tokens": tokens, "seconds": seconds}
    # Uncompiled steps are timed without the first ten, in which kernels are selected.
    row["seconds_of_tokens"] = (
        tokens / end.tokens_per_second if variant == "eager" and end.tokens_per_second else seconds
    )
    row |= {"loss": end.loss, "steady": end.tokens_per_second, "utilisation": end.utilisation}
    if code is not None:
        # Misses are code that this process had to compile itself.
        cache = counters["aot_autograd"]
        row |= {key: cache[f"autograd_cache_{key}"] for key in ("hit", "miss", "bypass")}
        row |= {"new_functions": len(code.functions) - compiled_before}
        row |= {"given_up": len(code.pool.given_up) if code.pool is not None else 0}
    return row


def speedup(results: dict[str, Any], variant: str) -> float | None:
    """Tokens a second of a variant over those of eager for the same networks; None if unknown."""
    rates = {
        run["arch"]: run["tokens"] / run["seconds_of_tokens"]
        for run in results["variants"].get("eager", {}).get("runs", [])
    }
    runs = [r for r in results["variants"].get(variant, {}).get("runs", []) if r["arch"] in rates]
    if not runs:
        return None
    eager = sum(run["tokens"] / rates[run["arch"]] for run in runs)
    return eager / sum(run["seconds"] for run in runs)


def progress(variant: str, runs: list[dict[str, Any]]) -> str:
    """Return a line about the last network of a variant."""
    run = runs[-1]
    line = f"{variant} {len(runs)}: {run['seconds']:.1f} s, {run['steady'] or 0:,.0f} tokens/s"
    line += f", loss {run['loss']:.3f}"
    if run["utilisation"]:
        line += f", {run['utilisation']:.0%} of the peak"
    if "new_functions" in run:
        line += f", {run['new_functions']} new functions, {run['given_up']} given up, in all "
        line += f"{run['hit']} found, {run['miss']} compiled here, {run['bypass']} not kept"
    return line + f", {run['arch'][:14]}"


def summary(results: dict[str, Any]) -> str:
    """Return the table of variants."""
    rows: list[list[object]] = []
    for variant, entry in results["variants"].items():
        runs = entry["runs"]
        tokens, seconds = (sum(run[key] for run in runs) for key in ("tokens", "seconds"))
        ratio = speedup(results, variant)
        rows.append(
            [
                variant,
                len(runs),
                "yes" if entry["complete"] else "no",
                tokens / seconds if seconds else None,
                ratio,
                WANTED.get(variant),
            ]
        )
    header = ("variant", "networks", "complete", "tokens/s in all", "times eager", "wanted")
    return table(header, rows)


def page(results: dict[str, Any]) -> str:
    """Return the page of the results."""
    about = results["about"]
    lines = [
        "# Shared compiled code",
        "",
        f"{about['device']}, torch {about['torch']}. {about['networks']} random networks of gpt-s, "
        f"{about['steps']} steps of {about['batch']} sequences each, one after the other. `cold` "
        "begins with an empty cache, `warm` with what `cold` left; their time has all compilation "
        "in it, that of `eager` is without the first ten steps of each network, for the same "
        "networks. Made by `benchmarks/shared_compilation.py`.",
        "",
        summary(results),
    ]
    return "\n".join(lines) + "\n"


def read(options: argparse.Namespace) -> dict[str, Any]:
    """Return earlier results of the same work, so that variants can be run one by one."""
    cuda = torch.cuda.is_available() and options.device != "cpu"
    about = {
        "device": torch.cuda.get_device_name() if cuda else platform.machine(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        **{k: getattr(options, k) for k in ("networks", "steps", "batch", "small", "long_steps")},
    }
    if options.out.exists():
        earlier: dict[str, Any] = json.loads(options.out.read_text())
        if earlier["about"] == about:
            return earlier
    return {"about": about, "variants": {}}


def save(file: Path, results: dict[str, Any]) -> None:
    """Write the results and their page."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(results, indent=1) + "\n")
    file.with_suffix(".md").write_text(page(results))


def parsed() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--networks", type=int, default=40)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--eager-steps", type=int, default=40, help="of each network")
    parser.add_argument("--long-steps", type=int, default=8000)
    parser.add_argument("--long-networks", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16, help="sequences of a step")
    parser.add_argument("--seconds", type=float, default=540, help="no network begins later")
    parser.add_argument("--workers", type=int, default=8, help="processes that compile")
    parser.add_argument("--compile", default="auto", help="of cold, warm and long")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--small", action="store_true", help="tiny networks, to try the script")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "hwnas-code")
    parser.add_argument("--out", type=Path, default=HERE / "shared_compilation.json")
    parser.add_argument("--variants", nargs="+", default=["eager", "cold", "warm"])
    return parser.parse_args()


if __name__ == "__main__":
    main()
