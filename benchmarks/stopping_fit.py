"""Constants of stopping rules, fitted to searches whose truth is known, for ``stopping.py``.

The logarithm of the truth is a normal variable about that of the estimate, see
`hwnas.runner.missing_estimate.calibrated`: scale, exponent, weight of the progress and the two
constants of the spread maximize its likelihood. Every search counts alike, however many estimates
it has; intervals are those of a bootstrap over searches.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from stopping_report import lines, part_of, searches_of, stop_row

from hwnas.runner.missing_estimate import (
    CALIBRATION,
    Calibration,
    log_expected,
    log_variance,
)
from hwnas.typing import Array

CHOOSING = "tables, chosen by"
N_BOOTSTRAP = 200
MARGINS = (0.7, 0.8, 0.9, 1.0, 1.2)
STOP_HEADER = ("within", "searches", "stopped", "on target", "most missing", "against an oracle")
MEANS = (0.02, 0.01, 0.005)  # of draws
_SMALLEST = 1e-4  # below which the truth is not followed
_MAX_SPREAD = 1.0

# Columns of a search: truth, mean and standard deviation of the draws, progress.
Columns = Array


def columns_of(rows: Sequence[Sequence[str]], group: str = CHOOSING) -> list[Columns]:
    """Return the columns (k, 4) of each search of a group that has the columns of a fit."""
    by_key: dict[tuple[str, ...], list[list[float]]] = defaultdict(list)
    for row in rows:
        if part_of(row[:5]) == group and len(row) > 16 and row[14]:
            values = [float(row[j]) for j in (6, 14, 15, 16)]
            if values[0] >= _SMALLEST and float(row[7]) > 0:
                by_key[tuple(row[:5])].append(values)
    return [np.array(part) for part in by_key.values()]


def loss(constants: Sequence[float], columns: Columns, weights: Array) -> float:
    """Return the mean negative log-likelihood of estimates, without its constant part.

    Parameters
    ----------
    constants
        Those of a `Calibration`, in order.
    columns : (k, 4)
    weights : (k,)
        Weights of the estimates, whose sum is 1.
    """
    calibration = Calibration(*constants)
    truth, mean, std, progress = columns.T
    logs = log_expected(mean, progress, calibration)
    variance = log_variance(logs, std / mean, calibration)
    each = (np.log(truth) - logs) ** 2 / variance + np.log(variance)
    return float(weights @ each) / 2


def fit(searches: Sequence[Columns], counts: Array | None = None) -> Calibration:
    """Return the most probable constants.

    Parameters
    ----------
    searches
        Columns of each search.
    counts
        How often each search counts, by default once.
    """
    counts = np.ones(len(searches)) if counts is None else counts
    columns = np.concatenate(searches)
    weights = np.concatenate(
        [np.full(len(part), n / len(part)) for part, n in zip(searches, counts, strict=True)]
    )
    bounds = [(None, None)] * 3 + [(0.01, _MAX_SPREAD), (0.0, _MAX_SPREAD)]
    arguments = columns, weights / weights.sum()
    found = minimize(loss, CALIBRATION, args=arguments, bounds=bounds, method="L-BFGS-B")
    return Calibration(*found.x.tolist())


def constant_lines(rows: Sequence[Sequence[str]]) -> str:
    """Return a table of the constants, and one of estimates with them."""
    searches = columns_of(rows)
    if not searches:
        raise SystemExit("stopping.csv has no searches with the columns of a fit; run some first")
    rng, best = np.random.default_rng(0), fit(searches)
    n = len(searches)
    draws = [fit(searches, rng.multinomial(n, np.full(n, 1 / n))) for _ in range(N_BOOTSTRAP)]
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    header = ["constant", "in use", f"fitted to {n} searches", "90 % interval"]
    constants = [
        [name, f"{x:.3f}", f"{y:.3f}", f"{a:.3f} to {b:.3f}"]
        for name, x, y, a, b in zip(Calibration._fields, CALIBRATION, best, low, high, strict=True)
    ]
    estimates = [
        [f"{mean:g}", *(f"{np.exp(log_expected(mean, mean, c)):.5f}" for c in (CALIBRATION, best))]
        for mean in MEANS
    ]
    return "\n\n".join(
        [
            lines(header, constants),
            lines(["mean of the draws, and progress", "in use", "fitted"], estimates),
        ]
    )


def margin_lines(rows: Sequence[Sequence[str]]) -> str:
    """Return a table of stops by the margin that is asked for, in standard deviations."""
    tables = [search for search in searches_of(rows) if search.group.startswith("tables")]
    cells = [
        [f"{margin:g}", *stop_row("tables", tables, j, margin)[1:]]
        for margin in MARGINS
        for j in (0, 1)
    ]
    return lines(["margin", *STOP_HEADER], cells)
