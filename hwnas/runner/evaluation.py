"""Evaluation of architectures by a backend; its errors become failed trials."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from hwnas.backends import (
    Backend,
    Evaluation,
    Status,
    closed_form_values,
    is_closed_form,
    optimum,
    stop_reason,
)
from hwnas.errors import MachineFailed
from hwnas.objectives import Objective
from hwnas.runner.failures import Failure, FailureLog
from hwnas.typing import Array, Codes, IndexArray

Request = tuple[str, float | None]  # a metric on one device, and the level of its quantile


def measure(
    backend: Backend,
    codes: Codes,
    objectives: Sequence[Objective],
    *,
    seeds: NDArray[np.uint64] | None = None,
    fidelity: int | None = None,
    failures: FailureLog | None = None,
) -> Evaluation:
    """Evaluate objectives and constraints of any kind.

    The backend is asked for what it alone can answer. Closed forms (``params``, ``flops``,
    ``kv_cache.serve``) and the worst ratio over several devices are added here.

    Parameters
    ----------
    codes : (n, d) int8
        Canonical codes.
    objectives
        The m objectives and constraints, each checked by `hwnas.backends.metric_of`.
    seeds : (n,) uint64, optional
        Noise seed of each trial; zeros by default.
    fidelity
        One of the backend's fidelities.
    failures
        Log that records the errors of the backend.

    Returns
    -------
    Evaluation
        Complete but for `std`, which may be ``None``. A trial whose backend raised an error, or
        whose values are not finite, has status ``"failed"`` and its reason.

    Raises
    ------
    MachineFailed
        The backend says that nothing can be measured any more.
    Exception
        The backend's own, if the log gives the search up, see `FailureLog.add`.
    """
    n = len(codes)
    seeds = np.zeros(n, dtype=np.uint64) if seeds is None else seeds

    # 1. Closed forms, and the constraints on them that spare a measurement.
    closed_forms = {
        j: closed_form_values(backend, objective, codes)
        for j, objective in enumerate(objectives)
        if is_closed_form(backend.space, objective)
    }
    stop_reasons = _stop_reasons(backend, objectives, closed_forms, n)

    # 2. One request for each metric on each device, answered for what is not stopped.
    requests = _requests([o for j, o in enumerate(objectives) if j not in closed_forms])
    running = np.flatnonzero([not reason for reason in stop_reasons])
    request = list(requests.values()), fidelity, failures
    answer = _ask(backend, codes[running], seeds[running], *request)
    if len(running) < n:
        answer = _with_stopped(answer, running, stop_reasons)

    # 3. The answers as columns of objectives.
    values, std = _columns(backend, objectives, list(requests), answer)
    for j, column in closed_forms.items():
        values[:, j] = column

    # 4. A value that is not finite is a failure.
    status, reasons = list(answer.status or ()), list(answer.reasons or [""] * n)
    for i in np.flatnonzero(~np.isfinite(values).all(axis=1)):
        if status[i] == "ok":
            pairs = zip(objectives, values[i], strict=True)
            missing = [str(objective) for objective, value in pairs if not np.isfinite(value)]
            status[i], reasons[i] = "failed", f"not finite: {', '.join(missing)}"
    return Evaluation(values, None if answer.std is None else std, status, answer.seconds, reasons)


def _stop_reasons(
    backend: Backend, objectives: Sequence[Objective], closed_forms: dict[int, Array], n: int
) -> list[str]:
    """Return why each of n architectures need not be measured; empty where it must be."""
    reasons = [""] * n
    if not backend.on_hardware:
        return reasons
    for j, column in closed_forms.items():
        objective = objectives[j]
        if objective.bound is not None:
            for i in np.flatnonzero(objective.violation(column) > 0):
                reasons[i] = reasons[i] or stop_reason(objective, column[i])
    return reasons


def _requests(objectives: Sequence[Objective]) -> dict[Request, Objective]:
    """Return what to ask the backend for: each metric on each device once.

    A constraint on one device keeps its bound, so that a backend may stop a trial there.
    """
    requests: dict[Request, Objective] = {}
    for objective in objectives:
        for device, key in zip(objective.devices or (None,), objective.keys, strict=True):
            single = replace(objective, devices=(device,) if device else (), maximise=False)
            bounded = len(objective.devices) <= 1 and single.bound is not None
            if bounded or (key, single.level) not in requests:
                requests[key, single.level] = single if bounded else single.value
    return requests


def _columns(
    backend: Backend,
    objectives: Sequence[Objective],
    requests: Sequence[Request],
    answer: Evaluation,
) -> tuple[Array, Array]:
    """Return values and standard errors (n, m) of objectives from the answers to requests.

    Closed forms are NaN. Over several devices an objective is the largest ratio to the devices'
    optima.
    """
    n = len(answer.values)
    values = np.full((n, len(objectives)), np.nan)
    std = np.zeros_like(values)
    column_of = {request: j for j, request in enumerate(requests)}
    for j, objective in enumerate(objectives):
        if is_closed_form(backend.space, objective):
            continue
        columns = [column_of[key, objective.level] for key in objective.keys]
        scale = np.ones(len(columns))
        if len(columns) > 1:
            optima = [optimum(backend, key, objective.level) for key in objective.keys]
            scale = 1 / np.array(optima, dtype=np.float64)
        # The worst device decides; a single device has scale 1.
        ratios = answer.values[:, columns] * scale
        worst = ratios.argmax(axis=1)
        values[:, j] = ratios[np.arange(n), worst]
        if answer.std is not None:
            std[:, j] = (answer.std[:, columns] * scale)[np.arange(n), worst]
    return values, std


def _with_stopped(answer: Evaluation, rows: IndexArray, reasons: list[str]) -> Evaluation:
    """Return an evaluation of all trials from one of `rows`; the others stopped for a reason."""
    n = len(reasons)

    def expanded(values: Array | None, fill: float) -> Array:
        assert values is not None
        out = np.full((n, *values.shape[1:]), fill)
        out[rows] = values
        return out

    status: list[Status] = ["infeasible"] * n
    for row, word, reason in zip(rows, answer.status or (), answer.reasons or (), strict=True):
        status[row], reasons[row] = word, reason
    std = None if answer.std is None else expanded(answer.std, 0.0)
    seconds = expanded(answer.seconds, 0.0)
    return Evaluation(expanded(answer.values, np.nan), std, status, seconds, reasons)


def _ask(
    backend: Backend,
    codes: Codes,
    seeds: NDArray[np.uint64],
    requests: list[Objective],
    fidelity: int | None,
    failures: FailureLog | None,
) -> Evaluation:
    """Return the backend's complete answer; where it raises, one architecture at a time."""
    n, m = len(codes), len(requests)
    start = time.perf_counter()
    if n == 0 or m == 0:
        return Evaluation(np.empty((n, m)), None, ["ok"] * n, np.zeros(n), [""] * n)

    def ask_singly() -> Evaluation:
        # Slices of one, so that the arrays keep their dimensions.
        rows = [slice(i, i + 1) for i in range(n)]
        parts = [_ask(backend, codes[i], seeds[i], requests, fidelity, failures) for i in rows]
        return _concatenated(parts)

    if n > 1 and backend.on_hardware:  # a failure must not cost the measurements before it
        return ask_singly()
    try:
        answer = backend.evaluate(codes, requests, seeds=seeds, fidelity=fidelity)
        seconds = (time.perf_counter() - start) / n
        answer = _completed(answer, (n, m), seconds, f"{type(backend).__name__}.evaluate")
    except MachineFailed:
        raise
    except Exception as error:  # a backend runs a user's code, drivers and trainings
        if n > 1:  # one bad architecture must not take the others with it
            return ask_singly()
        reason = str(Failure.of(error)) if failures is None else failures.add(error)
        spent = np.array([time.perf_counter() - start])
        return Evaluation(np.full((1, m), np.nan), None, ["failed"], spent, [reason])
    if failures is not None:
        failures.has_success = True
    return answer


