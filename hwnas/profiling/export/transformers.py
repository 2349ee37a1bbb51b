"""A model for the library transformers: its class there, its configuration and its weights.

Networks whose layers are all equal are what transformers has classes for: ``LlamaForCausalLM``,
and ``GPTNeoXForCausalLM`` where the heads together are as wide as the residual stream and linear
layers have biases. Every other network gets `hwnas.profiling.export.modeling_hwnas`, a file of code
that lies beside its weights.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from hwnas.errors import InvalidInput, MissingExtra
from hwnas.profiling.gpt import GPT
from hwnas.profiling.language_model import LanguageModel
from hwnas.profiling.llama import Llama
from hwnas.profiling.rotary import ROTARY_BASE

CODE = "modeling_hwnas.py"
LAYER_NORM_EPS = 1e-5  # torch's default

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class TransformersModel:
    """A model as transformers knows it.

    Attributes
    ----------
    class_name
        ``"LlamaForCausalLM"``, ``"GPTNeoXForCausalLM"`` or ``"HwnasForCausalLM"``.
    config
        Arguments of the class of its configuration.
    weights
        Weights by their names.
    """

    class_name: str
    config: dict[str, Any]
    weights: Weights

    @property
    def has_own_code(self) -> bool:
        """Whether the code is in a file beside the weights."""
        return self.class_name == "HwnasForCausalLM"


def convert(model: LanguageModel) -> TransformersModel:
    """Return a model as transformers knows it.

    Raises
    ------
    InvalidInput
        The model is of a family of a user's own.

    Examples
    --------
    >>> from hwnas.spaces import LlamaArchitecture
    >>> sizes = {"head_size": 16, "context": 64, "vocab_size": 50}
    >>> equal, unequal = ("tiny-2-32-64-64-2-2-1-1-True", "tiny-2-32-64-0-2-2-1-1-True")
    >>> for text in (equal, unequal):
    ...     convert(Llama(LlamaArchitecture.parse(text), **sizes)).class_name
    'LlamaForCausalLM'
    'HwnasForCausalLM'
    """
    if isinstance(model, Llama):
        has_class = is_homogeneous(model) and not model.rotary_factors
        return _llama(model) if has_class else _heterogeneous_llama(model)
    if isinstance(model, GPT):
        return _gpt_neox(model) if _is_gpt_neox(model) else _heterogeneous_gpt(model)
    raise InvalidInput(
        f"transformers: expected a network of the families gpt or llama, found {model.family}; "
        "its possible formats are safetensors and onnx"
    )


def is_homogeneous(model: LanguageModel) -> bool:
    """Return whether all layers have the same sizes, none of them 0."""
    arch = model.arch
    names = ("mlp_dim", "n_head", "n_kv_head") if isinstance(model, Llama) else ()
    sizes = [getattr(arch, name) for name in names or ("mlp_ratio", "n_head")]
    return all(len(set(values)) == 1 and values[0] > 0 for values in sizes)


def _is_gpt_neox(model: GPT) -> bool:
    arch = model.arch
    inner = arch.n_head[0] * model.head_size
    return is_homogeneous(model) and arch.bias and inner == arch.embed_dim


def write_transformers(model: LanguageModel, folder: Path, *, end: int | None = None) -> list[str]:
    """Write ``config.json``, ``generation_config.json``, ``model.safetensors`` and code, if any.

    Parameters
    ----------
    model
        Model with weights, which are written in their data type.
    folder
        Directory for the files.
    end
        Token at the end of a document, with which generation stops.

    Returns
    -------
    list of str
        Names of the files.

    Raises
    ------
    MissingExtra
        transformers is not installed.
    """
    library = import_transformers()
    converted = convert(model)
    module = own_code() if converted.has_own_code else library
    cls = getattr(module, converted.class_name)
    ids = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end}
    config = cls.config_class(**converted.config, **ids, dtype=model.dtype)
    config.hwnas = {"family": model.family, "arch": str(model.arch)}
    if converted.has_own_code:
        name = CODE.removesuffix(".py")
        config.auto_map = {
            "AutoConfig": f"{name}.HwnasConfig",
            "AutoModelForCausalLM": f"{name}.HwnasForCausalLM",
        }
        shutil.copyfile(str(module.__file__), folder / CODE)
    # Built without memory for weights, which are those of the model.
    with torch.device("meta"):
        exported = cls(config)
    exported.load_state_dict(converted.weights, assign=True)
    exported.tie_weights()
    exported.generation_config = library.GenerationConfig(**ids)
    exported.config.architectures = [converted.class_name]
    try:
        exported.save_pretrained(folder)
    except import_module("safetensors").SafetensorError as error:
        raise OSError(str(error)) from error  # the disk is full, say
    return sorted(file.name for file in folder.iterdir())


def own_code() -> ModuleType:
    """Import `hwnas.profiling.export.modeling_hwnas`; MissingExtra without transformers."""
    import_transformers()
    return import_module("hwnas.profiling.export.modeling_hwnas")


def import_transformers() -> ModuleType:
    """Import transformers; MissingExtra if it is not installed."""
    try:
        library = import_module("transformers")
    except ImportError as error:
        raise MissingExtra("a model for transformers", "transformers", "export") from error
    library.utils.logging.disable_progress_bar()
    return library


# -- families ------------------------------------------------------------------------------------


def _llama(model: Llama) -> TransformersModel:
    """Return a Llama of equal layers."""
    arch = model.arch
    config = {
        "vocab_size": model.vocab_size,
        "hidden_size": arch.embed_dim,
        "intermediate_size": arch.mlp_dim[0],
        "num_hidden_layers": arch.n_layer,
        "num_attention_heads": arch.n_head[0],
        "num_key_value_heads": arch.n_kv_head[0],
        "head_dim": model.head_size,
        "max_position_embeddings": model.context,
        "rms_norm_eps": model.norm_eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": model.rotary_base},
        "tie_word_embeddings": arch.tied,
    }
    weights = {
        "model.embed_tokens.weight": model.embedding.weight,
        "model.norm.weight": model.norm.weight,
        "lm_head.weight": model.output_weight,
    }
    for i, block in enumerate(model.blocks):
        layer: Any = block
        name = f"model.layers.{i}"
        for letter, rows in zip("qkv", split_qkv(layer.attention), strict=True):
            weights[f"{name}.self_attn.{letter}_proj.weight"] = rows
        gate, up = layer.mlp.fc.weight.chunk(2)
        weights |= {
            f"{name}.self_attn.o_proj.weight": layer.attention.proj.weight,
            f"{name}.mlp.gate_proj.weight": gate,
            f"{name}.mlp.up_proj.weight": up,
            f"{name}.mlp.down_proj.weight": layer.mlp.proj.weight,
            f"{name}.input_layernorm.weight": layer.norm_1.weight,
            f"{name}.post_attention_layernorm.weight": layer.norm_2.weight,
        }
    return TransformersModel("LlamaForCausalLM", config, _detached(weights))


def split_qkv(attention: Any) -> tuple[Tensor, ...]:
    """Return the rows of queries, keys and values of a Llama's attention, (heads * hs, C) each."""
    heads = (attention.n_head, attention.n_kv_head, attention.n_kv_head)
    parts: tuple[Tensor, ...] = attention.qkv.weight.split([n * attention.head_size for n in heads])
    return parts


