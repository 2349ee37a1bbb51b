"""A model as ONNX: one graph without and one with a cache, which share a file of weights.

::

    model.onnx             input_ids -> logits
    model_with_past.onnx   input_ids, past_key_values.0.key, ... -> logits, present.0.key, ...
    model.onnx.data        the weights of both

Batch, length, and number of positions in the cache are dynamic; all sequences of a batch have the
same length. A cache of length 0 begins a generation. The cache has keys and values of each layer
with attention, (B, nkv, P, hs), numbered as the layers are.
"""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.errors import InvalidInput, MissingExtra
from hwnas.files import write_text
from hwnas.profiling.language_model import LanguageModel
from hwnas.profiling.rotary import rotate
from hwnas.spaces.precision import without_absent_precision

MODEL, WITH_PAST, DATA = "model.onnx", "model_with_past.onnx", "model.onnx.data"
CONFIG = "config.json"
_OPSET = 18
_EXAMPLE = (2, 3, 5)  # batch, tokens and past positions of the example that is traced
_MIN_SHARED_BYTES = 1024  # smaller constants stay in the graphs


class Decoder(nn.Module):
    """A model with its cache among inputs and outputs.

    Parameters
    ----------
    model
        Model in float32.
    """

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    @property
    def cached_layers(self) -> list[int]:
        """Indices of the layers with attention."""
        return [i for i, heads in enumerate(self.model.kv_heads) if heads]

    def forward(self, input_ids: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        """Return logits and, given a cache, the cache with the new positions.

        Parameters
        ----------
        input_ids
            (B, T) integers.
        past
            Keys, then values of each layer with attention, (B, nkv, P, hs); none without a cache.

        Returns
        -------
        logits (B, T, vocab_size), present (B, nkv, P + T, hs) for each of `past`
        """
        T = input_ids.shape[1]
        P = past[0].shape[2] if past else 0
        rows = torch.arange(P, P + T, device=input_ids.device)
        mask = torch.arange(P + T, device=input_ids.device) <= rows[:, None]  # (T, P + T)
        cos, sin = self.model.cos[rows], self.model.sin[rows]  # (T, p)
        present: list[Tensor] = []

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
            if past:
                n = len(present)
                k, v = torch.cat((past[n], k), dim=2), torch.cat((past[n + 1], v), dim=2)
                present.extend((k, v))
            group = q.shape[1] // k.shape[1]
            if group > 1:
                k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

        attends = [attend if heads else None for heads in self.model.kv_heads]
        logits = F.linear(self.model.features(input_ids, attends), self.model.output_weight)
        return logits, *present


def write_onnx(model: LanguageModel, folder: Path) -> list[str]:
    """Write both graphs, their weights and ``config.json``.

    Parameters
    ----------
    model
        Model of any family, in float32.
    folder
        Directory for the files.

    Returns
    -------
    list of str
        Names of the files.

    Raises
    ------
    InvalidInput
        The model has another data type, or its family generates no text.
    MissingExtra
        onnx or onnxscript is not installed.
    """
    library = _import("onnx_ir", "onnx", "onnxscript")
    if model.dtype != torch.float32:
        raise InvalidInput(f"onnx: expected --dtype float32, found {str(model.dtype)[6:]}")
    decoder = Decoder(model).eval()
    graphs = {MODEL: _export(decoder, has_past=False)}
    if decoder.cached_layers:
        graphs[WITH_PAST] = _export(decoder, has_past=True)
    _share_weights(library, graphs, folder)
    for name, graph in graphs.items():
        _remove_metadata(graph)
        library.save(graph, folder / name)
    choices = without_absent_precision(asdict(model.arch))
    del choices["space"]
    config = {
        "format": f"hwnas-{model.family}-onnx-1",
        "arch": str(model.arch),
        **choices,
        **{name: getattr(model, name) for name in model.settings},
        "params": model.params,
        "cached_layers": decoder.cached_layers,
    }
    write_text(folder / CONFIG, json.dumps(config, indent=2) + "\n")
    return sorted(file.name for file in folder.iterdir())


def cache_names(decoder: Decoder, prefix: str) -> list[str]:
    """Return the names of the tensors of a cache: ``past_key_values.0.key``, and so on."""
    return [f"{prefix}.{i}.{part}" for i in decoder.cached_layers for part in ("key", "value")]


def _export(decoder: Decoder, *, has_past: bool) -> Any:
    """Return a graph as a model of onnx_ir."""
    model = decoder.model
    B, T, P = _EXAMPLE
    dim = torch.export.Dim
    batch, length, past_length = dim("batch"), dim("length"), dim("past_length")
    example = [torch.zeros(B, T, dtype=torch.long)]
    past: list[Tensor] = []
    inputs, outputs = ["input_ids"], ["logits"]
    if has_past:
        for i in decoder.cached_layers:
            past += [torch.zeros(B, model.kv_heads[i], P, model.head_size) for _ in range(2)]
        inputs += cache_names(decoder, "past_key_values")
        outputs += cache_names(decoder, "present")
    shapes: list[Any] = [{0: batch, 1: length}]
    if past:
        shapes.append(tuple({0: batch, 2: past_length} for _ in past))
    with _quiet(), _any_length(model), torch.no_grad():
        program = torch.onnx.export(
            decoder,
            (*example, *past),
            dynamo=True,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=tuple(shapes),
            opset_version=_OPSET,
            verbose=False,
        )
    assert program is not None
    return program.model


@contextmanager
def _any_length(model: LanguageModel) -> Iterator[None]:
    """Let the context be no limit while a graph is traced, for which it would be a condition."""
    context = model.context
    model.context = 2**62
    try:
        yield
    finally:
        model.context = context


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's progress and its warnings, none of which a user can mend."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _share_weights(library: ModuleType, graphs: dict[str, Any], folder: Path) -> None:
    """Write the weights of all graphs to one file, each once, and let the graphs refer to it."""
    tensors: dict[str, tuple[int, int]] = {}  # offset and length by a hash of the content
    with open(folder / DATA, "wb") as file:
        for graph in graphs.values():
            for value in graph.graph.initializers.values():
                content = value.const_value.tobytes()
                if len(content) < _MIN_SHARED_BYTES:
                    continue
                key = hashlib.sha256(content).hexdigest()
                if key not in tensors:
                    file.write(b"\0" * (-file.tell() % 64))
                    tensors[key] = (file.tell(), len(content))
                    file.write(content)
                offset, length = tensors[key]
                value.const_value = library.ExternalTensor(
                    DATA,
                    offset,
                    length,
                    value.const_value.dtype,
                    shape=value.const_value.shape,
                    name=value.name,
                    base_dir=str(folder),
                )


def _remove_metadata(graph: Any) -> None:
    """Remove the exporter's notes, which name files of this machine."""
    graph.metadata_props.clear()
    for function in (graph.graph, *graph.functions.values()):
        function.metadata_props.clear()
        values = [*function.inputs, *getattr(function, "initializers", {}).values()]
        for node in function.all_nodes():
            node.metadata_props.clear()
            node.doc_string = None
            values += node.outputs
        for value in values:
            value.metadata_props.clear()
            value.doc_string = None


def _import(*modules: str) -> ModuleType:
    """Import modules and return the first; MissingExtra if one is not installed."""
    for module in modules:
        try:
            import_module(module)
        except ImportError as error:
            raise MissingExtra("a model as ONNX", module, "export") from error
    return import_module(modules[0])


__all__: Sequence[str] = ["Decoder", "write_onnx"]
