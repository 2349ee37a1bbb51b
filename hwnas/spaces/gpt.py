"""GPT-2-family models: the search spaces, constants of the models and their closed forms.

The models are those of HW-GPT-Bench (Sukthanker et al. 2024, arXiv:2405.10299): pre-LayerNorm,
attention and MLP in parallel on one residual stream, rotary positions on half of each head, GELU,
untied output layer. `hwnas.profiling.gpt` builds them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hwnas.errors import InvalidInput
from hwnas.spaces import precision as precisions
from hwnas.spaces.architecture import Architecture
from hwnas.spaces.choices import (
    find_indices,
    to_int64,
    validate_bias,
    validate_integers,
    validate_model_name,
    validate_positive,
)
from hwnas.spaces.language_model import (
    LanguageModelSpace,
    ModelSizes,
    architectures_of,
    check_countable,
    layer_rows,
)
from hwnas.spaces.search_space import SearchSpace
from hwnas.typing import Codes, IntArray

HEAD_SIZE = 64
CONTEXT = 1024
VOCABULARY = 50_254

# HW-GPT-Bench, table 1 (s, m, l), its larger scale and the wider variants of its code.
GPT_CHOICES: dict[str, dict[str, Any]] = {
    name: dict(zip(("embed_dim", "n_layer", "mlp_ratio", "n_head"), choices, strict=True))
    for name, choices in {
        "gpt-s": ((192, 384, 768), (10, 11, 12), (2, 3, 4), (4, 8, 12)),
        "gpt-m": ((256, 512, 1024), (22, 23, 24), (2, 3, 4), (8, 12, 16)),
        "gpt-l": ((320, 640, 1280), (34, 35, 36), (2, 3, 4), (8, 16, 20)),
        "gpt-xl": ((400, 800, 1600), (46, 47, 48), (2, 3, 4), (15, 20, 25)),
        "gpt-s-wide": ((192, 384, 768), (3, 6, 12), (1, 2, 4), (4, 8, 12)),
        "gpt-m-wide": ((256, 512, 1024), (6, 12, 24), (1, 2, 4), (4, 8, 16)),
        "gpt-l-wide": ((320, 640, 1280), (9, 18, 36), (1, 2, 4), (5, 10, 20)),
    }.items()
}
GPT_SPACES: tuple[str, ...] = tuple(GPT_CHOICES)


# Columns of a code for the whole architecture, before two for each layer.
EMBED_DIM, N_LAYER, BIAS = 0, 1, 2
PER_LAYER = ("mlp_ratio", "n_head")


class GPTSpace(LanguageModelSpace):
    """Set of all GPT-2-family architectures that combine given choices.

    The columns of a code are ``embed_dim``, ``n_layer``, ``bias`` and, if it is a choice,
    ``precision``, then ``mlp_ratio`` and ``n_head`` of each layer in turn.

    Parameters
    ----------
    name
        Name of the space; architectures carry it.
    embed_dim, n_layer, mlp_ratio, n_head
        The choices, in increasing order; `mlp_ratio` and `n_head` are chosen for each layer. A
        ratio of 0 leaves out the MLP of a layer, 0 heads its attention; never both.
    bias
        The choices of ``bias``.
    precision
        The choices of the weights' precision, by default none; see `hwnas.spaces.precision`.
    head_size
        Width of one attention head, even (half of it is rotated).
    context
        Sequence length in tokens.
    vocab_size
        Number of tokens.

    Raises
    ------
    InvalidInput
        The choices are empty, not increasing, or not positive integers.

    Examples
    --------
    >>> space = GPTSpace("mine", embed_dim=[192], n_layer=[1, 2], mlp_ratio=[2, 4], n_head=[3])
    >>> space.columns
    ('embed_dim', 'n_layer', 'bias', 'mlp_ratio_0', 'n_head_0', 'mlp_ratio_1', 'n_head_1')
    >>> space.size  # with and without bias: 2 * (2 + 2 * 2)
    12
    """

    family = "gpt"
    module = "hwnas.profiling.gpt:GPT"
    named = GPT_CHOICES

    def __init__(
        self,
        name: str,
        *,
        embed_dim: Sequence[int],
        n_layer: Sequence[int],
        mlp_ratio: Sequence[int],
        n_head: Sequence[int],
        bias: Sequence[bool] = (False, True),
        precision: Sequence[str] = (),
        head_size: int = HEAD_SIZE,
        context: int = CONTEXT,
        vocab_size: int = VOCABULARY,
    ) -> None:
        validate_model_name(name)
        self.embed_dim = validate_integers("embed_dim", embed_dim)
        self.n_layer = validate_integers("n_layer", n_layer)
        self.mlp_ratio = validate_integers("mlp_ratio", mlp_ratio, minimum=0)
        self.n_head = validate_integers("n_head", n_head, minimum=0)
        self.bias = validate_bias(bias)
        self.precision = precisions.validate_precisions(precision)
        self.head_size = validate_positive("head_size", head_size)
        self.context = validate_positive("context", context)
        self.vocab_size = validate_positive("vocab_size", vocab_size)
        if head_size % 2:
            raise InvalidInput(f"head_size: expected an even number, found {head_size}")
        check_countable(
            width=self.embed_dim[-1],
            depth=self.n_layer[-1],
            inner=self.n_head[-1] * head_size,
            hidden=self.mlp_ratio[-1] * self.embed_dim[-1],
            vocab_size=vocab_size,
            context=context,
        )
        may_be_empty = self.mlp_ratio[0] == self.n_head[0] == 0
        super().__init__(
            name,
            {"embed_dim": self.embed_dim, "n_layer": self.n_layer, "bias": self.bias}
            | precisions.precision_choice(self.precision),
            layers={"mlp_ratio": self.mlp_ratio, "n_head": self.n_head},
            depth="n_layer",
            # A layer without both would equal a shallower network.
            allowed=(lambda layer: layer["mlp_ratio"] or layer["n_head"]) if may_be_empty else None,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return name and choices as lists and numbers; ``GPTSpace(**d)`` is the same space."""
        choices = ("embed_dim", "n_layer", "mlp_ratio", "n_head", "bias")
        scalars = ("head_size", "context", "vocab_size")
        return {
            "name": self.name,
            **{key: list(getattr(self, key)) for key in choices},
            **({"precision": [*self.precision]} if self.precision else {}),
            **{key: getattr(self, key) for key in scalars},
        }

    # -- architectures -------------------------------------------------------------------------

    def decode(self, codes: ArrayLike) -> list[Architecture]:
        """Return the architectures of valid codes.

        Parameters
        ----------
        codes : (n, d) integers

        Raises
        ------
        InvalidInput
            A code is out of range or not canonical.
        """
        array = self._checked(codes)
        # Look up all values at once; lists of Python's own numbers go into the architectures.
        array = array.astype(np.intp)
        widths: list[int] = np.array(self.embed_dim)[array[:, EMBED_DIM]].tolist()
        depths: list[int] = self.depths[array[:, N_LAYER]].tolist()
        biases: list[bool] = np.array(self.bias)[array[:, BIAS]].tolist()
        names = precisions.decode_precisions(self, array)
        ratios = np.array(self.mlp_ratio)[array[:, self.layer_columns[:, 0]]]
        heads = np.array(self.n_head)[array[:, self.layer_columns[:, 1]]]
        return [
            Architecture(
                self.name,
                width,
                depth,
                tuple(ratio[:depth].tolist()),
                tuple(head[:depth].tolist()),
                bias,
                name,
            )
            for width, depth, ratio, head, bias, name in zip(
                widths, depths, ratios, heads, biases, names, strict=True
            )
        ]

    def encode(self, architectures: Iterable[Architecture | Mapping[str, Any] | str]) -> Codes:
        """Return the canonical codes of architectures, the inverse of `decode`.

        An architecture may also be its string, or a mapping of its fields, ``space`` optional.

        The space name of the architectures is ignored: only their choices must be of this space,
        so an architecture of gpt-s can be encoded in a space that is a subset of it.

        Returns
        -------
        (n, d) int8

        Raises
        ------
        InvalidInput
            A choice that this space does not offer, or another kind of architecture.
        """
        archs = architectures_of(self.name, Architecture, architectures)
        codes = np.zeros((len(archs), len(self.columns)), dtype=np.int8)

        # 1. The columns for the whole architecture.
        depths = to_int64("n_layer", (a.n_layer for a in archs))
        widths = to_int64("embed_dim", (a.embed_dim for a in archs))
        biases = to_int64("bias", (a.bias for a in archs))
        codes[:, EMBED_DIM] = find_indices("embed_dim", self.embed_dim, widths)
        codes[:, N_LAYER] = find_indices("n_layer", self.n_layer, depths)
        codes[:, BIAS] = find_indices("bias", [int(b) for b in self.bias], biases)
        precisions.encode_precisions(self, codes, archs)

        # 2. Those of the layers: the values of all architectures as one array, in the order in
        #    which a mask (n, layers) is filled.
        active = self.active(codes)[:, self.layer_columns[:, 0]]
        for offset, name in enumerate(PER_LAYER):
            rows = layer_rows(name, archs)
            values = to_int64(name, itertools.chain.from_iterable(rows))
            layers = np.zeros(active.shape, dtype=np.int8)
            layers[active] = find_indices(name, getattr(self, name), values)
            codes[:, self.layer_columns[:, offset]] = layers
        return codes

    def parse(self, text: str) -> Architecture:
        """Return the architecture of a string, see `Architecture.parse`."""
        arch = Architecture.parse(text)
        self.encode([arch])
        return arch

    # -- closed forms --------------------------------------------------------------------------

    def params(self, codes: ArrayLike) -> IntArray:
        """Return the exact number of parameters, see `hwnas.spaces.gpt.count_params`.

        Parameters
        ----------
        codes : (n, d) integers
            Valid codes.

        Returns
        -------
        (n,) int64
        """
        array = self._matrix(codes).astype(np.intp)
        ratios, heads = self._layer_values(array)
        return count_params(
            np.array(self.embed_dim)[array[:, EMBED_DIM]],
            (heads > 0).sum(axis=1),
            (ratios > 0).sum(axis=1),
            ratios.sum(axis=1),
            heads.sum(axis=1),
            np.array(self.bias)[array[:, BIAS]].astype(np.int64),
            head_size=self.head_size,
            vocab_size=self.vocab_size,
        )

    def flops(self, codes: ArrayLike) -> IntArray:
        """Return the operations of one forward pass, see `hwnas.spaces.gpt.count_flops`.

        Parameters
        ----------
        codes : (n, d) integers
            Valid codes.

        Returns
        -------
        (n,) int64
        """
        array = self._matrix(codes).astype(np.intp)
        width = np.array(self.embed_dim)[array[:, EMBED_DIM]]
        depth = self.depths[array[:, N_LAYER]]
        return count_flops(self.params(array), width, depth, context=self.context)

    def model_sizes(self, codes: ArrayLike) -> ModelSizes:
        """Return the counts behind ``kv_cache`` and ``weight_memory``; see `ModelSizes`."""
        array = self._matrix(codes).astype(np.intp)
        ratios, heads = self._layer_values(array)
        width = np.array(self.embed_dim)[array[:, EMBED_DIM]]
        inner = self.head_size * heads.sum(axis=1)
        # Queries, keys, values and projection; the two layers of an MLP.
        linear = width * (4 * inner + 2 * width * ratios.sum(axis=1))
        # Their outputs: 3 * inner and width; ratio * width and width.
        branches = (heads > 0).sum(axis=1) + (ratios > 0).sum(axis=1)
        rows = 3 * inner + width * (ratios.sum(axis=1) + branches)
        # Cosine and sine of a quarter of each head: half of it is rotated, in pairs.
        tables = 2 * self.context * (self.head_size // 4)
        return ModelSizes(inner, linear, rows, self.params(array) - linear, tables)

    # -- helpers -------------------------------------------------------------------------------

    def _layer_values(self, array: IntArray) -> tuple[IntArray, IntArray]:
        """Return the ratios and the heads of each layer, (n, L) each; 0 beyond the depth."""
        first, second = self.layer_columns.T
        active = self.active(array)[:, first]
        ratios = active * np.array(self.mlp_ratio)[array[:, first]]
        heads = active * np.array(self.n_head)[array[:, second]]
        return ratios, heads


def require_gpt(space: SearchSpace) -> GPTSpace:
    """Return a space if its members are GPT architectures; raise `InvalidInput` if not.

    >>> require_gpt(GPTSpace("mine", **GPTSpace.named["gpt-s"])).n_layer
    (10, 11, 12)
    """
    if not isinstance(space, GPTSpace):
        raise InvalidInput(f"space {space.name!r}: expected GPT architectures, found other members")
    return space


def count_params(
    width: IntArray,
    n_attention: IntArray,
    n_mlp: IntArray,
    ratio_sum: IntArray,
    head_sum: IntArray,
    bias: IntArray,
    *,
    head_size: int,
    vocab_size: int,
) -> IntArray:
    """Return the exact number of parameters of n models, the untied output layer included.

    Parameters
    ----------
    width : (n,) int64
        Width of the residual stream.
    n_attention, n_mlp : (n,) int64
        Number of blocks with attention, and with an MLP.
    ratio_sum, head_sum : (n,) int64
        MLP ratios and numbers of heads, summed over the blocks of each model.
    bias : (n,) int64
        1 where the linear layers of the blocks have biases, else 0.
    head_size, vocab_size
        Width of one attention head, and number of tokens.

    Returns
    -------
    (n,) int64

    Examples
    --------
    The largest architecture of gpt-s; GPT-2 small has 124 million parameters without an output
    layer of its own.

    >>> one = [np.array([number]) for number in (768, 12, 12, 12 * 4, 12 * 12, 1)]
    >>> count_params(*one, head_size=64, vocab_size=50_254).tolist()
    [162246144]
    """
    inner = head_sum * head_size  # width of all attention heads of all blocks
    # Token embeddings and output layer; queries, keys, values and projection; both layers of MLPs.
    matrices = 2 * vocab_size * width + 4 * inner * width + 2 * ratio_sum * width**2
    # One norm before each attention and each MLP and a last one: weight and bias each.
    norms = 2 * width * (n_attention + n_mlp + 1)
    biases = bias * (3 * inner + n_attention * width + ratio_sum * width + n_mlp * width)
    return np.asarray(matrices + norms + biases, dtype=np.int64)


def count_flops(params: IntArray, width: IntArray, depth: IntArray, *, context: int) -> IntArray:
    """Return HW-GPT-Bench's count of operations in one forward pass over a full context.

    ``2 * params * context + 4 * depth * width * context**2``: a multiplication and an addition for
    each parameter and token, and the products of queries, keys and values.

    Parameters
    ----------
    params, width, depth : (n,) int64
        Number of parameters, width of the residual stream, and number of blocks.
    context
        Sequence length in tokens.

    Returns
    -------
    (n,) int64

    Examples
    --------
    >>> count_flops(np.array([10]), np.array([4]), np.array([2]), context=8).tolist()
    [2208]
    """
    return np.asarray(2 * params * context + 4 * depth * width * context**2)
