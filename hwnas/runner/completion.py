"""Whether a run has come to its end."""

from __future__ import annotations

from pathlib import Path

from hwnas.experiment import validate_form
from hwnas.runner.storage import Store
from hwnas.yaml_loader import parse_yaml


def is_finished(path: Path) -> bool:
    """Return whether every search of a run has come to its end."""
    expected = None
    for file in path.glob("*/seed-*/trials.db"):
        with Store.open(file) as store:
            meta = store.meta
        if "finished" not in meta:
            return False
        if expected is None:
            experiment = validate_form(parse_yaml(meta["experiment"]), str(file))
            expected = {(o.name, seed) for o in experiment.optimizers for seed in experiment.seeds}
        expected.discard((meta["optimizer"], int(meta["seed"])))
    return expected is not None and not expected
