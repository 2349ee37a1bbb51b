"""Ablations of `additive`, its results on non-additive problems, and the growth of its time.

    python benchmarks/additive.py [--seeds 2] [--workers 1] [--time]

Writes ``benchmarks/additive.md``. Ablations are variants of the optimizer, made here; results
against every other optimizer are in ``peers.md``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hwnas_plugins._candidates import mutate_and_crossover
from hwnas_plugins._outcome_models import OutcomeModels
from hwnas_plugins.additive import Additive

import hwnas
from hwnas import pareto
from hwnas.additive import effects
from hwnas.additive import model as models
from hwnas.fronts import reference_point
from hwnas.runner.executors import one_thread
from hwnas.spaces import Codes
from hwnas.surrogates.pareto_front import exact_front
from hwnas.surrogates.tables import AdditiveTable
from hwnas.typing import Array

Function = Callable[[Codes], Array]

SCALES = ("gpt-s", "gpt-l")
PROBLEMS = [
    (space, objective)
    for space in SCALES
    for objective in ("latency@rtx2080", "latency@cpu_xeon_gold", "energy@h100")
]
MARKS = (32, 64, 100)
TIME = "## Time"  # the last part of the page
DEVICES = ("h100", "rtx3080", "cpu_xeon_gold")  # of which the worst counts


class RandomStart(Additive):
    """As many networks at random to begin with."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        n = len(self._planned)
        self._planned = self._sampler.sample(n)


class OnlyAround(Additive):
    """Candidates by mutation and crossing alone, none from fronts of tables."""

    def _candidates(self, models: Any, front: Codes) -> Codes:
        return mutate_and_crossover(front, 500, self._sampler, self.rng)


class Exact(Additive):
    """The exact front of the mean's tables by dynamic programming, besides what draws support."""

    def _candidates(self, models: Any, front: Codes) -> Codes:
        tables = [self._table(model) for model in models]
        codes = exact_front(tables, ())
        if codes is None:  # it has more labels than are worth the time
            return super()._candidates(models, front)
        codes = codes[[code not in self._sampler for code in codes]]
        if len(codes) > 400:
            codes = codes[np.sort(self.rng.choice(len(codes), 400, replace=False))]
        return np.unique(np.concatenate([super()._candidates(models, front), codes]), axis=0)

    def _table(self, model: Any) -> AdditiveTable:
        e, d, b, r, h = self.space.cardinalities[:5].tolist()
        base, layers = (part[0] for part in model.effects.tables(model.weights[None]))
        depths = np.array(self.space.n_layer)
        return AdditiveTable(
            depths, base.reshape(e, d, b), layers.reshape(e, d, b, depths[-1], r, h)
        )


class Unshared(Additive):
    """Every width's and layer's effects on their own: nothing is shared, so nothing is shrunk."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._effects = Unshrunk(self.space)
        self._outcome_models = OutcomeModels(self.n_objectives, factors=False)


class WithoutFactors(Additive):
    """No factors of layers: a layer's contrasts are independent of each other."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._outcome_models = OutcomeModels(self.n_objectives, factors=False)


class Unshrunk(effects.Effects):
    """Blocks of single layers of single widths, and of roots, alone."""

    def _blocks(self, parent: int) -> tuple[effects.Block, ...]:
        return tuple(
            block
            for block in super()._blocks(parent)
            if not block.kind or (block.pattern == "each" and block.columns)
        )


class Kernels(Additive):
    """Effects of layers alone, no Gaussian process of what is left."""

    def _current_models(self) -> Any:
        before, models._KERNEL_VARIANCE = models._KERNEL_VARIANCE, 1e-12
        try:
            return super()._current_models()
        finally:
            models._KERNEL_VARIANCE = before


def of(name: str, **settings: Any) -> Callable[..., hwnas.Optimizer]:
    """A registered optimizer."""

    def made(space: hwnas.SearchSpace, m: int, *, seed: int) -> hwnas.Optimizer:
        return hwnas.optimizer(name, space, m, seed=seed, **settings)

    return made


