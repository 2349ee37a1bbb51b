"""Conformance checks that every optimizer, backend and family of spaces must pass.

In a test suite::

    @pytest.mark.parametrize("check", hwnas.testing.optimizer_checks(), ids=str)
    def test_my_optimizer(check):
        check(MyOptimizer, rate=0.5)

On the command line: ``hwnas check my_optimizer.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hwnas.backends import Backend
from hwnas.optimizers import Optimizer
from hwnas.registry import Kind
from hwnas.spaces import SearchSpace
from hwnas.testing import backend_declaration, backend_evaluation, backend_front
from hwnas.testing.backend_harness import BackendUnderTest
from hwnas.testing.checks import Check, CheckFailed, Outcome, create_check
from hwnas.testing.harness import OptimizerUnderTest
from hwnas.testing.optimizer_protocol import PROTOCOL_CHECKS
from hwnas.testing.optimizer_spaces import SPACE_CHECKS
from hwnas.testing.prior_results import PRIOR_CHECKS
from hwnas.testing.quality import QUALITY_CHECKS
from hwnas.testing.result_handling import RESULT_CHECKS
from hwnas.testing.space_codes import CODE_CHECKS
from hwnas.testing.space_form import FORM_CHECKS
from hwnas.testing.space_harness import SpaceUnderTest

__all__ = [
    "Check",
    "CheckFailed",
    "Outcome",
    "backend_checks",
    "check_backend",
    "check_optimizer",
    "check_space",
    "optimizer_checks",
    "outcomes",
    "space_checks",
]

# From the constructor to the quality: a failure of an early check often explains later ones.
_OPTIMIZER_CHECKS = (
    *PROTOCOL_CHECKS,
    *SPACE_CHECKS,
    *RESULT_CHECKS,
    *PRIOR_CHECKS,
    *QUALITY_CHECKS,
)
_BACKEND_CHECKS = (
    backend_declaration.settings,
    backend_declaration.metrics,
    backend_evaluation.values,
    backend_evaluation.deterministic,
    backend_evaluation.global_random,
    backend_evaluation.batches,
    backend_evaluation.columns,
    backend_evaluation.noise,
    backend_evaluation.fidelities,
    backend_evaluation.unknown_metric,
    backend_front.front,
    backend_evaluation.inputs,
    backend_declaration.data_hash,
)

# The codes first, on which other forms of members rely.
_SPACE_CHECKS = (*FORM_CHECKS[:3], *CODE_CHECKS, *FORM_CHECKS[3:])


def optimizer_checks() -> list[Check]:
    """Return all checks of an optimizer; each can be called as `check_optimizer`.

    Examples
    --------
    >>> import hwnas
    >>> check = hwnas.testing.optimizer_checks()[1]
    >>> check("random")
    'the same 10 architectures'
    """
    return [create_check("optimizer", check, OptimizerUnderTest) for check in _OPTIMIZER_CHECKS]


def backend_checks() -> list[Check]:
    """Return all checks of a backend; each can be called as `check_backend`.

    Examples
    --------
    >>> import hwnas
    >>> [str(check) for check in hwnas.testing.backend_checks()][:4]
    ['settings', 'metrics', 'values', 'deterministic']
    """
    return [create_check("backend", check, BackendUnderTest) for check in _BACKEND_CHECKS]


def space_checks() -> list[Check]:
    """Return all checks of a family of spaces; each can be called as `check_space`.

    Examples
    --------
    >>> import hwnas
    >>> checks = {str(check): check for check in hwnas.testing.space_checks()}
    >>> checks["closed-forms"]("gpt")
    'params, flops'
    """
    return [create_check("space", check, SpaceUnderTest) for check in _SPACE_CHECKS]


def check_optimizer(
    tested: str | type[Optimizer],
    *,
    space: SearchSpace | str | None = None,
    evaluations: int | None = None,
    **settings: Any,
) -> None:
    """Run all checks of an optimizer, until one fails.

    Parameters
    ----------
    tested
        Registered name, or class.
    space
        Search space; by default a synthetic one of 44,226 architectures.
    evaluations
        Length of the runs that check the protocol; longer than the optimizer's initial design. By
        default two and a half times its batch, from 30 to 250.
    **settings
        Settings of the optimizer; small ones where it fits a model.

    Raises
    ------
    CheckFailed
        A check failed; one line gives the requirement and the observation.
    UnknownName, InvalidInput, MissingExtra
        From `hwnas.registry.checked_settings`.

    Examples
    --------
    >>> import hwnas
    >>> hwnas.testing.check_optimizer("random", evaluations=30)
    """
    subject = OptimizerUnderTest(tested, space=space, evaluations=evaluations, **settings)
    for check in optimizer_checks():
        check.run(subject)


def check_backend(
    tested: str | type[Backend],
    *,
    space: SearchSpace | str = "gpt-s",
    networks: int = 16,
    **settings: Any,
) -> None:
    """Run all checks of a backend, until one fails.

    Parameters
    ----------
    tested
        Registered name, or class.
    space
        Search space whose architectures are evaluated.
    networks
        Number of architectures of one evaluation; a few where each takes long.
    **settings
        Settings of the backend.

    Raises
    ------
    CheckFailed
        A check failed; one line gives the requirement and the observation.
    UnknownName, InvalidInput, MissingExtra
        From `hwnas.registry.checked_settings`.

    Examples
    --------
    >>> import hwnas
    >>> hwnas.testing.check_backend("surrogate", networks=4)
    """
    subject = BackendUnderTest(tested, space=space, networks=networks, **settings)
    for check in backend_checks():
        check.run(subject)


def check_space(
    tested: str | type[SearchSpace],
    *,
    space: SearchSpace | str | None = None,
    **settings: Any,
) -> None:
    """Run all checks of a family of search spaces, until one fails.

    Parameters
    ----------
    tested
        Registered name, or class.
    space
        The only space to check, by itself or by its name; by default all that the family names.
    **settings
        Settings of a space to check, in place of the named ones. Of one with few members more is
        checked: their number, and whether neighbours lead from any member to any other.

    Raises
    ------
    CheckFailed
        A check failed; one line gives the requirement and the observation.
    UnknownName, InvalidInput
        There is no such family, space or setting, or nothing to check.

    Examples
    --------
    >>> check_space("gpt", embed_dim=[8], n_layer=[1, 2], mlp_ratio=[1, 2], n_head=[1, 2])
    """
    subject = SpaceUnderTest(tested, space=space, **settings)
    for check in space_checks():
        check.run(subject)


def outcomes(kind: Kind, tested: str | type, **options: Any) -> Iterator[Outcome]:
    """Run all checks and yield the outcome of each.

    Parameters
    ----------
    kind
        ``"optimizer"``, ``"backend"`` or ``"space"``.
    tested
        Registered name, or class.
    **options
        Options and settings as for `check_optimizer`, `check_backend` or `check_space`.

    Examples
    --------
    >>> import hwnas
    >>> sum(1 for outcome in hwnas.testing.outcomes("backend", "surrogate", networks=4)) > 5
    True
    """
    subject: OptimizerUnderTest | BackendUnderTest | SpaceUnderTest
    if kind == "optimizer":
        subject, checks = OptimizerUnderTest(tested, **options), optimizer_checks()
    elif kind == "backend":
        subject, checks = BackendUnderTest(tested, **options), backend_checks()
    else:
        subject, checks = SpaceUnderTest(tested, **options), space_checks()
    # One subject for all checks, so that they share its runs.
    for check in checks:
        yield check.outcome(subject)
