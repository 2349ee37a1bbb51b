"""Boosted trees on top of the tables: a surrogate without structure to exploit.

`Trees` add the part of the published figures that is no sum over layers: an ensemble of *oblivious*
trees, which ask the same question everywhere on a level (Prokhorenkova et al. 2018, "CatBoost"), so
that the index of the leaf of an architecture is the binary number of its answers. One npz file per
scale, written by ``benchmarks/fit_trees.py``, holds for every metric

===================  ========  =========================================================
``METRIC:tests``     (T, K)    uint16, the questions of each tree, lowest bit first
``METRIC:leaves``    (T, 2^K)  int8, the correction of each leaf, in units of
``METRIC:scales``    (T,)      float32, one unit per tree
===================  ========  =========================================================

and once for all metrics ``features`` and ``borders``, both (Q,): question q is whether feature
``features[q]`` of an architecture (see `features_of`) exceeds ``borders[q]``. ``METRIC:front`` has
codes of the scale's own space: the best known front of perplexity against the metric.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.spaces import GPTSpace
from hwnas.spaces import space as named_space
from hwnas.surrogates.published import DATA, scale_of
from hwnas.typing import Array, Codes, IndexArray

_CHUNK = 8192  # architectures evaluated together: their answers stay in the cache
_MAX_VECTORIZED = 256  # architectures up to which all trees are evaluated in one call


class Trees:
    """Corrections to the tables of one space.

    Parameters
    ----------
    space
        The space of the codes.
    arrays
        The arrays of the scale that the space is, or is cut down from: see `load_trees`.
    """

    def __init__(self, space: GPTSpace, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.space = space
        self.arrays = arrays

    def correction(self, codes: Codes, names: Sequence[str]) -> Array:
        """Return the corrections to the tables' medians.

        Parameters
        ----------
        codes : (n, d) int8
            Canonical codes.
        names
            m metrics; the correction is zero for those without trees, such as ``"params"``.

        Returns
        -------
        (n, m) float64
            A row does not depend on the other rows, to the last bit.
        """
        out = np.zeros((len(names), len(codes)))
        corrected = [(row, name) for row, name in zip(out, names, strict=True) if self.has(name)]
        if not corrected:
            return out.T
        # Only the questions that these metrics' trees ask, renumbered from 0.
        used = np.unique(np.concatenate([self.arrays[f"{n}:tests"].ravel() for _, n in corrected]))
        position = np.zeros(len(self.arrays["borders"]), dtype=np.intp)
        position[used] = np.arange(len(used))
        borders = self.arrays["borders"][used, None]
        ensembles = [
            (row, position[self.arrays[f"{name}:tests"]], self._leaves(name))
            for row, name in corrected
        ]
        for start in range(0, len(codes), _CHUNK):
            features = features_of(self.space, codes[start : start + _CHUNK])
            answers = (features[self.arrays["features"][used]] > borders).view(np.uint8)
            for row, tests, leaves in ensembles:
                row[start : start + _CHUNK] = _evaluate(answers, tests, leaves)
        return out.T

    @property
    def provenance(self) -> dict[str, Any]:
        """Source of the fit, its held-out errors, licence and citation."""
        return dict(json.loads(str(self.arrays["provenance"])))

    def best_known(self, metric: str) -> Codes | None:
        """Return the best known front of perplexity against a metric, (k, d), if there is one."""
        codes = self.arrays.get(f"{metric}:front")
        scale = named_space(scale_of(self.space))
        if codes is None or not np.array_equal(self.space.cardinalities, scale.cardinalities):
            return None
        return codes

    def _leaves(self, name: str) -> Array:
        units = self.arrays[f"{name}:scales"].astype(np.float64)
        return np.asarray(self.arrays[f"{name}:leaves"] * units[:, None])

    def has(self, name: str) -> bool:
        """Return True if there are trees for a metric."""
        return f"{name}:tests" in self.arrays


def features_of(space: GPTSpace, codes: Codes) -> NDArray[np.float32]:
    """Return the features that the trees' questions compare with their borders.

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

    Examples
    --------
    >>> space = GPTSpace("x", embed_dim=[8], n_layer=[1], mlp_ratio=[3], n_head=[2], bias=[True])
    >>> features_of(space, np.zeros((1, 5), dtype=np.int8)).T.tolist()
    [[8.0, 1.0, 1.0, 3.0, 2.0, 6.0, 3.0, 2.0]]
    """
    columns = np.ascontiguousarray(codes.T, dtype=np.intp)
    exists = np.arange(space.n_layer[-1])[:, None] < np.array(space.n_layer)[columns[1]]
    ratio = np.array(space.mlp_ratio, dtype=np.float32)[columns[3::2]] * exists
    head = np.array(space.n_head, dtype=np.float32)[columns[4::2]] * exists
    out = np.empty((6 + 2 * len(ratio), len(codes)), dtype=np.float32)
    out[0] = np.array(space.embed_dim)[columns[0]]
    out[1] = np.array(space.n_layer)[columns[1]]
    out[2] = np.array(space.bias)[columns[2]]
    out[3], out[4], out[5] = ratio.sum(axis=0), head.sum(axis=0), (ratio * head).sum(axis=0)
    out[6::2], out[7::2] = ratio, head
    return out


def _evaluate(answers: NDArray[np.uint8], tests: IndexArray, leaves: Array) -> Array:
    """Return the sums over trees of the leaves that answers (Q, n) lead to, (n,)."""
    n = answers.shape[1]
    if n <= _MAX_VECTORIZED:
        # All trees in one call: the overhead of numpy's calls would be most of the time.
        weights = 1 << np.arange(tests.shape[1], dtype=np.uint8)
        leaf = (answers[tests] * weights[:, None]).sum(axis=1, dtype=np.uint8)  # (T, n)
        values = np.take_along_axis(leaves, leaf.astype(np.intp), axis=1)
        # A cumulative sum adds tree by tree, as below: both ways agree to the last bit.
        return np.asarray(values.cumsum(axis=0)[-1])
    total, leaf = np.zeros(n), np.empty(n, dtype=np.uint8)
    for questions, values in zip(tests.tolist(), leaves, strict=True):
        # Horner's scheme for the binary number, from the highest bit to the lowest.
        np.copyto(leaf, answers[questions[-1]])
        for question in reversed(questions[:-1]):
            leaf += leaf
            leaf += answers[question]
        total += values[leaf]
    return total


def trees_of(space: GPTSpace) -> Trees:
    """Return the trees of a space: a scale's own, or one that is cut down from it."""
    return Trees(space, load_trees(scale_of(space)))


@cache
def load_trees(scale: str) -> Mapping[str, NDArray[Any]]:
    """Return the arrays of a scale such as ``"gpt-s"``."""
    with np.load(DATA / f"{scale}-trees.npz", allow_pickle=False) as file:
        return dict(file)
