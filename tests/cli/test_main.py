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
from hwnas.cli.console import print_table
from hwnas.cli.main import main
from hwnas.cli.report_commands import Indicator
from hwnas.reports.comparison.quality_indicators import METRICS

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


class Terminal(io.StringIO):
    """Where nothing is piped."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def hw(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Call hwnas in a directory of its own; with None piped, from a terminal."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, piped: str | bytes | None = "") -> Said:
        given = piped.encode() if isinstance(piped, str) else piped
        stdin = Terminal() if given is None else io.TextIOWrapper(io.BytesIO(given))
        monkeypatch.setattr(sys, "argv", ["hwnas", *arguments])
        monkeypatch.setattr(sys, "stdin", stdin)
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
    for command in ("run", "resume", "list", "query", "front", "plot", "report", "profile"):
        assert re.search(rf"^  {command}\b", said.out, re.MULTILINE)
    for command in ("build", "check", "schema"):
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


def test_no_draw_leaves_out_plots_and_report(hw: Any, small: str, tmp_path: Path) -> None:
    path = tmp_path / "runs" / "small"
    result = hw("run", small, "--no-draw")
    assert result.code == 0, result.err
    assert result.out.endswith("runs/small: summary.csv and files of each search\n")
    assert (path / "summary.csv").is_file()
    assert hw("resume", "runs/small", "--no-draw", "--quiet").code == 0
    assert not (path / "plots").exists()
    assert not (path / "report.html").exists()
    # Without the option, resuming the finished run adds them.
    result = hw("resume", "runs/small")
    assert result.out.endswith(
        "runs/small: report.html, summary.csv, plots/, and files of each search\n"
    )
    assert (path / "plots").is_dir()
    assert (path / "report.html").is_file()


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
        (["report", "none"], "none: no trials here, expected the directory of a run"),
        (["report"], "(?i)missing argument"),
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
        (["query"], "expected architectures, found none"),
        (["query", ARCH, "-"], "expected either architectures or -, found both"),
        (["query", ARCH, ARCH.replace("192", "7")], "argument 2: embed_dim: expected one of"),
        (["query", ARCH, "--metric", "latncy"], "unknown metric 'latncy'; did you mean 'latency'"),
        (["query", ARCH, "--metric", "flops", "--device", "h10"], "unknown device 'h10'"),
        (["query", ARCH, "--metric", "-flops"], "expected neither sign nor bound"),
        (["query", ARCH, "--metric", "latency@h100+v100"], "expected one device"),
        (["list", "spaces", "--space", "gpt-m"], "list spaces: takes no --space"),
        (["list", "devices", "--space", "gpt-xl"], "no published figures"),
        (["front", "gpt-s", "perplexity", "latency@h100+v100"], "expected one device an objective"),
        (["front", "gpt-s", "perplexity", "latency@h100+v10"], "unknown device 'v10'"),
        (["front", "gpt-s", "perplexity", "params", "--bset", "3"], "No such option: --bset"),
        (["front", "gpt-s", "perplexity", "--plot"], "expected two objectives or more"),
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


def test_devices_and_their_figures(hw: Any) -> None:
    said = hw("list", "devices")
    assert re.search(r"^h100 +GPU +NVIDIA H100 \(Hopper\) +80 GB or more", said.out, re.MULTILINE)
    assert "ms on gpt-s" in said.out
    assert "citation" not in said.out
    verbose = hw("list", "devices", "-v", "--space", "gpt-l").out
    assert "mWh on gpt-l" in verbose
    for line in (
        "space: gpt-l",
        "licence: Apache-2.0",
        "source: networks 8000, sha256 ",
        "notice: ",
    ):
        assert f"\n{line}" in verbose
    assert re.search(r"^citation: .*arXiv:2405\.10299", verbose, re.MULTILINE)
    assert re.search(r"^h100 +0\.\d+ ", verbose, re.MULTILINE)
    assert "citation" in hw("list", "metrics", "-v").out


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
    assert rows[0]["params"].isdigit()


@pytest.mark.parametrize("dash", [[], ["-"]])
@pytest.mark.parametrize(
    "piped", [f"{ARCH}\n", json.dumps([ARCH]), f"trial,arch\n7,{ARCH}\n", f"\ufeff{ARCH}\r\n"]
)
def test_query_reads_what_is_piped(hw: Any, piped: str, dash: list[str]) -> None:
    said = hw("query", *dash, "--metric", "params", "--format", "csv", piped=piped)
    assert said.out.splitlines()[0] == "arch,params"
    assert [line.partition(",")[0] for line in said.out.splitlines()[1:]] == [ARCH]


def test_query_names_what_is_wrong_in_what_is_piped(hw: Any) -> None:
    wide = ARCH.replace("192", "193")
    refused(hw("query", piped=f"{ARCH}\n\nfoo"), "line 3: architecture 'foo'")
    refused(hw("query", piped=f"{ARCH}\n{wide}"), "line 2: embed_dim: expected one of")
    refused(hw("query", piped=json.dumps([ARCH, wide])), "element 2: embed_dim: expected one of")
    refused(hw("query", piped=b"\xff\xfe\x00"), "standard input: expected UTF-8 text")


def test_query_does_not_wait_for_a_terminal(hw: Any) -> None:
    refused(hw("query", piped=None), "expected architectures, as arguments or on standard input")


def test_a_terminal_folds_long_cells_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    print_table(["arch", "name"], [[ARCH, "cpu_xeon_silver"], [ARCH, "cpu_amd_7502"]])
    lines = terminal.getvalue().splitlines()
    assert len(lines) > 3
    assert max(map(len, lines[1:])) <= 50  # the header is bold
    assert re.search(r"  cpu_xeon_silver$", lines[1].rstrip())


def test_query_metrics(hw: Any) -> None:
    asked = ["--metric", "latency:p90", "--metric", "perplexity", "--device", "h100"]
    (row,) = json.loads(hw("query", ARCH, *asked, "--format", "json").out)
    assert list(row) == ["arch", "latency@h100:p90", "perplexity"]


def test_front(hw: Any, tmp_path: Path) -> None:
    said = hw("front", "gpt-s", "perplexity", "latency@h100", "--csv", "--plot", "--best", "5")
    rows = list(csv.reader(io.StringIO(said.out)))
    assert rows[0] == ["arch", "perplexity", "latency@h100"]
    front = hwnas.surrogate("gpt-s").front(["perplexity", "latency@h100"])
    assert front is not None
    assert [float(row[2]) for row in rows[1:]] == front.best(5).values[:, 1].tolist()
    assert said.err == "front-gpt-s.png\n"
    assert (tmp_path / "front-gpt-s.png").is_file()
    again = ["--metric", "perplexity", "--metric", "latency@h100", "--format", "csv"]
    assert hw("query", *again, piped=said.out).out == said.out
    bounded = hw("front", "gpt-s", "perplexity", "params", "--constraint", "latency@h100 <= 5")
    assert bounded.code == 0


def test_front_of_something_maximised_or_of_nothing(hw: Any, tmp_path: Path) -> None:
    said = hw("front", "gpt-s", "-perplexity", "params", "--csv", "--best", "1")
    assert said.out.startswith("arch,-perplexity,params\n")
    none = hw("front", "gpt-s", "flops", "params", "--constraint", "params <= 1", "--csv", "--plot")
    assert (none.code, none.out) == (0, "arch,flops,params\n")
    assert none.err == "no architecture satisfies the constraints\n"
    assert not list(tmp_path.iterdir())


def test_plots(hw: Any, small: str, tmp_path: Path) -> None:
    hw("run", small, "--quiet")
    said = hw("plot", "runs/small", "--kind", "fronts", "--format", "svg")
    assert said.out == "runs/small/plots/fronts.svg\n"
    assert (tmp_path / "runs/small/plots/fronts.svg").is_file()
    refused(hw("plot", "runs/small", "--kind", "front"), "did you mean 'fronts'")
    assert "hypervolume" in hw("plot", "--list").out
    said = hw("plot", "runs/small", "--kind", "hypervolume", "--x", "cost")
    assert said.out == "runs/small/plots/hypervolume-cost.png\n"
    refused(hw("plot", "runs/small", "--kind", "fronts", "--x", "cost"), "only hypervolume can be")
    refused(hw("plot", "runs/small", "--x", "costs"), "'costs' is not one of 'evaluations', 'cost'")


def test_schema(hw: Any) -> None:
    schema = json.loads(hw("schema").out)
    assert {"name", "space", "objectives", "optimizers", "budget"} <= set(schema["properties"])


def test_a_search_that_raises_is_our_fault(
    hw: Any, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raising(*arguments: Any) -> None:
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr("hwnas.runner.run_searches.search", raising)
    said = hw("run", small)
    assert said.code == 1
    assert "ZeroDivisionError: by nought" in said.err


def test_an_interrupt_says_how_to_go_on(
    hw: Any, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hwnas.runner.run_searches.search", stopped)
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


PLUGIN = """
import hwnas


