"""The backend ``table`` and the space of a table's rows."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hwnas
from hwnas import registry
from hwnas.backends import metric_of
from hwnas.errors import InvalidInput
from hwnas.objectives import constraint_violations, parse_constraints, parse_objectives
from hwnas.problems.table import Table, TableSpace
from hwnas.runner.evaluation import measure
from hwnas.spaces import SearchSpace

COLUMNS = ("act", "rate", "bias", "error", "ms@a", "ms@b", "note")


def write(path: Path, rows: list[list[Any]], columns: tuple[str, ...] = COLUMNS) -> Path:
    file = path / "results.csv"
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([columns, *rows])
    return file


def rows_of(seed: int = 0) -> list[list[Any]]:
    rng = np.random.default_rng(seed)
    configs = itertools.product(["relu", "tanh"], [0.1, 0.01, 1], ["true", "false"])
    return [[*config, *rng.integers(1, 6, 3).tolist(), "x"] for config in configs]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path, rows_of())


def table_of(file: Path, **settings: Any) -> Table:
    space = TableSpace("t", file=str(file), choices=["act", "rate", "bias"])
    return Table(space, **settings)


def test_the_space_of_a_table(file: Path) -> None:
    source = {"family": "table", "name": "t", "file": str(file), "choices": ["act", "rate", "bias"]}
    space = hwnas.space(source)
    assert space.choices == {
        "act": ("relu", "tanh"),
        "rate": (0.01, 0.1, 1.0),
        "bias": (False, True),
    }
    assert space.ordered.tolist() == [False, True, False]
    assert space.to_dict() == source


def test_values_are_those_of_the_rows(file: Path) -> None:
    table = table_of(file, units={"ms@a": "ms"})
    assert [*table.metrics] == ["error", "ms@a", "ms@b"]
    assert table.metrics["ms@a"].unit == "ms"
    objectives = parse_objectives(["ms@b", "-error"])
    for row in rows_of():
        config = {"act": row[0], "rate": float(row[1]), "bias": row[2] == "true"}
        answer = measure(table, table.space.encode([config]), objectives)
        np.testing.assert_array_equal(answer.values, [[row[5], row[3]]])
        assert answer.status == ["ok"]
    assert len(table.data_hash()) == 64


def test_a_missing_row_and_a_value_that_is_not_finite_are_failed_trials(tmp_path: Path) -> None:
    rows = rows_of()
    del rows[3]
    rows[5][3], rows[6][3], rows[7][3] = "nan", "", "inf"
    file = write(tmp_path, rows)
    table = table_of(file)
    codes = np.concatenate(list(table.space.enumerate()))
    answer = measure(table, codes, parse_objectives(["error", "ms@a"]))
    reasons = sorted(reason for reason in answer.reasons or () if reason)
    assert reasons == [
        f"{file} has no row of this configuration",
        f"{file}, line 7: no finite error",
        f"{file}, line 8: no finite error",
        f"{file}, line 9: no finite error",
    ]
    assert (answer.status or []).count("failed") == 4
    # Other metrics of these rows are there.
    assert (measure(table, codes, parse_objectives(["ms@a", "ms@b"])).status or []).count(
        "ok"
    ) == 11


def test_a_column_of_texts_is_no_metric_and_says_where(tmp_path: Path) -> None:
    rows = rows_of()
    rows[2][3] = "0,5"
    table = table_of(write(tmp_path, rows))
    for name, cell in (("error", "line 4 has '0,5'"), ("note", "line 2 has 'x'")):
        with pytest.raises(InvalidInput, match=f"{name} cannot be measured here: .*{cell}"):
            metric_of(table, parse_objectives([name])[0])


def test_a_space_of_one_s_own_with_layers(tmp_path: Path) -> None:
    space = SearchSpace("net", {"depth": [0, 1, 2]}, layers={"width": [8, 16]})
    columns = ("depth", "width_0", "width_1", "error")
    rows = [[0, "", "", 5], [1, 8, "", 4], [1, 16, "", 3], [2, 8, 16, 2], [2, 99, 16, 1]]
    table = Table(space, file=str(write(tmp_path, rows, columns)))
    configs = [{"depth": 1, "width": (16,)}, {"depth": 2, "width": (8, 16)}, {"depth": 0}]
    objectives = parse_objectives(["error"])
    answer = measure(table, space.encode(configs), objectives)
    np.testing.assert_array_equal(answer.values.ravel(), [3, 2, 5])
    # The row with a width that the space does not have is no member of its front.
    assert table.front(objectives).values.tolist() == [[2.0]]


def brute_force(table: Table, objectives: Any, constraints: Any) -> set[tuple[float, ...]]:
    """Non-dominated losses of all feasible rows, by comparing every two."""
    codes = np.concatenate(list(table.space.enumerate()))
    answer = measure(table, codes, (*objectives, *constraints))
    m = len(objectives)
    ok = np.array([status == "ok" for status in answer.status or ()])
    ok &= (constraint_violations(constraints, np.nan_to_num(answer.values[:, m:])) <= 0).all(axis=1)
    losses = [
        tuple(float(o.loss(value)) for o, value in zip(objectives, row, strict=True))
        for row in answer.values[ok][:, :m]
    ]
    return {
        a
        for a in losses
        if not any(all(x <= y for x, y in zip(b, a, strict=True)) and b != a for b in losses)
    }


@given(
    seed=st.integers(0, 1000),
    objectives=st.sampled_from(
        [["error", "ms@a"], ["-error", "ms@b"], ["error", "-ms@a", "ms@b"], ["error", "ms@a+b"]]
    ),
    constraints=st.sampled_from([[], ["ms@b <= 3"], ["error >= 2", "ms@a <= 4"], ["ms@a+b <= 3"]]),
    n_rows=st.integers(1, 12),
)
def test_fronts_equal_brute_force(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    objectives: list[str],
    constraints: list[str],
    n_rows: int,
) -> None:
    rng = np.random.default_rng(seed)
    rows = [rows_of(seed)[i] for i in rng.permutation(12)[:n_rows]]
    if n_rows > 2:
        rows[0][3] = "nan"
    table = table_of(write(tmp_path_factory.mktemp("table"), rows))
    parsed, bounds = parse_objectives(objectives), parse_constraints(constraints)
    front = table.front(parsed, bounds)
    assert front.epsilon == 0
    assert {tuple(row) for row in front.losses.tolist()} == brute_force(table, parsed, bounds)
    # Its members have these values.
    if len(front):
        answer = measure(table, front.codes, parsed)
        np.testing.assert_array_equal(answer.values, front.values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.append(rows[0]), "lines 2 and 14 are of the same configuration"),
        (
            lambda rows: rows[4].__setitem__(0, ""),
            "line 6: expected a value of act, found an empty",
        ),
        (lambda rows: [row.pop(1) for row in rows], "line 2: expected 7 cells"),
    ],
)
def test_faults_are_one_line(tmp_path: Path, change: Any, message: str) -> None:
    rows = rows_of()
    change(rows)
    with pytest.raises(InvalidInput, match=message):
        table_of(write(tmp_path, rows))


def test_what_does_not_fit_the_space_is_refused(file: Path, tmp_path: Path) -> None:
    space = SearchSpace("own", {"act": ["relu"], "size": [1, 2]})
    with pytest.raises(
        InvalidInput, match="expected a column for each of act, size, found none fo"
    ):
        Table(space, file=str(file))
    space = SearchSpace("own", {"act": ["gelu"]})
    with pytest.raises(InvalidInput, match="no row is a configuration of own"):
        Table(space, file=str(file))
    with pytest.raises(InvalidInput, match="file: expected a CSV file"):
        registry.backend("table", space)
    with pytest.raises(InvalidInput, match=r"unknown column .* 'acts'; did you mean 'act'"):
        TableSpace("t", file=str(file), choices=["acts"])
    with pytest.raises(InvalidInput, match="choices: expected the names of the columns"):
        TableSpace("t", file=str(file), choices=[])
    big = write(tmp_path, [[i, 1] for i in range(128)], ("n", "error"))
    with pytest.raises(InvalidInput, match=r"results.csv: n: expected a list of 1 to 127 values"):
        TableSpace("t", file=str(big), choices=["n"])


def test_an_experiment_finds_the_file_beside_its_yaml(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    yaml = tmp_path / "table.yaml"
    yaml.write_text(
        "name: t\n"
        "space: {family: table, name: t, file: results.csv, choices: [act, rate, bias]}\n"
        "backend: table\n"
        "objectives: [error, ms@a]\n"
        "constraints: [ms@b <= 4]\n"
        "optimizers: [random]\n"
        "budget: {evaluations: 12}\n"
        "seeds: 1\n"
    )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = hwnas.run(yaml, "run", draw=False)
    # All rows were evaluated, so the front is found.
    assert result.summary[0]["normalised"] == 1.0
    assert result.exact is not None
    monkeypatch.chdir(tmp_path)
    assert hwnas.resume("elsewhere/run", draw=False).summary == result.summary
