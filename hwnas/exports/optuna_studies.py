"""Searches as Optuna studies, which optuna-dashboard and Optuna's own plots can show.

A study has the objectives as its metrics, with their directions, the choices of an architecture as
categorical parameters, and the violations of constraints, at most 0 where they hold. A choice that
an architecture does not have, such as one of an absent layer, is no parameter of its trial.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from hwnas.errors import InvalidInput, MissingExtra
from hwnas.exports.table_files import Exported
from hwnas.exports.trial_columns import choice_columns, column_values, units
from hwnas.objectives import constraint_violations
from hwnas.runner.results import Result
from hwnas.runner.search_result import SearchResult
from hwnas.typing import Array, Codes

try:
    import optuna
    from optuna.distributions import CategoricalDistribution
    from optuna.trial import FrozenTrial, TrialState
except ImportError as error:
    raise MissingExtra("export --to optuna", "optuna", "optuna") from error

IDENTITY = "hwnas"  # attribute of a study by which a second export knows it
# Of a trial: one that was stopped at a bound has no values, like one that Optuna pruned.
_STATES = {
    "ok": TrialState.COMPLETE,
    "failed": TrialState.FAIL,
    "infeasible": TrialState.PRUNED,
}


def export_studies(results: Sequence[Result], storage: str) -> list[Exported]:
    """Write each search of runs as a study ``RUN/OPTIMIZER/seed-K``; return one entry for each.

    Trials that a study has already are left as they are, those that the run has beyond are added.
    Under noise there is a second study, ``RUN/OPTIMIZER/seed-K/front``, with the architectures of
    the search's front at their medians: the best trials of the first are those with lucky draws.

    Parameters
    ----------
    results
        One run, or those of a sweep.
    storage
        URL of Optuna's storage, ``sqlite:///FILE``.

    Raises
    ------
    InvalidInput
        The storage cannot be used, or a study of that name is of something else.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        backend = open_storage(storage)
        return [
            _write_study(result, search, name, trials, backend, storage)
            for result in results
            for search in result.searches
            for name, trials in _studies(result, search)
        ]


def _studies(result: Result, search: SearchResult) -> Iterator[tuple[str, list[FrozenTrial]]]:
    """Yield name and trials of each study of a search."""
    name = f"{result.experiment.name}/{search.optimizer}/seed-{search.seed}"
    yield name, search_trials(result, search)
    if result.experiment.noise:
        yield f"{name}/front", front_trials(result, search)


def open_storage(storage: str) -> Any:
    """Return Optuna's storage of a URL.

    Raises
    ------
    InvalidInput
        The URL is none, or what it leads to is no storage of Optuna's.
    """
    if "://" not in storage:
        raise InvalidInput(f"--storage: expected a URL such as sqlite:///x.db, found {storage!r}")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.storages.RDBStorage(storage)
    except Exception as error:  # of SQLAlchemy, a driver or Optuna: their classes have no base
        reason = str(error).partition("\n")[0]
        raise InvalidInput(f"--storage {storage}: cannot be used: {reason}") from error


def search_trials(result: Result, search: SearchResult) -> list[FrozenTrial]:
    """Return the trials of a search, in order."""
    trials = search.trials
    fidelities = trials.fidelity.tolist()
    attributes = [
        {
            "arch": str(arch),
            "status": status,
            "seconds": seconds,
            **({"reason": reason} if reason else {}),
            **({"fidelity": fidelity} if fidelity >= 0 else {}),
        }
        for arch, status, seconds, reason, fidelity in zip(
            result.space.decode(trials.codes),
            trials.status,
            trials.seconds.tolist(),
            trials.reason,
            fidelities,
            strict=True,
        )
    ]
    return [*_frozen(result, trials.codes, trials.values, trials.status, attributes)]


