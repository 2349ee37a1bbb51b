"""Hypervolume that a search is expected to miss, and the end of a search that misses little.

A model is fitted to what a search has measured, at growing intervals, and draws of whole objectives
show which fronts are still possible (`hwnas.additive.missing`). The model is the same for every
optimizer. It is no part of the search: it has a random generator of its own, so that the trials are
those of a search that does not ask. Estimates are stored; a resumed search reads them.
"""

from __future__ import annotations

import logging

import numpy as np

from hwnas import pareto
from hwnas.additive.choice import AnyEffects, create_effects
from hwnas.additive.column_effects import ColumnEffects
from hwnas.additive.missing import Measured, missing_draws
from hwnas.additive.model import AdditiveModel, Design, fit_model
from hwnas.fronts import reference_point
from hwnas.history import History
from hwnas.objectives import constraint_violations, losses_of
from hwnas.problem import Problem
from hwnas.runner.missing_estimate import MissingEstimate, calibrated, stored_estimates
from hwnas.runner.reference_point import Reference
from hwnas.runner.storage import Store, Trials
from hwnas.typing import Array, BoolArray, Codes, IndexArray

FIRST_CHECK = 24  # complete trials
GROWTH = 1.1  # of the number of trials between two checks

_N_DRAWS = 12
_FIT_STEPS = 15  # of the variances of a model
_MAX_FITTED = 400  # architectures that a model is fitted to
_STREAM = 24  # of random numbers, beside the seed and the number of trials

_log = logging.getLogger("hwnas.runner")


class StoppingRule:
    """Estimates of the missing hypervolume of a running search, and whether it can end.

    Parameters
    ----------
    problem
        Problem of the search.
    store
        Store of the search, which keeps the estimates.
    seed
        Seed of the search.
    within
        Share of the hypervolume that may be missing at the end; with ``None`` nothing is estimated.
    reference
        Reference of the run. Its point is used where measurements or the user gave it; one that
        comes from the true front is not known to a search, and is estimated.
    label
        Name of the search in messages.

    Attributes
    ----------
    reached : bool
        Whether an estimate has said that no more than `within` is missing.
    """

    def __init__(
        self,
        problem: Problem,
        store: Store,
        *,
        seed: int,
        within: float | None,
        reference: Reference | None = None,
        label: str = "",
    ) -> None:
        self.within, self.reached = within, False
        self._problem, self._store, self._seed, self._label = problem, store, seed, label
        is_known = reference is not None and reference.source in ("given", "measured")
        self._point = reference.point if reference is not None and is_known else None
        self._told: list[Trials] = []
        self._n_trials = self._n_complete = 0
        self._next = min(FIRST_CHECK, problem.space.size)
        estimates = [] if within is None else stored_estimates(store.meta, store.path)
        self._stored = {estimate.trials: estimate for estimate in estimates}
        self._effects: AnyEffects | None = None

    def update(self, trials: Trials) -> None:
        """Count trials that the optimizer was told; estimate what is missing if that is due."""
        if self.within is None:
            return
        self._told.append(trials)
        self._n_trials += len(trials)
        self._n_complete += int(trials.ok.sum())
        if self._n_complete < self._next:
            return
        self._next = max(self._n_complete + 1, int(np.ceil(GROWTH * self._n_complete)))
        estimate = self._stored.get(self._n_trials)
        if estimate is None:
            estimate = self._estimate()
            if estimate is None:
                return
            self._stored[self._n_trials] = estimate
            estimates = sorted(self._stored.values(), key=lambda e: e.trials)
            self._store.set_meta("missing", MissingEstimate.to_json(estimates))
            _log.info("%s: %d trials, %s", self._label, self._n_trials, estimate)
        # Results that are outstanding when the search ends do not revive it.
        self.reached = self.reached or estimate.is_within(self.within)

    def note_end(self) -> None:
        """Store that the search ended because little is missing."""
        self._store.set_meta("within", "reached")

    def _estimate(self) -> MissingEstimate | None:
        """Return the estimate after all trials so far, ``None`` where no model can be fitted."""
        rng = np.random.default_rng([self._seed, self._n_trials, _STREAM])
        self._told = [Trials.concatenate(self._told)]
        if self._effects is None:
            self._effects = create_effects(self._problem.space)
        trials, problem = self._told[0], self._problem
        history, violations = complete_results(problem, trials)
        if len(history.averaged()[0]) < 2:
            return None
        try:
            with np.errstate(all="ignore"):
                draws = estimate_draws(
                    self._effects, history, (trials.codes, violations), rng, self._point
                )
        except np.linalg.LinAlgError:
            return None
        return calibrated(
            draws,
            recent_progress(history, self._point),
            self._n_trials,
            flat=isinstance(self._effects, ColumnEffects),
            noisy=bool(history.std.any()),
            constrained=bool(problem.constraints),
        )


