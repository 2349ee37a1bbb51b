"""Exported directories, loaded by the library of their format."""

from __future__ import annotations

import atexit
import ctypes
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from hwnas.errors import InvalidInput, MissingExtra
from hwnas.profiling.data.tokenizer_interface import Tokenizer
from hwnas.profiling.export import gguf, onnx, safetensors
from hwnas.profiling.export.tokenizer_files import TOKENIZER, tokenizer_named
from hwnas.profiling.export.transformers import (
    import_transformers,
    own_code,
    write_transformers,
)
from hwnas.profiling.language_model import LanguageModel
from hwnas.typing import TokenArray

Logits = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ExportedModel:
    """Model of an exported directory; a call returns the logits of the next tokens.

    Attributes
    ----------
    format
        One of `hwnas.profiling.export.directory.FORMATS`.
    arch
        Its architecture, or the name of the directory.
    context, vocab_size
        Maximum number of tokens of a sequence, and number of tokens.
    device
        Device of its weights.
    logits
        Function of tokens (B, T) that returns (B, T, vocab_size).
    module
        The model as its library loads it.
    tokenizer
        Tokenizer of the directory; None if it has none.
    """

    format: str
    arch: str
    context: int
    vocab_size: int
    device: torch.device
    logits: Logits
    module: Any
    tokenizer: Tokenizer | None

    def __call__(self, tokens: Tensor) -> Tensor:
        """Return the logits (B, T, vocab_size) of tokens (B, T)."""
        return self.logits(tokens)


def load_exported(folder: str | Path, *, device: str | torch.device = "cpu") -> ExportedModel:
    """Load an exported directory with the library of its format.

    No code of the directory is run: where transformers has no class, the code of hwnas is used.

    Parameters
    ----------
    folder
        Directory that `export_model` wrote, or that transformers did.
    device
        Device of a model as safetensors or for transformers. ONNX and GGUF are run on the CPU.

    Raises
    ------
    InvalidInput
        It is no such directory, or a file of it is damaged.
    MissingExtra
        The library of its format is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from hwnas.profiling.export.directory import export_model
    >>> from hwnas.profiling.gpt import GPT
    >>> from hwnas.spaces.architecture import Architecture
    >>> arch = Architecture.parse("tiny-1-32-2-1-True")
    >>> model = GPT(arch, head_size=16, context=64, vocab_size=50)
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     files = export_model(model, f"{parent}/net")
    ...     exported = load_exported(f"{parent}/net")
    >>> exported.format, exported.arch, exported(torch.zeros(1, 3).long()).shape
    ('safetensors', 'tiny-1-32-2-1-True', torch.Size([1, 3, 50]))
    """
    folder, device = Path(folder), torch.device(device)
    if not folder.is_dir():
        raise InvalidInput(f"{folder}: expected a directory that hwnas build wrote")
    if (folder / gguf.MODEL).is_file():
        return _load_gguf(folder)
    config = _read_config(folder)
    if "model_type" in config:
        return _load_transformers(folder, device)
    if str(config.get("format")).endswith("-onnx-1"):
        return _load_onnx(folder, config)
    model = safetensors.load_model(folder, device=device).eval()
    return ExportedModel(
        "safetensors",
        str(model.arch),
        model.context,
        model.vocab_size,
        device,
        model,
        model,
        _tokenizer_of(folder),
    )


def transformers_model(exported: ExportedModel) -> Any:
    """Return a model of the library transformers.

    Raises
    ------
    InvalidInput
        The directory is of another format than transformers and safetensors.
    """
    if exported.format == "transformers":
        return exported.module
    if isinstance(exported.module, LanguageModel):
        # Through files, as a user would: transformers fills in what a file does not have.
        with tempfile.TemporaryDirectory() as folder:
            write_transformers(exported.module, Path(folder))
            return _load_transformers(Path(folder), exported.device).module
    raise InvalidInput(
        f"expected a directory of the format transformers or safetensors, found {exported.format}"
    )


def _read_config(folder: Path) -> dict[str, Any]:
    """Return the content of ``config.json``."""
    file = folder / safetensors.CONFIG
    try:
        config = json.loads(file.read_bytes())
    except OSError:
        raise InvalidInput(
            f"{folder}: expected a directory that hwnas build wrote, with {safetensors.CONFIG} or "
            f"{gguf.MODEL}"
        ) from None
    except ValueError:
        raise InvalidInput(f"{file}: not JSON") from None
    if not isinstance(config, dict):
        raise InvalidInput(f"{file}: expected a JSON object")
    return config


def _tokenizer_of(folder: Path) -> Tokenizer | None:
    file = folder / TOKENIZER
    return tokenizer_named(str(file)) if file.is_file() else None


