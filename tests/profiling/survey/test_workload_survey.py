"""Surveys of the metrics of workloads, measured on a CPU."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from hwnas.errors import InvalidInput, UnknownName
from hwnas.profiling import measurement_log
from hwnas.profiling.device_profiler import DeviceProfiler
from hwnas.profiling.meters.forward_pass import PassSettings
from hwnas.profiling.survey.columns import csv_columns, default_metrics, resolve_metrics
from hwnas.profiling.survey.drift import describe_row, summarize
from hwnas.profiling.survey.survey import run_survey
from hwnas.spaces import GPTSpace
from hwnas.workloads import Workload

SPACE = GPTSpace(
    "tiny",
    embed_dim=[16, 32],
    n_layer=[1, 2],
    mlp_ratio=[1, 2],
    n_head=[1, 2],
    head_size=4,
    context=16,
    vocab_size=50,
)
WORKLOADS = {
    "talk": Workload(prompt=6, generate=5, batch=1, precision="float32"),
    "many": Workload(prompt=4, generate=3, batch=3, precision="float32"),
}
TIMES = ["ttft", "tpot"]


def create_profiler(**options: Any) -> DeviceProfiler:
    passes = PassSettings(batch_size=1, threads=1)
    settings = {"within": 0.9, "max_seconds": 0.05, "workloads": WORKLOADS, **options}
    return DeviceProfiler(device="cpu", passes=passes, **settings)


def rows_in(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_survey_of_workloads_continues(tmp_path: Path) -> None:
    file = tmp_path / "it.csv"
    run_survey(SPACE, create_profiler(), TIMES, file, count=2)
    first = rows_in(file)
    summary = run_survey(SPACE, create_profiler(), TIMES, file, count=3)
    rows = rows_in(file)
    assert rows[: len(first)] == first
    assert summary.measured == 3
    names = ["ttft.talk@cpu", "tpot.talk@cpu", "ttft.many@cpu", "tpot.many@cpu"]
    assert [name for name in rows[0] if "." in name and " " not in name] == names
    for row in rows:
        assert all(float(row[name]) > 0 and float(row[f"{name} std"]) >= 0 for name in names)
        # What belongs to a forward pass is empty.
        assert (row["batch_size"], row["tokens"], row["precision"]) == ("", "", "")
        assert (row["mode"], row["status"]) == ("eager", "ok")
    header, *records = measurement_log.read(file.with_suffix(".jsonl"))
    assert header["asked"]["workloads"]["many"]["batch"] == 3
    protocol = records[0]["measured"]["tpot.many@cpu"]["protocol"]
    assert (protocol["prompt"], protocol["generate"], protocol["batch"]) == (4, 3, 3)


def test_other_workloads_are_another_survey(tmp_path: Path) -> None:
    file = tmp_path / "it.csv"
    run_survey(SPACE, create_profiler(), ["ttft.talk"], file, count=1)
    longer = {**WORKLOADS, "talk": Workload(prompt=7, generate=5, batch=1, precision="float32")}
    with pytest.raises(InvalidInput, match="contains a survey with workloads"):
        run_survey(SPACE, create_profiler(workloads=longer), ["ttft.talk"], file, count=1)


def test_names_of_metrics() -> None:
    profiler: Any = create_profiler()
    both = ["tpot.talk@cpu", "tpot.many@cpu"]
    assert resolve_metrics(profiler, ["tpot"]) == both
    assert resolve_metrics(profiler, ["tpot.many", "tpot.talk@cpu"]) == both
    assert resolve_metrics(profiler, ["latency"]) == ["latency.talk@cpu", "latency.many@cpu"]
    assert resolve_metrics(profiler, ["latency@cpu", "tpot.talk"]) == ["latency@cpu", both[0]]
    assert csv_columns(["tpot.talk@cpu", "peak_memory.talk@cpu"])[3:7] == [
        *("tpot.talk@cpu", "tpot.talk@cpu std", "peak_memory.talk@cpu", "seconds")
    ]
    names = default_metrics(profiler)
    assert names[:2] == ["ttft.talk@cpu", "tpot.talk@cpu"]
    assert "latency@cpu" not in names
    assert "latency@cpu" in default_metrics(create_profiler(workloads={}))  # type: ignore[arg-type]
    with pytest.raises(
        UnknownName, match=r"unknown metric 'tpot\.tlak'; did you mean 'tpot\.talk'"
    ):
        resolve_metrics(profiler, ["tpot.tlak"])
    with pytest.raises(InvalidInput, match="expected distinct metrics"):
        resolve_metrics(profiler, ["tpot", "tpot.many"])


def test_imprecise_values_are_marked(tmp_path: Path) -> None:
    file = tmp_path / "it.csv"
    lines: list[str] = []
    profiler = create_profiler(within=1e-9, max_seconds=0.02)
    summary = run_survey(
        SPACE,
        profiler,
        ["tpot.talk"],
        file,
        count=1,
        report=lambda row, n: lines.append(describe_row(row, {"tpot.talk@cpu": "ms"})),
    )
    rows = rows_in(file)
    assert {row["imprecise"] for row in rows} == {"tpot.talk@cpu"}
    assert all(" ms (imprecise), " in line for line in lines)
    assert summary.imprecise == len(rows) == 3
    assert str(summary).endswith("; 3 values missed the requested precision (column imprecise)")
    precise = [{**row, "imprecise": ""} for row in rows]
    assert "missed" not in str(summarize(precise, {"tpot.talk@cpu": "ms"}))


def test_a_file_of_an_earlier_version_continues(tmp_path: Path) -> None:
    """Files without the column of imprecise values are continued without it."""
    file = tmp_path / "it.csv"
    run_survey(SPACE, create_profiler(), ["ttft.talk"], file, count=1)
    rows = rows_in(file)
    with file.open("w", newline="") as stream:
        header = [name for name in rows[0] if name != "imprecise"]
        writer = csv.DictWriter(stream, header, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    run_survey(SPACE, create_profiler(), ["ttft.talk"], file, count=2)
    assert list(rows_in(file)[-1]) == header
    assert len(rows_in(file)) > len(rows)
