"""Entries of shared weights that belong to an architecture.

One rule serves all families: a smaller parameter has the first entries of a larger one along each
axis. Where the rows of a parameter consist of several parts, such as queries, keys and values, it
has the first rows of each part (`LanguageModel.row_parts`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from torch import Tensor

from hwnas.profiling.language_model import LanguageModel

Slices = tuple[slice, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """Shape of a parameter.

    Attributes
    ----------
    rows
        Number of rows of each of its parts.
    rest
        Lengths of the other axes.
    """

    rows: tuple[int, ...]
    rest: tuple[int, ...]

    @property
    def lengths(self) -> tuple[int, ...]:
        """Length of each axis."""
        return (sum(self.rows), *self.rest)

    def union(self, second: Shape) -> Shape:
        """Return the smallest shape that contains both."""
        return Shape(
            tuple(map(max, self.rows, second.rows)), tuple(map(max, self.rest, second.rest))
        )


def shapes_of(model: LanguageModel) -> dict[str, Shape]:
    """Return the shapes of the parameters of a model, by name."""
    parts = model.row_parts
    return {
        name: Shape(parts.get(name, (len(parameter),)), tuple(parameter.shape[1:]))
        for name, parameter in model.named_parameters()
    }


def union_of_shapes(models: Iterable[LanguageModel]) -> dict[str, Shape]:
    """Return shapes that contain those of all models, by name."""
    union: dict[str, Shape] = {}
    for model in models:
        for name, shape in shapes_of(model).items():
            union[name] = union[name].union(shape) if name in union else shape
    return union


@lru_cache(maxsize=4096)  # layers are alike
def regions(full_shape: Shape, part: Shape) -> tuple[tuple[Slices, Slices], ...]:
    """Return where the entries of a smaller parameter are in a larger one.

    Returns
    -------
    tuple of (slices of the larger, slices of the smaller)

    Examples
    --------
    The rows of keys start after 8 rows of queries in one, and after 4 in the other.

    >>> for large, small in regions(Shape((8, 4), (6,)), Shape((4, 2), (3,))):
    ...     print(large[0], small[0])
    slice(0, 4, None) slice(0, 4, None)
    slice(8, 10, None) slice(4, 6, None)
    """
    columns = tuple(slice(0, length) for length in part.rest)
    starts = zip(_starts(full_shape.rows), _starts(part.rows), part.rows, strict=True)
    return tuple(
        ((slice(a, a + rows), *columns), (slice(b, b + rows), *columns)) for a, b, rows in starts
    )


def first_entries(tensor: Tensor, full_shape: Shape, part: Shape) -> Tensor:
    """Return the entries of a smaller parameter: a view where that is possible, else a copy."""
    pairs = regions(full_shape, part)
    if len(pairs) == 1:
        return tensor[pairs[0][0]]
    entries = tensor.new_empty(part.lengths)
    for large, small in pairs:
        entries[small] = tensor[large]
    return entries


def add_entries(tensor: Tensor, entries: Tensor, full_shape: Shape, part: Shape) -> None:
    """Add the entries of a smaller parameter to those of a larger one, in place."""
    for large, small in regions(full_shape, part):
        tensor[large] += entries[small]


def _starts(rows: tuple[int, ...]) -> list[int]:
    """Return the first row of each part."""
    return [end - length for end, length in zip(accumulate(rows), rows, strict=True)]
