"""What several test files share: a small space, a toy backend, and how hypothesis runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

from hwnas.backends import Backend, Evaluation
from hwnas.fronts import Front
from hwnas.metrics import Metric
from hwnas.objectives import Objective, constraint_violations
from hwnas.spaces import Codes, SearchSpace

# Before torch is loaded: with more threads than free cores its loops wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"

settings.register_profile("hwnas", deadline=None, max_examples=50, print_blob=True)
settings.load_profile("hwnas")


class Toy(Backend):
    """Answers from closed forms that the test can write down; knows every exact front."""

    metrics: Mapping[str, Metric] = {
        "error": Metric("", "dear"),
        "latency@fast": Metric("ms", quantiles=True),
        "latency@slow": Metric("ms", quantiles=True),
        "memory": Metric("MB"),
    }

    def evaluate(
        self,
        codes: Codes,
        objectives: Sequence[Objective],
        *,
        seeds: NDArray[np.uint64],
        fidelity: int | None = None,
    ) -> Evaluation:
        return Evaluation(np.stack([self.column(codes, o) for o in objectives], axis=1))

    def column(self, codes: Codes, objective: Objective) -> NDArray[np.float64]:
        """One metric: powers of the parameter count and the layer count, both exact."""
        params = self.space.params(codes).astype(float)
        depth = np.array(self.space.n_layer)[codes[:, 1]]
        values = {
            "error": 100 / params**0.25 + depth**0.5,
            "latency@fast": 1 + depth,
            "latency@slow": 2 + params / 1e4,
            "memory": params / 2**10,
        }[objective.key].astype(float)
        return values * (1 if objective.level is None else 0.5 + objective.level)

    def front(
        self, objectives: Sequence[Objective], constraints: Sequence[Objective] = ()
    ) -> Front | None:
        codes = np.concatenate(list(self.space.enumerate()))
        values = np.stack([self.column(codes, o) for o in objectives], axis=1)
        bounded = [self.column(codes, c) for c in constraints]
        kept = np.ones(len(codes), dtype=bool)
        if bounded:
            kept = (constraint_violations(tuple(constraints), np.stack(bounded, axis=1)) <= 0).all(
                axis=1
            )
        return Front.of(codes[kept], values[kept], tuple(objectives))


@pytest.fixture(scope="session")
def small_space() -> SearchSpace:
    """272 networks: small enough to list, with layers that come and go."""
    return SearchSpace(
        "tiny", embed_dim=[8, 16], n_layer=[1, 3], mlp_ratio=[1, 2], n_head=[1, 2], head_size=4
    )


@pytest.fixture(scope="session")
def toy(small_space: SearchSpace) -> Toy:
    return Toy(small_space)
