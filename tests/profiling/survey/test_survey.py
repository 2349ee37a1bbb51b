from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.backends import Metric
from hwnas.devices.design import anchor, survey_design
from hwnas.errors import InvalidInput, UnknownName
from hwnas.profiling import device_profiler, measurement_log
from hwnas.profiling.device_profiler import DeviceProfiler, Measurement
from hwnas.profiling.errors import OutOfMemory
from hwnas.profiling.gpt import GPT
from hwnas.profiling.meters.forward_pass import PassSettings, environment, resolve_protocol
from hwnas.profiling.meters.latency import Latency
from hwnas.profiling.meters.memory import PeakMemory
from hwnas.profiling.meters.nvml import GpuState
from hwnas.profiling.survey import survey as survey_module
from hwnas.profiling.survey.columns import csv_columns, resolve_metrics
from hwnas.profiling.survey.drift import Drift, Summary
from hwnas.profiling.survey.survey import run_survey
from hwnas.spaces import GPTSpace, LanguageModelSpace, LlamaSpace, SearchSpace
from hwnas.spaces.architecture import Architecture
from hwnas.workloads import Workload

CHOICES: dict[str, Any] = {
    "embed_dim": [16, 32],
    "n_layer": [1, 2, 3],
    "mlp_ratio": [1, 2],
    "n_head": [1, 2],
    "head_size": 4,
    "context": 16,
    "vocab_size": 50,
}
SPACE = GPTSpace("tiny", **CHOICES)
LLAMA = LlamaSpace(
    "tiny",
    embed_dim=[16, 32],
    n_layer=[1, 2],
    mlp_dim=[0, 64],
    n_head=[2, 4],
    n_kv_head=[1, 2],
    head_size=4,
    context=16,
    vocab_size=50,
)
BOTH = ["latency", "memory"]
TIMES = ("time", "seconds")
PASSES = PassSettings(batch_size=2, threads=1)


class Fake:
    """CPU whose latency and memory are functions of the number of parameters.

    Parameters
    ----------
    failing
        Function that returns whether a measurement of an architecture runs out of memory.
    dies_at
        Index of the measurement at which the process is interrupted.
    """

    device, name = torch.device("cpu"), "cpu"
    workloads: dict[str, Workload] = {}  # noqa: RUF012
    energy_within, max_seconds = 0.03, 10.0
    metrics = {"latency@cpu": Metric("ms", quantiles=True), "peak_memory@cpu": Metric("MB")}  # noqa: RUF012
    missing = {"energy@cpu": "the processor's energy cannot be read: no RAPL"}  # noqa: RUF012

    def __init__(
        self,
        passes: PassSettings = PASSES,
        within: float = 0.01,
        failing: Callable[[Architecture, str], bool] = lambda arch, measure: False,
        dies_at: int | None = None,
    ) -> None:
        self.passes, self.within = passes, within
        self.failing, self.dies_at = failing, dies_at
        self.log: list[tuple[str, str]] = []

    def build_model(self, space: SearchSpace, arch: Architecture, *, seed: int = 0) -> GPT:
        if self.failing(arch, "built"):
            raise OutOfMemory(f"building {arch}: not enough memory\non cpu")
        return GPT(arch, head_size=space.head_size, context=space.context, device="meta")

    def release(self) -> None:
        pass

    def measure(self, model: GPT, measure: str) -> Measurement:
        if len(self.log) == self.dies_at:
            raise KeyboardInterrupt
        self.log.append((str(model.arch), measure))
        if self.failing(model.arch, measure):
            raise OutOfMemory(f"measuring {model.arch}: not enough memory")
        context = resolve_protocol(model, self.passes), environment(self.device)
        if measure == "peak_memory":
            return Measurement(
                model.params / 7, 0.0, PeakMemory(model.params / 7, None, 1.0, *context)
            )
        ms = model.params / 3
        state = GpuState(1000 + model.arch.embed_dim, None, 40 + model.arch.n_layer, None, ())
        states = (
            replace(state, temperature=9),
            state,
            replace(state, clock=None, temperature=None),
        )
        samples = np.array([ms, ms, 2 * ms])
        return Measurement(
            ms, 0.5, Latency(ms, 0, 0, (0, 0), 3, True, True, 9, 0, states, *context, samples)
        )


def survey_with_fake(
    file: Path, profiler: Any = None, metrics: list[str] = BOTH, **options: Any
) -> Summary:
    settings = {"space": SPACE, "count": 5, "anchor_every": 2, **options}
    space = settings.pop("space")
    return run_survey(space, profiler or Fake(), metrics, file, **settings)


