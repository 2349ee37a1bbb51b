"""A directory with a network in one format, its tokenizer and its model card."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hwnas.errors import InvalidInput, UnknownName
from hwnas.files import write_text
from hwnas.profiling.data.tokenizer_interface import Tokenizer
from hwnas.profiling.export.gguf import write_gguf
from hwnas.profiling.export.model_card import CARD, Origin, model_card
from hwnas.profiling.export.onnx import write_onnx
from hwnas.profiling.export.safetensors import save_model
from hwnas.profiling.export.tokenizer_files import check_vocabulary, write_tokenizer
from hwnas.profiling.export.transformers import write_transformers
from hwnas.profiling.language_model import LanguageModel

FORMATS = ("safetensors", "transformers", "onnx", "gguf")


def export_model(
    model: LanguageModel,
    folder: str | Path,
    format_: str = "safetensors",
    *,
    encoder: Tokenizer | None = None,
    origin: Origin | None = None,
) -> list[str]:
    """Write a network to a new directory.

    Parameters
    ----------
    model
        Model with weights, which are written in their data type.
    folder
        Directory to create; it appears when it is complete.
    format_
        One of `FORMATS`.
    encoder
        Tokenizer that the network was trained with.
    origin
        Text of the model card on how the network was found and trained.

    Returns
    -------
    list of str
        Names of its files.

    Raises
    ------
    InvalidInput
        The directory is there and not empty, or the network has no such format.
    MissingExtra
        A library of the format is not installed.

    Examples
    --------
    >>> from hwnas.profiling.gpt import GPT
    >>> from hwnas.spaces.architecture import Architecture
    >>> arch = Architecture.parse("tiny-1-32-2-1-True")
    >>> model = GPT(arch, head_size=16, context=64, vocab_size=257)
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     export_model(model, f"{parent}/net")
    ['README.md', 'config.json', 'model.safetensors']
    """
    if format_ not in FORMATS:
        raise UnknownName("format", format_, FORMATS)
    if encoder is not None:
        check_vocabulary(encoder, model.vocab_size)
    with _new_folder(Path(folder)) as partial:
        if format_ == "safetensors":
            save_model(model, partial)
        elif format_ == "transformers":
            write_transformers(model, partial, end=None if encoder is None else encoder.end)
        elif format_ == "onnx":
            write_onnx(model, partial)
        else:
            write_gguf(model, partial, encoder=encoder)
        # A vocabulary is part of a GGUF.
        if encoder is not None and format_ != "gguf":
            write_tokenizer(encoder, partial, context=model.context)
        card = model_card(model, format_, has_tokenizer=encoder is not None, origin=origin)
        write_text(partial / CARD, card)
        return sorted(file.name for file in partial.iterdir())


def check_new(folder: Path) -> None:
    """Raise InvalidInput if a directory cannot be written: there is a file, or it is not empty."""
    if folder.is_symlink() and not folder.exists():
        raise InvalidInput(f"{folder} is a link to nothing; expected another folder")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidInput(f"{folder}: is there already; choose another directory")


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Make a directory that takes its name when the block ends without an error.

    Of a directory that is there and empty the files take their places then.
    """
    folder = Path(os.path.normpath(folder))
    check_new(folder)
    parent = folder.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".hwnas-build-", dir=parent))
    except OSError as error:
        raise InvalidInput(f"{folder}: cannot be created: {error.strerror}") from None
    try:
        yield partial
        partial.chmod(0o755)
        if folder.is_dir():
            for file in sorted(partial.iterdir()):
                os.replace(file, folder / file.name)
        else:
            os.replace(partial, folder)
    except OSError as error:  # of a full disk, say
        reason = error.strerror or " ".join(str(error).split())
        raise InvalidInput(f"{folder}: cannot be written: {reason}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
