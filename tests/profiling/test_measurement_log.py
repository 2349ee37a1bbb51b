from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import torch

from hwnas.profiling.measurement_log import append, plain, read


@dataclass(frozen=True, slots=True)
class Inner:
    value: float
    many: tuple[float, ...] = field(default=(1.0,), metadata={"record": False})


def test_plain() -> None:
    given = {"a": Inner(math.nan), 2: [Inner(0.5), None, True], "device": torch.device("cpu")}
    expected = {"a": {"value": None}, "2": [{"value": 0.5}, None, True], "device": "cpu"}
    assert plain(given) == expected
    json.dumps(plain(given), allow_nan=False)


def test_a_line_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "records.jsonl"
    append(file, {"n": 1})
    append(file, {"n": 2})
    whole = file.read_bytes()
    for cut in range(len(whole) + 1):  # killed after so many bytes
        file.write_bytes(whole[:cut])
        append(file, {"n": 3})
        found = [record["n"] for record in read(file)]
        kept = whole[: cut + 1].count(b"\n")  # a last line that lacks but its end is all there
        assert found == [*[1, 2][:kept], 3]