def _load_transformers(folder: Path, device: torch.device) -> ExportedModel:
    library = import_transformers()
    try:
        config = library.PreTrainedConfig.get_config_dict(folder, local_files_only=True)[0]
        is_own = config.get("architectures") == ["HwnasForCausalLM"]
        cls = own_code().HwnasForCausalLM if is_own else library.AutoModelForCausalLM
        model = cls.from_pretrained(folder, dtype="auto", local_files_only=True)
    except Exception as error:  # those of several libraries
        raise _unreadable(folder, "transformers", error) from None
    model = model.to(device).eval()
    own = getattr(model.config, "hwnas", None) or {}
    return ExportedModel(
        "transformers",
        str(own.get("arch", folder.name)),
        int(model.config.max_position_embeddings),
        int(model.config.vocab_size),
        device,
        lambda tokens: model(input_ids=tokens, use_cache=False).logits,
        model,
        _tokenizer_of(folder),
    )


def _load_onnx(folder: Path, config: dict[str, Any]) -> ExportedModel:
    library = _import("onnxruntime", "a model as ONNX", "export")
    file = folder / onnx.MODEL
    options = library.SessionOptions()
    options.log_severity_level = 4  # errors are raised
    try:
        session = library.InferenceSession(str(file), options)
        context, vocab_size = int(config["context"]), int(config["vocab_size"])
    except Exception as error:  # the library has exceptions of its own
        raise _unreadable(file, "ONNX", error) from None

    def logits(tokens: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"input_ids": tokens.numpy()})[0])

    arch = str(config.get("arch", folder.name))
    return ExportedModel(
        "onnx", arch, context, vocab_size, torch.device("cpu"), logits, session,
        _tokenizer_of(folder),
    )  # fmt: skip


def _load_gguf(folder: Path) -> ExportedModel:
    library = _import("llama_cpp", "a model as GGUF", "")
    file = folder / gguf.MODEL
    # Without its messages, of which errors are raised too. The library keeps no reference.
    callback = library.llama_log_callback(lambda level, text, data: None)
    library.llama_log_set(callback, ctypes.c_void_p(0))
    try:
        model = library.Llama(str(file), n_ctx=0, logits_all=True, verbose=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise _unreadable(file, "GGUF", error) from None
    vocab_size = int(model.n_vocab())
    # At the end of Python the library is gone before its model is.
    atexit.register(lambda: (model.close(), callback))

    def logits(tokens: Tensor) -> Tensor:
        rows = []
        for sequence in tokens.tolist():
            model.reset()
            model.eval(sequence)
            rows.append(torch.from_numpy(model.scores[: len(sequence)].copy()))
        return torch.stack(rows)

    has_vocabulary = model.metadata.get("tokenizer.ggml.model", "no_vocab") != "no_vocab"
    return ExportedModel(
        "gguf",
        model.metadata.get("general.name", folder.name),
        int(model.metadata[f"{model.metadata['general.architecture']}.context_length"]),
        vocab_size,
        torch.device("cpu"),
        logits,
        model,
        LlamaCppTokenizer(model, str(file)) if has_vocabulary else None,
    )


class LlamaCppTokenizer(Tokenizer):
    """Tokenizer within a GGUF.

    Parameters
    ----------
    model
        Model of llama-cpp-python.
    identity
        String that tells it from other tokenizers.
    """

    def __init__(self, model: Any, identity: str) -> None:
        self.name, self._model, self._identity = "gguf", model, identity
        self.vocab_size, self.end = int(model.n_vocab()), int(model.token_eos())

    @property
    def identity(self) -> str:
        """Name of its file."""
        return self._identity

    def encode(self, document: str) -> TokenArray:
        """Return the (n,) tokens of a document."""
        ids = self._model.tokenize(document.encode(), add_bos=False, special=False)
        return np.array(ids, dtype=self.dtype)

    def decode(self, ids: ArrayLike) -> str:
        """Return the text of (n,) tokens."""
        array = np.asarray(ids, dtype=np.int64)
        content = self._model.detokenize(array[array != self.end].tolist())
        return bytes(content).decode(errors="replace")


def _import(module: str, subject: str, extra: str) -> Any:
    """Import a library; one line that names its extra, or its package, if it is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        if extra:
            raise MissingExtra(subject, module, extra) from error
        raise InvalidInput(f"{subject} needs {module}: pip install llama-cpp-python") from None


def _unreadable(path: Path, kind: str, error: Exception) -> InvalidInput:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return InvalidInput(f"{path}: expected a model for {kind}: {reason}")
