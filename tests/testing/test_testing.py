"""Ours pass every check, and each broken copy fails its own check and no other."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwnas.testing
from hwnas import registry
from hwnas.backends import Backend
from hwnas.cli.main import main
from hwnas.errors import InvalidInput, MissingExtra, UnknownName
from hwnas.optimizers import Optimizer
from hwnas.spaces import SearchSpace
from hwnas.testing import CheckFailed, backend_checks, check_optimizer, optimizer_checks, outcomes

sys.path.insert(0, str(Path(__file__).parent))
import broken

# Generations and models that are small enough to come to several of them.
SMALL = {"pop_size": 8, "initial": 4, "candidates": 16, "rounds": 1, "samples": 4}


def failed(kind: registry.Kind, tested: Any, **how: Any) -> dict[str, str]:
    found = list(outcomes(kind, tested, **how))
    assert all("\n" not in outcome.seen and outcome.seen for outcome in found)
    return {outcome.check: outcome.seen for outcome in found if outcome.result == "failed"}


@pytest.mark.parametrize("name", registry.names("optimizer"))
def test_every_optimizer_passes(name: str) -> None:
    try:
        cls = registry.lookup("optimizer", name)
    except MissingExtra as missing:
        pytest.skip(str(missing))
    known = registry.settings_of(cls)
    how: dict[str, Any] = {key: value for key, value in SMALL.items() if key in known}
    if cls.batch == 1:  # it may fit a model for every network
        how["evaluations"] = 8
    assert failed("optimizer", name, **how) == {}


def test_every_backend_passes() -> None:
    assert failed("backend", "surrogate") == {}


@pytest.mark.parametrize("cls", [broken.Climber, broken.RandomSearch, broken.Ladder])
def test_nothing_is_wrong_with_these(cls: type[Optimizer]) -> None:
    check_optimizer(cls)


def test_nor_with_this_backend(small_space: SearchSpace) -> None:
    hwnas.testing.check_backend(broken.Formula, space=small_space)


@pytest.mark.parametrize(("check", "cls"), broken.OPTIMIZERS)
def test_a_broken_optimizer_fails_its_check_alone(check: str, cls: type[Optimizer]) -> None:
    assert list(failed("optimizer", cls)) == [check]


@pytest.mark.parametrize(("check", "cls"), broken.BACKENDS)
def test_a_broken_backend_fails_its_check_alone(
    check: str, cls: type[Backend], small_space: SearchSpace
) -> None:
    assert list(failed("backend", cls, space=small_space)) == [check]


def test_every_check_has_a_broken_copy() -> None:
    assert {check.name for check in optimizer_checks()} == {name for name, _ in broken.OPTIMIZERS}
    assert {check.name for check in backend_checks()} == {name for name, _ in broken.BACKENDS}


# -- in a stranger's test suite ------------------------------------------------------------------


@pytest.mark.parametrize("check", optimizer_checks(), ids=str)
def test_as_a_stranger_would(check: hwnas.testing.Check) -> None:
    assert check.demands[0].isupper()
    assert check(broken.Climber)


def test_a_failure_is_one_line_of_what_was_demanded_and_seen() -> None:
    (check,) = (c for c in optimizer_checks() if c.name == "codes")
    with pytest.raises(CheckFailed) as caught:
        check(broken.TooMany)
    assert str(caught.value) == (
        "TooMany: codes: It proposes at most n canonical codes of the space, as (k, d) int8, "
        "C-contiguous; seen: ask(1) answered 2 codes"
    )
    assert isinstance(caught.value, AssertionError)
    with pytest.raises(CheckFailed, match="TooMany: codes: "):
        check_optimizer(broken.TooMany)


def test_what_a_plugin_raises_is_a_failure_with_its_line() -> None:
    (check,) = (c for c in optimizer_checks() if c.name == "order")
    with pytest.raises(CheckFailed, match=r"IndexError: not your turn \(broken.py, line \d+\)$"):
        check(broken.InOrderOnly)


def test_settings_reach_the_optimizer() -> None:
    (check,) = (c for c in optimizer_checks() if c.name == "settings")
    assert check("nsga2", pop_size=8) == "batch 8"
    with pytest.raises(UnknownName, match="did you mean 'pop_size'"):
        check("nsga2", pop_sze=8)
    with pytest.raises(UnknownName, match="unknown optimizer 'nsga22'"):
        check_optimizer("nsga22")
    with pytest.raises(InvalidInput, match="gpt-xl"):
        hwnas.testing.check_backend("surrogate", space="gpt-xl")


def test_another_space() -> None:
    (check,) = (c for c in optimizer_checks() if c.name == "codes")
    with pytest.raises(CheckFailed, match="not canonical in space gpt-s"):
        check(broken.NotCanonical, space="gpt-s")


def test_checks_leave_global_randomness_alone() -> None:
    before = random.getstate(), np.random.get_state(legacy=False)  # noqa: NPY002
    failed("optimizer", broken.ReadsGlobal)
    after = random.getstate(), np.random.get_state(legacy=False)  # noqa: NPY002
    np.testing.assert_equal(after, before)


# -- hwnas check ---------------------------------------------------------------------------------

GOOD = """
import hwnas
from hwnas.optimizers import UniqueSampler

