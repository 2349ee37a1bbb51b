"""What a run leaves beside its trials, rebuilt from them: fronts, trajectories, a summary."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas import pareto
from hwnas.errors import InvalidInput
from hwnas.experiments import Experiment, load_form, problem_of
from hwnas.fronts import Front
from hwnas.objectives import (
    losses_of,
    parse_constraints,
    parse_objectives,
    slacks_of,
)
from hwnas.references import Reference
from hwnas.spaces import SearchSpace, space
from hwnas.store import Store, Trials
from hwnas.yamls import parse_yaml

Points = NDArray[np.float64]

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
        In the product of the objectives' units.
    normalised : (k,)
        Relative to the best known hypervolume.
    """

    evaluations: NDArray[np.int64]
    cost: Points
    seconds: Points
    hypervolume: Points
    normalised: Points


@dataclass(frozen=True)
class CellResult:
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
        The feasible non-dominated networks.
    front_trials : (k,)
        The first trial of each member of the front.
    meta
        The texts stored beside the trials.
    """

    optimizer: str
    seed: int
    path: Path
    trials: Trials
    losses: Points
    front: Front
    front_trials: NDArray[np.intp]
    meta: dict[str, str]

    @property
    def status(self) -> str:
        """How the search stands, in a word or a short sentence."""
        if "finished" not in self.meta:  # an error of an earlier attempt may have been mended
            return f"error: {self.meta['error']}" if "error" in self.meta else "unfinished"
        status = "exhausted" if "exhausted" in self.meta else "done"
        failed = int((~self.trials.ok).sum())
        return f"{status}, {failed} failed" if failed else status


class Result:
    """What a run found, read from its directory.

    Parameters
    ----------
    path
        The directory of a run.

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
        The directory holds no run, or a file in it is damaged.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        databases = sorted(self.path.glob("*/seed-*/trials.db"))
        if not databases:
            raise InvalidInput(f"{self.path}: no trials here, expected the directory of a run")
        read = [_read(file) for file in databases]
        content = parse_yaml(read[0][1]["experiment"])
        self.experiment: Experiment = load_form(content, str(databases[0]))
        self.reference = Reference.from_json(read[0][1]["reference"])
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

    def _cell(self, path: Path, trials: Trials, meta: dict[str, str]) -> CellResult:
        m = len(self.objectives)
        losses = losses_of(self.objectives, trials.values[:, :m])
        feasible = (slacks_of(self.constraints, trials.values[:, m:]) <= 0).all(axis=1)
        losses[~(trials.ok & feasible)] = np.nan
        usable = np.flatnonzero(np.isfinite(losses).all(axis=1))
        front = Front.of(trials.codes[usable], trials.values[usable, :m], self.objectives)
        keep = usable[pareto.non_dominated(losses[usable])]
        keep = keep[np.lexsort(losses[keep].T[::-1])]
        optimizer, seed = meta["optimizer"], int(meta["seed"])
        return CellResult(optimizer, seed, path, trials, losses, front, keep, meta)

    @cached_property
    def exact(self) -> Front | None:
        """The exact front, from the backend that knows it."""
        if self.reference.best is None:
            return None
        problem = problem_of(self.experiment)
        return problem.truth.front(problem.objectives, problem.constraints)

    @cached_property
    def best_known(self) -> Points:
        """The exact front, or the union of all fronts found; losses (n, m)."""
        if self.exact is not None:
            return self.exact.losses
        union = np.concatenate([cell.front.losses for cell in self.cells])
        return union[pareto.non_dominated(union)]

    @cached_property
    def best_hypervolume(self) -> float:
        """Hypervolume of `best_known`."""
        if self.reference.best is not None:
            return self.reference.best
        return pareto.hypervolume(self.best_known, self.reference.point)

    @property
    def fronts(self) -> dict[tuple[str, int], Front]:
        """The front of each optimizer and seed."""
        return {(cell.optimizer, cell.seed): cell.front for cell in self.cells}

    @cached_property
    def bound(self) -> Points:
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

    def _trajectory(self, cell: CellResult) -> Trajectory:
        at, hypervolume = pareto.hypervolume_steps(cell.losses, self.reference.point)
        n = len(cell.trials)
        if n and (len(at) == 0 or at[-1] != n - 1):
            at = np.append(at, n - 1)
            hypervolume = np.append(hypervolume, hypervolume[-1] if len(hypervolume) else 0.0)
        best = self.best_hypervolume
        return Trajectory(
            np.cumsum(cell.trials.evaluations)[at],
            np.cumsum(cell.trials.seconds)[at],
            cell.trials.elapsed[at],
            hypervolume,
            hypervolume / best if best > 0 else np.zeros_like(hypervolume),
        )

    @cached_property
    def summary(self) -> list[dict[str, Any]]:
        """A row for each optimizer and seed, with the columns of ``summary.csv``."""
        return [self._row(cell) for cell in self.cells]

    def _row(self, cell: CellResult) -> dict[str, Any]:
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
            write_csv(
                cell.path / "front.csv",
                ("trial", "arch", *map(str, self.objectives)),
                zip(cell.front_trials.tolist(), archs, *cell.front.values.T.tolist(), strict=True),
            )
            names = ("evaluations", "cost", "seconds", "hypervolume", "normalised")
            columns = [getattr(steps, name).tolist() for name in names]
            write_csv(cell.path / "hypervolume.csv", names, zip(*columns, strict=True))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a table, whole or not at all."""
    draft = path.with_name(path.name + ".part")
    with draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    draft.replace(path)


def _read(file: Path) -> tuple[Trials, dict[str, str]]:
    with Store.open(file) as store:
        return store.trials(), store.meta
