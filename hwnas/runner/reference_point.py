"""What a search is judged by: fixed points that no search has a part in.

An optimizer never sees them.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from hwnas import pareto
from hwnas.errors import InvalidInput
from hwnas.experiment import Experiment, Problem
from hwnas.objectives import Objective, losses_of
from hwnas.runner.evaluation_cache import EvaluationCache
from hwnas.runner.storage import Store, Trials
from hwnas.spaces import Codes
from hwnas.typing import Array

Source = Literal["exact", "epsilon", "best known", "given", "measured"]

_SOURCES: dict[float | None, Source] = {0.0: "exact", None: "best known"}
_SAMPLES = 8  # measured beside the smallest and the largest network


@dataclass(frozen=True)
class Reference:
    """Scale and reference point of a problem's hypervolume, as losses.

    Attributes
    ----------
    source
        ``"exact"``: from the exact front; ``"epsilon"``: from one that is exact up to `epsilon`;
        ``"best known"``: from one of which nothing is proved; ``"given"``: by the experiment;
        ``"measured"``: from the smallest, the largest and a few fixed networks.
    ideal, nadir : (m,)
        The best and the worst of each objective over the front or the measured networks.
    point : (m,)
        The reference point.
    best
        Hypervolume of the backend's front, where it has one. The front itself is not kept: it can
        have a million members, and the backend has it. Of an exact front it is the most there can
        be, of any other a search can have a little more.
    epsilon
        That of the backend's front, see `hwnas.fronts.Front`.
    """

    source: Source
    ideal: Array
    nadir: Array
    point: Array
    best: float | None = None
    epsilon: float | None = None

    def scaled(self, losses: Array) -> Array:
        """Losses with the ideal at 0 and the nadir at 1."""
        return (losses - self.ideal) / (self.nadir - self.ideal)

    def to_json(self) -> str:
        """A text from which `from_json` gives the same reference."""
        arrays = {key: getattr(self, key).tolist() for key in ("ideal", "nadir", "point")}
        plain = {"source": self.source, **arrays, "best": self.best, "epsilon": self.epsilon}
        return json.dumps(plain)

    @classmethod
    def from_json(cls, text: str) -> Reference:
        """The reference that `to_json` wrote."""
        plain = json.loads(text)
        arrays = {key: np.array(plain[key]) for key in ("ideal", "nadir", "point")}
        return cls(plain["source"], **arrays, best=plain["best"], epsilon=plain.get("epsilon", 0.0))


def reference_of(experiment: Experiment, problem: Problem, folder: Path | None = None) -> Reference:
    """The reference of a problem.

    From the backend's front where it has one, and a reference point the experiment gives is kept;
    otherwise from a few networks, which are measured here.

    Parameters
    ----------
    folder
        Where a backend that takes its time keeps what it measured, to go on from after a kill.

    Raises
    ------
    InvalidInput
        No network keeps the constraints, or none could be measured.
    """
    front = problem.truth.front(problem.objectives, problem.constraints)
    given = experiment.reference
    if front is not None:
        if len(front) == 0:
            kept = ", ".join(map(str, problem.constraints))
            raise InvalidInput(f"constraints: no network of {problem.space.name} keeps {kept}")
        ideal, nadir = _extent(front.losses, problem)
        point = nadir + 0.1 * (nadir - ideal)
        if given is not None:
            point = _given(given, problem.objectives)
        best = pareto.hypervolume(front.losses, point)
        source = "given" if given is not None else _SOURCES.get(front.epsilon, "epsilon")
        return Reference(source, ideal, nadir, point, best, front.epsilon)
    losses = _measured(problem, folder)
    ideal, nadir = losses.min(axis=0), losses.max(axis=0)
    nadir = np.where(nadir > ideal, nadir, ideal + 1)
    if given is not None:
        return Reference("given", ideal, nadir, _given(given, problem.objectives))
    return Reference("measured", ideal, nadir, nadir + 0.1 * (nadir - ideal))


def _given(values: list[float], objectives: tuple[Objective, ...]) -> Array:
    return losses_of(objectives, np.array([values], dtype=np.float64)).ravel()


def _extent(losses: Array, problem: Problem) -> tuple[Array, Array]:
    """Ideal and nadir of a front; where they coincide, the space's worst in place of the nadir."""
    ideal, nadir = losses.min(axis=0), losses.max(axis=0)
    for j in np.flatnonzero(ideal == nadir):
        worst = problem.truth.front((_reversed(problem.objectives[j]),))
        nadir[j] = -worst.losses[0, 0] if worst is not None else ideal[j]
        if nadir[j] <= ideal[j]:
            nadir[j] = ideal[j] + 1  # the objective is the same for all networks
    return ideal, nadir


def _reversed(objective: Objective) -> Objective:
    return Objective(
        objective.metric, objective.devices, objective.level, maximise=not objective.maximise
    )


def _measured(problem: Problem, folder: Path | None) -> Array:
    """Losses of the smallest network, the largest and a few others, whatever their bounds."""
    space = problem.space
    corners = space.canonical(np.stack([np.zeros_like(space.cardinalities), space.cardinalities]))
    samples = space.sample(_SAMPLES, np.random.default_rng(0))
    codes = np.concatenate([corners, samples])
    free = replace(problem, backend=problem.truth, constraints=())
    if folder is None or not problem.truth.on_hardware:
        trials = EvaluationCache(free, 0).evaluated(codes, None, 0, time.perf_counter())
    else:
        trials = _kept(free, codes, folder)
    if not trials.ok.any():
        reason = next((reason for reason in trials.reason if reason), "")
        raise InvalidInput(f"none of {len(codes)} networks could be measured: {reason}")
    return np.asarray(losses_of(problem.objectives, trials.values[trials.ok]))


def _kept(problem: Problem, codes: Codes, folder: Path) -> Trials:
    """Networks measured one by one, each stored as soon as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "trials.db"
    names = [str(objective) for objective in problem.objectives]
    with Store.open(file) if file.exists() else Store.create(file, names, {}) as store:
        problem.backend.on_start(folder)
        history, began = EvaluationCache(problem, 0), time.perf_counter()
        for i in range(len(store.trials()), len(codes)):
            store.add(history.evaluated(codes[i : i + 1], None, i, began))
        problem.backend.on_end()
        return store.trials()
