"""The libraries' own loops on the surrogate's objectives: baselines for the built-in optimizers.

    python benchmarks/libraries.py NAME [--evaluations N] [--seed S] [--pop-size P]

Prints the normalised hypervolume on gpt-s, perplexity against latency@rtx3080. Of hwnas these loops
use the tables behind the objectives and the space's canonical form, without which they would meet
one network in many spellings; all else is what each library's documentation leads to. A loop takes
a backend, objectives, a number of evaluations, a seed and its settings, and returns the losses
(n, 2) of what it evaluated, in order.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import hwnas
from hwnas import pareto
from hwnas.fronts import Front, reference_point
from hwnas.runner.executors import one_thread
from hwnas.typing import Array

Loop = Callable[..., Array]


def _pymoo(algorithm: Callable[..., Any]) -> Loop:
    """pymoo's `minimize` with one of its algorithms and the operators of our plugins."""

    def loop(
        bench: Any, objectives: list[str], evaluations: int, seed: int, *, pop_size: int = 100
    ) -> Array:
        from pymoo.core.problem import Problem
        from pymoo.core.repair import Repair
        from pymoo.operators.crossover.ux import UniformCrossover
        from pymoo.operators.mutation.pm import PolynomialMutation
        from pymoo.operators.sampling.rnd import IntegerRandomSampling
        from pymoo.optimize import minimize

        space = bench.space
        batches: list[Array] = []

        class Canonical(Repair):
            def _do(self, problem: Any, X: Any, **kwargs: Any) -> Any:
                return space.canonical(np.rint(X.astype(float))).astype(int)

        class Tables(Problem):
            def _evaluate(self, x: Any, out: Any, *args: Any, **kwargs: Any) -> None:
                out["F"] = bench.predict(np.atleast_2d(x).astype(np.int8), objectives)
                batches.append(out["F"])

        problem = Tables(
            n_var=len(space.columns), n_obj=2, xl=0, xu=space.cardinalities - 1, vtype=int
        )
        optimizer = algorithm(
            pop_size=pop_size,
            sampling=IntegerRandomSampling(),
            crossover=UniformCrossover(),
            mutation=PolynomialMutation(eta=3.0, vtype=float),
            repair=Canonical(),
        )
        minimize(problem, optimizer, ("n_eval", evaluations), seed=seed)
        return np.concatenate(batches)[:evaluations]

    return loop


def _nsga2(**settings: Any) -> Any:
    from pymoo.algorithms.moo.nsga2 import NSGA2

    return NSGA2(**settings)


def _smsemoa(**settings: Any) -> Any:
    from pymoo.algorithms.moo.sms import SMSEMOA

    return SMSEMOA(**settings)


def _nsga3(*, pop_size: int, **settings: Any) -> Any:
    from pymoo.algorithms.moo.nsga3 import NSGA3

    return NSGA3(_directions(pop_size), pop_size=pop_size, **settings)


def _moead(*, pop_size: int, **settings: Any) -> Any:
    from pymoo.algorithms.moo.moead import MOEAD

    return MOEAD(_directions(pop_size), n_neighbors=min(20, pop_size), **settings)


def _directions(pop_size: int) -> Any:
    from pymoo.util.ref_dirs import get_reference_directions

    return get_reference_directions("das-dennis", 2, n_partitions=pop_size - 1)


def _optuna(sampler: Callable[[int], Any]) -> Loop:
    """Optuna's `study.optimize`, every column of a code suggested as an integer."""

    def loop(bench: Any, objectives: list[str], evaluations: int, seed: int) -> Array:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        space = bench.space
        batches: list[Array] = []

        def objective(trial: Any) -> tuple[float, ...]:
            values = [
                trial.suggest_int(name, 0, int(n) - 1)
                for name, n in zip(space.columns, space.cardinalities, strict=True)
            ]
            batches.append(bench.predict(space.canonical([values]), objectives))
            return tuple(batches[-1][0].tolist())

        study = optuna.create_study(sampler=sampler(seed), directions=["minimize"] * 2)
        study.optimize(objective, n_trials=evaluations)
        return np.concatenate(batches)

    return loop


def _tpe(seed: int) -> Any:
    from optuna.samplers import TPESampler

    return TPESampler(seed=seed, multivariate=True)


def _gp(seed: int) -> Any:
    from optuna.samplers import GPSampler

    return GPSampler(seed=seed)


