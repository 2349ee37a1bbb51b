"""hwnas build and evaluate: what they refuse, and that nothing is left of what failed."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import assert_user_error

import hwnas

ARCH = "tiny-1-8-2-1-True"
SPACE = (
    "space: {name: tiny, embed_dim: [8], n_layer: [1], mlp_ratio: [2], n_head: [1], head_size: 4, "
    "context: 8, vocab_size: 257}"
)
BUILD = ("build", ARCH, "--space", "tiny.yaml", "--out")


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(SPACE)
    (tmp_path / "file").write_text("a text")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    class Answer(hwnas.Backend):
        def __init__(self, space: Any) -> None:
            super().__init__(space)
            self.metrics = {"latency@cpu": hwnas.Metric("ms"), "loss": hwnas.Metric()}

        def evaluate(self, codes: Any, objectives: Any, *, seeds: Any, fidelity: Any = None) -> Any:
            columns = {"latency": 1.0 + codes[:, 0], "loss": 9.0 - codes[:, 0]}
            return hwnas.Evaluation(np.stack([columns[o.metric] for o in objectives], axis=1))

    hwnas.register_backend("answer")(Answer)
    choices = {"embed_dim": [8, 16, 24], "n_layer": [1], "mlp_ratio": [2], "n_head": [1]}
    content = {
        "name": "run",
        "space": {"name": "tiny", "head_size": 4, "context": 8, "vocab_size": 257, **choices},
        "backend": "answer",
        "objectives": ["loss", "latency@cpu"],
        "optimizers": ["random"],
        "budget": {"evaluations": 6},
        "seeds": 1,
    }
    path = tmp_path_factory.mktemp("run") / "run"
    hwnas.run(content, path, draw=False)
    return path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("build", "runs/nosuch", "--out", "x"), "expected an architecture or the directory of a"),
        (
            ("build", "file", "--out", "x"),
            "file: no trials here, expected an architecture or the directory of a run",
        ),
        (("build", ARCH, "--pick", "knee", "--out", "x"), "expected the directory of a run"),
        (("build", "full", "--pick", "knee", "--out", "x"), "full: no trials here"),
        ((*BUILD, "file"), "file: is there already; choose another directory"),
        ((*BUILD, "full"), "full: is there already; choose another directory"),
        ((*BUILD, "x/.."), r"\.: is there already; choose another directory"),
        ((*BUILD, "file/x"), "file/x: cannot be created: File exists"),
        ((*BUILD, "x" * 300), "x: (File name too long|cannot be)"),
        ((*BUILD, "x", "--checkpoint", "nosuch.pt"), "nosuch.pt: no such file; expected a checkp"),
        ((*BUILD, "x", "--checkpoint", "file"), "file: expected a checkpoint of tiny-1-8-2-1-True"),
        ((*BUILD, "x", "--tokenizer", "byte"), "unknown tokenizer 'byte'; did you mean 'bytes'"),
        ((*BUILD, "x", "--tokenizer", "nosuch.json"), "nosuch.json: no such file"),
        ((*BUILD, "x", "--seed", str(2**70)), "--seed: expected at most"),
        ((*BUILD, "x", "--format", "gguf"), "gguf: expected a network of the family llama"),
        (("evaluate", "nosuch", "--text", "file"), "nosuch: expected a directory that hwnas build"),
        (("evaluate", "full", "--text", "file"), "with config.json or model.gguf"),
        (("evaluate", "full"), "expected --text or --tasks"),
        (("evaluate", "full", "--text", "file", "--limit", "1"), "--limit: expected --tasks"),
        (("evaluate", "full", "--tasks", "x", "--tokens", "1"), "expected --text with them"),
        (("evaluate", "full", "--text", "file", "--device", "gpu"), "device: expected auto, cpu"),
    ],
)
def test_errors(hw: Any, arguments: tuple[str, ...], message: str) -> None:
    before = sorted(os.listdir())
    assert_user_error(hw(*arguments), message)
    assert sorted(os.listdir()) == before


def test_runs(hw: Any, finished: Path) -> None:
    build = ("build", str(finished), "--out", "x")
    assert_user_error(hw(*build), "expected --pick with a directory: knee, fastest, best or a bo")
    assert_user_error(hw(*build, "--pick", "kne"), "expected knee, fastest, best or a bound")
    assert_user_error(hw(*build, "--pick", "latency@cpu <= 0.5"), "no member of the front keeps")
    assert_user_error(hw(*build, "--pick", "knee", "--space", "gpt-l"), "a run has a space")
    assert not Path("x").exists()
    result = hw(*build, "--pick", "params <= 1e12")
    assert result.code == 0, result.err
    card = Path("x", "README.md").read_text(encoding="utf-8")
    assert "chosen by `--pick params <= 1e12`" in card
    assert str(finished) not in card
    assert "the weights are random" in result.err


def test_directories_that_are_there_and_empty(hw: Any) -> None:
    Path("mine").mkdir()
    Path("link").symlink_to("mine")
    assert hw(*BUILD, "link").code == 0
    assert sorted(os.listdir("mine")) == ["README.md", "config.json", "model.safetensors"]
    Path("nowhere").symlink_to("nothing")
    assert_user_error(hw(*BUILD, "nowhere"), "nowhere is a link to nothing")
    Path("here").mkdir()
    os.chdir("here")
    assert hw("build", ARCH, "--space", "../tiny.yaml", "--out", ".").code == 0
    assert sorted(os.listdir()) == ["README.md", "config.json", "model.safetensors"]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), OSError("9 of 99 bytes written")]
)
def test_full_disks(hw: Any, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def fail(model: Any, folder: Path) -> None:
        (folder / "half").write_text("half")
        raise error

    monkeypatch.setattr("hwnas.profiling.export.directory.save_model", fail)
    before = sorted(os.listdir())
    assert_user_error(hw(*BUILD, "x"), f"x: cannot be written: {error.strerror or error}")
    assert sorted(os.listdir()) == before


def test_full_disks_of_transformers(hw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    library = pytest.importorskip("transformers")
    safetensors = pytest.importorskip("safetensors")

    def fail(*arguments: Any, **options: Any) -> None:
        raise safetensors.SafetensorError("No space left on device")

    monkeypatch.setattr(library.PreTrainedModel, "save_pretrained", fail)
    result = hw(*BUILD, "x", "--format", "transformers")
    assert_user_error(result, "x: cannot be written: No space left on device")


def test_interrupts_leave_nothing(hw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(model: Any, folder: Path) -> None:
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr("hwnas.profiling.export.directory.save_model", stop)
    monkeypatch.setattr(sys, "argv", ["hwnas", *BUILD, "x"])
    before = sorted(os.listdir())
    result = hw(*BUILD, "x")
    assert (result.code, result.err) == (2, "hwnas: stopped\n")
    assert sorted(os.listdir()) == before


def test_evaluate(hw: Any) -> None:
    assert hw(*BUILD, "net").code == 0
    evaluate = ("evaluate", "net", "--text", "file", "--device", "cpu")
    assert_user_error(hw(*evaluate), "net: has no tokenizer; expected --tokenizer")
    result = hw(*evaluate, "--tokenizer", "bytes", "--format", "csv")
    assert result.code == 0, result.err
    header, first, second = result.out.splitlines()
    assert header == "source,metric,value,std,count"
    assert first.startswith("file,perplexity,2")  # nearly uniform over 257 tokens
    assert second.startswith("file,bits_per_byte,")
    assert first.endswith(",,7")
    result = hw(*evaluate, "--tokenizer", "bytes", "--tokens", "3")
    assert result.out.splitlines()[1].split()[-1] == "3"
