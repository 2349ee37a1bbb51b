"""`hwnas init` writes an experiment that runs, from options or answers, and overwrites nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import assert_user_error

from hwnas.problem import load_experiment


@pytest.mark.parametrize(
    ("options", "space", "objective"),
    [
        ([], "gpt-s", "latency@rtx3080"),
        (["--space", "gpt-l", "--device", "h100", "--metric", "energy"], "gpt-l", "energy@h100"),
        (["--metric", "kv_cache.serve"], "gpt-s", "kv_cache.serve"),
    ],
)
def test_options(hw: Any, options: list[str], space: str, objective: str) -> None:
    result = hw("init", "mine.yaml", *options, "--evaluations", "7")
    assert result.out == "mine.yaml: run it with: hwnas run mine.yaml\n", result.err
    experiment, _ = load_experiment("mine.yaml")
    assert (experiment.name, experiment.space) == ("mine", space)
    assert experiment.objectives == ["perplexity", objective]
    assert experiment.budget.evaluations == 7


def test_answers(hw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["gpt-m", "v100", "energy"])
    monkeypatch.setattr("typer.prompt", lambda question, default, err: next(answers))
    assert hw("init", piped=None).code == 0
    experiment, _ = load_experiment("experiment.yaml")
    assert (experiment.space, experiment.objectives[1]) == ("gpt-m", "energy@v100")


def test_bad_input_writes_nothing(hw: Any) -> None:
    for options in (["--space", "gpt-q"], ["--device", "h1000"], ["--metric", "a: ["]):
        assert_user_error(hw("init", "mine.yaml", *options), "hwnas: init: ")
        assert not Path("mine.yaml").exists()
    assert_user_error(hw("init", "no/mine.yaml"), "no/mine.yaml: there is no directory no")
    assert_user_error(hw("init", "a b.yaml"), "name: expected a text of at most")
    Path("mine.yaml").write_text("mine")
    assert_user_error(hw("init", "mine.yaml"), "mine.yaml: is there already; choose another file")
    assert Path("mine.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("line", "completion"), [("hwnas exp", "export"), ("hwnas init --sp", "--space")]
)
def test_shells_complete_commands_and_options(line: str, completion: str) -> None:
    environment = {
        "_HWNAS_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split()) - 1),
    }
    done = subprocess.run(
        [Path(sys.executable).with_name("hwnas")],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert completion in done.stdout.split()
