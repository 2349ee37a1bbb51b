"""Random additive problems that are small enough to enumerate, and their fronts by enumeration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from hwnas.spaces import Codes, GPTSpace, SearchSpace
from hwnas.surrogates.pareto_front import Limit
from hwnas.surrogates.tables import AdditiveTable, predict
from hwnas.typing import Array


@st.composite
def problems(
    draw: st.DrawFn, n_tables: int = 4
) -> tuple[SearchSpace, list[AdditiveTable], np.random.Generator]:
    """A space small enough to enumerate, tables of it, and a random generator."""

    def choices(maximum: int) -> list[int]:
        return list(range(1, 1 + draw(st.integers(1, maximum))))

    depths = draw(st.sampled_from([[1], [3], [1, 2], [2, 3], [1, 3], [1, 2, 3]]))
    small_space = GPTSpace(
        "small",
        embed_dim=choices(2),
        n_layer=depths,
        mlp_ratio=choices(2),
        n_head=choices(3),
        bias=draw(st.sampled_from([[False], [False, True]])),
        head_size=2,
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    integers, matter = draw(st.booleans()), draw(st.booleans())
    tables = [random_table(small_space, rng, integers, matter) for _ in range(n_tables)]
    return small_space, tables, rng


def random_table(
    small_space: SearchSpace, rng: np.random.Generator, integers: bool, depth_and_bias_matter: bool
) -> AdditiveTable:
    """Integers make many ties; where depth and bias do not matter, labels are shared."""
    e, d, b, ratios, heads = small_space.cardinalities[:5].tolist()

    def entries(*shape: int) -> Array:
        if integers:
            return rng.integers(-3, 4, shape).astype(float)
        return rng.normal(size=shape)

    varied = (d, b) if depth_and_bias_matter else (1, 1)
    layers = entries(e, *varied, small_space.n_layer[-1], ratios, heads)
    layers = np.broadcast_to(layers, (e, d, b, *layers.shape[3:]))
    return AdditiveTable(np.array(small_space.n_layer), entries(e, d, b), layers)


def everything(small_space: SearchSpace) -> Codes:
    return np.concatenate(list(small_space.enumerate()))


def undominated(points: Array) -> Array:
    """The distinct points that no other dominates, by the definition, in lexicographic order."""
    points = np.unique(points, axis=0)
    no_worse = (points[:, None] <= points).all(axis=2)
    return points[no_worse.sum(axis=0) == 1]  # of distinct points each is no worse than itself


def assert_front(
    small_space: SearchSpace, tables: Sequence[AdditiveTable], limits: Sequence[Limit], codes: Codes
) -> None:
    """The codes are the front, by enumeration of the space."""
    listed = everything(small_space)
    feasible = np.ones(len(listed), dtype=bool)
    for limit in limits:
        feasible &= limit.table.predict(listed) <= limit.bound
        assert (limit.table.predict(codes) <= limit.bound).all()
    assert codes.dtype == np.int8
    assert small_space.is_valid(codes).all()
    values = predict(tables, codes)
    expected = undominated(predict(tables, listed[feasible]))
    assert len(values) == len(expected)  # one architecture for each point
    np.testing.assert_array_equal(np.unique(values, axis=0), expected)
