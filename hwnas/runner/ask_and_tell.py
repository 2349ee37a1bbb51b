"""Calls of an optimizer: proposals that are checked and fit the budget, and results told to it."""

from __future__ import annotations

import numpy as np

from hwnas.objectives import constraint_violations, losses_of
from hwnas.optimizers import MultiFidelityOptimizer, Optimizer
from hwnas.problem import Problem
from hwnas.runner.budget import BudgetTracker
from hwnas.runner.checkpoints import reaches_checkpoint, split_at_checkpoints
from hwnas.runner.evaluation_cache import EvaluationCache
from hwnas.runner.storage import Store, Trials
from hwnas.spaces import SearchSpace
from hwnas.typing import Array, Codes

MAX_REFUSALS = 1000  # proposals in a row that do not fit the budget


def continues_for_free(optimizer: Optimizer, problem: Problem) -> bool:
    """Return whether architectures can reach a higher fidelity when no evaluations are left."""
    if not isinstance(optimizer, MultiFidelityOptimizer) or len(optimizer.fidelities) < 2:
        return False
    lowest, highest = optimizer.fidelities[0], optimizer.fidelities[-1]
    return problem.backend.evaluations(highest, lowest) == 0


def propose(
    optimizer: Optimizer, batch: int, evaluations_left: float, cache: EvaluationCache
) -> tuple[Codes, int | None] | None:
    """Return codes and their fidelity; ``None`` once no proposal fits the budget.

    What is asked for never depends on the budget, so that a search which is given more goes on as
    one that had it from the start. A proposal is cut to the evaluations that are left. One that
    does not fit even so has failed for the optimizer, which may go on with a cheaper one.
    """
    for _ in range(MAX_REFUSALS if evaluations_left > 0 else 1):
        codes, fidelity = checked_ask(optimizer, batch)
        n_fitting = fitting_count(codes, fidelity, batch, evaluations_left, cache)
        refuse(optimizer, codes[n_fitting:], fidelity)
        if n_fitting:
            return codes[:n_fitting], fidelity
    return None


def checked_ask(
    optimizer: Optimizer, n: int, *, is_waiting: bool = False
) -> tuple[Codes, int | None]:
    """Ask for up to `n` codes; return them (k, d) and their fidelity, after a check of both.

    Parameters
    ----------
    optimizer
        Optimizer to ask.
    n
        Largest number of codes.
    is_waiting
        Whether results are outstanding, so that there may be no code.
    """
    proposal, fidelity = optimizer.ask(n), None
    # Multi-fidelity optimizers return a pair.
    if isinstance(optimizer, MultiFidelityOptimizer):
        proposal, fidelity = proposal
        if fidelity not in optimizer.fidelities:
            name = type(optimizer).__name__
            expected = ", ".join(map(str, optimizer.fidelities))
            raise ValueError(f"{name}.ask: expected a fidelity of {expected}, found {fidelity}")
    if is_waiting and len(proposal) == 0:
        return optimizer.space.encode([]), fidelity
    return _checked_codes(proposal, n, optimizer.space, optimizer), fidelity


def fitting_count(
    codes: Codes, fidelity: int | None, n: int, evaluations_left: float, cache: EvaluationCache
) -> int:
    """Return how many of the first codes (k, d) of a proposal fit the budget.

    Parameters
    ----------
    codes, fidelity
        The proposal.
    n
        Number of codes that was asked for.
    evaluations_left
        Evaluations that may still be made.
    cache
        State of earlier trials.
    """
    # At least one evaluation each: more cannot fit. With none left, only what is free does.
    n_most = int(max(0, min(n, evaluations_left))) or n
    fits = cache.evaluations(codes[:n_most], fidelity).sum() <= evaluations_left
    return len(codes[:n_most]) if fits else 0


def refuse(optimizer: Optimizer, codes: Codes, fidelity: int | None) -> None:
    """Tell an optimizer that codes (k, d) do not fit the budget."""
    # Further proposals may be cheap enough; at a single fidelity this was the last.
    if len(codes) and fidelity is not None:
        optimizer.fail(codes, "does not fit the budget")


def _checked_codes(codes: Codes, n: int, space: SearchSpace, optimizer: Optimizer) -> Codes:
    """Return proposed codes as int8, after a check of shape, number and form."""
    name = type(optimizer).__name__
    codes = np.ascontiguousarray(codes)
    if codes.ndim != 2 or not np.issubdtype(codes.dtype, np.integer):
        raise TypeError(f"{name}.ask: expected integer codes (k, d), found {codes!r}")
    if codes.shape[1] != len(space.columns):
        expected = f"(k, {len(space.columns)})"
        raise ValueError(f"{name}.ask: expected codes of shape {expected}, found {codes.shape}")
    if not 1 <= len(codes) <= n:
        raise ValueError(f"{name}.ask({n}): expected 1 to {n} codes, found {len(codes)}")
    if not (valid := space.is_valid(codes)).all():
        invalid = codes[np.argmin(valid)].tolist()
        raise ValueError(f"{name}.ask: expected canonical codes of {space.name}, found {invalid}")
    return codes.astype(np.int8)


def tell_and_recommend(
    optimizer: Optimizer, problem: Problem, trials: Trials, tracker: BudgetTracker, store: Store
) -> None:
    """Tell trials and count them; under noise store the recommendation at every checkpoint."""
    pieces = split_at_checkpoints(trials, tracker.evaluations) if problem.noisy else [trials]
    for piece in pieces:
        tell(optimizer, problem, piece)
        tracker.add(piece)
        n_last = int(piece.evaluations[-1])
        if problem.noisy and reaches_checkpoint(tracker.evaluations, n_last):
            store.recommend(tracker.trials, optimizer.recommend())


def tell(optimizer: Optimizer, problem: Problem, trials: Trials) -> None:
    """Tell an optimizer the values of trials, and which of them failed or were stopped."""
    # Complete trials first, in one tell.
    ok = trials.ok
    if ok.any():
        tell_values(optimizer, problem, trials.codes[ok], trials.values[ok], trials.std[ok])
    m = len(problem.objectives)
    # Then the others, each with its reason.
    for i in np.flatnonzero(~ok).tolist():
        code = trials.codes[i : i + 1]
        if trials.status[i] == "infeasible" and problem.constraints:
            violations = constraint_violations(problem.constraints, trials.values[i : i + 1, m:])
            optimizer.tell_infeasible(code, violations)
        else:
            optimizer.fail(code, trials.reason[i] or trials.status[i])


def tell_values(
    optimizer: Optimizer, problem: Problem, codes: Codes, values: Array, std: Array
) -> None:
    """Tell raw values (k, q) of objectives and constraints, and their standard errors."""
    m = len(problem.objectives)
    violations = None
    if problem.constraints:
        violations = constraint_violations(problem.constraints, values[:, m:])
    optimizer.tell(
        codes,
        losses_of(problem.objectives, values[:, :m]),
        std=std[:, :m] if std.any() else None,
        constraints=violations,
    )
