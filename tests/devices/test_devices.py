"""Devices of users: from measurements to exact fronts, and what is refused on the way."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hwnas
from hwnas.devices.add import device_of_measurements
from hwnas.errors import HwnasWarning, InvalidInput, UnknownName
from hwnas.objectives import Objective, parse_objectives
from hwnas.pareto import non_dominated
from hwnas.problem import load_experiment
from hwnas.runner.evaluation import measure
from hwnas.spaces import LanguageModelSpace
from hwnas.surrogates import Surrogate, surrogate
from hwnas.surrogates.device_file import (
    DeviceFigure,
    DeviceFile,
    check_device_name,
    read_device_file,
)
from hwnas.surrogates.device_library import (
    device_names,
    device_path,
    load_device,
    shipped_names,
)
from hwnas.surrogates.tables import AdditiveTable
from hwnas.workloads import BUILT_IN

TINY = {"name": "tiny", "embed_dim": [64, 128], "n_layer": [2, 3], "mlp_ratio": [1, 2]}
SPACES: list[Any] = [
    "gpt-s",
    "gpt-xl",
    "gpt-s-wide",
    "llama-s",
    {**TINY, "n_head": [1, 2]},
    {**TINY, "n_head": [1, 2], "bias": [False], "precision": ["bfloat16", "int8"]},
]
SMALL_LLAMA = {
    "family": "llama",
    "name": "small",
    "embed_dim": [64, 128],
    "n_layer": [2, 3],
    "mlp_dim": [0, 64],
    "n_head": [0, 1, 2],
    "n_kv_head": [1, 2],
}


@pytest.fixture(autouse=True)
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


def language_models(source: Any) -> LanguageModelSpace:
    space = hwnas.space(source)
    assert isinstance(space, LanguageModelSpace)
    return space


def write_csv(path: Path, source: Any, n: int = 20, column: str = "latency", seed: int = 0) -> Path:
    """Measurements that are exactly additive: the operations of a forward pass."""
    space = language_models(source)
    codes = space.sample(n, np.random.default_rng(seed))
    values = space.flops(codes) / 1e10
    rows = [f"{a},{v!r}" for a, v in zip(space.decode(codes), values.tolist(), strict=True)]
    path.write_text(f"arch,{column}\n" + "\n".join(rows) + "\n")
    return path


def known_device(source: Any, name: str = "mine") -> DeviceFile:
    """A device whose latency is known exactly."""
    space = language_models(source)
    table = AdditiveTable.from_function(space, lambda codes: space.flops(codes) / 2.0**30)
    second = AdditiveTable.from_function(space, lambda codes: space.params(codes) / 2.0**20)
    workload = BUILT_IN["serve"]
    figures = (
        DeviceFigure(space, "latency", table, 20, 0.01, card="a card"),
        DeviceFigure(space, "tpot.serve", second, 20, 0.01, workload=workload),
    )
    return DeviceFile(name, figures, "0")


def add_known(source: Any, name: str = "mine") -> None:
    known_device(source, name).write(device_path(name))


@pytest.mark.parametrize("source", SPACES, ids=str)
def test_a_device_file_keeps_every_number(source: Any, tmp_path: Path) -> None:
    device = known_device(source)
    device.write(tmp_path / "mine.npz")
    read = load_device(str(tmp_path / "mine.npz"))
    for one, other in zip(device.figures, read.figures, strict=True):
        assert one.space.to_dict() == other.space.to_dict()
        np.testing.assert_array_equal(one.table.base, other.table.base)
        np.testing.assert_array_equal(one.table.layers, other.table.layers)
        assert (one.quantity, one.workload, one.card) == (
            other.quantity,
            other.workload,
            other.card,
        )


@pytest.mark.parametrize("source", SPACES, ids=str)
def test_predictions_are_those_of_the_table(source: Any) -> None:
    space = language_models(source)
    add_known(source)
    bench = surrogate(space)
    codes = space.sample(200, np.random.default_rng(1))
    found = bench.predict(codes, ["latency@mine", "tpot.serve@mine", "params"])
    np.testing.assert_allclose(found[:, 0], space.flops(codes) / 2.0**30, rtol=1e-12)
    np.testing.assert_allclose(found[:, 1], space.params(codes) / 2.0**20, rtol=1e-12)
    np.testing.assert_array_equal(found[:, 2], space.params(codes))


@pytest.mark.parametrize("source", [{**TINY, "n_head": [1, 2]}, SPACES[-1], SMALL_LLAMA], ids=str)
def test_fronts_are_exact(source: Any) -> None:
    """Known answer: all members of the space, the choices of whose layers are not all allowed."""
    add_known(source)
    bench = surrogate(hwnas.space(source))
    names = ["latency@mine", "-tpot.serve@mine"]
    front = bench.front(names)
    assert front is not None
    assert bench.space.is_valid(front.codes).all()
    codes = np.concatenate(list(bench.space.enumerate()))
    losses = bench.predict(codes, ["latency@mine", "tpot.serve@mine"]) * [1, -1]
    expected = np.unique(losses[non_dominated(losses)], axis=0)
    np.testing.assert_array_equal(np.unique(front.values * [1, -1], axis=0), expected)
    low, high = bench.range("latency@mine")
    assert (low, high) == (losses[:, 0].min(), losses[:, 0].max())


def test_a_space_that_is_cut_down_has_the_same_values() -> None:
    add_known("gpt-s")
    whole, part = surrogate("gpt-s"), hwnas.space("gpt-s").to_dict()
    part |= {"name": "gpt-s", "embed_dim": [384, 768], "n_layer": [11], "n_head": [4, 12]}
    bench = surrogate(hwnas.space(part))
    codes = bench.space.sample(50, np.random.default_rng(0))
    same = whole.space.encode(bench.space.decode(codes))
    np.testing.assert_array_equal(
        bench.predict(codes, ["latency@mine"]), whole.predict(same, ["latency@mine"])
    )


def test_measurements_become_a_device(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "m.csv", "gpt-s", 30, "tpot.serve@cuda")
    other = write_csv(tmp_path / "l.csv", "llama-s", 30)
    device = device_of_measurements("mine", [file, other])
    assert [(f.space.name, f.quantity, f.points) for f in device.figures] == [
        ("gpt-s", "tpot.serve", 30),
        ("llama-s", "latency", 30),
    ]
    assert all(figure.error < 0.01 for figure in device.figures)
    assert device.figures[0].workload == BUILT_IN["serve"]
    device.write(device_path("mine"))
    bench = surrogate("gpt-s")
    codes = bench.space.sample(100, np.random.default_rng(5))
    expected = bench.predict(codes, ["flops"]) / 1e10
    np.testing.assert_allclose(bench.predict(codes, ["tpot.serve@mine"]), expected, rtol=0.02)


def test_metrics_with_too_few_points_are_left_out(tmp_path: Path) -> None:
    few = write_csv(tmp_path / "few.csv", "gpt-s", 5)
    enough = write_csv(tmp_path / "enough.csv", "gpt-s", 8, "energy")
    with pytest.raises(InvalidInput, match=r"at least 6 different.*found 5.*hwnas profile"):
        device_of_measurements("mine", [few])
    with pytest.warns(HwnasWarning, match="left out: latency on gpt-s"):
        device = device_of_measurements("mine", [few, enough])
    assert [figure.quantity for figure in device.figures] == ["energy"]


@pytest.mark.parametrize(
    "name", ["h100", "H100", "p100", "cpu", "CUDA", "../x", "a b", "", "x" * 65]
)
def test_names_that_are_taken_or_no_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        check_device_name(name)


ARCH = "gpt-s-1-192-2-4-True"
GOOD = "gpt-s-10-192-2-2-2-2-2-2-2-2-2-2-4-4-4-4-4-4-4-4-4-4-True"


@pytest.mark.parametrize("column", ["card", "device_name"])
def test_cards_are_not_mixed(tmp_path: Path, column: str) -> None:
    """Two cards in one file, in two files, and beside rows that do not name theirs."""
    slow, fast = (write_csv(tmp_path / f"{k}.csv", "gpt-s", 20, seed=k) for k in range(2))
    header, *rows = slow.read_text().splitlines()
    other = fast.read_text().splitlines()[1:]
    both = tmp_path / "both.csv"
    lines = [f"{header},{column}", *(f"{row},A" for row in rows), *(f"{row},B" for row in other)]
    both.write_text("\n".join(lines))
    with pytest.raises(InvalidInput, match=r"2 cards, A \(20 values\), B .*--card 'A'"):
        device_of_measurements("mine", [both])
    with pytest.raises(InvalidInput, match=r"expected a card .*, A \(20.*found C"):
        device_of_measurements("mine", [both], card="C")
    chosen = device_of_measurements("mine", [both], card="B").figures[0]
    alone = device_of_measurements("mine", [fast]).figures[0]
    np.testing.assert_array_equal(chosen.table.layers, alone.table.layers)
    assert chosen.card == "B"
    with pytest.raises(InvalidInput, match="2 cards"):
        hwnas.fit(both, "latency")
    assert hwnas.fit(both, "latency", card="A").figures[0].points == 20
    parts = [tmp_path / f"{name}.csv" for name in "AB"]
    for part, own in zip(parts, (lines[1:21], lines[21:]), strict=True):
        part.write_text("\n".join([lines[0], *own]))
    with pytest.raises(InvalidInput, match="2 cards"):
        device_of_measurements("mine", parts)
    # Rows that do not name their card go with the only one, unless it is asked for.
    assert device_of_measurements("mine", [parts[0], fast]).figures[0].points == 40
    assert device_of_measurements("mine", [parts[0], fast], card="A").figures[0].points == 20
    # Nor are they where a device is added to.
    former = device_of_measurements("mine", [parts[0]])
    more = tmp_path / "more.csv"
    more.write_text(parts[1].read_text().replace("latency", "energy"))
    with pytest.raises(InvalidInput, match=r"mine: expected measurements of A, .*, found B"):
        device_of_measurements("mine", [more], former=former)
    more.write_text(more.read_text().replace(",B", ",A"))
    assert len(device_of_measurements("mine", [more], former=former).figures) == 2
    # A text has the same perplexity on every card.
    both.write_text(both.read_text().replace("latency", "perplexity"))
    assert hwnas.fit(both, "perplexity").figures[0].points == 40


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("network,latency\nx,1\n", "line 1: expected a column arch"),
        (f"arch,speed\n{GOOD},1\n", "line 1: expected a column of a metric"),
        (f"arch,latency\n{GOOD},fast\n", "line 2, column latency: expected a positive number"),
        (f"arch,latency\n{GOOD},nan\n", "line 2, column latency"),
        (f"arch,latency\n{GOOD},1\n{GOOD},-1\n", "line 3, column latency"),
        (f"arch,latency,latency std\n{GOOD},1,-1\n", "line 2, column latency std"),
        (f"arch,latency\n{ARCH},1\n", "line 2, column arch"),
        ("arch,latency\nnonsense,1\n", "line 2, column arch"),
        (f"arch,latency\n{GOOD},1,2\n", "line 2: expected 2 cells"),
        (f"arch,latency@a,latency@b\n{GOOD},1,2\n", "line 1, column latency@b"),
        (f"arch,tpot.odd\n{GOOD},1\n", "column tpot.odd: unknown workload 'odd'"),
        (f"arch,tpot.serve,serve\n{GOOD},1,8 x (9 + 9) bfloat16\n", "column serve: the workload"),
        (f"arch,latency\n{GOOD},\n", "expected rows with values"),
    ],
)
def test_malformed_files_are_refused_with_line_and_column(
    text: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "m.csv"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=message) as error:
        device_of_measurements("mine", [file])
    assert str(file) in str(error.value)


def test_what_a_device_lacks_is_named() -> None:
    add_known("gpt-s")
    bench = surrogate("gpt-s")
    with pytest.raises(InvalidInput, match=r"mine has latency, tpot\.serve on gpt-s"):
        bench.front(["energy@mine"])
    with pytest.raises(InvalidInput, match="mine was measured on gpt-s; measure gpt-m"):
        surrogate("gpt-m").front(["latency@mine"])
    with pytest.raises(InvalidInput, match=r"no published figures.*mine was measured on gpt-s"):
        surrogate("gpt-m-wide")
    with pytest.raises(InvalidInput, match="has no quantiles"):
        bench.front(["latency@mine:p90"])
    with pytest.raises(InvalidInput, match="published devices have"):
        bench.quantiles(bench.space.sample(1, np.random.default_rng(0)), "latency@mine")


def test_perplexity_stays_unknown_where_it_is_not_published() -> None:
    add_known("gpt-m-wide")
    bench = surrogate("gpt-m-wide")
    assert bench.devices == ()
    with pytest.raises(InvalidInput, match="no published figures of gpt-m-wide"):
        bench.front(["perplexity", "latency@mine"])
    with pytest.raises(UnknownName, match=r"unknown device 'h100'.*known: mine"):
        bench.front(["latency@h100"])


def test_another_workload_of_the_same_name_is_refused() -> None:
    add_known("gpt-s")
    workloads = {**BUILT_IN, "serve": BUILT_IN["chat"]}
    bench = Surrogate(hwnas.space("gpt-s"), workloads=workloads)
    with pytest.raises(InvalidInput, match="its workload serve was 64 requests at once"):
        bench.front(["tpot.serve@mine"])


def test_worst_ratios_over_both_kinds_carry_a_note() -> None:
    add_known("gpt-s")
    bench = surrogate("gpt-s")
    objectives = parse_objectives(["perplexity", "latency@h100+mine"])
    (note,) = bench.notes(objectives)
    assert note.startswith("latency@h100+mine: protocols differ: h100 as published")
    assert bench.notes(parse_objectives(["latency@h100+a100"])) == []
    front = bench.front(objectives)
    assert front is not None
    assert front.epsilon == 0
    np.testing.assert_array_equal(measure(bench, front.codes, objectives).values, front.values)


def test_a_run_records_its_devices_and_resumes_with_the_same_ones(tmp_path: Path) -> None:
    add_known("gpt-s")
    experiment = {
        "name": "own",
        "space": "gpt-s",
        "objectives": ["perplexity", "latency@mine"],
        "optimizers": ["random"],
        "budget": {"evaluations": 20},
        "seeds": 1,
    }
    result = hwnas.run(experiment, tmp_path / "run", draw=False)
    assert "- mine" in (result.path / "experiment.yaml").read_text()
    # Another device of that name is other data.
    add_known("gpt-s-wide", "unrelated")
    hwnas.resume(result.path, overrides={"budget.evaluations": 25}, draw=False)
    former = known_device("gpt-s")
    DeviceFile("mine", former.figures[:1], "1").write(device_path("mine"))
    with pytest.raises(InvalidInput, match="other data"):
        hwnas.resume(result.path, overrides={"budget.evaluations": 30}, draw=False)


def test_a_device_beside_the_yaml_needs_no_adding(tmp_path: Path) -> None:
    known_device("gpt-s", "here").write(tmp_path / "here.npz")
    yaml = tmp_path / "e.yaml"
    yaml.write_text(
        "name: e\nspace: gpt-s\nobjectives: [perplexity, tpot.serve@here]\n"
        "optimizers: [random]\nbudget: {evaluations: 10}\nseeds: 1\n"
    )
    result = hwnas.run(yaml, tmp_path / "run", draw=False)
    assert result.summary[0]["evaluations"] == 10
    assert str(tmp_path / "here.npz") in (result.path / "experiment.yaml").read_text()
    (tmp_path / "h100.npz").write_bytes(b"a file of that name is none of a published device")
    yaml.write_text(yaml.read_text().replace("tpot.serve@here", "latency@h100"))
    assert load_experiment(yaml)[0].backend.settings == {}
    with pytest.raises(UnknownName, match="unknown device 'her'"):
        surrogate("gpt-s", devices=("her",))


# -- files of strangers ----------------------------------------------------------------------------


def content_of(device: DeviceFile, tmp_path: Path) -> dict[str, bytes]:
    device.write(tmp_path / "mine.npz")
    with zipfile.ZipFile(tmp_path / "mine.npz") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array), allow_pickle=True)
    return stream.getvalue()


def write_zip(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def altered(content: dict[str, bytes], **changes: Any) -> dict[str, bytes]:
    about = json.loads(str(np.load(io.BytesIO(content["about.npy"]))))
    about["figures"][0] |= changes.pop("figure", {})
    about["figures"][0]["space"] |= changes.pop("space", {})
    return {**content, "about.npy": npy(json.dumps({**about, **changes}))}


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"name": "h100"},
        {"name": "../../etc"},
        {"name": "x\x1b[31m"},
        {"version": "v" * 10_000},
        {"figures": []},
        {"figure": {"quantity": "perplexity"}},
        {"figure": {"quantity": "latency@h100 <= 3"}},
        {"figure": {"points": -1}},
        {"figure": {"error": float("nan")}},
        {"figure": {"kendall": 7}},
        {"figure": {"card": "\x1b[2J"}},
        {"figure": {"workload": {"prompt": 1}}},
        {"space": {"n_layer": [10**9]}},
        {"space": {"embed_dim": list(range(1, 1000))}},
        {"space": {"family": "table", "file": "/etc/passwd"}},
        {"space": {"n_head": [4, 8]}},
    ],
    ids=str,
)
def test_wrong_descriptions_are_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    content = altered(content_of(known_device("gpt-s"), tmp_path), **changes)
    file = write_zip(tmp_path / "bad.npz", content)
    with pytest.raises(InvalidInput, match=str(file)):
        read_device_file(file)


class Bomb:
    def __reduce__(self) -> Any:
        return (exit, ("a pickle was read",))


@pytest.mark.parametrize(
    "array",
    [
        npy(np.array([Bomb()], dtype=object)),
        npy(np.full((3, 3, 2), np.nan)),
        npy(np.zeros((3, 3, 2), dtype=np.float32)),
        npy(np.zeros((3, 3))),
        npy(np.zeros(0)).replace(b"(0,)", b"(9" + b"9" * 12 + b",)", 1),
        b"\x93NUMPY",
        b"",
    ],
    ids=["pickle", "nan", "float32", "shape", "huge shape", "cut off", "empty"],
)
def test_wrong_arrays_are_refused(array: bytes, tmp_path: Path) -> None:
    content = {**content_of(known_device("gpt-s"), tmp_path), "0.base.npy": array}
    file = write_zip(tmp_path / "bad.npz", content)
    with pytest.raises(InvalidInput, match=str(file)):
        read_device_file(file)


def test_a_file_that_unfolds_to_too_much_is_refused(tmp_path: Path) -> None:
    content = content_of(known_device("gpt-s"), tmp_path)
    file = write_zip(tmp_path / "bomb.npz", {**content, "0.base.npy": bytes(100_000_000)})
    assert file.stat().st_size < 1_000_000
    with pytest.raises(InvalidInput, match="holds more than 32 MB"):
        read_device_file(file)


def test_an_encrypted_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.npz"
    known_device({**TINY, "n_head": [1]}).write(file)
    content = bytearray(file.read_bytes())
    # The flag of encryption, in the header of the first entry and of each in the directory.
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        start = -1
        while (start := content.find(signature, start + 1)) >= 0:
            content[start + offset] |= 1
    file.write_bytes(content)
    with pytest.raises(InvalidInput, match="expected a file of hwnas device add"):
        read_device_file(file)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_are_refused_or_read(data: st.DataObject, tmp_path: Path) -> None:
    """Any bytes lead to a device or to that error, to no other."""
    file = tmp_path / "fuzz.npz"
    known_device({**TINY, "n_head": [1]}).write(file)
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] = data.draw(st.integers(0, 255))
    file.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    with contextlib.suppress(InvalidInput):
        assert read_device_file(file).figures


def test_a_broken_file_among_the_users_costs_a_warning_alone() -> None:
    add_known("gpt-s")
    device_path("broken").write_bytes(b"nothing")
    with pytest.warns(HwnasWarning, match="a device is left out"):
        bench = surrogate("gpt-s")
    assert [n for n in bench.added.names if n not in shipped_names()] == ["mine"]
    assert device_names() == ["broken", "mine"]
    assert Objective.parse("latency@mine").key in bench.metrics
