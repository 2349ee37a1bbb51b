"""Exported networks compute what ours do: transformers, ONNX and GGUF, with and without a cache."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hwnas
from hwnas.errors import InvalidInput, UnknownName
from hwnas.profiling.data.tokenizer import ByteTokenizer, GPT2Tokenizer
from hwnas.profiling.export.directory import export_model
from hwnas.profiling.export.gguf import interleave, layer_sizes
from hwnas.profiling.export.tokenizer_files import tokenizer_description
from hwnas.profiling.gpt import GPT
from hwnas.profiling.language_model import LanguageModel, build_model
from hwnas.profiling.llama import Llama
from hwnas.spaces import LlamaArchitecture
from hwnas.spaces.architecture import Architecture

SIZES: dict[str, Any] = {"head_size": 16, "context": 96, "vocab_size": 257}
LLAMAS = {
    "tiny-2-48-96-96-4-4-2-2-True": "LlamaForCausalLM",
    "tiny-2-48-96-96-4-4-4-4-False": "LlamaForCausalLM",
    "tiny-4-32-64-96-0-32-4-0-6-3-2-0-1-3-False": "HwnasForCausalLM",
    "tiny-3-32-64-96-0-0-4-3-0-1-3-True": "HwnasForCausalLM",
    "tiny-2-32-64-0-0-4-0-2-True": "HwnasForCausalLM",
}
GPTS = {
    "tiny-2-32-2-2-2-2-True": "GPTNeoXForCausalLM",
    "tiny-2-32-2-2-2-2-False": "HwnasForCausalLM",
    "tiny-2-32-2-2-1-1-True": "HwnasForCausalLM",
    "tiny-3-32-2-0-1-1-2-0-True": "HwnasForCausalLM",
}


def network(text: str) -> LanguageModel:
    """Return a network of which every weight matters."""
    model: LanguageModel
    if text in LLAMAS:
        model = Llama(LlamaArchitecture.parse(text), **SIZES)
    else:
        model = GPT(Architecture.parse(text), **SIZES)
    return perturbed(model)


def perturbed(model: LanguageModel) -> LanguageModel:
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data += torch.randn(parameter.shape, generator=generator) / 9
    return model


def random_tokens(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, size=shape))


@torch.no_grad()
def greedy(model: LanguageModel, prompt: torch.Tensor, n: int = 64) -> torch.Tensor:
    for _ in range(n):
        prompt = torch.cat((prompt, model(prompt)[:, -1].argmax(-1, keepdim=True)), dim=1)
    return prompt


@torch.no_grad()
def check_transformers(model: LanguageModel, folder: Path, kind: str | None = None) -> None:
    transformers = pytest.importorskip("transformers")
    export_model(model, folder, "transformers", encoder=ByteTokenizer())
    other = transformers.AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    assert kind in (None, type(other).__name__)
    assert other.num_parameters() == model.params
    tokens = random_tokens(3, model.context)
    assert (other(tokens).logits - model(tokens)).abs().max() < 1e-4
    # Greedy decoding, with and without a cache, and behind padding on the left.
    prompt = tokens[:2, :8]
    expected = greedy(model, prompt)
    options = {"max_new_tokens": 64, "do_sample": False, "eos_token_id": None}
    padding = torch.zeros(2, 5, dtype=torch.long)
    mask = torch.cat((padding, torch.ones_like(prompt)), dim=1)
    padded = torch.cat((padding, prompt), dim=1)
    for result in (
        other.generate(prompt, use_cache=True, **options),
        other.generate(prompt, use_cache=False, **options),
        other.generate(prompt, cache_implementation="static", **options),
        other.generate(padded, attention_mask=mask, **options)[:, 5:],
        other.generate(padded, attention_mask=mask, cache_implementation="static", **options)[
            :, 5:
        ],
    ):
        assert torch.equal(result, expected)


@torch.no_grad()
def check_onnx(model: LanguageModel, folder: Path) -> None:
    library = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    export_model(model, folder, "onnx")
    options = library.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = library.InferenceSession(str(folder / "model.onnx"), options)
    for shape in ((1, 1), (3, model.context), (5, 2)):
        tokens = random_tokens(*shape)
        (logits,) = session.run(None, {"input_ids": tokens.numpy()})
        assert np.abs(logits - model(tokens).numpy()).max() < 1e-4
    heads = [n for n in model.kv_heads if n for _ in range(2)]
    if not heads:
        assert not (folder / "model_with_past.onnx").exists()
        return
    session = library.InferenceSession(str(folder / "model_with_past.onnx"), options)
    names = [value.name for value in session.get_inputs()][1:]
    prompt = random_tokens(2, 8)
    tokens, generated = prompt.numpy(), [prompt.numpy()]
    past = {
        name: np.zeros((2, n, 0, model.head_size), np.float32)
        for name, n in zip(names, heads, strict=True)
    }
    for _ in range(64):
        logits, *present = session.run(None, {"input_ids": tokens, **past})
        past = dict(zip(names, present, strict=True))
        tokens = logits[:, -1].argmax(-1)[:, None]
        generated.append(tokens)
    assert np.array_equal(np.concatenate(generated, axis=1), greedy(model, prompt).numpy())


def check_directory(folder: Path) -> None:
    """No file is a pickle or names a path of this machine."""
    for file in folder.iterdir():
        assert file.suffix not in (".bin", ".pt", ".pth", ".pkl")
        content = file.read_bytes()
        for path in (str(folder), str(Path(hwnas.__file__).parent), "site-packages"):
            assert path.encode() not in content, file


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize(("text", "kind"), [*LLAMAS.items(), *GPTS.items()])
def test_transformers(text: str, kind: str, tmp_path: Path) -> None:
    check_transformers(network(text), tmp_path / "net", kind)
    check_directory(tmp_path / "net")


@pytest.mark.parametrize("text", ["tiny-2-32-64-0-0-4-0-2-True"])
def test_onnx(text: str, tmp_path: Path) -> None:
    check_onnx(network(text), tmp_path / "net")
    check_directory(tmp_path / "net")


FAMILIES = {
    "llama": {
        "mlp_dim": [0, 32, 64], "n_head": [0, 2, 4], "n_kv_head": [1, 2], "tied": [False, True]
    },
    "gpt": {"mlp_ratio": [0, 1, 2], "n_head": [0, 1, 2], "bias": [False, True]},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("family", FAMILIES)
def test_random_networks(family: str, seed: int, tmp_path: Path) -> None:
    choices: dict[str, Any] = {"embed_dim": [32, 64], "n_layer": [1, 2, 3], **FAMILIES[family]}
    space: Any = hwnas.space({"family": family, "name": "small", **choices, **SIZES})
    (arch,) = space.decode(space.sample(1, np.random.default_rng(seed)))
    model = perturbed(build_model(space, arch))
    check_transformers(model, tmp_path / "transformers")
    check_onnx(model, tmp_path / "onnx")


@pytest.mark.parametrize("text", LLAMAS)
def test_gguf(text: str, tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    model: Any = network(text)
    export_model(model, tmp_path / "net", "gguf", encoder=ByteTokenizer())
    check_directory(tmp_path / "net")
    reader = gguf.GGUFReader(tmp_path / "net" / "model.gguf")
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    kind = reader.get_field("general.architecture").contents()
    assert kind == ("llama" if LLAMAS[text] == "LlamaForCausalLM" else "deci")
    heads, _, hidden = layer_sizes(model)
    expected = (heads[0], hidden[0]) if kind == "llama" else (heads, hidden)
    fields = ("attention.head_count", "feed_forward_length")
    assert tuple(reader.get_field(f"{kind}.{name}").contents() for name in fields) == expected
    assert np.array_equal(tensors["token_embd.weight"], model.embedding.weight.detach())
    assert ("output.weight" in tensors) == (not model.arch.tied)
    for i, block in enumerate(model.blocks):
        if block.attention is not None:
            n = block.attention.n_head * 16
            rows = interleave(block.attention.qkv.weight.detach()[:n], 16)
            assert np.array_equal(tensors[f"blk.{i}.attn_q.weight"], rows)
        elif f"blk.{i}.attn_output.weight" in tensors:
            assert not tensors[f"blk.{i}.attn_output.weight"].any()
        if block.mlp is None:
            assert not tensors[f"blk.{i}.ffn_down.weight"].any()
    names = reader.get_field("tokenizer.ggml.tokens").contents()
    assert (len(names), names[65], names[256]) == (257, "A", "<|endoftext|>")


def test_formats_that_a_network_has_not(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    model = network("tiny-2-32-2-2-1-1-True")
    with pytest.raises(InvalidInput, match="possible formats are transformers, onnx and saf"):
        export_model(model, tmp_path / "net", "gguf")
    with pytest.raises(UnknownName, match="unknown format 'onx'; did you mean 'onnx'"):
        export_model(model, tmp_path / "net", "onx")
    with pytest.raises(InvalidInput, match="expected --dtype float32, found float16"):
        export_model(model.half(), tmp_path / "net", "onnx")
    assert not list(tmp_path.iterdir())  # nothing is left of what failed


def test_a_directory_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InvalidInput, match="is there already; choose another directory"):
        export_model(network("tiny-2-32-2-2-1-1-True"), tmp_path)


def test_a_tokenizer_larger_than_the_vocabulary(tmp_path: Path) -> None:
    model = GPT(Architecture.parse("t-1-32-1-1-True"), head_size=16, context=8, vocab_size=100)
    with pytest.raises(InvalidInput, match="expected at most 100 tokens, the vocabulary of the"):
        export_model(model, tmp_path / "net", encoder=ByteTokenizer())


def test_tokenizers_encode_alike(tmp_path: Path) -> None:
    library = pytest.importorskip("tokenizers")
    words = [bytes([i]) for i in range(256)] + [b" t", b"he", b" the", b"in", b"ing"]
    import base64

    file = tmp_path / "gpt2.tiktoken"
    file.write_text("".join(f"{base64.b64encode(w).decode()} {i}\n" for i, w in enumerate(words)))
    text = "the thing's in the\n\n  ring é 日本 \x00 12"
    # A vocabulary that is cut has fewer merges, and the end token takes the next id.
    for encoder in (GPT2Tokenizer(file, vocab_size=262), GPT2Tokenizer(file, vocab_size=259)):
        other = library.Tokenizer.from_str(json.dumps(tokenizer_description(encoder)))
        assert other.encode(text).ids == encoder.encode(text).tolist()
        assert other.decode(other.encode(text).ids) == text
        assert other.token_to_id("<|endoftext|>") == encoder.end == encoder.vocab_size - 1


def test_model_card(tmp_path: Path) -> None:
    export_model(network("tiny-2-32-2-2-1-1-True"), tmp_path / "net")
    card = (tmp_path / "net" / "README.md").read_text(encoding="utf-8")
    assert re.search(r"^license: unknown$", card, re.M)
    assert "tiny-2-32-2-2-1-1-True" in card
    assert "The weights are random." in card


@pytest.mark.parametrize("encoder", [None, ByteTokenizer()], ids=["without tokenizer", "bytes"])
def test_use_of_a_model_card_runs(encoder: Any, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    export_model(
        network("tiny-2-32-2-2-1-1-True"), tmp_path / "net", "transformers", encoder=encoder
    )
    card = (tmp_path / "net" / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    exec(code.replace('"DIR"', repr(str(tmp_path / "net"))), {})  # raises nothing
