"""Bugs in plugins: the traceback is kept, the line is named, and nothing is spent in vain."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

import hwnas
from hwnas.cli import main
from hwnas.errors import InvalidInput, SearchFailed
from hwnas.reports.summary_table import search_notes
from hwnas.runner.failures import PROGRAMMING_ERRORS, Failure, fault_location

# One statement for each kind of programming error.
BUGS = {
    "NameError": "undefined_name",
    "TypeError": "len(3)",
    "AttributeError": "codes.missing",
    "KeyError": "{}['latency']",
    "IndexError": "[][0]",
    "ImportError": "import no_such_module",
    "NotImplementedError": "raise NotImplementedError('later')",
}
PLUGIN = """
import numpy as np
import hwnas

@hwnas.register_backend("mine")
class Mine(hwnas.Backend):
    metrics = {{"a": hwnas.Metric(""), "b": hwnas.Metric("")}}

    def evaluate(self, codes, objectives, *, seeds, fidelity=None):
        {evaluate}
        return hwnas.Evaluation(codes[:, :2] + 1.0)

@hwnas.register_optimizer("own")
class Own(hwnas.Optimizer):
    def ask(self, n):
        {ask}
        return self.space.sample(1, self.rng)

    def update(self, codes, losses, *, std=None, constraints=None):
        {update}
"""
EXPERIMENT: dict[str, Any] = {
    "name": "x",
    "space": "gpt-s",
    "backend": "mine",
    "objectives": ["a", "b"],
    "optimizers": ["own"],
    "budget": {"evaluations": 20},
    "seeds": 1,
}


def plugin(folder: Path, **code: str) -> str:
    blank = dict.fromkeys(("evaluate", "ask", "update"), "pass")
    file = folder / "mine.py"
    text = PLUGIN.format(
        **{k: textwrap.indent(v, " " * 8).strip() for k, v in (blank | code).items()}
    )
    file.write_text(text)
    return str(file)


def line_of(file: str, statement: str) -> int:
    lines = Path(file).read_text().splitlines()
    return next(i for i, line in enumerate(lines, 1) if statement in line)


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("hwnas.registry._registered", {"optimizer": {}, "backend": {}})
    monkeypatch.chdir(tmp_path)


def run(file: str, workers: int = 1, **change: Any) -> Any:
    content = EXPERIMENT | change
    return hwnas.run(content, "x", plugins=[file], draw=False, workers=workers)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("method", ["ask", "update"])
def test_a_bug_in_an_optimizer(method: str, workers: int, tmp_path: Path) -> None:
    file = plugin(tmp_path, **{method: "undefined_name"})
    with pytest.raises(SearchFailed) as caught:
        run(file, workers, seeds=2)
    line = line_of(file, "undefined_name")
    assert f"NameError: name 'undefined_name' is not defined (mine.py, line {line})" in str(
        caught.value
    )
    assert "see x/own/seed-0/error.txt" in str(caught.value)
    for seed in (0, 1):
        text = Path(f"x/own/seed-{seed}/error.txt").read_text()
        assert text.startswith("Traceback")
        assert f'mine.py", line {line}' in text


@pytest.mark.parametrize("statement", BUGS.values(), ids=BUGS)
def test_a_bug_in_every_evaluation_of_a_backend(statement: str, tmp_path: Path) -> None:
    file = plugin(tmp_path, evaluate=statement)
    with pytest.raises(SearchFailed) as caught:
        run(file)
    assert f"(mine.py, line {line_of(file, statement)}); see x/error.txt" in str(caught.value)
    assert "Traceback" in Path("x/error.txt").read_text()
    # Once it is mended, the same command runs.
    assert run(plugin(tmp_path)).summary[0]["status"] == "done"


@pytest.mark.parametrize("budget", [5, 10, 1000])
def test_a_search_is_given_up_early(budget: int, tmp_path: Path) -> None:
    # The reference is measured well, and then every evaluation fails.
    counted = """
if len(codes) > 1 or not hasattr(type(self), 'calls'):
    type(self).calls = 0
else:
    type(self).calls += 1
    open('calls.txt', 'w').write(str(type(self).calls))
    {}['driver']
"""
    file = plugin(tmp_path, evaluate=counted)
    with pytest.raises(SearchFailed, match=r"KeyError: 'driver' \(mine.py, line \d+\); see"):
        run(file, budget={"evaluations": budget})
    assert int(Path("calls.txt").read_text()) == min(budget, 10)


def test_other_errors_do_not_stop_a_search(tmp_path: Path) -> None:
    file = plugin(tmp_path, evaluate="if codes[:, 2].any(): raise RuntimeError('out of memory')")
    result = run(file, optimizers=["random"])
    (search,) = result.searches
    n_failed = search.trials.status.count("failed")
    assert 0 < n_failed < 20
    assert search.status == f"done, {n_failed} failed"
    (note,) = search_notes(result)
    line = line_of(file, "out of memory")
    assert note == (
        f"random seed 0: {n_failed} of 20 trials failed, the first with RuntimeError: out of "
        f"memory (mine.py, line {line}); see x/random/seed-0/error.txt"
    )
    assert "out of memory" in Path("x/random/seed-0/error.txt").read_text()


def test_a_bug_in_some_evaluations_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = plugin(tmp_path, evaluate="[{0: 1, 1: 1}[c] for c in codes[:, 1].tolist()]")
    Path("x.yaml").write_text(str(EXPERIMENT | {"optimizers": ["random"]}))
    monkeypatch.setattr("sys.argv", ["hwnas", "run", "x.yaml", "--plugin", file, "--no-draw"])
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert not caught.value.code
    assert "trials failed, the first with KeyError: 2 (mine.py, line" in capsys.readouterr().out


def test_an_answer_of_the_wrong_shape_is_a_bug(tmp_path: Path) -> None:
    file = plugin(tmp_path, evaluate="return hwnas.Evaluation(np.ones((len(codes), 7)))")
    with pytest.raises(SearchFailed, match=r"expected values of shape \(1, 2\), found \(1, 7\)"):
        run(file)


def test_errors_of_a_user_have_no_location_and_stay_what_they_are() -> None:
    failure = Failure.of(InvalidInput("seeds: expected 3"))
    assert (failure.kind, failure.location, str(failure)) == (InvalidInput, "", "seeds: expected 3")


def test_the_line_of_a_plugin_is_found_below_libraries(tmp_path: Path) -> None:
    import numpy as np

    class Owner:
        def method(self) -> None:
            np.ones(3).reshape(2, 2)

    with pytest.raises(ValueError, match="reshape") as caught:
        Owner().method()
    assert "test_failures.py, line" in fault_location(caught.value, Owner)
    assert "test_failures.py, line" in fault_location(caught.value)


def test_every_listed_bug_is_a_programming_error() -> None:
    assert {t.__name__ for t in PROGRAMMING_ERRORS} >= set(BUGS) - {"KeyError", "IndexError"}
