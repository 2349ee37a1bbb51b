"""`hwnas.minimize`: what it leaves, what it accepts, and that it goes on where it was stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwnas
from hwnas.errors import InvalidInput, SearchFailed
from hwnas.function_source import name_of
from hwnas.problems.python_function import FunctionConfig
from hwnas.runner.storage import Store, Trials

CHOICES = {"depth": [1, 2, 3], "rate": [0.01, 0.1, 1.0]}
LAYERS = {"width": [8, 16, 32]}


def evaluate(config: FunctionConfig) -> dict[str, float]:
    size = sum(config["width"])
    return {"error": 1 / size + config["rate"], "ms": size / 8 + config["depth"]}


def options(path: Path, **changes: Any) -> dict[str, Any]:
    defaults = {"layers": LAYERS, "optimizers": "random", "budget": 12, "out": path, "draw": False}
    return {**defaults, **changes}


def assert_same_trials(left: Path, right: Path) -> None:
    files = sorted(file.relative_to(left) for file in left.glob("*/seed-*/trials.db"))
    assert files == sorted(file.relative_to(right) for file in right.glob("*/seed-*/trials.db"))
    assert files
    for file in files:
        with Store.open(left / file) as one, Store.open(right / file) as other:
            for field in fields(Trials):
                if field.name not in ("seconds", "elapsed"):
                    np.testing.assert_array_equal(
                        getattr(one.trials(), field.name), getattr(other.trials(), field.name)
                    )


def test_it_leaves_a_run_with_a_report(tmp_path: Path) -> None:
    path = tmp_path / "run"
    result = hwnas.minimize(
        evaluate,
        CHOICES,
        ["error", "ms"],
        **options(path, optimizers=["random", {"type": "nsga2", "pop_size": 4}], draw=True),
        constraints=["ms <= 12"],
        units={"ms": "ms"},
        seeds=2,
    )
    assert [row["evaluations"] for row in result.summary] == [12] * 4
    assert (path / "report.html").stat().st_size > 10_000
    assert (path / "plots" / "fronts.png").exists()
    assert result.experiment.name == "evaluate"
    for search in result.searches:
        for config, values in zip(
            result.space.decode(search.front.codes), search.front.values, strict=True
        ):
            assert [*evaluate(FunctionConfig(config)).values()] == values.tolist()
            assert values[1] <= 12


def test_ten_lines_tune_a_network_and_leave_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    # -- the ten lines
    import time

    from sklearn.datasets import load_iris
    from sklearn.neural_network import MLPClassifier

    x, y = load_iris(return_X_y=True)

    def fit(config: FunctionConfig) -> dict[str, float]:
        start = time.perf_counter()
        model = MLPClassifier(config["width"], config["act"], max_iter=20, random_state=0)
        model.fit(x[::2], y[::2])
        return {"error": 1 - model.score(x[1::2], y[1::2]), "s": time.perf_counter() - start}

    choices = {"depth": [1, 2, 3], "act": ["relu", "tanh", "logistic"]}
    result = hwnas.minimize(
        fit, choices, ["error", "s"], layers={"width": [4, 8, 16]}, optimizers="nsga2", budget=6
    )
    # -- and no more
    assert result.summary[0]["evaluations"] == 6
    assert result.summary[0]["status"] == "done"
    assert (tmp_path / "runs" / "fit" / "report.html").exists()


def test_called_again_it_goes_on(tmp_path: Path) -> None:
    calls: list[str] = []

    def counted(config: FunctionConfig) -> dict[str, float]:
        if len(calls) == 11:
            raise KeyboardInterrupt
        calls.append(str(config))
        return evaluate(config)

    path = tmp_path / "run"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            hwnas.minimize(counted, CHOICES, ["error", "ms"], **options(path))
    assert len(calls) == 11
    # The same function by another name would be another run: `counted` is what `calls` belongs to.
    calls_before, calls[:] = calls[:], []
    result = hwnas.minimize(counted, CHOICES, ["error", "ms"], **options(path))
    # Ten calls set the scale of the hypervolume; nothing is called twice, nor for both.
    n_calls = len({*calls_before, *calls})
    assert len(calls_before) + len(calls) == n_calls > 12
    assert len(result.searches[0].trials) == 12
    # A run that is complete is read again.
    again = hwnas.minimize(counted, CHOICES, ["error", "ms"], **options(path))
    assert again.summary == result.summary
    assert len(calls_before) + len(calls) == n_calls
    whole = tmp_path / "whole"
    calls[:] = []
    hwnas.minimize(lambda config: evaluate(config), CHOICES, ["error", "ms"], **options(whole))
    assert_same_trials(path, whole)


def test_another_run_is_not_mixed_with_it(tmp_path: Path) -> None:
    hwnas.minimize(evaluate, CHOICES, ["error", "ms"], **options(tmp_path))
    with pytest.raises(InvalidInput, match="holds another experiment"):
        hwnas.minimize(evaluate, {**CHOICES, "depth": [1, 2]}, ["error", "ms"], **options(tmp_path))


SCRIPT = """
import os, signal, sys
from pathlib import Path
import hwnas

