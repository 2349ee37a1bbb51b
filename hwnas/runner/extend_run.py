"""Extending a run: its searches get what its experiment has been given since they started."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from hwnas.errors import InvalidInput
from hwnas.experiment import Experiment, validate_form
from hwnas.files import write_text
from hwnas.runner.environment import read_environment, update_environment
from hwnas.runner.extension import Change, Search, changes, lowered_limits
from hwnas.runner.run_files import home_of, search_databases, stored_experiment
from hwnas.runner.storage import Store
from hwnas.yaml_loader import read_yaml

_EXTENDED = "extended"  # key of environment.json: what was changed, and when
_UNITS = {"evaluations": "evaluations", "cost": "s of evaluation", "seconds": "s"}


def extend_run(path: Path, experiment: Experiment) -> list[Change]:
    """Write an experiment to a run and to its searches, if it extends theirs.

    A kill at any moment leaves a run that the next call brings to the same state.

    Parameters
    ----------
    path
        Directory of the run, locked by this process.
    experiment
        What the run is to be: its ``experiment.yaml``, with any changes.

    Returns
    -------
    list of Change
        What was changed; empty if it is the experiment of the run.

    Raises
    ------
    InvalidInput
        The experiment changes the problem, drops a search that has trials, or has a budget that is
        spent already; nothing is written.
    """
    file = path / "experiment.yaml"
    databases = search_databases(path)
    _refuse_copies(path, experiment, databases)
    # 1. Compare with the experiment that each search started with, or was extended to.
    former = {database: _experiment_of(database) for database in databases}
    measured = [_search_of(database) for database in databases]
    differences: dict[str, Change] = {}
    texts: dict[str, list[Change]] = {}
    for database, text in former.items():
        if text not in texts:
            adopted = stored_experiment(text, database)
            texts[text] = _changes_at(path, adopted, experiment, measured)
            differences |= {change.key: change for change in texts[text]}
        _refuse_spent(path, database, experiment, lowered_limits(texts[text]))
    content = read_yaml(file)
    if not former:
        written = validate_form(content, str(file))
        differences = {change.key: change for change in _changes_at(path, written, experiment, [])}

    # 2. The run first: a kill after it leaves searches that do not agree with it, as now.
    if content != experiment.model_dump():
        write_text(file, experiment.to_yaml())
    if differences:
        _record(path, list(differences.values()), experiment)

    # 3. Each search, which goes on if its budget is another.
    for database, text in former.items():
        has_other_budget = any(change.key.startswith("budget.") for change in texts[text])
        if text != experiment.to_yaml():
            with Store.open(database) as store:
                store.adopt(experiment.to_yaml(), reopen=has_other_budget)
    return list(differences.values())


def _changes_at(
    path: Path, former: Experiment, new: Experiment, measured: Sequence[Search]
) -> list[Change]:
    """Return the changes between two experiments; errors name the run."""
    try:
        return changes(former, new, measured)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from None


def _refuse_copies(path: Path, experiment: Experiment, databases: Sequence[Path]) -> None:
    """Refuse a directory of a search of this experiment that holds a copy of another search."""
    for entry in experiment.optimizers:
        for seed in experiment.seeds:
            file = path / entry.name / f"seed-{seed}" / "trials.db"
            if file.exists() and file not in databases:
                raise InvalidInput(
                    f"{file.parent}: holds a copy of {home_of(file, path)}; move it elsewhere, so "
                    f"that {entry.name} seed {seed} can run"
                )


def _refuse_spent(
    path: Path, database: Path, experiment: Experiment, limits: Sequence[str]
) -> None:
    """Refuse a lower limit than a search has used already."""
    if not limits:
        return
    with Store.open(database) as store:
        trials = store.trials()
    used = {
        "evaluations": int(trials.evaluations.sum()),
        "cost": float(trials.seconds.sum()),
        "seconds": float(trials.elapsed[-1]) if len(trials) else 0.0,
    }
    name, seed = _search_of(database)
    for limit in limits:
        if getattr(experiment.budget, limit) < used[limit]:
            raise InvalidInput(
                f"{path}: budget.{limit}: expected at least the {used[limit]:.6g} "
                f"{_UNITS[limit]} that {name} seed {seed} has used, found "
                f"{getattr(experiment.budget, limit):.6g}"
            )


def _record(path: Path, differences: Sequence[Change], experiment: Experiment) -> None:
    """Record changes in ``environment.json``, once if a kill had them made twice."""
    entry = {change.key: {"before": change.former, "after": change.new} for change in differences}
    former = read_environment(path).get(_EXTENDED, [])
    if not isinstance(former, list):  # a damaged record
        former = []
    last = former[-1] if former else None
    if isinstance(last, dict) and last.get("changes") == json.loads(json.dumps(entry)):
        return
    when = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    update_environment(
        path,
        {
            "seeds": list(experiment.seeds),
            _EXTENDED: [*former, {"when": when, "changes": entry}],
        },
    )


def _experiment_of(database: Path) -> str:
    """Return the experiment that a search has, as YAML."""
    with Store.open(database) as store:
        return store.meta["experiment"]


def _search_of(database: Path) -> Search:
    """Return optimizer and seed of the search whose trials are in a file of a run."""
    folder = database.parent
    return folder.parent.name, int(folder.name.removeprefix("seed-"))
