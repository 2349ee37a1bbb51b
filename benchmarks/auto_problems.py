"""Problems of ``benchmarks/auto.py`` in groups, each with a known front."""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

# Before numpy and torch are loaded.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from classic import problem_of

import hwnas
from hwnas import pareto
from hwnas.runner.results import Result
from hwnas.typing import Array, Codes

SCALES = ("gpt-s", "gpt-l")
FLAT = {  # classic test problems of two and of three objectives
    "flat": ("zdt1", "zdt2", "zdt3", "zdt4", "zdt6"),
    "flat, three objectives": ("dtlz1", "dtlz2", "dtlz3", "dtlz4", "dtlz7"),
}
N_CONSTRAINED = 26
MARKS = (50, 100, 200, 500)
FULL = 27  # steps of a whole training in the multi-fidelity group
# Optimizers of each group beside `auto`, with the last of `MARKS` that each is run to. A search
# with a Gaussian process, or Optuna's, takes minutes beyond its mark.
CANDIDATES: dict[str, dict[str, int]] = {
    "layered": {
        "additive": 500, "ehvi": 200, "motpe": 200, "local_search": 500, "morea": 500,
        "nsga2": 500,
    },
    "flat": {
        "additive": 500, "ehvi": 200, "parego": 200, "motpe": 200, "local_search": 500,
        "nsga2": 500, "smsemoa": 500,
    },
    "flat, three objectives": {
        "additive": 500, "ehvi": 100, "parego": 100, "motpe": 200, "local_search": 500,
        "nsga3": 500, "smsemoa": 500,
    },
    "noisy": {
        "additive": 500, "ehvi": 200, "moasha": 500, "local_search": 500, "morea": 500,
        "nsga2": 500,
    },
    "constrained": {
        "additive": 500, "ehvi": 100, "motpe": 200, "local_search": 500, "morea": 500,
        "nsga2": 500,
    },
    "multi-fidelity": {
        "additive": 500, "ehvi": 100, "moasha": 100, "local_search": 500, "morea": 500,
        "nsga2": 500,
    },
    "three objectives": {
        "additive": 500, "parego": 100, "motpe": 200, "local_search": 500, "morea": 500,
        "nsga3": 500, "smsemoa": 500,
    },
}  # fmt: skip
# Of one search under noise: what is scored are all recommended architectures, or, in a row of its
# own, those of them that were measured.
MEASURED = "noisy, measured"
GROUPS = {**CANDIDATES, MEASURED: CANDIDATES["noisy"]}
AUTO = 500  # mark that `auto` is run to


@dataclass(frozen=True)
class Case:
    """A problem and a seed, which every optimizer of the group gets.

    Attributes
    ----------
    group
        Key of `CANDIDATES`.
    problem
        Space, device and what is measured there, or the name of a classic test problem.
    seed
        Seed of the optimizers and of the noise.
    """

    group: str
    problem: str
    seed: int


def cases() -> Iterator[Case]:
    """Yield all cases: the groups in turn, two seeds of each problem, then two others.

    So the rows of any first part tell about all groups alike.
    """
    sequences = []
    for group in CANDIDATES:
        problems = problems_of(group)
        rng = np.random.default_rng([*group.encode()])  # of its own: a further group moves no other
        order = [problems[i] for i in rng.permutation(len(problems))]
        seeds = [(0, 1), (2, 3), (4, 5)]
        sequences.append([Case(group, p, s) for pair in seeds for p in order for s in pair])
    for i in range(max(map(len, sequences))):
        yield from (sequence[i] for sequence in sequences if i < len(sequence))


def problems_of(group: str) -> list[str]:
    """Return the names of the problems of a group."""
    devices = hwnas.surrogate("gpt-s").devices
    if group in FLAT:
        return [*FLAT[group]]
    if group == "constrained":
        return [f"{SCALES[i % 2]} bounds {i}" for i in range(N_CONSTRAINED)]
    if group == "three objectives":
        return [f"{space} {device}" for space in SCALES for device in devices]
    metrics = ("latency",) if group == "multi-fidelity" else ("latency", "energy")
    return [f"{s} {metric}@{device}" for s in SCALES for metric in metrics for device in devices]


def experiment_of(case: Case, optimizer: str, evaluations: int) -> dict[str, Any]:
    """Return the experiment of one search."""
    space, *words = case.problem.split(" ")
    content: dict[str, Any] = {
        "name": "auto",
        "space": space,
        "objectives": ["perplexity", words[0] if words else ""],
        "optimizers": [optimizer],
        "seeds": [case.seed],
        "budget": {"evaluations": evaluations},
    }
    if case.group in FLAT:
        n = hwnas.space(space).n_obj  # type: ignore[attr-defined]
        content["objectives"] = [f"f{j}" for j in range(1, n + 1)]
        content["backend"] = "problem"
    elif case.group == "noisy":
        content["noise"] = True
    elif case.group == "constrained":
        device, bounds = bounds_of(space, int(words[1]))
        metrics = ["perplexity", f"latency@{device}", f"energy@{device}"]
        content["objectives"] = metrics[:2]
        content["constraints"] = [f"{m} <= {b}" for m, b in zip(metrics, bounds, strict=True)]
    elif case.group == "multi-fidelity":
        hwnas.register_backend("curves")(Curves)
        content["backend"], content["budget"] = "curves", {"cost": float(FULL * evaluations)}
    elif case.group == "three objectives":
        content["objectives"] = ["perplexity", f"latency@{words[0]}", f"energy@{words[0]}"]
    return content


