"""The checks as the author of a plugin calls them, in a test suite and on the command line."""

from __future__ import annotations

import random
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from broken import protocol, results
from broken.correct import HillClimber
from failed_checks import failed_checks

import hwnas.testing
from hwnas import registry
from hwnas.cli.main import main
from hwnas.errors import InvalidInput, UnknownName
from hwnas.testing import Check, CheckFailed, check_optimizer, optimizer_checks, outcomes
from hwnas.testing.harness import OptimizerUnderTest


def check_named(name: str) -> Check:
    (check,) = (check for check in optimizer_checks() if check.name == name)
    return check


# -- in a test suite -----------------------------------------------------------------------------


@pytest.mark.parametrize("check", optimizer_checks(), ids=str)
def test_each_check_is_a_test(check: Check) -> None:
    assert check.demands[0].isupper()
    assert check(HillClimber)


def test_failure_is_one_line_with_requirement_and_observation() -> None:
    check = check_named("codes")
    with pytest.raises(CheckFailed) as caught:
        check(protocol.TooManyCodes)
    assert str(caught.value) == (
        "TooManyCodes: codes: It proposes at most n canonical codes of the space, as (k, d) int8, "
        "C-contiguous; seen: ask(1) answered 2 codes"
    )
    assert isinstance(caught.value, AssertionError)
    with pytest.raises(CheckFailed, match="TooManyCodes: codes: "):
        check_optimizer(protocol.TooManyCodes)


def test_exception_of_a_plugin_is_a_failure_with_its_line() -> None:
    with pytest.raises(
        CheckFailed, match=r"IndexError: results out of order \(results.py, line \d+\)$"
    ):
        check_named("order")(results.RequiresOrder)


def test_settings_reach_the_optimizer() -> None:
    check = check_named("settings")
    assert check("nsga2", pop_size=8) == "batch 8"
    with pytest.raises(UnknownName, match="did you mean 'pop_size'"):
        check("nsga2", pop_sze=8)
    with pytest.raises(UnknownName, match="unknown optimizer 'nsga22'"):
        check_optimizer("nsga22")
    with pytest.raises(InvalidInput, match="gpt-m-wide"):
        hwnas.testing.check_backend("surrogate", space="gpt-m-wide")


def test_another_space() -> None:
    with pytest.raises(CheckFailed, match="not canonical in space gpt-s"):
        check_named("codes")(protocol.NonCanonicalCodes, space="gpt-s")


def test_checks_preserve_the_global_generators() -> None:
    expected = random.getstate(), np.random.get_state(legacy=False)  # noqa: NPY002
    failed_checks(outcomes("optimizer", protocol.ReadsGlobalGenerator))
    states = random.getstate(), np.random.get_state(legacy=False)  # noqa: NPY002
    np.testing.assert_equal(states, expected)


# -- hwnas check ---------------------------------------------------------------------------------

CORRECT = """
import hwnas
from hwnas.optimizers import UniqueSampler

@hwnas.register_optimizer("mine")
class Mine(hwnas.Optimizer):
    '''Random search.'''
    claims_to_beat_random = False
    handles_constraints = False

    def ask(self, n):
        if "_sampler" not in self.__dict__:
            self._sampler = UniqueSampler(self.space, self.rng)
            self._sampler.take(self.history.codes)
        return self._sampler.sample(n)

    def update(self, codes, losses, *, std=None, constraints=None):
        if "_sampler" in self.__dict__:
            self._sampler.take(codes)
"""


