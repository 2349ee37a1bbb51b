"""Bugs in plugins: the traceback is kept, the line is named, and nothing is spent in vain."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

import hwnas
from hwnas import registry
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
    "ValueError": "np.ones(3) + np.ones(2)",
    "ZeroDivisionError": "1 / 0",
    "RecursionError": "self.evaluate(codes, objectives, seeds=seeds)",
    "AssertionError": "assert False",
    "StopIteration": "next(iter([]))",
    "an exception of its own": "raise type('Own', (Exception,), {})('a', 'b')",
}
EXITS = [
    "raise SystemExit(0)",
    "raise SystemExit(3)",
    "import sys; sys.exit('bye')",
    "raise BaseException('x')",
]
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
    registry.replace_registered({})
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


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("method", ["ask", "evaluate"])
@pytest.mark.parametrize("statement", EXITS)
def test_an_exit_in_a_plugin_is_a_failure(
    statement: str, method: str, workers: int, tmp_path: Path
) -> None:
    # After the reference has been measured, which evaluates many architectures at once.
    code = statement if method == "ask" else f"if len(codes) == 1:\n    {statement}"
    file = plugin(tmp_path, **{method: code})
    with pytest.raises(SearchFailed, match="2 of 2 searches failed, first own seed 0") as caught:
        run(file, workers, seeds=2)
    assert f"(mine.py, line {line_of(file, statement)}); see x/own/seed-0/error.txt" in str(
        caught.value
    )


@pytest.mark.parametrize("executor", ["serial", {"type": "process", "workers": 2}])
@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("raise RuntimeError('no memory')", InvalidInput),
        ("open('nothing.bin')", InvalidInput),
        ("1 / 0", SearchFailed),
        ("undefined_name", SearchFailed),
    ],
)
def test_errors_of_a_reference_are_judged_alike_wherever_it_is_measured(
    statement: str, kind: type[Exception], executor: Any, tmp_path: Path
) -> None:
    file = plugin(tmp_path, evaluate=statement)
    line = line_of(file, statement)
    with pytest.raises(kind, match=rf"could be measured: .*mine\.py, line {line}\); see x/error"):
        run(file, optimizers=["random"], executor=executor)


@pytest.mark.parametrize("statement", ["undefined_name", "len(3)", "{}['x']"])
@pytest.mark.parametrize("kind", ["backend", "optimizer"])
def test_a_bug_in_a_constructor(kind: str, statement: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    base, arguments = ("Backend", "space") if kind == "backend" else ("Optimizer", "*a, **k")
    head = PLUGIN.format(evaluate="pass", ask="pass", update="pass")
    body = f"    def __init__(self, {arguments}):\n        {statement}\n"
    if kind == "optimizer":
        body = (
            "    def __init__(self, space, n_objectives, *, seed, n_constraints=0):\n"
            f"        {statement}\n"
        )
    marker = f"class {'Mine' if kind == 'backend' else 'Own'}(hwnas.{base}):\n"
    file.write_text(head.replace(marker, marker + body))
    with pytest.raises(SearchFailed) as caught:
        run(str(file))
    name = "mine" if kind == "backend" else "own"
    assert str(caught.value).startswith(f"{kind} '{name}' cannot be built: ")
    assert str(caught.value).endswith(f"(mine.py, line {line_of(str(file), statement)})")


def test_a_class_without_ask(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import hwnas\n\n@hwnas.register_optimizer('own')\nclass Own(hwnas.Optimizer):\n    pass\n"
    )
    with pytest.raises(SearchFailed, match=r"optimizer 'own' cannot be built: TypeError: .*ask"):
        run(str(file), backend="surrogate", objectives=["perplexity", "latency@h100"])


@pytest.mark.parametrize(
    ("method", "statement", "message"),
    [
        ("ask", "return self.space.sample(1, self.rng)[:, :3]", "Own.ask: expected codes of shape"),
        ("ask", "return 'abc'", "Own.ask: expected integer codes"),
        ("evaluate", "return None", "Mine.evaluate: expected an Evaluation, found NoneType"),
        ("evaluate", "return hwnas.Evaluation([['x', 'y']])", "Mine.evaluate: expected numbers"),
        ("evaluate", "return hwnas.Evaluation(np.ones((1, 9)))", "Mine.evaluate: expected values"),
    ],
)
def test_a_wrong_result_names_the_method(
    method: str, statement: str, message: str, tmp_path: Path
) -> None:
    file = plugin(tmp_path, **{method: statement})
    with pytest.raises(SearchFailed) as caught:
        run(file)
    assert message in str(caught.value)
    assert f"(mine.py, line {line_of(file, f'def {method}')})" in str(caught.value)


def test_diagnostics_are_a_list(tmp_path: Path) -> None:
    file = plugin(tmp_path, ask="pass")
    text = Path(file).read_text() + "\n    def diagnostics(self):\n        return 'all well'\n"
    Path(file).write_text(text)
    with pytest.raises(SearchFailed, match=r"Own.diagnostics: expected a list of lines.*mine\.py"):
        run(file)


def test_errors_of_the_machine_are_the_user_s_to_mend(tmp_path: Path) -> None:
    file = plugin(tmp_path, evaluate="raise RuntimeError('no driver')")
    with pytest.raises(InvalidInput, match=r"no driver \(mine.py, line \d+\); see x/error.txt"):
        run(file)


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
    (note,) = [note for note in search_notes(result) if "trials failed" in note]
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
    names = {"NameError", "TypeError", "AttributeError", "ImportError", "NotImplementedError"}
    assert {t.__name__ for t in PROGRAMMING_ERRORS} >= names
