"""hwnas profile --until: a survey ends when its fits are expected to be good enough."""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwnas
from hwnas.profiling.device_profiler import Measurement
from hwnas.profiling.meters.latency import Latency
from hwnas.spaces import require_language_model

sys.path.insert(0, str(Path(__file__).parent))
from command_line import assert_user_error

PROFILE = ("profile", "--space", "gpt-s", "--out", "it.csv", "--device", "cpu")
LATENCY = ("--metrics", "latency")


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A meter with noise, which can be set, and which a process dies at."""
    from hwnas.profiling.meters.forward_pass import environment, resolve_protocol

    control: dict[str, Any] = {"noise": 0.002, "dies_at": None, "measured": 0}
    space = require_language_model(hwnas.space("gpt-s"))

    def measure(members: Any, profiler: Any, names: Any, arch: Any) -> tuple[dict[str, Any], str]:
        if control["measured"] == control["dies_at"]:
            raise KeyboardInterrupt
        control["measured"] += 1
        code = space.encode([arch])
        rng = np.random.default_rng(code.astype(int).ravel())
        ms = float(space.flops(code)[0] / 1e11 + 1) * np.exp(control["noise"] * rng.normal())
        model = profiler.build_model(hwnas.space("gpt-s"), arch)
        context = resolve_protocol(model, profiler.passes), environment(profiler.device)
        samples = np.array([ms, ms])
        record = Latency(ms, 0, 0, (0, 0), 3, True, True, 9, 0, (), *context, samples)
        return {name: Measurement(ms, 0.0, record) for name in names}, ""

    monkeypatch.setattr("hwnas.profiling.survey.survey.measure_architecture", measure)
    # Models are needed for their protocol only.
    monkeypatch.setattr(
        "hwnas.profiling.device_profiler.DeviceProfiler.build_model",
        lambda self, space, arch, seed=0: _tiny_model(),
    )
    return control


def _tiny_model() -> Any:
    from hwnas.profiling.gpt import GPT
    from hwnas.spaces.architecture import Architecture

    arch = Architecture("tiny", 4, 1, (1,), (1,), True)
    return GPT(arch, head_size=4, context=1024, vocab_size=4)


def designed() -> list[str]:
    with Path("it.csv").open(newline="") as file:
        return [row["arch"] for row in csv.DictReader(file) if row["role"] == "design"]


@pytest.mark.usefixtures("meter")
def test_a_survey_ends_when_the_error_is_reached(hw: Any) -> None:
    result = hw(*PROFILE, *LATENCY, "--until", "1.5%")
    assert result.code == 0, result.err
    lines = result.err.splitlines()
    assert re.fullmatch(r"expected: about \d+ architectures for 1\.5 %, at most 100", lines[0])
    assert lines[1].startswith("anchor: ")
    assert re.fullmatch(r"expected: about \S+ minutes for \d+ architectures", lines[2])
    n = len(designed())
    assert 9 <= n <= 20  # the anchor is one more
    assert f"1.5 % reached with {n} architectures; expected errors: latency@cpu" in result.out
    # The same command measures nothing more; a smaller error does.
    again = hw(*PROFILE, *LATENCY, "--until", "1.5%")
    assert (again.code, len(designed())) == (0, n)
    assert f"1.5 % reached with {n} architectures" in again.out
    first = designed()
    assert hw(*PROFILE, *LATENCY, "--until", "0.4%", "--quiet").out == ""
    assert len(designed()) >= n
    assert designed()[:n] == first


def test_a_stopped_survey_goes_on_to_the_same_end(hw: Any, meter: dict[str, Any]) -> None:
    options = (*PROFILE, *LATENCY, "--until", "2 %", "--quiet")
    assert hw(*options).code == 0
    whole = designed()
    for file in Path().iterdir():
        file.unlink()
    meter["dies_at"] = meter["measured"] + 5
    assert_user_error(hw(*options), "the same command continues")
    assert 0 < len(designed()) < len(whole)
    meter["dies_at"] = None
    assert hw(*options).code == 0
    assert designed() == whole


def test_count_is_the_upper_bound(hw: Any, meter: dict[str, Any]) -> None:
    meter["noise"] = 0.1
    result = hw(*PROFILE, *LATENCY, "--until", "0.5%", "--count", "12")
    assert result.code == 0
    assert "0.5 % may need more than 12 architectures" in result.err
    assert len(designed()) == 12
    assert "0.5 % not reached with 12 architectures; expected errors: latency@cpu" in result.out
    assert "the same command with a larger --count continues" in result.out
    few = hw(*PROFILE, *LATENCY, "--until", "0.5%", "--count", "3", "--out", "few.csv")
    assert "expected errors need 10 architectures, found 3" in few.out


@pytest.mark.parametrize("text", ["1.5", "x", "0%", "-1%", "90%", "", "nan%"])
def test_an_error_is_a_percentage(hw: Any, text: str) -> None:
    message = "expected a percentage between 0.1% and 50%, such as 1.5%"
    assert_user_error(hw(*PROFILE, f"--until={text}"), message)
    assert not list(Path().iterdir())


def test_until_is_of_a_survey(hw: Any) -> None:
    arch = str(
        hwnas.space("gpt-s").decode(hwnas.space("gpt-s").sample(1, np.random.default_rng(0)))[0]
    )
    assert_user_error(hw("profile", arch, "--until", "1%"), "are those of a survey")
