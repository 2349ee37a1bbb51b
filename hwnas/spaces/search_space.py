"""Search spaces of GPT-2-family language models, and the networks in them.

A network is an `Architecture` to people and a row of small integers, a *code*, to optimizers. A
`SearchSpace` turns one into the other, many at a time. The columns of a code are ``embed_dim``,
``n_layer`` and ``bias``, then ``mlp_ratio`` and ``n_head`` of each layer in turn; a number in a
column is the index of a choice. A layer beyond ``n_layer`` is *inactive* and its codes are 0, so
that equal networks have equal codes.

The networks are those of HW-GPT-Bench (Sukthanker et al. 2024, arXiv:2405.10299): pre-LayerNorm,
attention and MLP in parallel on one residual stream, rotary positions on half of each head, GELU,
untied output layer.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.errors import InvalidInput, UnknownName
from hwnas.spaces.architecture import Architecture
from hwnas.typing import Codes

HEAD_SIZE = 64
CONTEXT = 1024
VOCABULARY = 50_254

_EMBED_DIM, _N_LAYER, _BIAS = 0, 1, 2  # the leading columns
_LEADING = 3
_BIASES = ([False], [True], [False, True], [True, False])


@dataclass(frozen=True, slots=True)
class Group:
    """Columns that form one layer, and when that layer exists.

    Attributes
    ----------
    columns
        Indices of the layer's columns.
    parent
        Index of the column that decides whether the layer exists.
    when
        The layer exists where ``codes[:, parent]`` is one of these.
    """

    columns: tuple[int, ...]
    parent: int
    when: tuple[int, ...]


class SearchSpace:
    """All networks that a set of choices spans.

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
        Exact number of distinct networks.

    Raises
    ------
    InvalidInput
        The choices are empty, not increasing, or not positive integers.
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
        self.name = _checked_name(name)
        self.embed_dim = _choices("embed_dim", embed_dim)
        self.n_layer = _choices("n_layer", n_layer)
        self.mlp_ratio = _choices("mlp_ratio", mlp_ratio)
        self.n_head = _choices("n_head", n_head)
        if list(bias if isinstance(bias, list | tuple) else ()) not in _BIASES or any(
            type(choice) is not bool for choice in bias
        ):
            raise InvalidInput(f"bias: expected [false], [true] or [false, true], found {bias!r}")
        self.bias = tuple(sorted(bias))
        self.head_size = _positive("head_size", head_size)
        self.context = _positive("context", context)
        self.vocab_size = _positive("vocab_size", vocab_size)
        if head_size % 2:
            raise InvalidInput(f"head_size: expected an even number, found {head_size}")

        self._depths = np.array(self.n_layer)
        deepest = self.n_layer[-1]
        per_layer = [f"{choice}_{i}" for i in range(deepest) for choice in ("mlp_ratio", "n_head")]
        self.columns = ("embed_dim", "n_layer", "bias", *per_layer)
        leading = [len(self.embed_dim), len(self.n_layer), len(self.bias)]
        self.cardinalities = np.array(
            leading + [len(self.mlp_ratio), len(self.n_head)] * deepest, dtype=np.int64
        )
        self.cardinalities.flags.writeable = False
        self.groups = tuple(
            Group(
                (_LEADING + 2 * i, _LEADING + 2 * i + 1),
                _N_LAYER,
                tuple(c for c, depth in enumerate(self.n_layer) if depth > i),
            )
            for i in range(deepest)
        )
        layer_of_column = np.arange(2 * deepest) // 2
        self._active = np.ones((len(self.n_layer), len(self.columns)), dtype=bool)
        self._active[:, _LEADING:] = layer_of_column < self._depths[:, None]

    def __repr__(self) -> str:
        size = f"{Decimal(self.size):.2e}"
        return f"<SearchSpace {self.name}: {len(self.columns)} columns, {size} networks>"

    @property
    def size(self) -> int:
        """Exact number of distinct networks."""
        per_layer = len(self.mlp_ratio) * len(self.n_head)
        leading = len(self.embed_dim) * len(self.bias)
        return leading * sum(int(per_layer**depth) for depth in self.n_layer)

    def to_dict(self) -> dict[str, Any]:
        """Name and choices as plain lists and numbers; ``SearchSpace(**d)`` is the same space."""
        choices = ("embed_dim", "n_layer", "mlp_ratio", "n_head", "bias")
        scalars = ("head_size", "context", "vocab_size")
        return {
            "name": self.name,
            **{key: list(getattr(self, key)) for key in choices},
            **{key: getattr(self, key) for key in scalars},
        }

    # -- codes ---------------------------------------------------------------------------------

    def active(self, codes: ArrayLike) -> NDArray[np.bool_]:
        """Which columns take part in each network.

        Parameters
        ----------
        codes : (n, d) integers
            ``codes[:, n_layer]`` must be in range.

        Returns
        -------
        (n, d) bool
        """
        return self._active[self._matrix(codes)[:, _N_LAYER].astype(np.intp)]

    def canonical(self, codes: ArrayLike) -> Codes:
        """The codes with 0 in every inactive position.

        Accepts any numbers of shape (n, d): those outside a column's range are moved to its
        nearest end, fractions are cut.

        Returns
        -------
        (n, d) int8, C-contiguous, a copy
        """
        given = np.nan_to_num(self._matrix(codes))
        out = np.clip(given, 0, self.cardinalities - 1).astype(np.int8)
        out *= self._active[out[:, _N_LAYER].astype(np.intp)]
        return np.ascontiguousarray(out)

    def is_valid(self, codes: ArrayLike) -> NDArray[np.bool_]:
        """Which rows are codes of this space in canonical form.

        Parameters
        ----------
        codes : (n, d) numbers

        Returns
        -------
        (n,) bool
        """
        given = self._matrix(codes)
        return np.asarray((given == self.canonical(given)).all(axis=1))

    def sample(self, n: int, rng: np.random.Generator) -> Codes:
        """`n` networks, every choice drawn independently and uniformly, then masked.

        Returns
        -------
        (n, d) int8; a network may come twice
        """
        # In 64 bits a choice takes the same part of the stream however many are drawn at once; in
        # 8 bits what is left of a word would be lost between calls.
        drawn = rng.integers(0, self.cardinalities, size=(n, len(self.columns)))
        codes = drawn.astype(np.int8)
        codes *= self._active[codes[:, _N_LAYER].astype(np.intp)]
        return codes

    def enumerate(self) -> Iterator[Codes]:
        """Every network once, in chunks of shape (k, d), for spaces small enough to list."""
        leading = itertools.product(range(len(self.embed_dim)), range(len(self.bias)))
        pairs = (range(len(self.mlp_ratio)), range(len(self.n_head)))
        for (width, bias), (c, depth) in itertools.product(leading, enumerate(self.n_layer)):
            layers = itertools.product(*(pairs * depth))
            while chunk := list(itertools.islice(layers, 65_536)):
                codes = np.zeros((len(chunk), len(self.columns)), dtype=np.int8)
                codes[:, _EMBED_DIM], codes[:, _N_LAYER], codes[:, _BIAS] = width, c, bias
                codes[:, _LEADING : _LEADING + 2 * depth] = chunk
                yield codes

    def neighbours(self, code: ArrayLike) -> Codes:
        """All networks that differ from one network in a single choice.

        A layer that a greater ``n_layer`` adds repeats the network's last layer.

        Parameters
        ----------
        code : (d,) integers
            A valid code.

        Returns
        -------
        (k, d) int8, distinct, without the network itself
        """
        start = self.canonical(np.reshape(code, (1, -1)))[0]
        deepened = start.copy()
        depth = self.n_layer[start[_N_LAYER]]
        last = _LEADING + 2 * (depth - 1)
        deepened[last:] = np.resize(start[last : last + 2], len(start) - last)
        moves = [
            (column, choice)
            for column in np.flatnonzero(self._active[start[_N_LAYER]])
            for choice in range(self.cardinalities[column])
            if choice != start[column]
        ]
        out = np.tile(start, (len(moves), 1))
        for row, (column, choice) in zip(out, moves, strict=True):
            if column == _N_LAYER:
                row[:] = deepened
            row[column] = choice
        return self.canonical(out)

    # -- architectures -------------------------------------------------------------------------

    def decode(self, codes: ArrayLike) -> list[Architecture]:
        """The architectures that valid codes stand for.

        Parameters
        ----------
        codes : (n, d) integers

        Raises
        ------
        InvalidInput
            A code is out of range or not canonical.
        """
        given = self._matrix(codes)
        if not (valid := self.is_valid(given)).all():
            worst = int(np.argmin(valid))
            raise InvalidInput(
                f"code {worst} is not a canonical code of {self.name}: {given[worst].tolist()}; "
                "canonical() makes it one"
            )
        given = given.astype(np.intp)
        widths: list[int] = np.array(self.embed_dim)[given[:, _EMBED_DIM]].tolist()
        depths: list[int] = self._depths[given[:, _N_LAYER]].tolist()
        biases: list[bool] = np.array(self.bias)[given[:, _BIAS]].tolist()
        ratios = np.array(self.mlp_ratio)[given[:, _LEADING::2]]
        heads = np.array(self.n_head)[given[:, _LEADING + 1 :: 2]]
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
        """The canonical codes of architectures, the inverse of `decode`.

        The architectures' own space name is not looked at: only their choices must be of this
        space, so an architecture of gpt-s can be encoded in a space that is cut down from it.

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
        depths = _integers("n_layer", (a.n_layer for a in archs))
        widths = _integers("embed_dim", (a.embed_dim for a in archs))
        biases = _integers("bias", (a.bias for a in archs))
        codes[:, _EMBED_DIM] = _indices("embed_dim", self.embed_dim, widths)
        codes[:, _N_LAYER] = _indices("n_layer", self.n_layer, depths)
        codes[:, _BIAS] = _indices("bias", [int(b) for b in self.bias], biases)
        active = self._active[codes[:, _N_LAYER].astype(np.intp), _LEADING::2]
        for offset, name in enumerate(("mlp_ratio", "n_head")):
            rows: list[tuple[int, ...]] = [getattr(a, name) for a in archs]
            for arch, row in zip(archs, rows, strict=True):
                if len(row) != arch.n_layer:
                    raise InvalidInput(
                        f"{name}: expected one value a layer, {arch.n_layer}, found {len(row)}"
                    )
            flat = _integers(name, itertools.chain.from_iterable(rows))
            layers = np.zeros(active.shape, dtype=np.int8)
            layers[active] = _indices(name, getattr(self, name), flat)
            codes[:, _LEADING + offset :: 2] = layers
        return codes

    # -- closed forms --------------------------------------------------------------------------

    def params(self, codes: ArrayLike) -> NDArray[np.int64]:
        """Exact number of parameters of each network, the untied output layer included.

        Parameters
        ----------
        codes : (n, d) integers
            Valid codes.

        Returns
        -------
        (n,) int64
        """
        given = self._matrix(codes).astype(np.intp)
        active = self._active[given[:, _N_LAYER], _LEADING::2]
        width = np.array(self.embed_dim)[given[:, _EMBED_DIM]]
        bias = np.array(self.bias)[given[:, _BIAS]].astype(np.int64)
        depth = self._depths[given[:, _N_LAYER]]
        ratios = (np.array(self.mlp_ratio)[given[:, _LEADING::2]] * active).sum(axis=1)
        heads = (np.array(self.n_head)[given[:, _LEADING + 1 :: 2]] * active).sum(axis=1)
        inner = heads * self.head_size  # width of all attention heads of all layers
        matrices = 2 * self.vocab_size * width + 4 * inner * width + 2 * ratios * width**2
        norms = 2 * width * (2 * depth + 1)  # two a block and a last one: weight and bias each
        biases = bias * (3 * inner + depth * width + ratios * width + depth * width)
        return np.asarray(matrices + norms + biases, dtype=np.int64)

    def flops(self, codes: ArrayLike) -> NDArray[np.int64]:
        """HW-GPT-Bench's operation count of one forward pass over one full context.

        ``2 * params * context + 4 * n_layer * embed_dim * context**2``

        Parameters
        ----------
        codes : (n, d) integers
            Valid codes.

        Returns
        -------
        (n,) int64
        """
        given = self._matrix(codes).astype(np.intp)
        width = np.array(self.embed_dim)[given[:, _EMBED_DIM]]
        depth = self._depths[given[:, _N_LAYER]]
        return np.asarray(
            2 * self.params(given) * self.context + 4 * depth * width * self.context**2
        )

    def _matrix(self, codes: ArrayLike) -> NDArray[Any]:
        array = np.asarray(codes)
        if array.ndim != 2 or array.shape[1] != len(self.columns):
            raise InvalidInput(
                f"codes of {self.name}: expected shape (n, {len(self.columns)}), "
                f"found {array.shape}"
            )
        return array


def _integers(name: str, values: Iterable[int]) -> NDArray[np.int64]:
    try:
        return np.fromiter(values, dtype=np.int64)
    except OverflowError:
        raise InvalidInput(f"{name}: expected numbers below 2**63") from None


def _indices(name: str, choices: Sequence[int], values: NDArray[np.int64]) -> NDArray[np.intp]:
    """Index of each value among the sorted choices."""
    offered = np.array(choices)
    index = np.minimum(np.searchsorted(offered, values), len(offered) - 1)
    if not (known := offered[index] == values).all():
        raise InvalidInput(
            f"{name}: expected one of {list(choices)}, found {values[np.argmin(known)]}"
        )
    return index


def _checked_name(name: str) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise InvalidInput(
            f"name: expected letters, digits, '.', '_' and '-' for a space, found {name!r}"
        )
    if any(part.isdigit() for part in name.split("-")):
        raise InvalidInput(
            f"name: no part between hyphens may be all digits, or architecture strings could not "
            f"be read back, found {name!r}"
        )
    return name


def _positive(name: str, value: int) -> int:
    if type(value) is not int or value < 1:
        raise InvalidInput(f"{name}: expected a positive integer, found {value!r}")
    return value


def _choices(name: str, values: Sequence[int]) -> tuple[int, ...]:
    if not isinstance(values, list | tuple) or not 1 <= len(values) <= 127:
        raise InvalidInput(f"{name}: expected a list of 1 to 127 choices, found {values!r}")
    for value in values:
        _positive(name, value)
    if any(a >= b for a, b in itertools.pairwise(values)):
        raise InvalidInput(f"{name}: expected increasing choices, found {list(values)}")
    if name == "n_layer" and values[-1] > 1024:
        raise InvalidInput(f"{name}: expected at most 1024 layers, found {values[-1]}")
    return tuple(values)


# HW-GPT-Bench, table 1 (s, m, l), its larger scale and the wider variants of its code.
# embed_dim, n_layer, mlp_ratio, n_head
_CHOICES = {
    "gpt-s": ((192, 384, 768), (10, 11, 12), (2, 3, 4), (4, 8, 12)),
    "gpt-m": ((256, 512, 1024), (22, 23, 24), (2, 3, 4), (8, 12, 16)),
    "gpt-l": ((320, 640, 1280), (34, 35, 36), (2, 3, 4), (8, 16, 20)),
    "gpt-xl": ((400, 800, 1600), (46, 47, 48), (2, 3, 4), (15, 20, 25)),
    "gpt-s-wide": ((192, 384, 768), (3, 6, 12), (1, 2, 4), (4, 8, 12)),
    "gpt-m-wide": ((256, 512, 1024), (6, 12, 24), (1, 2, 4), (4, 8, 16)),
    "gpt-l-wide": ((320, 640, 1280), (9, 18, 36), (1, 2, 4), (5, 10, 20)),
}
GPT_SPACES: tuple[str, ...] = tuple(_CHOICES)


def space(source: str | Mapping[str, Any]) -> SearchSpace:
    """A search space by name, or by the choices that a YAML gives.

    Parameters
    ----------
    source
        ``"gpt-s"`` and the other named spaces, or a mapping with the parameters of `SearchSpace`.

    Raises
    ------
    UnknownName
        No space has that name, or `SearchSpace` no such parameter.
    InvalidInput
        The choices do not make a space.
    """
    if isinstance(source, str):
        if source not in GPT_SPACES:
            raise UnknownName("space", source, GPT_SPACES)
        embed_dim, n_layer, mlp_ratio, n_head = _CHOICES[source]
        return SearchSpace(
            source, embed_dim=embed_dim, n_layer=n_layer, mlp_ratio=mlp_ratio, n_head=n_head
        )
    settings = dict(source)
    required = ("name", "embed_dim", "n_layer", "mlp_ratio", "n_head")
    known = (*required, "bias", "head_size", "context", "vocab_size")
    for key in settings:
        if key not in known:
            raise UnknownName("key of a space", str(key), known)
    if missing := [key for key in required if key not in settings]:
        raise InvalidInput(f"a space needs {', '.join(required)}; missing: {', '.join(missing)}")
    return SearchSpace(**settings)
