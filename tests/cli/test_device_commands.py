"""The commands of devices: what they print, what they write, and what they refuse."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwnas
from hwnas.spaces import LanguageModelSpace
from hwnas.surrogates.device_library import device_path

sys.path.insert(0, str(Path(__file__).parent))
from command_line import assert_user_error


@pytest.fixture(autouse=True)
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def measurements(path: Path, columns: str = "latency,tpot.serve", source: str = "gpt-s") -> str:
    """Write a file of exactly additive values."""
    space = hwnas.space(source)
    assert isinstance(space, LanguageModelSpace)
    codes = space.sample(12, np.random.default_rng(0))
    values = zip(space.flops(codes) / 1e11, space.params(codes) / 1e8, strict=True)
    rows = [f"{a},{x},{y}" for a, (x, y) in zip(space.decode(codes), values, strict=True)]
    path.write_text("\n".join([f"arch,{columns}", *rows]))
    return str(path)


def test_a_device_from_measurements_to_a_front(hw: Any, tmp_path: Path) -> None:
    file = measurements(tmp_path / "m.csv")
    result = hw("device", "add", "mine", "--from", file)
    assert result.code == 0
    assert "expected error" in result.out
    assert result.out.strip().endswith(str(device_path("mine")))
    assert "fitted tpot.serve on gpt-s to 12 networks" in result.err
    front = hw("front", "gpt-s", "perplexity", "tpot.serve@mine", "--best", "3", "--csv")
    assert len(front.out.splitlines()) == 4
    shown = hw("device", "show", "mine").out
    assert "64 requests at once" in shown
    assert "mine" in hw("device", "list").out
    listed = hw("list", "devices", "-v").out
    assert "published by HW-GPT-Bench" in listed
    assert "added by the user" in listed
    assert hw("query", "--space", "gpt-s", shown_arch(front.out)).out.count("@mine") == 2
    assert hw("device", "remove", "mine").code == 0
    assert not device_path("mine").exists()
    assert "no devices in" in hw("device", "list").out


def shown_arch(csv: str) -> str:
    return csv.splitlines()[1].partition(",")[0]


def test_update_adds_and_replaces(hw: Any, tmp_path: Path) -> None:
    first = measurements(tmp_path / "a.csv")
    hw("device", "add", "mine", "--from", first)
    before = device_path("mine").read_bytes()
    again = hw("device", "add", "mine", "--from", first)
    assert_user_error(again, "there is a device mine already")
    assert device_path("mine").read_bytes() == before
    second = measurements(tmp_path / "b.csv", "latency,energy", "llama-s")
    assert hw("device", "add", "mine", "--update", "--from", second).code == 0
    shown = hw("device", "show", "mine").out
    assert shown.count("gpt-s ") == 2
    assert shown.count("llama-s ") == 2
    front = hw("front", "llama-s", "-params", "energy@mine", "--best", "2", "--csv")
    assert len(front.out.splitlines()) == 3


def test_nothing_half_added_remains(hw: Any, tmp_path: Path) -> None:
    file = Path(measurements(tmp_path / "m.csv"))
    text = file.read_text().splitlines()
    file.write_text("\n".join([*text[:5], text[5].rpartition(",")[0] + ",slow", *text[6:]]))
    result = hw("device", "add", "mine", "--from", str(file))
    assert_user_error(result, "line 6, column tpot.serve: expected a positive number")
    assert not device_path("mine").parent.exists()


@pytest.mark.parametrize("name", ["h100", "cpu", "cuda", "a/b"])
def test_names_that_are_taken_are_refused(hw: Any, name: str, tmp_path: Path) -> None:
    result = hw("device", "add", name, "--from", measurements(tmp_path / "m.csv"))
    assert_user_error(result, "expected")


def test_a_shared_file_is_taken_over_under_another_name(hw: Any, tmp_path: Path) -> None:
    file = measurements(tmp_path / "m.csv")
    hw("device", "add", "theirs", "--from", file, "--folder", str(tmp_path / "shared"))
    shared = tmp_path / "shared" / "theirs.npz"
    assert "theirs" in hw("device", "list", "--folder", str(shared.parent)).out
    assert hw("device", "add", "ours", "--from", str(shared)).code == 0
    assert "latency" in hw("device", "show", "ours").out
    assert "latency" in hw("device", "show", str(shared)).out
    assert_user_error(hw("device", "show", "theirs"), "unknown device 'theirs'")


def test_what_is_unknown_is_one_line(hw: Any, tmp_path: Path) -> None:
    for arguments, message in (
        (("show", "mine"), "unknown device 'mine'"),
        (("remove", "mine"), "unknown device 'mine'"),
        (("add", "mine", "--from", str(tmp_path / "no.csv")), "no such file"),
        (("add", "mine", "--from", str(tmp_path / "no.npz")), "no such file"),
    ):
        assert_user_error(hw("device", *arguments), message)
