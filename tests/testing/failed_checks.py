"""Helper of the tests of the conformance checks."""

from __future__ import annotations

from collections.abc import Iterable

from hwnas.testing import Outcome


def failed_checks(outcomes: Iterable[Outcome]) -> dict[str, str]:
    """Return the observations of the checks that failed; every observation is one line."""
    outcomes = list(outcomes)
    assert all("\n" not in outcome.seen and outcome.seen for outcome in outcomes)
    return {outcome.check: outcome.seen for outcome in outcomes if outcome.result == "failed"}
