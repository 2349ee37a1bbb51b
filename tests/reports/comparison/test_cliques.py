"""Groups of optimizers that do not differ significantly."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hwnas.reports.comparison.cliques import cliques


def apart(k: int, *pairs: tuple[int, int]) -> NDArray[np.bool_]:
    differ = np.zeros((k, k), dtype=bool)
    for i, j in pairs:
        differ[i, j] = differ[j, i] = True
    return differ


def test_known_cliques() -> None:
    ranks = [3.0, 1.0, 2.0, 4.0]  # by rank: 1, 2, 0, 3
    assert cliques(ranks, apart(4)) == [(1, 2, 0, 3)]
    assert cliques(ranks, apart(4, (1, 3))) == [(1, 2, 0), (2, 0, 3)]
    assert cliques(ranks, apart(4, (1, 2))) == [(2, 0, 3)]
    assert cliques(ranks, apart(4, (1, 2), (0, 2), (0, 3))) == []
    assert cliques([1.0], apart(1)) == []


@given(st.integers(1, 7), st.data())
def test_cliques_agree_with_their_definition(k: int, data: st.DataObject) -> None:
    ranks = data.draw(st.permutations(range(k)))
    pairs = list(itertools.combinations(range(k), 2))
    differ = apart(k, *(data.draw(st.lists(st.sampled_from(pairs))) if pairs else []))
    order = np.argsort(ranks).tolist()
    runs = [
        tuple(order[i:j])
        for i, j in itertools.combinations(range(k + 1), 2)
        if j - i > 1 and not differ[np.ix_(order[i:j], order[i:j])].any()
    ]
    largest = [run for run in runs if not any(set(run) < set(larger) for larger in runs)]
    assert cliques(ranks, differ) == largest
