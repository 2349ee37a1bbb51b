"""What proposes networks: the bases of every optimizer.

A plugin author implements `Optimizer.ask` and, unless `Optimizer.told` is all it needs,
`Optimizer.tell`.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas import pareto
from hwnas.errors import InvalidInput, SpaceExhausted
from hwnas.spaces import Codes, SearchSpace

Array = NDArray[np.float64]


class Told:
    """Everything an optimizer has been told, in order.

    Attributes
    ----------
    codes : (n, d) int8
    losses : (n, m) float64
    std : (n, m) float64
        Zero where the losses are exact.
    constraints : (n, c) float64
        Signed slacks, at most 0 where feasible.
    """

    def __init__(self, width: int, n_objectives: int, n_constraints: int) -> None:
        self._parts: list[tuple[Any, ...]] = [
            (
                np.empty((0, width), dtype=np.int8),
                np.empty((0, n_objectives)),
                np.empty((0, n_objectives)),
                np.empty((0, n_constraints)),
            )
        ]

    def __len__(self) -> int:
        return sum(len(part[0]) for part in self._parts)

    def add(self, codes: Codes, losses: Array, std: Array, constraints: Array) -> None:
        """Remember k more results."""
        self._parts.append((codes, losses, std, constraints))

    def averaged(self) -> tuple[Codes, Array, Array, Array]:
        """Every network once, in the order in which they were first told.

        Returns
        -------
        codes (k, d), losses (k, m), std (k, m), constraints (k, c)
            Means of what was told of each, and their standard errors.
        """
        codes, first, which = np.unique(self.codes, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(first)
        which, k = np.argsort(order)[which.ravel()], len(codes)
        counts = np.bincount(which, minlength=k)[:, None]
        losses, variance, slacks = (
            _sums(rows, which, k) / counts for rows in (self.losses, self.std**2, self.constraints)
        )
        return np.ascontiguousarray(codes[order]), losses, np.sqrt(variance / counts), slacks

    codes = property(lambda self: self._joined()[0])
    losses = property(lambda self: self._joined()[1])
    std = property(lambda self: self._joined()[2])
    constraints = property(lambda self: self._joined()[3])

    def _joined(self) -> tuple[Any, ...]:
        if len(self._parts) > 1:
            columns = zip(*self._parts, strict=True)
            self._parts = [tuple(np.concatenate(column) for column in columns)]
        return self._parts[0]


class Optimizer(ABC):
    """The base of every optimizer.

    Parameters
    ----------
    space
        Where to search.
    n_objectives
        How many losses a network has, all minimised.
    seed
        The only source of randomness.
    n_constraints
        How many signed slacks come with the losses.

    Attributes
    ----------
    batch : int
        How many networks it likes to be asked for at once.
    claims_to_beat_random : bool
        Whether ``hwnas check`` holds it to find more than random search does.
    told : Told
        Everything told so far. Every subclass's `tell` is wrapped to check what it is given and to
        keep it here first, so that no author has to.

    Notes
    -----
    Settings are further keyword arguments of ``__init__``, named and annotated; a user's settings
    are checked against them.
    """

    batch: int = 1
    claims_to_beat_random: bool = True
    _telling = False  # inside a tell, whose results are already kept

    def __init__(
        self, space: SearchSpace, n_objectives: int, *, seed: int, n_constraints: int = 0
    ) -> None:
        self.space = space
        self.n_objectives = n_objectives
        self.n_constraints = n_constraints
        self.rng = np.random.default_rng(seed)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "tell" in cls.__dict__:
            cls.tell = _kept(cls.tell)  # type: ignore[method-assign]

    @abstractmethod
    def ask(self, n: int) -> Codes:
        """Propose networks.

        Returns
        -------
        (k, d) int8
            Canonical codes, 0 <= k <= n; none only while results are outstanding.

        Raises
        ------
        SpaceExhausted
            There is nothing new to propose.
        """

    def tell(  # noqa: B027 - some need no more than what is kept
        self,
        codes: Codes,
        losses: Array,
        *,
        std: Array | None = None,
        constraints: Array | None = None,
    ) -> None:
        """Take results, in any order and grouping, of networks proposed or not.

        Parameters
        ----------
        codes : (k, d) int8
        losses : (k, m) float64
            Minimised, finite.
        std : (k, m) float64, optional
            Standard errors of the losses, when they are noisy.
        constraints : (k, c) float64, optional
            Signed slacks in raw units, at most 0 where feasible.
        """

    def fail(self, codes: Codes, reason: str) -> None:  # noqa: B027 - forgetting is a default
        """Learn that networks (k, d) could not be evaluated. By default they are forgotten."""

    def stopped(self, codes: Codes, constraints: Array) -> None:
        """Learn that networks broke a bound and were measured no further.

        By default they have failed; what heeds constraints can learn from their slacks.

        Parameters
        ----------
        codes : (k, d) int8
        constraints : (k, c) float64
            Signed slacks in raw units, NaN where they were not measured.
        """
        self.fail(codes, "stopped at a bound")

    def recommend(self, n: int | None = None) -> Codes:
        """The networks it would choose now, at most `n`.

        By default the non-dominated of what was told, by the observed means of each network;
        feasible ones, where there are any.

        Returns
        -------
        (k, d) int8, distinct
        """
        codes, losses, _, slacks = self.told.averaged()
        keep = np.flatnonzero((slacks <= 0).all(axis=1))
        keep = keep if len(keep) else np.arange(len(codes))
        keep = keep[pareto.non_dominated(losses[keep], keep_equal=True)]
        return np.ascontiguousarray(codes[keep][:n])

    def notes(self) -> list[str]:
        """What a user should know of the search, a line each. By default nothing."""
        return []

    @property
    def told(self) -> Told:
        """Everything told so far."""
        if "_told" not in self.__dict__:
            self._told = Told(len(self.space.columns), self.n_objectives, self.n_constraints)
        return self._told


class MultiFidelityOptimizer(Optimizer):
    """The base of optimizers that also choose how well a network is measured.

    ``ask`` returns codes and one fidelity for all of them. A code asked for again at a higher
    fidelity goes on from where it was.

    Parameters
    ----------
    fidelities
        What may be asked for, ascending; the last is the full measurement.
    """

    def __init__(
        self,
        space: SearchSpace,
        n_objectives: int,
        *,
        seed: int,
        fidelities: Sequence[int],
        n_constraints: int = 0,
    ) -> None:
        super().__init__(space, n_objectives, seed=seed, n_constraints=n_constraints)
        self.fidelities = tuple(fidelities)

    @abstractmethod
    def ask(self, n: int) -> tuple[Codes, int]:  # type: ignore[override]
        """Propose networks and the fidelity to measure them at."""


class Unseen:
    """Uniform samples of a space without repetition.

    Parameters
    ----------
    space
        Where to sample.
    rng
        Source of randomness.
    """

    def __init__(self, space: SearchSpace, rng: np.random.Generator) -> None:
        self.space = space
        self.rng = rng
        self._seen: set[bytes] = set()
        self._rest: Codes | None = None  # what is left, once that is little enough to list

    def __len__(self) -> int:
        return len(self._seen)

    def __contains__(self, code: Codes) -> bool:
        return code.tobytes() in self._seen

    def take(self, codes: Codes) -> Codes:
        """Mark networks as seen, and return those that were not, each once, in order."""
        fresh = []
        for i, row in enumerate(codes):
            if (key := row.tobytes()) not in self._seen:
                self._seen.add(key)
                fresh.append(i)
        return codes[fresh]

    def sample(self, n: int) -> Codes:
        """Up to `n` networks never seen before, which are then seen.

        Returns
        -------
        (k, d) int8
            Fewer than `n` only when the space has no more.

        Raises
        ------
        SpaceExhausted
            The space has none left.
        """
        left = self.space.size - len(self._seen)
        if left <= 0:
            raise SpaceExhausted(f"all {self.space.size} networks of {self.space.name} are taken")
        n = min(n, left)
        parts: list[Codes] = []
        have = 0
        while have < n:
            # Rejection serves until most draws are rejected; such a space is small: list it.
            if len(self._seen) > self.space.size // 2:
                parts.append(self._listed(n - have))
            else:
                parts.append(self.take(self.space.sample(n - have, self.rng)))
            have += len(parts[-1])
        return np.concatenate([self.space.encode([]), *parts])

    def _listed(self, n: int) -> Codes:
        if self._rest is None:
            rest = np.concatenate(list(self.space.enumerate()))
            self._rest = rest[self.rng.permutation(len(rest))]
        rest = self._rest[[row.tobytes() not in self._seen for row in self._rest]]
        self._rest = rest[n:]
        return self.take(rest[:n])


def _kept(tell: Callable[..., None]) -> Callable[..., None]:
    """A subclass's `tell` that first checks and keeps what it is given.

    A `tell` that calls its parent's, itself wrapped, keeps it once.
    """

    @functools.wraps(tell)
    def kept(
        self: Optimizer,
        codes: ArrayLike,
        losses: ArrayLike,
        *,
        std: ArrayLike | None = None,
        constraints: ArrayLike | None = None,
    ) -> None:
        if self._telling:
            tell(self, codes, losses, std=std, constraints=constraints)
            return
        result = _checked(self, codes, losses, std, constraints)
        self.told.add(*result)
        self._telling = True
        try:
            tell(
                self,
                result[0],
                result[1],
                std=None if std is None else result[2],
                constraints=None if constraints is None else result[3],
            )
        finally:
            self._telling = False

    return kept


def _checked(
    optimizer: Optimizer,
    codes: ArrayLike,
    losses: ArrayLike,
    std: ArrayLike | None,
    constraints: ArrayLike | None,
) -> tuple[Codes, Array, Array, Array]:
    space, m, c = optimizer.space, optimizer.n_objectives, optimizer.n_constraints
    given = np.asarray(codes)
    k, width = len(given), len(space.columns)
    if given.shape != (k, width):
        raise InvalidInput(f"tell: expected codes of shape (k, {width}), found {given.shape}")
    if not (valid := space.is_valid(given)).all():
        bad = given[np.argmin(valid)].tolist()
        raise InvalidInput(f"tell: expected canonical codes of {space.name}, found {bad}")

    def array(name: str, value: ArrayLike, width: int) -> Array:
        out = np.array(value, dtype=np.float64, order="C")
        if out.shape != (k, width):
            raise InvalidInput(f"tell: expected {name} of shape {(k, width)}, found {out.shape}")
        if not np.isfinite(out).all():
            raise InvalidInput(f"tell: expected finite {name}; use fail() for what has none")
        return out

    if constraints is None and c:
        raise InvalidInput(f"tell: expected constraints of shape {(k, c)}, found none")
    checked = (
        given.astype(np.int8, order="C"),
        array("losses", losses, m),
        np.zeros((k, m)) if std is None else array("std", std, m),
        np.zeros((k, c)) if constraints is None else array("constraints", constraints, c),
    )
    for part in checked:
        part.flags.writeable = False  # a subclass gets what is kept, not a copy
    return checked


def _sums(rows: Array, which: NDArray[np.intp], n: int) -> Array:
    """Sum of the rows of each of `n` classes, (n, m)."""
    out = np.zeros((n, rows.shape[1]))
    np.add.at(out, which, rows)
    return out


Optimizer.tell = _kept(Optimizer.tell)  # type: ignore[method-assign]
