"""The commands list, query and front, and tables on a terminal."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwnas
from hwnas.cli.console import print_table
from hwnas.spaces import load_space
from hwnas.workloads import BUILT_IN, Workload, kv_cache, weight_memory

sys.path.insert(0, str(Path(__file__).parent))
from command_line import ARCH, Terminal, assert_user_error


def test_lists(hw: Any) -> None:
    optimizers = hw("list", "optimizers")
    assert optimizers.code == 0
    assert re.search(r"^nsga2 +Non-dominated sorting genetic", optimizers.out, re.MULTILINE)
    assert "pop_size=16" in hw("list", "optimizers", "-v").out
    assert "surrogate" in hw("list", "backends").out
    assert "gpt-xl" in hw("list", "spaces").out
    assert "cpu_xeon_gold" in hw("list", "devices").out
    assert re.search(r"energy@DEVICE +surrogate +mWh", hw("list", "metrics").out)


def test_list_devices(hw: Any) -> None:
    result = hw("list", "devices")
    assert re.search(r"^h100 +GPU +NVIDIA H100 \(Hopper\) +80 GB or more", result.out, re.MULTILINE)
    assert "ms on gpt-s" in result.out
    assert "citation" not in result.out
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
    result = hw("query", ARCH, "--device", "h100", "--format", "json")
    rows = {row["metric"]: row for row in json.loads(result.out)}
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
    without_bias = ARCH.replace("True", "False")
    rows = list(csv.DictReader(io.StringIO(hw("query", ARCH, without_bias, "--format", "csv").out)))
    assert [row["arch"] for row in rows] == [ARCH, without_bias]
    assert float(rows[0]["perplexity"]) != float(rows[1]["perplexity"])
    assert rows[0]["params"].isdigit()


@pytest.mark.parametrize("dash", [[], ["-"]])
@pytest.mark.parametrize(
    "piped", [f"{ARCH}\n", json.dumps([ARCH]), f"trial,arch\n7,{ARCH}\n", f"\ufeff{ARCH}\r\n"]
)
def test_query_reads_standard_input(hw: Any, piped: str, dash: list[str]) -> None:
    result = hw("query", *dash, "--metric", "params", "--format", "csv", piped=piped)
    assert result.out.splitlines()[0] == "arch,params"
    assert [line.partition(",")[0] for line in result.out.splitlines()[1:]] == [ARCH]


def test_query_locates_errors_in_standard_input(hw: Any) -> None:
    wide = ARCH.replace("192", "193")
    assert_user_error(hw("query", piped=f"{ARCH}\n\nfoo"), "line 3: architecture 'foo'")
    assert_user_error(hw("query", piped=f"{ARCH}\n{wide}"), "line 2: embed_dim: expected one of")
    assert_user_error(
        hw("query", piped=json.dumps([ARCH, wide])), "element 2: embed_dim: expected one of"
    )
    assert_user_error(hw("query", piped=b"\xff\xfe\x00"), "standard input: expected UTF-8 text")


def test_query_does_not_read_from_a_terminal(hw: Any) -> None:
    assert_user_error(
        hw("query", piped=None), "expected architectures, as arguments or on standard input"
    )


def test_terminal_folds_only_long_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    print_table(["arch", "name"], [[ARCH, "cpu_xeon_silver"], [ARCH, "cpu_amd_7502"]])
    lines = terminal.getvalue().splitlines()
    assert len(lines) > 3
    assert max(map(len, lines[1:])) <= 50  # the header is bold
    assert re.search(r"  cpu_xeon_silver$", lines[1].rstrip())


def test_query_metrics(hw: Any) -> None:
    arguments = ["--metric", "latency:p90", "--metric", "perplexity", "--device", "h100"]
    (row,) = json.loads(hw("query", ARCH, *arguments, "--format", "json").out)
    assert list(row) == ["arch", "latency@h100:p90", "perplexity"]


def test_spaces_that_bring_their_values(hw: Any, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b,err,ms\n1,x,0.5,3\n2,x,0.4,4\n1,y,0.6,4\n")
    file = tmp_path / "bench.yaml"
    file.write_text(f"family: table\nname: bench\nfile: {tmp_path}/t.csv\nchoices: [a, b]\n")
    front = hw("front", str(file), "err", "ms", "--csv").out.splitlines()
    assert sorted(front[1:]) == ["bench:a=1/b=x,0.5,3.0", "bench:a=2/b=x,0.4,4.0"]
    names = ["bench:a=2/b=x", "bench:a=2/b=y"]
    answer = hw("query", *names, "--space", str(file), "--format", "json").out
    assert [list(row.values()) for row in json.loads(answer)] == [
        ["bench:a=2/b=x", 0.4, 4.0],
        ["bench:a=2/b=y", "", ""],  # no row
    ]
    assert_user_error(hw("front", str(file), "er", "ms"), "unknown metric 'er'; did you mean")
    assert_user_error(hw("query", "bench:a=3/b=x", "--space", str(file)), "argument 1: ")
    # The front of a classic problem, and closed forms of another family.
    assert len(hw("front", "zdt1", "f1", "f2").out.splitlines()) > 2
    space = hwnas.space("llama-s")
    codes = space.sample(1, np.random.default_rng(0))
    (row,) = json.loads(
        hw("query", str(space.decode(codes)[0]), "--metric", "params", "--format", "json").out
    )
    assert row["params"] == space.params(codes)[0]


def test_query_of_other_families_is_refused_in_one_line(hw: Any, tmp_path: Path) -> None:
    own = tmp_path / "llama.yaml"
    own.write_text(
        "family: llama\nname: llama-own\nembed_dim: [64]\nn_layer: [2, 3]\nmlp_dim: [64]\n"
        "n_head: [1, 2]\nn_kv_head: [1]\n"
    )
    space = load_space(str(own))
    (arch,) = map(str, space.decode(space.sample(1, np.random.default_rng(0))))
    at = ("--space", str(own))
    message = "space 'llama-own': published figures are of GPT architectures alone, gpt-s, gpt-m"
    assert_user_error(hw("query", arch, "--device", "h100", *at), message)
    assert_user_error(hw("query", "--metric", "perplexity", *at, piped=f"{arch}\n"), message)
    assert_user_error(hw("front", str(own), "perplexity", "params"), message)
    assert_user_error(hw("list", "devices", *at), message)
    assert_user_error(hw("query", "mlp:width=8"), "argument 1: configuration 'mlp:width=8'")
    file = tmp_path / "mlp.yaml"
    file.write_text("name: mlp\nchoices: {width: [8, 16]}\n")
    own = "space 'mlp': published figures are of GPT architectures alone"
    assert_user_error(hw("query", "mlp:width=8", "--space", str(file)), own)
    assert_user_error(hw("front", str(file), "params", "perplexity"), own)
    assert_user_error(hw("list", "metrics", "--space", str(file)), "space 'mlp': its metrics are")
    assert "latency@DEVICE" in hw("list", "metrics", "-v", "--space", "gpt-xl").out


def test_query_and_front_of_a_space_in_a_file(hw: Any, tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(
        "name: small\nembed_dim: [192]\nn_layer: [10]\nmlp_ratio: [2, 4]\nn_head: [4]\n"
    )
    front = hw("front", str(file), "perplexity", "latency@h100", "--csv", "--plot")
    assert (tmp_path / "front-small.png").is_file()
    assert front.out.splitlines()[1].startswith("small-10-192-")
    options = ["--metric", "perplexity", "--metric", "latency@h100", "--format", "csv"]
    assert hw("query", *options, "--space", str(file), piped=front.out).out == front.out


def test_front(hw: Any, tmp_path: Path) -> None:
    result = hw("front", "gpt-s", "perplexity", "latency@h100", "--csv", "--plot", "--best", "5")
    rows = list(csv.reader(io.StringIO(result.out)))
    assert rows[0] == ["arch", "perplexity", "latency@h100"]
    front = hwnas.surrogate("gpt-s").front(["perplexity", "latency@h100"])
    assert front is not None
    assert [float(row[2]) for row in rows[1:]] == front.best(5).values[:, 1].tolist()
    assert result.err == "front-gpt-s.png\n"
    assert (tmp_path / "front-gpt-s.png").is_file()
    options = ["--metric", "perplexity", "--metric", "latency@h100", "--format", "csv"]
    assert hw("query", *options, piped=result.out).out == result.out
    bounded = hw("front", "gpt-s", "perplexity", "params", "--constraint", "latency@h100 <= 5")
    assert bounded.code == 0


def test_front_maximized_or_empty(hw: Any, tmp_path: Path) -> None:
    result = hw("front", "gpt-s", "-perplexity", "params", "--csv", "--best", "1")
    assert result.out.startswith("arch,-perplexity,params\n")
    empty = hw(
        "front", "gpt-s", "flops", "params", "--constraint", "params <= 1", "--csv", "--plot"
    )
    assert (empty.code, empty.out) == (0, "arch,flops,params\n")
    assert empty.err == "hwnas: the front is empty: no architecture of gpt-s keeps params <= 1\n"
    assert not list(tmp_path.iterdir())


def test_a_standard_input_that_is_too_large(hw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwnas.cli.query_commands._MAX_MB", 1)
    arch = "gpt-s-10-192-" + "-".join(["2-4"] * 10) + "-True\n"
    result = hw("query", piped=arch * 20_000)
    assert (result.code, result.out) == (2, "")
    assert result.err == "hwnas: standard input: is larger than 1 MB, the limit\n"


# -- workloads -----------------------------------------------------------------------------------

OWN_WORKLOAD = """
name: mine
space: gpt-s
workloads: {mine: {prompt: 100, generate: 50, batch: 4, precision: float32}}
objectives: [perplexity, kv_cache.mine]
optimizers: [random]
budget: {evaluations: 10}
"""


@pytest.fixture
def own_workload(tmp_path: Path) -> str:
    file = tmp_path / "mine.yaml"
    file.write_text(OWN_WORKLOAD)
    return str(file)


def test_list_workloads(hw: Any, own_workload: str) -> None:
    rows = hw("list", "workloads").out.splitlines()
    assert rows[0].split() == ["name", "prompt", "generate", "batch", "precision", "meaning"]
    assert [row.split()[:5] for row in rows[1:]] == [
        ["forward", "1024", "0", "8", "bfloat16"],
        ["chat", "512", "256", "1", "bfloat16"],
        ["serve", "896", "128", "64", "bfloat16"],
    ]
    own = hw("list", "workloads", "--space", own_workload).out.splitlines()
    assert own[4].split()[:5] == ["mine", "100", "50", "4", "float32"]
    assert_user_error(hw("list", "optimizers", "--space", "gpt-s"), "metrics and workloads do")


def test_list_metrics_of_workloads(hw: Any) -> None:
    for space in ("gpt-s", "llama-s"):
        listed = hw("list", "metrics", "--space", space).out
        assert re.search(r"^tpot\.WORKLOAD@DEVICE +profile +ms +cheap +p01", listed, re.MULTILINE)
        assert re.search(r"^kv_cache\.WORKLOAD +all +MB +free", listed, re.MULTILINE)
        assert re.search(r"^perplexity\.WORKLOAD +profile +expensive", listed, re.MULTILINE)


def test_query_of_a_workload(hw: Any, own_workload: str) -> None:
    metrics = ["--metric", "kv_cache.serve", "--metric", "weight_memory.chat", "--metric", "params"]
    (row,) = json.loads(hw("query", ARCH, *metrics, "--format", "json").out)
    space = hwnas.space("gpt-s")
    codes = space.encode([ARCH])
    assert row["kv_cache.serve"] == kv_cache(space, codes, BUILT_IN["serve"])[0]
    assert row["weight_memory.chat"] == weight_memory(space, codes, BUILT_IN["chat"])[0]
    assert row["params"] == space.params(codes)[0]
    # Beside published figures, and of an own workload.
    options = ["--metric", "kv_cache.mine", "--metric", "perplexity", "--space", own_workload]
    (row,) = json.loads(hw("query", ARCH, *options, "--format", "json").out)
    mine = Workload(100, 50, 4, "float32")
    assert row["kv_cache.mine"] == kv_cache(space, codes, mine)[0]
    assert row["perplexity"] > 0


@pytest.mark.parametrize("name", ["llama-s", "gpt-xl"])
def test_spaces_without_figures_have_closed_forms_of_workloads(hw: Any, name: str) -> None:
    space: Any = hwnas.space(name)
    (arch,) = space.decode(space.canonical([[0] * len(space.columns)]))
    (row,) = json.loads(hw("query", str(arch), "--metric", "kv_cache.chat", "--format", "json").out)
    assert row["kv_cache.chat"] == kv_cache(space, space.encode([arch]), BUILT_IN["chat"])[0]


def test_front_of_a_workload(hw: Any, own_workload: str) -> None:
    for space, metric in (("gpt-s", "kv_cache.serve"), (own_workload, "kv_cache.mine")):
        rows = list(
            csv.DictReader(io.StringIO(hw("front", space, "perplexity", metric, "--csv").out))
        )
        caches = [float(row[metric]) for row in rows]
        assert len(caches) > 10
        assert caches == sorted(caches, reverse=True)
    bounded = hw(
        "front", "gpt-s", "perplexity", "latency@h100", "--constraint", "kv_cache.serve<=1e3"
    )
    assert bounded.code == 0


def test_what_must_be_measured_is_refused(hw: Any) -> None:
    message = (
        r"tpot\.serve.* must be measured, with: hwnas profile --workload serve and hwnas device add"
    )
    assert_user_error(hw("front", "gpt-s", "perplexity", "tpot.serve@cuda"), message)
    named = "h100: there are no figures of its tpot.serve here; known: h100-sxm"
    assert_user_error(hw("front", "gpt-s", "perplexity", "tpot.serve@h100"), named)
    assert "tpot.serve@h100-sxm" in hw("query", ARCH, "--metric", "tpot.serve").out
    assert_user_error(
        hw("query", ARCH, "--metric", "kv_cache.srve"),
        "unknown workload 'srve'; did you mean 'serve'",
    )
