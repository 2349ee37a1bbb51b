"""A Llama as GGUF, the format of llama.cpp.

A network of equal layers is written as ``llama``, any other as ``deci``, which has arrays of heads,
heads of keys and values, and widths of the MLP. llama.cpp rotates neighbouring numbers of a head
where we rotate the two halves, so the rows of queries and keys are reordered.

Two kinds of layers are written with zeros, which change nothing: llama.cpp takes the size of a head
from the first layer, so one without attention gets a head whose output is zero; and it skips the
attention of a layer without MLP, so such a layer gets one of `_EMPTY_MLP` numbers.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from hwnas.errors import InvalidInput, MissingExtra
from hwnas.profiling.data.tokenizer_interface import Tokenizer
from hwnas.profiling.export.tokenizer_files import end_token, tokenizer_description
from hwnas.profiling.export.transformers import is_homogeneous, split_qkv
from hwnas.profiling.language_model import LanguageModel
from hwnas.profiling.llama import Llama

MODEL = "model.gguf"
_EMPTY_MLP = 32
_NORMAL, _CONTROL, _UNUSED = 1, 3, 5  # llama.cpp's kinds of tokens
# A merge whose result is no token: llama.cpp wants a list, and divides what is none into bytes.
_NO_MERGES = ["Ā Ā"]


def write_gguf(
    model: LanguageModel, folder: Path, *, encoder: Tokenizer | None, name: str = ""
) -> list[str]:
    """Write ``model.gguf``.

    Parameters
    ----------
    model
        A Llama; its matrices are written as float16, or as float32 if it is in that data type.
    folder
        Directory for the file.
    encoder
        Tokenizer; None writes a file without a vocabulary.
    name
        Name of the model in the file.

    Raises
    ------
    InvalidInput
        The model is no Llama, or the tokenizer is none that llama.cpp knows.
    MissingExtra
        gguf is not installed.
    """
    if not isinstance(model, Llama):
        raise InvalidInput(
            f"gguf: expected a network of the family llama, found {model.family}, whose blocks "
            "llama.cpp does not know; its possible formats are transformers, onnx and safetensors"
        )
    if model.dtype not in (torch.float16, torch.float32):
        raise InvalidInput(
            f"gguf: expected --dtype float16 or float32, found {str(model.dtype)[6:]}"
        )
    library = _import_gguf()
    kind = "llama" if is_homogeneous(model) else "deci"
    writer = library.GGUFWriter(folder / MODEL, kind)
    try:
        _add_sizes(writer, library, model, name)
        _add_tokens(writer, model, encoder)
        for key, tensor in tensors(model).items():
            is_vector = tensor.dim() == 1
            array = (tensor.float() if is_vector else tensor).detach().contiguous().numpy()
            writer.add_tensor(key, array)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
    return [MODEL]


def layer_sizes(model: Llama) -> tuple[list[int], list[int], list[int]]:
    """Return heads, heads of keys and values, and widths of the MLPs, as they are written.

    >>> from hwnas.spaces import LlamaArchitecture
    >>> arch = LlamaArchitecture.parse("tiny-2-32-64-0-0-4-0-2-True")
    >>> layer_sizes(Llama(arch, head_size=16, context=64, vocab_size=50))
    ([1, 4], [1, 2], [64, 32])
    """
    arch = model.arch
    heads, groups = list(arch.n_head), list(arch.n_kv_head)
    heads[0], groups[0] = heads[0] or 1, groups[0] or 1
    return heads, groups, [hidden or _EMPTY_MLP for hidden in arch.mlp_dim]


def tensors(model: Llama) -> dict[str, Tensor]:
    """Return the weights by their names in llama.cpp."""
    width, inner = model.arch.embed_dim, model.head_size
    zeros = model.embedding.weight.new_zeros
    weights = {
        "token_embd.weight": model.embedding.weight,
        "output_norm.weight": model.norm.weight,
    }
    if model.head is not None:
        weights["output.weight"] = model.head.weight
    if model.rotary_factors:
        weights["rope_freqs.weight"] = torch.tensor(model.rotary_factors)
    for i, block in enumerate(model.blocks):
        layer: Any = block
        if layer.attention is not None:
            q, k, v = split_qkv(layer.attention)
            parts = [interleave(q, model.head_size), interleave(k, model.head_size), v]
            parts.append(layer.attention.proj.weight)
            norm = layer.norm_1.weight
        elif i == 0:
            parts = [*(zeros(inner, width) for _ in "qkv"), zeros(width, inner)]
            norm = zeros(width) + 1
        else:
            parts, norm = [], None
        for part, tensor in zip(("q", "k", "v", "output"), parts, strict=False):
            weights[f"blk.{i}.attn_{part}.weight"] = tensor
        if norm is not None:
            weights[f"blk.{i}.attn_norm.weight"] = norm
        # Every block has an MLP there: a missing one becomes a narrow one of zeros.
        if layer.mlp is not None:
            gate, up = layer.mlp.fc.weight.chunk(2)
            down, norm = layer.mlp.proj.weight, layer.norm_2.weight
        else:
            gate = up = zeros(_EMPTY_MLP, width)
            down, norm = zeros(width, _EMPTY_MLP), zeros(width) + 1
        weights |= {
            f"blk.{i}.ffn_norm.weight": norm,
            f"blk.{i}.ffn_gate.weight": gate,
            f"blk.{i}.ffn_up.weight": up,
            f"blk.{i}.ffn_down.weight": down,
        }
    return weights


def interleave(rows: Tensor, head_size: int) -> Tensor:
    """Reorder the rows (nh * hs, C) of queries or keys, so that rotated pairs are neighbours.

    >>> interleave(torch.arange(4)[:, None], 4).flatten().tolist()
    [0, 2, 1, 3]
    """
    halves = rows.view(-1, 2, head_size // 2, rows.shape[1])
    return halves.transpose(1, 2).reshape(rows.shape)


def _add_sizes(writer: Any, library: ModuleType, model: Llama, name: str) -> None:
    """Add the sizes of the network."""
    arch = model.arch
    heads, groups, hidden = layer_sizes(model)
    is_equal = is_homogeneous(model)
    kinds = library.LlamaFileType
    writer.add_name(name or str(arch))
    writer.add_context_length(model.context)
    writer.add_embedding_length(arch.embed_dim)
    writer.add_block_count(arch.n_layer)
    writer.add_head_count(heads[0] if is_equal else heads)
    writer.add_head_count_kv(groups[0] if is_equal else groups)
    writer.add_feed_forward_length(hidden[0] if is_equal else hidden)
    writer.add_key_length(model.head_size)
    writer.add_value_length(model.head_size)
    writer.add_rope_dimension_count(model.head_size)
    writer.add_rope_freq_base(model.rotary_base)
    writer.add_layer_norm_rms_eps(model.norm_eps)
    writer.add_vocab_size(model.vocab_size)
    is_half = model.dtype == torch.float16
    writer.add_file_type(int(kinds.MOSTLY_F16 if is_half else kinds.ALL_F32))


def _add_tokens(writer: Any, model: Llama, encoder: Tokenizer | None) -> None:
    """Add the vocabulary, with unused tokens up to that of the network."""
    if encoder is None:
        writer.add_tokenizer_model("no_vocab")
        return
    description = tokenizer_description(encoder)
    content, splitter = description["model"], description["pre_tokenizer"] or {}
    if content["type"] != "BPE" or splitter.get("type") != "ByteLevel":
        raise InvalidInput(
            f"gguf: expected a tokenizer of byte pairs with GPT-2's words, found {content['type']} "
            f"with {splitter.get('type')}; without --tokenizer the file has no vocabulary"
        )
    names = [f"[UNUSED{i}]" for i in range(model.vocab_size)]
    kinds = [_UNUSED] * model.vocab_size
    for text, rank in content["vocab"].items():
        names[rank], kinds[rank] = text, _NORMAL
    for token in description["added_tokens"]:
        names[token["id"]], kinds[token["id"]] = token["content"], _CONTROL
    end = end_token(description, encoder.end)
    names[encoder.end], kinds[encoder.end] = end, _CONTROL
    merges = [m if isinstance(m, str) else " ".join(m) for m in content["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(names)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges or _NO_MERGES)
    for add in (writer.add_bos_token_id, writer.add_eos_token_id, writer.add_pad_token_id):
        add(encoder.end)
    writer.add_add_bos_token(False)


def _import_gguf() -> ModuleType:
    """Import gguf; MissingExtra if it is not installed."""
    try:
        return import_module("gguf")
    except ImportError as error:
        raise MissingExtra("a model as GGUF", "gguf", "export") from error
