"""Files of supernets: weights, and checkpoints with the state of the optimizer, as safetensors.

Both have a description as JSON in their metadata. Nothing in them can run code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hwnas.errors import InvalidInput, MissingExtra
from hwnas.files import atomic_writer, unreadable
from hwnas.profiling.supernet.shared_weights import SharedWeights
from hwnas.spaces import LanguageModelSpace, require_language_model
from hwnas.spaces.factory import space as space_from

FORMAT = "hwnas-supernet-1"
_KEY = "supernet"


@dataclass(frozen=True, kw_only=True)
class Description:
    """Origin of the weights of a supernet.

    Attributes
    ----------
    space
        Choices of its space, as `hwnas.space` takes them.
    text
        Settings of the text, as `hwnas.profiling.data.corpus.load_corpus` takes them.
    text_sha256
        Hash of the text and its tokens.
    settings
        Settings of the training.
    step
        Steps of the training so far.
    """

    space: dict[str, Any]
    text: dict[str, Any]
    text_sha256: str
    settings: dict[str, Any]
    step: int


def write_tensors(file: Path, tensors: Mapping[str, Tensor], content: Mapping[str, Any]) -> None:
    """Write tensors and their description atomically.

    Raises
    ------
    MissingExtra
        safetensors is not installed.
    """
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    # A single key: several would be written in random order, and equal weights in unequal files.
    metadata = {_KEY: json.dumps({"format": FORMAT, **content})}
    data = _safetensors("safetensors.torch").save(contiguous, metadata=metadata)
    with atomic_writer(file) as partial:
        partial.write(data)


def read_tensors(
    file: Path, device: str | torch.device = "cpu"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote: the tensors and their description.

    Raises
    ------
    InvalidInput
        There is no such file, or it is no file of a supernet.
    """
    with _opened(file, device) as (content, description):
        return {name: content.get_tensor(name) for name in content.keys()}, description  # noqa: SIM118


def read_description(file: str | Path) -> tuple[LanguageModelSpace, Description]:
    """Read the space of a supernet and the origin of its weights, not the weights.

    Raises
    ------
    InvalidInput
        There is no such file, or it is no supernet.
    """
    file = Path(file)
    with _opened(file, "cpu") as (_, content):
        return _parse_description(file, content)


def write_supernet(file: Path, shared: SharedWeights, description: Description) -> None:
    """Write the weights of a supernet."""
    write_tensors(file, shared.weights, vars(description))


def read_supernet(
    file: str | Path, *, device: str | torch.device = "cpu"
) -> tuple[SharedWeights, Description]:
    """Read the weights of a supernet.

    Raises
    ------
    InvalidInput
        There is no such file, it is no supernet, or not one of the space that it names.
    """
    file = Path(file)
    tensors, content = read_tensors(file, device)
    space, description = _parse_description(file, content)
    shared = SharedWeights(space, device=device)
    check_tensors(file, tensors, shared.weights)
    shared.weights = tensors
    return shared, description


def check_tensors(file: Path, actual: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise InvalidInput unless tensors have the names, shapes and types of others."""
    for name in {**expected, **actual}:
        forms = [
            f"{tuple(tensors[name].shape)} {tensors[name].dtype}" if name in tensors else "nothing"
            for tensors in (expected, actual)
        ]
        if forms[0] != forms[1]:
            raise InvalidInput(f"{file}: {name}: expected {forms[0]}, found {forms[1]}")


def _parse_description(
    file: Path, content: dict[str, Any]
) -> tuple[LanguageModelSpace, Description]:
    """Return the space and the description of a supernet from the metadata of its file."""
    try:
        description = Description(**content)
        return require_language_model(space_from(description.space)), description
    except TypeError:
        raise InvalidInput(f"{file}: expected the weights of a supernet, found others") from None
    except InvalidInput as error:
        raise InvalidInput(f"{file}: {error}") from None


@contextmanager
def _opened(file: Path, device: str | torch.device) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Open a file that `write_tensors` wrote, and parse its description."""
    if not file.is_file():
        raise InvalidInput(f"{unreadable(file)}; expected one of hwnas supernet train --out FILE")
    library = _safetensors("safetensors")
    try:
        with library.safe_open(file, framework="pt", device=str(device)) as content:
            description = json.loads((content.metadata() or {}).get(_KEY, "{}"))
            if not isinstance(description, dict) or description.pop("format", None) != FORMAT:
                raise InvalidInput(f"{file}: expected the weights of a supernet, found others")
            yield content, description
    except (library.SafetensorError, json.JSONDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InvalidInput(
            f"{file}: expected the weights of a supernet as safetensors: {reason}"
        ) from None


def _safetensors(module: str) -> Any:
    """Import a module of safetensors; MissingExtra if it is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra("files of supernets", "safetensors", "profile") from error