def rows_in(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def timeless(file: Path) -> tuple[list[dict[str, str]], list[Any]]:
    """All that must be the same of two surveys: rows without times, and records."""
    rows = [{k: v for k, v in row.items() if k not in TIMES} for row in rows_in(file)]
    return rows, measurement_log.read(file.with_suffix(".jsonl"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tiny.csv"


# -- measurements --------------------------------------------------------------------------------


def test_rows(file: Path) -> None:
    profiler = Fake()
    counts: list[int] = []
    survey_with_fake(file, profiler, report=lambda row, count: counts.append(count))
    rows = rows_in(file)
    assert [row["role"][0] for row in rows] == list("addaddada")
    assert [row["number"] for row in rows] == [str(i) for i in range(9)]
    assert counts == [0, 1, 2, 2, 3, 4, 4, 5, 5]
    design = SPACE.decode(survey_design(SPACE, 5, np.random.default_rng(0)))
    assert [row["arch"] for row in rows if row["role"] == "design"] == list(map(str, design))
    middle = str(SPACE.decode(anchor(SPACE)[None])[0])
    assert {row["arch"] for row in rows if row["role"] == "anchor"} == {middle}
    assert profiler.log == [(r["arch"], m) for r in rows for m in ("latency", "peak_memory")]


def test_columns_of_a_row(file: Path) -> None:
    survey_with_fake(file)
    row = rows_in(file)[1]
    assert list(row) == [
        *("number", "role", "arch", "latency@cpu", "latency@cpu std", "latency@cpu p90"),
        *("peak_memory@cpu", "seconds", "time", "status", "reason", "imprecise", "device_name"),
        *("torch", "driver", "mode", "precision", "batch_size", "tokens", "threads", "clock_mhz"),
        "temperature_c",
    ]
    arch = Architecture.parse(row["arch"])
    params = GPT(arch, head_size=4, context=16, device="meta").params
    assert float(row["latency@cpu"]) == params / 3  # to the last bit
    assert float(row["latency@cpu p90"]) == pytest.approx(1.8 * params / 3)
    assert (row["latency@cpu std"], row["peak_memory@cpu"]) == ("0.5", str(params / 7))
    assert (row["status"], row["reason"], row["driver"]) == ("ok", "", "")
    assert (row["torch"], row["mode"], row["precision"]) == (torch.__version__, "eager", "float32")
    assert (row["batch_size"], row["tokens"], row["threads"]) == ("2", "16", "1")
    assert row["clock_mhz"] == str(1000 + arch.embed_dim)
    assert row["temperature_c"] == str(40 + arch.n_layer)
    assert row["time"].endswith("+00:00")
    assert float(row["seconds"]) >= 0


def test_records(file: Path) -> None:
    survey_with_fake(file)
    header, *records = measurement_log.read(file.with_suffix(".jsonl"))
    assert header["asked"]["space"] == "tiny"
    assert header["asked"]["metrics"] == ["latency@cpu", "peak_memory@cpu"]
    for record, row in zip(records, rows_in(file), strict=True):
        assert {key: str(record[key]) for key in ("number", "role", "arch", "reason")} == {
            key: row[key] for key in ("number", "role", "arch", "reason")
        }
        latency = record["measured"]["latency@cpu"]
        assert latency["median"] == float(row["latency@cpu"])
        assert latency["protocol"]["tokens"] == 16


def test_the_summary(file: Path) -> None:
    summary = survey_with_fake(file)
    assert (summary.measured, summary.failed) == (5, 0)
    first = rows_in(file)[0]
    value = float(first["latency@cpu"])
    assert summary.drifts[0] == Drift("latency@cpu", "ms", 4, value, value, 0)
    assert summary.drifts[1].metric == "peak_memory@cpu"


def test_metrics() -> None:
    profiler: Any = Fake()
    assert resolve_metrics(profiler, ["memory", "latency"]) == ["latency@cpu", "peak_memory@cpu"]
    assert resolve_metrics(profiler, ["peak_memory@cpu"]) == resolve_metrics(
        profiler, ["peak_memory"]
    )
    assert csv_columns(["energy@cuda:1"])[3:6] == ["energy@cuda:1", "energy@cuda:1 std", "seconds"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"metrics": ["latency", "energy"]}, "energy@cpu: leave it out, .*: the proc.*no RAPL"),
        ({"metrics": ["energy@cpu"]}, "energy@cpu: leave it out, .*: the proc.*no RAPL"),
        ({"metrics": ["latncy"]}, "unknown metric 'latncy'; did you mean 'latency'"),
        ({"metrics": ["latency@cuda"]}, "unknown metric 'latency@cuda'; did you mean"),
        ({"metrics": ["memory", "peak_memory@cpu"]}, "expected distinct metrics, found memory, pe"),
        ({"metrics": []}, "expected distinct metrics, found none"),
        ({"count": 1000}, "expected at most 336 architectures, the size of tiny, found 1000"),
        ({"count": 0}, "expected a positive number of architectures, found 0"),
        ({"anchor_every": 0}, "anchor_every: expected an integer of at least 1, found 0"),
        ({"seed": -1}, "seed: expected an integer of at least 0, found -1"),
        ({"profiler": Fake(PassSettings(tokens=17))}, "tokens: expected at most 16"),
        ({"profiler": Fake(PassSettings(mode="graph"))}, "mode: graph needs a CUDA device"),
        ({"file": "tiny.txt"}, r"tiny\.txt: expected a name that ends in \.csv"),
    ],
)
def test_invalid_arguments_fail_before_measuring(
    tmp_path: Path, wrong: dict[str, Any], message: str
) -> None:
    profiler = wrong.setdefault("profiler", Fake())
    file = tmp_path / wrong.pop("file", "tiny.csv")
    with pytest.raises(InvalidInput, match=message):
        survey_with_fake(file, **wrong)
    assert not profiler.log
    assert not list(tmp_path.iterdir())


