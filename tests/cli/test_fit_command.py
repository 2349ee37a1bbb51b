"""The commands around tables: fit, --tables and compare --transfer."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwnas
from hwnas.spaces import LanguageModelSpace
from hwnas.surrogates.device_library import shipped_names

sys.path.insert(0, str(Path(__file__).parent))
from command_line import ARCH, assert_user_error


@pytest.fixture(autouse=True)
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def measurements(path: Path, columns: str, source: str = "gpt-s") -> str:
    """Write a file of exactly additive values."""
    space = hwnas.space(source)
    assert isinstance(space, LanguageModelSpace)
    codes = space.sample(12, np.random.default_rng(0))
    values = zip(space.flops(codes) / 1e11, 50 - space.params(codes) / 1e7, strict=True)
    rows = [f"{a},{x},{y}" for a, (x, y) in zip(space.decode(codes), values, strict=True)]
    path.write_text("\n".join([f"arch,{columns}", *rows]))
    return str(path)


def test_from_measurements_to_fronts(hw: Any, tmp_path: Path) -> None:
    file = measurements(tmp_path / "m.csv", "tpot.serve,quality")
    options = ("--metric", "tpot.serve@mine", "--metric", "quality")
    result = hw("fit", file, *options, "--out", "t.npz")
    assert result.code == 0, result.err
    assert result.out.splitlines()[0].split() == [
        *("space", "metric", "points", "expected", "error", "Kendall", "in", "90", "%", "interval")
    ]
    assert result.out.strip().endswith("t.npz")
    assert "fitted quality on gpt-s to 12 networks" in result.err
    front = hw("front", "gpt-s", "-quality", "tpot.serve@mine", "--tables", "t.npz", "--csv")
    assert front.out.startswith("arch,-quality,tpot.serve@mine\n")
    query = hw("query", ARCH, "--tables", "t.npz")
    assert "quality" in query.out
    assert "perplexity" in query.out
    one = hw("query", ARCH, "--tables", "t.npz", "--metric", "quality", "--format", "csv")
    assert float(one.out.splitlines()[1].rpartition(",")[2]) > 0
    assert_user_error(
        hw("front", "gpt-s", "accuracy", "params", "--tables", "t.npz"), "unknown metric 'accuracy'"
    )


def test_a_family_without_published_figures(hw: Any, tmp_path: Path) -> None:
    file = measurements(tmp_path / "m.csv", "quality,energy", "llama-s")
    assert hw("fit", file, "--metric", "quality", "--out", "t.npz").code == 0
    front = hw("front", "llama-s", "quality", "params", "--tables", "t.npz", "--best", "2", "--csv")
    arch = front.out.splitlines()[1].partition(",")[0]
    assert "quality" in hw("query", arch, "--tables", "t.npz").out
    assert_user_error(
        hw("front", "gpt-s", "quality", "params", "--tables", "t.npz"), "nothing for gpt-s"
    )


def test_a_malformed_file_is_one_line_and_leaves_nothing(hw: Any, tmp_path: Path) -> None:
    file = Path(measurements(tmp_path / "m.csv", "tpot.serve,quality"))
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:5], lines[5].rpartition(",")[0] + ",high", *lines[6:]]))
    result = hw("fit", str(file), "--metric", "quality", "--out", "t.npz")
    assert_user_error(result, "line 6, column quality: expected a positive number")
    assert not (tmp_path / "t.npz").exists()
    assert_user_error(hw("fit", "m.csv", "--metric", "qualty", "--out", "t.npz"), "did you mean")
    assert_user_error(hw("fit", str(tmp_path), "--metric", "x", "--out", "t.npz"), "no trials here")
    assert_user_error(
        hw("fit", "m.csv", "--out", "t.npz"), "--metric: is required; expected metric to fit"
    )


def test_tables_and_devices_are_told_apart(hw: Any, tmp_path: Path) -> None:
    file = measurements(tmp_path / "m.csv", "latency,quality")
    hw("fit", file, "--metric", "quality", "--out", "t.npz")
    assert_user_error(hw("device", "add", "mine", "--from", "t.npz"), "is no device")
    assert_user_error(hw("device", "show", "t.npz"), "is no device")
    (tmp_path / "bad.npz").write_bytes(b"PK")
    assert_user_error(
        hw("query", ARCH, "--tables", "bad.npz"), "expected a file of hwnas device add or hwnas fit"
    )


def test_devices_that_do_not_exist_are_named(hw: Any, tmp_path: Path) -> None:
    unknown = hw("front", "gpt-s", "perplexity", "tpot.serve@rtx308")
    assert_user_error(unknown, "unknown device 'rtx308': there are no figures .*: .*h100-sxm")
    unknown = hw("front", "gpt-s", "perplexity", "latency@rtx308")
    assert_user_error(unknown, "unknown device 'rtx308'; did you mean 'rtx3080'")
    unknown = hw("front", "gpt-s", "perplexity", "tpot.serve@laptop")
    assert_user_error(unknown, "unknown device 'laptop': .* hwnas device add; known: .*h100-sxm")
    measured = hw("front", "gpt-s", "perplexity", "tpot.serve@cuda")
    assert_user_error(measured, "must be measured")
    file = measurements(tmp_path / "m.csv", "latency,tpot.serve")
    hw("device", "add", "h100-lab", "--from", file)
    known = hw("front", "gpt-s", "perplexity", "tpot.serve@h100")
    assert_user_error(
        known, "h100: there are no figures of its tpot.serve here; known: h100-(lab|sxm)"
    )


def test_details_of_devices(hw: Any, tmp_path: Path) -> None:
    file = measurements(tmp_path / "m.csv", "latency,tpot.serve")
    other = measurements(tmp_path / "l.csv", "latency,energy", "llama-s")
    hw("device", "add", "mine", "--from", file, "--from", other)
    listed = hw("list", "devices", "-v").out
    lines = listed.splitlines()
    assert any("a100" in line and "8000" in line and "0.40% (latency)" in line for line in lines)
    assert any(line.startswith("mine") and "added by the user" in line for line in lines)
    figures = [line.split()[1:4] for line in lines if line.startswith("mine  ")]
    assert ["gpt-s", "tpot.serve", "12"] in figures
    assert ["llama-s", "energy", "12"] in figures


def test_transfer_of_all_published_devices(hw: Any, tmp_path: Path) -> None:
    result = hw("compare", "--transfer", "--plot", "t.png")
    assert result.code == 0, result.err
    assert result.out.startswith("gpt-s: exact fronts of perplexity and latency\n")
    assert (tmp_path / "t.png").stat().st_size > 10_000
    assert sum(line.startswith("cpu_amd_7452 ") for line in result.out.splitlines()) == 3
    table = hw("compare", "--transfer", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(table.out)))
    ours = {f"latency@{name}" for name in shipped_names()} & {r["found_for"] for r in rows}
    assert "latency@h100-sxm" in ours
    assert len(rows) == (13 + len(ours)) ** 2
    ours_listed = ", ".join(f"latency@{name}" for name in shipped_names())
    assert f"protocols differ: {ours_listed} as measured by hwnas" in table.err
    rows = [r for r in rows if not {r["found_for"], r["judged_by"]} & ours]
    lost = [float(r["hypervolume_lost"]) for r in rows if r["found_for"] != r["judged_by"]]
    # docs/benchmark.md: the median of all pairs.
    assert 0.005 < np.median(lost) < 0.012


def test_transfer_of_some_metrics(hw: Any, tmp_path: Path) -> None:
    file = measurements(tmp_path / "m.csv", "latency,tpot.serve")
    hw("device", "add", "mine", "--from", file)
    names = ("latency@h100", "latency@mine", "tpot.serve@mine")
    result = hw("compare", "--transfer", "--metrics", *names, "--format", "markdown")
    assert "| tpot.serve@mine |" in result.out
    assert "protocols differ: latency@mine, tpot.serve@mine as measured" in result.out
    same = hw("compare", "--transfer", "--metrics", " ".join(names), "--format", "markdown")
    assert same.out == result.out
    whole = hw("compare", "--transfer", "--format", "csv")
    assert "latency@mine" in whole.out
    assert "protocols differ" in whole.err
    hw("fit", file, "--metric", "tpot.serve@theirs", "--out", "t.npz")
    mixed = ("latency@h100", "tpot.serve@theirs", "--tables", "t.npz", "--format", "csv")
    assert len(hw("compare", "--transfer", *mixed).out.splitlines()) == 5


def test_transfer_elsewhere(hw: Any, tmp_path: Path) -> None:
    file = measurements(tmp_path / "l.csv", "latency,energy", "llama-s")
    assert_user_error(hw("compare", "--transfer", "--space", "gpt-m-wide"), "no published figures")
    hw("device", "add", "mine", "--from", file)
    unknown = hw("compare", "--transfer", "--space", "llama-s")
    assert_user_error(unknown, "its perplexity is unknown; give another objective, as in --against")
    options = ("--space", "llama-s", "--against", "-params", "--format", "csv")
    lines = [line.split(",") for line in hw("compare", "--transfer", *options).out.splitlines()[1:]]
    names = {line[0] for line in lines}
    assert {"latency@mine", "latency@h100-sxm"} <= names
    assert [line[:2] for line in lines] == [[a, b] for a in sorted(names) for b in sorted(names)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected the directories of runs, or --transfer"),
        (("--space", "gpt-s"), "--space: expected --transfer with it"),
        (("--transfer", "--at", "5"), "--at: expected no --transfer with it"),
        (("--transfer", "--format", "latex"), "expected --format table, markdown or csv"),
        (("--transfer", "latency@h100"), "at least two metrics"),
        (("--transfer", "--space", "no"), "unknown space 'no'"),
    ],
)
def test_wrong_options_are_refused(hw: Any, arguments: tuple[str, ...], message: str) -> None:
    assert_user_error(hw("compare", *arguments), message)
