"""A pretrained Llama as our model: a directory of transformers, or of ``hwnas build``.

Weights are copied tensor by tensor into the memory of the model: no second copy is ever complete.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hwnas.errors import InvalidInput, MissingExtra
from hwnas.files import unreadable
from hwnas.profiling.export.safetensors import CONFIG, WEIGHTS, build_from_config, load_model
from hwnas.profiling.llama import NORM_EPS, Llama
from hwnas.profiling.rotary import ROTARY_BASE
from hwnas.spaces import LlamaArchitecture

_INDEX = f"{WEIGHTS}.index.json"  # of weights that are split into several files
_CLASS = "LlamaForCausalLM"
_HEAD = "lm_head.weight"
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def load_pretrained(
    folder: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> Llama:
    """Load a Llama from its directory.

    Parameters
    ----------
    folder
        Directory with ``config.json`` and weights as safetensors, in one file or several: of the
        class ``LlamaForCausalLM`` of transformers, or written by ``hwnas build``.
    device
        Device of the weights; ``"meta"`` builds shapes without numbers and reads no weights.
    dtype
        Data type of the weights; by default float32 on a CPU, elsewhere that of the files.

    Raises
    ------
    InvalidInput
        It is another kind of model, or a file is missing or damaged. Pickles are never read.
    MissingExtra
        safetensors is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from hwnas.profiling import save_model
    >>> arch = LlamaArchitecture.parse("tiny-1-32-64-2-1-True")
    >>> model = Llama(arch, head_size=16, context=64, vocab_size=50)
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     str(load_pretrained(save_model(model, f"{parent}/net")).arch)
    'tiny-1-32-64-2-1-True'
    """
    folder = Path(folder)
    config = _read_json(folder / CONFIG)
    is_meta = torch.device(device).type == "meta"
    if dtype is None and (is_meta or torch.device(device).type == "cpu"):
        dtype = torch.float32
    if str(config.get("format", "")).startswith("hwnas-"):
        model = (
            build_from_config(folder / CONFIG, "meta")
            if is_meta
            else load_model(folder, device=device)
        )
        if not isinstance(model, Llama):
            raise InvalidInput(f"{folder}: expected a Llama, found a model of {model.family}")
        return _with_dtype(model, model.dtype if dtype is None else dtype).eval()
    arch, settings = _sizes(folder, config)
    try:
        model = Llama(arch, **settings, device="meta")
    except InvalidInput as error:
        raise InvalidInput(f"{folder / CONFIG}: {error}") from None
    if is_meta:
        return model
    files = _weight_files(folder)
    if dtype is None:
        dtype = _dtype_of(files)
    _with_dtype(model, dtype).to_empty(device=device)
    model.reset_tables()
    _copy_weights(model, files)
    return model.eval()


def _with_dtype(model: Llama, dtype: torch.dtype) -> Llama:
    """Cast the weights of a model in place; the tables of rotary positions stay float32."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
        parameter.requires_grad_(False)
    return model


