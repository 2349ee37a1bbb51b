"""What a run leaves beside its trials, rebuilt from them: fronts, trajectories, a summary."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas import pareto, registry
from hwnas.errors import InvalidInput
from hwnas.experiment import (
    Experiment,
    Problem,
    load_form,
    load_plugins,
    problem_of,
    refuse_plugins,
)
from hwnas.files import write_csv
from hwnas.fronts import Front, standing
from hwnas.objectives import (
    constraint_violations,
    losses_of,
    parse_constraints,
    parse_objectives,
)
from hwnas.runner.evaluation import measure
from hwnas.runner.reference_point import Reference
from hwnas.runner.storage import Store, Trials
from hwnas.spaces import Codes, SearchSpace, space
from hwnas.typing import Array
from hwnas.yaml_loader import parse_yaml

_BOUND_AT_MOST = 200  # members of a best subset

SUMMARY = (
    "optimizer",
    "seed",
    "evaluations",
    "hypervolume",
    "normalised",
    "igd_plus",
    "epsilon",
    "front_size",
    "seconds",
    "status",
)


@dataclass(frozen=True)
class Trajectory:
    """How the hypervolume of a search grew: a step function, one row a step.

    Attributes
    ----------
    evaluations, cost, seconds : (k,)
        When each step was reached: evaluations used, seconds spent in evaluations, seconds since
        the search began. The last row is the end of the search.
    hypervolume : (k,)
        In the product of the objectives' units. Under noise it is the true one: of what the
        optimizer recommends at that point, valued by medians, which can also fall.
    normalised : (k,)
        `hypervolume` relative to the best known one.
    observed : (k,), optional
        Under noise, the hypervolume of the noisy values as they were seen.
    """

    evaluations: NDArray[np.int64]
    cost: Array
    seconds: Array
    hypervolume: Array
    normalised: Array
    observed: Array | None = None

    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns of ``hypervolume.csv``."""
        start: dict[str, NDArray[Any]] = {
            "evaluations": self.evaluations,
            "cost": self.cost,
            "seconds": self.seconds,
        }
        if self.observed is None:
            return {**start, "hypervolume": self.hypervolume, "normalised": self.normalised}
        return {
            **start,
            "observed": self.observed,
            "true": self.hypervolume,
            "normalised": self.normalised,
        }


@dataclass(frozen=True)
class SearchResult:
    """One optimizer with one seed.

    Attributes
    ----------
    optimizer, seed
        Which.
    path
        Its directory.
    trials
        All its trials.
    losses : (n, m)
        Of the trials, NaN where a trial failed or breaks a constraint.
    front
        The feasible non-dominated networks. Under noise those of what the optimizer recommends in
        the end, valued by medians.
    front_trials : (k,)
        The first trial of each member of the front, -1 of one that was recommended unmeasured.
    recommended
        Under noise, after how many trials which networks were recommended, with their true losses
        (r, m), NaN where a constraint is broken.
    meta
        The texts stored beside the trials.
    """

    optimizer: str
    seed: int
    path: Path
    trials: Trials
    losses: Array
    front: Front
    front_trials: NDArray[np.intp]
    recommended: list[tuple[int, Array]]
    meta: dict[str, str]

    @property
    def status(self) -> str:
        """How the search stands, in a word or a short sentence."""
        if "finished" not in self.meta:  # an error of an earlier attempt may have been mended
            error = " ".join(self.meta.get("error", "").split())  # a table has one line a search
            return f"error: {error}" if error else "unfinished"
        status = "exhausted" if "exhausted" in self.meta else "done"
        words = self.trials.status
        counts = {"failed": words.count("failed"), "stopped": words.count("infeasible")}
        return ", ".join([status, *(f"{n} {word}" for word, n in counts.items() if n)])

    @property
    def seconds_saved(self) -> float:
        """What stopping networks at a bound saved, about.

        Each would have taken as long as the mean of those that were measured whole, the first time
        that they were; 0 where none was stopped or none was whole.
        """
        whole = self.trials.ok & (self.trials.evaluations > 0)
        stopped = np.array([word == "infeasible" for word in self.trials.status], dtype=bool)
        if not whole.any() or not stopped.any():
            return 0.0
        each = float(self.trials.seconds[whole].mean())
        return max(0.0, float((each - self.trials.seconds[stopped]).sum()))


