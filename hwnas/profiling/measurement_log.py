"""Log of measurements: a file with one JSON record per line."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from hwnas.errors import InvalidInput


def to_json(value: Any) -> Any:
    """Convert a value to types that JSON can represent.

    A dataclass becomes an object, without the fields whose metadata contain ``record=False``. A
    number that is not finite becomes null. A value of any other type becomes its string.

    Examples
    --------
    >>> to_json({"file": Path("a.csv"), "interval": (0.5, math.nan)})
    {'file': 'a.csv', 'interval': [0.5, None]}
    """
    if is_dataclass(value) and not isinstance(value, type):
        names = [f.name for f in fields(value) if f.metadata.get("record", True)]
        return {name: to_json(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return str(value)


def append(file: Path, record: Mapping[str, Any]) -> None:
    """Append a record as one line; it is on the disk when this function returns.

    Missing parents of `file` are created.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+b") as stream:
        # A killed process may have left an incomplete line. End it, so that only that line is lost.
        if stream.seek(0, os.SEEK_END):
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                stream.write(b"\n")
        stream.write(json.dumps(to_json(record)).encode() + b"\n")
        # `flush` empties Python's buffer, `fsync` that of the operating system.
        stream.flush()
        os.fsync(stream.fileno())


def read(file: Path) -> list[dict[str, Any]]:
    """Return the records of a file, without incomplete lines.

    Raises
    ------
    InvalidInput
        It is no text.
    """
    records = []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file}: is no UTF-8 text: {error.reason}") from None
    for line in lines:
        try:
            records.append(json.loads(line))
        except (ValueError, RecursionError):
            continue  # incomplete, because its process was killed, or damaged
    return records
