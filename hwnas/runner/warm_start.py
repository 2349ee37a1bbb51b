"""Warm starts: trials of an earlier run that an optimizer is told before it starts.

Where the earlier run has the same space and all metrics, its trials are results as any other.
Otherwise they are related trials, from which some optimizers learn.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from hwnas.errors import InvalidInput
from hwnas.files import atomic_writer
from hwnas.history import History
from hwnas.objectives import Objective
from hwnas.optimizers import Optimizer
from hwnas.problem import Problem
from hwnas.related_trials import RelatedTrials
from hwnas.runner.ask_and_tell import tell_values
from hwnas.runner.run_files import check_trials, search_databases, stored_experiment
from hwnas.runner.space_difference import space_difference
from hwnas.runner.storage import Store
from hwnas.spaces import SearchSpace, space
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
    """Architectures and their measured values, as if the search itself had measured them.

    Attributes
    ----------
    codes : (n, d) int8
    values, std : (n, q) float64
        Of objectives, then constraints, in raw units.
    """

    codes: Codes
    values: Array
    std: Array

    def __str__(self) -> str:
        return f"{len(self.codes):,} trials, told as results"

    def tell(self, optimizer: Optimizer, problem: Problem) -> None:
        """Tell an optimizer the trials as results."""
        if len(self.codes):
            tell_values(optimizer, problem, self.codes, self.values, self.std)

    def save(self, file: Path) -> None:
        """Write an npz atomically."""
        with atomic_writer(file) as stream:
            np.savez_compressed(stream, codes=self.codes, values=self.values, std=self.std)


@dataclass(frozen=True, slots=True)
class RelatedStart:
    """Trials of another space or of other metrics.

    Attributes
    ----------
    trials
        What an optimizer is told.
    space_setting
        The earlier experiment's `space`, from which that of the trials is built.
    difference
        How the earlier run differs from the new one, in words.
    """

    trials: RelatedTrials
    space_setting: Any
    difference: str

    def __str__(self) -> str:
        return f"{len(self.trials.codes):,} trials, told as related ones ({self.difference})"

    def tell(self, optimizer: Optimizer, problem: Problem) -> None:
        """Tell an optimizer the trials as related ones.

        Raises
        ------
        InvalidInput
            The optimizer cannot use them.
        """
        try:
            optimizer.tell_related(self.trials)
        except InvalidInput as error:
            raise InvalidInput(f"warm_start: {self.difference}; {error}") from error

    def save(self, file: Path) -> None:
        """Write an npz atomically."""
        trials = self.trials
        with atomic_writer(file) as stream:
            np.savez_compressed(
                stream,
                codes=trials.codes,
                values=trials.values,
                std=trials.std,
                outcomes=trials.outcomes,
                is_same=trials.is_same,
                space=np.array(json.dumps(self.space_setting)),
                difference=np.array(self.difference),
            )


WarmStart: TypeAlias = PriorTrials | RelatedStart


def load_warm_start(file: Path) -> WarmStart:
    """Read a file written by `save` of a warm start.

    Raises
    ------
    InvalidInput
        The file is missing or damaged.
    """
    try:
        _check_archive(file)
        with np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
        codes, values, std = (arrays[name] for name in ("codes", "values", "std"))
        _check_form(codes, values, std)
        if "outcomes" not in arrays:
            return PriorTrials(codes, values, std)
        setting = json.loads(str(arrays["space"]))
        outcomes, is_same = arrays["outcomes"], arrays["is_same"]
        kinds = outcomes.dtype.kind, is_same.dtype.kind
        if kinds != ("i", "b") or not outcomes.shape == is_same.shape == values.shape[1:]:
            raise ValueError("expected an index and a flag for each column of values")
        earlier_space = space(setting)
        if codes.shape[1] != len(earlier_space.columns) or not earlier_space.is_valid(codes).all():
            raise ValueError(f"expected codes of {earlier_space.name}")
        if not (np.isfinite(values).all() and np.isfinite(std).all()):
            raise ValueError("expected finite values")
        trials = RelatedTrials(earlier_space, codes, values, std, outcomes, is_same)
        return RelatedStart(trials, setting, str(arrays["difference"]))
    except _ARCHIVE_ERRORS as error:
        raise InvalidInput(f"{file}: cannot be read as a warm start: {error}") from error


def _check_form(codes: Codes, values: Array, std: Array) -> None:
    """Check types and shapes of the arrays."""
    forms = [(array.dtype.kind, array.ndim) for array in (codes, values, std)]
    if forms != [("i", 2), ("f", 2), ("f", 2)] or codes.dtype.itemsize != 1:
        raise ValueError("expected codes (n, d) of int8, and values and std (n, q) of floats")
    if not len(codes) == len(values) == len(std):
        raise ValueError("expected as many codes as values and std")


def _check_archive(file: Path) -> None:
    """Refuse an npz that would take more memory than any warm start; its own sizes may be small."""
    with zipfile.ZipFile(file) as archive:
        size_mb = sum(entry.file_size for entry in archive.infolist()) / 1e6
    if size_mb > MAX_MB:
        raise ValueError(f"{size_mb:,.0f} MB when unpacked, expected at most {MAX_MB:,}")


@dataclass(frozen=True)
class _EarlierSearch:
    """Complete trials of one earlier search, and what its experiment says of them."""

    setting: Any  # of the space, in the experiment
    space: SearchSpace
    noisy: bool
    measured: list[Objective]
    codes: Codes
    values: Array
    std: Array

    def difference(self, problem: Problem) -> str:
        """Return why its trials are no results of a problem; empty if they are."""
        if difference := space_difference(self.space, problem.space):
            return f"expected a run on {problem.space.name}, found {difference}"
        for objective in problem.measured:
            if objective.value not in self.measured:
                names = ", ".join(dict.fromkeys(map(str, self.measured)))
                return f"did not measure {objective.value}, only {names}"
        return ""


def collect(directory: Path, problem: Problem) -> WarmStart:
    """Collect the trials of all searches of an earlier run, in the order of their files.

    Parameters
    ----------
    directory
        Directory of the earlier run.
    problem
        Problem of the new run.

    Returns
    -------
    PriorTrials, RelatedStart
        Prior trials if the earlier run has a space of the same name and columns and all metrics;
        then its noise must be like that of the new run. Without noise each architecture comes once.

    Raises
    ------
    InvalidInput
        The directory holds no run, or its run does not fit.
    """
    files = search_databases(directory)
    if not files:
        raise InvalidInput(f"{directory}: no trials here, expected the directory of a run")
    parts = [_read(file) for file in files]
    differences = [part.difference(problem) for part in parts]
    if any(differences):
        return _related_start(directory, parts, problem, next(filter(None, differences)))
    # The same problem: its objectives may stand in another order there.
    if any(part.noisy != problem.noisy for part in parts):
        expected = str(problem.noisy).lower()
        raise InvalidInput(f"{directory}: expected a run with noise: {expected}, as this one")
    codes = np.concatenate([part.codes for part in parts])
    values, std = (
        np.concatenate(
            [
                getattr(part, name)[:, [part.measured.index(o.value) for o in problem.measured]]
                for part in parts
            ]
        )
        for name in ("values", "std")
    )
    # Without noise a repeated architecture has the same values: its first trial is enough.
    if not problem.noisy:
        _, first = np.unique(codes, axis=0, return_index=True)
        first.sort()
        codes, values, std = codes[first], values[first], std[first]
    return PriorTrials(codes, values, std)


def _related_start(
    directory: Path, parts: Sequence[_EarlierSearch], problem: Problem, difference: str
) -> RelatedStart:
    """Return related trials of an earlier run, with the columns that tell something."""
    first = parts[0]
    if first.space.family != problem.space.family:
        raise InvalidInput(
            f"{directory}: {difference}; expected the same space or one of its family"
        )
    if any(
        space_difference(part.space, first.space) or part.measured != first.measured
        for part in parts
    ):
        raise InvalidInput(f"{directory}: {difference}; its searches differ, expected one run")
    is_same_space = not space_difference(first.space, problem.space)
    # Which metrics of this problem were measured there, of any device or workload.
    columns = {
        j: column
        for j, objective in enumerate(problem.measured)
        if (column := _related_column(objective, first.measured)) is not None
    }
    if not columns:
        raise InvalidInput(f"{directory}: {difference}; expected one of its metrics at least")
    codes, values, std = _means_by_code(parts)
    if len(codes) == 0:
        raise InvalidInput(f"{directory}: no complete trials, expected one at least")
    # Losses and violations, as an optimizer is told them.
    outcomes, is_same = [], []
    for j, column in columns.items():
        objective, raw = problem.measured[j], values[:, column]
        outcomes.append(
            objective.loss(raw) if j < len(problem.objectives) else objective.violation(raw)
        )
        is_same.append(is_same_space and first.measured[column] == objective.value)
    trials = RelatedTrials(
        first.space,
        codes,
        np.stack(outcomes, axis=1),
        std[:, list(columns.values())],
        np.array(list(columns), dtype=np.int64),
        np.array(is_same, dtype=bool),
    )
    return RelatedStart(trials, first.setting, f"{directory}: {difference}")


def _related_column(objective: Objective, measured: Sequence[Objective]) -> int | None:
    """Return the column of the same value, or else the same metric and workload, or metric."""
    keys: list[Callable[[Objective], object]] = [
        lambda o: o,
        lambda o: (o.metric, o.workload, o.level),
        lambda o: (o.metric, o.workload),
        lambda o: o.metric,
    ]
    for key in keys:
        wanted = key(objective.value)
        for column, other in enumerate(measured):
            if key(other) == wanted:
                return column
    return None


def _means_by_code(parts: Sequence[_EarlierSearch]) -> tuple[Codes, Array, Array]:
    """Return distinct codes in order, the means of their values, and standard errors of these."""
    n_values = parts[0].values.shape[1]
    history = History(parts[0].codes.shape[1], n_values, 0)
    for part in parts:
        history.add(part.codes, part.values, part.std, np.empty((len(part.codes), 0)))
    codes, values, std, _ = history.averaged()
    return codes, values, std


def _read(file: Path) -> _EarlierSearch:
    """Read the complete trials of one search."""
    with Store.open(file) as store:
        earlier = stored_experiment(store.meta["experiment"], file)
        trials = store.trials()
    measured = [Objective.parse(text).value for text in (*earlier.objectives, *earlier.constraints)]
    earlier_space = space(earlier.space)
    check_trials(trials, earlier_space, len(measured), file)
    ok = np.flatnonzero(trials.ok)
    codes = trials.codes[ok].reshape(len(ok), len(earlier_space.columns))
    return _EarlierSearch(
        earlier.space,
        earlier_space,
        earlier.noise,
        measured,
        codes,
        trials.values[ok],
        trials.std[ok],
    )
