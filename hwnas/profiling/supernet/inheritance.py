"""Weights of a supernet for the architectures of a search."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from hwnas.errors import InvalidInput
from hwnas.profiling.data.corpus import Corpus
from hwnas.profiling.language_model import LanguageModel
from hwnas.profiling.supernet.extremes import spanning_codes
from hwnas.profiling.supernet.shared_weights import SharedWeights
from hwnas.profiling.supernet.supernet_file import read_description, read_supernet
from hwnas.spaces import LanguageModelSpace

_SIZES = ("family", "head_size", "context", "vocab_size")  # that both spaces have to share


class Inheritance:
    """Models of a space with the weights of a supernet.

    Parameters
    ----------
    file
        Weights of a supernet.
    space
        Space of the models: that of the supernet, or one that is cut down from it.
    device
        Device of the models.

    Raises
    ------
    InvalidInput
        There is no such file, or it lacks architectures of the space.
    """

    def __init__(self, file: str | Path, space: LanguageModelSpace, device: torch.device) -> None:
        self.file, self.device = Path(file), device
        full_space, self.description = read_description(file)
        for size in _SIZES:
            expected, actual = getattr(space, size), getattr(full_space, size)
            if expected != actual:
                raise InvalidInput(
                    f"weights: {file} has {size} {actual}, space {space.name} has {expected}"
                )
        try:
            full_space.encode(space.decode(spanning_codes(space)))
            full_space.encode(space.decode(spanning_codes(space, largest=False)))
        except InvalidInput as error:
            raise InvalidInput(
                f"weights: {file} lacks architectures of space {space.name}: {error}"
            ) from None

    @cached_property
    def shared(self) -> SharedWeights:
        """The weights, read at the first access."""
        return read_supernet(self.file, device=self.device)[0]

    @cached_property
    def sha256(self) -> str:
        """Hash of the file."""
        with open(self.file, "rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()

    def model(self, arch: Any) -> LanguageModel:
        """Return the model of an architecture with weights of its own, equal to the inherited."""
        return self.shared.subnetwork(arch, copy=True)

    def check_text(self, corpus: Corpus) -> None:
        """Check that the held-out documents are those that the supernet was not trained on.

        Raises
        ------
        InvalidInput
            They are others, or other tokens.
        """
        if corpus.sha256 == self.description.text_sha256:
            return
        names = {"source": "text", "tokenizer_name": "tokenizer"}
        settings = ", ".join(
            f"{names.get(key, key)}: {value}"
            for key, value in self.description.text.items()
            if value is not None
        )
        raise InvalidInput(
            f"weights: {self.file} was trained on other text or tokens, so that documents it has "
            f"seen could be held out; expected {settings}, unchanged since the training"
        )
