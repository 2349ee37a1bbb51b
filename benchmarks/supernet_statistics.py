"""Rank correlation of inherited perplexity: pure functions behind ``supernet.py``.

All rank correlations are Kendall's tau-b within one ``embed_dim``, averaged over the widths.
Intervals are percentile intervals of a bootstrap over networks, drawn within each width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hwnas.typing import Array

N_BOOTSTRAP = 2000
MIN_NETWORKS = 4  # of a width, below which it has no rank correlation

# From the indices of networks (k,) of one width to a statistic.
Statistic = Callable[[Array], float]


@dataclass(frozen=True, eq=False)
class Networks:
    """Networks of one space.

    Attributes
    ----------
    width, depth : (n,)
        ``embed_dim`` and number of layers.
    alone : (n,)
        Perplexity after a training from scratch.
    repeated : (n,)
        The same with another seed; NaN where there is none.
    inherited : (n,)
        Perplexity with the weights of a supernet.
    params, decoder : (n,)
        Parameters, in all and of the layers alone.
    """

    width: Array
    depth: Array
    alone: Array
    repeated: Array
    inherited: Array
    params: Array
    decoder: Array


@dataclass(frozen=True)
class Estimate:
    """Value with its bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def kendall(x: Array, y: Array) -> float:
    """Return Kendall's tau-b; NaN where one of the two is constant.

    For the few networks of a bootstrap this is ten times as fast as SciPy's.

    >>> round(kendall(np.array([1, 2, 3]), np.array([1, 3, 2])), 3)
    0.333
    """
    a, b = (np.sign(np.subtract.outer(values, values)) for values in (x, y))
    pairs = float((a * a).sum()) * float((b * b).sum())  # that are no ties, in each
    return float((a * b).sum()) / pairs**0.5 if pairs else float("nan")


def partial_kendall(x: Array, y: Array, control: Array) -> float:
    """Return Kendall's partial rank correlation of two variables given a third (Kendall 1942).

    >>> x = np.arange(6.0)
    >>> partial_kendall(x, x, np.array([1, 0, 3, 2, 5, 4.0]))
    1.0
    """
    xy, xz, yz = kendall(x, y), kendall(x, control), kendall(y, control)
    unexplained = (1 - xz**2) * (1 - yz**2)
    return (xy - xz * yz) / unexplained**0.5 if unexplained > 0 else float("nan")


def mean_over_widths(width: Array, statistic: Statistic, chosen: Array | None = None) -> float:
    """Return the mean of a statistic over the widths with enough networks.

    Parameters
    ----------
    width : (n,)
    statistic
        Function of the indices of networks of one width.
    chosen : (n,) bool
        Networks to use, by default all.
    """
    mask = np.ones(len(width), dtype=bool) if chosen is None else chosen
    groups = [np.flatnonzero((width == w) & mask) for w in np.unique(width)]
    values = [statistic(group) for group in groups if len(group) >= MIN_NETWORKS]
    return float(np.mean(values)) if values else float("nan")


def bootstrap(
    width: Array,
    statistic: Statistic,
    rng: np.random.Generator,
    *,
    chosen: Array | None = None,
    level: float = 0.9,
    n: int = N_BOOTSTRAP,
) -> Estimate:
    """Return the mean of a statistic over the widths, with an interval over networks.

    Several statistics of the same indices, such as the difference of two correlations, are paired:
    each resample has the same networks in both.
    """
    mask = np.ones(len(width), dtype=bool) if chosen is None else chosen
    groups = [np.flatnonzero((width == w) & mask) for w in np.unique(width)]
    groups = [group for group in groups if len(group) >= MIN_NETWORKS]
    value = mean_over_widths(width, statistic, chosen)
    if not groups:
        return Estimate(value, float("nan"), float("nan"))
    draws = [
        np.mean([statistic(rng.choice(group, size=len(group))) for group in groups])
        for _ in range(n)
    ]
    low, high = np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high))


def trust(
    networks: Networks, rng: np.random.Generator, *, n_bootstrap: int = N_BOOTSTRAP
) -> dict[str, Estimate]:
    """Return how well inherited perplexity ranks networks, beside the count of parameters.

    Returns
    -------
    dict
        ``inherited``, ``params``, ``decoder``: rank correlation with the networks trained alone;
        ``ceiling``: that of two seeds; ``share``: the first over the last, its interval that of the
        first; ``partial``: the first given parameters; ``lead over params`` and ``lead over
        decoder``: paired differences.
    """
    n = networks
    # More parameters mean a lower perplexity.
    rivals = {"params": -n.params, "decoder": -n.decoder}

    def tau(values: Array) -> Statistic:
        return lambda i: kendall(values[i], n.alone[i])

    def lead(values: Array) -> Statistic:
        return lambda i: kendall(n.inherited[i], n.alone[i]) - kendall(values[i], n.alone[i])

    def estimate(statistic: Statistic, chosen: Array | None = None) -> Estimate:
        return bootstrap(n.width, statistic, rng, chosen=chosen, n=n_bootstrap)

    estimates = {"inherited": estimate(tau(n.inherited))}
    estimates |= {name: estimate(tau(values)) for name, values in rivals.items()}
    estimates["ceiling"] = estimate(
        lambda i: kendall(n.repeated[i], n.alone[i]), np.isfinite(n.repeated)
    )
    ceiling, own = estimates["ceiling"].value, estimates["inherited"]
    estimates["share"] = Estimate(own.value / ceiling, own.low / ceiling, own.high / ceiling)
    estimates["partial"] = estimate(
        lambda i: partial_kendall(n.inherited[i], n.alone[i], -n.params[i])
    )
    estimates |= {f"lead over {name}": estimate(lead(values)) for name, values in rivals.items()}
    return estimates


def depth_trust(
    networks: Networks, rng: np.random.Generator, *, n_bootstrap: int = N_BOOTSTRAP
) -> dict[str, Estimate]:
    """Return rank correlations within one width and depth, where sizes differ less.

    Returns
    -------
    dict
        ``inherited``, ``params``: mean over the pairs of a width and a depth with enough networks.
    """
    n = networks
    values = {"inherited": n.inherited, "params": -n.params}
    _, group = np.unique(np.stack([n.width, n.depth]), axis=1, return_inverse=True)
    return {
        name: bootstrap(group, lambda i, x=x: kendall(x[i], n.alone[i]), rng, n=n_bootstrap)
        for name, x in values.items()
    }