def test_an_unknown_metric_is_an_unknown_name() -> None:
    profiler: Any = Fake()
    with pytest.raises(UnknownName):
        resolve_metrics(profiler, ["perplexity"])


# -- failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("failing", ["built", "latency", "peak_memory"])
def test_failed_architecture_is_a_row(file: Path, failing: str) -> None:
    fake = Fake(failing=lambda arch, measure: measure == failing and arch.embed_dim == 16)
    summary = survey_with_fake(file, fake)
    rows = rows_in(file)
    failed = [row for row in rows if row["status"] == "failed"]
    design = [row for row in rows if row["role"] == "design"]
    assert failed
    assert all(row["arch"].split("-")[2] == "16" and row in design for row in failed)
    assert (summary.measured, summary.failed) == (5 - len(failed), len(failed))
    for row in failed:
        assert f"{row['arch']}: not enough memory" in row["reason"]
        assert bool(row["latency@cpu"]) == (failing == "peak_memory")
        assert not row["peak_memory@cpu"]
        assert row["device_name"]


def test_failure_without_a_message(file: Path) -> None:
    class Mute(Fake):
        def measure(self, model: GPT, measure: str) -> Measurement:
            raise OutOfMemory

    survey_with_fake(file, Mute())
    assert {(row["status"], row["reason"]) for row in rows_in(file)} == {("failed", "OutOfMemory")}


def test_failed_anchor(file: Path) -> None:
    summary = survey_with_fake(file, Fake(failing=lambda arch, measure: arch.embed_dim == 32))
    assert len(rows_in(file)) == 9
    assert summary.drifts[0].count == 0
    assert math.isnan(summary.drifts[0].minimum)


# -- continuation --------------------------------------------------------------------------------


@settings(deadline=None, max_examples=12)
@given(st.data())
def test_killed_survey_continues(data: st.DataObject) -> None:
    """Cut anywhere: in a row, between a record and its row, in a record."""
    settings = {
        "count": data.draw(st.integers(1, 7)),
        "anchor_every": data.draw(st.integers(1, 4)),
        "seed": data.draw(st.integers(0, 3)),
        "profiler": Fake(failing=lambda arch, measure: arch.n_layer == 1),
    }
    with TemporaryDirectory() as folder:
        file, uncut = Path(folder) / "cut.csv", Path(folder) / "uncut.csv"
        survey_with_fake(uncut, **settings)
        rows = uncut.read_bytes()
        lines = uncut.with_suffix(".jsonl").read_bytes().splitlines(keepends=True)
        cut = rows[: data.draw(st.integers(0, len(rows)))]
        n_rows = max(cut.count(b"\n") - 1, 0)
        next_record = b"".join(lines[n_rows + 1 : n_rows + 2])  # the record comes before its row
        n_written = (
            len(next_record)
            if len(cut) > cut.rfind(b"\n") + 1
            else data.draw(st.integers(0, len(next_record)))
        )
        file.write_bytes(cut)
        file.with_suffix(".jsonl").write_bytes(
            b"".join(lines[: n_rows + 1]) + next_record[:n_written]
        )
        assert (
            survey_with_fake(file, **settings).drifts == survey_with_fake(uncut, **settings).drifts
        )
        assert timeless(file) == timeless(uncut)
        assert file.read_bytes().startswith(cut[: cut.rfind(b"\n") + 1])


