"""What earlier runs measured, told to an optimizer before it begins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import InvalidInput
from hwnas.experiment import Problem, load_form
from hwnas.objectives import Objective
from hwnas.runner.storage import Store
from hwnas.spaces import Codes, space
from hwnas.yaml_loader import parse_yaml

FILE = "warm_start.npz"  # a run's own copy in its directory, so that it resumes as it began


@dataclass(frozen=True, slots=True)
class Known:
    """Networks with what was measured of them.

    Attributes
    ----------
    codes : (n, d) int8
    values, std : (n, q) float64
        Of objectives, then constraints, in raw units.
    """

    codes: Codes
    values: NDArray[np.float64]
    std: NDArray[np.float64]

    def save(self, file: Path) -> None:
        """Write it to an npz."""
        with file.open("wb") as stream:  # numpy would add a suffix to a name
            np.savez_compressed(stream, codes=self.codes, values=self.values, std=self.std)

    @classmethod
    def load(cls, file: Path) -> Known:
        """Read what `save` wrote.

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


def collect(directory: Path, problem: Problem) -> Known:
    """What all searches of an earlier run have measured, in the order of their files.

    Parameters
    ----------
    directory
        The directory of the earlier run.
    problem
        What the new run evaluates: in the same space, with or without noise as the earlier one,
        and nothing that that one did not measure. Without noise each network comes once.

    Raises
    ------
    InvalidInput
        The directory holds no run, or none that fits.
    """
    files = sorted(directory.glob("*/seed-*/trials.db"))
    if not files:
        raise InvalidInput(f"{directory}: no trials here, expected the directory of a run")
    parts = [_read(file, directory, problem) for file in files]
    codes, values, std = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    if not problem.noisy:
        _, first = np.unique(codes, axis=0, return_index=True)
        first.sort()
        codes, values, std = codes[first], values[first], std[first]
    return Known(codes, values, std)


def _read(
    file: Path, directory: Path, problem: Problem
) -> tuple[Codes, NDArray[np.float64], NDArray[np.float64]]:
    """Codes, values and standard errors of one search's trials that have all their values."""
    with Store.open(file) as store:
        earlier = load_form(parse_yaml(store.meta["experiment"]), str(file))
        trials = store.trials()
    there, here = space(earlier.space), problem.space
    if there.to_dict() != here.to_dict():
        other = f"found {there.name}" if there.name != here.name else "found one of other choices"
        raise InvalidInput(f"{directory}: expected a run on {here.name}, {other}")
    if earlier.noise != problem.noisy:
        expected = str(problem.noisy).lower()
        raise InvalidInput(f"{directory}: expected a run with noise: {expected}, as this one")
    measured = [Objective.parse(text).value for text in (*earlier.objectives, *earlier.constraints)]
    for wanted in problem.measured:
        if wanted.value not in measured:
            found = ", ".join(dict.fromkeys(map(str, measured)))
            raise InvalidInput(f"{directory}: did not measure {wanted.value}, only {found}")
    columns = [measured.index(wanted.value) for wanted in problem.measured]
    ok = np.flatnonzero(trials.ok)
    codes = trials.codes[ok].reshape(len(ok), len(here.columns))
    return codes, trials.values[ok][:, columns], trials.std[ok][:, columns]
