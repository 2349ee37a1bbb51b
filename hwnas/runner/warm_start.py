"""Warm starts: trials of an earlier run that an optimizer is told before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwnas.errors import InvalidInput
from hwnas.experiment import validate_form
from hwnas.files import atomic_writer
from hwnas.objectives import Objective
from hwnas.problem import Problem
from hwnas.runner.storage import Store
from hwnas.spaces import space
from hwnas.typing import Array, Codes
from hwnas.yaml_loader import parse_yaml

FILE = "warm_start.npz"  # the run's own copy, so that a resume does not depend on the earlier run


@dataclass(frozen=True, slots=True)
class PriorTrials:
    """Architectures and their measured values.

    Attributes
    ----------
    codes : (n, d) int8
    values, std : (n, q) float64
        Of objectives, then constraints, in raw units.
    """

    codes: Codes
    values: Array
    std: Array

    def save(self, file: Path) -> None:
        """Write an npz atomically."""
        with atomic_writer(file) as stream:
            np.savez_compressed(stream, codes=self.codes, values=self.values, std=self.std)

    @classmethod
    def load(cls, file: Path) -> PriorTrials:
        """Read a file written by `save`.

        Raises
        ------
        InvalidInput
            The file is missing or damaged.
        """
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return cls(arrays["codes"], arrays["values"], arrays["std"])
        except (OSError, ValueError, KeyError) as error:
            raise InvalidInput(f"{file}: cannot be read as a warm start: {error}") from error


def collect(directory: Path, problem: Problem) -> PriorTrials:
    """Collect the trials of all searches of an earlier run, in the order of their files.

    Parameters
    ----------
    directory
        Directory of the earlier run.
    problem
        Problem of the new run. The earlier run must have the same space, noise like this one or
        none like this one, and all its metrics. Without noise each architecture comes once.

    Raises
    ------
    InvalidInput
        The directory holds no run, or its run does not fit.
    """
    files = sorted(directory.glob("*/seed-*/trials.db"))
    if not files:
        raise InvalidInput(f"{directory}: no trials here, expected the directory of a run")
    parts = [_read(file, directory, problem) for file in files]
    codes, values, std = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    # Without noise a repeated architecture has the same values: its first trial is enough.
    if not problem.noisy:
        _, first = np.unique(codes, axis=0, return_index=True)
        first.sort()
        codes, values, std = codes[first], values[first], std[first]
    return PriorTrials(codes, values, std)


def _read(file: Path, directory: Path, problem: Problem) -> tuple[Codes, Array, Array]:
    """Read codes, values and standard errors of the complete trials of one search."""
    with Store.open(file) as store:
        earlier = validate_form(parse_yaml(store.meta["experiment"]), str(file))
        trials = store.trials()
    # The earlier run must fit: the same space, the same kind of noise, all metrics.
    earlier_space, new_space = space(earlier.space), problem.space
    if earlier_space.to_dict() != new_space.to_dict():
        name = earlier_space.name
        actual = f"found {name}" if name != new_space.name else "found one of other choices"
        raise InvalidInput(f"{directory}: expected a run on {new_space.name}, {actual}")
    if earlier.noise != problem.noisy:
        expected = str(problem.noisy).lower()
        raise InvalidInput(f"{directory}: expected a run with noise: {expected}, as this one")
    measured = [Objective.parse(text).value for text in (*earlier.objectives, *earlier.constraints)]
    for objective in problem.measured:
        if objective.value not in measured:
            names = ", ".join(dict.fromkeys(map(str, measured)))
            raise InvalidInput(f"{directory}: did not measure {objective.value}, only {names}")
    columns = [measured.index(objective.value) for objective in problem.measured]
    # Objectives of this run may stand in another order there.
    ok = np.flatnonzero(trials.ok)
    codes = trials.codes[ok].reshape(len(ok), len(new_space.columns))
    return codes, trials.values[ok][:, columns], trials.std[ok][:, columns]
