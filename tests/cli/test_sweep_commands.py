"""`run`, `resume`, `compare` and `export` of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from command_line import SMALL, assert_user_error


def test_sweep_from_run_to_export(hw: Any) -> None:
    sweep = {**SMALL, "sweep": {"device": ["h100", "v100"]}, "budget": {"evaluations": 5}}
    sweep["objectives"] = ["perplexity", "latency@$device"]
    Path("small.yaml").write_text(yaml.safe_dump(sweep))
    result = hw("run", "small.yaml", "--no-draw")
    assert result.code == 0, result.err
    lines = [line.split() for line in result.out.splitlines()]
    assert lines[0][:4] == ["device", "optimizer", "seeds", "evaluations"]
    assert [line[:4] for line in lines[1:3]] == [
        ["h100", "random", "1", "5"],
        ["v100", "random", "1", "5"],
    ]
    assert "compare them with: hwnas compare runs/small" in result.out
    again = hw("resume", "runs/small", "--no-draw", "--set", "sweep.device=[h100, v100, a100]")
    assert [line.split()[0] for line in again.out.splitlines()[1:4]] == ["h100", "v100", "a100"]
    compared = hw("compare", "runs/small")
    assert compared.out.count("relative to: exact front") == 3
    exported = hw("export", "runs/small", "--to", "csv")
    assert exported.out == "runs/small/trials.csv: 15 trials\n"
    assert_user_error(hw("run", "small.yaml"), "runs/small: holds another sweep; choose another")
    for command in ("plot", "report"):
        assert_user_error(hw(command, "runs/small"), r"is a sweep; name one of its runs")


def test_exports_refuse_options_of_others(hw: Any, small: str) -> None:
    hw("run", small, "--quiet", "--no-draw")
    assert_user_error(
        hw("export", "runs/small"), "--to: is required; expected one of optuna, csv, parquet"
    )
    message = "--out: is for csv and parquet; expected --storage"
    assert_user_error(hw("export", "runs/small", "--to", "optuna", "--out", "x"), message)
    message = "--storage: is for optuna; expected --out FILE for csv"
    assert_user_error(hw("export", "runs/small", "--to", "csv", "--storage", "x"), message)
    assert_user_error(hw("export", "runs", "--to", "csv"), "runs: no trials here, expected the")
    assert_user_error(
        hw("export", "runs/small", "--to", "xml"), "--to: expected one of optuna, .*, found 'xml'"
    )
