"""Boosted trees on top of the tables: a surrogate without structure to exploit.

What the published figures say beyond sums over layers, `Trees` add: an ensemble of *oblivious*
trees, which ask the same question everywhere on a level (Prokhorenkova et al. 2018, "CatBoost"),
so that the leaf of a network is a number written in the answers' bits. One npz a scale, written by
``benchmarks/fit_trees.py``, holds for every metric

===================  =======  ==========================================================
``METRIC:tests``     (T, K)   uint16, the questions of each tree, lowest bit first
``METRIC:leaves``    (T, 2^K) int8, what each leaf adds, in units of
``METRIC:scales``    (T,)     float32, one unit a tree
===================  =======  ==========================================================

and once for all metrics ``features`` and ``borders``, both (Q,): question q is whether feature
``features[q]`` of a network (see `features_of`) exceeds ``borders[q]``. ``METRIC:front`` has codes
of the scale's own space: the best known front of perplexity against the metric.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.spaces import Codes, SearchSpace
from hwnas.spaces import space as named_space
from hwnas.surrogates.published import DATA, scale_of
from hwnas.typing import Array

_CHUNK = 8192  # networks looked up together: their answers stay in the cache
_FEW = 256


class Trees:
    """Corrections to the tables of one space.

    Parameters
    ----------
    space
        Whose networks are asked for.
    arrays
        What is on disk for the scale that the space is, or is cut down from: see `load_trees`.
    """

    def __init__(self, space: SearchSpace, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.space = space
        self.arrays = arrays

    def correction(self, codes: Codes, names: Sequence[str]) -> Array:
        """What to add to the tables' medians.

        Parameters
        ----------
        codes : (n, d) int8
            Canonical codes.
        names
            m metrics; zero for those without trees, such as ``"params"``.

        Returns
        -------
        (n, m) float64
            A row does not depend on the other rows, to the last bit.
        """
        out = np.zeros((len(names), len(codes)))
        known = [(row, name) for row, name in zip(out, names, strict=True) if self.has(name)]
        if not known:
            return out.T
        used = np.unique(np.concatenate([self.arrays[f"{n}:tests"].ravel() for _, n in known]))
        position = np.zeros(len(self.arrays["borders"]), dtype=np.intp)
        position[used] = np.arange(len(used))
        borders = self.arrays["borders"][used, None]
        ensembles = [
            (row, position[self.arrays[f"{name}:tests"]], self._leaves(name)) for row, name in known
        ]
        for start in range(0, len(codes), _CHUNK):
            features = features_of(self.space, codes[start : start + _CHUNK])
            answers = (features[self.arrays["features"][used]] > borders).view(np.uint8)
            for row, tests, leaves in ensembles:
                row[start : start + _CHUNK] = _evaluate(answers, tests, leaves)
        return out.T

    @property
    def provenance(self) -> dict[str, Any]:
        """What was fitted to what, with which held-out errors, licence and citation."""
        return dict(json.loads(str(self.arrays["provenance"])))

    def best_known(self, metric: str) -> Codes | None:
        """Codes (k, d) of the best known front of perplexity against a metric, if there is one."""
        codes = self.arrays.get(f"{metric}:front")
        whole = named_space(scale_of(self.space))
        if codes is None or not np.array_equal(self.space.cardinalities, whole.cardinalities):
            return None
        return codes

    def _leaves(self, name: str) -> Array:
        units = self.arrays[f"{name}:scales"].astype(np.float64)
        return np.asarray(self.arrays[f"{name}:leaves"] * units[:, None])

    def has(self, name: str) -> bool:
        """Whether there are trees for a metric."""
        return f"{name}:tests" in self.arrays


def features_of(space: SearchSpace, codes: Codes) -> NDArray[np.float32]:
    """What the trees ask about.

    Parameters
    ----------
    space
        The codes' space.
    codes : (n, d) int8

    Returns
    -------
    (6 + 2 L, n) float32
        ``embed_dim``, ``n_layer``, ``bias``, the sums over layers of ratios, of heads and of their
        products; then ratio and heads of each layer, 0 where it does not exist.
    """
    given = np.ascontiguousarray(codes.T, dtype=np.intp)
    exists = np.arange(space.n_layer[-1])[:, None] < np.array(space.n_layer)[given[1]]
    ratio = np.array(space.mlp_ratio, dtype=np.float32)[given[3::2]] * exists
    head = np.array(space.n_head, dtype=np.float32)[given[4::2]] * exists
    out = np.empty((6 + 2 * len(ratio), len(codes)), dtype=np.float32)
    out[0] = np.array(space.embed_dim)[given[0]]
    out[1] = np.array(space.n_layer)[given[1]]
    out[2] = np.array(space.bias)[given[2]]
    out[3], out[4], out[5] = ratio.sum(axis=0), head.sum(axis=0), (ratio * head).sum(axis=0)
    out[6::2], out[7::2] = ratio, head
    return out


def _evaluate(answers: NDArray[np.uint8], tests: NDArray[np.intp], leaves: Array) -> Array:
    """Sum over trees of the leaf that answers (Q, n) lead to, (n,); one tree after the other."""
    n = answers.shape[1]
    if n <= _FEW:  # all trees at once: what numpy's calls take would be most of it
        weights = 1 << np.arange(tests.shape[1], dtype=np.uint8)
        leaf = (answers[tests] * weights[:, None]).sum(axis=1, dtype=np.uint8)  # (T, n)
        values = np.take_along_axis(leaves, leaf.astype(np.intp), axis=1)
        return np.asarray(values.cumsum(axis=0)[-1])  # in the order below, to the last bit
    total, leaf = np.zeros(n), np.empty(n, dtype=np.uint8)
    for questions, values in zip(tests.tolist(), leaves, strict=True):
        np.copyto(leaf, answers[questions[-1]])
        for question in reversed(questions[:-1]):
            leaf += leaf
            leaf += answers[question]
        total += values[leaf]
    return total


def trees_of(space: SearchSpace) -> Trees:
    """The trees of a space: a scale's own, or one that is cut down from it."""
    return Trees(space, load_trees(scale_of(space)))


@cache
def load_trees(scale: str) -> Mapping[str, NDArray[Any]]:
    """The arrays of a scale: ``"gpt-s"``."""
    with np.load(DATA / f"{scale}-trees.npz", allow_pickle=False) as file:
        return dict(file)