def _gpt_neox(model: GPT) -> TransformersModel:
    """Return a GPT of equal layers whose heads fill the residual stream."""
    arch = model.arch
    config = {
        "vocab_size": model.vocab_size,
        "hidden_size": arch.embed_dim,
        "intermediate_size": arch.mlp_ratio[0] * arch.embed_dim,
        "num_hidden_layers": arch.n_layer,
        "num_attention_heads": arch.n_head[0],
        "max_position_embeddings": model.context,
        "layer_norm_eps": LAYER_NORM_EPS,
        "hidden_act": "gelu",
        "use_parallel_residual": True,
        "attention_bias": True,
        "tie_word_embeddings": False,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": float(ROTARY_BASE),
            "partial_rotary_factor": 0.5,
        },
    }
    names = {
        "norm_1": "input_layernorm",
        "norm_2": "post_attention_layernorm",
        "attention.qkv": "attention.query_key_value",
        "attention.proj": "attention.dense",
        "mlp.fc": "mlp.dense_h_to_4h",
        "mlp.proj": "mlp.dense_4h_to_h",
    }
    weights = {
        "gpt_neox.embed_in.weight": model.embedding.weight,
        "gpt_neox.final_layer_norm.weight": model.norm.weight,
        "gpt_neox.final_layer_norm.bias": model.norm.bias,
        "lm_head.weight": model.head.weight,
    }
    for i, block in enumerate(model.blocks):
        for key, tensor in block.state_dict().items():
            part, _, kind = key.rpartition(".")
            weights[f"gpt_neox.layers.{i}.{names[part]}.{kind}"] = tensor
    return TransformersModel("GPTNeoXForCausalLM", config, _detached(weights))


def _heterogeneous_llama(model: Llama) -> TransformersModel:
    """Return any Llama."""
    arch = model.arch
    config = {
        **_own_sizes(model),
        "n_kv_head": list(arch.n_kv_head),
        "mlp_dim": list(arch.mlp_dim),
        "rotary_size": model.head_size,
        "norm": "rms",
        "rope_theta": model.rotary_base,
        "rope_factors": model.rotary_factors or None,
        "norm_eps": model.norm_eps,
        "gated": True,
        "parallel": False,
        "bias": False,
        "tie_word_embeddings": arch.tied,
    }
    return TransformersModel("HwnasForCausalLM", config, model.state_dict())


def _heterogeneous_gpt(model: GPT) -> TransformersModel:
    """Return any GPT."""
    arch = model.arch
    config = {
        **_own_sizes(model),
        "n_kv_head": list(arch.n_head),
        "mlp_dim": [ratio * arch.embed_dim for ratio in arch.mlp_ratio],
        "rotary_size": model.head_size // 2,
        "norm": "layer",
        "norm_eps": LAYER_NORM_EPS,
        "gated": False,
        "parallel": True,
        "bias": arch.bias,
        "tie_word_embeddings": False,
    }
    weights = model.state_dict()
    for name, tensor in weights.items():
        if ".qkv." in name:
            # The rows of query, key and value of one head are adjacent here; there all queries
            # come first, then all keys, then all values.
            heads = tensor.view(-1, 3, model.head_size, *tensor.shape[1:])
            weights[name] = heads.transpose(0, 1).reshape(tensor.shape)
    return TransformersModel("HwnasForCausalLM", config, weights)


def _own_sizes(model: LanguageModel) -> dict[str, Any]:
    """Return the arguments of ``HwnasConfig`` that both families have."""
    return {
        "hidden_size": model.arch.embed_dim,
        "vocab_size": model.vocab_size,
        "head_size": model.head_size,
        "max_position_embeddings": model.context,
        "n_head": list(model.arch.n_head),
        "rope_theta": float(ROTARY_BASE),
    }


def _detached(weights: Weights) -> Weights:
    """Return weights in memory of their own, without gradients."""
    return {name: tensor.detach().contiguous() for name, tensor in weights.items()}
