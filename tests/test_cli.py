"""The command line as a user meets it: what it prints, what it leaves, its exit codes."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import hwnas
from hwnas.cli import main

SMALL: dict[str, Any] = {
    "name": "small",
    "space": "gpt-s",
    "objectives": ["perplexity", "latency@rtx3080"],
    "optimizers": ["random"],
    "budget": {"evaluations": 30},
    "seeds": 1,
}
ARCH = "gpt-s-10-192-" + "2-" * 10 + "4-" * 10 + "True"


class Said:
    """What a call left behind."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def hw(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Call hwnas in a directory of its own."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["hwnas", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return Said(int(left.value.code or 0), said.out, said.err)

    return call


@pytest.fixture
def small(tmp_path: Path) -> str:
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL))
    return "small.yaml"


def refused(said: Said, message: str) -> None:
    assert said.code == 2, said.err
    assert said.out == ""
    assert re.search(message, said.err), said.err
    assert said.err.startswith("hwnas: ")
    assert said.err.count("\n") == 1


def test_help_names_the_commands(hw: Any) -> None:
    said = hw("--help")
    assert said.code == 0
    for command in ("run", "resume", "list", "query", "front", "plot", "schema"):
        assert re.search(rf"^  {command}\b", said.out, re.MULTILINE)


def test_run(hw: Any, small: str, tmp_path: Path) -> None:
    said = hw("run", small)
    assert said.code == 0
    assert "random" in said.out
    assert "runs/small" in said.out
    assert said.err == "random seed 0: 30 evaluations\n"
    assert (tmp_path / "runs" / "small" / "summary.csv").is_file()
    again = hw("run", small)
    refused(again, "holds this experiment; go on with: hwnas resume runs/small")
    assert hw("resume", "runs/small").code == 0


def test_quiet_and_set_and_out(hw: Any, small: str, tmp_path: Path) -> None:
    said = hw(
        "run",
        small,
        "--quiet",
        "--out",
        "here",
        "--set",
        "budget.evaluations=7",
        "--set",
        "seeds=2",
    )
    assert (said.code, said.out, said.err) == (0, "", "")
    rows = list(csv.DictReader((tmp_path / "here" / "summary.csv").open()))
    assert [row["evaluations"] for row in rows] == ["7", "7"]


def test_several_files(hw: Any, small: str, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({**SMALL, "name": "other"}))
    assert hw("run", small, "other.yaml", "--out", "both", "--quiet").code == 0
    assert {p.name for p in (tmp_path / "both").iterdir()} == {"small", "other"}
    refused(hw("run", small, small), "expected experiments of different names, found small, small")


def test_nothing_runs_when_one_of_several_is_wrong(hw: Any, small: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("name: wrong")
    refused(hw("run", small, "wrong.yaml"), r"wrong\.yaml: space: is required")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rum"], "No such command 'rum'"),
        (["run"], "Missing argument"),
        (["run", "--foo"], "No such option"),
        (["run", "none.yaml"], r"none\.yaml: no such file"),
        (["run", "."], r"\.: cannot be read: Is a directory"),
        (["run", "small.yaml", "--workers", "0"], "--workers"),
        (["run", "small.yaml", "--workers", "two"], "--workers"),
        (["run", "small.yaml", "--set", "seeds"], "--set 'seeds': expected KEY=VALUE"),
        (["run", "small.yaml", "--set", "sed=1"], "sed: unknown key 'sed'; did you mean 'seeds'"),
        (["run", "small.yaml", "--set", "seeds=[1"], "line 1"),
        (["resume", "."], r"no experiment\.yaml here"),
        (["resume", "none"], r"no experiment\.yaml here"),
        (["list", "optimisers"], "optimisers"),
        (["plot"], "expected the directory of a run, or --list"),
        (["plot", "none"], "no trials here"),
        (["plot", ".", "--format", "gif"], "gif"),
        (["query", "gpt-s-what"], "architecture 'gpt-s-what': expected"),
        (["query", ARCH, "--device", "h10"], "unknown device 'h10'; did you mean 'h100'"),
        (["query", ARCH, ARCH.replace("gpt-s", "gpt-m")], "expected architectures of one space"),
        (["query", ARCH.replace("gpt-s", "gpt-q")], "unknown space 'gpt-q'"),
        (["query", ARCH.replace("192", "193")], "embed_dim: expected one of"),
        (["front", "gpt-s"], "Missing argument"),
        (["front", "gpt-xl", "perplexity", "params"], "gpt-xl"),
        (["front", "gpt-s", "perplexity", "latncy@h100"], "unknown metric 'latncy'"),
        (["front", "gpt-s", "perplexity", "params", "--constraint", "x"], "has no bound"),
        (["front", "gpt-s", "perplexity", "latency@h100+v100"], "no exact front is known"),
        (["front", "gpt-s", "perplexity", "params", "--best", "0"], "--best"),
        (["front", "gpt-s", "perplexity", "params", "flops", "--best", "3"], "two objectives"),
    ],
)
def test_wrong_use_is_one_line(hw: Any, small: str, arguments: list[str], message: str) -> None:
    refused(hw(*arguments), message)