@pytest.mark.parametrize("dies_at", [0, 1, 6])
def test_interrupted_survey_continues(file: Path, tmp_path: Path, dies_at: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        survey_with_fake(file, Fake(dies_at=dies_at))
    assert len(rows_in(file)) == dies_at // 2
    survey_with_fake(file, profiler := Fake())
    assert len(profiler.log) == 2 * 9 - dies_at // 2 * 2
    survey_with_fake(tmp_path / "whole.csv")
    assert timeless(file) == timeless(tmp_path / "whole.csv")


def test_complete_survey_is_not_changed(file: Path) -> None:
    first = survey_with_fake(file)
    content = file.read_bytes()
    repeated = survey_with_fake(file, profiler := Fake(), count=3)
    assert (profiler.log, file.read_bytes()) == ([], content)
    assert repeated == first


def test_survey_continues_to_a_larger_count(file: Path, tmp_path: Path) -> None:
    survey_with_fake(file, count=3)
    first_rows = rows_in(file)
    survey_with_fake(file, count=6)
    rows = rows_in(file)
    assert rows[: len(first_rows)] == first_rows
    assert [row["role"][0] for row in rows] == list("addadaddada")
    survey_with_fake(tmp_path / "whole.csv", count=6)
    uninterrupted = rows_in(tmp_path / "whole.csv")
    designs = [
        [row["arch"] for row in run if row["role"] == "design"] for run in (rows, uninterrupted)
    ]
    assert designs[0] == designs[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": GPTSpace("other", **CHOICES)}, "space tiny, not other; use its settings"),
        ({"space": GPTSpace("tiny", **{**CHOICES, "n_head": [1, 4]})}, r"n_head \[1, 2\], not"),
        ({"seed": 1}, "seed 0, not 1; use its settings, or choose another with --out"),
        ({"anchor_every": 3}, "anchor_every 2, not 3"),
        ({"metrics": ["latency"]}, r"metrics \['latency@cpu', 'peak_memory@cpu'\], not \['latenc"),
        ({"profiler": Fake(within=0.02)}, "within 0.01, not 0.02"),
        (
            {"profiler": Fake(replace(PASSES, batch_size=4, tokens=8))},
            "batch_size 2, not 4; tokens 16",
        ),
        ({"profiler": Fake(replace(PASSES, threads=2))}, "threads 1, not 2"),
        (
            {"profiler": Fake(replace(PASSES, precision="bfloat16"))},
            "precision float32, not bfloat16",
        ),
    ],
)
def test_other_settings_are_refused(file: Path, options: dict[str, Any], message: str) -> None:
    survey_with_fake(file)
    content = timeless(file)
    profiler = options.setdefault("profiler", Fake())
    with pytest.raises(InvalidInput, match=message):
        survey_with_fake(file, **options)
    assert not profiler.log
    assert timeless(file) == content


def test_equivalent_settings_continue(file: Path) -> None:
    survey_with_fake(file)
    same = PassSettings(batch_size=2, tokens=16, precision="float32", mode="eager")
    survey_with_fake(file, profiler := Fake(same), ["peak_memory@cpu", "latency@cpu"])
    assert not profiler.log


def test_other_machine_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    survey_with_fake(file)
    machine = environment(torch.device("cpu"))
    other_machine = replace(machine, device_name="Z80", torch="0.1")
    monkeypatch.setattr(survey_module, "environment", lambda device: other_machine)
    with pytest.raises(InvalidInput, match=r"device_name .*, not Z80; torch .*, not 0\.1; use"):
        survey_with_fake(file)


def test_row_of_another_architecture_is_refused(file: Path) -> None:
    survey_with_fake(file)
    text = file.read_text().splitlines(keepends=True)
    arch = text[3].split(",")[2]
    file.write_text("".join([*text[:2], text[2].replace(text[2].split(",")[2], arch), *text[3:]]))
    with pytest.raises(InvalidInput, match=rf"tiny\.csv: line 3: expected tiny-.*, found {arch}"):
        survey_with_fake(file)


# -- a real measurement --------------------------------------------------------------------------


@pytest.mark.parametrize("space", [SPACE, LLAMA], ids=["gpt", "llama"])
def test_survey_of_this_machine(
    space: LanguageModelSpace, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = partial(device_profiler.latency, warm_up_seconds=0.1, max_seconds=0.5)
    monkeypatch.setattr(device_profiler, "latency", quick)
    profiler = DeviceProfiler(
        device="cpu", passes=PassSettings(batch_size=1, threads=1), within=1.0
    )
    summary = run_survey(space, profiler, ["latency"], file, count=1)
    assert [row["role"] for row in rows_in(file)] == ["anchor", "design", "anchor"]
    assert summary.measured == 1
    assert all(0 < float(row["latency@cpu"]) < 1000 for row in rows_in(file))
    content = file.read_bytes()
    assert run_survey(space, profiler, ["latency"], file, count=1) == summary
    assert file.read_bytes() == content


def test_records_are_json(file: Path) -> None:
    survey_with_fake(file, Fake(failing=lambda arch, measure: measure == "latency"))
    for line in file.with_suffix(".jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)
