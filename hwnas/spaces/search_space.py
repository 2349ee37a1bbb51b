"""Search spaces: their architectures as rows of small integers, and how to vary them.

An architecture is an `Architecture` to people and a row of small integers, a *code*, to optimizers.
A `SearchSpace` converts between the two, many at a time. The columns of a code are ``embed_dim``,
``n_layer`` and ``bias``, then ``mlp_ratio`` and ``n_head`` of each layer in turn; a number in a
column is the index of a choice. A layer beyond ``n_layer`` is *inactive* and its codes are 0, so
that equal architectures have equal codes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.errors import InvalidInput
from hwnas.spaces.architecture import Architecture
from hwnas.spaces.choices import (
    find_indices,
    to_int64,
    validate_bias,
    validate_choices,
    validate_name,
    validate_positive,
)
from hwnas.spaces.code_layout import (
    BIAS,
    EMBED_DIM,
    LEADING,
    N_LAYER,
    PER_LAYER,
    active_columns,
    column_names,
    layer_groups,
)
from hwnas.spaces.gpt import (
    CONTEXT,
    HEAD_SIZE,
    VOCABULARY,
    count_flops,
    count_params,
)
from hwnas.typing import BoolArray, Codes, IntArray

_CHUNK = 65_536  # codes that `SearchSpace.enumerate` yields at a time


class SearchSpace:
    """Set of all architectures that combine given choices.

    Parameters
    ----------
    name
        Name of the space; architectures carry it. Letters, digits, ``.``, ``_`` and ``-``, with no
        part between hyphens that is all digits.
    embed_dim, n_layer, mlp_ratio, n_head
        The choices, in increasing order; `mlp_ratio` and `n_head` are chosen for each layer.
    bias
        The choices of ``bias``.
    head_size
        Width of one attention head, even (half of it is rotated).
    context
        Sequence length in tokens.
    vocab_size
        Number of tokens.

    Attributes
    ----------
    columns : tuple of str
        Names of the d columns of a code.
    cardinalities : (d,) int64 array
        Number of choices of each column.
    groups : tuple of Group
        The layers, first to last.
    size : int
        Exact number of distinct architectures.

    Raises
    ------
    InvalidInput
        The choices are empty, not increasing, or not positive integers.

    Examples
    --------
    >>> space = SearchSpace("mine", embed_dim=[192], n_layer=[1, 2], mlp_ratio=[2, 4], n_head=[3])
    >>> space.columns
    ('embed_dim', 'n_layer', 'bias', 'mlp_ratio_0', 'n_head_0', 'mlp_ratio_1', 'n_head_1')
    >>> space.size  # with and without bias: 2 * (2 + 2 * 2)
    12
    """

    def __init__(
        self,
        name: str,
        *,
        embed_dim: Sequence[int],
        n_layer: Sequence[int],
        mlp_ratio: Sequence[int],
        n_head: Sequence[int],
        bias: Sequence[bool] = (False, True),
        head_size: int = HEAD_SIZE,
        context: int = CONTEXT,
        vocab_size: int = VOCABULARY,
    ) -> None:
        self.name = validate_name(name)
        self.embed_dim = validate_choices("embed_dim", embed_dim)
        self.n_layer = validate_choices("n_layer", n_layer)
        self.mlp_ratio = validate_choices("mlp_ratio", mlp_ratio)
        self.n_head = validate_choices("n_head", n_head)
        self.bias = validate_bias(bias)
        self.head_size = validate_positive("head_size", head_size)
        self.context = validate_positive("context", context)
        self.vocab_size = validate_positive("vocab_size", vocab_size)
        if head_size % 2:
            raise InvalidInput(f"head_size: expected an even number, found {head_size}")

        self._depths = np.array(self.n_layer)
        self._active_columns = active_columns(self.n_layer)  # by index of the depth
        self.columns = column_names(self.n_layer[-1])
        self.groups = layer_groups(self.n_layer)
        leading = [len(self.embed_dim), len(self.n_layer), len(self.bias)]
        per_layer = [len(self.mlp_ratio), len(self.n_head)]
        self.cardinalities = np.array(leading + per_layer * self.n_layer[-1], dtype=np.int64)
        self.cardinalities.flags.writeable = False

    def __repr__(self) -> str:
        size = f"{Decimal(self.size):.2e}"
        return f"<SearchSpace {self.name}: {len(self.columns)} columns, {size} architectures>"

    @property
    def size(self) -> int:
        """Exact number of distinct architectures."""
        per_layer = len(self.mlp_ratio) * len(self.n_head)
        leading = len(self.embed_dim) * len(self.bias)
        return leading * sum(int(per_layer**depth) for depth in self.n_layer)

    def to_dict(self) -> dict[str, Any]:
        """Return name and choices as lists and numbers; ``SearchSpace(**d)`` is the same space."""
        choices = ("embed_dim", "n_layer", "mlp_ratio", "n_head", "bias")
        scalars = ("head_size", "context", "vocab_size")
        return {
            "name": self.name,
            **{key: list(getattr(self, key)) for key in choices},
            **{key: getattr(self, key) for key in scalars},
        }

    # -- codes ---------------------------------------------------------------------------------

    def active(self, codes: ArrayLike) -> BoolArray:
        """Return a mask of the columns that are active in each architecture.

        Parameters
        ----------
        codes : (n, d) integers
            ``codes[:, n_layer]`` must be in range.

        Returns
        -------
        (n, d) bool
        """
        return self._active_columns[self._matrix(codes)[:, N_LAYER].astype(np.intp)]

    def canonical(self, codes: ArrayLike) -> Codes:
        """Return codes in canonical form, with 0 in every inactive position.

        Accepts any numbers of shape (n, d): those outside a column's range are moved to its
        nearest end, fractions are cut.

        Returns
        -------
        (n, d) int8, C-contiguous, a copy
        """
        array = np.nan_to_num(self._matrix(codes))
        canonical = np.clip(array, 0, self.cardinalities - 1).astype(np.int8)
        canonical *= self._active_columns[canonical[:, N_LAYER].astype(np.intp)]
        return np.ascontiguousarray(canonical)

    def is_valid(self, codes: ArrayLike) -> BoolArray:
        """Return a mask of the rows that are codes of this space in canonical form.

        Parameters
        ----------
        codes : (n, d) numbers

        Returns
        -------
        (n,) bool
        """
        array = self._matrix(codes)
        return np.asarray((array == self.canonical(array)).all(axis=1))

    def sample(self, n: int, rng: np.random.Generator) -> Codes:
        """Sample architectures, every choice independently and uniformly.

        Returns
        -------
        (n, d) int8, canonical; an architecture may occur more than once
        """
        # In 64 bits a choice uses the same part of the stream regardless of the number of choices
        # in a call; in 8 bits the unused part of a word would be lost between calls.
        samples = rng.integers(0, self.cardinalities, size=(n, len(self.columns)))
        codes = samples.astype(np.int8)
        codes *= self._active_columns[codes[:, N_LAYER].astype(np.intp)]
        return codes

    def enumerate(self) -> Iterator[Codes]:
        """Yield every architecture once, in chunks (k, d), for spaces that are small enough."""
        leading = itertools.product(range(len(self.embed_dim)), range(len(self.bias)))
        pairs = (range(len(self.mlp_ratio)), range(len(self.n_head)))
        for (width, bias), (c, depth) in itertools.product(leading, enumerate(self.n_layer)):
            layers = itertools.product(*(pairs * depth))
            while chunk := list(itertools.islice(layers, _CHUNK)):
                codes = np.zeros((len(chunk), len(self.columns)), dtype=np.int8)
                codes[:, EMBED_DIM], codes[:, N_LAYER], codes[:, BIAS] = width, c, bias
                codes[:, LEADING : LEADING + 2 * depth] = chunk
                yield codes

    def neighbours(self, code: ArrayLike) -> Codes:
        """Return all architectures that differ from an architecture in a single choice.

        A layer that a greater ``n_layer`` adds repeats the last layer of the architecture.

        Parameters
        ----------
        code : (d,) integers
            A valid code.

        Returns
        -------
        (k, d) int8, distinct, without the architecture itself
        """
        start = self.canonical(np.reshape(code, (1, -1)))[0]

        # 1. The same architecture with its last layer repeated in every inactive position.
        extended = start.copy()
        depth = self.n_layer[start[N_LAYER]]
        last = LEADING + 2 * (depth - 1)
        extended[last:] = np.resize(start[last : last + 2], len(start) - last)

        # 2. One row for each other choice of each active column.
        moves = [
            (column, choice)
            for column in np.flatnonzero(self._active_columns[start[N_LAYER]])
            for choice in range(self.cardinalities[column])
            if choice != start[column]
        ]
        neighbours = np.tile(start, (len(moves), 1))
        for row, (column, choice) in zip(neighbours, moves, strict=True):
            if column == N_LAYER:
                row[:] = extended
            row[column] = choice

        # 3. Layers beyond the new depth become inactive.
        return self.canonical(neighbours)

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
        array = self._matrix(codes)
        if not (valid := self.is_valid(array)).all():
            row = int(np.argmin(valid))
            raise InvalidInput(
                f"code {row} is not a canonical code of {self.name}: {array[row].tolist()}; "
                "canonical() makes it one"
            )
        # Look up all values at once; lists of Python's own numbers go into the architectures.
        array = array.astype(np.intp)
        widths: list[int] = np.array(self.embed_dim)[array[:, EMBED_DIM]].tolist()
        depths: list[int] = self._depths[array[:, N_LAYER]].tolist()
        biases: list[bool] = np.array(self.bias)[array[:, BIAS]].tolist()
        ratios = np.array(self.mlp_ratio)[array[:, LEADING::2]]
        heads = np.array(self.n_head)[array[:, LEADING + 1 :: 2]]
        return [
            Architecture(
                self.name,
                width,
                depth,
                tuple(ratio[:depth].tolist()),
                tuple(head[:depth].tolist()),
                bias,
            )
            for width, depth, ratio, head, bias in zip(
                widths, depths, ratios, heads, biases, strict=True
            )
        ]

    def encode(self, archs: Iterable[Architecture]) -> Codes:
        """Return the canonical codes of architectures, the inverse of `decode`.

        The space name of the architectures is ignored: only their choices must be of this space,
        so an architecture of gpt-s can be encoded in a space that is a subset of it.

        Returns
        -------
        (n, d) int8

        Raises
        ------
        InvalidInput
            A choice that this space does not offer.
        """
        archs = list(archs)
        codes = np.zeros((len(archs), len(self.columns)), dtype=np.int8)

        # 1. The columns for the whole architecture.
        depths = to_int64("n_layer", (a.n_layer for a in archs))
        widths = to_int64("embed_dim", (a.embed_dim for a in archs))
        biases = to_int64("bias", (a.bias for a in archs))
        codes[:, EMBED_DIM] = find_indices("embed_dim", self.embed_dim, widths)
        codes[:, N_LAYER] = find_indices("n_layer", self.n_layer, depths)
        codes[:, BIAS] = find_indices("bias", [int(b) for b in self.bias], biases)

        # 2. Those of the layers: the values of all architectures as one array, in the order in
        #    which a mask (n, layers) is filled.
        active = self._active_columns[codes[:, N_LAYER].astype(np.intp), LEADING::2]
        for offset, name in enumerate(PER_LAYER):
            rows: list[tuple[int, ...]] = [getattr(a, name) for a in archs]
            for arch, row in zip(archs, rows, strict=True):
                if len(row) != arch.n_layer:
                    raise InvalidInput(
                        f"{name}: expected one value a layer, {arch.n_layer}, found {len(row)}"
                    )
            values = to_int64(name, itertools.chain.from_iterable(rows))
            layers = np.zeros(active.shape, dtype=np.int8)
            layers[active] = find_indices(name, getattr(self, name), values)
            codes[:, LEADING + offset :: 2] = layers
        return codes

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
        active = self._active_columns[array[:, N_LAYER], LEADING::2]
        ratios = np.array(self.mlp_ratio)[array[:, LEADING::2]]
        heads = np.array(self.n_head)[array[:, LEADING + 1 :: 2]]
        return count_params(
            np.array(self.embed_dim)[array[:, EMBED_DIM]],
            self._depths[array[:, N_LAYER]],
            (ratios * active).sum(axis=1),
            (heads * active).sum(axis=1),
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
        depth = self._depths[array[:, N_LAYER]]
        return count_flops(self.params(array), width, depth, context=self.context)

    def _matrix(self, codes: ArrayLike) -> NDArray[Any]:
        """Return codes as an array after checking its shape."""
        array = np.asarray(codes)
        if array.ndim != 2 or array.shape[1] != len(self.columns):
            raise InvalidInput(
                f"codes of {self.name}: expected shape (n, {len(self.columns)}), "
                f"found {array.shape}"
            )
        return array
