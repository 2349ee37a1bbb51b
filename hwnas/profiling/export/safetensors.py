"""A network as two files for use elsewhere: what it is, and its weights; never a pickle."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from hwnas.errors import InvalidInput, MissingExtra
from hwnas.files import atomic_writer
from hwnas.profiling.gpt import GPT
from hwnas.spaces.architecture import Architecture

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_FORMAT = "hwnas-gpt-1"
_SCALARS = ("head_size", "context", "vocab_size")
_PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")


def export(model: GPT, folder: str | Path) -> Path:
    """Write ``config.json`` and ``model.safetensors``.

    The weights are named as in `GPT` and have its type; ``config.json`` has all that `GPT` needs.

    Parameters
    ----------
    folder
        Is made if it is not there.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InvalidInput
        One of the files is there, or the network has no weights.
    MissingExtra
        safetensors is not installed.
    """
    folder = Path(folder)
    if model.cos.is_meta:
        raise InvalidInput(f"{model.arch}: expected a network with weights, found one on meta")
    for name in (CONFIG, WEIGHTS):
        if (folder / name).exists():
            raise InvalidInput(f"{folder / name} is there already; expected another folder")
    arch = model.arch
    config = {
        "format": _FORMAT,
        "arch": str(arch),
        "embed_dim": arch.embed_dim,
        "n_layer": arch.n_layer,
        "mlp_ratio": list(arch.mlp_ratio),
        "n_head": list(arch.n_head),
        "bias": arch.bias,
        **{name: getattr(model, name) for name in _SCALARS},
        "params": model.params,
    }
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    content = _safetensors().save(weights, metadata={"format": "pt"})
    with atomic_writer(folder / WEIGHTS) as file:
        file.write(content)
    with atomic_writer(folder / CONFIG) as file:
        file.write(json.dumps(config, indent=2).encode() + b"\n")
    return folder


def load(folder: str | Path, *, device: str | torch.device = "cpu") -> GPT:
    """The network that `export` wrote.

    Raises
    ------
    InvalidInput
        A file is missing, or is not what `export` writes: a pickle, for one, is never read.
    MissingExtra
        safetensors is not installed.
    """
    folder = Path(folder)
    model = _built(folder / CONFIG, device)
    file = folder / WEIGHTS
    if not file.is_file():
        pickles = sorted(f.name for f in folder.iterdir() if f.suffix in _PICKLES)
        hint = f"; {pickles[0]} may be a pickle, which is never read" if pickles else ""
        raise InvalidInput(f"{file}: no such file{hint}")
    library = _safetensors()
    try:
        weights = library.load_file(file, device=str(device))
        model.load_state_dict(weights)
    except (RuntimeError, import_module("safetensors").SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise InvalidInput(
            f"{file}: expected the weights of {model.arch} as safetensors: {reason}"
        ) from None
    return model


def _built(file: Path, device: str | torch.device) -> GPT:
    """A network as its configuration says, with weights of no meaning."""
    try:
        config: Any = json.loads(file.read_bytes())
    except OSError as error:
        raise InvalidInput(f"{file}: {error.strerror}") from None
    except ValueError:
        raise InvalidInput(f"{file}: not JSON") from None
    if not isinstance(config, dict) or config.get("format") != _FORMAT:
        raise InvalidInput(f"{file}: expected a configuration with format {_FORMAT!r}")
    if missing := [key for key in ("arch", *_SCALARS) if key not in config]:
        raise InvalidInput(f"{file}: missing: {', '.join(missing)}")
    try:
        arch = Architecture.parse(str(config["arch"]))
        return GPT(arch, **{name: config[name] for name in _SCALARS}, device=device)
    except InvalidInput as error:
        raise InvalidInput(f"{file}: {error}") from None


def _safetensors() -> ModuleType:
    try:
        return import_module("safetensors.torch")
    except ImportError as error:
        raise MissingExtra("a network's weights in a file", "safetensors", "profile") from error
