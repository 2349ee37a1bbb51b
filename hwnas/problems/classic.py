"""The backend ``problem``: ZDT and DTLZ, the classic test problems, on grids.

References
----------
Zitzler, Deb and Thiele, "Comparison of multiobjective evolutionary algorithms: empirical results",
Evolutionary Computation 2000 (ZDT). Deb, Thiele, Laumanns and Zitzler, "Scalable test problems for
evolutionary multiobjective optimization", 2005 (DTLZ).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.backends import Backend, Evaluation
from hwnas.errors import InvalidInput, MissingExtra, UnknownName
from hwnas.fronts import Front
from hwnas.objectives import Metric, Objective
from hwnas.spaces import SearchSpace
from hwnas.typing import Array, Codes

# Number of variables; for DTLZ beyond one less than the objectives.
N_VARIABLES = {
    "zdt1": 30,
    "zdt2": 30,
    "zdt3": 30,
    "zdt4": 10,
    "zdt6": 10,
    "dtlz1": 5,
    "dtlz2": 10,
    "dtlz3": 10,
    "dtlz4": 10,
    "dtlz5": 10,
    "dtlz6": 10,
    "dtlz7": 20,
}
# Objectives of the others increase with the distance function g, whose minimum is thus optimal.
_NOT_MONOTONE = ("dtlz5", "dtlz6")
_MAX_VARIABLES = 10_000
_MAX_POSITIONS = 1_000_000  # combinations of position variables up to which a front is listed


class ProblemSpace(SearchSpace):
    """Grid of the variables ``x1``, ``x2``, ... of a classic test problem.

    Parameters
    ----------
    name
        Name of the space.
    problem
        ``"zdt1"`` to ``"zdt4"``, ``"zdt6"``, ``"dtlz1"`` to ``"dtlz7"``.
    n_var
        Number of variables; by default that of the publication.
    n_obj
        Number of objectives; those of ZDT have 2, those of DTLZ 3 by default.
    values
        Number of equidistant values of each variable, ends included.

    Raises
    ------
    InvalidInput
        There is no such problem, or not of these sizes.

    Examples
    --------
    >>> import hwnas
    >>> hwnas.space("zdt1")
    <ProblemSpace zdt1: 30 columns, 1.53e+54 members>
    """

    named = {name: {"problem": name} for name in N_VARIABLES}  # noqa: RUF012 - a constant

    def __init__(
        self,
        name: str,
        *,
        problem: str,
        n_var: int | None = None,
        n_obj: int | None = None,
        values: int = 64,
    ) -> None:
        if not isinstance(problem, str) or problem not in N_VARIABLES:
            raise UnknownName("problem", str(problem), N_VARIABLES)
        is_zdt = problem.startswith("zdt")
        if n_obj is None:
            n_obj = 2 if is_zdt else 3
        if type(n_obj) is not int or n_obj < 2 or (is_zdt and n_obj != 2):
            expected = "2" if is_zdt else "an integer of at least 2"
            raise InvalidInput(f"n_obj: expected {expected} for {problem}, found {n_obj!r}")
        if n_var is None:
            n_var = N_VARIABLES[problem] + (0 if is_zdt else n_obj - 1)
        if type(n_var) is not int or not n_obj <= n_var <= _MAX_VARIABLES:
            raise InvalidInput(
                f"n_var: expected an integer from {n_obj} to {_MAX_VARIABLES}, found {n_var!r}"
            )
        if type(values) is not int or not 2 <= values <= 127:
            raise InvalidInput(f"values: expected an integer from 2 to 127, found {values!r}")
        self.problem, self.n_var, self.n_obj, self.n_values = problem, n_var, n_obj, values
        # All variables of ZDT4 but the first are from -5 to 5.
        lower = np.zeros(n_var)
        lower[1:] = -5.0 if problem == "zdt4" else 0.0
        self.grid: Array = np.linspace(lower, np.where(lower < 0, 5.0, 1.0), values, axis=1)
        super().__init__(name, {f"x{i}": row for i, row in enumerate(self.grid, 1)})

    def to_dict(self) -> dict[str, Any]:
        """Return what `hwnas.space` makes the same space of."""
        return {
            "family": "problem",
            "name": self.name,
            "problem": self.problem,
            "n_var": self.n_var,
            "n_obj": self.n_obj,
            "values": self.n_values,
        }

    def variables(self, codes: Codes) -> Array:
        """Return the variables (n, n_var) of codes (n, n_var)."""
        return np.asarray(self.grid[np.arange(self.n_var), codes.astype(np.intp)])


class ClassicProblem(Backend):
    """Backend that evaluates a classic test problem, as pymoo defines it.

    The space is one of the family ``problem``, such as ``zdt1`` or ``dtlz2``; metrics are ``f1``,
    ``f2``, ... Fronts of all objectives are exact for the grid, those of DTLZ5 and DTLZ6 unknown.
    They lie far below random configurations: without a ``reference`` of its own, the hypervolume of
    an experiment is 0 until a search comes close.

    Parameters
    ----------
    name
        Name of the problem, if it should be checked to be that of the space.

    Raises
    ------
    InvalidInput
        The space is not that of the problem.
    MissingExtra
        pymoo is not installed.
    """

    def __init__(self, space: SearchSpace, *, name: str | None = None) -> None:
        if not isinstance(space, ProblemSpace):
            named = ", ".join(ProblemSpace.named)
            raise InvalidInput(
                f"problem: expected a space of the family problem, one of {named}, found "
                f"{space.name}"
            )
        if name is not None and name != space.problem:
            if name not in N_VARIABLES:
                raise UnknownName("problem", name, N_VARIABLES)
            raise InvalidInput(f"name: expected {space.problem}, that of the space, found {name}")
        super().__init__(space)
        self.grid_space = space
        self.metrics = {f"f{j}": Metric("", "free") for j in range(1, space.n_obj + 1)}
        try:
            from pymoo.problems import get_problem
        except ModuleNotFoundError as error:
            raise MissingExtra("backend 'problem'", "pymoo", "pymoo") from error
        sizes = {"n_var": space.n_var}
        if space.problem.startswith("dtlz"):
            sizes["n_obj"] = space.n_obj
        self.definition = get_problem(space.problem, **sizes)

    def evaluate(
        self,
        codes: Codes,
        objectives: Sequence[Objective],
        *,
        seeds: NDArray[np.uint64],
        fidelity: int | None = None,
    ) -> Evaluation:
        """Evaluate the problem at grid points; see `hwnas.Backend`."""
        return Evaluation(self._values(codes)[:, _columns(objectives)])

    def front(
        self, objectives: Sequence[Objective], constraints: Sequence[Objective] = ()
    ) -> Front | None:
        """Return the exact front of all objectives of the grid; ``None`` for anything else."""
        space = self.grid_space
        is_whole = sorted(_columns(objectives)) == list(range(space.n_obj))
        is_minimized = not any(objective.maximise for objective in objectives)
        n_positions = space.n_values ** (space.n_obj - 1)
        if (
            not (is_whole and is_minimized)
            or constraints
            or space.problem in _NOT_MONOTONE
            or n_positions > _MAX_POSITIONS
        ):
            return None
        values = self._values(self._optimal_codes)[:, _columns(objectives)]
        return Front.of(self._optimal_codes, values, tuple(objectives))

    @cached_property
    def _optimal_codes(self) -> Codes:
        """Codes with the least distance function, one for each choice of the position variables."""
        space = self.grid_space
        # 1. The distance function is a sum over variables, so each has its own best value: that of
        #    the least sum of objectives, because these increase with it.
        n_position = space.n_obj - 1
        best = np.zeros(space.n_var, dtype=np.int8)
        middle = space.n_values // 2
        for j in range(n_position, space.n_var):
            codes = np.tile(best, (space.n_values, 1))
            codes[:, :n_position] = middle
            codes[:, j] = np.arange(space.n_values)
            best[j] = self._values(codes).sum(axis=1).argmin()
        # 2. Position variables decide where on the front a point lies.
        positions = np.array([*product(range(space.n_values), repeat=n_position)], dtype=np.int8)
        optimal = np.tile(best, (len(positions), 1))
        optimal[:, :n_position] = positions
        return np.ascontiguousarray(optimal)

    def _values(self, codes: Codes) -> Array:
        """Return all objectives (n, m) of codes."""
        if len(codes) == 0:
            return np.empty((0, self.grid_space.n_obj))
        return np.asarray(self.definition.evaluate(self.grid_space.variables(codes)))


def _columns(objectives: Sequence[Objective]) -> list[int]:
    """Return the columns of pymoo's values that objectives are."""
    return [int(objective.metric[1:]) - 1 for objective in objectives]
