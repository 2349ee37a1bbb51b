"""Workloads: what a deployed language model is asked to do, and the memory that takes.

A workload has a name, by which objectives refer to it: ``tpot.serve@cuda``. Three are built in;
others are defined under ``workloads:`` in the YAML of an experiment. `kv_cache` and `weight_memory`
follow from an architecture and a workload alone, so they are exact and free.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.errors import InvalidInput, UnknownName, describe_value
from hwnas.spaces import LanguageModelSpace, SearchSpace, require_language_model
from hwnas.spaces.precision import PRECISIONS
from hwnas.typing import Array, IntArray

MB = 10**6  # bytes, as in HW-GPT-Bench's memory

# Bytes of a weight of the blocks' linear layers, and of everything else: embedding, output layer,
# norms, biases and the cache stay in bfloat16 where weights are quantized.
_WEIGHT_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1, "fp8": 1}
_OTHER_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 2, "fp8": 2}
QUANTIZED = ("int8", "fp8")
_SCALE_BYTES = {"int8": 4, "fp8": 4}  # a float32 for each output row of a quantized layer
_TABLE_BYTES = 4

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_MAX_NUMBER = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests that a model answers together.

    Attributes
    ----------
    prompt
        Number of tokens of each prompt.
    generate
        Number of tokens generated for each prompt; 0 for one forward pass.
    batch
        Number of requests that are answered at once.
    precision
        Format of the weights: ``"float32"``, ``"float16"``, ``"bfloat16"``, or ``"int8"`` and
        ``"fp8"``, in which the linear layers of the blocks have one byte a weight.

    Raises
    ------
    InvalidInput
        A number is out of range, or there is no such precision.

    Examples
    --------
    >>> Workload(prompt=896, generate=128, batch=64).meaning
    '64 requests at once, 896 tokens of prompt and 128 generated each, bfloat16'
    """

    prompt: int
    generate: int
    batch: int
    precision: str = "bfloat16"

    def __post_init__(self) -> None:
        for name, minimum in (("prompt", 1), ("generate", 0), ("batch", 1)):
            value = getattr(self, name)
            # type() and not isinstance(): True is no number here.
            if type(value) is not int or not minimum <= value <= _MAX_NUMBER:
                expected = "a positive integer" if minimum else "0 or a positive integer"
                raise InvalidInput(
                    f"{name}: expected {expected} below 2**31, found {describe_value(value)}"
                )
        if not isinstance(self.precision, str) or self.precision not in PRECISIONS:
            raise InvalidInput(
                f"precision: expected one of {', '.join(PRECISIONS)}, found "
                f"{describe_value(self.precision)}"
            )

    @property
    def positions(self) -> int:
        """Number of positions of each sequence, prompt and generated tokens together."""
        return self.prompt + self.generate

    @property
    def meaning(self) -> str:
        """Short text on the workload, for people."""
        if self.generate == 0:
            return f"one forward pass of {self.batch:,} x {self.prompt:,} tokens, {self.precision}"
        requests, each = "1 request", ""
        if self.batch > 1:
            requests, each = f"{self.batch:,} requests at once", " each"
        return (
            f"{requests}, {self.prompt:,} tokens of prompt and {self.generate:,} generated{each}, "
            f"{self.precision}"
        )

    def check(self, space: SearchSpace) -> None:
        """Check that the models of a space can do this workload.

        Raises
        ------
        InvalidInput
            Prompt and generated tokens are more than the space's context, or its members are no
            language models.

        Examples
        --------
        >>> import hwnas
        >>> Workload(1024, 1, batch=8).check(hwnas.space("gpt-s"))
        Traceback (most recent call last):
        hwnas.errors.InvalidInput: workload of 1,024 + 1 tokens: expected at most 1,024, the \
context of gpt-s
        """
        space = require_language_model(space)
        if self.positions > space.context:
            raise InvalidInput(
                f"workload of {self.prompt:,} + {self.generate:,} tokens: expected at most "
                f"{space.context:,}, the context of {space.name}"
            )


# A dict, because backends that hold it are pickled.
BUILT_IN: Mapping[str, Workload] = {
    "forward": Workload(prompt=1024, generate=0, batch=8),  # that of HW-GPT-Bench for gpt-s
    "chat": Workload(prompt=512, generate=256, batch=1),
    "serve": Workload(prompt=896, generate=128, batch=64),
}


