"""Supernets: how far inherited perplexity can be trusted, and what they cost.

::

    python benchmarks/supernet.py alone --study gpt-s --text DIR --tokenizer FILE.json --seconds 500
    python benchmarks/supernet.py train --study gpt-s --text DIR --tokenizer FILE.json --seconds 500
    python benchmarks/supernet.py cost --space gpt-s --seconds 500
    python benchmarks/supernet.py profile --space gpt-s --seconds 300
    python benchmarks/supernet.py report

Each piece continues its CSV in ``benchmarks/supernet/`` and stops after ``--seconds``. ``alone``
trains networks from scratch, a third of them with a second seed; ``train`` trains a supernet and
evaluates the same networks with its weights; ``cost`` compares the time of a step with that of the
largest network alone, and ``profile`` shows which kernels it consists of; ``report`` writes
supernet.md. ``supernet_text.py`` fetches text.

Networks see about 20 million tokens, which suffices to rank them: they are under-trained.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import supernet_cost
import supernet_profile
import supernet_report
import yaml

import hwnas
from hwnas.objectives import parse_objectives
from hwnas.profiling import build_model
from hwnas.profiling.backend import Profile
from hwnas.profiling.survey.csv_log import CsvLog
from hwnas.spaces import LanguageModelSpace
from hwnas.spaces.gpt import GPT_CHOICES
from hwnas.spaces.llama import LLAMA_CHOICES

HERE = Path(__file__).parent
FOLDER = HERE / "supernet"
SIZES = {"context": 512, "vocab_size": 8192}  # of a tokenizer that suits tens of megabytes of text
ALONE = ("study", "arch", "width", "seed", "learning_rate", "perplexity", "seconds", "steps")
ALONE += ("device", "reason")
INHERITED = ("study", "supernet", "arch", "width", "perplexity", "seconds", "step", "device")


@dataclass(frozen=True, kw_only=True)
class Study:
    """Networks of one space, trained alone and in a supernet.

    Attributes
    ----------
    space
        Choices of the space.
    widths
        The two widths whose networks are compared.
    count
        Networks of each width.
    steps, batch_size, learning_rate
        Training of each network; the tokens are steps x batch_size x context.
    supernet_steps
        Steps of the supernet.
    held_out_tokens
        Tokens of held-out documents on which perplexity is measured.
    same_as
        Study with the same space, networks and supernet.
    """

    space: dict[str, Any]
    widths: tuple[int, int]
    count: int = 30
    steps: int = 1200
    batch_size: int = 32
    learning_rate: float = 1e-3
    supernet_steps: int = 4000
    held_out_tokens: int = 200_000
    same_as: str | None = None


# Of the studies for a CPU.
SMALL: dict[str, Any] = {
    "embed_dim": [16, 32, 64],
    "n_layer": [1, 2, 4],
    "n_head": [1, 2, 4],
    "head_size": 16,
    "context": 64,
    "vocab_size": 257,
}
LONG: dict[str, Any] = {
    "steps": 1600,
    "batch_size": 16,
    "learning_rate": 3e-3,
    "supernet_steps": 4800,
    "held_out_tokens": 50_000,
}

STUDIES = {
    "gpt-s": Study(space={**GPT_CHOICES["gpt-s"], **SIZES}, widths=(384, 768)),
    "gpt-s-wide": Study(space={**GPT_CHOICES["gpt-s-wide"], **SIZES}, widths=(384, 768)),
    # A third more tokens, and 2.7 times the steps.
    "gpt-s-wide-long": Study(
        space={**GPT_CHOICES["gpt-s-wide"], **SIZES},
        widths=(384, 768),
        steps=3200,
        batch_size=16,
        same_as="gpt-s-wide",
    ),
    "llama-s": Study(
        space={"family": "llama", **LLAMA_CHOICES["llama-s"], **SIZES}, widths=(384, 512)
    ),
    # Three quarters of an hour each on one core.
    "cpu": Study(space={**SMALL, "mlp_ratio": [1, 2, 4]}, widths=(32, 64), **LONG),
    "cpu-llama": Study(
        space={
            "family": "llama",
            **SMALL,
            "mlp_dim": [32, 64, 128],
            "n_kv_head": [1, 2, 4],
        },
        widths=(32, 64),
        **LONG,
    ),
    # Runs end to end in a test.
    "tiny": Study(
        space={
            "embed_dim": [16, 32],
            "n_layer": [1, 2],
            "mlp_ratio": [1, 2],
            "n_head": [1, 2],
            "head_size": 8,
            "context": 32,
            "vocab_size": 257,
        },
        widths=(16, 32),
        count=6,
        steps=30,
        batch_size=8,
        learning_rate=1e-2,
        supernet_steps=60,
        held_out_tokens=2000,
    ),
}


def space_of(name: str, study: Study) -> LanguageModelSpace:
    """Return the space of a study, under the name of the study that defined it."""
    choices = {key: list(v) if isinstance(v, tuple) else v for key, v in study.space.items()}
    space = hwnas.space({"name": study.same_as or name, **choices})
    assert isinstance(space, LanguageModelSpace)
    return space


def networks(space: LanguageModelSpace, study: Study) -> list[Any]:
    """Return the networks of a study, those of the two widths in turn."""
    rng = np.random.default_rng(0)
    by_width: dict[int, dict[str, Any]] = {width: {} for width in study.widths}
    while any(len(archs) < study.count for archs in by_width.values()):
        for arch in space.decode(space.sample(100, rng)):
            if len(archs := by_width.get(arch.embed_dim, {})) < study.count:
                archs[str(arch)] = arch
    return [
        arch for pair in zip(*(a.values() for a in by_width.values()), strict=True) for arch in pair
    ]


def trials(archs: list[Any]) -> list[tuple[Any, int]]:
    """Return networks with seeds: each with seed 0, and a third of each width with seed 1 too."""
    return [(arch, seed) for i, arch in enumerate(archs) for seed in range(1 + (i // 2 % 3 == 0))]


def alone(
    name: str, study: Study, options: argparse.Namespace, remaining_seconds: Callable[[], float]
) -> None:
    """Train networks from scratch until the time is over."""
    space = space_of(name, study)
    log = CsvLog(options.out / "alone.csv", ALONE)
    rate = str(study.learning_rate)
    finished = {
        (row["arch"], row["seed"])
        for row in log.rows
        if (row["study"], row["learning_rate"]) == (name, rate)
    }
    training = {
        "steps": study.steps,
        "batch_size": study.batch_size,
        "learning_rate": study.learning_rate,
    }
    backend = profile(space, study, options, training=training)
    slowest = 0.0  # seconds for each operation of a token
    try:
        part, n_parts = options.part
        for arch, seed in trials(networks(space, study))[part::n_parts]:
            flops = build_model(space, arch, device="meta").training_flops_per_token()
            if (str(arch), str(seed)) in finished or remaining_seconds() < slowest * flops:
                continue
            row = evaluate(backend, arch, seed)
            slowest = max(slowest, row["seconds"] / flops)
            settings = {"learning_rate": rate, "steps": study.steps}
            print(log.append({"study": name, "seed": seed, **settings, **row}), flush=True)
    finally:
        backend.on_end()


def train(
    name: str, study: Study, options: argparse.Namespace, remaining_seconds: Callable[[], float]
) -> None:
    """Train a supernet, and evaluate the networks of the study with its weights."""
    space = space_of(name, study)
    file = options.weights / f"{name}-{options.name}.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    definition = file.with_suffix(".yaml")
    definition.write_text(yaml.safe_dump(space.to_dict()), encoding="utf-8")
    if not file.exists() or file.with_name(f"{file.name}.checkpoint").exists():
        code = "from hwnas.cli.main import main; main()"
        arguments = {
            "--out": file,
            "--steps": study.supernet_steps,
            "--batch-size": study.batch_size,
            "--learning-rate": study.learning_rate,
            "--text": options.text,
            "--tokenizer": options.tokenizer,
            "--device": options.device,
            # The rest is for the evaluation, which prepares the text once more.
            "--seconds": remaining_seconds() - min(150.0, remaining_seconds() / 4),
        }
        words = [str(word) for pair in arguments.items() for word in pair]
        command = [sys.executable, "-c", code, "supernet", "train", str(definition), *words]
        subprocess.run([*command, *options.extra], check=True)
    log = CsvLog(options.out / "inherited.csv", INHERITED)
    backend = profile(space, study, options, weights=str(file))
    assert backend.inheritance is not None
    step = backend.inheritance.description.step
    key = (name, options.name, str(step))
    finished = {
        row["arch"] for row in log.rows if (row["study"], row["supernet"], row["step"]) == key
    }
    for arch in networks(space, study):
        if str(arch) in finished or remaining_seconds() < 0:
            continue
        row = evaluate(backend, arch, 0)
        row.pop("reason")
        print(
            log.append({"study": name, "supernet": options.name, "step": step, **row}), flush=True
        )


def profile(
    space: LanguageModelSpace, study: Study, options: argparse.Namespace, **settings: Any
) -> Profile:
    """Return the backend that trains and evaluates networks of a study."""
    return Profile(
        space,
        device=options.device,
        text=options.text,
        tokenizer=options.tokenizer,
        held_out_tokens=study.held_out_tokens,
        threads=options.threads,
        **settings,
    )


def evaluate(backend: Profile, arch: Any, seed: int) -> dict[str, Any]:
    """Return the row of one network."""
    codes, seeds = backend.space.encode([arch]), np.array([seed], dtype=np.uint64)
    result = backend.evaluate(codes, parse_objectives(["perplexity"]), seeds=seeds)
    value = float(result.values[0, 0])
    return {
        "arch": str(arch),
        "width": arch.embed_dim,
        "perplexity": "" if np.isnan(value) else f"{value:.6g}",
        "seconds": round(float(result.seconds[0]), 2),
        "device": supernet_cost.device_name(backend.profiler.device),
        "reason": result.reasons[0] if result.reasons else "",
    }


def clock(seconds: float) -> Callable[[], float]:
    """Return a function that returns the seconds that are left."""
    end = time.monotonic() + seconds
    return lambda: end - time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("piece", choices=["alone", "train", "cost", "profile", "report"])
    parser.add_argument("--study", choices=STUDIES, default="tiny")
    parser.add_argument("--space", default="gpt-s", help="of cost, profile: a named space")
    parser.add_argument("--text", default="stdlib")
    parser.add_argument("--tokenizer", default="bytes")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=480.0)
    parser.add_argument("--name", default="default", help="of train: name of the supernet")
    parser.add_argument("--steps", type=int, help="of alone: steps of a network")
    parser.add_argument("--part", type=part_of, default=(0, 1), metavar="K/N",
                        help="of alone: every N-th training, from number K on")  # fmt: skip
    parser.add_argument("--supernet-steps", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the CSVs")
    parser.add_argument("--weights", type=Path, default=HERE.parent / "runs" / "supernet")
    # What follows -- goes to hwnas supernet train: --distillation 1, --order 0.1.
    own, extra = split_arguments(sys.argv[1:])
    options = parser.parse_args(own)
    options.extra = extra
    changes = {
        key: value
        for key in ("steps", "supernet_steps", "batch_size", "learning_rate")
        if (value := getattr(options, key)) is not None
    }
    study = replace(STUDIES[options.study], **changes)
    options.out.mkdir(parents=True, exist_ok=True)
    remaining_seconds = clock(options.seconds)
    if options.piece == "alone":
        alone(options.study, study, options, remaining_seconds)
    elif options.piece == "train":
        train(options.study, study, options, remaining_seconds)
    elif options.piece in ("cost", "profile"):
        piece = supernet_cost if options.piece == "cost" else supernet_profile
        piece.run(options.space, options.device, options.out, remaining_seconds, options.batch_size)
    else:
        page = HERE / "supernet.md"
        print(supernet_report.write(options.out, page, spaces(), supernet_studies()))


def part_of(text: str) -> tuple[int, int]:
    """Return the numbers of ``K/N``."""
    part, n_parts = map(int, text.split("/"))
    if not 0 <= part < n_parts:
        raise argparse.ArgumentTypeError(f"expected K/N with 0 <= K < N, found {text}")
    return part, n_parts


def split_arguments(words: list[str]) -> tuple[list[str], list[str]]:
    """Return the words before ``--`` and those after it."""
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def spaces() -> dict[str, LanguageModelSpace]:
    """Return the space of each study."""
    return {name: space_of(name, study) for name, study in STUDIES.items()}


def supernet_studies() -> dict[str, str]:
    """Return the study whose supernet each study is compared with."""
    return {name: study.same_as or name for name, study in STUDIES.items()}


if __name__ == "__main__":
    main()
