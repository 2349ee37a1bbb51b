"""Documents of data sets that the ``datasets`` library reads, by name or from local files."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from hwnas.errors import InvalidInput, MissingExtra

PREFIX = "hf:"
_FORMATS = {".parquet": "parquet", ".arrow": "arrow", ".jsonl": "json", ".csv": "csv"}
_FORM = "hf:NAME, hf:NAME:CONFIGURATION, hf:FILE.parquet, hf:FILE.arrow or hf:FOLDER"


def dataset_documents(source: str) -> list[str]:
    """Return the documents of a data set, one for each row of its training split.

    They are those of the column ``text``, or of the only column of strings.

    Parameters
    ----------
    source
        Without the prefix ``hf:``: a local file (Parquet, Arrow, JSON lines, CSV), a folder of
        such files or one that ``save_to_disk`` wrote, or the name of a data set of the Hugging Face
        Hub, with a configuration behind a colon if it has several. Names are downloaded once.

    Raises
    ------
    MissingExtra
        ``datasets`` is not installed.
    InvalidInput
        The data set cannot be read, or has no column of text.
    """
    try:
        library = import_module("datasets")
    except ImportError as error:
        raise MissingExtra(f"text '{PREFIX}{source}'", "datasets", "data") from error
    try:
        rows = _load(library, source)
    # The library raises errors of many kinds, its own and those of the network.
    except Exception as error:
        cause = error.__cause__ or error  # an error of a reader, within that of a builder
        reason = f"{type(cause).__name__}: {cause}".partition("\n")[0]
        raise InvalidInput(f"text: {PREFIX}{source}: expected {_FORM}; {reason}") from error
    return [document for document in rows[_text_column(rows, source)] if document]


def _load(library: Any, source: str) -> Any:
    """Return the training split of a data set, or its only split."""
    path = Path(source)
    if not source or (path.suffix in _FORMATS and not path.exists()):
        raise FileNotFoundError(f"no such file: {source!r}")
    if path.is_file() and not path.stat().st_size:
        raise ValueError("an empty file")
    if path.is_file():
        kind = _FORMATS.get(path.suffix, "text")
        return library.load_dataset(kind, data_files=str(path), split="train")
    if path.is_dir():
        markers = ("state.json", "dataset_dict.json")
        is_saved = any((path / marker).exists() for marker in markers)
        dataset = library.load_from_disk(source) if is_saved else _load_folder(library, path)
    else:
        name, _, configuration = source.partition(":")
        dataset = library.load_dataset(name, configuration or None)
    if not isinstance(dataset, dict):
        return dataset
    return dataset["train"] if "train" in dataset else next(iter(dataset.values()))


def _load_folder(library: Any, folder: Path) -> Any:
    """Return the data set of all files of a folder that have the same format."""
    for suffix, kind in _FORMATS.items():
        if files := sorted(str(file) for file in folder.rglob(f"*{suffix}")):
            return library.load_dataset(kind, data_files=files, split="train")
    raise FileNotFoundError(f"no file with {', '.join(_FORMATS)} in the folder")


def _text_column(rows: Any, source: str) -> str:
    """Return the name of the column of documents."""
    strings: list[str] = [
        name
        for name, feature in rows.features.items()
        if getattr(feature, "dtype", None) in ("string", "large_string")
    ]
    if "text" in strings:
        return "text"
    if len(strings) != 1:
        raise InvalidInput(
            f"text: {PREFIX}{source}: expected a column text, or one column of strings, found "
            f"{', '.join(rows.features)}"
        )
    return strings[0]
