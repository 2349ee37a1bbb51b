"""Whether a run has come to its end."""

from __future__ import annotations

from pathlib import Path

from hwnas.experiment import validate_form
from hwnas.runner.run_files import search_databases, stored_experiment
from hwnas.runner.storage import Store
from hwnas.yaml_loader import read_yaml


def is_finished(path: Path) -> bool:
    """Return whether every search of a run has come to the end that its experiment says now.

    A search that was started with another experiment, such as one of a smaller budget, has not.
    """
    file = path / "experiment.yaml"
    experiment = validate_form(read_yaml(file), str(file))
    expected = {(entry.name, seed) for entry in experiment.optimizers for seed in experiment.seeds}
    experiments = {}
    for database in search_databases(path):
        with Store.open(database) as store:
            meta = store.meta
        if "finished" not in meta:
            return False
        experiments[meta["experiment"]] = database
        expected.discard((meta["optimizer"], int(meta["seed"])))
    return not expected and all(
        stored_experiment(text, database) == experiment for text, database in experiments.items()
    )
