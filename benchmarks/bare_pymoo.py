"""pymoo's own loop on the surrogate's objectives: what `hwnas run` with nsga2 is measured against.

    python benchmarks/bare_pymoo.py [--evaluations N] [--seed S]

Prints the normalised hypervolume. The settings are those of `plugins/nsga2.py`; nothing of hwnas is
used but the tables behind the objectives, and the space's canonical form, without which the loop
would meet one network in many spellings.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.problem import Problem
from pymoo.core.repair import Repair
from pymoo.operators.crossover.ux import UniformCrossover
from pymoo.operators.mutation.pm import PolynomialMutation
from pymoo.operators.sampling.rnd import IntegerRandomSampling
from pymoo.optimize import minimize

import hwnas
from hwnas import pareto
from hwnas.fronts import reference_point


class Canonical(Repair):
    """Rounds, and clears inactive layers."""

    def __init__(self, space: hwnas.SearchSpace) -> None:
        super().__init__()
        self.space = space

    def _do(self, problem: Any, X: Any, **kwargs: Any) -> Any:
        return self.space.canonical(np.rint(X.astype(float))).astype(int)


class Tables(Problem):
    """The surrogate as a pymoo problem, keeping what it was asked."""

    def __init__(self, bench: Any, objectives: list[str]) -> None:
        space = bench.space
        super().__init__(
            n_var=len(space.columns), n_obj=2, xl=0, xu=space.cardinalities - 1, vtype=int
        )
        self.bench, self.objectives = bench, objectives
        self.seen: list[Any] = []

    def _evaluate(self, x: Any, out: Any, *args: Any, **kwargs: Any) -> None:
        out["F"] = self.bench.predict(x.astype(np.int8), self.objectives)
        self.seen.append(out["F"])


def search(evaluations: int, seed: int, pop_size: int = 100) -> Any:
    """The losses (n, 2) of one run of pymoo."""
    bench = hwnas.surrogate("gpt-s")
    problem = Tables(bench, ["perplexity", "latency@rtx3080"])
    algorithm = NSGA2(
        pop_size=pop_size,
        sampling=IntegerRandomSampling(),
        crossover=UniformCrossover(),
        mutation=PolynomialMutation(eta=3.0, vtype=float),
        repair=Canonical(bench.space),
    )
    minimize(problem, algorithm, ("n_eval", evaluations), seed=seed)
    return np.concatenate(problem.seen)


def normalised(losses: Any) -> float:
    """Hypervolume of losses (n, 2) relative to the exact front's."""
    front = hwnas.surrogate("gpt-s").front(["perplexity", "latency@rtx3080"]).losses
    reference = reference_point(front)
    return pareto.hypervolume(losses, reference) / pareto.hypervolume(front, reference)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evaluations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    print(f"{normalised(search(chosen.evaluations, chosen.seed)):.4f}")


if __name__ == "__main__":
    main()
