"""Checks that any optimizer or backend can be put through, ours or a stranger's.

In a test suite::

    @pytest.mark.parametrize("check", hwnas.testing.optimizer_checks(), ids=str)
    def test_mine(check):
        check(Mine, rate=0.5)

On the command line: ``hwnas check mine.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hwnas.backends import Backend
from hwnas.optimizers import Optimizer
from hwnas.registry import Kind
from hwnas.spaces import SearchSpace
from hwnas.testing.backend_checks import BACKENDS, Measured
from hwnas.testing.checks import Check, CheckFailed, Outcome, check_of
from hwnas.testing.harness import Contestant
from hwnas.testing.optimizer_protocol import MANNERS
from hwnas.testing.quality import QUALITY
from hwnas.testing.result_handling import TRIALS

__all__ = [
    "Check",
    "CheckFailed",
    "Outcome",
    "backend_checks",
    "check_backend",
    "check_optimizer",
    "optimizer_checks",
    "outcomes",
]


def optimizer_checks() -> list[Check]:
    """Every check of an optimizer; each can be called as `check_optimizer`."""
    return [check_of("optimizer", judge, Contestant) for judge in (*MANNERS, *TRIALS, *QUALITY)]


def backend_checks() -> list[Check]:
    """Every check of a backend; each can be called as `check_backend`."""
    return [check_of("backend", judge, Measured) for judge in BACKENDS]


def check_optimizer(
    tested: str | type[Optimizer],
    *,
    space: SearchSpace | str | None = None,
    evaluations: int | None = None,
    **settings: Any,
) -> None:
    """Put an optimizer through every check, to the first that fails.

    Parameters
    ----------
    tested
        A registered name, or a class.
    space
        Where it searches; a made-up space of 44,226 networks by default.
    evaluations
        Length of the runs that judge its manners: enough to come past its start. By default two and
        a half times its batch, from 30 to 250.
    **settings
        Its own settings; small ones where it fits a model.

    Raises
    ------
    CheckFailed
        One line: what was demanded, what was seen.
    UnknownName, InvalidInput, MissingExtra
        See `hwnas.registry.checked_settings`.
    """
    contestant = Contestant(tested, space=space, evaluations=evaluations, **settings)
    for check in optimizer_checks():
        check.of(contestant)


def check_backend(
    tested: str | type[Backend],
    *,
    space: SearchSpace | str = "gpt-s",
    networks: int = 16,
    **settings: Any,
) -> None:
    """Put a backend through every check, to the first that fails.

    Parameters
    ----------
    tested
        A registered name, or a class.
    space
        Whose networks it is asked for.
    networks
        How many it is asked for at once; few where each takes long.
    **settings
        Its own settings.

    Raises
    ------
    CheckFailed, UnknownName, InvalidInput, MissingExtra
        As of `check_optimizer`.
    """
    measured = Measured(tested, space=space, networks=networks, **settings)
    for check in backend_checks():
        check.of(measured)


def outcomes(kind: Kind, tested: str | type, **how: Any) -> Iterator[Outcome]:
    """What each check comes to, one after the other; `how` is as in `check_optimizer`."""
    subject = Contestant(tested, **how) if kind == "optimizer" else Measured(tested, **how)
    checks = optimizer_checks() if kind == "optimizer" else backend_checks()
    for check in checks:
        yield check.outcome(subject)
