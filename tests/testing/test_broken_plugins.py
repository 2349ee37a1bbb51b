"""Each broken copy fails its own check and no other."""

from __future__ import annotations

import broken
import pytest
from broken.backends import Formula
from broken.spaces import Convolutional
from failed_checks import failed_checks

from hwnas.backends import Backend
from hwnas.optimizers import Optimizer
from hwnas.spaces import SearchSpace
from hwnas.testing import (
    backend_checks,
    check_backend,
    check_optimizer,
    check_space,
    optimizer_checks,
    outcomes,
    space_checks,
)


@pytest.mark.parametrize("cls", broken.CORRECT_OPTIMIZERS)
def test_correct_optimizer_passes(cls: type[Optimizer]) -> None:
    check_optimizer(cls)


def test_correct_backend_passes(small_space: SearchSpace) -> None:
    check_backend(Formula, space=small_space)


@pytest.mark.parametrize(("check", "cls"), broken.OPTIMIZERS)
def test_broken_optimizer_fails_its_check_alone(check: str, cls: type[Optimizer]) -> None:
    assert list(failed_checks(outcomes("optimizer", cls))) == [check]


@pytest.mark.parametrize(("check", "cls"), broken.BACKENDS)
def test_broken_backend_fails_its_check_alone(
    check: str, cls: type[Backend], small_space: SearchSpace
) -> None:
    assert list(failed_checks(outcomes("backend", cls, space=small_space))) == [check]


def test_correct_space_passes() -> None:
    check_space(Convolutional)
    check_space(Convolutional, space=Convolutional("own", depth=[1], width=[2, 3]))
    assert failed_checks(outcomes("space", Convolutional, depth=[1], width=[4])) == {}


@pytest.mark.parametrize(("check", "cls"), broken.SPACES)
def test_broken_space_fails_its_check(check: str, cls: type[SearchSpace]) -> None:
    """And those alone that rely on what is broken."""
    failed = list(failed_checks(outcomes("space", cls)))
    assert check in failed
    assert set(failed) <= {check} | FOLLOWING.get(check, set())


# Checks that cannot pass where another one fails.
FOLLOWING = {
    "canonical": {"decode", "strings", "neighbours", "samples", "size", "to-dict", "pickles"},
    "size": {"neighbours"},
    "decode": {"strings", "to-dict", "pickles"},
    "closed-forms": {"to-dict", "pickles"},
    "pickles": set(),
}


def test_every_check_has_a_broken_copy() -> None:
    assert {check.name for check in optimizer_checks()} == {name for name, _ in broken.OPTIMIZERS}
    assert {check.name for check in backend_checks()} == {name for name, _ in broken.BACKENDS}
    assert {check.name for check in space_checks()} == {name for name, _ in broken.SPACES}