def parse_workload(content: Any) -> Workload:
    """Return the workload of keys and values, as in a YAML.

    Parameters
    ----------
    content
        Mapping with ``prompt``, ``generate``, ``batch`` and, if wanted, ``precision``.

    Raises
    ------
    UnknownName
        A key does not exist.
    InvalidInput
        A key is missing, or a value is out of range.

    Examples
    --------
    >>> parse_workload({"prompt": 100, "generate": 50, "batch": 4, "precision": "float32"})
    Workload(prompt=100, generate=50, batch=4, precision='float32')
    """
    names = [field.name for field in fields(Workload)]
    required = names[:-1]
    if not isinstance(content, Mapping):
        raise InvalidInput(
            "expected keys and values, as in {prompt: 512, generate: 256, batch: 1}, found "
            f"{describe_value(content)}"
        )
    for key in content:
        if key not in names:
            raise UnknownName("key of a workload", str(key), names)
    if missing := [name for name in required if name not in content]:
        raise InvalidInput(f"a workload needs {', '.join(required)}; missing: {', '.join(missing)}")
    return Workload(**content)


def parse_workloads(content: Any) -> dict[str, Workload]:
    """Return the built-in workloads and those of keys and values, by name.

    Parameters
    ----------
    content
        Content of ``workloads:`` in a YAML; ``None`` for none.

    Raises
    ------
    InvalidInput
        A name is no identifier, or a built-in one with another meaning; or its workload is wrong,
        see `parse_workload`. The message begins with the name.

    Examples
    --------
    >>> list(parse_workloads({"mine": {"prompt": 100, "generate": 50, "batch": 4}}))
    ['forward', 'chat', 'serve', 'mine']
    """
    workloads = dict(BUILT_IN)
    if content is None:
        return workloads
    if not isinstance(content, Mapping):
        raise InvalidInput(
            "expected workloads by name, as in {mine: {prompt: 512, generate: 256, batch: 1}}, "
            f"found {describe_value(content)}"
        )
    for name, entry in content.items():
        if not isinstance(name, str) or not _IDENTIFIER.fullmatch(name):
            raise InvalidInput(
                "name of a workload: expected letters A to Z, digits and '_', no digit first, "
                f"found {describe_value(name)}"
            )
        try:
            workload = entry if isinstance(entry, Workload) else parse_workload(entry)
        except InvalidInput as error:
            raise InvalidInput(f"{name}: {error}") from None
        if workload != BUILT_IN.get(name, workload):
            raise InvalidInput(
                f"{name}: is built in as {BUILT_IN[name].meaning}; expected another name"
            )
        workloads[name] = workload
    return workloads


def workload_named(name: str, workloads: Mapping[str, Workload] = BUILT_IN) -> Workload:
    """Return a workload by its name.

    Raises
    ------
    UnknownName
        There is none of that name.

    Examples
    --------
    >>> workload_named("chat").generate
    256
    """
    if name not in workloads:
        raise UnknownName("workload", name, workloads)
    return workloads[name]


def load_workloads(source: str | None) -> dict[str, Workload]:
    """Return the built-in workloads and those of a YAML file, by name.

    Parameters
    ----------
    source
        A file that ends in ``.yaml`` or ``.yml``, such as an experiment with the key ``workloads``;
        the name of a space, or ``None``, for the built-in ones alone. `hwnas.spaces.load_space`
        takes the same texts.

    Raises
    ------
    InvalidInput
        The file cannot be read, or a workload in it is wrong; the message begins with its path.

    Examples
    --------
    >>> list(load_workloads("gpt-s"))
    ['forward', 'chat', 'serve']
    """
    if source is None or not source.endswith((".yaml", ".yml")):
        return dict(BUILT_IN)
    # The built-in ones need no YAML library.
    from hwnas.yaml_loader import read_yaml

    content = read_yaml(Path(source)).get("workloads")
    try:
        return parse_workloads(content)
    except InvalidInput as error:
        raise InvalidInput(f"{source}: workloads: {error}") from None


def kv_cache(space: LanguageModelSpace, codes: ArrayLike, workload: Workload) -> Array:
    """Return the memory of the keys and values of all requests, in MB of 10**6 bytes.

    ``2 * batch * (prompt + generate) * n_kv_head * head_size * bytes``, summed over the layers.
    Where weights are int8 or fp8, keys and values are bfloat16.

    Parameters
    ----------
    space
        Space of language models.
    codes : (n, d) integers
        Valid codes.
    workload
        Its precision gives way to a choice ``precision`` of the space.

    Returns
    -------
    (n,) float64

    Raises
    ------
    InvalidInput
        The workload does not fit into the context, or the family of the space defines no sizes.

    Examples
    --------
    12 layers with 12 heads of 64 numbers, 1,024 positions of 64 requests, 2 bytes each:

    >>> import hwnas
    >>> space = hwnas.space("gpt-s")
    >>> codes = space.canonical([[2] * len(space.columns)])
    >>> kv_cache(space, codes, BUILT_IN["serve"]).tolist()
    [2415.919104]
    """
    return kv_cache_bytes(space, codes, workload) / MB


