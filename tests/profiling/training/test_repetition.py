"""Trainings that see their text too often are warned of and noted in the report."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hwnas
from hwnas.errors import HwnasWarning
from hwnas.profiling import Tokens, TrainingSettings
from hwnas.profiling.data.corpus import Corpus
from hwnas.profiling.training.repetition import repetition_note
from hwnas.reports.summary_table import search_notes


@given(steps=st.integers(1, 10**6), batch=st.integers(1, 64), n=st.integers(1, 10**4))
def test_the_limit_is_four_passes(steps: int, batch: int, n: int) -> None:
    text = Tokens(np.zeros(n, dtype=np.uint16), n, 257, 256)
    note = repetition_note(
        Corpus(text, text, ""), TrainingSettings(steps=steps, batch_size=batch), 8
    )
    assert bool(note) == (steps * batch * 8 > 4 * n)


def experiment(steps: int) -> dict[str, Any]:
    choices = {"embed_dim": [8, 16], "n_layer": [1], "mlp_ratio": [1], "n_head": [1]}
    return {
        "name": "x",
        "space": {**choices, "name": "t", "bias": [True], "head_size": 8, "context": 64},
        "backend": {
            "type": "profile",
            "device": "cpu",
            "threads": 1,
            "training": {"steps": steps, "batch_size": 1},
        },
        "objectives": ["perplexity", "params"],
        "optimizers": ["random"],
        "reference": [300, 1e6],
        "budget": {"evaluations": 2},
        "seeds": 2,
    }


def test_a_report_has_the_note_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"document {i} has some words" for i in range(20)))
    run = {**experiment(30), "name": "short"}
    run["space"] = {**run["space"], "vocab_size": 257}
    run["backend"] = {**run["backend"], "text": str(text)}
    with pytest.warns(HwnasWarning, match=r"sees its \d+ tokens [\d.]+ times"):
        result = hwnas.run(run, out=tmp_path / "run", draw=False)
    notes = [note for note in search_notes(result) if note.startswith("text: ")]
    assert len(notes) == 1
    run["backend"] = {**run["backend"], "training": {"steps": 1, "batch_size": 1}}
    with warnings.catch_warnings():
        warnings.simplefilter("error", HwnasWarning)
        result = hwnas.run(run, out=tmp_path / "fewer", draw=False)
    assert not [note for note in search_notes(result) if note.startswith("text: ")]