@cache
def bounds_of(space: str, number: int) -> tuple[str, list[float]]:
    """Return a device, and bounds on perplexity, latency and energy that 1 to 6 % keep.

    They are up to a fifth above the values of one random architecture.
    """
    rng = np.random.default_rng(number)
    backend = hwnas.surrogate(space)
    device = str(rng.choice(backend.devices))
    codes = hwnas.space(space).sample(20_000, rng)
    values = backend.predict(codes, ["perplexity", f"latency@{device}", f"energy@{device}"])
    while True:
        bounds = values[rng.integers(len(values))] * (1 + rng.uniform(0, 0.2, 3))
        if 0.01 < (values <= bounds).all(axis=1).mean() < 0.06:
            return device, [float(f"{bound:.5g}") for bound in bounds]


class Curves(hwnas.Backend):
    """Trainings that can pause: perplexities of the surrogate at the end, larger before.

    The more of the largest network's parameters a network has, the slower it learns, so that
    rankings change on the way. A step takes a second.
    """

    fidelities = (1, 3, 9, FULL)

    def __init__(self, space: hwnas.SearchSpace) -> None:
        super().__init__(space)
        self.surrogate = hwnas.surrogate(space.name)
        perplexity = replace(self.surrogate.metrics["perplexity"], fidelity_dependent=True)
        self.metrics = {**self.surrogate.metrics, "perplexity": perplexity}
        self._steps: dict[bytes, int] = {}  # reached by each paused training

    def evaluate(
        self, codes: Codes, objectives: Sequence[Any], *, seeds: Any, fidelity: int | None = None
    ) -> hwnas.Evaluation:
        """Evaluate architectures, those that were trained before from where they paused."""
        steps = fidelity or FULL
        values = self.surrogate.predict(codes, [str(objective.value) for objective in objectives])
        largest = self.space.params(self.space.canonical([self.space.cardinalities - 1]))
        share = self.space.params(codes) / largest
        factor = 1 + (0.1 + 0.3 * share) * (np.sqrt(FULL / steps) - 1)
        for j, objective in enumerate(objectives):
            if objective.key == "perplexity":
                values[:, j] *= factor
        reached = [self._steps.get(code.tobytes(), 0) if fidelity else 0 for code in codes]
        if fidelity:
            self._steps.update((code.tobytes(), steps) for code in codes)
        return hwnas.Evaluation(values, seconds=steps - np.array(reached, dtype=float))

    def front(self, objectives: Sequence[Any], constraints: Sequence[Any] = ()) -> Any:
        """Return the exact front of whole trainings."""
        return self.surrogate.front(objectives, constraints)


def shares_of(case: Case, optimizer: str, evaluations: int) -> tuple[dict[str, list[str]], float]:
    """Run a search; return its normalized hypervolume at `MARKS` by group, and processor seconds.

    Under noise it has a row in two groups.
    """
    content = experiment_of(case, optimizer, evaluations)
    begin = time.process_time()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", hwnas.errors.HwnasWarning)
        try:
            result = hwnas.run(content, Path(folder) / "run", draw=False)
        except hwnas.errors.SearchFailed as error:  # by a bug of the optimizer: what it reached
            print(error, flush=True)
            result = Result(Path(folder) / "run", allow_plugins=True)
            evaluations = len(result.searches[0].trials)
        seconds = time.process_time() - begin
        marks = [mark for mark in MARKS if mark <= evaluations]
        groups = (case.group, MEASURED) if case.group == "noisy" else (case.group,)
        texts = {g: [f"{share_at(g, case, result, mark):.5f}" for mark in marks] for g in groups}
    empty = [""] * (len(MARKS) - len(marks))
    return {group: own + empty for group, own in texts.items()}, seconds


def share_at(group: str, case: Case, result: Result, mark: int) -> float:
    """Return the share of the exact front's hypervolume that a search has at a mark.

    Under noise, of what it recommends then, valued by medians. Of the multi-fidelity group, after
    as many steps as so many whole trainings take, of these alone.
    """
    (search,), (trajectory,) = result.searches, result.trajectories
    if case.group == "noisy":
        assert trajectory.measured is not None
        rows = np.flatnonzero(trajectory.evaluations <= mark)
        values = trajectory.measured if group == MEASURED else trajectory.hypervolume
        return float(values[rows[-1]] / result.best_hypervolume) if len(rows) else 0.0
    trials, losses = search.trials, search.losses
    used = np.cumsum(trials.evaluations)
    is_counted = np.isfinite(losses).all(axis=1)
    if case.group == "multi-fidelity":
        used = np.cumsum(trials.seconds) / FULL
        is_counted &= (trials.fidelity < 0) | (trials.fidelity == FULL)
    own: Array = losses[is_counted & (used <= mark + 1e-9)]
    if case.group in FLAT:
        scale = problem_of(case.problem)[2]
        return float(scale.hypervolume(own) / scale.best)
    return float(pareto.hypervolume(own, result.reference.point) / result.best_hypervolume)