def mean_only(space: hwnas.SearchSpace, m: int, *, seed: int) -> Additive:
    """The posterior's mean in place of draws."""
    return Additive(space, m, seed=seed, tables=0, draws=0)


VARIANTS: dict[str, Callable[..., hwnas.Optimizer]] = {
    "additive": Additive,
    "with the exact front of the mean's tables": Exact,
    "the posterior's mean in place of draws": mean_only,
    "candidates by mutation alone": OnlyAround,
    "a random start": RandomStart,
    "nothing shared between layers and widths": Unshared,
    "no Gaussian process of the rest": Kernels,
    "no factors of layers": WithoutFactors,
    "a Gaussian process of counts, no tables (`ehvi`)": of("ehvi"),
    "the homogeneous start alone (`uniform`)": of("uniform"),
}


def search(
    made: Callable[..., hwnas.Optimizer], function: Function, space: Any, n: int, seed: int
) -> tuple[Array, float]:
    """Array (n, 2) of a search, and its processor seconds."""
    begin = time.process_time()
    optimizer = made(space, 2, seed=seed)
    seen: list[Array] = []
    left = n
    while left > 0:
        codes = optimizer.ask(min(optimizer.batch, left))
        losses = function(codes)
        optimizer.tell(codes, losses)
        seen.append(losses)
        left -= len(codes)
    return np.concatenate(seen), time.process_time() - begin


def function_of(space: str, objective: str) -> Function:
    """Perplexity and another objective of the surrogate."""
    bench = bench_of(space)
    return lambda codes: bench.predict(codes, ["perplexity", objective])


@cache
def bench_of(space: str) -> Any:
    """The backend of a space."""
    return hwnas.surrogate(space)


def not_additive(space: str) -> dict[str, Function]:
    """Objectives that are no sums: the worst of devices, a product, a floor under a latency."""
    bench = bench_of(space)
    names = [f"latency@{device}" for device in DEVICES]
    some = bench.predict(bench.space.sample(2000, np.random.default_rng(0)), names)
    floor = np.quantile(some[:, 0], 0.4)

    def with_perplexity(of: Callable[[Codes], Any]) -> Function:
        def function(codes: Codes) -> Array:
            return np.stack([bench.predict(codes, ["perplexity"])[:, 0], of(codes)], axis=1)

        return function

    def predicted(codes: Codes, *metrics: str) -> Array:
        return np.asarray(bench.predict(codes, list(metrics)))

    return {
        "worst ratio of three devices": with_perplexity(
            lambda codes: (predicted(codes, *names) / some.min(axis=0)).max(axis=1)
        ),
        "latency times energy": with_perplexity(
            lambda codes: predicted(codes, "latency@rtx3080", "energy@rtx3080").prod(axis=1)
        ),
        "latency of at least a floor": with_perplexity(
            lambda codes: np.maximum(floor, predicted(codes, names[0])[:, 0])
        ),
    }


def ablated(task: tuple[str, str, str, int]) -> list[float]:
    """Normalised hypervolumes at the marks, and seconds."""
    name, space, objective, seed = task
    with one_thread():
        function = function_of(space, objective)
        losses, seconds = search(VARIANTS[name], function, bench_of(space).space, MARKS[-1], seed)
    return [*(normalised(losses[:k], space, objective) for k in MARKS), seconds]


def beside(task: tuple[str, str, int]) -> dict[str, list[float]]:
    """additive and ehvi on what does not add up: of the union's hypervolume, at 50 and 100."""
    space, name, seed = task
    function = not_additive(space)[name]
    bench = bench_of(space)
    with one_thread():
        found = {
            "additive": search(of("additive"), function, bench.space, 100, seed)[0],
            "ehvi": search(of("ehvi"), function, bench.space, 100, seed)[0],
            "nsga2 at 20,000": search(
                of("nsga2", pop_size=100), function, bench.space, 20_000, seed
            )[0],
        }
    union = np.concatenate(list(found.values()))
    front = union[pareto.non_dominated(union)]
    reference = reference_point(front)
    best = pareto.hypervolume(front, reference)
    return {
        key: [pareto.hypervolume(losses[:k], reference) / best for k in (50, 100)]
        for key, losses in found.items()
        if "nsga2" not in key
    }


