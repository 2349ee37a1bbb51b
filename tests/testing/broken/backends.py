"""A backend without a fault, and copies with one each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.backends import Backend, Evaluation
from hwnas.fronts import Front
from hwnas.objectives import Metric, Objective
from hwnas.spaces import SearchSpace
from hwnas.typing import Array, Codes


class Formula(Backend):
    """Closed forms, with noise on request."""

    metrics: Mapping[str, Metric] = {
        "error": Metric("", "expensive"),
        "latency@here": Metric("ms", fidelity_dependent=True),
        "memory": Metric("MB"),
    }
    fidelities = (1, 4)

    def __init__(self, space: SearchSpace, *, noise: bool = False) -> None:
        super().__init__(space)
        self.noise = noise

    def evaluate(
        self,
        codes: Codes,
        objectives: Sequence[Objective],
        *,
        seeds: NDArray[np.uint64],
        fidelity: int | None = None,
    ) -> Evaluation:
        values = np.stack([self.column(codes, o.key) for o in objectives], axis=1)
        if self.noise:
            for j, objective in enumerate(objectives):
                if self.metrics[objective.key].fidelity_dependent:
                    values[:, j] += self.draws(seeds) / np.sqrt(fidelity or 1)
        return Evaluation(values)

    def column(self, codes: Codes, key: str) -> Array:
        params = self.space.params(codes).astype(float)
        columns = {"error": 1e3 / params**0.5, "latency@here": params / 1e6, "memory": params}
        return np.array(columns[key])

    def draws(self, seeds: NDArray[np.uint64]) -> Array:
        return np.array([np.random.default_rng(seed).random() for seed in seeds])

    def front(
        self, objectives: Sequence[Objective], constraints: Sequence[Objective] = ()
    ) -> Front | None:
        if len(objectives) > 1 or constraints:
            return None
        codes = np.concatenate(list(self.space.enumerate()))
        values = np.stack([self.column(codes, o.key) for o in objectives], axis=1)
        return Front.of(codes, values, tuple(objectives))

    def data_hash(self) -> str:
        return "0" * 64


class UntypedSetting(Formula):
    """Has a setting without annotation."""

    def __init__(self, space: SearchSpace, *, noise: bool = False, factor=1) -> None:  # type: ignore[no-untyped-def]
        super().__init__(space, noise=noise)


class DeclaresParams(Formula):
    """Declares a metric that hwnas computes itself."""

    metrics: Mapping[str, Metric] = {**Formula.metrics, "params": Metric()}

    def column(self, codes: Codes, key: str) -> Array:
        return super().column(codes, "memory" if key == "params" else key)


class InfiniteValues(Formula):
    """Answers infinity with the status ok."""

    def column(self, codes: Codes, key: str) -> Array:
        values = super().column(codes, key)
        return np.full_like(values, np.inf) if key == "memory" else values


class Unrepeatable(Formula):
    """Never answers the same values twice."""

    def column(self, codes: Codes, key: str) -> Array:
        return super().column(codes, key) * (1 + np.random.default_rng().random())

    def front(self, *args: Any) -> None:
        return None


class GlobalNoise(Formula):
    """Draws from NumPy's global generator, and restores it."""

    def column(self, codes: Codes, key: str) -> Array:
        state = np.random.get_state()  # noqa: NPY002
        factor = 1 + np.random.random()  # noqa: NPY002
        np.random.set_state(state)  # noqa: NPY002
        return super().column(codes, key) * factor

    def front(self, *args: Any) -> None:
        return None


class NormalizesBatch(Formula):
    """Normalizes by the maximum of the batch."""

    def column(self, codes: Codes, key: str) -> Array:
        values = super().column(codes, key)
        return values / values.max()

    def front(self, *args: Any) -> None:
        return None


class AlphabeticalOrder(Formula):
    """Answers in alphabetical order of the metrics."""

    def evaluate(self, codes: Codes, objectives: Any, **options: Any) -> Evaluation:
        return super().evaluate(codes, sorted(objectives, key=lambda o: o.key), **options)


class AlwaysNoisy(Formula):
    """Draws noise also without noise=True."""

    def evaluate(self, codes: Codes, objectives: Any, *, seeds: Any, **options: Any) -> Evaluation:
        values = super().evaluate(codes, objectives, seeds=seeds, **options).values
        latency = [o.key == "latency@here" for o in objectives]
        return Evaluation(values + self.draws(seeds)[:, None] * latency)


class ConstantNoise(Formula):
    """Draws the same with every seed."""

    def draws(self, seeds: NDArray[np.uint64]) -> Array:
        return np.full(len(seeds), 0.5)


class UndeclaredFidelity(Formula):
    """Has an error that depends on the fidelity, and does not declare it."""

    def evaluate(
        self, codes: Codes, objectives: Any, *, fidelity: Any = None, **options: Any
    ) -> Evaluation:
        values = super().evaluate(codes, objectives, fidelity=fidelity, **options).values
        error = [o.key == "error" for o in objectives]
        return Evaluation(values * (1 + np.array(error) / (fidelity or 1)))

    def front(self, *args: Any) -> None:
        return None


class AnswersAnyMetric(Formula):
    """Answers a number for every metric."""

    def column(self, codes: Codes, key: str) -> Array:
        return super().column(codes, key) if key in self.metrics else np.zeros(len(codes))


class UnattainableFront(Formula):
    """Returns a front with values that no architecture has."""

    def front(self, *args: Any) -> Front | None:
        front = super().front(*args)
        return None if front is None else replace(front, values=front.values * 0.9)


class ArbitraryFront(Formula):
    """Returns any architecture as the front."""

    def front(self, objectives: Sequence[Objective], constraints: Any = ()) -> Front | None:
        codes = self.space.sample(1, np.random.default_rng(0))
        values = np.stack([self.column(codes, o.key) for o in objectives], axis=1)
        # A constrained front is unknown, so that its feasibility is not checked.
        return None if constraints else Front.of(codes, values, tuple(objectives))


class OverwritesCodes(Formula):
    """Overwrites its argument."""

    def evaluate(self, codes: Codes, objectives: Any, **options: Any) -> Evaluation:
        answer = super().evaluate(codes, objectives, **options)
        codes[:] = 0
        return answer


class InvalidHash(Formula):
    """Answers a version in place of a hash."""

    def data_hash(self) -> str:
        return "version 2"
