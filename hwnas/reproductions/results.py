"""Results of a reproduction, from which its figures and claims are made."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hwnas.reports.comparison.comparison import Comparison, compare
from hwnas.reports.plots.sampled_architectures import SampledArchitectures, sample_architectures
from hwnas.reproductions.plan import TWO, PlannedExperiment
from hwnas.runner.results import Result
from hwnas.surrogates import surrogate
from hwnas.surrogates.published import DATA
from hwnas.typing import Array

METRICS = ("latency", "energy")  # of every device


@dataclass(frozen=True)
class ReproductionResults:
    """Results of the experiments of a reproduction.

    Attributes
    ----------
    results
        Result of each experiment that is complete.
    scales
        Names of the search spaces.
    """

    results: dict[PlannedExperiment, Result]
    scales: list[str]

    def select(self, kind: str, scale: str, metric: str = "") -> dict[str, Result]:
        """Return results of one kind and scale by objective or device.

        Parameters
        ----------
        kind
            `plan.TWO`, `plan.THREE` or `plan.NOISE`.
        scale
            Name of the search space.
        metric
            Start of the names of objectives; all by default.
        """
        return {
            planned.target: result
            for planned, result in self.results.items()
            if planned.kind == kind
            and planned.experiment.space == scale
            and planned.target.startswith(metric)
        }

    def architectures(self, scale: str) -> SampledArchitectures:
        """Return random architectures of a scale with all of their metrics."""
        # Several figures and claims use the same sample, so it is drawn once.
        if scale not in self._samples:
            self._samples[scale] = sample_architectures(surrogate(scale))
        return self._samples[scale]

    @property
    def two_objective_results(self) -> list[Result]:
        """Results of all problems with two objectives."""
        return [result for planned, result in self.results.items() if planned.kind == TWO]

    @cached_property
    def comparison(self) -> Comparison:
        """Comparison of the methods over all problems with two objectives."""
        return compare(self.two_objective_results)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on ranks and tests of the comparison."""
        return self.comparison.notes if self.two_objective_results else ()

    @cached_property
    def _samples(self) -> dict[str, SampledArchitectures]:
        return {}


def read_held_out() -> dict[tuple[str, str], tuple[Array, Array]]:
    """Read the calibration of the surrogate on held-out architectures.

    These are a fifth of the published architectures, which the tables were not fitted to, see
    ``benchmarks/surrogate.md``.

    Returns
    -------
    dict
        By scale and metric: levels (9,) of the quantiles, and the share (9,) of the published
        distributions below each quantile.
    """
    calibration = {}
    with (DATA / "held-out.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            # Columns below_10, below_20, ... are shares by level in per cent.
            below = {k.partition("_")[2]: v for k, v in row.items() if k.startswith("below_")}
            # A metric without noise has no quantiles: its columns are empty.
            if all(below.values()):
                levels = np.array([int(level) / 100 for level in below])
                shares = np.array([float(share) for share in below.values()])
                calibration[row["space"], row["metric"]] = levels, shares
    return calibration
