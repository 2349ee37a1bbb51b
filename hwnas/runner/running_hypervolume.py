"""Hypervolume that a running search has reached, read from its store."""

from __future__ import annotations

from hwnas import pareto
from hwnas.errors import HwnasError
from hwnas.objectives import (
    constraint_violations,
    losses_of,
    parse_constraints,
    parse_objectives,
)
from hwnas.runner.search_loop import SearchRun
from hwnas.runner.storage import Store, Trials
from hwnas.typing import Array


def running_hypervolume(run: SearchRun) -> float | None:
    """Return the hypervolume of the trials that a search has stored so far.

    Parameters
    ----------
    run
        A search, which may run in another process.

    Returns
    -------
    float or None
        Relative to the best known front where the backend has one, else in the units of the
        objectives. Under noise it is that of the observations. ``None`` where no trial can be read.
    """
    try:
        with Store.open(run.database) as store:
            losses = _complete_losses(run, store.trials())
    except HwnasError:  # no store yet, or one that is being written
        return None
    if len(losses) == 0:
        return None
    best = run.reference.best or 1.0
    return pareto.hypervolume(losses, run.reference.point) / best


def _complete_losses(run: SearchRun, trials: Trials) -> Array:
    """Return the losses (k, m) of feasible trials that were evaluated to the highest fidelity."""
    objectives = parse_objectives(tuple(run.experiment.objectives))
    constraints = parse_constraints(tuple(run.experiment.constraints))
    m = len(objectives)
    top = trials.fidelity.max(initial=-1)
    is_whole = run.experiment.noise | (trials.fidelity < 0) | (trials.fidelity == top)
    violations = constraint_violations(constraints, trials.values[:, m:])
    rows = trials.ok & is_whole & (violations <= 0).all(axis=1)
    return losses_of(objectives, trials.values[rows, :m])
