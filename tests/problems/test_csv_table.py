"""CSV files: what is read, and faults in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.errors import InvalidInput
from hwnas.problems.csv_table import parse_value, read_csv


def test_cells_are_read_as_they_are_meant(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text(
        '\ufeffact, "rate" ,n,ok,note,error\nrelu,1e-2,3,true,a,0.5\n\n'
        '"ta,nh",0.1,3,False,,nan\n relu ,0.1,04,TRUE,1.0,\n',
        encoding="utf-8",
    )
    table = read_csv(file)
    assert table.columns == ("act", "rate", "n", "ok", "note", "error")
    assert table.lines == [2, 4, 5]
    assert table.values("act") == ("relu", "ta,nh")
    assert table.values("rate") == (0.01, 0.1)
    assert table.values("n") == (3, 4)
    assert table.values("ok") == (True, False)
    assert table.values("note") == ("a", "1.0")
    assert list(table.numbers) == ["rate", "n", "error"]
    np.testing.assert_array_equal(table.numbers["error"], [0.5, np.nan, np.nan])
    assert table.first_text("note") == (2, "a")
    with pytest.raises(InvalidInput, match=r"unknown column of .*: 'err'; did you mean 'error'"):
        table.cells("err")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "expected a line of names and at least one row"),
        (b"a,b\n", "expected a line of names and at least one row"),
        (b"a;b\n1;2\n", "expected commas between columns, found a semicolon in the first line"),
        (b"a\tb\n1\t2\n", "expected commas between columns, found a tab"),
        (b"a|b\n1|2\n", "expected commas between columns, found a bar"),
        (b"a,b,a\n1,2,3\n", "expected distinct names of columns, found two 'a'"),
        (b"a,,c\n1,2,3\n", "a column has no name"),
        (b"a,b\n1,2\n3\n", "line 3: expected 2 cells, as names, found 1"),
        (b"a,b\n1,2,3\n", "line 2: expected 2 cells, as names, found 3"),
        (b"a,b\n\xff,2\n", "a text in UTF-8"),
        (b'a,b\n"1\x00,2\n', "t.csv"),
    ],
)
def test_faults_are_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "t.csv"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidInput) as caught:
        read_csv(file)
    assert str(caught.value).startswith(str(file))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "choices", "value"),
    [
        ("0.10", (0.1, 0.2), 0.1),
        ("1", (1.0, 2.0), 1.0),
        ("1", (True, False), None),
        ("TRUE", (False, True), True),
        ("1_0", (10,), None),
        ("nan", (1.0,), None),
        ("1.0", ("1.0", "1"), "1.0"),
        ("x", (1, 2), None),
    ],
)
def test_values_of_cells(text: str, choices: Any, value: Any) -> None:
    assert parse_value(text, choices) == value
    assert type(parse_value(text, choices)) is type(value)