def test_lists(hw: Any) -> None:
    optimizers = hw("list", "optimizers")
    assert optimizers.code == 0
    assert re.search(r"^nsga2 +Non-dominated sorting genetic", optimizers.out, re.MULTILINE)
    assert "pop_size=100" in hw("list", "optimizers", "-v").out
    assert "surrogate" in hw("list", "backends").out
    assert "gpt-xl" in hw("list", "spaces").out
    assert "cpu_xeon_gold" in hw("list", "devices").out
    assert re.search(r"energy@DEVICE +mWh", hw("list", "metrics").out)


def test_query_one(hw: Any) -> None:
    said = hw("query", ARCH, "--device", "h100", "--format", "json")
    rows = {row["metric"]: row for row in json.loads(said.out)}
    assert set(rows) == {
        "perplexity",
        "params",
        "flops",
        "float16_memory",
        "bfloat16_memory",
        "latency@h100",
        "energy@h100",
    }
    bench = hwnas.surrogate("gpt-s")
    codes = bench.space.encode([hwnas.Architecture.parse(ARCH)])
    assert rows["latency@h100"]["median"] == bench.predict(codes, ["latency@h100"])[0, 0]
    assert rows["latency@h100"]["p10"] < rows["latency@h100"]["p90"]
    assert rows["params"]["median"] == int(bench.space.params(codes)[0])
    assert rows["energy@h100"]["unit"] == "mWh"
    assert "latency@h100" in hw("query", ARCH).out


def test_query_several(hw: Any) -> None:
    other = ARCH.replace("True", "False")
    rows = list(csv.DictReader(io.StringIO(hw("query", ARCH, other, "--format", "csv").out)))
    assert [row["arch"] for row in rows] == [ARCH, other]
    assert float(rows[0]["perplexity"]) != float(rows[1]["perplexity"])


def test_front(hw: Any, tmp_path: Path) -> None:
    said = hw("front", "gpt-s", "perplexity", "latency@h100", "--csv", "--plot", "--best", "5")
    rows = list(csv.reader(io.StringIO(said.out)))
    assert rows[0] == ["arch", "perplexity", "latency@h100"]
    front = hwnas.surrogate("gpt-s").front(["perplexity", "latency@h100"])
    assert front is not None
    assert [float(row[2]) for row in rows[1:]] == front.best(5).values[:, 1].tolist()
    assert (tmp_path / "front-gpt-s.png").is_file()
    bounded = hw("front", "gpt-s", "perplexity", "params", "--constraint", "latency@h100 <= 5")
    assert bounded.code == 0


def test_plots(hw: Any, small: str, tmp_path: Path) -> None:
    hw("run", small, "--quiet")
    said = hw("plot", "runs/small", "--kind", "fronts", "--format", "svg")
    assert said.out == "runs/small/plots/fronts.svg\n"
    assert (tmp_path / "runs/small/plots/fronts.svg").is_file()
    refused(hw("plot", "runs/small", "--kind", "front"), "did you mean 'fronts'")
    assert "hypervolume" in hw("plot", "--list").out


def test_schema(hw: Any) -> None:
    schema = json.loads(hw("schema").out)
    assert {"name", "space", "objectives", "optimizers", "budget"} <= set(schema["properties"])


def test_a_search_that_raises_is_our_fault(
    hw: Any, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raising(*arguments: Any) -> None:
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr("hwnas.runs.search", raising)
    said = hw("run", small)
    assert said.code == 1
    assert "ZeroDivisionError: by nought" in said.err


def test_an_interrupt_says_how_to_go_on(
    hw: Any, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hwnas.runs.search", stopped)
    said = hw("run", small)
    assert said.code == 2
    assert "hwnas resume" in said.err


def test_a_process_of_its_own(small: str, tmp_path: Path) -> None:
    hwnas_command = Path(sys.executable).with_name("hwnas")
    done = subprocess.run(
        [hwnas_command, "run", small, "--workers", "2", "--set", "seeds=2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "runs/small" in done.stdout
    reader_is_gone = f"{hwnas_command} front gpt-s perplexity latency@h100 --csv | head -1"
    piped = subprocess.run(
        reader_is_gone, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert piped.stdout == "arch,perplexity,latency@h100\n"
    assert piped.stderr == ""
