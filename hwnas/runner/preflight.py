"""Checks before a run: settings under which an optimizer does not do what its user expects."""

from __future__ import annotations

import math
from collections.abc import Iterator

from hwnas.errors import HwnasError
from hwnas.experiment import Experiment
from hwnas.objectives import Objective, losses_of
from hwnas.optimizers import MultiFidelityOptimizer, Optimizer
from hwnas.problem import Problem, build_optimizer
from hwnas.runner.executors.choice import is_parallel
from hwnas.runner.reference_point import Reference
from hwnas.runner.shared_start import with_shared_start
from hwnas.runner.warm_start import RelatedStart, WarmStart

_MIN_GENERATIONS = 5  # of a search, so that selection can take effect


def setup_warnings(
    experiment: Experiment, problem: Problem, prior: WarmStart | None = None
) -> list[str]:
    """Return what a user should know before an experiment runs, one line each.

    Raises
    ------
    InvalidInput
        An optimizer cannot use the prior trials.

    Examples
    --------
    >>> from hwnas.problem import load_experiment
    >>> experiment, problem = load_experiment(
    ...     {
    ...         "name": "short",
    ...         "space": "gpt-s",
    ...         "objectives": ["perplexity", "latency@h100"],
    ...         "optimizers": [{"type": "morea", "pop_size": 20}],
    ...         "budget": {"evaluations": 10},
    ...     }
    ... )
    >>> for line in setup_warnings(experiment, problem):
    ...     print(line)  # doctest: +ELLIPSIS
    morea: all 10 evaluations fall within its initial design of 20...
    """
    lines = problem.backend.notes(problem.measured)
    for entry in experiment.optimizers:
        optimizer = build_optimizer(entry, problem, seed=0)
        optimizer = with_shared_start(optimizer, experiment, seed=0)
        if isinstance(prior, RelatedStart):  # from which some cannot learn
            _tell_related(prior, optimizer, problem)
        warnings = _warnings_of(optimizer, experiment.budget.evaluations, problem)
        lines += [f"{entry.name}: {warning}" for warning in warnings]
        batch = entry.batch or optimizer.batch
        if is_parallel(experiment.executor) and batch == 1 and not optimizer.asynchronous:
            lines.append(
                f"{entry.name}: asks for one architecture and waits for its result, so that none "
                "are evaluated in parallel; give it a batch of as many as there are workers, as in "
                f"{{type: {entry.type}, batch: 8}}"
            )
    return lines


def _tell_related(prior: RelatedStart, optimizer: Optimizer, problem: Problem) -> None:
    """Tell an optimizer related trials; the search reports any bug of the optimizer."""
    try:
        prior.tell(optimizer, problem)
    except HwnasError:
        raise
    except Exception:
        return


def reference_warnings(reference: Reference, objectives: tuple[Objective, ...]) -> list[str]:
    """Return a warning of a reference point that no architecture is better than, if it is known.

    Examples
    --------
    >>> import numpy as np
    >>> far = Reference("given", np.zeros(2), np.ones(2), point=-np.ones(2))
    >>> objectives = Objective("perplexity"), Objective("params")
    >>> for line in reference_warnings(far, objectives):
    ...     print(line)  # doctest: +ELLIPSIS
    reference: no architecture measured so far is better than it in every objective...
    """
    beyond_ideal = bool((reference.ideal >= reference.point).any())
    if reference.source != "given" or not (beyond_ideal or reference.best == 0):
        return []
    extent = "measured so far" if reference.best is None else "at all"
    values = losses_of(objectives, reference.ideal[None])[0]  # of losses the values
    best = ", ".join(f"{o} {value:.6g}" for o, value in zip(objectives, values, strict=True))
    return [
        f"reference: no architecture {extent} is better than it in every objective, and every "
        f"hypervolume is 0 until one is; expected a point that is worse than the best of each: "
        f"{best}"
    ]


def _warnings_of(optimizer: Optimizer, evaluations: int | None, problem: Problem) -> Iterator[str]:
    """Yield the warnings of one optimizer."""
    # 1. Fidelities.
    if isinstance(optimizer, MultiFidelityOptimizer) and len(problem.backend.fidelities or ()) <= 1:
        yield (
            "there is one fidelity here, so it is random search; fidelities are repeats under "
            "noise: true on the surrogate, rungs of a training, and steps of a function"
        )
    # 2. Constraints.
    if problem.constraints and not optimizer.handles_constraints:
        yield (
            "takes no heed of constraints: it proposes infeasible architectures too, and only its "
            "feasible ones count"
        )
    # 3. Budgets that end before an optimizer can learn.
    if evaluations is None:
        return
    if evaluations <= optimizer.n_initial:
        yield (
            f"all {evaluations} evaluations fall within its initial design of "
            f"{optimizer.n_initial}, which no result can change; expected a larger budget or a "
            "smaller initial design"
        )
    elif optimizer.generation > 1 and evaluations < _MIN_GENERATIONS * optimizer.generation:
        generations = math.floor(10 * evaluations / optimizer.generation) / 10  # never rounded up
        yield (
            f"{evaluations} evaluations are {generations:g} generations of {optimizer.generation}, "
            f"expected at least {_MIN_GENERATIONS}: a larger budget or a smaller pop_size"
        )
