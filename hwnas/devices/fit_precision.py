"""Error that a fit is expected to have, and the number of measurements that reaches one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hwnas.devices.fit import MIN_POINTS, FittedMetric, fit_tables
from hwnas.devices.fit_known import known_prior
from hwnas.devices.fit_posterior import NOISE, NOISE_BESIDE_KNOWN
from hwnas.devices.fit_prior import Prior, factors_of, physical_mean, typical_levels
from hwnas.devices.fit_terms import Terms
from hwnas.devices.groups import average_repeats
from hwnas.devices.measurements import Measurements
from hwnas.objectives import Objective
from hwnas.spaces import LanguageModelSpace
from hwnas.typing import Array, Codes
from hwnas.workloads import Workload

# Architectures from which an expected error is trusted: with fewer, scales are mostly guessed.
MIN_TRUSTED = 10
_SIZES = (10, 12, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200)  # that are simulated
_ARCHITECTURES = 500  # over which an expected error is averaged
_DRAWS, _MAX_TRIES = 3, 20  # simulated devices, and draws of one until its values are positive

Row = Mapping[str, str]  # of a survey's file


@dataclass(frozen=True)
class PrecisionTarget:
    """Errors that the fits of some metrics are to have.

    Parameters
    ----------
    space
        Space of the measurements.
    metrics
        Columns of a survey, ``"tpot.serve@cuda"``.
    error
        Wanted mean relative error of an architecture that is not measured.
    workloads
        Definitions of the workloads.
    """

    space: LanguageModelSpace
    metrics: Sequence[str]
    error: float
    workloads: Mapping[str, Workload]
    _priors: dict[str, Prior | None] = field(default_factory=dict, repr=False)

    def errors(self, rows: Sequence[Row]) -> dict[str, float]:
        """Return the expected error of each metric, given the rows of a survey.

        It is infinite with fewer than 10 architectures.
        """
        return {name: self._error(rows, name) for name in self.metrics}

    def expected_points(self, design: Callable[[int], Codes], limit: int) -> int | None:
        """Return the number of architectures that is expected to be enough; None above a limit.

        Parameters
        ----------
        design
            Architectures of a survey of a given size.
        limit
            Largest number of architectures.
        """
        priors = {
            id(prior): prior for prior in (self._prior(name) for name in self.metrics)
        }.values()
        points = [expected_points(self.space, self.error, design, limit, p) for p in priors]
        return None if None in points else max(p for p in points if p is not None)

    def _error(self, rows: Sequence[Row], name: str) -> float:
        complete = [row for row in rows if row["status"] == "ok" and row[name]]
        if len({row["arch"] for row in complete}) < MIN_TRUSTED:
            return math.inf
        codes = self.space.encode([row["arch"] for row in complete])
        values = np.array([float(row[name]) for row in complete])
        texts = [row.get(f"{name} std", "") for row in complete]
        std = np.array([float(text) for text in texts]) if all(texts) else None
        group = average_repeats(Measurements(self.space, name, codes, values, std, None, {}))
        fit = fit_tables(
            self.space, group.codes, group.values, group.std, metric=name, prior=self._prior(name)
        )
        return expected_error(fit)

    def _prior(self, name: str) -> Prior | None:
        if name not in self._priors:
            objective = Objective.parse(name)
            workload = self.workloads.get(objective.workload or "")
            self._priors[name] = known_prior(self.space, objective.quantity, workload)
        return self._priors[name]


def expected_error(fit: FittedMetric) -> float:
    """Return the expected mean relative error of random architectures.

    That of the posterior, enlarged where leave-one-out errors are larger than it expects. Leave-
    one-out errors alone would be too large: architectures of a design are extreme ones.
    """
    codes = fit.space.sample(_ARCHITECTURES, np.random.default_rng(0))
    spread = max(1.0, math.sqrt(float((fit.scores**2).mean())))
    return math.sqrt(2 / math.pi) * spread * float(fit.deviation(codes).mean())


def expected_points(
    space: LanguageModelSpace,
    error: float,
    design: Callable[[int], Codes],
    limit: int,
    prior: Prior | None = None,
) -> int | None:
    """Return the number of architectures at which a fit reaches an error, by simulation.

    Devices are drawn from the prior of the fit. The median over three of them counts.

    Parameters
    ----------
    space
        The space.
    error
        Mean relative error.
    design
        Architectures of a survey of a given size.
    limit
        Largest number of architectures; ``None`` is returned where it is not enough.
    prior
        What is known from other devices.

    Examples
    --------
    >>> import hwnas
    >>> from hwnas.devices.design import survey_design
    >>> space = hwnas.space("gpt-s")
    >>> def design(n):
    ...     return survey_design(space, n, np.random.default_rng(0))
    >>> points = [expected_points(space, error, design, 100) for error in (0.05, 0.01)]
    >>> points[0] <= points[1]
    True
    """
    limit = min(limit, space.size)
    sizes = sorted({n for n in _SIZES if n <= limit} | ({limit} if limit >= MIN_POINTS else set()))
    if not sizes:
        return None
    codes = design(sizes[-1])
    devices = [_simulated_values(space, codes, prior, seed) for seed in range(_DRAWS)]
    for n in sizes:
        fits = [fit_tables(space, codes[:n], values[:n], prior=prior) for values in devices]
        if np.median([expected_error(fit) for fit in fits]) <= error:
            return n
    return None


def _simulated_values(
    space: LanguageModelSpace, codes: Codes, prior: Prior | None, seed: int
) -> Array:
    """Return values (n,) of a device that is drawn from the prior."""
    rng, terms = np.random.default_rng(seed), Terms(space)
    mean = physical_mean(terms) if prior is None else prior.mean
    rows, width = terms(codes), terms.width_of(codes)
    factors = factors_of(terms, typical_levels(terms, codes, mean), prior)
    values = expected = (rows * mean[width]).sum(axis=1)
    for _ in range(_MAX_TRIES):
        coefficients = mean.copy()
        for factor in factors:
            weights = factor.typical * rng.standard_normal(factor.columns.shape[1])
            coefficients += (factor.columns @ weights).reshape(mean.shape)
        values = (rows * coefficients[width]).sum(axis=1)
        if (values > 0.2 * expected).all():
            break
    else:
        values = expected
    noise = (NOISE if prior is None else NOISE_BESIDE_KNOWN)[0]
    return np.asarray(values * np.exp(noise * rng.standard_normal(len(values))))
