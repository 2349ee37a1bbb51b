"""Llama-family models: the search spaces and their closed forms.

The models are those of Llama 2 (Touvron et al. 2023, arXiv:2307.09288): RMSNorm before attention
and before the MLP, one after the other on the residual stream; grouped-query attention with rotary
positions on whole heads; SwiGLU; no biases. `hwnas.profiling.llama` builds them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hwnas.errors import InvalidInput
from hwnas.spaces.choices import (
    find_indices,
    to_int64,
    validate_integers,
    validate_model_name,
    validate_positive,
)
from hwnas.spaces.gpt import HEAD_SIZE
from hwnas.spaces.language_model import (
    LanguageModelSpace,
    ModelSizes,
    architectures_of,
    check_countable,
    layer_rows,
)
from hwnas.spaces.llama_architecture import LlamaArchitecture
from hwnas.spaces.precision import (
    decode_precisions,
    encode_precisions,
    precision_choice,
    validate_precisions,
)
from hwnas.typing import Codes, IntArray

LLAMA_CONTEXT = 2048
LLAMA_VOCABULARY = 32_000  # of Llama 2's tokenizer: a multiple of 64, and below half of GPT-2's

# The largest widths and numbers of heads are those of the models of 60M, 350M and 1B parameters of
# GaLore (Zhao et al. 2024, arXiv:2403.03507). The largest MLP is three times as wide as the stream,
# between Llama 2 7B (2.7) and Llama 3 8B (3.5). Untied, the largest members have 60, 338 and 1,003
# million parameters.
LLAMA_CHOICES: dict[str, dict[str, Any]] = {
    name: {
        "embed_dim": (width // 2, width * 3 // 4, width),
        "n_layer": tuple(range(depth // 2, depth + 1)),
        "mlp_dim": (width, 2 * width, 3 * width),
        "n_head": (heads // 4, heads // 2, heads),
        "n_kv_head": (heads // 8, heads // 4, heads // 2, heads),
    }
    for name, (width, depth, heads) in {
        "llama-s": (512, 8, 8),
        "llama-m": (1024, 20, 16),
        "llama-l": (2048, 16, 32),
    }.items()
}
_OUTSIDE = ("embed_dim", "n_layer", "tied")  # the layers; a choice of precision follows them
_PER_LAYER = ("mlp_dim", "n_head", "n_kv_head")


class LlamaSpace(LanguageModelSpace):
    """Set of all Llama-family architectures that combine given choices.

    The columns of a code are ``embed_dim``, ``n_layer``, ``tied`` and, if it is a choice,
    ``precision``, then ``mlp_dim``, ``n_head`` and ``n_kv_head`` of each layer in turn. Within a
    layer ``n_kv_head`` divides ``n_head``.

    Parameters
    ----------
    name
        Name of the space; architectures carry it.
    embed_dim, n_layer
        The choices, in increasing order.
    mlp_dim, n_head, n_kv_head
        The choices for each layer, in increasing order. An `mlp_dim` of 0 leaves out the MLP of a
        layer, 0 heads its attention; never both.
    tied
        Whether the output layer uses the matrix of the token embeddings: ``[True]``, ``[False]``,
        or both as a choice.
    precision
        The choices of the weights' precision, by default none; see `hwnas.spaces.precision`.
    head_size
        Width of one attention head, even (it is rotated in pairs of numbers).
    context
        Sequence length in tokens.
    vocab_size
        Number of tokens.

    Raises
    ------
    InvalidInput
        The choices are empty, not increasing or not positive integers, or a number of heads fits
        none of the other kind.

    Examples
    --------
    >>> choices = {"embed_dim": [64], "n_layer": [1, 2], "mlp_dim": [128, 192], "tied": [True]}
    >>> space = LlamaSpace("mine", **choices, n_head=[2, 4], n_kv_head=[2, 4])
    >>> space.columns[2:6]
    ('tied', 'mlp_dim_0', 'n_head_0', 'n_kv_head_0')
    >>> space.size  # 2 * 3 layers without 4 heads of keys and values for 2 of queries: 6 + 6 * 6
    42
    """

    family = "llama"
    module = "hwnas.profiling.llama:Llama"
    named = LLAMA_CHOICES

    def __init__(
        self,
        name: str,
        *,
        embed_dim: Sequence[int],
        n_layer: Sequence[int],
        mlp_dim: Sequence[int],
        n_head: Sequence[int],
        n_kv_head: Sequence[int],
        tied: Sequence[bool] = (False, True),
        precision: Sequence[str] = (),
        head_size: int = HEAD_SIZE,
        context: int = LLAMA_CONTEXT,
        vocab_size: int = LLAMA_VOCABULARY,
    ) -> None:
        validate_model_name(name)
        self.embed_dim = validate_integers("embed_dim", embed_dim)
        self.n_layer = validate_integers("n_layer", n_layer)
        self.mlp_dim = validate_integers("mlp_dim", mlp_dim, minimum=0)
        self.n_head = validate_integers("n_head", n_head, minimum=0)
        self.n_kv_head = validate_integers("n_kv_head", n_kv_head)
        self.tied = _validate_tied(tied)
        self.precision = validate_precisions(precision)
        self.head_size = validate_positive("head_size", head_size)
        self.context = validate_positive("context", context)
        self.vocab_size = validate_positive("vocab_size", vocab_size)
        if head_size % 2:
            raise InvalidInput(f"head_size: expected an even number, found {head_size}")
        _validate_heads(self.n_head, self.n_kv_head)
        check_countable(
            width=self.embed_dim[-1],
            depth=self.n_layer[-1],
            inner=self.n_head[-1] * head_size,
            hidden=self.mlp_dim[-1],
            vocab_size=vocab_size,
            context=context,
        )
        with_attention = [heads for heads in self.n_head if heads]
        has_condition = len(with_attention) < len(self.n_head)
        super().__init__(
            name,
            {
                "embed_dim": self.embed_dim,
                "n_layer": self.n_layer,
                "tied": self.tied,
                **precision_choice(self.precision),
            },
            layers={key: getattr(self, key) for key in _PER_LAYER},
            depth="n_layer",
            conditions={"n_kv_head": {"n_head": with_attention}} if has_condition else None,
            allowed=_is_layer,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return family, name and choices: `hwnas.space` makes the same space of them."""
        choices = ("embed_dim", "n_layer", *_PER_LAYER, "tied")
        scalars = ("head_size", "context", "vocab_size")
        return {
            "family": self.family,
            "name": self.name,
            **{key: list(getattr(self, key)) for key in choices},
            **({"precision": [*self.precision]} if self.precision else {}),
            **{key: getattr(self, key) for key in scalars},
        }

    # -- architectures -------------------------------------------------------------------------

    def decode(self, codes: ArrayLike) -> list[LlamaArchitecture]:
        """Return the architectures of valid codes.

        Parameters
        ----------
        codes : (n, d) integers

        Raises
        ------
        InvalidInput
            A code is out of range or not canonical.
        """
        array = self._checked(codes).astype(np.intp)
        # Look up all values at once; lists of Python's own numbers go into the architectures.
        outside = (
            np.array(self.choices[name])[array[:, column]].tolist()
            for column, name in enumerate(_OUTSIDE)
        )
        per_layer = (self._layer_values(array, name).tolist() for name in _PER_LAYER)
        return [
            LlamaArchitecture(
                self.name,
                width,
                depth,
                tuple(mlp[:depth]),
                tuple(heads[:depth]),
                tuple(groups[:depth]),
                tied,
                name,
            )
            for width, depth, tied, mlp, heads, groups, name in zip(
                *outside, *per_layer, decode_precisions(self, array), strict=True
            )
        ]

    def encode(self, architectures: Iterable[LlamaArchitecture | Mapping[str, Any] | str]) -> Codes:
        """Return the canonical codes of architectures, the inverse of `decode`.

        An architecture may also be its string, or a mapping of its fields, ``space`` optional.

        The space name of the architectures is ignored: only their choices must be of this space.

        Returns
        -------
        (n, d) int8

        Raises
        ------
        InvalidInput
            A choice that this space does not offer, or another kind of architecture.
        """
        archs = architectures_of(self.name, LlamaArchitecture, architectures)
        codes = np.zeros((len(archs), len(self.columns)), dtype=np.int8)
        # 1. The columns for the whole architecture.
        for column, name in enumerate(_OUTSIDE):
            values = to_int64(name, (getattr(arch, name) for arch in archs))
            choices = [int(choice) for choice in self.choices[name]]
            codes[:, column] = find_indices(name, choices, values)
        encode_precisions(self, codes, archs)
        # 2. Those of the layers. Without attention, there are no heads of keys and values either.
        layers = {name: self._layer_matrix(archs, name) for name in _PER_LAYER}
        present = np.arange(len(self.layer_columns)) < self.depths[codes[:, 1]][:, None]  # (n, L)
        has_attention = layers["n_head"] > 0
        if (layers["n_kv_head"][~has_attention] != 0).any():
            raise InvalidInput("n_kv_head: expected 0 in a layer without attention")
        for offset, name in enumerate(_PER_LAYER):
            is_chosen = present & has_attention if name == "n_kv_head" else present
            indices = np.zeros(present.shape, dtype=np.int8)
            indices[is_chosen] = find_indices(name, getattr(self, name), layers[name][is_chosen])
            codes[:, self.layer_columns[:, offset]] = indices
        # 3. Layers that are not allowed.
        if not (valid := self.is_valid(codes)).all():
            raise InvalidInput(
                f"{archs[int(np.argmin(valid))]}: expected in each layer an n_head that n_kv_head "
                "divides, and attention or an MLP"
            )
        return codes

    def parse(self, text: str) -> LlamaArchitecture:
        """Return the architecture of a string, see `LlamaArchitecture.parse`."""
        arch = LlamaArchitecture.parse(text)
        self.encode([arch])
        return arch

    # -- closed forms --------------------------------------------------------------------------

    def params(self, codes: ArrayLike) -> IntArray:
        """Return the exact number of parameters; a tied matrix counts once.

        With V tokens, width C, and in each layer h numbers in the MLP and q heads of queries and k
        of keys and values of size s: ``V * C`` once if tied, else twice; ``C`` for the last norm;
        ``C + 2 * s * C * (q + k)`` for each attention and ``C + 3 * C * h`` for each MLP, each with
        its norm.

        Parameters
        ----------
        codes : (n, d) integers
            Valid codes.

        Returns
        -------
        (n,) int64
        """
        array = self._matrix(codes).astype(np.intp)
        width = np.array(self.embed_dim)[array[:, 0]]
        tied = np.array(self.tied)[array[:, 2]]
        branches = (self._layer_values(array, name) > 0 for name in ("mlp_dim", "n_head"))
        norms = 1 + sum(branch.sum(axis=1) for branch in branches)
        matrices = self._layer_weights(array) + self.vocab_size * np.where(tied, 1, 2)
        return np.asarray(width * (norms + matrices), dtype=np.int64)

    def flops(self, codes: ArrayLike) -> IntArray:
        """Return the operations of all matrix products of one forward pass over a full context.

        ``2 * weights * T + 4 * inner * T**2`` for T tokens. `weights` are those of the matrices
        that multiply: of the layers and of the output layer, tied or not, but not those of the
        embedding, which are looked up. `inner` is the total width of the heads of queries:
        attention counts in full, including the half above the diagonal.

        Parameters
        ----------
        codes : (n, d) integers
            Valid codes.

        Returns
        -------
        (n,) int64
        """
        array = self._matrix(codes).astype(np.intp)
        width = np.array(self.embed_dim)[array[:, 0]]
        weights = width * (self._layer_weights(array) + self.vocab_size)
        inner = self.head_size * self._layer_values(array, "n_head").sum(axis=1)
        return np.asarray(2 * weights * self.context + 4 * inner * self.context**2, dtype=np.int64)

    def model_sizes(self, codes: ArrayLike) -> ModelSizes:
        """Return the counts behind ``kv_cache`` and ``weight_memory``; see `ModelSizes`."""
        array = self._matrix(codes).astype(np.intp)
        hidden, heads, groups = (self._layer_values(array, name) for name in _PER_LAYER)
        width = np.array(self.embed_dim)[array[:, 0]]
        linear = width * self._layer_weights(array)
        # Outputs: queries, keys and values, and width; gate and up, and width.
        branches = (heads > 0).sum(axis=1) + (hidden > 0).sum(axis=1)
        rows = self.head_size * (heads + 2 * groups).sum(axis=1) + 2 * hidden.sum(axis=1)
        rows += width * branches
        # Cosine and sine of half of each head, which is rotated in pairs.
        tables = 2 * self.context * (self.head_size // 2)
        kv_width = self.head_size * groups.sum(axis=1)
        return ModelSizes(kv_width, linear, rows, self.params(array) - linear, tables)

    # -- helpers -------------------------------------------------------------------------------

    def _layer_values(self, array: IntArray, name: str) -> IntArray:
        """Return the values (n, L) of a choice of the layers; 0 where it is inactive."""
        columns = self.layer_columns[:, _PER_LAYER.index(name)]
        values = np.array(getattr(self, name), dtype=np.int64)[array[:, columns]]
        return np.asarray(values * self.active(array)[:, columns])

    def _layer_weights(self, array: IntArray) -> IntArray:
        """Return the weights (n,) of all layers' matrices for each number of the stream."""
        heads = self._layer_values(array, "n_head") + self._layer_values(array, "n_kv_head")
        weights = 2 * self.head_size * heads + 3 * self._layer_values(array, "mlp_dim")
        return np.asarray(weights.sum(axis=1))

    def _layer_matrix(self, archs: Sequence[LlamaArchitecture], name: str) -> IntArray:
        """Return the values (n, L) of a choice of the layers of architectures; 0 beyond them."""
        rows = layer_rows(name, archs)
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        matrix = np.zeros((len(rows), len(self.layer_columns)), dtype=np.int64)
        matrix[np.arange(matrix.shape[1]) < lengths[:, None]] = to_int64(
            name, itertools.chain.from_iterable(rows)
        )
        return matrix


def _is_layer(layer: Mapping[str, Any]) -> bool:
    """Return whether a layer has attention or an MLP, and heads that divide each other."""
    if layer["n_head"] == 0:
        return bool(layer["mlp_dim"])
    return bool(layer["n_head"] % layer["n_kv_head"] == 0)


def _validate_tied(values: Sequence[bool]) -> tuple[bool, ...]:
    """Return the choices of ``tied``, sorted."""
    # type() and not isinstance(): 1 is no bool.
    choices = list(values) if isinstance(values, list | tuple) else []
    if not choices or any(type(c) is not bool for c in choices) or len(set(choices)) < len(choices):
        raise InvalidInput(f"tied: expected [false], [true] or [false, true], found {values!r}")
    return tuple(sorted(choices))


def _validate_heads(n_head: Sequence[int], n_kv_head: Sequence[int]) -> None:
    """Raise InvalidInput unless each number of heads fits one of the other kind."""
    if not any(n_head):
        raise InvalidInput("n_head: expected at least one choice above 0, found [0]")
    for heads in n_head:
        if all(heads % groups for groups in n_kv_head):
            raise InvalidInput(
                f"n_head: no choice of n_kv_head divides {heads}: found {list(n_kv_head)}"
            )
    for groups in n_kv_head:
        if not any(heads and heads % groups == 0 for heads in n_head):
            raise InvalidInput(
                f"n_kv_head: {groups} divides no choice of n_head, expected a divisor of one of "
                f"{list(n_head)}"
            )
