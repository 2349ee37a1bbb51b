"""Results of a run, rebuilt from its trials: fronts, trajectories and a summary."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hwnas import pareto, registry
from hwnas.backends import closed_forms, metric_of
from hwnas.errors import InvalidInput, UnknownName
from hwnas.experiment import Experiment
from hwnas.files import write_csv
from hwnas.foreign_code import refuse_plugins
from hwnas.fronts import Front, exactness
from hwnas.objectives import (
    Metric,
    constraint_violations,
    losses_of,
    parse_constraints,
    parse_objectives,
)
from hwnas.plugin_files import load_plugin_file
from hwnas.problem import Problem, build_problem
from hwnas.runner.environment import recorded_metrics, recorded_plugins
from hwnas.runner.evaluation import measure
from hwnas.runner.missing_estimate import missing_columns, stored_estimates
from hwnas.runner.reference_point import Reference
from hwnas.runner.run_files import (
    check_trials,
    refuse_sweep,
    search_databases,
    stored_experiment,
    stored_search,
)
from hwnas.runner.search_result import Recommendation, SearchResult, Trajectory, first_rows
from hwnas.runner.storage import Trials
from hwnas.runner.summary import front_table, html_table, summary_columns, summary_row
from hwnas.spaces import SearchSpace, space
from hwnas.typing import Array, BoolArray, Codes, IndexArray

_MAX_BOUND = 200  # members of the best subset up to which `Result.bound` is computed


class Result:
    """Results of a run, read from its directory.

    Parameters
    ----------
    path
        Directory of the run.
    allow_plugins
        Whether the plugin files of the run may run. They are needed only under noise or for the
        front of a backend in one of them, and those that the run was started with may run anyway.
    problem
        Problem of the run, if it is built already.

    Attributes
    ----------
    experiment
        The experiment as it was resolved.
    reference
        Reference by which the searches are judged.
    searches
        One result for each optimizer and seed that has trials on disk.

    Raises
    ------
    InvalidInput
        The directory holds no run, or a file in it is damaged.

    Examples
    --------
    >>> import hwnas, tempfile
    >>> changes = {"budget.evaluations": 9, "optimizers": ["random"]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = hwnas.run("quickstart", f"{folder}/quick", overrides=changes, draw=False).path
    ...     [len(search.trials) for search in hwnas.Result(path).searches]
    [9, 9]
    """

    def __init__(
        self, path: Path | str, *, allow_plugins: bool = False, problem: Problem | None = None
    ) -> None:
        self.path = Path(path)
        databases = search_databases(self.path)
        if not databases:
            refuse_sweep(self.path)
            raise InvalidInput(f"{self.path}: no trials here, expected the directory of a run")
        # Every store has the experiment and the reference; those of the first one are used.
        stored = [stored_search(file) for file in databases]
        meta = stored[0][-1]
        self.experiment: Experiment = stored_experiment(meta["experiment"], databases[0])
        self.allow_plugins = allow_plugins
        if problem is not None:
            self.problem = problem
        n_objectives = len(self.experiment.objectives)
        self.reference = Reference.from_json(meta["reference"], n_objectives, databases[0])
        self.space: SearchSpace = self._read_space()
        self.objectives = parse_objectives(self.experiment.objectives)
        self.constraints = parse_constraints(self.experiment.constraints)
        # Searches in the order of the experiment; what it does not name comes last.
        order = {
            (entry.name, seed): (i, j)
            for i, entry in enumerate(self.experiment.optimizers)
            for j, seed in enumerate(self.experiment.seeds)
        }
        searches = [
            self._search_result(file.parent, *parts)
            for file, parts in zip(databases, stored, strict=True)
        ]
        behind_all = (len(order), 0)
        self.searches = sorted(searches, key=lambda s: order.get((s.optimizer, s.seed), behind_all))

    @cached_property
    def problem(self) -> Problem:
        """Problem of the experiment, needed for noise and for the backend's front only.

        Raises
        ------
        ExperimentError
            The backend is in a plugin file that may not run.
        """
        # Only a backend that a plugin file registers needs foreign code to run.
        if self.experiment.backend.type not in registry.names("backend"):
            self._run_plugins()
        return build_problem(self.experiment)

    def _run_plugins(self) -> None:
        """Run the plugin files of the run, if they may run."""
        if not self.allow_plugins:
            file = str(self.path / "experiment.yaml")
            refuse_plugins(self.experiment.plugins, file, recorded_plugins(self.path))
        for plugin in self.experiment.plugins:  # a function is not needed to read results
            load_plugin_file(plugin)

    def _read_space(self) -> SearchSpace:
        """Return the space of the experiment; its family may be in a plugin file."""
        try:
            return space(self.experiment.space)
        except UnknownName:
            if not self.experiment.plugins:
                raise
        self._run_plugins()
        return space(self.experiment.space)

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """Metric of each objective and constraint by its name, as far as it is known.

        It is known while the problem is built, from the record of the run, or from a backend with
        a front of its own, which is built at once. Other backends may need a device or a plugin
        file, which reading a run must not.
        """
        recorded = recorded_metrics(self.path)
        if "problem" in vars(self) or (not recorded and self.reference.best is not None):
            truth = self.problem.truth
            return {str(o.value): metric_of(truth, o) for o in self.objectives + self.constraints}
        return {**closed_forms(self.space), **recorded}

    @property
    def units(self) -> dict[str, str]:
        """Unit of each metric whose unit is known, by its name."""
        return {name: metric.unit for name, metric in self.metrics.items()}

    # -- searches ------------------------------------------------------------------------------

    def _search_result(
        self,
        path: Path,
        trials: Trials,
        recommendations: list[tuple[int, Codes]],
        meta: dict[str, str],
    ) -> SearchResult:
        """Build the result of one search."""
        if len(trials) == 0:  # killed before its first
            trials = replace(trials, codes=self.space.encode([]))
        n_values = len(self.objectives) + len(self.constraints)
        check_trials(trials, self.space, n_values, path)
        losses = self._feasible_losses(trials.values)
        losses[~trials.ok] = np.nan
        front, constraints, recommended = self._front(trials, losses, recommendations)
        return SearchResult(
            meta["optimizer"],
            int(meta["seed"]),
            path,
            trials,
            losses,
            front,
            self._first_trials(trials, front),
            constraints,
            recommended,
            meta,
        )

    def _front(
        self, trials: Trials, losses: Array, recommendations: list[tuple[int, Codes]]
    ) -> tuple[Front, Array, list[Recommendation]]:
        """Return the front of a search, its constraints, and recommendations with true losses.

        Without noise the front is that of the trials. Under noise it is that of the last
        recommendation, valued by medians.
        """
        codes, values = trials.codes, trials.values
        recommended: list[Recommendation] = []
        if self.experiment.noise:
            codes = recommendations[-1][1] if recommendations else trials.codes[:0]
            recommended = self._with_true_values(trials, recommendations)
            values = measure(self.problem.truth, codes, self.problem.measured).values
            losses = self._feasible_losses(values)
        # A failed or infeasible trial has NaN losses.
        usable = np.flatnonzero(np.isfinite(losses).all(axis=1))
        m = len(self.objectives)
        codes, values = codes[usable], values[usable]
        front = Front.of(codes, values[:, :m], self.objectives, epsilon=None)
        # The front has an order of its own: find its members' rows again.
        members = first_rows((front.codes, front.values), (codes, values[:, :m]))
        return front, values[members, m:], recommended

    def _first_trials(self, trials: Trials, front: Front) -> IndexArray:
        """Return the first trial of each member of a front (k,), -1 where there is none.

        Without noise the trial must have the member's values too: where a trial of a higher
        fidelity follows, only that one belongs to the front.
        """
        trial_values, front_values = trials.values[:, : len(self.objectives)], front.values
        if self.experiment.noise:
            trial_values, front_values = trial_values[:, :0], front_values[:, :0]
        return first_rows((front.codes, front_values), (trials.codes, trial_values))

    def _feasible_losses(self, values: Array) -> Array:
        """Return losses (n, m) of values (n, q), NaN where a constraint is violated."""
        m = len(self.objectives)
        losses = losses_of(self.objectives, values[:, :m])
        feasible = (constraint_violations(self.constraints, values[:, m:]) <= 0).all(axis=1)
        losses[~feasible] = np.nan
        return losses

    def _with_true_values(
        self, trials: Trials, recommendations: list[tuple[int, Codes]]
    ) -> list[Recommendation]:
        """Return recommendations with true values; every architecture is evaluated once."""
        if not recommendations:
            return []
        codes = np.concatenate([codes for _, codes in recommendations])
        # Recommendations overlap widely: evaluate each architecture once.
        unique, inverse = np.unique(codes, axis=0, return_inverse=True)
        values = measure(self.problem.truth, unique, self.problem.measured).values
        losses, constraints = self._feasible_losses(values), values[:, len(self.objectives) :]
        # The first trial of each; one without a trial comes after all.
        first_trials = first_rows((unique, values[:, :0]), (trials.codes, trials.values[:, :0]))
        first_trials[first_trials < 0] = len(trials)
        ends = np.cumsum([len(codes) for _, codes in recommendations])
        return [
            Recommendation(n, losses[rows], constraints[rows], first_trials[rows] < n)
            for (n, _), rows in zip(
                recommendations, np.split(inverse.ravel(), ends[:-1]), strict=True
            )
        ]

    def has_full_fidelity(self, search: SearchResult) -> BoolArray:
        """Return which trials (n,) of a search show what their architectures are worth.

        These are the complete ones; in a run that trained some architectures less than others, the
        ones that were trained to the end. Under noise a fidelity is a number of repeats, and any
        will do.
        """
        mask = search.trials.ok
        if not self.experiment.noise:
            fidelities = [s.trials.fidelity.max() for s in self.searches if len(s.trials)]
            top = max(fidelities, default=-1)
            mask = mask & ((search.trials.fidelity < 0) | (search.trials.fidelity == top))
        return np.asarray(mask)

    @property
    def fronts(self) -> dict[tuple[str, int], Front]:
        """Front of each optimizer and seed."""
        return {(search.optimizer, search.seed): search.front for search in self.searches}

    # -- the best known front ------------------------------------------------------------------

    @cached_property
    def known(self) -> Front | None:
        """Front of the backend, where it has one."""
        if self.reference.best is None:
            return None
        return self.problem.truth.front(self.objectives, self.constraints)

    @property
    def exact(self) -> Front | None:
        """Front of the backend, where that is exact."""
        return self.known if self.reference.epsilon == 0 else None

    @property
    def standard(self) -> str:
        """Name of the front that `normalised` is relative to."""
        if self.reference.best is None:
            return "union of all fronts"
        return exactness(self.reference.epsilon)

    @cached_property
    def best_known(self) -> Array:
        """Front of the backend, or the union of all searches' fronts; losses (n, m)."""
        if self.known is not None:
            return self.known.losses
        union = np.concatenate([search.front.losses for search in self.searches])
        return union[pareto.non_dominated(union)]

    @cached_property
    def best_hypervolume(self) -> float:
        """Hypervolume of `best_known`."""
        if self.reference.best is not None:
            return self.reference.best
        return pareto.hypervolume(self.best_known, self.reference.point)

    @cached_property
    def bound(self) -> Array:
        """Greatest normalized hypervolume that 1, 2, ... evaluations can have, (k,).

        Empty where no exact front of two objectives is known; cut where it is nearly 1.
        """
        if self.exact is None or len(self.objectives) != 2 or self.best_hypervolume == 0:
            return np.zeros(0)
        k = min(len(self.exact), _MAX_BOUND)
        best = pareto.best_hypervolumes(self.exact.losses, self.reference.point, k)
        return best / self.best_hypervolume

    # -- trajectories and summary --------------------------------------------------------------

    @cached_property
    def trajectories(self) -> list[Trajectory]:
        """Trajectory of each search."""
        return [self._trajectory(search) for search in self.searches]

    def _trajectory(self, search: SearchResult) -> Trajectory:
        n = len(search.trials)
        steps, hypervolume = pareto.hypervolume_steps(search.losses, self.reference.point)
        observed, measured = None, None
        if self.experiment.noise:
            # One step a recommendation, with the observed hypervolume up to then.
            ends = np.array([r.n_trials for r in search.recommended], dtype=np.intp) - 1
            n_steps = np.searchsorted(steps, ends, side="right")
            steps, observed = ends, np.concatenate([[0.0], hypervolume])[n_steps]
            hypervolume = np.array([self._hypervolume(r.losses) for r in search.recommended])
            measured = np.array(
                [self._hypervolume(r.losses[r.measured]) for r in search.recommended]
            )
        elif n and (len(steps) == 0 or steps[-1] != n - 1):
            # One more step, at the end of the search.
            steps = np.append(steps, n - 1)
            hypervolume = np.append(hypervolume, hypervolume[-1] if len(hypervolume) else 0.0)
        best = self.best_hypervolume
        return Trajectory(
            np.cumsum(search.trials.evaluations)[steps],
            np.cumsum(search.trials.seconds)[steps],
            search.trials.elapsed[steps],
            hypervolume,
            hypervolume / best if best > 0 else np.zeros_like(hypervolume),
            observed,
            measured,
        )

    def _hypervolume(self, losses: Array) -> float:
        finite = losses[np.isfinite(losses).all(axis=1)]
        return pareto.hypervolume(finite, self.reference.point)

    @cached_property
    def summary(self) -> list[dict[str, Any]]:
        """One row for each optimizer and seed, with the columns of ``summary.csv``."""
        best = self.best_known, self.best_hypervolume
        return [
            summary_row(s, self.constraints, self.reference, *best, noise=self.experiment.noise)
            for s in self.searches
        ]

    @property
    def summary_columns(self) -> tuple[str, ...]:
        """Columns of ``summary.csv``."""
        return summary_columns(self.constraints, self.experiment.noise)

    def _missing_columns(self, search: SearchResult, trajectory: Trajectory) -> dict[str, Array]:
        estimates = stored_estimates(search.meta, search.path / "trials.db")
        used = np.cumsum(search.trials.evaluations)
        return missing_columns(estimates, used, trajectory.evaluations)

    def _repr_html_(self) -> str:
        return html_table(self.summary_columns, [[*row.values()] for row in self.summary])

    def write(self) -> None:
        """Write ``summary.csv``, and ``front.csv`` and ``hypervolume.csv`` of every search."""
        rows = [list(row.values()) for row in self.summary]
        write_csv(self.path / "summary.csv", self.summary_columns, rows)
        for search, trajectory in zip(self.searches, self.trajectories, strict=True):
            write_csv(search.path / "front.csv", *front_table(search, self.space, self.constraints))
            columns = {**trajectory.columns(), **self._missing_columns(search, trajectory)}
            steps = zip(*(column.tolist() for column in columns.values()), strict=True)
            write_csv(search.path / "hypervolume.csv", tuple(columns), steps)
