"""Checkpoint files of trainings: their content, and the training that they belong to.

A checkpoint is a dictionary that ``torch.save`` wrote, with the keys `KEYS`. It is read without
running any pickled code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hwnas.errors import InvalidInput
from hwnas.files import atomic_writer, unreadable
from hwnas.profiling.data.tokenizer import Tokens
from hwnas.profiling.language_model import LanguageModel
from hwnas.profiling.training.config import TrainingSettings

# Step, loss and seconds describe the progress; the last two are state dictionaries.
KEYS = frozenset({"identity", "step", "loss", "seconds", "model", "optimizer"})


def training_identity(
    model: LanguageModel, tokens: Tokens, settings: TrainingSettings
) -> dict[str, Any]:
    """Return everything that determines a training, except for the initial weights.

    Compiled code computes the same up to rounding, so `compile` is not part of it.
    """
    return {
        "arch": str(model.arch),
        **{name: getattr(model, name) for name in model.settings},
        **{name: value for name, value in asdict(settings).items() if name != "compile"},
        "tokens": fingerprint(tokens),
    }


def write_checkpoint(file: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically; `content` has the keys `KEYS`."""
    with atomic_writer(file) as partial:
        torch.save(dict(content), partial)


def read_checkpoint(file: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Read the checkpoint of a training.

    Parameters
    ----------
    identity
        Result of `training_identity` for the training that is to be continued.

    Raises
    ------
    InvalidInput
        The file is not a checkpoint, or belongs to another training.
    """
    content = _read_dictionary(file)
    if content is None or set(content) != KEYS:
        raise InvalidInput(f"{file}: expected a checkpoint of a training, found something else")
    # Name the first difference, for example another learning rate or another text.
    stored = content["identity"]
    for key, value in identity.items():
        if stored.get(key) != value:
            raise InvalidInput(
                f"{file}: a checkpoint of another training: expected {key} {value}, found "
                f"{stored.get(key)}"
            )
    return content


@dataclass(frozen=True)
class TrainedWeights:
    """Weights of a checkpoint, and how far they were trained.

    Attributes
    ----------
    weights
        By name.
    step, steps
        Steps that they were trained, and steps of the complete training.
    tokens
        Tokens in the batches of these steps; a token in several batches counts in each.
    """

    weights: dict[str, torch.Tensor]
    step: int
    steps: int
    tokens: int


def read_weights(file: Path, model: LanguageModel) -> TrainedWeights:
    """Read the weights in a checkpoint of the architecture of a model.

    Raises
    ------
    InvalidInput
        The file is not a checkpoint, or belongs to another architecture or to other sizes.
    """
    if not file.is_file():
        raise InvalidInput(f"{unreadable(file)}; expected a checkpoint of {model.arch}")
    content = _read_dictionary(file)
    if content is None or set(content) != KEYS or not isinstance(content["identity"], dict):
        raise InvalidInput(f"{file}: expected a checkpoint of {model.arch}, found something else")
    identity = content["identity"]
    if identity.get("arch") != str(model.arch):
        raise InvalidInput(
            f"{file}: expected a checkpoint of {model.arch}, found {identity.get('arch')}"
        )
    for name in model.settings:
        if identity.get(name) != getattr(model, name):
            raise InvalidInput(
                f"{file}: expected a checkpoint with {name} {getattr(model, name)}, found "
                f"{identity.get(name)}"
            )
    step = int(content["step"])
    tokens = step * int(identity["batch_size"]) * model.context
    return TrainedWeights(content["model"], step, int(identity["steps"]), tokens)


def _read_dictionary(file: Path) -> dict[str, Any] | None:
    """Return the dictionary that ``torch.save`` wrote, None if the file has none."""
    # weights_only: a pickle from elsewhere could run any code.
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # of a file that is none, whatever its bytes make of the unpickler
        return None
    return content if isinstance(content, dict) else None


def fingerprint(tokens: Tokens) -> str:
    """Return a hash of the number of tokens and of about 64 pieces of them.

    Its cost does not grow with the number of tokens.
    """
    # The tokens may be a memory-mapped file of many gigabytes, so only pieces of it are read.
    pieces = [tokens.ids[k : k + 4096] for k in range(0, len(tokens), 1 + len(tokens) // 64)]
    sample = np.concatenate(pieces).astype("<u4").tobytes()
    return hashlib.sha256(b"%d " % len(tokens) + sample).hexdigest()[:16]