def complete_results(problem: Problem, trials: Trials) -> tuple[History, Array]:
    """Return the results of complete trials, and the violations (n, c) of all trials.

    Trials of a lower fidelity than the highest are left out of the results. The violations of
    trials that were stopped early are NaN as far as they are unknown.
    """
    m, c = len(problem.objectives), len(problem.constraints)
    violations = constraint_violations(problem.constraints, trials.values[:, m:])
    history = History(len(problem.space.columns), m, c)
    rows = _complete(problem, trials)
    losses = losses_of(problem.objectives, trials.values[rows, :m])
    history.add(trials.codes[rows], losses, trials.std[rows, :m], violations[rows])
    return history, violations


def recent_progress(history: History, point: Array | None = None) -> float:
    """Return the share of the hypervolume so far that the first half of the results lacked.

    Examples
    --------
    >>> history = History(1, 2, 0)
    >>> losses = np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0], [3.0, 3.0]])
    >>> codes = np.arange(4, dtype=np.int8)[:, None]
    >>> history.add(codes, losses, np.zeros((4, 2)), np.zeros((4, 0)))
    >>> round(recent_progress(history, np.full(2, 3.0)), 3)  # 5 of 6 squares
    0.167
    """
    _, losses, _, violations = history.averaged()
    feasible = (violations <= 0).all(axis=1)
    half = np.arange(len(losses)) < len(losses) // 2
    front = losses[feasible][pareto.non_dominated(losses[feasible])]
    if len(front) == 0:
        return 1.0
    point = reference_point(front) if point is None else point
    best = pareto.hypervolume(front, point)
    return 1 - pareto.hypervolume(losses[feasible & half], point) / best if best > 0 else 1.0


def estimate_draws(
    effects: AnyEffects,
    history: History,
    tried: tuple[Codes, Array],
    rng: np.random.Generator,
    point: Array | None = None,
) -> Array:
    """Return draws (n,) of the share of the hypervolume that a search misses.

    Parameters
    ----------
    effects
        Effects of its space.
    history
        Complete results, of two architectures at least.
    tried
        Codes (k, d) of all trials and their violations (k, c), NaN where unknown.
    rng
        Source of randomness.
    point : (m,), optional
        Reference point, if it is known.
    """
    codes, losses, std, averaged = history.averaged()
    fitted = _fitted_rows(losses, np.asarray((averaged <= 0).all(axis=1)), rng)
    models = [
        _fit(effects, codes[fitted], losses[fitted, j], std[fitted, j])
        for j in range(losses.shape[1])
    ]
    # Violations are also known of trials that were stopped at a constraint.
    tried_codes, violations = tried
    for column in violations.T:
        finite_rows = np.flatnonzero(np.isfinite(column))
        distinct, first = np.unique(tried_codes[finite_rows], axis=0, return_index=True)
        subset = np.sort(rng.permutation(len(distinct))[:_MAX_FITTED])
        values, no_errors = column[finite_rows[first[subset]]], np.zeros(len(subset))
        models.append(_fit(effects, distinct[subset], values, no_errors, (False,)))
    noisy = bool(std.any())
    rows = fitted if noisy else np.arange(len(codes))
    measured = Measured(codes[rows], losses[rows], averaged[rows], noisy, tried_codes)
    reference = reference_point if point is None else lambda front: point
    return missing_draws(models, measured, _N_DRAWS, rng, reference)


def _fit(
    effects: AnyEffects,
    codes: Codes,
    values: Array,
    std: Array,
    scales: tuple[bool, ...] = (False, True),
) -> AdditiveModel:
    """Return the model of one outcome."""
    return fit_model(effects, Design(effects, codes), values, std, scales=scales, steps=_FIT_STEPS)


def _complete(problem: Problem, trials: Trials) -> IndexArray:
    """Return the rows of trials that have all values, at the highest fidelity there is."""
    mask = trials.ok
    if not problem.noisy and problem.backend.fidelities:
        # Under noise a fidelity is a number of repeats, and any will do.
        top = problem.backend.fidelities[-1]
        mask = mask & ((trials.fidelity < 0) | (trials.fidelity == top))
    return np.flatnonzero(mask)


def _fitted_rows(losses: Array, feasible: BoolArray, rng: np.random.Generator) -> IndexArray:
    """Return the rows of losses (n, m) that a model is fitted to: fronts first, then any."""
    n = len(losses)
    if n <= _MAX_FITTED:
        return np.arange(n)
    selected: list[IndexArray] = []
    remaining = np.flatnonzero(feasible)
    # Three quarters are the front, the front of the rest, and so on.
    room = 3 * _MAX_FITTED // 4
    while room > 0 and len(remaining):
        is_front = pareto.non_dominated(losses[remaining])
        front = remaining[is_front]
        if len(front) > room:
            front = np.sort(rng.choice(front, room, replace=False))
        selected.append(front)
        room -= len(front)
        remaining = remaining[~is_front]
    chosen = np.concatenate([np.zeros(0, dtype=np.intp), *selected])
    unchosen = np.setdiff1d(np.arange(n), chosen)
    unchosen = rng.choice(unchosen, _MAX_FITTED - len(chosen), replace=False)
    return np.sort(np.concatenate([chosen, unchosen]))
