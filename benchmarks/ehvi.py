"""ehvi beside a plain BoTorch loop on the same objectives, and ``benchmarks/ehvi.md``.

    python benchmarks/ehvi.py [--evaluations 100] [--seeds 3] [--plain-seeds 1]

The plain loop is what BoTorch's documentation leads to: a SingleTaskGP for each objective on the
scaled codes, qLogNEHVI, its maximum by exhaustive local search over neighbouring codes. Both run in
one process with one thread, a seed of the one after a seed of the other.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.transforms import Standardize
from botorch.optim import optimize_acqf_discrete_local_search
from botorch.sampling.normal import SobolQMCNormalSampler
from botorch.utils.multi_objective.hypervolume import infer_reference_point
from botorch.utils.multi_objective.pareto import is_non_dominated
from gpytorch.mlls import SumMarginalLogLikelihood

import hwnas
from hwnas import pareto
from hwnas.executors import one_thread
from hwnas.fronts import reference_point

OBJECTIVES = ["perplexity", "latency@rtx3080"]
MARKS = (32, 50, 64, 100)


def plain(bench: Any, evaluations: int, seed: int) -> Any:
    """Losses (n, 2) of the plain loop."""
    space = bench.space
    torch.manual_seed(seed)
    codes = space.sample(16, np.random.default_rng(seed))
    losses = bench.predict(codes, OBJECTIVES)
    scale = torch.from_numpy(space.cardinalities - 1).double()
    choices = [torch.arange(int(c)).double() / max(int(c) - 1, 1) for c in space.cardinalities]
    while len(codes) < evaluations:
        x, y = torch.from_numpy(codes).double() / scale, -torch.from_numpy(losses)
        models = [SingleTaskGP(x, y[:, [j]], outcome_transform=Standardize(1)) for j in (0, 1)]
        model = ModelListGP(*models)
        fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
        acquisition = qLogNoisyExpectedHypervolumeImprovement(
            model=model,
            ref_point=infer_reference_point(y[is_non_dominated(y)]),
            X_baseline=x,
            sampler=SobolQMCNormalSampler(torch.Size([128])),
            prune_baseline=True,
        )
        found, _ = optimize_acqf_discrete_local_search(
            acquisition, discrete_choices=choices, q=1, num_restarts=4, raw_samples=64, X_avoid=x
        )
        code = space.canonical((found * scale).round().numpy())
        codes = np.concatenate([codes, code])
        losses = np.concatenate([losses, bench.predict(code, OBJECTIVES)])
    return losses


def ours(bench: Any, evaluations: int, seed: int) -> Any:
    """Losses (n, 2) of hwnas's ehvi."""
    optimizer = hwnas.optimizer("ehvi", bench.space, 2, seed=seed)
    seen = []
    while len(seen) < evaluations:
        codes = optimizer.ask(1)
        losses = bench.predict(codes, OBJECTIVES)
        optimizer.tell(codes, losses)
        seen.extend(losses)
    return np.array(seen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evaluations", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--plain-seeds", type=int, default=1)
    parser.add_argument("--space", default="gpt-s")
    chosen = parser.parse_args()
    bench = hwnas.surrogate(chosen.space)
    front = bench.front(OBJECTIVES).losses
    reference = reference_point(front)
    best = pareto.hypervolume(front, reference)
    marks = [mark for mark in MARKS if mark <= chosen.evaluations]
    table: dict[str, list[list[float]]] = {"ehvi": [], "plain BoTorch": []}
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(chosen.seeds):
            for name, search in (("ehvi", ours), ("plain BoTorch", plain)):
                if name != "ehvi" and seed >= chosen.plain_seeds:
                    continue
                begin = time.perf_counter()
                losses = search(bench, chosen.evaluations, seed)
                seconds = time.perf_counter() - begin
                values = [pareto.hypervolume(losses[:k], reference) / best for k in marks]
                table[name].append([*values, seconds])
                print(name, seed, np.round(table[name][-1], 4), flush=True)
    rows = []
    for name, values in table.items():
        if values:
            *quality, seconds = np.mean(values, axis=0)
            cells = " | ".join(f"{value:.4f}" for value in quality)
            rows.append(f"| {name} | {len(values)} | {cells} | {seconds:.0f} |")
    heads = " | ".join(f"at {mark}" for mark in marks)
    lines = "---:|" * (len(marks) + 2)
    names = " and ".join(OBJECTIVES)
    page = f"""# ehvi beside a plain BoTorch loop

    python benchmarks/ehvi.py --evaluations {chosen.evaluations} --seeds {chosen.seeds} \\
        --plain-seeds {chosen.plain_seeds} --space {chosen.space}

{platform.machine()}, {os.cpu_count()} cores, one thread. {chosen.space}, {names},
without noise: normalised hypervolume, mean over seeds, and seconds for one search.

| search | seeds | {heads} | seconds |
|---|{lines}
{chr(10).join(rows)}

The plain loop models every column of the code on its own. `ehvi` models what the columns add up to,
chooses among mutations and crossings of the front in place of all neighbours, leaves surely
dominated networks out of the improvement, and fits hyperparameters from where they were.
"""
    Path(__file__).with_suffix(".md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
