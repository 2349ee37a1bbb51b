"""Search spaces: configurations as rows of small integers, and how to vary them.

A configuration is an architecture or another mapping of names to values to people, and a row of
small integers, a *code*, to optimizers. A `SearchSpace` converts between the two, many at a time. A
number in a column of a code is the index of a choice. A column may be *inactive*, for instance that
of a layer beyond the depth; its code is then 0, so that equal configurations have equal codes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.deprecation import warn_renamed
from hwnas.errors import InvalidInput
from hwnas.spaces.choices import Value
from hwnas.spaces.code_layout import CodeLayout
from hwnas.spaces.configuration import Configuration
from hwnas.spaces.enumeration import enumerate_codes
from hwnas.spaces.layer_options import LayerOptions
from hwnas.spaces.values import encode_columns, parse_configuration
from hwnas.typing import Codes


class SearchSpace(CodeLayout):
    """Set of all configurations that combine named choices.

    Parameters
    ----------
    name
        Name of the space; its members carry it. Letters, digits, ``.``, ``_`` and ``-``.
    choices
        Values by name: numbers, which are sorted, bools, or texts; 1 to 127 of each.
    layers
        Values by name of what is chosen for each layer.
    depth
        Name of the choice that is the number of layers; ``"depth"`` or ``"n_layer"`` by default.
    conditions
        By name the values of another choice, ``{"momentum": {"optimizer": ["sgd"]}}``, with which
        alone a choice exists. A choice of the layers may depend on another one of the same layer.
    allowed
        Combinations of the values of a layer that are allowed, in the order of `layers` or by name;
        or a function that is true of them. All by default.

    Attributes
    ----------
    columns : tuple of str
        Names of the d columns of a code: the choices, then ``NAME_0`` of the first layer and so on.
    cardinalities : (d,) int64
        Number of choices of each column.
    ordered : (d,) bool
        Whether the choices of a column are increasing numbers.
    layer_columns : (L, c) intp
        Columns of each of the L layers.
    global_columns : (k,) intp
        Columns outside the layers.
    depth_column : int or None
        Column of the number of layers; ``None`` without layers.
    groups : tuple of Group
        The layers, first to last.
    options : LayerOptions or None
        Allowed combinations of a layer's choices; ``None`` if all are.
    size : int
        Exact number of distinct configurations.

    Raises
    ------
    InvalidInput
        The choices do not define a space.

    Examples
    --------
    >>> space = SearchSpace(
    ...     "mlp",
    ...     {"depth": [1, 2], "optimizer": ["adam", "sgd"], "momentum": [0.0, 0.9]},
    ...     layers={"width": [16, 32]},
    ...     conditions={"momentum": {"optimizer": ["sgd"]}},
    ... )
    >>> space.columns
    ('depth', 'optimizer', 'momentum', 'width_0', 'width_1')
    >>> space.size  # (2 + 2 * 2) widths, adam alone or sgd with one of two momenta
    18
    """

    family: ClassVar[str] = ""  # of architectures; empty for names and choices of a user's own
    named: ClassVar[Mapping[str, Mapping[str, Any]]] = {}  # settings of the family's named spaces
    closed_forms: ClassVar[tuple[str, ...]] = ()  # methods that are exact metrics of codes

    def __new__(cls, *args: Any, **settings: Any) -> SearchSpace:
        """Return a space; with the choices of GPT-2 architectures one of their family."""
        if cls is SearchSpace and "embed_dim" in settings:
            warn_renamed("SearchSpace(embed_dim=...)", "hwnas.spaces.GPTSpace(embed_dim=...)")
            cls = import_module("hwnas.spaces.gpt").GPTSpace
        return super().__new__(cls)

    def __repr__(self) -> str:
        size = self.size if self.size < 1_000_000 else f"{Decimal(self.size):.2e}"
        return f"<{type(self).__name__} {self.name}: {len(self.columns)} columns, {size} members>"

    @cached_property
    def size(self) -> int:
        """Exact number of distinct configurations."""
        per_layer = len(self.options) if self.options else self.activity.count_layer()
        return self.activity.count(self.depth, [per_layer ** int(d) for d in self.depths])

    def to_dict(self) -> dict[str, Any]:
        """Return what `hwnas.space` makes the same space of, as lists, texts and numbers."""
        plain: dict[str, Any] = {"name": self.name, "choices": _as_lists(self.choices)}
        if self.layers:
            plain |= {"layers": _as_lists(self.layers), "depth": self.depth}
        if self.activity.given:
            plain["conditions"] = {k: _as_lists(v) for k, v in self.activity.given.items()}
        if self.options is not None:
            values = list(self.layers.values())
            plain["allowed"] = [
                [v[i] for v, i in zip(values, option, strict=True)]
                for option in self.options.options.tolist()
            ]
        return plain

    # -- codes ---------------------------------------------------------------------------------

    def sample(self, n: int, rng: np.random.Generator) -> Codes:
        """Sample configurations, every choice independently and uniformly.

        Within a layer the allowed combinations are equally likely.

        Returns
        -------
        (n, d) int8, canonical; a configuration may occur more than once
        """
        if not isinstance(n, int | np.integer) or n < 0:
            raise InvalidInput(f"sample: expected a number of configurations, found {n!r}")
        # In 64 bits a choice uses the same part of the stream regardless of the number of choices
        # in a call; in 8 bits the unused part of a word would be lost between calls.
        highs = self.cardinalities
        if self.options is not None:  # the first column of a layer stands for its combination
            highs = highs.copy()
            highs[self.layer_columns] = 1
            highs[self.layer_columns[:, 0]] = len(self.options)
        samples = rng.integers(0, highs, size=(n, len(self.columns)))
        codes = samples.astype(np.int8)
        if self.options is not None:
            chosen = samples[:, self.layer_columns[:, 0]]
            self.of_layers(codes)[:] = np.take(self.options.options, chosen, axis=0)
        codes *= self.activity(codes)
        return codes

    def enumerate(self) -> Iterator[Codes]:
        """Yield every configuration once, in chunks (k, d), for spaces that are small enough."""
        return enumerate_codes(self)

    def neighbours(self, code: ArrayLike) -> Codes:
        """Return all configurations that differ from a configuration in a single choice.

        A layer that a greater depth adds repeats the last layer. Where a layer's choices are not
        all allowed together, other choices of the layer change as far as they must.

        Parameters
        ----------
        code : (d,) integers
            A valid code.

        Returns
        -------
        (k, d) int8, distinct, without the configuration itself
        """
        start = self.canonical(np.reshape(code, (1, -1)))[0]
        extended = self._with_last_layer_repeated(start)
        active = self.activity(start[None])[0]

        # 1. One row for each other choice of each active column.
        is_free = active.copy()
        if self.options is not None:
            is_free[self.layer_columns] = False
        moves = [
            (column, choice)
            for column in np.flatnonzero(is_free)
            for choice in range(self.cardinalities[column])
            if choice != start[column]
        ]
        neighbours = np.tile(start, (len(moves), 1))
        for row, (column, choice) in zip(neighbours, moves, strict=True):
            if column == self.depth_column:
                row[:] = extended
            row[column] = choice
        # 2. One row for each neighbouring option of each layer.
        if self.options is not None:
            neighbours = np.concatenate([neighbours, *self._layer_moves(start, self.options)])
        # 3. What a choice switches off becomes 0.
        return self.canonical(neighbours)

    # -- configurations ------------------------------------------------------------------------

    def decode(self, codes: ArrayLike) -> list[Any]:
        """Return the configurations of valid codes.

        Parameters
        ----------
        codes : (n, d) integers

        Raises
        ------
        InvalidInput
            A code is out of range or not canonical.
        """
        rows = self._checked(codes).astype(np.int8)
        return [Configuration(self, row) for row in rows]

    def encode(self, configurations: Iterable[Any]) -> Codes:
        """Return the canonical codes of configurations, the inverse of `decode`.

        Parameters
        ----------
        configurations
            Configurations of this space, mappings with the same names and values, or strings.

        Returns
        -------
        (n, d) int8

        Raises
        ------
        InvalidInput
            A name or a value that this space does not offer.
        """
        rows = [
            config.code
            if isinstance(config, Configuration) and config.space is self
            else self._encode_one(config)
            for config in configurations
        ]
        return np.array(rows, dtype=np.int8).reshape(len(rows), len(self.columns))

    def parse(self, text: str) -> Any:
        """Return the configuration of a string, the inverse of ``str``.

        Raises
        ------
        InvalidInput
            The text is no configuration of this space.
        """
        return self.decode([self._encode_one(text)])[0]

    # -- helpers -------------------------------------------------------------------------------

    def _encode_one(self, config: Any) -> Codes:
        values = parse_configuration(self, config) if isinstance(config, str) else config
        return encode_columns(self, values)

    def _with_last_layer_repeated(self, code: Codes) -> Codes:
        """Return a code (d,) with its last layer repeated in every layer beyond its depth."""
        extended = code.copy()
        if self.depth_column is not None:
            depth = int(self.depths[code[self.depth_column]])
            if depth:
                extended[self.layer_columns[depth:]] = code[self.layer_columns[depth - 1]]
        return extended

    def _layer_moves(self, start: Codes, options: LayerOptions) -> Iterator[Codes]:
        """Yield for each present layer the codes (k, d) with a neighbouring option there."""
        depth = int(self.depths[start[self.depth_column]])
        for columns in self.layer_columns[:depth]:
            neighbours = options.neighbours[int(options.index(start[columns]))]
            rows = np.tile(start, (len(neighbours), 1))
            rows[:, columns] = options.options[neighbours]
            yield rows

    def _checked(self, codes: ArrayLike) -> NDArray[Any]:
        """Return codes as an array after checking that they are canonical."""
        array = self._matrix(codes)
        if not (valid := self.is_valid(array)).all():
            row = int(np.argmin(valid))
            raise InvalidInput(
                f"code {row} is not a canonical code of {self.name}: {array[row].tolist()}; "
                "canonical() makes it one"
            )
        return array


def _as_lists(choices: Mapping[str, Sequence[Value]]) -> dict[str, list[Value]]:
    return {name: list(values) for name, values in choices.items()}
