from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import pytest
import torch

from hwnas.errors import InvalidInput, MissingExtra
from hwnas.profiling.export.safetensors import load_model, save_model
from hwnas.profiling.gpt import GPT
from hwnas.profiling.llama import Llama
from hwnas.spaces import LlamaArchitecture
from hwnas.spaces.architecture import Architecture


@pytest.fixture
def folder(model: GPT, tmp_path: Path) -> Path:
    pytest.importorskip("safetensors")
    return save_model(model, tmp_path / "new")


def test_round_trip(model: GPT, folder: Path) -> None:
    loaded = load_model(folder)
    assert loaded.arch == model.arch
    tokens = torch.arange(64)[None]
    assert torch.equal(loaded(tokens), model(tokens))
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_configuration(model: GPT, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config == {
        "format": "hwnas-gpt-1",
        "arch": "tiny-2-32-2-1-1-2-True",
        "embed_dim": 32,
        "n_layer": 2,
        "mlp_ratio": [2, 1],
        "n_head": [1, 2],
        "bias": True,
        "head_size": 16,
        "context": 64,
        "vocab_size": 257,
        "params": model.params,
    }


LLAMAS = [LlamaArchitecture("tiny", 32, 2, (64, 0), (4, 2), (2, 1), tied) for tied in (False, True)]


@pytest.mark.parametrize("arch", LLAMAS, ids=str)
def test_round_trip_of_llama(arch: LlamaArchitecture, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    model = Llama(arch, head_size=16, context=64, vocab_size=257, seed=3)
    folder = save_model(model, tmp_path / "new")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config == {
        "format": "hwnas-llama-1",
        "arch": str(arch),
        "embed_dim": 32,
        "n_layer": 2,
        "mlp_dim": [64, 0],
        "n_head": [4, 2],
        "n_kv_head": [2, 1],
        "tied": arch.tied,
        "head_size": 16,
        "context": 64,
        "vocab_size": 257,
        "params": model.params,
    }
    loaded = load_model(folder)
    assert (type(loaded), loaded.arch) == (Llama, arch)
    tokens = torch.arange(64)[None]
    assert torch.equal(loaded(tokens), model(tokens))


@pytest.mark.parametrize("name", ["gpt2", "../x", "os:system"])
def test_configuration_of_an_unknown_family(folder: Path, name: str) -> None:
    (folder / "config.json").write_text(json.dumps({"format": f"hwnas-{name}-1"}))
    with pytest.raises(InvalidInput, match=r"config\.json: (unknown family|expected a config)"):
        load_model(folder)


def test_existing_files_are_not_overwritten(model: GPT, folder: Path) -> None:
    with pytest.raises(InvalidInput, match=r"config\.json: is there already"):
        save_model(model, folder)


def test_model_without_weights(tmp_path: Path) -> None:
    model = GPT(Architecture.parse("x-1-32-2-1-True"), device="meta")
    with pytest.raises(InvalidInput, match="expected a model with weights"):
        save_model(model, tmp_path)
    assert not list(tmp_path.iterdir())


def test_pickles_are_not_read(model: GPT, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object, **__: object) -> None:
        raise AssertionError("a pickle was read")

    monkeypatch.setattr(pickle, "load", read)
    monkeypatch.setattr(torch, "load", read)
    torch.save(model.state_dict(), folder / "model.safetensors")
    with pytest.raises(InvalidInput, match=r"expected the weights of tiny-2.* as safetensors"):
        load_model(folder)
    (folder / "model.safetensors").rename(folder / "model.bin")
    with pytest.raises(InvalidInput, match=r"no such file; model\.bin may be a pickle"):
        load_model(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[]", "expected a configuration with format 'hwnas-gpt-1'"),
        ('{"format": "hwnas-gpt-1"}', "missing: arch, head_size, context, vocab_size"),
    ],
)
def test_invalid_configuration(folder: Path, content: str, message: str) -> None:
    (folder / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInput, match=rf"config\.json: {message}"):
        load_model(folder)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("arch", "nonsense", r"config\.json: architecture 'nonsense'"),
        ("head_size", "16", r"config\.json: head_size: expected a positive integer, found '16'"),
        ("vocab_size", 300, r"model\.safetensors: expected the weights of .* size mismatch"),
    ],
)
def test_files_that_do_not_match(folder: Path, key: str, value: object, message: str) -> None:
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**config, key: value}), encoding="utf-8")
    with pytest.raises(InvalidInput, match=message) as error:
        load_model(folder)
    assert "\n" not in str(error.value)


def test_missing_safetensors(model: GPT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(MissingExtra, match=r'safetensors: pip install "hwnas\[profile\]"'):
        save_model(model, tmp_path)