@hwnas.register_optimizer("typed-in")
class TypedIn(hwnas.Optimizer):
    def ask(self, n):
        return self.space.sample(n, self.rng)


@hwnas.register_backend("typed-in")
class Answer(hwnas.Backend):
    metrics = {"depth": hwnas.Metric()}

    def evaluate(self, codes, objectives, *, seeds, fidelity=None):
        return hwnas.Evaluation(codes[:, 1:2] + 1.0)
"""


def test_plugins_given_and_listed(hw: Any) -> None:
    Path("mine.py").write_text(PLUGIN)
    form = {**SMALL, "optimizers": ["typed-in"]}
    Path("given.yaml").write_text(yaml.safe_dump({**form, "name": "given"}))
    listed = {**form, "name": "listed", "plugins": ["mine.py"]}
    Path("listed.yaml").write_text(yaml.safe_dump(listed))
    assert hw("run", "given.yaml", "--plugin", "mine.py", "--quiet").code == 0
    refused = hw("run", "listed.yaml", "--quiet")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "--allow-plugins" in refused.err
    assert hw("run", "listed.yaml", "--allow-plugins", "--quiet").code == 0
    assert hw("resume", "runs/listed", "--quiet").code == 2
    assert hw("resume", "runs/listed", "--allow-plugins", "--quiet").code == 0


def test_plots_of_a_run_whose_backend_is_a_plugin(hw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    form = {**SMALL, "objectives": ["depth", "-params"], "backend": "typed-in"}
    Path("mine.py").write_text(PLUGIN)
    Path("mine.yaml").write_text(yaml.safe_dump(form))
    assert hw("run", "mine.yaml", "--plugin", "mine.py", "--quiet").code == 0
    monkeypatch.setattr("hwnas.registry._registered", {"optimizer": {}, "backend": {}})
    message = r"small/experiment\.yaml: plugins: .* allow it with --allow-plugins"
    refused(hw("plot", "runs/small"), message)
    refused(hw("report", "runs/small"), message)
    assert hw("report", "runs/small", "--allow-plugins").code == 0
    monkeypatch.setattr("hwnas.registry._registered", {"optimizer": {}, "backend": {}})
    said = hw("plot", "runs/small", "--allow-plugins", "--kind", "fronts")
    assert (said.code, said.out) == (0, "runs/small/plots/fronts.png\n")
    assert "typed-in" in hwnas.registry._registered["backend"]


def test_plots_of_a_run_whose_optimizer_was_a_plugin(
    hw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mine.py").write_text(PLUGIN)
    Path("mine.yaml").write_text(yaml.safe_dump({**SMALL, "optimizers": ["typed-in"]}))
    assert hw("run", "mine.yaml", "--plugin", "mine.py", "--quiet").code == 0
    monkeypatch.setattr("hwnas.registry._registered", {"optimizer": {}, "backend": {}})
    Path("mine.py").unlink()
    assert hw("plot", "runs/small", "--kind", "fronts").code == 0


def test_report(hw: Any, small: str, tmp_path: Path) -> None:
    hw("run", small, "--quiet")
    file = tmp_path / "runs/small/report.html"
    first = file.read_text()
    file.unlink()
    assert hw("report", "runs/small").out == "runs/small/report.html\n"
    assert file.read_text() == first
    assert hw("report", "runs/small", "--out", "mine.html").out == "mine.html\n"
    assert (tmp_path / "mine.html").read_text() == first
    refused(hw("report", "runs/small", "--out", "runs"), "runs: is a directory, expected a file")
    refused(hw("report", "runs/small", "--out", "no/x.html"), "there is no directory no; make it")


PROFILE = ("profile", "--space", "gpt-s", "--count", "2", "--out", "it.csv", "--device", "cpu")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--metrics", "latncy"], "unknown metric 'latncy'; did you mean 'latency'"),
        (["--space", "gpt-x"], "unknown space 'gpt-x'"),
        (["--precision", "foo"], "precision: expected one of auto, float32, bfloat16"),
        (["--metrics", "latency", "--tokens", "2000"], "tokens: expected at most 1024"),
        (["--metrics", "latency", "--out", "it.txt"], r"ends in \.csv, found it\.txt"),
        (["--count", "0"], "--count"),
    ],
)
def test_profile_refuses(hw: Any, more: list[str], message: str) -> None:
    refused(hw(*PROFILE, *more), message)
    assert not list(Path().iterdir())


def test_profile(hw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from hwnas.profiling.survey.drift import Drift, Summary

    def survey(space: Any, bench: Any, metrics: Any, file: Path, **settings: Any) -> Summary:
        report = settings.pop("report")
        assert (space.name, bench.name, metrics) == ("gpt-s", "cpu", ["latency", "memory"])
        assert (str(file), bench.passes.batch_size, bench.within) == ("it.csv", 4, 0.02)
        assert settings == {"count": 2, "seed": 0, "anchor_every": 10}
        if report:
            row = {"arch": ARCH, "latency@cpu": "2.5", "seconds": "3", "reason": ""}
            report({**row, "role": "anchor"}, 0)
            report({**row, "role": "design"}, 1)
        return Summary(2, 0, 12.0, (Drift("latency@cpu", "ms", 3, 1.9, 2.1, 10.0),))

    monkeypatch.setattr("hwnas.profiling.survey.survey.run_survey", survey)
    asked = (*PROFILE, "--metrics", "latency, memory", "--batch-size", "4", "--within", "0.02")
    said = hw(*asked)
    assert said.code == 0
    assert said.err.splitlines() == [
        "anchor: 10 layers of 192: latency@cpu 2.5 ms, 3.0 s",
        "1 of 2: 10 layers of 192: latency@cpu 2.5 ms, 3.0 s",
    ]
    assert re.search(r"^latency@cpu +ms +3 +1\.9 +2\.1 +10\.00$", said.out, re.MULTILINE)
    assert said.out.endswith("it.csv: 2 architectures measured, 0 failed, 12 per minute\n")
    quiet = hw(*asked, "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def test_an_interrupted_profile_says_how_to_go_on(hw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*arguments: Any, **settings: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hwnas.profiling.survey.survey.run_survey", stopped)
    message = r"stopped; it\.csv contains all results so far, the same command continues"
    refused(hw(*PROFILE), message)


def test_build(hw: Any, tmp_path: Path) -> None:
    from hwnas.profiling.export.safetensors import load_model
    from hwnas.spaces.architecture import Architecture

    arch = "gpt-s-10-192-" + "-".join(["2"] * 10 + ["4"] * 10) + "-True"
    said = hw("build", arch, "--out", "net")
    assert said.code == 0, said.err
    space = hwnas.space("gpt-s")
    params = int(space.params(space.encode([Architecture.parse(arch)]))[0])
    assert said.out == f"net: config.json, model.safetensors ({params:,} parameters)\n"
    assert str(load_model(tmp_path / "net").arch) == arch
    refused(hw("build", arch, "--out", "net"), "net/model.safetensors is there already|net/config")
    refused(hw("build", "gpt-s-10", "--out", "other"), "expected")
    refused(hw("build", arch.replace("192", "200"), "--out", "other"), "embed_dim")
    (tmp_path / "x.pt").write_bytes(b"no checkpoint")
    refused(hw("build", arch, "--out", "other", "--checkpoint", "x.pt"), "x.pt: expected a checkp")


def test_build_of_a_space_in_a_yaml(hw: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "space: {name: mine, embed_dim: [8], n_layer: [1], mlp_ratio: [2], n_head: [1], "
        "head_size: 4, context: 8, vocab_size: 20}"
    )
    said = hw("build", "mine-1-8-2-1-True", "--space", "mine.yaml", "--out", "net")
    assert said.code == 0, said.err
    (tmp_path / "none.yaml").write_text("name: x")
    for file, message in (
        ("none.yaml", "expected an experiment with the key space"),
        ("x.yaml", "x"),
    ):
        refused(hw("build", "mine-1-8-2-1-True", "--space", file, "--out", "other"), message)
    refused(hw("build", "mine-1-8-2-1-True", "--out", "other"), "unknown space 'mine'")


def test_what_is_logged_is_shown(hw: Any, small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import logging

    import hwnas.api

    def run(*arguments: Any, real: Any = hwnas.api.run, **keywords: Any) -> Any:
        logging.getLogger("hwnas.profiling").info("step %d", 7)
        return real(*arguments, **keywords)

    monkeypatch.setattr(hwnas.api, "run", run)
    assert "step 7\n" in hw("run", small).err
    assert hw("run", small, "--out", "again", "--quiet").err == ""


def test_compare(hw: Any, small: str, tmp_path: Path) -> None:
    hw("run", small, "--quiet", "--set", "optimizers=[random, uniform]", "--set", "seeds=2")
    said = hw("compare", "runs/small", "--plot", "ranks.png")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0] == "perplexity, latency@rtx3080 on gpt-s, relative to: exact front"
    assert lines[1].split()[:4] == ["optimizer", "seeds", "evaluations", "normalised"]
    assert [line.split()[0] for line in lines[2:4]] == ["uniform", "random"]
    assert any(
        line.startswith("mean rank by normalised over 2 seeds of 1 problem") for line in lines
    )
    assert any(re.match(r"uniform +random +2 seeds +2 ", line) for line in lines)
    assert lines[-1] == "ranks.png"
    assert (tmp_path / "ranks.png").read_bytes().startswith(b"\x89PNG")

    said = hw("compare", "runs/small", "--format", "csv", "--plot", "ranks.svg")
    rows = list(csv.DictReader(io.StringIO(said.out)))
    assert len(rows) == 2 * 5
    assert [*rows[0]][:4] == ["problem", "optimizer", "indicator", "seeds"]
    assert "could be significant" in said.err
    assert said.err.endswith("ranks.svg\n")

    after = hw("compare", "runs/small", "--at", "10", "--metric", "r2", "--format", "markdown")
    assert "| optimizer | seeds | evaluations | r2 |" in after.out
    assert re.search(r"^\| (uniform|random) \| 2 \| 10 \| \*\*0\.", after.out, re.MULTILINE)
    latex = hw("compare", "runs/small", "--format", "latex").out
    assert latex.count(r"\begin{tabular}") == latex.count(r"\bottomrule") == 3


def test_compare_by_every_metric() -> None:
    assert [indicator.value for indicator in Indicator] == list(METRICS)


def test_compare_refuses(hw: Any, small: str) -> None:
    hw("run", small, "--quiet")
    refused(hw("compare", "nowhere"), "nowhere: no trials here, expected the directory of a run")
    refused(hw("compare", "runs/small", "runs/small"), "expected every run once, found it 2 times")
    refused(hw("compare", "runs/small", "--at", "31"), "ended after 30 .* expected at most 30")
    refused(hw("compare", "runs/small", "--plot", "x.png"), "expected two optimizers on all prob")
    refused(hw("compare", "runs/small", "--metric", "hv"), "'hv' is not one of 'normalised'")
    said = hw("compare", "runs/small")
    assert said.code == 0
    assert said.out.endswith("one optimizer: nothing is tested\n")
