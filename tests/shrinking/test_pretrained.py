"""Models of transformers and of hwnas, as our Llama."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hwnas.errors import InvalidInput
from hwnas.profiling import save_model
from hwnas.profiling.export.gguf import tensors
from hwnas.profiling.export.transformers import write_transformers
from hwnas.profiling.generation import Generator
from hwnas.profiling.gpt import GPT
from hwnas.profiling.llama import Llama
from hwnas.shrinking.pretrained import load_pretrained
from hwnas.shrinking.sliced_model import dense_member
from hwnas.spaces.architecture import Architecture

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
TOKENS = torch.randint(0, 97, (2, 20), generator=torch.Generator().manual_seed(0))


def foreign(folder: Path, **changed: Any) -> Any:
    """Write a Llama of transformers, and return it."""
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    shard = changed.pop("max_shard_size", "1GB")
    settings = {
        "vocab_size": 97,
        "hidden_size": 48,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0},
        **changed,
    }
    network = transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings)).eval()
    network.save_pretrained(folder, max_shard_size=shard)
    return network


@pytest.mark.parametrize(
    "changed",
    [
        {"tie_word_embeddings": True},
        {"tie_word_embeddings": False, "max_shard_size": "20KB"},
        {"num_key_value_heads": 6, "head_dim": 10},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}},
        {"rope_parameters": LLAMA3},
    ],
    ids=["tied", "untied in shards", "one query a head, own size of a head", "linear", "llama3"],
)
@torch.no_grad()
def test_logits_are_those_of_transformers(changed: dict[str, Any], tmp_path: Path) -> None:
    theirs = foreign(tmp_path, **changed)
    ours = load_pretrained(tmp_path)
    expected = theirs(TOKENS).logits
    torch.testing.assert_close(ours(TOKENS), expected, atol=1e-5, rtol=1e-4)
    # With a cache too: a prefill of 12 tokens, then steps.
    with Generator(ours, batch=2, positions=20) as generator:
        steps = [generator.prefill(TOKENS[:, :12]).clone()]
        steps += [generator.step(TOKENS[:, p], p).clone() for p in range(12, 20)]
    torch.testing.assert_close(torch.stack(steps, 1), expected[:, 11:], atol=1e-5, rtol=1e-4)


def test_sizes_alone_need_no_weights(tmp_path: Path) -> None:
    foreign(tmp_path)
    for file in tmp_path.glob("*.safetensors"):
        file.unlink()
    shape = load_pretrained(tmp_path, device="meta")
    assert shape.embedding.weight.is_meta
    assert (shape.arch.n_layer, shape.rotary_base, shape.norm_eps) == (2, 500_000.0, 1e-6)


def test_half_precision_keeps_tables_in_float32(tmp_path: Path) -> None:
    foreign(tmp_path)
    half = load_pretrained(tmp_path, dtype=torch.bfloat16)
    assert (half.dtype, half.cos.dtype) == (torch.bfloat16, torch.float32)


@torch.no_grad()
def test_settings_of_the_norms_and_positions_are_saved(model: Llama, tmp_path: Path) -> None:
    tokens = TOKENS[:, :16]
    save_model(model, tmp_path / "own")
    assert torch.equal(load_pretrained(tmp_path / "own")(tokens), model(tokens))
    pytest.importorskip("transformers")
    (tmp_path / "theirs").mkdir()
    write_transformers(model, tmp_path / "theirs")
    torch.testing.assert_close(load_pretrained(tmp_path / "theirs")(tokens), model(tokens))


@torch.no_grad()
def test_stretched_positions_are_exported(tmp_path: Path) -> None:
    foreign(tmp_path / "theirs", rope_parameters=LLAMA3)
    whole = load_pretrained(tmp_path / "theirs")
    assert len({*whole.rotary_factors}) > 2
    arch = replace(whole.arch, mlp_dim=(40, 8), n_head=(3, 6), n_kv_head=(1, 2))
    member = dense_member(whole, arch)
    expected = member(TOKENS)
    assert torch.equal(load_pretrained(save_model(member, tmp_path / "own"))(TOKENS), expected)
    for network, name in ((member, "small"), (whole, "whole")):
        (tmp_path / name).mkdir()
        write_transformers(network, tmp_path / name)
        auto = pytest.importorskip("transformers").AutoModelForCausalLM
        again = auto.from_pretrained(tmp_path / name, trust_remote_code=True).eval()
        torch.testing.assert_close(again(TOKENS).logits, network(TOKENS), atol=1e-5, rtol=1e-4)
    assert tensors(member)["rope_freqs.weight"].tolist() == pytest.approx(whole.rotary_factors)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"architectures": ["MistralForCausalLM"]}, "expected a LlamaForCausalLM or a network of "),
        ({"architectures": None, "model_type": "gpt2"}, "found gpt2"),
        ({"attention_bias": True}, "attention_bias True is not supported"),
        ({"mlp_bias": True}, "mlp_bias True is not supported"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' is not supported"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantization_config 'awq' is not"),
        ({"rope_scaling": {"rope_type": "yarn"}, "rope_parameters": None}, "'yarn' is not supp"),
        ({"rope_scaling": "linear", "rope_parameters": None}, "rope_scaling: expected an object"),
        ({"rope_parameters": {"rope_type": "linear"}}, "'factor' is missing"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 0}}, "a number above 0, found 0"),
        ({"num_attention_heads": None}, "expected the sizes of a LlamaForCausalLM"),
        ({"num_hidden_layers": 0}, "config.json: n_layer: expected a positive integer, found 0"),
        ({"intermediate_size": 44}, "down_proj.weight: expected"),
        ({"num_hidden_layers": 3}, "layers.2.self_attn.q_proj.weight is missing"),
        ({"num_hidden_layers": 1}, "is unexpected"),
    ],
)
def test_other_models_are_refused_in_one_line(
    changed: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    foreign(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))
    with pytest.raises(InvalidInput) as error:
        load_pretrained(tmp_path)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("value", "dtype", "reason"),
    [
        (float("nan"), torch.float32, "norm.weight: expected numbers, found infinite or NaN"),
        (float("inf"), torch.bfloat16, "norm.weight: expected numbers, found infinite or NaN"),
        (1.0, torch.float8_e4m3fn, "in float32, float16 or bfloat16"),
        (1.0, torch.int8, "in float32, float16 or bfloat16"),
    ],
)
def test_weights_that_cannot_be_used_are_named(
    value: float, dtype: torch.dtype, reason: str, tmp_path: Path
) -> None:
    foreign(tmp_path)
    change_weights(tmp_path, {"model.norm.weight": torch.full((48,), value).to(dtype)})
    with pytest.raises(InvalidInput, match=re.escape(reason)):
        load_pretrained(tmp_path)


@torch.no_grad()
def test_a_copy_of_the_embedding_is_the_output_layer_and_no_other_matrix(tmp_path: Path) -> None:
    network = foreign(tmp_path, tie_word_embeddings=True)
    embedding = network.model.embed_tokens.weight.detach()
    change_weights(tmp_path, {"lm_head.weight": embedding.clone()})
    torch.testing.assert_close(load_pretrained(tmp_path)(TOKENS), network(TOKENS).logits)
    change_weights(tmp_path, {"lm_head.weight": embedding + 1})
    with pytest.raises(InvalidInput, match="differs from the embedding"):
        load_pretrained(tmp_path)


def change_weights(folder: Path, changed: dict[str, torch.Tensor]) -> None:
    """Replace tensors in the weights of a directory, or add them."""
    safetensors = pytest.importorskip("safetensors.torch")
    file = folder / "model.safetensors"
    safetensors.save_file({**safetensors.load_file(file), **changed}, file)


def test_directories_without_a_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"config.json: no such file"):
        load_pretrained(tmp_path)
    gpt = GPT(Architecture.parse("t-1-32-2-1-True"), head_size=16, context=8, vocab_size=97)
    with pytest.raises(InvalidInput, match="expected a Llama, found a model of gpt"):
        load_pretrained(save_model(gpt, tmp_path / "gpt"))
    foreign(tmp_path)
    next(tmp_path.glob("*.safetensors")).rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(InvalidInput, match=r"pytorch_model.bin may be a pickle, which is never"):
        load_pretrained(tmp_path)
