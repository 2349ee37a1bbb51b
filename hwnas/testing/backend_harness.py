"""Backends under test: instances, the architectures to evaluate, and comparisons of values."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.backends import Backend, Evaluation
from hwnas.errors import HwnasError
from hwnas.objectives import Objective
from hwnas.registry import backend
from hwnas.spaces import SearchSpace
from hwnas.spaces import space as space_of
from hwnas.testing.checks import CheckFailed, NotJudged, Subject, require, seed_global_rngs
from hwnas.typing import Array, BoolArray, IndexArray

# Relative tolerance of equal values: sums may be taken in another order in another batch.
_TOLERANCE = 1e-9


class BackendUnderTest(Subject):
    """Backend under test.

    Parameters
    ----------
    tested
        Registered name, or class.
    space
        Search space whose architectures are evaluated.
    networks
        Number n of architectures of one evaluation; a few where each takes long.
    **settings
        Settings of the backend.

    Attributes
    ----------
    codes : (n, d) int8
        Distinct architectures, fewer than `networks` where a sample had some twice.
    seeds : (n,) uint64
        Noise seed of each.
    """

    def __init__(
        self,
        tested: str | type[Backend],
        *,
        space: SearchSpace | str = "gpt-s",
        networks: int = 16,
        **settings: Any,
    ) -> None:
        super().__init__("backend", tested, settings)
        self.space = space_of(space) if isinstance(space, str) else space
        rng = np.random.default_rng(0)
        self.codes = np.unique(self.space.sample(networks, rng), axis=0)
        self.seeds = rng.integers(0, 2**63, size=len(self.codes)).astype(np.uint64)
        # An error of the space or the settings is the user's; others are reported by each check.
        try:
            self.create()
        except HwnasError:
            raise
        except Exception:
            return

    def create(self, noise: bool = False) -> Backend:
        """Return a new instance."""
        return backend(self.tested, self.space, noise=noise, **self.settings)

    @property
    def takes_noise(self) -> bool:
        """True if the backend can be run with noise."""
        return "noise" in inspect.signature(self.cls).parameters

    @cached_property
    def noiseless(self) -> Backend:
        """Instance without noise, which the checks share."""
        return self.create()

    @property
    def objectives(self) -> list[Objective]:
        """One objective for each of the m metrics whose values can be compared.

        Measurements on this machine vary; they are left out, unless there is nothing else.
        """
        metrics = self.noiseless.metrics
        # Trainings ("expensive") repeat with their seed; latencies and energies do not.
        if self.noiseless.on_hardware:
            metrics = {key: m for key, m in metrics.items() if m.cost != "cheap"} or metrics
        return [Objective.parse(key) for key in metrics]

    @cached_property
    def reference_values(self) -> Array:
        """Values of all architectures and objectives (n, m), as first evaluated."""
        return self.values(self.noiseless)

    def values(
        self,
        instance: Backend,
        rows: IndexArray | slice = slice(None),
        objectives: Sequence[Objective] | None = None,
        *,
        seeds: NDArray[np.uint64] | None = None,
        fidelity: int | None = None,
        rng_seed: int | None = 0,
    ) -> Array:
        """Evaluate architectures, by default all of them with all objectives.

        Parameters
        ----------
        instance
            Backend to ask.
        rows
            Indices of the architectures.
        objectives
            Objectives to ask for.
        seeds : (n,) uint64
            Noise seeds of all architectures.
        fidelity
            Fidelity of the evaluation.
        rng_seed
            Seed of the global generators during the evaluation, so that a backend that reads them
            fails one check alone; ``None`` leaves them.

        Returns
        -------
        (k, m) float64
        """
        if rng_seed is not None:
            seed_global_rngs(rng_seed)
        # Copies, as the check `inputs` is about backends that overwrite their arguments.
        codes = self.codes[rows].copy()
        objectives = self.objectives if objectives is None else objectives
        seeds = (self.seeds if seeds is None else seeds)[rows].copy()
        answer = instance.evaluate(codes, list(objectives), seeds=seeds, fidelity=fidelity)
        return answer_values(answer, len(codes), len(objectives))

    def require_repeatable(self) -> None:
        """Raise `NotJudged` unless a new instance answers the same values."""
        if _first_difference(self.reference_values, self.values(self.create())) is not None:
            raise NotJudged("it does not repeat its values")


def answer_values(answer: Any, n: int, m: int) -> Array:
    """Return the values of an answer, and require an `Evaluation` with values (n, m)."""
    require(isinstance(answer, Evaluation), f"evaluate answered a {type(answer).__name__}")
    values = np.asarray(answer.values, dtype=np.float64)
    require(values.shape == (n, m), f"values of shape {values.shape}, expected {(n, m)}")
    return values


def equal_entries(first: Array, second: Array, *, nan_equal: bool = False) -> BoolArray:
    """Return the mask of entries that are equal up to rounding."""
    return np.asarray(np.isclose(first, second, rtol=_TOLERANCE, atol=0, equal_nan=nan_equal))


def equal_values(first: Array, second: Array) -> bool:
    """Return whether two tables of values are equal up to rounding."""
    return _first_difference(first, second) is None


def require_equal(first: Array, second: Array, condition: str) -> None:
    """Require equal tables of values, the second obtained under a condition."""
    index = _first_difference(first, second)
    if index is not None:
        raise CheckFailed(f"{first[index]:.12g} became {second[index]:.12g}, {condition}")


def _first_difference(first: Array, second: Array) -> tuple[int, int] | None:
    """Return the index of the first unequal entry."""
    unequal = ~equal_entries(first, second, nan_equal=True)
    return tuple(np.argwhere(unequal)[0].tolist()) if unequal.any() else None