def _sizes(folder: Path, config: Mapping[str, Any]) -> tuple[LlamaArchitecture, dict[str, Any]]:
    """Return architecture and settings of a configuration of transformers.

    Raises
    ------
    InvalidInput
        It is of another class, or has what our model has not.
    """
    file = folder / CONFIG
    classes = config.get("architectures") or [config.get("model_type")]
    if classes != [_CLASS]:
        found = ", ".join(map(str, classes))
        raise InvalidInput(
            f"{file}: expected a {_CLASS} or a network of hwnas build, found {found}"
        )
    rotary = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(rotary, dict):
        raise InvalidInput(
            f"{file}: rope_scaling: expected an object with rope_type, found {describe(rotary)}"
        )
    kind = str(rotary.get("rope_type", rotary.get("type", "default")))
    refused = {
        "hidden_act": config.get("hidden_act", "silu") != "silu",
        "attention_bias": bool(config.get("attention_bias")),
        "mlp_bias": bool(config.get("mlp_bias")),
        "quantization_config": config.get("quantization_config") is not None,
        "rope_type": kind not in ("default", "linear", "llama3"),
    }
    for name in (name for name, is_refused in refused.items() if is_refused):
        value = config.get(name, kind)
        raise InvalidInput(
            f"{file}: {name} {describe(value)} is not supported; expected SwiGLU without biases, "
            "weights in float32, float16 or bfloat16, and rotary positions as Llama has them"
        )
    try:
        width, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        layers = int(config["num_hidden_layers"])
        arch = LlamaArchitecture(
            _name_of(folder),
            width,
            layers,
            (int(config["intermediate_size"]),) * layers,
            (heads,) * layers,
            (int(config.get("num_key_value_heads") or heads),) * layers,
            bool(config.get("tie_word_embeddings", False)),
        )
        settings: dict[str, Any] = {
            "head_size": int(config.get("head_dim") or width // heads),
            "context": int(config["max_position_embeddings"]),
            "vocab_size": int(config["vocab_size"]),
            "norm_eps": float(config.get("rms_norm_eps", NORM_EPS)),
            "rotary_base": float(rotary.get("rope_theta", config.get("rope_theta") or ROTARY_BASE)),
        }
        pairs = settings["head_size"] // 2
        settings["rotary_factors"] = rotary_factors(rotary, kind, pairs, settings["rotary_base"])
    except KeyError as error:
        raise InvalidInput(
            f"{file}: expected the sizes of a {_CLASS}; {error} is missing"
        ) from None
    except (TypeError, ValueError, ZeroDivisionError) as error:
        # InvalidInput is a ValueError: it names the size, not the file.
        raise InvalidInput(f"{file}: expected the sizes of a {_CLASS}: {error}") from None
    return arch, settings


def rotary_factors(rotary: Mapping[str, Any], kind: str, pairs: int, base: float) -> list[float]:
    """Return the numbers by which a configuration divides the frequencies of rotary positions.

    Parameters
    ----------
    rotary
        Parameters of the positions.
    kind
        ``"default"``, ``"linear"``, or ``"llama3"``: long waves are stretched by a factor, short
        ones are not, and between the two wavelengths the reciprocals are interpolated.
    pairs
        Number of frequencies.
    base
        Base of the frequencies.

    Examples
    --------
    >>> rotary_factors({"factor": 4.0}, "linear", 2, 10_000.0)
    [4.0, 4.0]

    Raises
    ------
    InvalidInput
        A factor is not above 0.
    """
    if kind == "default":
        return []
    factor = float(rotary["factor"])
    if not 0 < factor < math.inf:
        raise InvalidInput(f"factor of rotary positions: expected a number above 0, found {factor}")
    if kind == "linear":
        return [factor] * pairs
    low, high = float(rotary["low_freq_factor"]), float(rotary["high_freq_factor"])
    former = float(rotary["original_max_position_embeddings"])
    factors = []
    for pair in range(pairs):
        # Waves in the context of the first training.
        waves = former * base ** -(pair / pairs) / (2 * math.pi)
        share = min(max((waves - low) / (high - low), 0.0), 1.0)
        factors.append(1 / ((1 - share) / factor + share))
    return factors


def describe(value: object) -> str:
    """Return a short text on a value of a configuration."""
    text = value.get("quant_method", "of some kind") if isinstance(value, dict) else value
    return f"{text!r:.40}"


def _copy_weights(model: Llama, files: Mapping[str, Path]) -> None:
    """Copy the weights of files into a model, one tensor at a time."""
    targets = _targets(model)
    missing = [name for name in targets if name not in files]
    copies = {_HEAD} if model.head is None else set()  # of the embedding, which some files have
    unexpected = [
        name
        for name in files
        if name not in targets and name not in copies and not name.endswith("rotary_emb.inv_freq")
    ]
    if missing or unexpected:
        fault = f"{missing[0]} is missing" if missing else f"{unexpected[0]} is unexpected"
        raise InvalidInput(f"{next(iter(files.values()))}: expected weights of {_CLASS}: {fault}")
    # File by file, so that each is opened once and no second copy of the weights is held.
    for file in dict.fromkeys(files.values()):
        with _opened(file) as content, torch.no_grad():
            for name in (name for name, owner in files.items() if owner == file):
                if name not in targets:
                    continue
                target, source = targets[name], content.get_tensor(name)
                if source.shape != target.shape or source.dtype not in _DTYPES:
                    raise InvalidInput(
                        f"{file}: {name}: expected {tuple(target.shape)} numbers in float32, "
                        f"float16 or bfloat16, found {tuple(source.shape)} {source.dtype}"
                    )
                target.copy_(source)
                if not bool(torch.isfinite(target).all()):
                    raise InvalidInput(f"{file}: {name}: expected numbers, found infinite or NaN")
    # An output layer that is said to be the embedding must equal it.
    for name in copies & files.keys():
        with _opened(files[name]) as content:
            copy = content.get_tensor(name).to(model.embedding.weight)
        if not torch.equal(copy, model.embedding.weight):
            raise InvalidInput(
                f"{files[name]}: {name} differs from the embedding, but the model's {CONFIG} has "
                "tie_word_embeddings: true; expected false"
            )


def _targets(model: Llama) -> dict[str, Tensor]:
    """Return where each tensor of transformers lies in a model, by name."""
    size = model.head_size
    targets: dict[str, Tensor] = {
        "model.embed_tokens.weight": model.embedding.weight,
        "model.norm.weight": model.norm.weight,
    }
    if model.head is not None:
        targets[_HEAD] = model.head.weight
    for i, block in enumerate(model.blocks):
        layer: Any = block
        name, attention = f"model.layers.{i}", layer.attention
        rows = [n * size for n in (attention.n_head, attention.n_kv_head, attention.n_kv_head)]
        for letter, part in zip("qkv", attention.qkv.weight.split(rows), strict=True):
            targets[f"{name}.self_attn.{letter}_proj.weight"] = part
        gate, up = layer.mlp.fc.weight.chunk(2)
        targets |= {
            f"{name}.self_attn.o_proj.weight": attention.proj.weight,
            f"{name}.mlp.gate_proj.weight": gate,
            f"{name}.mlp.up_proj.weight": up,
            f"{name}.mlp.down_proj.weight": layer.mlp.proj.weight,
            f"{name}.input_layernorm.weight": layer.norm_1.weight,
            f"{name}.post_attention_layernorm.weight": layer.norm_2.weight,
        }
    return targets


def _weight_files(folder: Path) -> dict[str, Path]:
    """Return the file of each tensor, by the tensor's name."""
    if (folder / _INDEX).is_file():
        listed = _read_json(folder / _INDEX).get("weight_map")
        if not isinstance(listed, dict) or any(Path(str(f)).name != f for f in listed.values()):
            raise InvalidInput(f"{folder / _INDEX}: expected weight_map, names of files by tensor")
        return {name: folder / file for name, file in listed.items()}
    file = folder / WEIGHTS
    if not file.is_file():
        pickles = sorted(f.name for f in folder.glob("*.bin"))
        hint = f"; {pickles[0]} may be a pickle, which is never read" if pickles else ""
        raise InvalidInput(f"{unreadable(file)}{hint}")
    with _opened(file) as content:
        return dict.fromkeys(content.keys(), file)


def _dtype_of(files: Mapping[str, Path]) -> torch.dtype:
    """Return the data type of the first tensor."""
    name, file = next(iter(files.items()))
    with _opened(file) as content:
        dtype: torch.dtype = content.get_tensor(name).dtype
    return dtype


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """Open a file of safetensors."""
    try:
        library = import_module("safetensors")
    except ImportError as error:
        raise MissingExtra("weights of a model in a file", "safetensors", "profile") from error
    try:
        with library.safe_open(file, framework="pt", device="cpu") as content:
            yield content
    except (OSError, library.SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise InvalidInput(f"{file}: expected safetensors: {reason}") from None


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise InvalidInput(
            f"{unreadable(file, error)}; expected the directory of a model"
        ) from None
    except ValueError:
        raise InvalidInput(f"{file}: not JSON") from None
    if not isinstance(content, dict):
        raise InvalidInput(f"{file}: expected an object with settings")
    return content


def _name_of(folder: Path) -> str:
    """Return a name for the space of a model from that of its directory."""
    name = "".join(
        c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in folder.resolve().name
    )
    return name if name[:1].isalpha() else f"model_{name}"
