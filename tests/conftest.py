"""A small space, a toy backend and hypothesis settings that several test files share."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence

# Before numpy and torch are loaded: with more threads than free cores their loops wait for each
# other.
os.environ["OMP_NUM_THREADS"] = "1"
# The key that signs leave to run code again is no file of the user's here.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="hwnas-tests-")
# Nor are there any devices that the user has added.
os.environ["XDG_DATA_HOME"] = os.environ["XDG_STATE_HOME"]

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

from hwnas import registry
from hwnas.backends import Backend, Evaluation
from hwnas.fronts import Front
from hwnas.objectives import Metric, Objective, constraint_violations
from hwnas.spaces import GPTSpace, SearchSpace
from hwnas.typing import Array, Codes

atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)
settings.register_profile("hwnas", deadline=None, max_examples=50, print_blob=True)
settings.load_profile("hwnas")


@pytest.hookimpl(wrapper=True)
def pytest_collect_file() -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Collect tests, but no doctests, from the files below this folder.

    With ``--doctest-ignore-import-errors`` a test file that cannot be imported is otherwise
    skipped, and its tests are lost without an error.
    """
    collectors = yield
    return [c for c in collectors if type(c).__name__ != "DoctestModule"]


class Toy(Backend):
    """Closed forms that a test can compute as well; knows every exact front."""

    metrics: Mapping[str, Metric] = {
        "error": Metric("", "expensive"),
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

    def column(self, codes: Codes, objective: Objective) -> Array:
        """Return one metric: powers of the parameter count and the layer count, both exact."""
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
        feasible = np.ones(len(codes), dtype=bool)
        if constraints:
            bounded = np.stack([self.column(codes, c) for c in constraints], axis=1)
            feasible = (constraint_violations(tuple(constraints), bounded) <= 0).all(axis=1)
        return Front.of(codes[feasible], values[feasible], tuple(objectives))


def _restore_registry() -> Iterator[None]:
    """Classes that a test, or a fixture of its module, registers are gone after it."""
    before = registry.registered_classes()
    yield
    registry.replace_registered(before)


_after_a_test = pytest.fixture(autouse=True)(_restore_registry)
_after_a_module = pytest.fixture(autouse=True, scope="module")(_restore_registry)


@pytest.fixture(scope="session")
def small_space() -> SearchSpace:
    """272 architectures: few enough to list, with layers that may be absent."""
    return GPTSpace(
        "tiny", embed_dim=[8, 16], n_layer=[1, 3], mlp_ratio=[1, 2], n_head=[1, 2], head_size=4
    )


@pytest.fixture(scope="session")
def toy(small_space: SearchSpace) -> Toy:
    return Toy(small_space)
