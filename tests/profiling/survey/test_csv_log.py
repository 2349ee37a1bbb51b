from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.errors import InvalidInput
from hwnas.profiling.survey.csv_log import Sheet, opened

COLUMNS = ["number", "what, else", "reason"]
ROWS = [[0, "a, b", 'said "no"'], [1, "", None], [2, "ü\nx", "  "]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "deeper" / "some.csv"


def filled(file: Path) -> Sheet:
    sheet = Sheet(file, COLUMNS)
    for row in ROWS:
        sheet.append(dict(zip(COLUMNS, row, strict=True)))
    return sheet


def test_rows_come_back(file: Path) -> None:
    sheet = filled(file)
    assert [row["number"] for row in sheet.rows] == ["0", "1", "2"]
    assert sheet.rows[0]["reason"] == 'said "no"'
    assert sheet.rows[1]["reason"] == ""
    assert sheet.rows[2] == {"number": "2", "what, else": "ü x", "reason": ""}
    assert Sheet(file, COLUMNS).rows == sheet.rows
    assert file.read_text(encoding="utf-8").splitlines()[0] == 'number,"what, else",reason'
    assert Sheet(file, COLUMNS).append({"number": 3}) == dict(
        zip(COLUMNS, ["3", "", ""], strict=True)
    )


def test_whatever_the_length_at_which_it_was_cut(file: Path) -> None:
    rows, whole = filled(file).rows, file.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]  # of the header, then of rows
    for length in range(len(whole) + 1):
        file.write_bytes(whole[:length])
        there = max(sum(end <= length for end in ends) - 1, 0)
        sheet = Sheet(file, COLUMNS)
        assert sheet.rows == rows[:there]
        for row in rows[there:]:
            sheet.append(row)
        assert file.read_bytes() == whole


@pytest.mark.parametrize("content", [b"notes", b"a,b\n1,2\nunfinished", b"\xff\n", b"\n", b'"a\n'])
def test_a_file_of_somebody_else_is_left_alone(file: Path, content: bytes) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"some\.csv: .*expected"):
        Sheet(file, COLUMNS)
    assert file.read_bytes() == content


def test_too_many_cells(file: Path) -> None:
    filled(file)
    with file.open("a") as stream:
        stream.write("1,2,3,4\n")
    with pytest.raises(InvalidInput, match=r"some\.csv: line 5: expected 3 cells, found 4"):
        Sheet(file, COLUMNS)


@pytest.mark.parametrize(
    ("content", "records", "message"),
    [
        ("x\n", None, r"some\.csv is there without some\.jsonl; give another --out"),
        (None, "", r"some\.jsonl: expected the records of a survey"),
        (None, "[1]\n", r"some\.jsonl: expected the records of a survey"),
        (None, '{"a": 1}\n', r"some\.jsonl: expected the records of a survey"),
        (None, '{"asked": {"b": 1}}\n', r"a survey with a None, not 2; b 1, not None; ask for"),
    ],
)
def test_what_is_no_such_survey(
    file: Path, content: str | None, records: str | None, message: str
) -> None:
    file.parent.mkdir()
    for path, text in ((file, content), (file.with_suffix(".jsonl"), records)):
        if text is not None:
            path.write_text(text)
    before = {path: path.read_bytes() for path in file.parent.iterdir()}
    with pytest.raises(InvalidInput, match=message):
        opened(file, {"a": 2}, COLUMNS)
    assert {path: path.read_bytes() for path in file.parent.iterdir()} == before


@pytest.mark.parametrize("text", ["\r", "a\r\nb", "\x85\u2028", '"', "\x00", "a,\n,b", "'\\"])
def test_any_text_is_one_line(file: Path, text: str) -> None:
    row = Sheet(file, COLUMNS).append(dict.fromkeys(COLUMNS, text))
    assert Sheet(file, COLUMNS).rows == [row]
    assert file.read_bytes().count(b"\n") == 2