@pytest.fixture
def run_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Any:
    """Function that calls hwnas check beside mine.py and returns exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    registry.replace_registered({})

    def call(*arguments: str, source: str = CORRECT) -> tuple[int, str, str]:
        Path("mine.py").write_text(source, encoding="utf-8")
        monkeypatch.setattr(sys, "argv", ["hwnas", "check", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        output = capsys.readouterr()
        return int(caught.value.code or 0), output.out, output.err

    return call


def test_check_of_a_file(run_check: Any) -> None:
    code, out, err = run_check("mine.py")
    assert (code, err) == (0, "")
    assert out.startswith("optimizer mine\ncheck")
    assert out.count("passed") == len(optimizer_checks()) - 2
    assert "not judged  it does not claim to" in out


def test_check_of_a_file_whose_tell_is_deprecated(run_check: Any) -> None:
    with pytest.warns(DeprecationWarning, match=r"Mine.tell is now called update"):
        code, out, _ = run_check("mine.py", source=CORRECT.replace("def update", "def tell"))
    assert code == 0
    assert out.count("passed") == len(optimizer_checks()) - 2


def test_check_of_a_broken_file(run_check: Any) -> None:
    source = CORRECT.replace("claims_to_beat_random = False", "claims_to_beat_random = True")
    code, out, err = run_check("mine.py", source=source)
    assert code == 2
    assert re.search("beats-random +failed", out)
    assert err.startswith("hwnas: mine: beats-random: hypervolume ")
    assert "declares claims_to_beat_random = False" in err
    assert err.count("\n") == 1


def test_check_of_a_sampler_that_declares_nothing_of_constraints(run_check: Any) -> None:
    code, out, err = run_check(
        "mine.py", source=CORRECT.replace("    handles_constraints", "    x")
    )
    assert code == 2
    assert re.search("constraints +failed", out)
    assert err.startswith("hwnas: mine: constraints: 2")
    assert "declares handles_constraints = False" in err
    assert err.count("\n") == 1


CONSTRUCTOR = """
    def __init__(self, space, n_objectives, *, seed, n_constraints=0):
        super().__init__(space, n_objectives, seed=seed, n_constraints=n_constraints)
        {fault}

    def ask"""


@pytest.mark.parametrize(
    ("head", "fault", "reason"),
    [
        ("    def ask", CONSTRUCTOR.format(fault="self.mode['x']"), "the constructor raises Attr"),
        ("        if ", "        1 / 0\n        if ", "ask raises ZeroDivisionError"),
        ("return self._sampler", "return [[0]], self._sampler", r"ask\(\d\) answered \(\[\[0\]\]"),
        (
            "return self._sampler",
            "return 'x' or self._sampler",
            r"ask\(\d\) answered 'x', expected",
        ),
        ("return self._sampler", "return None and self._sampler", r"ask\(\d\) answered None, exp"),
        ("_sampler.take(codes)", "_sampler.take(code)", "tell raises NameError"),
    ],
    ids=["constructor", "ask", "wrong-shape", "text", "none", "update"],
)
def test_one_fault_is_reported_once(run_check: Any, head: str, fault: str, reason: str) -> None:
    """Checks that it prevents name the check that reported it."""
    assert head in CORRECT
    source = CORRECT.replace(head, fault, 1)
    code, out, err = run_check("mine.py", source=source)
    assert code == 2
    assert err.count("\n") == 1
    first = err.removeprefix("hwnas: mine: ").partition(":")[0]
    lines = [line for line in out.splitlines() if "not run: " in line]
    assert len(lines) > 10
    assert all(line.endswith(f", see {first}") for line in lines)
    assert all(re.search(f"not run: {reason}", line) for line in lines)


def test_the_same_check_reports_a_fault_again() -> None:
    subject = OptimizerUnderTest(protocol.TooManyCodes)
    check = check_named("codes")
    assert check.outcome(subject) == check.outcome(subject)
    assert check.outcome(subject).result == "failed"


def hill_of_readme() -> str:
    """Return the optimizer of docs/extending.md, without the run that follows it."""
    text = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
    (block,) = (part for part in text.split("```") if 'register_optimizer("hill")' in part)
    return block.removeprefix("python").partition("\nhwnas.run(")[0]


def test_check_of_the_optimizer_of_the_readme(run_check: Any) -> None:
    code, out, err = run_check("mine.py", source=hill_of_readme())
    assert (code, err) == (0, "")
    assert out.startswith("optimizer hill\ncheck")
    assert out.count(" passed ") == len(optimizer_checks()) - 1  # it is not multi-fidelity


def test_check_of_an_optimizer_without_constraints(run_check: Any) -> None:
    """Proposals that disregard constraints pass if that is declared, and fail otherwise."""
    source = hill_of_readme().replace(
        "self.recommend()",
        "self.history.codes[hwnas.pareto.non_dominated(self.history.losses)]",
    )
    source = source.replace("import hwnas\n", "import hwnas.pareto\n")
    code, out, err = run_check("mine.py", source=source)
    assert code == 2
    assert err.startswith("hwnas: hill: constraints: ")
    assert "declares handles_constraints = False" in err
    head = "    def __init__"
    declared = source.replace(head, f"    handles_constraints = False\n\n{head}")
    code, out, err = run_check("mine.py", source=declared)
    assert (code, err) == (0, "")
    assert "constraints    passed      accepted; its proposals need not be feasible" in out


def test_check_of_a_name(run_check: Any) -> None:
    code, out, err = run_check("random")
    assert (code, err) == (0, "")
    assert "minimises" in out
    code, out, err = run_check("surrogate", "--kind", "optimizer")
    assert (code, out) == (2, "")
    code, out, err = run_check("mine.py", "--kind", "backend")
    assert (code, out, err) == (2, "", "hwnas: mine.py: expected backends, found none\n")
    code, out, err = run_check("nothing")
    assert (code, out) == (2, "")
    assert err.startswith("hwnas: unknown optimizer, backend or family of spaces 'nothing'; ")


def test_check_takes_settings_and_a_space(run_check: Any) -> None:
    code, out, _ = run_check("nsga2", "--set", "pop_size=20", "--space", "gpt-s")
    assert code == 0
    assert "batch 20" in out
    code, out, err = run_check("nsga2", "--set", "pop_sze=20")
    assert (code, out) == (2, "")
    assert "unknown setting of optimizer 'nsga2': 'pop_sze'; did you mean 'pop_size'?" in err