def growth() -> str:
    """Seconds of a search by evaluations and by layers of the space, and what 1,000 bring."""
    rows = []
    with one_thread():
        for space in ("gpt-s", "gpt-m", "gpt-l"):
            function = function_of(space, "latency@rtx2080")
            searches = [
                search(of("additive"), function, bench_of(space).space, n, 0)
                for n in (100, 200, 500, 1000)
            ]
            seconds = [f"{seconds:.1f}" for _, seconds in searches]
            quality = f"{normalised(searches[-1][0], space, 'latency@rtx2080'):.4f}"
            rows.append([space, str(bench_of(space).space.n_layer[-1]), *seconds, quality])
    header = ["space", "layers", "100", "200", "500", "1,000", "normalised at 1,000"]
    return f"""{TIME}

Processor seconds of a search of so many evaluations, perplexity against latency@rtx2080, one seed.

{lines(header, rows)}
"""


def normalised(losses: Array, space: str, objective: str) -> float:
    """Hypervolume of losses (n, 2) relative to the exact front's."""
    front = bench_of(space).front(["perplexity", objective]).losses
    reference = reference_point(front)
    return pareto.hypervolume(losses, reference) / pareto.hypervolume(front, reference)


def lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    out = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    return "\n".join(out + [f"| {' | '.join(row)} |" for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--time", action="store_true", help="measure time anew, nothing else")
    chosen = parser.parse_args()
    file = Path(__file__).with_suffix(".md")
    if chosen.time:
        page = file.read_text(encoding="utf-8").partition(TIME)[0] + growth()
        file.write_text(page, encoding="utf-8")
        return
    spawn = multiprocessing.get_context("spawn")
    seeds = range(chosen.seeds)
    with ProcessPoolExecutor(chosen.workers, spawn) as pool:
        places = [
            (name, *problem, seed) for name in VARIANTS for problem in PROBLEMS for seed in seeds
        ]
        found = np.array(list(pool.map(ablated, places)))
        found = found.reshape(len(VARIANTS), -1, len(MARKS) + 1)
        hard_ones = [(space, name) for space in SCALES for name in not_additive(space)]
        others = [(*at, seed) for at in hard_ones for seed in seeds]
        besides = list(pool.map(beside, others))
    ablations = [
        [name, *(f"{value:.4f}" for value in mean[:-1]), f"{mean[-1]:.1f}"]
        for name, mean in zip(VARIANTS, found.mean(axis=1), strict=True)
    ]
    hard = []
    for at in hard_ones:
        same = [b for place, b in zip(others, besides, strict=True) if place[:2] == at]
        cells = [
            f"{np.mean([b[key][mark] for b in same]):.4f}"
            for mark in (0, 1)
            for key in ("additive", "ehvi")
        ]
        hard.append([*at, *cells])
    how_many = "1 seed" if chosen.seeds == 1 else f"{chosen.seeds} seeds"
    problems = ", ".join(f"{objective} on {space}" for space, objective in PROBLEMS)
    page = f"""# Ablations of `additive`

    python benchmarks/additive.py --seeds {chosen.seeds}

{platform.machine()}, {os.cpu_count()} cores, one thread a search. The method is in
[docs/additive.md](../docs/additive.md), results against every other optimizer in
[peers.md](peers.md).

## Ablations

Normalised hypervolume on the exactly additive surrogate, {how_many}, mean of
perplexity against {problems}. Processor seconds of {MARKS[-1]} evaluations.

{lines(["variant", *(f"at {mark}" for mark in MARKS), "seconds"], ablations)}

## Objectives that are no sum over layers

Perplexity against an objective that is no sum over layers. Hypervolume relative to that of all that
`additive`, `ehvi` and 20,000 evaluations of `nsga2` found together; {how_many}.

{lines(["space", "objective", "additive, 50", "ehvi, 50", "additive, 100", "ehvi, 100"], hard)}

{growth()}"""
    file.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
