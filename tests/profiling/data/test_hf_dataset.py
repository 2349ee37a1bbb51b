"""Data sets of the library datasets, from tiny local files."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from hwnas.errors import InvalidInput, MissingExtra
from hwnas.profiling.data.text import text

ROWS = {"text": ["one document", "", "another\n\none", "one document"], "n": [1, 2, 3, 4]}
needs_library = pytest.mark.skipif(
    importlib.util.find_spec("datasets") is None, reason="needs datasets"
)


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the caches of the library in a directory of the test, and the network out of it."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    if importlib.util.find_spec("datasets") is not None:
        import datasets

        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def write(file: Path, **columns: Any) -> None:
    """Write a table as Parquet, Arrow stream or JSON lines."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table(columns)
    if file.suffix == ".parquet":
        pyarrow.parquet.write_table(table, file)
    elif file.suffix == ".arrow":
        with (
            pyarrow.OSFile(str(file), "wb") as sink,
            pyarrow.ipc.new_stream(sink, table.schema) as writer,
        ):
            writer.write_table(table)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))


@needs_library
@pytest.mark.parametrize("kind", ["parquet", "arrow", "jsonl", "folder", "saved"])
def test_local_files(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"data.{kind}"
    if kind == "folder":
        path.mkdir()
        write(path / "a.parquet", **{name: values[:2] for name, values in ROWS.items()})
        write(path / "b.parquet", **{name: values[2:] for name, values in ROWS.items()})
    elif kind == "saved":
        import datasets

        write(tmp_path / "rows.arrow", **ROWS)
        datasets.Dataset.from_file(str(tmp_path / "rows.arrow")).save_to_disk(path)
    else:
        write(path, **ROWS)
    found = text(f"hf:{path}")
    assert found.name == f"hf:{path}"
    assert found.documents == ("one document", "another\n\none")  # without duplicates


@needs_library
def test_the_only_column_of_strings(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", story=["a tale", "a fable"], n=[1, 2])
    assert text(f"hf:{tmp_path / 'a.parquet'}").documents == ("a tale", "a fable")
    write(tmp_path / "b.parquet", one=["a"], two=["b"])
    with pytest.raises(InvalidInput, match=r"expected a column text, or one .*, found one, two"):
        text(f"hf:{tmp_path / 'b.parquet'}")


@needs_library
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nobody/has-this", "has-this"),
        ("broken.parquet", "magic bytes"),
        ("broken.jsonl", "JSON"),
        ("broken.arrow", "Arrow"),
        ("empty", "no file with .parquet"),
        ("empty.jsonl", "an empty file"),
        ("none.parquet", "no such file"),
        ("", "no such file"),
    ],
)
def test_what_cannot_be_read(
    tmp_path: Path, name: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for suffix in ("parquet", "arrow"):
        (tmp_path / f"broken.{suffix}").write_bytes(b"no table")
    (tmp_path / "broken.jsonl").write_text('{"text": 5')
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(InvalidInput, match=f"^text: hf:{name}: expected hf:NAME") as error:
        text(f"hf:{name}")
    assert "\n" not in str(error.value)
    assert reason in str(error.value)


def test_the_standard_library_is_a_text() -> None:
    library = text("stdlib")
    assert library.n_bytes > 5e6
    assert any("class Fraction" in document for document in library.documents)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"'hf:any' needs datasets: .*hwnas\[data\]"):
        text("hf:any")