def _botorch(
    bench: Any,
    objectives: list[str],
    evaluations: int,
    seed: int,
    *,
    device: str = "cpu",
    seconds: float = np.inf,
) -> Array:
    """A SingleTaskGP for each objective on the scaled codes, and qLogNEHVI.

    The acquisition function's maximum is searched for exhaustively over neighbouring codes, with
    `optimize_acqf_discrete_local_search`. It is slow enough to be given an end in `seconds`, after
    which it returns what it has.
    """
    import torch
    from botorch.acquisition.multi_objective.logei import (
        qLogNoisyExpectedHypervolumeImprovement,
    )
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import ModelListGP, SingleTaskGP
    from botorch.models.transforms import Standardize
    from botorch.optim import optimize_acqf_discrete_local_search
    from botorch.sampling.normal import SobolQMCNormalSampler
    from botorch.utils.multi_objective.hypervolume import infer_reference_point
    from botorch.utils.multi_objective.pareto import is_non_dominated
    from gpytorch.mlls import SumMarginalLogLikelihood

    space = bench.space
    torch.manual_seed(seed)
    codes = space.sample(16, np.random.default_rng(seed))
    losses = bench.predict(codes, objectives)
    begin = time.monotonic()
    scale = torch.from_numpy(space.cardinalities - 1).double().to(device)
    choices = [
        torch.arange(int(c), device=device).double() / max(int(c) - 1, 1)
        for c in space.cardinalities
    ]
    while len(codes) < evaluations and time.monotonic() - begin < seconds:
        x = torch.from_numpy(codes).double().to(device) / scale
        y = -torch.from_numpy(losses).to(device)
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
        candidate, _ = optimize_acqf_discrete_local_search(
            acquisition, discrete_choices=choices, q=1, num_restarts=4, raw_samples=64, X_avoid=x
        )
        code = space.canonical((candidate * scale).round().cpu().numpy())
        codes = np.concatenate([codes, code])
        losses = np.concatenate([losses, bench.predict(code, objectives)])
    return losses


LOOPS: dict[str, Loop] = {
    "nsga2": _pymoo(_nsga2),
    "nsga3": _pymoo(_nsga3),
    "moead": _pymoo(_moead),
    "smsemoa": _pymoo(_smsemoa),
    "motpe": _optuna(_tpe),
    "gp": _optuna(_gp),
    "ehvi": _botorch,
}
"""By the name of our optimizer that wraps the library or does the same with it."""


def moasha(bench: Any, objectives: list[str], draws: int, seed: int) -> Any:
    """syne-tune's MOASHA on a noisy backend, one trial after the other.

    A trial reports the median of its draws after each of them, until the scheduler stops it or the
    greatest fidelity is reached.

    Returns
    -------
    (k, d) int8
        What it found: of the trials that got furthest, those that nothing dominates.
    """
    from datetime import datetime

    from syne_tune.backend.trial_status import Trial
    from syne_tune.config_space import randint
    from syne_tune.optimizer.scheduler import SchedulerDecision
    from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

    space, max_draws = bench.space, bench.fidelities[-1]
    np.random.seed(seed)  # noqa: NPY002 - it draws from there, whatever seed it is given
    sides = {
        name: randint(0, int(n) - 1)
        for name, n in zip(space.columns, space.cardinalities, strict=True)
    }
    scheduler = MOASHA(
        sides, ["0", "1"], time_attr="draws", max_t=max_draws, grace_period=1, random_seed=seed
    )
    codes, reached, losses, used = [], [], [], 0
    while used < draws:
        suggestion = scheduler.suggest()
        config = suggestion.config
        trial = Trial(len(codes), config, datetime.min)
        scheduler.on_trial_add(trial)
        code = space.canonical([[config[name] for name in space.columns]])
        rng = np.random.default_rng([seed, len(codes)])
        samples = bench.predict(code, objectives).repeat(max_draws, axis=0).T  # (2, max_draws)
        # Only devices are noisy.
        samples[1] = bench.draw(code, objectives[1], rng, repeats=max_draws)
        for t in range(1, min(max_draws, draws - used) + 1):
            values = np.median(samples[:, :t], axis=1)
            result = {"0": values[0], "1": values[1], "draws": t}
            if scheduler.on_trial_result(trial, result) != SchedulerDecision.CONTINUE:
                break
        used += t
        codes.append(code[0])
        reached.append(t)
        losses.append(values)
    furthest = np.flatnonzero(np.array(reached) == max(reached))
    members = furthest[pareto.non_dominated(np.array(losses)[furthest])]
    return np.array(codes)[members]


def normalised(losses: Array, front: Front) -> float:
    """Hypervolume of losses (n, 2) relative to a front's."""
    reference = reference_point(front.losses)
    return pareto.hypervolume(losses, reference) / pareto.hypervolume(front.losses, reference)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=LOOPS)
    parser.add_argument("--evaluations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pop-size", type=int, help="of pymoo's")
    chosen = parser.parse_args()
    bench, objectives = hwnas.surrogate("gpt-s"), ["perplexity", "latency@rtx3080"]
    settings = {} if chosen.pop_size is None else {"pop_size": chosen.pop_size}
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        losses = LOOPS[chosen.name](bench, objectives, chosen.evaluations, chosen.seed, **settings)
    print(f"{normalised(losses, bench.front(objectives)):.4f}")


if __name__ == "__main__":
    main()
