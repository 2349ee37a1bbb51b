"""Base classes of optimizers: everything that the author of an optimizer meets.

An optimizer implements `Optimizer.ask`. All results so far are in `Optimizer.history`; an optimizer
that keeps more than that implements `Optimizer.update`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import FunctionType
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from hwnas import pareto
from hwnas.deprecation import (
    accept_former_methods,
    call_renamed,
    overriding_class,
    warn_renamed,
)
from hwnas.errors import InvalidInput
from hwnas.history import History
from hwnas.observations import checked_observations, is_configuration
from hwnas.related_trials import RelatedTrials
from hwnas.sampling import UniqueSampler as UniqueSampler  # for authors of optimizers
from hwnas.spaces import SearchSpace
from hwnas.typing import Array, Codes


class Optimizer(ABC):
    """Base class of all optimizers.

    Parameters
    ----------
    space
        Search space.
    n_objectives
        Number m of losses of a code, all minimized.
    seed
        Only source of randomness.
    n_constraints
        Number c of constraint violations that come with the losses.

    Attributes
    ----------
    batch : int
        Preferred number of codes of one `ask`.
    generation : int
        Number of evaluations of one generation; 1 without generations.
    n_initial : int
        Number of evaluations of the initial design: proposals that no result can change.
    asynchronous : bool
        Whether `ask` may be called while results are outstanding, and results told one by one in
        any order. If not, all results of an `ask` are waited for before the next.
    claims_to_beat_random : bool
        Whether ``hwnas check`` requires better results than those of random search.
    handles_constraints : bool
        Whether violations change the proposals. If not, ``hwnas check`` does not require feasible
        proposals; recommendations must be feasible in either case, if any observation is.
    history : History
        All observations so far.

    Notes
    -----
    Settings are further keyword arguments of ``__init__``, named and annotated; a user's settings
    are checked against them.

    Examples
    --------
    >>> import hwnas, numpy as np
    >>> search = hwnas.optimizer("random", "gpt-s", 2, seed=0)
    >>> codes = search.ask(3)
    >>> search.tell(codes, np.array([[1.0, 5.0], [2.0, 4.0], [3.0, 6.0]]))
    >>> len(search.history), len(search.recommend())  # the third is dominated by both others
    (3, 2)
    >>> (arch,) = search.space.decode(search.ask())
    >>> search.tell(arch, [0.5, 7.0])
    """

    batch: int = 1
    generation: int = 1
    n_initial: int = 0
    asynchronous: bool = False
    claims_to_beat_random: bool = True
    handles_constraints: bool = True

    def __init__(
        self, space: SearchSpace, n_objectives: int, *, seed: int, n_constraints: int = 0
    ) -> None:
        self.space = space
        self.n_objectives = n_objectives
        self.n_constraints = n_constraints
        self.rng = np.random.default_rng(seed)
        self.history = History(len(space.columns), n_objectives, n_constraints)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # `ask(self, n)` is all that an author writes; whoever calls it need not say n.
        ask = vars(cls).get("ask")
        if isinstance(ask, FunctionType) and ask.__code__.co_argcount == 2:
            ask.__defaults__ = ask.__defaults__ or (1,)
        accept_former_methods(
            cls, {"notes": "diagnostics", "stopped": "tell_infeasible", "tell": "update"}
        )

    def __getattr__(self, name: str) -> Any:
        # Called only for missing attributes.
        if name in ("space", "n_objectives", "n_constraints", "rng", "history"):
            raise AttributeError(
                f"{type(self).__name__} has no {name}: its __init__ must call "
                "super().__init__(space, n_objectives, seed=seed, n_constraints=n_constraints)"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @abstractmethod
    def ask(self, n: int) -> Codes:
        """Propose architectures.

        Parameters
        ----------
        n
            Largest number of codes to return; 1 if it is left out, in every subclass.

        Returns
        -------
        (k, d) int8
            Canonical codes, 0 <= k <= n; none only while results are outstanding. `decode` of the
            space makes architectures or configurations of them.

        Raises
        ------
        SpaceExhausted
            There is nothing new to propose.
        """

    def tell(
        self,
        codes: Any,
        losses: ArrayLike,
        *,
        std: ArrayLike | None = None,
        constraints: ArrayLike | None = None,
    ) -> None:
        """Report results of any architectures, proposed or not, in any order and grouping.

        The results are checked, appended to `history` and passed to `update`.

        Parameters
        ----------
        codes : (k, d)
            Canonical codes; or a list of k architectures or configurations, as dicts, strings or
            what the space decodes; or one of these, whose results are then (m,) and (c,).
        losses : (k, m)
            Minimized, finite.
        std : (k, m), optional
            Standard errors of the losses, if they are noisy.
        constraints : (k, c), optional
            Constraint violations in raw units, at most 0 where feasible.

        Raises
        ------
        InvalidInput
            An array has the wrong shape, a code is not canonical, a configuration is not of the
            space, or a value is not finite.
        """
        if is_configuration(codes):  # one alone
            codes, losses = [codes], cast(ArrayLike, [losses])
            std = None if std is None else cast(ArrayLike, [std])
            constraints = None if constraints is None else cast(ArrayLike, [constraints])
        if isinstance(codes, list | tuple) and codes and all(map(is_configuration, codes)):
            codes = self.space.encode(codes)
        cls = overriding_class(self, "update")
        if cls is not None:  # an overridden `tell` calls its parent's
            parent: Any = super(cls, self)
            parent.update(codes, losses, std=std, constraints=constraints)
            return
        # The template: check, record, pass on.
        sizes = self.n_objectives, self.n_constraints
        observations = checked_observations(self.space, sizes, codes, losses, std, constraints)
        self.history.add(*observations)
        self.update(
            observations[0],
            observations[1],
            std=None if std is None else observations[2],
            constraints=None if constraints is None else observations[3],
        )

    def update(  # noqa: B027 - `history` is all that some optimizers need
        self,
        codes: Codes,
        losses: Array,
        *,
        std: Array | None = None,
        constraints: Array | None = None,
    ) -> None:
        """Use new results, which are checked and in `history` already. Does nothing by default.

        Parameters
        ----------
        codes, losses, std, constraints
            As for `tell`; read-only arrays.
        """

    def fail(self, codes: Codes, reason: str) -> None:  # noqa: B027 - forgetting is a default
        """Report architectures (k, d) that could not be evaluated. Does nothing by default."""

    def start_with(self, codes: Codes) -> None:  # noqa: B027 - a design is no duty
        """Go on without a design of its own: results of `codes` (k, d) come before the first `ask`.

        Does nothing by default. A multi-fidelity optimizer is told results at its lowest fidelity.
        """

    def tell_infeasible(self, codes: Codes, constraints: Array) -> None:
        """Report architectures whose evaluation was stopped at a violated constraint.

        By default they have failed. An optimizer that models constraints can use the violations.

        Parameters
        ----------
        codes : (k, d) int8
        constraints : (k, c) float64
            Constraint violations in raw units, NaN where they were not measured.
        """
        self.fail(codes, "stopped at a bound")

    def tell_related(self, related: RelatedTrials) -> None:
        """Learn from trials of another space or of other metrics, before the first `ask`.

        They are not part of `history`.

        Raises
        ------
        InvalidInput
            The optimizer cannot use them, as by default.
        """
        raise InvalidInput(
            f"{type(self).__name__} learns only from runs on the same space with all metrics; "
            "expected an optimizer that learns from others, as additive or auto"
        )

    def recommend(self, n: int | None = None) -> Codes:
        """Return the architectures that the optimizer would choose now, at most `n`.

        By default the non-dominated ones by the mean of their observations; of the feasible ones,
        if there are any.

        Returns
        -------
        (k, d) int8, distinct
        """
        # Repeated observations count once, with their mean.
        codes, losses, _, violations = self.history.averaged()
        indices = np.flatnonzero((violations <= 0).all(axis=1))
        indices = indices if len(indices) else np.arange(len(codes))
        indices = indices[pareto.non_dominated(losses[indices], keep_equal=True)]
        return np.ascontiguousarray(codes[indices][:n])

    def diagnostics(self) -> list[str]:
        """Return what a user should know about the search, one line each. Empty by default.

        An optimizer knows objectives by number: ``objective 1`` is shown by its name.
        """
        return []

    @property
    def told(self) -> History:
        """Deprecated name of `history`."""
        warn_renamed("Optimizer.told", "Optimizer.history")
        return self.history

    def notes(self) -> list[str]:
        """Return `diagnostics()`; deprecated name."""
        warn_renamed("Optimizer.notes", "Optimizer.diagnostics")
        lines: list[str] = call_renamed(self, "diagnostics")
        return lines

    def stopped(self, codes: Codes, constraints: Array) -> None:
        """Call `tell_infeasible`; deprecated name."""
        warn_renamed("Optimizer.stopped", "Optimizer.tell_infeasible")
        call_renamed(self, "tell_infeasible", codes, constraints)


class MultiFidelityOptimizer(Optimizer):
    """Base class of optimizers that also choose the fidelity of a measurement.

    ``ask`` returns codes and one fidelity for all of them. A code that is asked for again at a
    higher fidelity continues from its last one.

    Parameters
    ----------
    space, n_objectives, seed, n_constraints
        As for `Optimizer`.
    fidelities
        Fidelities that may be asked for, ascending; the last is the full measurement.

    Examples
    --------
    >>> import hwnas
    >>> class Lowest(MultiFidelityOptimizer):
    ...     def ask(self, n):
    ...         return self.space.sample(n, self.rng), self.fidelities[0]
    >>> codes, fidelity = Lowest(hwnas.space("gpt-s"), 2, seed=0, fidelities=[1, 3, 9]).ask(4)
    >>> codes.shape, fidelity
    ((4, 27), 1)
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
        """Propose architectures and the fidelity to measure them at."""


def __getattr__(name: str) -> Any:
    renamed = {"Told": History, "Unseen": UniqueSampler, "Array": Array}
    if name not in renamed:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warn_renamed(f"hwnas.optimizers.{name}", renamed[name].__name__)
    return renamed[name]
