from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.errors import InvalidInput
from hwnas.profiling.survey.csv_log import CsvLog, open_log

COLUMNS = ["number", "what, else", "reason"]
ROWS = [[0, "a, b", 'said "no"'], [1, "", None], [2, "ü\nx", "  "]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "deeper" / "some.csv"


def fill_log(file: Path) -> CsvLog:
    log = CsvLog(file, COLUMNS)
    for row in ROWS:
        log.append(dict(zip(COLUMNS, row, strict=True)))
    return log


def test_rows_are_read_again(file: Path) -> None:
    log = fill_log(file)
    assert [row["number"] for row in log.rows] == ["0", "1", "2"]
    assert log.rows[0]["reason"] == 'said "no"'
    assert log.rows[1]["reason"] == ""
    assert log.rows[2] == {"number": "2", "what, else": "ü x", "reason": ""}
    assert CsvLog(file, COLUMNS).rows == log.rows
    assert file.read_text(encoding="utf-8").splitlines()[0] == 'number,"what, else",reason'
    assert CsvLog(file, COLUMNS).append({"number": 3}) == dict(
        zip(COLUMNS, ["3", "", ""], strict=True)
    )


def test_file_cut_at_any_length_is_repaired(file: Path) -> None:
    rows, content = fill_log(file).rows, file.read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == 10]  # of the header, then of rows
    for length in range(len(content) + 1):
        file.write_bytes(content[:length])
        n_rows = max(sum(end <= length for end in ends) - 1, 0)
        log = CsvLog(file, COLUMNS)
        assert log.rows == rows[:n_rows]
        for row in rows[n_rows:]:
            log.append(row)
        assert file.read_bytes() == content


@pytest.mark.parametrize("content", [b"notes", b"a,b\n1,2\nunfinished", b"\xff\n", b"\n", b'"a\n'])
def test_unrelated_file_is_not_changed(file: Path, content: bytes) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"some\.csv: .*expected"):
        CsvLog(file, COLUMNS)
    assert file.read_bytes() == content


def test_too_many_cells(file: Path) -> None:
    fill_log(file)
    with file.open("a") as stream:
        stream.write("1,2,3,4\n")
    with pytest.raises(InvalidInput, match=r"some\.csv: line 5: expected 3 cells, found 4"):
        CsvLog(file, COLUMNS)


@pytest.mark.parametrize(
    ("content", "records", "message"),
    [
        ("x\n", None, r"some\.csv: is there without some\.jsonl; choose another with --out"),
        (None, "", r"some\.jsonl: expected the records of a survey"),
        (None, "[1]\n", r"some\.jsonl: expected the records of a survey"),
        (None, '{"a": 1}\n', r"some\.jsonl: expected the records of a survey"),
        (None, '{"asked": {"b": 1}}\n', r"a survey with a None, not 2; b 1, not None; use its"),
    ],
)
def test_files_of_no_or_another_survey(
    file: Path, content: str | None, records: str | None, message: str
) -> None:
    file.parent.mkdir()
    for path, text in ((file, content), (file.with_suffix(".jsonl"), records)):
        if text is not None:
            path.write_text(text)
    contents = {path: path.read_bytes() for path in file.parent.iterdir()}
    with pytest.raises(InvalidInput, match=message):
        open_log(file, {"a": 2}, COLUMNS)
    assert {path: path.read_bytes() for path in file.parent.iterdir()} == contents


@pytest.mark.parametrize("text", ["\r", "a\r\nb", "\x85\u2028", '"', "\x00", "a,\n,b", "'\\"])
def test_any_string_is_one_line(file: Path, text: str) -> None:
    row = CsvLog(file, COLUMNS).append(dict.fromkeys(COLUMNS, text))
    assert CsvLog(file, COLUMNS).rows == [row]
    assert file.read_bytes().count(b"\n") == 2
