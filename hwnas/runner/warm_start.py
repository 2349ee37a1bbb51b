"""Warm starts: trials of an earlier run that an optimizer is told before it starts."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import InvalidInput
from hwnas.files import atomic_writer
from hwnas.objectives import Objective
from hwnas.problem import Problem
from hwnas.runner.run_files import check_trials, search_databases, stored_experiment
from hwnas.runner.storage import Store
from hwnas.spaces import SearchSpace, space
from hwnas.spaces.choices import Value
from hwnas.typing import Array, Codes

MAX_MB = 2_000  # of an unpacked file, for twenty million trials
FILE = "warm_start.npz"  # the run's own copy, so that a resume does not depend on the earlier run


_ARCHIVE_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    MemoryError,
    NotImplementedError,  # of a compression that Python does not know
    RuntimeError,  # of an encrypted entry
    zipfile.BadZipFile,
    zlib.error,
)


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
            _check_archive(file)
            with np.load(file, allow_pickle=False) as arrays:
                prior = cls(arrays["codes"], arrays["values"], arrays["std"])
            prior._check_form()
            return prior
        except _ARCHIVE_ERRORS as error:
            raise InvalidInput(f"{file}: cannot be read as a warm start: {error}") from error

    def _check_form(self) -> None:
        """Check types and shapes of the arrays."""
        forms = [(array.dtype.kind, array.ndim) for array in (self.codes, self.values, self.std)]
        if forms != [("i", 2), ("f", 2), ("f", 2)] or self.codes.dtype.itemsize != 1:
            raise ValueError("expected codes (n, d) of int8, and values and std (n, q) of floats")
        if not len(self.codes) == len(self.values) == len(self.std):
            raise ValueError("expected as many codes as values and std")


def _check_archive(file: Path) -> None:
    """Refuse an npz that would take more memory than any warm start; its own sizes may be small."""
    with zipfile.ZipFile(file) as archive:
        size_mb = sum(entry.file_size for entry in archive.infolist()) / 1e6
    if size_mb > MAX_MB:
        raise ValueError(f"{size_mb:,.0f} MB when unpacked, expected at most {MAX_MB:,}")


def collect(directory: Path, problem: Problem) -> PriorTrials:
    """Collect the trials of all searches of an earlier run, in the order of their files.

    Parameters
    ----------
    directory
        Directory of the earlier run.
    problem
        Problem of the new run. The earlier run must have a space of the same name and columns,
        noise like this one or none like this one, and all its metrics. Without noise each
        architecture comes once.

    Raises
    ------
    InvalidInput
        The directory holds no run, or its run does not fit.
    """
    files = search_databases(directory)
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
        earlier = stored_experiment(store.meta["experiment"], file)
        trials = store.trials()
    # The earlier run must fit: the same space, the same kind of noise, all metrics.
    earlier_space, new_space = space(earlier.space), problem.space
    if difference := space_difference(earlier_space, new_space):
        raise InvalidInput(f"{directory}: expected a run on {new_space.name}, found {difference}")
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
    check_trials(trials, new_space, len(measured), file)
    ok = np.flatnonzero(trials.ok)
    codes = trials.codes[ok].reshape(len(ok), len(new_space.columns))
    return codes, trials.values[ok][:, columns], trials.std[ok][:, columns]


def space_difference(earlier: SearchSpace, expected: SearchSpace) -> str:
    """Return how a space differs from another one in words; empty if codes mean the same in both.

    Examples
    --------
    >>> old = space({"name": "mlp", "choices": {"rate": [0.1, 1.0]}})
    >>> new = space({"name": "mlp", "choices": {"rate": [0.1, 0.5]}})
    >>> space_difference(old, new)
    'one of other choices: rate [0.1, 1.0] in place of [0.1, 0.5]'
    """
    if earlier.name != expected.name:
        return earlier.name
    if earlier.family != expected.family:
        return (
            f"one of the family {earlier.family or 'none'} in place of {expected.family or 'none'}"
        )
    for kind in ("choices", "layers"):
        difference = _choice_difference(getattr(earlier, kind), getattr(expected, kind))
        if difference:
            return f"one of other {kind}: {difference}"
    # All else that defines a space: its depth, conditions and allowed layers, or constants.
    settings, expected_settings = earlier.to_dict(), expected.to_dict()
    for key in dict.fromkeys([*settings, *expected_settings]):
        values = settings.get(key), expected_settings.get(key)
        if values[0] != values[1]:
            return f"one with {key} {_replaced(*values)}"
    return ""


def _choice_difference(
    earlier: Mapping[str, tuple[Value, ...]], expected: Mapping[str, tuple[Value, ...]]
) -> str:
    """Return the first difference between two sets of choices; the order of names counts."""
    for name in (*expected, *earlier):
        if name not in earlier:
            return f"none called {name}"
        if name not in expected:
            return f"{name}, which is not one here"
        if _typed(earlier[name]) != _typed(expected[name]):
            return (
                f"{name} {_short(list(earlier[name]))} in place of {_short(list(expected[name]))}"
            )
    # Columns of codes are in the order of the names.
    if list(earlier) != list(expected):
        return f"the order {', '.join(earlier)} in place of {', '.join(expected)}"
    return ""


def _typed(values: Iterable[Value]) -> list[tuple[bool, Value]]:
    """Return values with whether they are bools, which Python takes for the numbers 0 and 1."""
    return [(isinstance(value, bool), value) for value in values]


def _replaced(earlier: Any, expected: Any) -> str:
    return f"{_short(earlier)} in place of {_short(expected)}"


def _short(value: Any) -> str:
    """Return a value as text of at most 60 characters."""
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
