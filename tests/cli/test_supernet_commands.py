"""The commands supernet train, evaluate and fit, and build --from."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import hwnas
from hwnas.cli import supernet_commands
from hwnas.profiling.supernet import train_loop

sys.path.insert(0, str(Path(__file__).parent))
from command_line import assert_user_error

SPACE = """
name: tiny
embed_dim: [16, 32]
n_layer: [1, 2]
mlp_ratio: [1, 2]
n_head: [1, 2]
head_size: 8
context: 16
vocab_size: 257
"""
ARCHS = ("tiny-1-16-2-1-True", "tiny-2-32-2-1-1-2-False")


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A space and a text in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Path("space.yaml").write_text(SPACE, encoding="utf-8")
    words = [f"the document {i} says that {i} follows {i - 1}" for i in range(60)]
    Path("text.txt").write_text("\n\n".join(words), encoding="utf-8")


TRAIN: tuple[str, ...] = (
    *("supernet", "train", "space.yaml", "--out", "s.safetensors", "--text", "text.txt"),
    *("--device", "cpu", "--steps", "12", "--batch-size", "4"),
)


def test_from_training_to_a_model(hw: Any) -> None:
    result = hw(*TRAIN)
    assert result.code == 0, result.err
    assert re.search(r"step 12 of 12: loss \d\.\d+ \(largest\), \d\.\d+ \(smallest\)", result.err)
    assert result.err.endswith("s.safetensors: 12 steps\n")
    assert not Path("s.safetensors.checkpoint").exists()

    result = hw("supernet", "evaluate", "s.safetensors", *ARCHS, "--device", "cpu")
    assert result.code == 0, result.err
    assert [line.split()[0] for line in result.out.splitlines()] == ["arch", *ARCHS]

    result = hw("supernet", "fit", "s.safetensors", "--count", "30", "--tokens", "100", "--device",
                "cpu", "--out", "t.npz")  # fmt: skip
    assert result.code == 0, result.err
    assert re.search(r"tiny +perplexity +30 ", result.out)
    assert "perplexity" in hw("query", ARCHS[0], "--space", "space.yaml", "--tables", "t.npz").out

    result = hw("build", ARCHS[1], "--from", "s.safetensors", "--out", "model")
    assert result.code == 0, result.err
    from hwnas.profiling.supernet.supernet_file import read_supernet

    shared, _ = read_supernet("s.safetensors")
    tokens = torch.arange(16)[None]
    logits = shared.subnetwork(shared.space.parse(ARCHS[1]))(tokens)
    assert torch.equal(hwnas.load("model")(tokens), logits)


def test_a_training_in_pieces_ends_equal(hw: Any) -> None:
    assert hw(*TRAIN).code == 0
    whole = Path("s.safetensors").read_bytes()
    Path("s.safetensors").unlink()
    result = hw(*TRAIN, "--seconds", "0")
    assert "10 steps of 12; the same command continues" in result.err
    assert hw("supernet", "evaluate", "s.safetensors", ARCHS[0], "--device", "cpu").code == 0
    assert hw(*TRAIN, "--quiet").err == ""
    assert Path("s.safetensors").read_bytes() == whole


@pytest.mark.parametrize(
    ("owner", "name"), [(supernet_commands, "_corpus"), (train_loop, "new_code")]
)
def test_preparation_counts_as_time_of_a_training(
    hw: Any, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    """Preparing the text or compiling takes an hour, and the training has half of one."""
    prepare, late = getattr(owner, name), [0.0]

    def take_an_hour(*arguments: Any) -> Any:
        late[0] = 3600.0
        return prepare(*arguments)

    for clock in ("monotonic", "perf_counter"):
        read = getattr(time, clock)
        monkeypatch.setattr(time, clock, lambda read=read: read() + late[0])
    monkeypatch.setattr(owner, name, take_an_hour)
    assert "10 steps of 12; the same command continues" in hw(*TRAIN, "--seconds", "1800").err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*TRAIN, "--distillation", "2"), "distillation: expected a share from 0 to 1, found 2"),
        ((*TRAIN, "--compile", "whole"), "compile: expected auto, off or blocks"),
        ((*TRAIN, "--text", "none.txt"), "none.txt: no such file"),
        ((*TRAIN, "--device", "gpu"), "device: expected auto, cpu, cuda"),
        (("supernet", "evaluate", "x", "--count", "3"), "x: no such file"),
        (("supernet", "evaluate", "x"), "expected either architectures or --count"),
        (("supernet", "fit", "x", "--out", "t.csv"), r"t\.csv: expected a name that ends in \.npz"),
        (("build", ARCHS[0], "--from", "x", "--out", "m"), "x: no such file"),
        (
            ("build", ARCHS[0], "--from", "x", "--space", "space.yaml", "--out", "m"),
            "--from has a space and weights",
        ),
    ],
)
def test_errors(hw: Any, arguments: tuple[str, ...], message: str) -> None:
    assert_user_error(hw(*arguments), message)


def test_files_that_are_there_are_not_overwritten(hw: Any) -> None:
    Path("s.safetensors").write_bytes(b"of mine")
    assert_user_error(hw(*TRAIN), "s.safetensors: is there already")
    assert_user_error(
        hw("supernet", "evaluate", "s.safetensors", "--count", "2"), "expected the weights of"
    )


def test_a_text_that_has_changed_is_refused(hw: Any) -> None:
    assert hw(*TRAIN, "--quiet").code == 0
    Path("text.txt").write_text("other\n\ntext that is long enough\n\nfor a test", encoding="utf-8")
    result = hw("supernet", "evaluate", "s.safetensors", ARCHS[0], "--device", "cpu")
    assert_user_error(result, "the text 'text.txt' has changed since the training")