def front_trials(result: Result, search: SearchResult) -> list[FrozenTrial]:
    """Return the members of a search's front at their medians, as trials."""
    import numpy as np

    front = search.front
    values = np.concatenate([front.values, search.front_constraints], axis=1)
    attributes: list[dict[str, Any]] = [
        {"arch": str(arch), "first trial": trial if trial >= 0 else "never measured"}
        for arch, trial in zip(
            result.space.decode(front.codes), search.front_trials.tolist(), strict=True
        )
    ]
    return [*_frozen(result, front.codes, values, ["ok"] * len(front), attributes)]


def _frozen(
    result: Result,
    codes: Codes,
    values: Array,
    statuses: Sequence[str],
    attributes: Sequence[dict[str, Any]],
) -> Iterator[FrozenTrial]:
    """Yield trials of codes (n, d) and values (n, q), objectives and then constraints."""
    m = len(result.objectives)
    distributions = {
        name: CategoricalDistribution(values)
        for name, values in column_values(result.space).items()
    }
    choices = choice_columns(result.space, codes)
    violations = constraint_violations(result.constraints, values[:, m:])
    for i, status in enumerate(statuses):
        params = {name: column[i] for name, column in choices.items() if column[i] is not None}
        state = _STATES[status]
        is_complete = state == TrialState.COMPLETE
        has_bounds = is_complete and bool(result.constraints)
        yield optuna.trial.create_trial(
            state=state,
            values=values[i, :m].tolist() if is_complete else None,
            params=params,
            distributions={name: distributions[name] for name in params},
            user_attrs=attributes[i],
            # By position: optuna-dashboard 0.21 takes no heed of constraints that have names.
            system_attrs={"constraints": violations[i].tolist()} if has_bounds else None,
        )


def _write_study(
    result: Result,
    search: SearchResult,
    name: str,
    trials: Sequence[FrozenTrial],
    backend: Any,
    storage: str,
) -> Exported:
    """Create a study, or add to it what it does not have yet."""
    identity = _identity(result, search)
    study = optuna.create_study(
        storage=backend,
        study_name=name,
        directions=["maximize" if o.maximise else "minimize" for o in result.objectives],
        load_if_exists=True,
    )
    n_old = len(study.get_trials(deepcopy=False))
    stored_identity = study.user_attrs.get(IDENTITY)
    if stored_identity is None and n_old == 0:
        study.set_user_attr(IDENTITY, identity)
        study.set_user_attr("run", str(result.path))
        study.set_user_attr("constraints", [str(constraint) for constraint in result.constraints])
        study.set_metric_names([_metric_name(str(o), units(result)) for o in result.objectives])
    elif stored_identity != identity:
        raise InvalidInput(
            f"--storage {storage}: its study {name!r} is not of this search; choose another storage"
        )
    # A front changes as a whole: its study is made anew.
    if name.endswith("/front") and n_old and not _same(study.get_trials(deepcopy=False), trials):
        optuna.delete_study(study_name=name, storage=backend)
        return _write_study(result, search, name, trials, backend, storage)
    study.add_trials(trials[n_old:])
    return Exported(name, len(trials), len(trials) - n_old)


def _metric_name(objective: str, units: dict[str, str]) -> str:
    """Return the name of an objective with its unit: ``latency@h100 (ms)``."""
    return f"{objective} ({units[objective]})" if objective in units else objective


def _same(stored: Sequence[FrozenTrial], trials: Sequence[FrozenTrial]) -> bool:
    """Return whether two lists of trials have the same values and architectures."""
    return [(t.values, t.params) for t in stored] == [(t.values, t.params) for t in trials]


def _identity(result: Result, search: SearchResult) -> str:
    """Return what tells one search from another with equal names: its problem and first trial."""
    first = search.trials[:1]
    parts = [
        str(result.experiment.space),
        *map(str, (*result.objectives, *result.constraints)),
        first.codes.tobytes().hex(),
        first.values.tobytes().hex(),
        first.elapsed.tobytes().hex(),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
