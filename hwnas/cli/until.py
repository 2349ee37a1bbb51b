"""Surveys that end when a fit is expected to be good enough: ``hwnas profile --until``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hwnas.cli.console import echo
from hwnas.devices.design import survey_design
from hwnas.devices.fit_precision import MIN_TRUSTED, PrecisionTarget, Row
from hwnas.errors import InvalidInput
from hwnas.profiling.survey.drift import rows_with_role
from hwnas.spaces import LanguageModelSpace
from hwnas.typing import Codes
from hwnas.workloads import Workload

MAX_COUNT = 100  # architectures unless --count says another number


def parse_error(text: str) -> float:
    """Return the relative error of a percentage.

    Raises
    ------
    InvalidInput
        The text is no percentage between 0.1 and 50.

    Examples
    --------
    >>> parse_error("1.5%")
    0.015
    """
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*%\s*", text)
    if match is None or not 0.1 <= float(match[1]) <= 50:
        raise InvalidInput(
            f"--until: expected a percentage between 0.1% and 50%, such as 1.5%, found {text!r}"
        )
    return float(match[1]) / 100


class ErrorWatch:
    """Expected errors of the fits of a survey, told while it runs.

    Parameters
    ----------
    space, metrics, error, workloads
        See `hwnas.devices.fit_precision.PrecisionTarget`.
    settings
        Of the survey: ``count`` and ``seed``.
    quiet
        Tell nothing, and expect nothing beforehand.
    """

    def __init__(
        self,
        space: LanguageModelSpace,
        metrics: Sequence[str],
        error: float,
        workloads: Mapping[str, Workload],
        settings: Mapping[str, Any],
        quiet: bool,
    ) -> None:
        self._target = PrecisionTarget(space, metrics, error, workloads)
        self._space, self._count, self._seed = space, settings["count"], settings["seed"]
        self._points: int | None = None
        self._rows: Sequence[Row] = ()
        self._errors: dict[str, float] = {}
        self._n_design, self._is_told = -1, quiet
        if not quiet:
            self._expect()

    def is_enough(self, rows: Sequence[Row]) -> bool:
        """Return whether all expected errors are as small as wanted."""
        n_design = len(rows_with_role(rows, "design"))
        self._rows = rows
        if n_design != self._n_design:  # the anchor changes little, and comes once more at the end
            self._n_design, self._errors = n_design, self._target.errors(rows)
        return self._is_reached

    def report(self, row: Row) -> None:
        """Tell the time that the survey is expected to take, once a first duration is known."""
        if self._is_told:
            if self._n_design >= MIN_TRUSTED:
                echo(f"  expected errors before this: {self._text()}", err=True)
            return
        self._is_told = True
        n_expected = self._points or self._count
        minutes = float(row["seconds"]) * max(n_expected - self._n_design, 0) / 60
        echo(f"expected: about {minutes:.2g} minutes for {n_expected} architectures", err=True)

    def result(self) -> str:
        """Return what was reached, as a text."""
        wanted = f"{100 * self._target.error:.3g} %"
        n = sum(row["status"] == "ok" for row in rows_with_role(self._rows, "design"))
        if self._is_reached:
            return f"{wanted} reached with {n} architectures; expected errors: {self._text()}"
        if n < MIN_TRUSTED:
            return (
                f"{wanted} not reached: expected errors need {MIN_TRUSTED} architectures, found "
                f"{n}; the same command with a larger --count continues"
            )
        return (
            f"{wanted} not reached with {n} architectures; expected errors: {self._text()}; the "
            "same command with a larger --count continues"
        )

    @property
    def _is_reached(self) -> bool:
        return bool(self._errors) and max(self._errors.values()) <= self._target.error

    def _expect(self) -> None:
        def design(n: int) -> Codes:
            return survey_design(self._space, n, np.random.default_rng(self._seed))

        self._points = self._target.expected_points(design, self._count)
        wanted = f"{100 * self._target.error:.3g} %"
        if self._points is None:
            text = f"{wanted} may need more than {self._count} architectures, the most measured"
        else:
            text = f"about {self._points} architectures for {wanted}, at most {self._count}"
        echo(f"expected: {text}", err=True)

    def _text(self) -> str:
        return ", ".join(f"{name} {100 * error:.2g} %" for name, error in self._errors.items())
