"""A model in two files, its configuration and its weights as safetensors; never a pickle."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from hwnas.deprecation import warn_renamed
from hwnas.errors import InvalidInput, MissingExtra
from hwnas.files import atomic_writer, unreadable, write_text
from hwnas.profiling.language_model import LanguageModel, import_model_class
from hwnas.spaces import LanguageModelSpace
from hwnas.spaces.families import family
from hwnas.spaces.precision import without_absent_precision

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_FORMAT = "hwnas-{}-1"  # the family of the model
_PICKLE_SUFFIXES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")


def save_model(model: LanguageModel, folder: str | Path) -> Path:
    """Write ``config.json`` and ``model.safetensors``.

    The weights have the names and the data type that they have in `model`. ``config.json`` holds
    all arguments of its class.

    Parameters
    ----------
    folder
        Directory for the files; created if it does not exist.

    Returns
    -------
    Path
        The directory.

    Raises
    ------
    InvalidInput
        One of the files exists already, or the model has no weights.
    MissingExtra
        safetensors is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from hwnas.profiling.gpt import GPT
    >>> from hwnas.spaces.architecture import Architecture
    >>> arch = Architecture.parse("tiny-1-32-2-1-True")
    >>> model = GPT(arch, head_size=16, context=64, vocab_size=50)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     str(load_model(save_model(model, folder)).arch)
    'tiny-1-32-2-1-True'
    """
    folder = Path(folder)
    if model.embedding.weight.is_meta:
        raise InvalidInput(f"{model.arch}: expected a model with weights, found one on meta")
    for name in (CONFIG, WEIGHTS):
        if (folder / name).exists():
            raise InvalidInput(f"{folder / name}: is there already; choose another directory")
    choices = without_absent_precision(asdict(model.arch))
    del choices["space"]
    config = {
        "format": _FORMAT.format(model.family),
        "arch": str(model.arch),
        **choices,
        **{name: getattr(model, name) for name in model.settings},
        "params": model.params,
    }
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    content = _import_safetensors().save(weights, metadata={"format": "pt"})
    # The configuration comes last, so that a folder with one is complete.
    with atomic_writer(folder / WEIGHTS) as file:
        file.write(content)
    write_text(folder / CONFIG, json.dumps(config, indent=2) + "\n")
    return folder


def load_model(folder: str | Path, *, device: str | torch.device = "cpu") -> LanguageModel:
    """Load a model that `save_model` wrote.

    Raises
    ------
    InvalidInput
        A file is missing, or was not written by `save_model`. Pickles are never read.
    MissingExtra
        safetensors is not installed.

    Examples
    --------
    See `hwnas.load`, which is this function.

    >>> load_model("no-such-folder")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    hwnas.errors.InvalidInput: no-such-folder/config.json: no such file
    """
    folder = Path(folder)
    model = build_from_config(folder / CONFIG, device)
    file = folder / WEIGHTS
    if not file.is_file():
        pickles = sorted(f.name for f in folder.iterdir() if f.suffix in _PICKLE_SUFFIXES)
        hint = f"; {pickles[0]} may be a pickle, which is never read" if pickles else ""
        raise InvalidInput(f"{unreadable(file)}{hint}")
    # A wrong shape or name is an error of torch, a damaged file one of safetensors.
    library = _import_safetensors()
    try:
        weights = library.load_file(file, device=str(device))
        model.load_state_dict(weights)
    except (RuntimeError, import_module("safetensors").SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise InvalidInput(
            f"{file}: expected the weights of {model.arch} as safetensors: {reason}"
        ) from None
    return model


def build_from_config(file: Path, device: str | torch.device) -> LanguageModel:
    """Build the model of a configuration file; its weights are random."""
    try:
        config: Any = json.loads(file.read_bytes())
    except OSError as error:
        raise InvalidInput(
            f"{unreadable(file, error)}; expected a directory that hwnas build wrote"
        ) from None
    except ValueError:
        raise InvalidInput(f"{file}: not JSON") from None
    format_name = config.get("format") if isinstance(config, dict) else None
    match = re.fullmatch(_FORMAT.format(r"([A-Za-z0-9._-]+)"), str(format_name))
    if match is None:
        raise InvalidInput(
            f"{file}: expected a configuration with format {_FORMAT.format('gpt')!r}, or of "
            f"another family, found {format_name!r}"
        )
    try:
        cls = _class_of(match[1])
        if missing := [key for key in ("arch", *cls.settings) if key not in config]:
            raise InvalidInput(f"missing: {', '.join(missing)}")
        names = (*cls.settings, *cls.optional_settings)
        settings = {name: config[name] for name in names if name in config}
        model: LanguageModel = cls(
            cls.arch_type.parse(str(config["arch"])), **settings, device=device
        )
        return model
    except InvalidInput as error:
        raise InvalidInput(f"{file}: {error}") from None


def _class_of(name: str) -> Any:
    """Return the class of the models of a family."""
    space = family(name)
    if not issubclass(space, LanguageModelSpace):
        raise InvalidInput(f"expected a family of language models, found {name!r}")
    return import_model_class(space.module)


def _import_safetensors() -> ModuleType:
    """Import safetensors; MissingExtra if it is not installed."""
    try:
        return import_module("safetensors.torch")
    except ImportError as error:
        raise MissingExtra("weights of a model in a file", "safetensors", "profile") from error


def __getattr__(name: str) -> Any:
    former = {"export": save_model, "load": load_model}
    if name in former:
        warn_renamed(f"hwnas.profiling.export.safetensors.{name}", former[name].__name__)
        return former[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
