from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import torch

from hwnas.profiling.measurement_log import append, read, to_json


@dataclass(frozen=True, slots=True)
class Inner:
    value: float
    samples: tuple[float, ...] = field(default=(1.0,), metadata={"record": False})


def test_to_json() -> None:
    value = {"a": Inner(math.nan), 2: [Inner(0.5), None, True], "device": torch.device("cpu")}
    expected = {"a": {"value": None}, "2": [{"value": 0.5}, None, True], "device": "cpu"}
    assert to_json(value) == expected
    json.dumps(to_json(value), allow_nan=False)


def test_incomplete_lines_are_lost_alone(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "records.jsonl"
    append(file, {"n": 1})
    append(file, {"n": 2})
    content = file.read_bytes()
    for size in range(len(content) + 1):  # the process is killed after `size` bytes
        file.write_bytes(content[:size])
        append(file, {"n": 3})
        numbers = [record["n"] for record in read(file)]
        n_complete = content[: size + 1].count(b"\n")  # a line without its end is complete
        assert numbers == [*[1, 2][:n_complete], 3]
