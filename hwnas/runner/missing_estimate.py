"""Estimates of the hypervolume that a search misses, with their intervals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hwnas.errors import InvalidInput
from hwnas.typing import Array, IntArray

_PROGRESS_RANGE = (-2.0, 1.0)  # of the logarithm of progress relative to the draws' mean
_LARGEST = 0.06  # mean of draws that was seen in learning, beyond which nothing is corrected
_SPREAD_FROM = 0.01  # missing share beyond which the spread of the truth grows
_DRAWS_SPREAD = 0.12  # of draws in learning: further spread adds to that of the estimate
# Coarse corrections, from a few searches of ZDT and DTLZ problems and of noisy tables.
_FLAT_SCALE, _FLAT_SPREAD, _NOISE_SPREAD = 0.9, 0.4, 0.5
# With constraints, estimates are too low once little is missing. An estimate e below FROM becomes
# e * (FROM / e) ** WEIGHT. From 13 searches with constraints.
_BOUND_WEIGHT, _BOUND_FROM = 0.1, 0.015
_INTERVAL = 1.645  # standard deviations of a 90 % interval
# Standard deviations by which an estimate is below the target at a stop. Of 180 searches on those
# six devices 91 and 94 % then stop on target, at 1.3 times the evaluations of an oracle.
MARGIN = 0.9
_FLOOR = 1e-6
COLUMNS = ("expected_missing", "expected_missing_lower", "expected_missing_upper")


class Calibration(NamedTuple):
    """Constants of an estimate, learned from searches whose truth is known.

    Attributes
    ----------
    scale
        Logarithm of the factor of all estimates.
    exponent
        Exponent of the mean of the draws.
    progress
        Exponent of the progress relative to that mean.
    spread, growth
        Standard deviation of the logarithm of the truth about that of the estimate, and what it
        gains with the logarithm of a large estimate.
    """

    scale: float
    exponent: float
    progress: float
    spread: float
    growth: float


# The exponent's ratio to the weight of the progress was fitted to searches of `additive` without
# factors of layers on seven devices; scale, exponent and spread were chosen by 72 with factors on
# six others (benchmarks/stopping.md).
CALIBRATION = Calibration(-0.297, 0.993, 0.349, 0.2, 0.13)


@dataclass(frozen=True)
class MissingEstimate:
    """Share of the hypervolume that is expected to be missing.

    Attributes
    ----------
    trials
        Number of trials of the search when it was estimated.
    expected
        Expected share, from 0 to 1.
    lower, upper
        Ends of its 90 % interval.

    Examples
    --------
    >>> print(MissingEstimate(64, 0.012, 0.009, 0.016))
    1.20 % of the hypervolume expected to be missing (0.90 to 1.60 %)
    """

    trials: int
    expected: float
    lower: float
    upper: float

    def __str__(self) -> str:
        return (
            f"{100 * self.expected:.2f} % of the hypervolume expected to be missing "
            f"({100 * self.lower:.2f} to {100 * self.upper:.2f} %)"
        )

    def is_within(self, target: float, margin: float = MARGIN) -> bool:
        """Return whether no more than the target is missing, in about nine of ten searches.

        Parameters
        ----------
        target
            Share that may be missing.
        margin
            Standard deviations by which the estimate must be below it.
        """
        if self.expected <= 0:
            return True
        deviation = np.log(self.upper / self.expected) / _INTERVAL
        return bool(self.expected * np.exp(margin * deviation) <= target)

    @staticmethod
    def to_json(estimates: Sequence[MissingEstimate]) -> str:
        """Return a text from which `from_json` restores the estimates."""
        return json.dumps([astuple(estimate) for estimate in estimates])

    @classmethod
    def from_json(cls, text: str, file: Path) -> list[MissingEstimate]:
        """Restore estimates from the text of `to_json`.

        Raises
        ------
        InvalidInput
            The text is another one; `file` is named.
        """
        try:
            rows = json.loads(text)
            estimates = [cls(int(row[0]), *(float(x) for x in row[1:])) for row in rows]
            if any(not 0 <= e.lower <= e.expected <= e.upper <= 1 for e in estimates):
                raise ValueError("expected shares from 0 to 1")
            return estimates
        except (ValueError, TypeError, IndexError, KeyError, RecursionError) as error:
            raise InvalidInput(f"{file}: its estimates are damaged: {error!r:.200}") from error


def calibrated(
    draws: Array,
    progress: float,
    trials: int,
    *,
    flat: bool = False,
    noisy: bool = False,
    constrained: bool = False,
) -> MissingEstimate:
    """Return the estimate from draws of what is missing, and from what the search gained last.

    The draws say what their model holds possible, the progress how much there was to gain. The
    estimate is a weighted geometric mean of both; the weights and the interval, that of a lognormal
    distribution, are learned from searches whose truth is known.

    Parameters
    ----------
    draws : (n,)
        Draws of the missing share.
    progress
        Share of the hypervolume so far that the first half of the trials lacked.
    trials
        Number of trials.
    flat
        Whether the model has no effects of layers: its draws then hold too little possible.
    noisy
        Whether measurements have errors.
    constrained
        Whether there are constraints.

    Examples
    --------
    >>> calibrated(np.zeros(4), 0.0, 10)
    MissingEstimate(trials=10, expected=0.0, lower=0.0, upper=0.0)
    >>> print(calibrated(np.full(4, 0.006), 0.008, 150))
    0.51 % of the hypervolume expected to be missing (0.37 to 0.71 %)
    >>> print(calibrated(np.full(4, 0.006), 0.008, 150, constrained=True))
    0.57 % of the hypervolume expected to be missing (0.41 to 0.79 %)
    """
    mean = float(draws.mean())
    if mean < _FLOOR:
        return MissingEstimate(trials, 0.0, 0.0, 0.0)
    corrected = float(log_expected(mean, progress)) + _FLAT_SCALE * flat
    if constrained:
        corrected += _BOUND_WEIGHT * max(0.0, np.log(_BOUND_FROM) - corrected)
    corrected = min(0.0, corrected)
    expected = float(np.exp(corrected))
    variance = float(log_variance(corrected, draws.std() / mean))
    spread = np.sqrt(variance + (_FLAT_SPREAD * flat) ** 2 + (_NOISE_SPREAD * noisy) ** 2)
    lower, upper = expected * np.exp(np.array([-_INTERVAL, _INTERVAL]) * spread)
    return MissingEstimate(trials, expected, float(lower), float(min(1.0, upper)))


def log_expected(
    mean: Array | float, progress: Array | float, calibration: Calibration = CALIBRATION
) -> Array:
    """Return the logarithm of an estimate, without corrections for noise, constraints and the like.

    Parameters
    ----------
    mean, progress : of any shape
        Mean of the draws, above 0, and progress, see `calibrated`.
    calibration
        Constants.
    """
    # Out of the range of learning, a search that stands still is not taken for a complete one.
    gained = np.clip(np.log(np.maximum(progress, _FLOOR) / mean), *_PROGRESS_RANGE)
    logs = calibration.scale + calibration.exponent * np.log(np.minimum(mean, _LARGEST))
    logs += calibration.progress * gained + np.log(np.maximum(1.0, mean / _LARGEST))
    return np.asarray(logs)


def log_variance(
    log_estimate: Array | float, draws_spread: Array | float, calibration: Calibration = CALIBRATION
) -> Array:
    """Return the variance of the logarithm of the truth about that of an estimate.

    Parameters
    ----------
    log_estimate, draws_spread : of any shape
        Logarithm of the estimate, and standard deviation of the draws relative to their mean.
    calibration
        Constants.
    """
    growth = calibration.growth * np.maximum(0.0, log_estimate - np.log(_SPREAD_FROM))
    excess = np.maximum(0.0, np.square(draws_spread) - _DRAWS_SPREAD**2)
    return np.asarray((calibration.spread + growth) ** 2 + excess)


def stored_estimates(meta: Mapping[str, str], file: Path) -> list[MissingEstimate]:
    """Return the estimates of a search from the texts beside its trials, in order.

    Parameters
    ----------
    meta
        The texts.
    file
        File that holds them, for error texts.
    """
    return MissingEstimate.from_json(meta.get("missing", "[]"), file)


def missing_columns(
    estimates: Sequence[MissingEstimate], used: IntArray, evaluations: IntArray
) -> dict[str, Array]:
    """Return the columns of ``hypervolume.csv`` that estimates add, none without estimates.

    Parameters
    ----------
    estimates
        Estimates of a search, in order.
    used : (n,)
        Evaluations up to each of its trials.
    evaluations : (k,)
        Evaluations at each row, for which the last estimate is shown; NaN before the first.

    Examples
    --------
    >>> estimates = [MissingEstimate(2, 0.5, 0.25, 0.75)]
    >>> missing_columns(estimates, np.array([1, 2, 3]), np.array([1, 3]))["expected_missing"]
    array([nan, 0.5])
    """
    if not estimates:
        return {}
    shares = np.array([[e.expected, e.lower, e.upper] for e in estimates])
    shares = np.concatenate([np.full((1, 3), np.nan), shares])
    made_at = used[np.array([e.trials for e in estimates]) - 1]
    rows = shares[np.searchsorted(made_at, evaluations, side="right")]
    return dict(zip(COLUMNS, rows.T, strict=True))