def _completed(
    answer: Evaluation, shape: tuple[int, int], seconds: float, method: str
) -> Evaluation:
    """Return a backend's answer with its defaults filled in, after a check of its shapes.

    Errors begin with the name of the method, by which its line is found.
    """
    n = shape[0]
    if not isinstance(answer, Evaluation):
        raise TypeError(f"{method}: expected an Evaluation, found {type(answer).__name__}")

    def array(name: str, value: object, expected: tuple[int, ...]) -> Array:
        try:
            out = np.asarray(value, dtype=np.float64)
        except ValueError as error:
            raise TypeError(f"{method}: expected numbers as {name}: {error}") from error
        if out.shape != expected:
            raise TypeError(f"{method}: expected {name} of shape {expected}, found {out.shape}")
        return out

    status: list[Status] = ["ok"] * n if answer.status is None else list(answer.status)
    if len(status) != n or not set(status) <= set(get_args(Status)):
        raise TypeError(f"{method}: expected status of {n} of {get_args(Status)}, found {status}")
    reasons = [""] * n if answer.reasons is None else list(map(str, answer.reasons))
    if len(reasons) != n:
        raise TypeError(f"{method}: expected {n} reasons, found {len(reasons)}")
    return Evaluation(
        array("values", answer.values, shape),
        None if answer.std is None else array("std", answer.std, shape),
        status,
        np.full(n, seconds) if answer.seconds is None else array("seconds", answer.seconds, (n,)),
        reasons,
    )


def _concatenated(parts: list[Evaluation]) -> Evaluation:
    """Return complete evaluations of several groups of trials as one."""
    std = None
    if any(part.std is not None for part in parts):
        std = np.concatenate([np.zeros_like(p.values) if p.std is None else p.std for p in parts])
    return Evaluation(
        np.concatenate([part.values for part in parts]),
        std,
        [status for part in parts for status in part.status or ()],
        np.concatenate([part.seconds for part in parts if part.seconds is not None]),
        [reason for part in parts for reason in part.reasons or ()],
    )
