"""The command audit: a front measured here, against its predicted values."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from command_line import ARCH, assert_user_error

SPACE = (
    "{name: tiny, embed_dim: [8], n_layer: [1, 2, 3], mlp_ratio: [2], n_head: [1], bias: [true], "
    "head_size: 8, context: 8, vocab_size: 20}"
)
ARCHS = ("tiny-1-8-2-1-True", "tiny-2-8-2-2-1-1-True", "tiny-3-8-2-2-2-1-1-1-True")
OPTIONS = ("--device", "cpu", "--threads", "1", "--max-seconds", "0.05", "--repeats", "0")


def write_front(column: str = "latency@h100") -> None:
    rows = [f"{i},{arch},{i + 1}00,{i + 1}.5" for i, arch in enumerate(ARCHS)]
    Path("front.csv").write_text("\n".join([f"trial,arch,-params,{column}", *rows]))
    Path("tiny.yaml").write_text(SPACE)


def test_a_front_is_measured_on_the_cpu(hw: Any) -> None:
    write_front()
    files = ("--out", "audit.csv", "--plot", "audit.png")
    result = hw("audit", "front.csv", "--space", "tiny.yaml", *OPTIONS, *files)
    assert result.code == 0, result.err
    assert "not measured: -params is of no device" in result.err
    assert result.out.startswith("3 members of front.csv, measured on cpu")
    assert "hypervolume won" in result.out  # these networks take much less than 1.5 ms and more
    with Path("audit.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["arch"] for row in rows] == list(ARCHS)
    assert [row["latency@h100 predicted"] for row in rows] == ["1.5", "2.5", "3.5"]
    assert all(float(row["latency@h100 measured"]) > 0 for row in rows)
    assert Path("audit.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_on_the_surrogate_uses_its_own_front(
    hw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The front of all searches, with the predicted values doubled by a fake meter."""
    from hwnas.cli.audit_command import read_front

    Path("run.yaml").write_text(
        "{name: run, space: gpt-s, objectives: [perplexity, latency@h100], optimizers: [random], "
        "budget: {evaluations: 40}, seeds: 1}"
    )
    assert hw("run", "run.yaml", "--out", "run", "--no-draw", "--quiet").code == 0
    front = read_front(Path("run"))
    truth = dict(zip(map(str, front.archs), front.values[:, 1], strict=True))

    class Fake:
        std = 1e-6

        def __init__(self, value: float) -> None:
            self.value = value

    def measure(space: Any, profiler: Any, names: list[str], arch: Any) -> Any:
        assert names == ["latency@cpu"]
        return {"latency@cpu": Fake(2 * truth[str(arch)])}, ""

    monkeypatch.setattr("hwnas.profiling.survey.survey.measure_architecture", measure)
    result = hw("audit", "run", "--top", "4", "--device", "cpu")
    assert result.code == 0, result.err
    row = next(line for line in result.out.splitlines() if line.startswith("latency@h100"))
    assert row.split()[1:3] == [str(min(4, len(truth))), "1.000"]
    assert row.split()[-3:] == ["50", "-50", "0"]
    assert "hypervolume lost" in result.out


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("perplexity", "no objective can be measured here: .*perplexity is of no device"),
        ("latency@h100:p90", "latency@h100:p90 is a quantile"),
        ("latency@h100+a100", "is a ratio over several devices"),
        ("tpot.mine@h100", "unknown workload 'mine'"),
    ],
)
def test_objectives_that_cannot_be_measured(hw: Any, column: str, message: str) -> None:
    write_front(column)
    assert_user_error(hw("audit", "front.csv", "--space", "tiny.yaml", *OPTIONS), message)


def test_bad_fronts(hw: Any) -> None:
    assert_user_error(hw("audit", "nowhere"), "nowhere")
    Path("front.csv").write_text(f"arch,latency@h100\n{ARCH},fast\n")
    assert_user_error(hw("audit", "front.csv"), "expected numbers in the columns of objectives")
    Path("front.csv").write_text(f"arch,note\n{ARCH},fast\n")
    assert_user_error(hw("audit", "front.csv"), "expected columns of objectives")
    Path("front.csv").write_text("name,latency@h100\nx,1\n")
    assert_user_error(hw("audit", "front.csv"), "expected a column arch")
    assert_user_error(hw("audit", "front.csv", "--plot", "a.bmp"), "a.bmp: expected a name")
    Path("plain.yaml").write_text("{name: plain, choices: {x: [1, 2]}}")
    Path("front.csv").write_text("arch,latency@h100\nplain-1,1\n")
    assert hw("audit", "front.csv", "--space", "plain.yaml").code == 2