def kv_cache_bytes(space: LanguageModelSpace, codes: ArrayLike, workload: Workload) -> IntArray:
    """Return `kv_cache` in bytes, (n,) int64.

    >>> from hwnas.spaces import space
    >>> gpt = space("gpt-s")  # 10 layers with 4 heads of 64 numbers, 5 positions, 2 bytes each
    >>> kv_cache_bytes(gpt, gpt.canonical([[0] * 27]), Workload(3, 2, 1))
    array([51200])
    """
    workload.check(space)
    sizes = space.model_sizes(codes)
    factor = 2 * workload.batch * workload.positions
    bytes_ = _bytes_of(_OTHER_BYTES, _precisions(space, codes, workload))
    if factor * int((sizes.kv_width * bytes_).max(initial=0)) >= 2**63:
        raise InvalidInput(
            f"a batch of {workload.batch:,} needs a cache of more than 2**63 bytes; expected fewer"
        )
    return np.asarray(factor * sizes.kv_width * bytes_, dtype=np.int64)


def weight_memory(space: LanguageModelSpace, codes: ArrayLike, workload: Workload) -> Array:
    """Return the memory of all weights and buffers of models, in MB of 10**6 bytes.

    A tied matrix counts once. Where weights are int8 or fp8, the linear layers of the blocks have
    one byte a weight and a float32 scale for each output row; embedding, output layer, norms and
    biases stay bfloat16. Rotary tables are float32 in every precision.

    Parameters
    ----------
    space
        Space of language models.
    codes : (n, d) integers
        Valid codes.
    workload
        Its precision gives way to a choice ``precision`` of the space.

    Returns
    -------
    (n,) float64

    Raises
    ------
    InvalidInput
        The workload does not fit into the context, or the family of the space defines no sizes.

    Examples
    --------
    >>> import hwnas
    >>> space = hwnas.space("gpt-s")
    >>> codes = space.canonical([[0] * len(space.columns)])
    >>> weight_memory(space, codes, BUILT_IN["chat"]).tolist()  # 2 bytes each, and two tables
    [45.623552]
    """
    return weight_bytes(space, codes, workload) / MB


def weight_bytes(space: LanguageModelSpace, codes: ArrayLike, workload: Workload) -> IntArray:
    """Return `weight_memory` in bytes, (n,) int64.

    >>> from hwnas.spaces import space
    >>> gpt = space("gpt-s")
    >>> weight_bytes(gpt, gpt.canonical([[0] * 27]), Workload(3, 2, 1)).dtype
    dtype('int64')
    """
    workload.check(space)
    sizes, precisions = space.model_sizes(codes), _precisions(space, codes, workload)
    return np.asarray(
        sizes.linear_weights * _bytes_of(_WEIGHT_BYTES, precisions)
        + sizes.linear_rows * _bytes_of(_SCALE_BYTES, precisions)
        + sizes.other_weights * _bytes_of(_OTHER_BYTES, precisions)
        + sizes.tables * _TABLE_BYTES,
        dtype=np.int64,
    )


# Closed forms by the metric's name, in MB and in bytes.
CLOSED_FORMS = MappingProxyType({"kv_cache": kv_cache, "weight_memory": weight_memory})
BYTES = MappingProxyType({"kv_cache": kv_cache_bytes, "weight_memory": weight_bytes})


def _precisions(
    space: LanguageModelSpace, codes: ArrayLike, workload: Workload
) -> NDArray[np.str_]:
    """Return the precision (n,) of each model: the space's choice, else the workload's."""
    array = np.asarray(codes)
    if "precision" not in space.choices:
        return np.full(len(array), workload.precision)
    column = list(space.choices).index("precision")
    return np.array(space.choices["precision"])[array[:, column].astype(np.intp)]


def _bytes_of(table: Mapping[str, int], precisions: NDArray[np.str_]) -> IntArray:
    """Return the bytes (n,) of a number in each precision; 0 where the table has none."""
    return np.array([table.get(name, 0) for name in precisions.tolist()], dtype=np.int64)
