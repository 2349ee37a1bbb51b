"""Wrong arguments of the public functions: `InvalidInput` in one line, as on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwnas

EXPERIMENT = {
    "name": "good",
    "space": "gpt-s",
    "objectives": ["perplexity", "latency@h100"],
    "optimizers": ["random"],
    "budget": {"evaluations": 5},
    "seeds": 1,
}
BENCH: Any = hwnas.surrogate("gpt-s")
SPACE: Any = hwnas.space("gpt-s")
RNG = np.random.default_rng(0)
CODES = SPACE.sample(3, RNG)
HW: Any = hwnas  # arguments of wrong types are meant


def error(config: dict[str, Any]) -> dict[str, float]:
    """Return values that a search may minimize."""
    return {"error": 1.0 / config["depth"], "size": float(config["depth"])}


def minimize(**changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "function": error,
        "choices": {"depth": [1, 2, 3]},
        "objectives": ["error", "size"],
        "budget": 3,
    }
    return hwnas.minimize(**{**arguments, **changes})


CALLS: dict[str, tuple[Callable[[], Any], str]] = {
    "space: number": (lambda: HW.space(3), "expected the name of a space .*, found 3"),
    "space: path": (lambda: HW.space(Path("x.yaml")), "expected the name of a space"),
    "space: file": (lambda: HW.space("x.yaml"), "the name of a file; expected what the file holds"),
    "space: near": (lambda: HW.space("gpt_s"), "did you mean 'gpt-s'"),
    "sample: negative": (lambda: SPACE.sample(-1, RNG), "expected a number of .*, found -1"),
    "sample: fraction": (lambda: SPACE.sample(1.5, RNG), "expected a number of .*, found 1.5"),
    "sample: text": (lambda: SPACE.sample("x", RNG), "expected a number of .*, found 'x'"),
    "surrogate: number": (lambda: HW.surrogate(3), "expected the name of a space .*, found 3"),
    "surrogate: no file": (lambda: HW.surrogate("gpt-s", tables="x.npz"), "x.npz: no such file"),
    "predict: text": (lambda: BENCH.predict(CODES, "params"), r"expected a list .*\['params'\]"),
    "predict: number": (lambda: BENCH.predict(CODES, [3]), "text of a metric, .*, found 3"),
    "predict: near": (lambda: BENCH.predict(CODES, ["parms"]), "did you mean 'params'"),
    "predict: columns": (
        lambda: BENCH.predict(CODES[:, 1:], ["params"]),
        r"expected shape \(n, 27",
    ),
    "predict: no codes": (lambda: BENCH.predict("x", ["params"]), "expected shape"),
    "predict: None": (lambda: BENCH.predict(None, ["params"]), "expected shape"),
    "predict: range": (lambda: BENCH.predict(CODES + 99, ["params"]), "expected integers from 0"),
    "predict: negative": (lambda: BENCH.predict(CODES - 9, ["params"]), "expected integers from 0"),
    "predict: floats": (lambda: BENCH.predict(CODES * 1.5, ["params"]), "expected integers from 0"),
    "quantiles: text": (lambda: BENCH.quantiles(CODES, "latency@h100", "x"), "level x of"),
    "quantiles: 2": (lambda: BENCH.quantiles(CODES, "latency@h100", [2]), "level 2 of .*0.01 to"),
    "draw: negative": (lambda: BENCH.draw(CODES, "latency@h100", RNG, -1), "at least 0, found -1"),
    "front: text": (lambda: BENCH.front("params"), r"expected a list .*\['params'\]"),
    "front: constraint": (
        lambda: BENCH.front(["params", "flops"], "params <= 3"),
        "expected a list",
    ),
    "front: number": (lambda: BENCH.front(["params", "flops"], [3]), "text of a metric, .*found 3"),
    "front: no bound": (lambda: BENCH.front(["params", "flops"], ["params"]), "found no bound"),
    "best: text": (lambda: BENCH.front(["params", "flops"]).best("x"), "at least 1, found 'x'"),
    "best: fraction": (lambda: BENCH.front(["params", "flops"]).best(1.5), "1, found 1.5"),
    "fit: no file": (lambda: HW.fit("x.csv", ["latency"], "t.npz"), "x.csv: no such file"),
    "fit: suffix": (lambda: HW.fit("x.csv", ["latency"], "t.csv"), "a name that ends in .npz"),
    "fit: number": (lambda: HW.fit("x.csv", [3], "t.npz"), "text of a metric, .*found 3"),
    "run: number": (lambda: HW.run(3), "expected a YAML file, .*, found 3"),
    "run: None": (lambda: HW.run(None), "expected a YAML file, .*, found None"),
    "run: near": (lambda: HW.run("quikstart"), "did you mean the experiment 'quickstart'"),
    "run: workers": (lambda: HW.run(EXPERIMENT, "o", workers="x"), "at least 1, found 'x'"),
    "run: overrides": (
        lambda: HW.run(EXPERIMENT, "o", overrides=["a=1"]),
        "expected values by key",
    ),
    "run: plugins": (lambda: HW.run(EXPERIMENT, "o", plugins="none.py"), "none.py: no such file"),
    "run_sweep: no file": (lambda: HW.run_sweep("none.yaml"), "none.yaml: no such file"),
    "run_sweep: overrides": (
        lambda: HW.run_sweep(EXPERIMENT, overrides={"sweep": {"x": [1]}}),
        "sweep: expected in the YAML",
    ),
    "optimizer: objectives": (
        lambda: HW.optimizer("random", SPACE, 0, seed=0),
        "n_objectives: expected at least 1, found 0",
    ),
    "optimizer: seed": (lambda: HW.optimizer("random", SPACE, 2, seed=-1), "seed: .*, found -1"),
    "optimizer: text": (lambda: HW.optimizer("random", SPACE, 2, seed="x"), "seed: .*, found 'x'"),
    "minimize: function": (lambda: minimize(function="f"), "expected a function .*, found 'f'"),
    "minimize: objectives": (lambda: minimize(objectives="error"), "expected a list, found"),
    "minimize: budget": (lambda: minimize(budget=float("nan")), "expected an integer .*found nan"),
    "minimize: constraint": (lambda: minimize(constraints=["size < 3"]), "use <= in place of '<'"),
    "minimize: out": (lambda: minimize(out="file"), "file: is a file, expected a directory"),
}


@pytest.mark.parametrize("name", CALLS)
def test_wrong_arguments_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("x")
    call, message = CALLS[name]
    with pytest.raises(hwnas.HwnasError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_a_model_is_expected_where_a_run_is(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    with pytest.raises(hwnas.HwnasError, match="no such file; expected a directory that hwnas"):
        hwnas.load(tmp_path)
