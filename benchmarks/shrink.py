"""Smaller versions of a trained Llama: how far scores can be trusted, and what else finds.

::

    python benchmarks/shrink.py all --text FILE --tokenizer FILE.json --seed 0 --seconds 560
    python benchmarks/shrink.py all --text FILE --tokenizer FILE.json --seed 1 --seconds 560
    python benchmarks/shrink.py all --study cpu --text pydoc --seconds 1200
    python benchmarks/shrink.py all --study cpu-deep --text pydoc --seconds 1500
    python benchmarks/shrink.py report

``all`` runs the pieces one after the other, each of which can be run alone and continues where it
was stopped: ``train`` a checkpoint, ``times`` of the workloads here, ``front``: scores and 60
evaluations, ``check``: random members and homogeneous pruning, ``heal`` members at 70 % of the
time, ``peers``: additive with as many evaluations, nsga2 and random search with 1,000. CSV files
are in ``--results``, checkpoints and scores in ``--out``. ``report`` writes shrink.md. The text is
that of ``supernet_text.py``.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import shrink_report
import torch
from shrink_baselines import homogeneous_members, random_members

import hwnas
from hwnas.profiling import TrainingSettings, save_model, train
from hwnas.profiling.data.corpus import cache_folder, load_corpus
from hwnas.profiling.errors import TimedOut
from hwnas.profiling.llama import Llama
from hwnas.profiling.meters.memory import peak_resident_memory
from hwnas.profiling.survey.csv_log import CsvLog
from hwnas.shrinking.backend import TIMES, Shrink
from hwnas.shrinking.evaluations import evaluator
from hwnas.shrinking.front_search import search_front
from hwnas.shrinking.plan import Plan, resolve_device
from hwnas.shrinking.selection import heal_member, member_within, quality
from hwnas.shrinking.sliced_model import dense_member
from hwnas.shrinking.workflow import ShrinkResult, measure_times, score_members, write_space
from hwnas.spaces import LlamaArchitecture, LlamaSpace
from hwnas.surrogates.device_library import load_tables
from hwnas.typing import Codes
from hwnas.workloads import BUILT_IN, Workload

HERE = Path(__file__).parent
RESULTS = HERE / "shrink"
MAX_PERPLEXITY = 3.0  # multiple of the model's, up to which members are searched and scored
SHARE = 0.7  # of the time of the members that are healed
MEMBERS = ("study", "seed", "workload", "method", "number", "arch", "time", "loss", "predicted",
           "depth")  # fmt: skip
HEALED = ("study", "seed", "workload", "tokens", "arch", "share", "whole", "before", "after",
          "seconds")  # fmt: skip
COSTS = (
    "study", "seed", "workload", "piece", "seconds", "evaluations", "memory", "own_memory", "error",
    "device",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Study:
    """A model, its training, and the budgets of the searches.

    Attributes
    ----------
    sizes
        Width, layers, width of the MLPs, heads, heads of keys and values.
    head_size, context, vocab_size
        See `hwnas.profiling.llama.Llama`.
    training
        Settings of its training.
    workloads
        Workloads whose times are minimized.
    networks, max_seconds
        Networks to measure, and the maximum duration of a measurement.
    calibration_tokens, held_out_tokens
        See `hwnas.shrinking.plan.Plan`.
    evaluations, peer_evaluations
        Budgets of the search with scores, and of nsga2 and random search.
    healing_tokens
        Budget of the distillation of one member.
    """

    sizes: tuple[int, int, int, int, int]
    head_size: int
    context: int
    vocab_size: int
    training: dict[str, Any]
    workloads: dict[str, Workload]
    networks: int = 20
    max_seconds: float = 1.0
    calibration_tokens: int = 131_072
    held_out_tokens: int = 51_200
    evaluations: int = 60
    peer_evaluations: int = 1000
    healing_tokens: int = 5_000_000


CPU_STUDY = Study(
    sizes=(64, 6, 192, 4, 2),
    head_size=16,
    context=64,
    vocab_size=257,
    training={"steps": 1500, "batch_size": 16, "learning_rate": 5e-3},
    workloads={"small": Workload(48, 16, 4, "float32")},
    networks=24,
    calibration_tokens=8192,
    held_out_tokens=8192,
    healing_tokens=500_000,
)

STUDIES = {
    # 58.7 million parameters: width, heads and MLPs of the largest llama-s, twice as many layers,
    # since the vocabulary is a quarter of Llama 2's.
    "llama-s": Study(
        sizes=(512, 16, 1536, 8, 4),
        head_size=64,
        context=1024,
        vocab_size=8192,
        training={"steps": 1500, "batch_size": 32, "learning_rate": 1e-3},
        workloads={name: BUILT_IN[name] for name in ("serve", "chat")},
    ),
    # Some 10 minutes on one core.
    "cpu": CPU_STUDY,
    # Twice as many layers; a quarter of an hour.
    "cpu-deep": replace(
        CPU_STUDY,
        sizes=(64, 12, 192, 4, 2),
        training={"steps": 1500, "batch_size": 16, "learning_rate": 3e-3},
        calibration_tokens=16_384,
    ),
    # Runs end to end in a test.
    "tiny": Study(
        sizes=(32, 3, 64, 2, 1),
        head_size=16,
        context=32,
        vocab_size=257,
        training={"steps": 20, "batch_size": 8, "learning_rate": 1e-2},
        workloads={"small": Workload(24, 4, 1, "float32")},
        networks=10,
        max_seconds=0.05,
        calibration_tokens=512,
        held_out_tokens=512,
        evaluations=12,
        peer_evaluations=20,
        healing_tokens=4000,
    ),
}


class Bench:
    """Files and options of one study and seed."""

    def __init__(self, name: str, study: Study, options: argparse.Namespace) -> None:
        self.name, self.study, self.options, self.seed = name, study, options, options.seed
        self.device = resolve_device(options.device)
        self.folder = options.out / f"{name}-{options.seed}"
        self.model_folder = self.folder / "model"
        end = time.monotonic() + options.seconds
        self.left: Callable[[], float] = lambda: end - time.monotonic()
        options.results.mkdir(parents=True, exist_ok=True)
        self.members = CsvLog(options.results / "members.csv", MEMBERS)
        self.healed = CsvLog(options.results / "healed.csv", HEALED)
        self.costs = CsvLog(options.results / "costs.csv", COSTS)

    @property
    def key(self) -> dict[str, Any]:
        """Columns that all rows share."""
        return {"study": self.name, "seed": self.seed}

    @property
    def plan(self) -> Plan:
        """Plan of the smaller versions."""
        study = self.study
        return Plan(
            model=str(self.model_folder),
            text=self.options.text,
            tokenizer=self.options.tokenizer,
            window=min(512, study.context),
            calibration_tokens=study.calibration_tokens,
            held_out_tokens=study.held_out_tokens,
            importance=self.options.importance,
        )

    def shrunk(self, workload: str) -> Path:
        """Return the directory of the smaller versions for a workload."""
        return Path(self.folder, workload)

    def backend(self, workload: str) -> Shrink:
        """Return the problem of a workload."""
        folder = self.shrunk(workload)
        return Shrink(
            write_space(self.plan, folder),
            folder=str(folder),
            device=str(self.device),
            workloads=self.study.workloads,
        )

    def objective(self, workload: str) -> str:
        """Return the time that is minimized."""
        return f"latency.{workload}@{self.device.type}"

    def cost(self, piece: str, start: float, **columns: Any) -> None:
        """Append the duration of a piece."""
        row = {"piece": piece, "seconds": round(time.perf_counter() - start, 1), **columns}
        if self.device.type == "cuda":
            row["device"] = torch.cuda.get_device_name(self.device)
        print(self.costs.append({**self.key, **row}), flush=True)

    def rows(self, workload: str, method: str) -> list[dict[str, str]]:
        """Return the rows of a method so far."""
        wanted = (self.name, str(self.seed), workload, method)
        names = ("study", "seed", "workload", "method")
        return [r for r in self.members.rows if tuple(r[n] for n in names) == wanted]

    def add(self, workload: str, method: str, backend: Shrink, codes: Codes, losses: Any,
            predicted: Any = None) -> None:  # fmt: skip
        """Append evaluated members."""
        space, start = backend.members, len(self.rows(workload, method))
        times = backend.evaluate(
            codes, hwnas_objectives([self.objective(workload)]), seeds=np.zeros(len(codes), "u8")
        ).values[:, 0]
        for i, arch in enumerate(space.decode(codes)):
            self.members.append(
                {
                    **self.key,
                    "workload": workload,
                    "method": method,
                    "number": start + i,
                    "arch": arch,
                    "time": f"{times[i]:.6g}",
                    "loss": f"{losses[i]:.6g}",
                    "predicted": "" if predicted is None else f"{predicted[i]:.6g}",
                    "depth": space.depth_of(codes[i : i + 1])[0],
                }
            )


def hwnas_objectives(names: list[str]) -> Any:
    """Return parsed objectives."""
    from hwnas.objectives import parse_objectives

    return parse_objectives(names)


def run_train(bench: Bench) -> None:
    """Train the checkpoint; a later call continues."""
    study, seed = bench.study, bench.seed
    if (bench.model_folder / "config.json").exists():
        return
    width, layers, hidden, heads, groups = study.sizes
    sizes = {name: getattr(study, name) for name in ("head_size", "context", "vocab_size")}
    arch = LlamaArchitecture(
        bench.name.replace("-", "_"), width, layers, (hidden,) * layers, (heads,) * layers,
        (groups,) * layers, False,
    )  # fmt: skip
    space = LlamaSpace(
        "checkpoint", embed_dim=[width], n_layer=[layers], mlp_dim=[hidden], n_head=[heads],
        n_kv_head=[groups], **sizes,
    )  # fmt: skip
    corpus = load_corpus(
        space, bench.options.text, tokenizer_name=bench.options.tokenizer, cache=cache_folder()
    )
    model, start = Llama(arch, **sizes, seed=seed, device=bench.device), time.perf_counter()
    try:
        progress = train(
            model,
            corpus.train,
            TrainingSettings(**study.training, seed=seed),
            checkpoint=bench.folder / "checkpoint.pt",
            checkpoint_every=250,
            time_limit=None,
            report=_stop_when(bench.left, 20),
        )
    except TimedOut:
        print("train: out of time; the same command continues", flush=True)
        return
    save_model(model, bench.model_folder)
    (bench.folder / "checkpoint.pt").unlink(missing_ok=True)
    bench.cost("train", start, evaluations=progress.step)


def _stop_when(remaining_seconds: Callable[[], float], reserve: float) -> Callable[[Any], None]:
    """Return a report of a training that stops it when the time is over."""

    def report(progress: Any) -> None:
        if progress.step % 100 == 0:
            print(f"train: step {progress.step}, loss {progress.loss:.3f}", flush=True)
        if remaining_seconds() < reserve:
            raise TimedOut("out of time")

    return report


def run_times(bench: Bench) -> None:
    """Measure the times of all workloads, once for all seeds."""
    for workload in bench.study.workloads:
        folder, shared = (
            bench.shrunk(workload),
            bench.options.out / f"{bench.name}-times-{workload}",
        )
        if (folder / TIMES).exists() or bench.left() < 30:
            continue
        space, start = write_space(bench.plan, folder), time.perf_counter()
        if not (shared / TIMES).exists():
            shared.mkdir(parents=True, exist_ok=True)
            measure_times(
                space,
                shared,
                workload=workload,
                device=bench.device.type,
                workloads=bench.study.workloads,
                networks=bench.study.networks,
                max_seconds=bench.study.max_seconds,
            )
            figures = load_tables(str(shared / TIMES))[0].figures
            bench.cost(
                "times",
                start,
                workload=workload,
                evaluations=bench.study.networks,
                error=f"{max(figure.error for figure in figures):.3g}",
            )
        shutil.copy(shared / TIMES, folder / TIMES)


def run_front(bench: Bench) -> None:
    """Score the alternatives, and search the front with real evaluations."""
    for workload in bench.study.workloads:
        if bench.left() < 20 or bench.rows(workload, "shrink"):
            continue
        backend, result = search(bench, workload)
        front = result.search
        bench.add(workload, "shrink", backend, front.codes, front.added, front.predicted)
        bench.add(workload, "shrink-scores", backend, front.codes, front.added, front.scored)


def search(bench: Bench, workload: str) -> tuple[Shrink, ShrinkResult]:
    """Return the problem of a workload and its searched front; both continue their files."""
    backend, start = bench.backend(workload), time.perf_counter()
    first = next(iter(bench.study.workloads))
    former = bench.shrunk(first) / "scores.csv"
    if workload != first and former.exists():  # scores are the same for all workloads
        for name in ("scores.csv", "scores.jsonl", "order.npz"):
            shutil.copy(former.with_name(name), bench.shrunk(workload) / name)
    is_new = not (bench.shrunk(workload) / "scores.csv").exists()
    own = own_memory(backend) if is_new else 0.0
    scores = score_members(backend, say=lambda line: print(line, flush=True))
    if is_new:
        bench.cost("scores", start, workload=workload, evaluations=int(scores.size),
                   memory=peak_memory(backend), own_memory=own)  # fmt: skip
    start = time.perf_counter()
    front = search_front(
        backend.members,
        scores,
        backend.times.table(bench.objective(workload)),
        evaluator(backend),
        evaluations=bench.study.evaluations,
        max_loss=float(np.log(MAX_PERPLEXITY)),
    )
    if not bench.rows(workload, "shrink"):
        bench.cost("search", start, workload=workload, evaluations=len(front.codes))
    return backend, ShrinkResult(backend, front, bench.objective(workload))


def own_memory(backend: Shrink) -> float:
    """Return the peak memory of an evaluation of the whole model, in MB, and start a new peak."""
    space, bench = backend.members, backend.bench
    _ = bench.model, bench.held_out
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(bench.device)
    backend.quality(space.decode(space.canonical(space.cardinalities[None] - 1))[0])
    peak = peak_memory(backend)
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(bench.device)
    return peak


def peak_memory(backend: Shrink) -> float:
    """Return the peak memory so far in MB: of the device, or of the process on a CPU."""
    device = backend.bench.device
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device)) / 1e6
    return float(peak_resident_memory()) / 1e6


def run_check(bench: Bench) -> None:
    """Evaluate random members of equal depths, and homogeneous pruning, by the same importance."""
    for workload in bench.study.workloads:
        if bench.left() < 20 or bench.rows(workload, "homogeneous-width"):
            continue
        backend, result = search(bench, workload)
        space, corrected = backend.members, result.search.corrected
        evaluate, scores = evaluator(backend), score_members(backend)
        codes = random_members(space, 30, np.random.default_rng(0))
        losses = evaluate(codes)
        bench.add(workload, "random-30", backend, codes, losses, corrected.predict(space, codes))
        plain = search_scores(backend, scores, codes)
        bench.add(workload, "random-30-scores", backend, codes, losses, plain)
        for method, members in homogeneous_members(space, scores).items():
            bench.add(workload, f"homogeneous-{method}", backend, members, evaluate(members))


def search_scores(backend: Shrink, scores: Any, codes: Codes) -> Any:
    """Return the sums of the scores of members."""
    from hwnas.shrinking.block_times import table_of_layers
    from hwnas.surrogates.layer_layout import LayerLayout

    space = backend.members
    return table_of_layers(space, 0.0, scores).predict(LayerLayout(space).pack(codes))


def run_heal(bench: Bench) -> None:
    """Heal the members at 70 % of the time."""
    for workload in bench.study.workloads:
        healed_rows = [r for r in bench.healed.rows if (r["study"], r["seed"], r["workload"]) ==
                (bench.name, str(bench.seed), workload)]  # fmt: skip
        if bench.left() < 45 or healed_rows or not bench.rows(workload, "shrink"):
            continue
        backend, result = search(bench, workload)
        work, i = backend.bench, member_within(result, SHARE)
        arch = work.space.decode(result.search.codes[i : i + 1])[0]
        member, start = dense_member(work.model, arch), time.perf_counter()
        start_quality = quality(work, member)
        heal_member(
            work,
            member,
            bench.study.healing_tokens,
            max_seconds=max(10.0, bench.left() - 15),
            say=lambda line: print(line, flush=True),
        )
        row = {
            **bench.key,
            "workload": workload,
            "tokens": bench.study.healing_tokens,
            "arch": arch,
            "share": f"{result.search.times[i] / result.search.times[0]:.4f}",
            "whole": f"{quality(work, work.model):.6g}",
            "before": f"{start_quality:.6g}",
            "after": f"{quality(work, member):.6g}",
            "seconds": round(time.perf_counter() - start, 1),
        }
        print(bench.healed.append(row), flush=True)


def run_peers(bench: Bench) -> None:
    """Search with optimizers that know no scores, by real evaluations."""
    study = bench.study
    budgets = {"additive": study.evaluations, "nsga2": study.peer_evaluations,
               "random": study.peer_evaluations}  # fmt: skip
    for name, budget in budgets.items():
        for workload in study.workloads:
            if bench.left() > 10 and len(bench.rows(workload, name)) < budget:
                _peer(bench, workload, name, budget)


def _peer(bench: Bench, workload: str, name: str, budget: int) -> None:
    """Run one optimizer; rows that are there are told again in their order."""
    backend, start = bench.backend(workload), time.perf_counter()
    space, objective = backend.members, hwnas_objectives([bench.objective(workload)])
    optimizer = hwnas.optimizer(name, space, 2, seed=bench.seed)
    evaluate, n_told = evaluator(backend), 0
    n_stored = len(bench.rows(workload, name))
    while n_told < budget and bench.left() > 5:
        codes = optimizer.ask(min(optimizer.batch, budget - n_told))
        losses = evaluate(codes)
        times = backend.evaluate(codes, objective, seeds=np.zeros(len(codes), "u8")).values[:, 0]
        optimizer.tell(codes, np.stack([np.exp(losses), times], axis=1))
        if n_told + len(codes) > n_stored:
            bench.add(workload, name, backend, codes[max(0, n_stored - n_told) :],
                      losses[max(0, n_stored - n_told) :])  # fmt: skip
        n_told += len(codes)
    bench.cost(name, start, workload=workload, evaluations=n_told)


PIECES = {
    "train": run_train,
    "times": run_times,
    "front": run_front,
    "check": run_check,
    "heal": run_heal,
    "peers": run_peers,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("piece", choices=["all", "report", *PIECES])
    parser.add_argument("--study", choices=STUDIES, default="llama-s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--text", default="pydoc")
    parser.add_argument("--tokenizer", default="bytes")
    parser.add_argument("--importance", default="wanda")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seconds", type=float, default=560.0)
    parser.add_argument("--steps", type=int, help="of the training")
    parser.add_argument("--out", type=Path, default=HERE.parent / "runs" / "shrink")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSVs")
    options = parser.parse_args()
    if options.piece == "report":
        print(
            shrink_report.write(
                options.results, options.results.parent / "shrink.md", MAX_PERPLEXITY
            )
        )
        return
    if resolve_device(options.device).type == "cpu":
        torch.set_num_threads(1)
    study = STUDIES[options.study]
    if options.steps is not None:
        study = replace(study, training={**study.training, "steps": options.steps})
    bench = Bench(options.study, study, options)
    for name, run in PIECES.items():
        if options.piece in ("all", name) and (name == "train" or bench.model_folder.exists()):
            run(bench)


if __name__ == "__main__":
    main()