class Result:
    """What a run found, read from its directory.

    Parameters
    ----------
    path
        The directory of a run.
    allow_plugins
        Whether the files of plugins that the run had may run, if its backend is in one of them;
        nothing else of a plugin is needed to read a run.

    Attributes
    ----------
    experiment
        As it was resolved.
    reference
        What the searches are judged by.
    cells
        One result for each optimizer and seed that has trials on disk.

    Raises
    ------
    InvalidInput
        The directory holds no run, or a file in it is damaged; or the run's backend is in a
        plugin's file, which may not run.
    """

    def __init__(self, path: Path | str, *, allow_plugins: bool = False) -> None:
        self.path = Path(path)
        databases = sorted(self.path.glob("*/seed-*/trials.db"))
        if not databases:
            raise InvalidInput(f"{self.path}: no trials here, expected the directory of a run")
        read = [_read(file) for file in databases]
        meta = read[0][-1]
        self.experiment: Experiment = load_form(parse_yaml(meta["experiment"]), str(databases[0]))
        if self.experiment.backend.type not in registry.names("backend"):
            file = str(self.path / "experiment.yaml")
            refuse_plugins(self.experiment.plugins, allow_plugins, file)
            load_plugins(self.experiment)
        self.reference = Reference.from_json(meta["reference"])
        self.space: SearchSpace = space(self.experiment.space)
        self.objectives = parse_objectives(self.experiment.objectives)
        self.constraints = parse_constraints(self.experiment.constraints)
        order = {
            (entry.name, seed): (i, j)
            for i, entry in enumerate(self.experiment.optimizers)
            for j, seed in enumerate(self.experiment.seeds)
        }
        cells = [self._cell(file.parent, *rest) for file, rest in zip(databases, read, strict=True)]
        last = (len(order), 0)
        self.cells = sorted(cells, key=lambda c: order.get((c.optimizer, c.seed), last))

    def _cell(
        self,
        path: Path,
        trials: Trials,
        recommendations: list[tuple[int, Codes]],
        meta: dict[str, str],
    ) -> SearchResult:
        if len(trials) == 0:  # killed before its first
            trials = replace(trials, codes=self.space.encode([]))
        losses = self._losses(trials.values)
        losses[~trials.ok] = np.nan
        codes, values, kept = trials.codes, trials.values, losses
        recommended: list[tuple[int, Array]] = []
        if self.experiment.noise:
            codes = recommendations[-1][1] if recommendations else trials.codes[:0]
            recommended = self._valued(recommendations)
            values = measure(self.problem.truth, codes, self.problem.measured).values
            kept = self._losses(values)
        m = len(self.objectives)
        usable = np.flatnonzero(np.isfinite(kept).all(axis=1))
        front = Front.of(codes[usable], values[usable, :m], self.objectives, epsilon=None)
        # The first trial of a network; where better ones follow at other fidelities, of its values.
        seen, named = trials.values[:, :m], front.values
        if self.experiment.noise:
            seen, named = seen[:, :0], named[:, :0]
        first = {key: i for i, key in reversed(list(enumerate(_keys(trials.codes, seen))))}
        at = np.array([first.get(key, -1) for key in _keys(front.codes, named)], dtype=np.intp)
        optimizer, seed = meta["optimizer"], int(meta["seed"])
        return SearchResult(optimizer, seed, path, trials, losses, front, at, recommended, meta)

    def _losses(self, values: Array) -> Array:
        """Losses (n, m) of measured values (n, q), NaN where a constraint is broken."""
        m = len(self.objectives)
        losses = losses_of(self.objectives, values[:, :m])
        feasible = (constraint_violations(self.constraints, values[:, m:]) <= 0).all(axis=1)
        losses[~feasible] = np.nan
        return losses

    def _valued(self, recommendations: list[tuple[int, Codes]]) -> list[tuple[int, Array]]:
        """Recommendations with their true losses; every network is valued once."""
        if not recommendations:
            return []
        codes = np.concatenate([codes for _, codes in recommendations])
        unique, which = np.unique(codes, axis=0, return_inverse=True)
        answer = measure(self.problem.truth, unique, self.problem.measured)
        losses = self._losses(answer.values)[which.ravel()]
        ends = np.cumsum([len(codes) for _, codes in recommendations])
        parts = np.split(losses, ends[:-1])
        return [(n, part) for (n, _), part in zip(recommendations, parts, strict=True)]

    @cached_property
    def problem(self) -> Problem:
        """What the experiment names, built."""
        return problem_of(self.experiment)

    @cached_property
    def known(self) -> Front | None:
        """The backend's own front, where it has one."""
        if self.reference.best is None:
            return None
        return self.problem.truth.front(self.objectives, self.constraints)

    @property
    def exact(self) -> Front | None:
        """The backend's own front, where that is exact."""
        return self.known if self.reference.epsilon == 0 else None

    @property
    def standard(self) -> str:
        """What `normalised` is relative to, in words."""
        if self.reference.best is None:
            return "union of all fronts"
        return standing(self.reference.epsilon)

    @cached_property
    def best_known(self) -> Array:
        """The backend's own front, or the union of all fronts found; losses (n, m)."""
        if self.known is not None:
            return self.known.losses
        union = np.concatenate([cell.front.losses for cell in self.cells])
        return union[pareto.non_dominated(union)]

    @cached_property
    def best_hypervolume(self) -> float:
        """Hypervolume of `best_known`."""
        if self.reference.best is not None:
            return self.reference.best
        return pareto.hypervolume(self.best_known, self.reference.point)

    def fully(self, cell: SearchResult) -> NDArray[np.bool_]:
        """Which trials (n,) of a cell say what its networks are worth.

        Those that have their values; and of a run that trained some networks less than others,
        those that were trained to the end. Under noise a fidelity is a number of repeats, and all
        will do.
        """
        found = cell.trials.ok
        if not self.experiment.noise:
            top = max((c.trials.fidelity.max() for c in self.cells if len(c.trials)), default=-1)
            found = found & ((cell.trials.fidelity < 0) | (cell.trials.fidelity == top))
        return np.asarray(found)

    @property
    def fronts(self) -> dict[tuple[str, int], Front]:
        """The front of each optimizer and seed."""
        return {(cell.optimizer, cell.seed): cell.front for cell in self.cells}

    @cached_property
    def bound(self) -> Array:
        """Most normalised hypervolume that 1, 2, ... evaluations can have, (k,).

        Empty where no exact front of two objectives is known; cut where it is 1 to the eye.
        """
        if self.exact is None or len(self.objectives) != 2 or self.best_hypervolume == 0:
            return np.zeros(0)
        k = min(len(self.exact), _BOUND_AT_MOST)
        best = pareto.best_hypervolumes(self.exact.losses, self.reference.point, k)
        return best / self.best_hypervolume

    @cached_property
    def trajectories(self) -> list[Trajectory]:
        """How the hypervolume of each cell grew."""
        return [self._trajectory(cell) for cell in self.cells]

    def _trajectory(self, cell: SearchResult) -> Trajectory:
        n = len(cell.trials)
        at, hypervolume = pareto.hypervolume_steps(cell.losses, self.reference.point)
        observed = None
        if self.experiment.noise:
            ends = np.array([trials for trials, _ in cell.recommended], dtype=np.intp) - 1
            seen = np.searchsorted(at, ends, side="right")
            at, observed = ends, np.concatenate([[0.0], hypervolume])[seen]
            hypervolume = np.array([self._true(losses) for _, losses in cell.recommended])
        elif n and (len(at) == 0 or at[-1] != n - 1):
            at = np.append(at, n - 1)
            hypervolume = np.append(hypervolume, hypervolume[-1] if len(hypervolume) else 0.0)
        best = self.best_hypervolume
        return Trajectory(
            np.cumsum(cell.trials.evaluations)[at],
            np.cumsum(cell.trials.seconds)[at],
            cell.trials.elapsed[at],
            hypervolume,
            hypervolume / best if best > 0 else np.zeros_like(hypervolume),
            observed,
        )

    def _true(self, losses: Array) -> float:
        finite = losses[np.isfinite(losses).all(axis=1)]
        return pareto.hypervolume(finite, self.reference.point)

    @cached_property
    def summary(self) -> list[dict[str, Any]]:
        """A row for each optimizer and seed, with the columns of ``summary.csv``."""
        return [self._row(cell) for cell in self.cells]

    def _row(self, cell: SearchResult) -> dict[str, Any]:
        hypervolume = pareto.hypervolume(cell.front.losses, self.reference.point)
        known, found = map(self.reference.scaled, (self.best_known, cell.front.losses))
        some = len(found) > 0 and len(known) > 0
        best = self.best_hypervolume
        values = (
            cell.optimizer,
            cell.seed,
            int(cell.trials.evaluations.sum()),
            hypervolume,
            hypervolume / best if best > 0 else 0.0,
            pareto.igd_plus(found, known) if some else float("nan"),
            pareto.epsilon(found, known) if some else float("nan"),
            len(found),
            float(cell.trials.elapsed[-1]) if len(cell.trials) else 0.0,
            cell.status,
        )
        return dict(zip(SUMMARY, values, strict=True))

    def write(self) -> None:
        """Write ``summary.csv``, and ``front.csv`` and ``hypervolume.csv`` of every cell."""
        write_csv(self.path / "summary.csv", SUMMARY, (row.values() for row in self.summary))
        for cell, steps in zip(self.cells, self.trajectories, strict=True):
            archs = self.space.decode(cell.front.codes)
            trials = [str(at) if at >= 0 else "" for at in cell.front_trials.tolist()]
            write_csv(
                cell.path / "front.csv",
                ("trial", "arch", *map(str, self.objectives)),
                zip(trials, archs, *cell.front.values.T.tolist(), strict=True),
            )
            columns = steps.columns()
            rows = zip(*(column.tolist() for column in columns.values()), strict=True)
            write_csv(cell.path / "hypervolume.csv", tuple(columns), rows)


def _keys(codes: Codes, values: Array) -> list[bytes]:
    """Codes (n, d) and values (n, m), of each row what tells it from all others."""
    return [a.tobytes() + b.tobytes() for a, b in zip(codes, values, strict=True)]


def _read(file: Path) -> tuple[Trials, list[tuple[int, Codes]], dict[str, str]]:
    with Store.open(file) as store:
        trials = store.trials()
        return trials, store.recommendations(trials.codes.shape[1]), store.meta
