"""Weights & Biases has each search as a run, and nothing leaves the machine."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loggers.logged_run import logged_run, trajectory

wandb = pytest.importorskip("wandb")

_BLOCK = 32_768  # bytes of a block of a log, in which a record does not cross an end


def records(file: Path) -> Iterator[Any]:
    """Yield the records of an offline run: a log of LevelDB's format behind 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    content, position, record = file.read_bytes(), 7, b""
    while position + 7 <= len(content):
        if _BLOCK - position % _BLOCK < 7:
            position += _BLOCK - position % _BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        record += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            parsed = wandb_internal_pb2.Record()
            parsed.ParseFromString(record)
            yield parsed
            record = b""


def test_searches_are_offline_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    result = logged_run(tmp_path / "small", {"type": "wandb", "project": "mine"})
    (search,) = result.searches
    files = sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2  # the run and its extension, of one identity
    assert len({file.name for file in files}) == 1
    content = [record for file in files for record in records(file)]
    assert {record.run.project for record in content if record.HasField("run")} == {"mine"}
    assert [r.artifact.type for r in content if r.HasField("artifact")] == ["front", "front"]
    rows = [
        {
            item.key or "/".join(item.nested_key): json.loads(item.value_json)
            for item in r.history.item
        }
        for r in content
        if r.HasField("history")
    ]
    trials = [row for row in rows if "architecture" in row]
    assert [row["trial"] for row in trials] == [*range(6)]
    assert [row["perplexity"] for row in trials] == search.trials.values[:, 0].tolist()
    assert [row["arch/n_layer"] for row in trials] == [
        arch.n_layer for arch in result.space.decode(search.trials.codes)
    ]
    steps = [(row["evaluations"], row["hypervolume"]) for row in rows if "hypervolume" in row]
    assert dict(steps) == pytest.approx(dict(trajectory(result)))