CALLS = Path("calls")

def evaluate(config):
    n = int(CALLS.read_text() or 0) + 1 if CALLS.exists() else 1
    CALLS.write_text(str(n))
    if n == int(os.environ.get("KILLED_AT", 0)):
        os.kill(os.getpid(), signal.SIGKILL)
    size = sum(config["width"])
    return 1 / size + config["rate"], size / 8 + config["depth"]

def run(out):
    hwnas.minimize(
        evaluate, {"depth": [1, 2, 3], "rate": [0.01, 0.1, 1.0]}, ["error", "ms"],
        layers={"width": [8, 16, 32]}, optimizers={"type": "nsga2", "pop_size": 4}, budget=24,
        out=out, draw=False,
    )
"""


def python(folder: Path, code: str, killed_at: int = 0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={"KILLED_AT": str(killed_at), "PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("importable", [True, False])
@pytest.mark.parametrize("killed_at", [4, 21])  # while the scale is measured, and in the search
def test_killed_and_resumed_it_equals_an_uninterrupted_run(
    tmp_path: Path, importable: bool, killed_at: int
) -> None:
    module = f"killed_{killed_at}"
    (tmp_path / f"{module}.py").write_text(SCRIPT)
    start = f"from {module} import run\nrun(OUT)" if importable else f"{SCRIPT}\nrun(OUT)"
    assert python(tmp_path, start.replace("OUT", "'whole'")).returncode == 0
    (tmp_path / "calls").unlink()
    killed = python(tmp_path, start.replace("OUT", "'killed'"), killed_at)
    assert killed.returncode == -signal.SIGKILL
    (tmp_path / "elsewhere").mkdir()
    resume = (
        "import sys; sys.argv = ['hwnas', 'resume', '../killed', '--no-draw', '--quiet']\n"
        "from hwnas.cli.main import main; main()"
    )
    resumed = python(tmp_path / "elsewhere", resume)
    if importable:
        assert resumed.returncode == 0, resumed.stderr
    else:
        assert resumed.returncode == 2
        assert "__main__:evaluate can be called by the program alone that defined it" in (
            resumed.stderr
        )
        assert len(resumed.stderr.splitlines()) == 1
        assert python(tmp_path, start.replace("OUT", "'killed'")).returncode == 0
    assert_same_trials(tmp_path / "whole", tmp_path / "killed")


def test_the_same_call_with_more_extends_the_run(tmp_path: Path) -> None:
    path = tmp_path / "run"
    problem = evaluate, CHOICES, ["error", "ms"]
    hwnas.minimize(*problem, **options(path), seeds=1)
    more = {"optimizers": ["random", "morea"], "budget": 20}
    result = hwnas.minimize(*problem, **options(path, **more), seeds=2)
    assert [row["evaluations"] for row in result.summary] == [20] * 4
    hwnas.minimize(*problem, **options(tmp_path / "whole", **more), seeds=2)
    assert_same_trials(tmp_path / "whole", path)
    with pytest.raises(InvalidInput, match=r"holds another experiment: objectives\[1\] was 'ms'"):
        hwnas.minimize(evaluate, CHOICES, ["error", "-ms"], **options(path), seeds=2)
    with pytest.raises(InvalidInput, match=r"budget.evaluations: expected at least the 20"):
        hwnas.minimize(*problem, **options(path, **{**more, "budget": 5}), seeds=2)


def test_optimizers_can_begin_alike(tmp_path: Path) -> None:
    settings = options(tmp_path / "run", optimizers=["random", "morea"])
    hwnas.minimize(evaluate, CHOICES, ["error", "ms"], **settings, initial={"shared": 6})
    first, second = (
        Store.open(tmp_path / "run" / name / "seed-0" / "trials.db") for name in ("random", "morea")
    )
    with first, second:
        np.testing.assert_array_equal(first.trials().codes[:6], second.trials().codes[:6])


def test_an_importable_function_runs_in_several_processes(tmp_path: Path) -> None:
    alone, beside = (
        hwnas.minimize(
            evaluate,
            CHOICES,
            ["error", "ms"],
            **options(tmp_path / str(workers), seeds=2, workers=workers),
        )
        for workers in (1, 2)
    )
    assert_same_trials(alone.path, beside.path)
    with pytest.raises(InvalidInput, match=r"workers: expected 1, because .* cannot be imported"):
        hwnas.minimize(lambda config: 1, CHOICES, ["a", "b"], **options(tmp_path, workers=2))


def test_a_function_of_this_process_is_evaluated_by_workers(tmp_path: Path) -> None:
    offset, parent = 0.5, os.getpid()

    def local(config: FunctionConfig) -> dict[str, float]:
        return {**evaluate(config), "error": offset, "ms": float(os.getpid() != parent)}

    executor = {"type": "process", "workers": 2}
    settings = options(tmp_path / "run", reference=[9.0, 9.0])
    for budget in (6, 12):  # the second call goes on with the run
        settings["budget"] = budget
        result = hwnas.minimize(local, CHOICES, ["error", "ms"], executor=executor, **settings)
        values = result.searches[0].trials.values
        assert values.tolist() == [[offset, 1.0]] * budget
    # Without an executor an evaluation is one of this process.
    settings |= {"out": tmp_path / "serial", "budget": 3, "executor": "serial"}
    result = hwnas.minimize(local, CHOICES, ["error", "ms"], **settings)
    assert result.searches[0].trials.values.tolist() == [[offset, 0.0]] * 3


def test_a_function_that_workers_cannot_have(tmp_path: Path) -> None:
    lock = threading.Lock()

    def locked(config: FunctionConfig) -> dict[str, float]:
        with lock:
            return evaluate(config)

    message = "executor: .*locked uses what cannot be handed to another process: .*lock"
    with pytest.raises(InvalidInput, match=message):
        hwnas.minimize(
            locked, CHOICES, ["error", "ms"], executor="process", **options(tmp_path / "run")
        )
    assert not (tmp_path / "run").exists()


def test_a_multi_fidelity_optimizer_stops_calls_early(tmp_path: Path) -> None:
    lengths: list[int] = []

    def trained(config: FunctionConfig) -> tuple[float, float]:
        lengths.append(0)
        for step in range(1, (config.steps or 0) + 1):
            lengths[-1] = step
            error = config["rate"] / step
            config.report((error, step), step)
        return error, 9

    result = hwnas.minimize(
        trained, CHOICES, ["error", "ms"], **options(tmp_path, optimizers="moasha"), steps=[1, 3, 9]
    )
    trials = result.searches[0].trials
    assert {*trials.fidelity.tolist()} == {1, 3, 9}
    assert lengths[-len(trials) :] == trials.fidelity.tolist()
    np.testing.assert_array_equal(trials.values[:, 1], trials.fidelity)
    assert trials.evaluations.sum() == 12  # a continuation is no evaluation of its own


def test_failures_of_some_configurations_are_failed_trials(tmp_path: Path) -> None:
    def function(config: FunctionConfig) -> Any:
        if config["rate"] == 1.0:
            raise RuntimeError("diverged")
        if config["depth"] == 3:
            return {"error": float("nan"), "ms": 1}
        return {"error": config["rate"]} if config["depth"] == 2 else (1, 2)

    result = hwnas.minimize(function, CHOICES, ["error", "ms"], **options(tmp_path, budget=60))
    trials = result.searches[0].trials
    reasons = {reason.partition(" (")[0] for reason in trials.reason}
    assert reasons == {
        "",
        "RuntimeError: diverged",
        "not finite: error",
        f"LookupError: {name_of(function)[0]} returned no 'ms', only error",
    }


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"errors": 1, "ms": 2}, "returned no 'error', only errors, ms"),
        ("0.5", "to return a dict, or 2 numbers for error, ms; found '0.5'"),
        ({"error": "low", "ms": 2}, "expected a number as 'error', found 'low'"),
    ],
)
def test_a_function_that_is_wrong_ends_the_run_at_once(
    tmp_path: Path, result: Any, message: str
) -> None:
    calls: list[Any] = []

    def function(config: FunctionConfig) -> Any:
        calls.append(config)
        return result

    with pytest.raises(SearchFailed, match=message):
        hwnas.minimize(function, CHOICES, ["error", "ms"], **options(tmp_path, budget=1000))
    assert len(calls) <= 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"objectives": ["error"]}, "objectives: expected a list of 2 to 5 objectives"),
        ({"objectives": ["error", "ms <= 5"]}, "objectives.*expected no bound"),
        ({"constraints": ["ms"]}, "constraints.*expected <= or >="),
        ({"optimizers": "additve"}, "unknown optimizer 'additve'; did you mean 'additive'"),
        ({"budget": {"evals": 5}}, "unknown key 'evals'; did you mean 'evaluations'"),
        ({"budget": 0}, "budget.evaluations: expected an integer .*, found 0"),
        ({"steps": [3, 1]}, "steps: expected increasing positive integers"),
        ({"units": {"sec": "s"}}, "units: expected names of error, ms, found 'sec'"),
        ({"reference": [1.0]}, "reference: expected one number an objective"),
        ({"layers": {"width": []}}, "width: expected a list of 1 to 127 values"),
        ({"choices": hwnas.space("gpt-s")}, "layers: the space gpt-s has its own"),
        ({"function": 3}, "function: expected a function of a configuration, found 3"),
        ({"objectives": "ab"}, "objectives: expected a list, found 'ab'"),
        ({"constraints": "ms <= 5"}, "constraints: expected a list, found 'ms <= 5'"),
        ({"plugins": "mine.py"}, "plugins: expected a list, found 'mine.py'"),
        ({"optimizers": None}, "optimizers: expected a list, found None"),
        ({"budget": 3.5}, "budget.evaluations: expected an integer.*, found 3.5"),
        ({"budget": "5"}, "budget.evaluations: expected an integer.*, found '5'"),
        ({"budget": [5]}, "budget.evaluations: expected an integer.*, found"),
        ({"seeds": 1.5}, "seeds: expected a list, found 1.5"),
        ({"steps": 5}, "steps: expected a list, found 5"),
        ({"units": ["s"]}, "setting 'units'.*found"),
        ({"reference": 3}, "reference: expected a list, found 3"),
        ({"initial": "same"}, "initial: expected .*found 'same'"),
        ({"initial": {"shared": 0}}, "initial.*found 0"),
        ({"loggers": "mlflow"}, "loggers: expected a list, found 'mlflow'"),
        ({"loggers": ["mlflo"]}, "unknown logger 'mlflo'; did you mean 'mlflow'"),
        ({"reference": ["a", "b"]}, "reference.*found 'a'"),
    ],
)
def test_arguments_are_checked_before_anything_runs(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    def function(config: FunctionConfig) -> None:
        raise AssertionError

    path = tmp_path / "run"
    positional = {"function": function, "choices": CHOICES, "objectives": ["error", "ms"]}
    with pytest.raises(InvalidInput, match=message):
        hwnas.minimize(**options(path, **{**positional, **arguments}))
    assert not path.exists()


def test_numbers_of_numpy_are_arguments(tmp_path: Path) -> None:
    changes = {"budget": np.int64(5), "seeds": np.int64(1), "reference": np.ones(2)}
    arguments = options(tmp_path / "run", **changes, choices=CHOICES, objectives=["a", "b"])
    result = hwnas.minimize(lambda config: (0.5, 0.5), **arguments)
    assert [row["evaluations"] for row in result.summary] == [5]


def test_a_function_that_changes_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)

    def function(config: FunctionConfig) -> tuple[float, float]:
        os.chdir(elsewhere)
        return 1.0, 2.0

    hwnas.minimize(function, CHOICES, ["a", "b"], **options(Path("run")))
    assert Path.cwd() == tmp_path
    assert (tmp_path / "run" / "random" / "seed-0" / "front.csv").exists()
    assert not list(elsewhere.iterdir())


def test_an_integer_beyond_all_floats_is_a_failed_trial(tmp_path: Path) -> None:
    def function(config: FunctionConfig) -> tuple[float, float]:
        return (10**400 if config["depth"] == 1 else 1.0), 2.0

    result = hwnas.minimize(function, CHOICES, ["a", "b"], **options(tmp_path / "run"))
    reasons = [trial.reason for trial in result.searches[0].trials if trial.status == "failed"]
    assert reasons
    assert set(reasons) == {"not finite: a"}


def test_spaces_of_any_kind_are_searched(tmp_path: Path) -> None:
    def size(config: FunctionConfig) -> tuple[float, float]:
        return config["embed_dim"], -sum(config["mlp_ratio"])

    space = hwnas.space("gpt-s")
    result = hwnas.minimize(
        size,
        space,
        ["width", "ratio"],
        **options(tmp_path, layers=None),
        constraints=["params<=1e9"],
    )
    assert result.space.to_dict() == space.to_dict()
    assert result.experiment.name == "size"
