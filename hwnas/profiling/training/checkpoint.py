"""Checkpoint files of trainings: their content, and the training that they belong to.

A checkpoint is a dictionary that ``torch.save`` wrote, with the keys `KEYS`. It is read without
running any pickled code.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hwnas.errors import InvalidInput
from hwnas.files import atomic_writer
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


def read_weights(file: Path, model: LanguageModel) -> dict[str, torch.Tensor]:
    """Read the weights in a checkpoint of the architecture of a model, by name.

    Raises
    ------
    InvalidInput
        The file is not a checkpoint, or belongs to another architecture.
    """
    content = _read_dictionary(file)
    arch = None if content is None else content.get("identity", {}).get("arch")
    if content is None or arch != str(model.arch) or "model" not in content:
        content_name = "something else" if arch is None else arch
        raise InvalidInput(f"{file}: expected a checkpoint of {model.arch}, found {content_name}")
    weights: dict[str, torch.Tensor] = content["model"]
    return weights


def _read_dictionary(file: Path) -> dict[str, Any] | None:
    """Return the dictionary that ``torch.save`` wrote, None if the file has none."""
    # weights_only: a pickle from elsewhere could run any code.
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError):
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