@hwnas.register_optimizer("mine")
class Mine(hwnas.Optimizer):
    '''Random search.'''
    claims_to_beat_random = False

    def ask(self, n):
        if "_sampler" not in self.__dict__:
            self._sampler = UniqueSampler(self.space, self.rng)
            self._sampler.take(self.history.codes)
        return self._sampler.sample(n)

    def tell(self, codes, losses, *, std=None, constraints=None):
        if "_sampler" in self.__dict__:
            self._sampler.take(codes)
"""


@pytest.fixture
def said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Any:
    """Call hwnas check beside mine.py: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_registered", {"optimizer": {}, "backend": {}})

    def call(*arguments: str, source: str = GOOD) -> tuple[int, str, str]:
        Path("mine.py").write_text(source, encoding="utf-8")
        monkeypatch.setattr(sys, "argv", ["hwnas", "check", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        found = capsys.readouterr()
        return int(left.value.code or 0), found.out, found.err

    return call


def test_check_of_a_file(said: Any) -> None:
    code, out, err = said("mine.py")
    assert (code, err) == (0, "")
    assert out.startswith("optimizer mine\ncheck")
    assert out.count("passed") == len(optimizer_checks()) - 2
    assert "not judged  it does not claim to" in out


def test_check_of_a_file_that_is_broken(said: Any) -> None:
    code, out, err = said("mine.py", source=GOOD.replace("False", "True"))
    assert code == 2
    assert "beats-random   failed" in out
    assert err.startswith("hwnas: mine: beats-random: hypervolume ")
    assert err.count("\n") == 1


def test_check_of_a_name(said: Any) -> None:
    code, out, err = said("random")
    assert (code, err) == (0, "")
    assert "minimises" in out
    code, out, err = said("surrogate", "--kind", "optimizer")
    assert (code, out) == (2, "")
    code, out, err = said("mine.py", "--kind", "backend")
    assert (code, out, err) == (2, "", "hwnas: mine.py: expected backends, found none\n")
    code, out, err = said("nothing")
    assert (code, out) == (2, "")
    assert err.startswith("hwnas: unknown optimizer or backend 'nothing'; ")


def test_check_takes_settings_and_a_space(said: Any) -> None:
    code, out, _ = said("nsga2", "--set", "pop_size=20", "--space", "gpt-s")
    assert code == 0
    assert "batch 20" in out
    code, out, err = said("nsga2", "--set", "pop_sze=20")
    assert (code, out) == (2, "")
    assert "unknown setting of optimizer 'nsga2': 'pop_sze'; did you mean 'pop_size'?" in err
