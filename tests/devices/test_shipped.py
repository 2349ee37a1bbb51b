"""Devices that hwnas ships: what they say, what they are refused for, and how they are made."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwnas
from hwnas.devices.add import device_of_measurements
from hwnas.devices.fit import fit_tables
from hwnas.devices.groups import average_repeats
from hwnas.errors import HwnasError, HwnasWarning, InvalidInput
from hwnas.objectives import parse_objectives
from hwnas.problem import load_experiment
from hwnas.surrogates import Surrogate, surrogate
from hwnas.surrogates.device_file import DeviceFigure, DeviceFile, read_device_file
from hwnas.surrogates.device_library import (
    SHIPPED,
    device_folder,
    device_names,
    device_path,
    load_device,
    load_devices,
    shipped_devices,
    shipped_names,
)
from hwnas.surrogates.layer_layout import LayerLayout
from hwnas.surrogates.tables import AdditiveTable
from hwnas.surrogates.transfer import transfer
from hwnas.workloads import BUILT_IN

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import ship_devices  # noqa: E402
import workloads_rows  # noqa: E402

FIGURES = [
    pytest.param(device.name, figure, id=f"{device.name}-{figure.space.name}-{figure.quantity}")
    for device in shipped_devices().values()
    for figure in device.figures
]
SOURCES = {(source.device, source.space.name): source for source in ship_devices.sources()}
MEASURED = list(dict.fromkeys((name.values[0], name.values[1].space.name) for name in FIGURES))


@pytest.fixture(autouse=True)
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


# -- what ships ------------------------------------------------------------------------------------


def test_the_h100_ships() -> None:
    assert "h100-sxm" in shipped_names()
    quantities = {f.quantity for f in shipped_devices()["h100-sxm"].figures}
    parts = {f"{m}.{w}" for m in ("ttft", "tpot", "latency") for w in ("chat", "serve")}
    assert {"latency", *parts} <= quantities


@pytest.mark.parametrize("name", shipped_names())
def test_files_hold_numbers_alone(name: str) -> None:
    file = SHIPPED / f"{name}.npz"
    assert file.stat().st_size < 4_000_000
    with np.load(file, allow_pickle=False) as arrays:
        kinds = {key: arrays[key].dtype.kind for key in arrays}
    assert kinds.pop("about") == "U"
    assert set(kinds.values()) == {"f"}


@pytest.mark.parametrize(("name", "figure"), FIGURES)
def test_figures_say_how_they_were_measured(name: str, figure: DeviceFigure) -> None:
    assert figure.points >= ship_devices.MIN_NETWORKS
    assert figure.card
    assert figure.date
    assert figure.versions.startswith("torch ")
    assert figure.prior == "none"
    if figure.workload is None:  # its batch is that of the space
        assert f"one forward pass of {workloads_rows.FORWARD_BATCH[figure.space.name]} x 1024 " in (
            figure.protocol
        )
    else:
        assert figure.workload == BUILT_IN[figure.quantity.partition(".")[2]]


@pytest.mark.parametrize(("name", "figure"), FIGURES)
def test_predictions_are_within_the_stated_error(name: str, figure: DeviceFigure) -> None:
    group = ship_devices.measurements(SOURCES[name, figure.space.name], figure.quantity)
    assert group is not None
    predictions = figure.table.predict(LayerLayout(figure.space).pack(group.codes))
    # Values are off by their own error as well, which only repeated networks tell.
    repeats = average_repeats(group)
    noise = 0.0 if repeats.std is None else float(np.median(repeats.std / repeats.values))
    error = float(np.abs(predictions / group.values - 1).mean())
    assert error <= figure.error + noise
    # Times of a processor repeat less well than those of a GPU.
    assert figure.error < (0.08 if name.startswith("cpu") else 0.05)


@pytest.mark.parametrize(("device", "space"), MEASURED)
def test_files_follow_from_the_measurements(device: str, space: str) -> None:
    """If this fails after rows were merged: python benchmarks/ship_devices.py."""
    source = SOURCES[device, space]
    (figure,) = (
        f
        for f in shipped_devices()[device].figures
        if (f.space.name, f.quantity) == (space, "tpot.serve")
    )
    group = ship_devices.measurements(source, "tpot.serve")
    assert group is not None
    group = average_repeats(group)
    assert figure.points == len(group.codes)
    fit = fit_tables(group.space, group.codes, group.values, group.std)
    codes = group.space.sample(50, np.random.default_rng(0))
    predictions = figure.table.predict(LayerLayout(figure.space).pack(codes))
    # Versions of the fit differ by less than it is expected to be wrong.
    assert np.abs(predictions / fit.predict(codes) - 1).mean() < 0.5 * figure.error


@pytest.mark.parametrize(("device", "space"), MEASURED)
def test_fronts_are_exact(device: str, space: str) -> None:
    bench = surrogate(space)
    against = "perplexity" if bench.devices else "-params"
    names = [against, f"tpot.serve@{device}"]
    front = bench.front(names)
    assert front is not None
    assert front.epsilon == 0
    codes = bench.space.sample(2000, np.random.default_rng(0))
    losses = bench.predict(codes, [against.removeprefix("-"), names[1]])
    losses[:, 0] *= -1 if against.startswith("-") else 1
    for row in front.losses:  # no random network is better in both
        assert not (losses < row).all(axis=1).any()


# -- beside published devices and those of users ---------------------------------------------------


def test_published_names_have_no_workloads_and_ours_are_named() -> None:
    bench = surrogate("gpt-s")
    with pytest.raises(InvalidInput, match=r"h100: .* its tpot\.serve here; known: h100-sxm"):
        bench.front(["perplexity", "tpot.serve@h100"])
    with pytest.raises(HwnasError, match=r"unknown device 'h200'; did you mean 'h200-sxm'"):
        bench.front(["perplexity", "tpot.serve@h200"])
    with pytest.raises(HwnasError, match=r"tpot\.serve@cpu must be measured.* known.*: cpu-2core"):
        bench.front(["perplexity", "tpot.serve@cpu"])


def test_another_workload_of_a_name_is_an_error() -> None:
    experiment = {
        "name": "own",
        "space": "gpt-s",
        "objectives": ["perplexity", "tpot.serve@h100-sxm"],
        "optimizers": ["random"],
        "budget": {"evaluations": 10},
        "workloads": {"serve": {"prompt": 100, "generate": 100, "batch": 8}},
    }
    with pytest.raises(InvalidInput, match="serve: is built in as 64 requests at once"):
        load_experiment(experiment)
    bench = Surrogate(hwnas.space("gpt-s"), workloads={**BUILT_IN, "serve": BUILT_IN["chat"]})
    with pytest.raises(InvalidInput, match="its workload serve was 64 requests at once"):
        bench.front(["tpot.serve@h100-sxm"])
    assert bench.front(["tpot.chat@h100-sxm"]) is not None


def test_worst_ratios_and_transfer_carry_a_note() -> None:
    bench = surrogate("gpt-s")
    objectives = parse_objectives(["perplexity", "latency@h100+h100-sxm"])
    front = bench.front(objectives)
    assert front is not None
    assert front.epsilon == 0
    (note,) = bench.notes(objectives)
    assert "h100 as published by HW-GPT-Bench, h100-sxm as measured by hwnas" in note
    found = transfer(bench, ["latency@h100", "tpot.serve@h100-sxm"])
    assert found.notes[0].startswith("protocols differ: tpot.serve@h100-sxm as measured by hwnas")
    # The finding of the published workload: it says little of decoding.
    assert found.matrix("hypervolume")[0, 1] > 0.01


def test_quantiles_of_fits_are_told_from_those_of_requests() -> None:
    bench = surrogate("gpt-s")
    (note,) = bench.notes(parse_objectives(["tpot.serve@h100-sxm:p90", "latency@h100:p90"]))
    assert note == (
        "tpot.serve@h100-sxm:p90: on h100-sxm a quantile of the error of the fit, not of repeated "
        "requests"
    )


def test_a_run_names_the_device_and_resumes(tmp_path: Path) -> None:
    experiment = {
        "name": "ours",
        "space": "gpt-s-wide",
        "objectives": ["params", "tpot.serve@h100-sxm"],
        "optimizers": ["random"],
        "budget": {"evaluations": 20},
        "seeds": 1,
    }
    result = hwnas.run(experiment, tmp_path / "run", draw=False)
    assert "- h100-sxm" in (result.path / "experiment.yaml").read_text()
    again = hwnas.resume(result.path, overrides={"budget.evaluations": 25}, draw=False)
    assert again.summary[0]["evaluations"] == 25


def test_only_the_figures_of_a_space_are_read() -> None:
    file = SHIPPED / "h100-sxm.npz"
    whole, part = read_device_file(file), read_device_file(file, ("gpt-s",))
    assert {figure.space.name for figure in part.figures} == {"gpt-s"}
    names = [space.name for space in whole.spaces]
    assert [space.name for space in part.spaces] == names
    assert part.sha256 == whole.sha256
    small = hwnas.space({**hwnas.space("gpt-s").to_dict(), "name": "part", "n_layer": [10, 12]})
    assert {f.space.name for f in shipped_devices(small)["h100-sxm"].figures} == {"gpt-s"}


# -- names -----------------------------------------------------------------------------------------


def own_device(name: str) -> DeviceFile:
    space = hwnas.space("gpt-s")
    table = AdditiveTable.from_function(space, lambda codes: space.flops(codes) / 2.0**30)
    return DeviceFile(name, (DeviceFigure(space, "latency", table, 20, 0.01),), "0")


def test_a_file_of_that_name_changes_nothing(tmp_path: Path) -> None:
    assert load_device("h100-sxm").figures == shipped_devices()["h100-sxm"].figures
    assert load_devices(None) == {}
    expected = surrogate("gpt-s").range("latency@h100-sxm")
    device_folder().mkdir(parents=True)
    own_device("h100-sxm").write(device_folder() / "h100-sxm.npz")
    assert device_names() == ["h100-sxm"]
    with pytest.warns(HwnasWarning, match="left out: .* h100-sxm comes with hwnas"):
        bench = surrogate("gpt-s")
    assert bench.range("latency@h100-sxm") == expected
    own_device("h100-sxm").write(tmp_path / "h100-sxm.npz")
    with pytest.raises(InvalidInput, match="comes with hwnas, so it is neither added nor removed"):
        surrogate("gpt-s", devices=(str(tmp_path / "h100-sxm.npz"),))
    for name in ("h100-sxm", "H100-SXM"):
        with pytest.raises(InvalidInput, match="expected another name, such as"):
            device_path(name)
    yaml = tmp_path / "e.yaml"
    yaml.write_text(
        "name: e\nspace: gpt-s\nobjectives: [perplexity, latency@h100-sxm]\n"
        "optimizers: [random]\nbudget: {evaluations: 10}\n"
    )
    assert load_experiment(yaml)[0].backend.settings == {"devices": ["h100-sxm"]}


# -- how they are made -----------------------------------------------------------------------------


def write_rows(folder: Path, space: Any, n: int, card: str, seed: int = 0) -> None:
    """Rows whose times are exactly additive, in ms."""
    codes = space.sample(n, np.random.default_rng(seed))
    for arch, flops in zip(space.decode(codes), space.flops(codes) / 1e12, strict=True):
        row: dict[str, object] = dict.fromkeys(workloads_rows.COLUMNS, "")
        row |= {"arch": str(arch), "card": card, "torch": "2", "date": "2026-11-27", "seconds": 1}
        row |= {"forward": "8 x 1024 bfloat16", "chat": "", "serve": "", "latency": 3 * flops}
        row |= {"ttft.chat": flops, "tpot.chat": 2 * flops}
        workloads_rows.append_row(folder / f"{space.name}.csv", row)


def test_rows_become_devices(tmp_path: Path) -> None:
    """Known answer: additive times, of two GPUs in one file and a CPU in a folder of its own."""
    space = hwnas.space("gpt-s")
    rows = tmp_path / "rows"
    write_rows(rows, space, 30, "NVIDIA H100 80GB HBM3")
    write_rows(rows, space, 25, "NVIDIA H200", seed=1)
    write_rows(rows, space, 40, "an unknown card", seed=2)
    write_rows(rows / "cpu-2core", space, 22, "a CPU", seed=3)
    write_rows(rows / "cpu-2core", space, 21, "another CPU", seed=4)  # fewer: left out
    write_rows(rows, hwnas.space("gpt-xl"), 19, "NVIDIA H200")  # too few
    out, page = tmp_path / "out", tmp_path / "page.md"
    out.mkdir()
    ship_devices.main(["--rows", str(rows), "--out", str(out), "--to", str(page)])
    counts = {"cpu-2core": 22, "h100-sxm": 30, "h200-sxm": 25}
    assert sorted(file.stem for file in out.iterdir()) == list(counts)
    codes = LayerLayout(space).pack(space.sample(100, np.random.default_rng(9)))
    flops = space.flops(space.sample(100, np.random.default_rng(9))) / 1e12
    for name, count in counts.items():
        device = read_device_file(out / f"{name}.npz")
        figures = {figure.quantity: figure for figure in device.figures}
        assert set(figures) == {"latency", "ttft.chat", "tpot.chat", "latency.chat"}
        whole = figures["latency.chat"]
        assert whole.points == count
        assert whole.workload == BUILT_IN["chat"]
        np.testing.assert_allclose(whole.table.predict(codes), 511 * flops, rtol=0.01)
        assert ("CUDA graphs" in figures["latency"].protocol) == (name != "cpu-2core")
    assert "Spaces with too few networks yet: gpt-xl." in page.read_text()


def test_two_cores_are_measured_on_a_quiet_machine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    import cpu_device

    calls: list[dict[str, Any]] = []
    cores: list[Any] = []
    monkeypatch.setattr(cpu_device, "measure", lambda names, **k: calls.append({**k, "n": names}))
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2, 3})
    monkeypatch.setattr("os.sched_setaffinity", lambda pid, chosen: cores.append(chosen))
    monkeypatch.setattr(torch, "set_num_threads", cores.append)
    monkeypatch.setattr("os.getloadavg", lambda: (1.0, 0.0, 0.0))
    with pytest.raises(SystemExit, match=r"the machine is busy: its load is 1\.00"):
        cpu_device.main([])
    monkeypatch.setattr("os.getloadavg", lambda: (0.1, 0.0, 0.0))
    cpu_device.main(["gpt-s", "--count", "30"])
    assert cores == [[0, 1], 2]
    assert calls[0]["n"] == ["gpt-s"]
    assert calls[0]["count"] == 30
    # Rows of GPUs in the folder above do not count as measured.
    assert calls[0]["out"] == calls[0]["reference"] == workloads_rows.FOLDER / "cpu-2core"


def test_a_shipped_file_that_was_tampered_with_is_refused(tmp_path: Path) -> None:
    """A stranger's file of a shipped device: no more than numbers, under checked names."""
    with zipfile.ZipFile(SHIPPED / "h100-sxm.npz") as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    about = json.loads(str(np.load(io.BytesIO(content["about.npy"]))))
    about["figures"][0]["prior"] = "\x1b[2J"
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.array(json.dumps(about)))
    with zipfile.ZipFile(tmp_path / "bad.npz", "w") as archive:
        for name, data in {**content, "about.npy": stream.getvalue()}.items():
            archive.writestr(name, data)
    with pytest.raises(InvalidInput, match="expected a short text"):
        read_device_file(tmp_path / "bad.npz")


def test_a_fit_says_what_it_began_from(tmp_path: Path) -> None:
    """Six networks of a device like the published ones: they help, and the figure says so."""
    bench = surrogate("gpt-s")
    codes = bench.space.sample(8, np.random.default_rng(0))
    values = 1.3 * bench.predict(codes, ["latency@a100"])[:, 0]
    rows = [f"{a},{v}" for a, v in zip(bench.space.decode(codes), values, strict=True)]
    file = tmp_path / "m.csv"
    file.write_text("arch,latency\n" + "\n".join(rows))
    device = device_of_measurements("mine", [file])
    text = device.figures[0].prior
    assert int(text.removeprefix("other devices, ").removesuffix("%")) > 50
    device.write(tmp_path / "mine.npz")
    assert read_device_file(tmp_path / "mine.npz").figures[0].prior == text
