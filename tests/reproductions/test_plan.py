"""Plan of a reproduction: its experiments, their estimated time, and resumption."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hwnas.errors import InvalidInput
from hwnas.reproductions import plan
from hwnas.reproductions.plan import NOISE, THREE, TWO, WITHOUT_DEVICE, PlannedExperiment
from hwnas.runner.search_loop import SearchRun
from hwnas.surrogates.devices import DEVICES
from hwnas.yaml_loader import read_yaml

OPTIMIZERS = ["random", "morea", "local_search", "nsga2", "lsbo", "rsbo", "moasha", "ehvi"]


def ignore_progress(run: SearchRun, evaluations: int) -> None:
    """Ignore a report of progress."""


def test_all_experiments_of_the_paper_are_planned() -> None:
    experiments = plan.planned_experiments(quick=False)
    by_kind = {kind: [p for p in experiments if p.kind == kind] for kind in (TWO, THREE, NOISE)}
    assert len(by_kind[TWO]) == 3 * (2 * len(DEVICES) + len(WITHOUT_DEVICE))
    assert len(by_kind[THREE]) == len(by_kind[NOISE]) == 3 * len(DEVICES)
    assert len({planned.folder for planned in experiments}) == len(experiments)
    for planned in experiments:
        experiment = planned.experiment
        assert [entry.name for entry in experiment.optimizers] == OPTIMIZERS
        assert len(experiment.seeds) == 5
        assert experiment.noise == (planned.kind == NOISE)
        assert len(experiment.objectives) == (3 if planned.kind == THREE else 2)
        assert experiment.objectives[0] == "perplexity"


def test_quick_selection_has_every_kind() -> None:
    selection = plan.planned_experiments(quick=True)
    experiments = plan.planned_experiments(quick=False)
    assert {planned.kind for planned in selection} == {TWO, THREE, NOISE}
    assert {p.folder for p in selection} <= {p.folder for p in experiments}
    assert plan.estimate_seconds(selection, 2) < 300 < 3600 < plan.estimate_seconds(experiments, 2)


def test_estimate_depends_on_experiments_and_workers() -> None:
    experiments = plan.planned_experiments(quick=True)
    seconds = plan.estimate_seconds(experiments, 1)
    assert plan.estimate_seconds(experiments[:2], 1) < seconds
    assert plan.estimate_seconds(experiments, 2) < seconds
    assert plan.estimate_seconds([], 1) == 0


@pytest.mark.parametrize(
    ("seconds", "text"), [(1, "10 s"), (89, "90 s"), (240, "4 min"), (70_000, "19 h")]
)
def test_format_duration(seconds: float, text: str) -> None:
    assert plan.format_duration(seconds) == text


def test_complete_experiments_are_not_run_again(
    small: list[PlannedExperiment], tmp_path: Path
) -> None:
    planned, path = small[0], tmp_path / "runs" / small[0].folder
    database = path / "nsga2" / "seed-1" / "trials.db"
    assert plan.load_complete(path, planned) is None

    plan.run_or_resume(planned, tmp_path, 1, ignore_progress)
    assert plan.load_complete(path, planned) is not None
    start_time = (path / "environment.json").stat().st_mtime_ns
    database_time = database.stat().st_mtime_ns
    plan.run_or_resume(planned, tmp_path, 1, ignore_progress)
    assert database.stat().st_mtime_ns == database_time

    # A search is missing, as if the run was killed before it: the run is resumed.
    shutil.rmtree(path / "nsga2" / "seed-1")
    assert plan.load_complete(path, planned) is None
    plan.run_or_resume(planned, tmp_path, 1, ignore_progress)
    assert database.exists()
    assert (path / "environment.json").stat().st_mtime_ns == start_time


def test_directory_of_another_experiment_raises(
    small: list[PlannedExperiment], tmp_path: Path
) -> None:
    plan.run_or_resume(small[0], tmp_path, 1, ignore_progress)
    path = tmp_path / "runs" / small[0].folder
    assert read_yaml(path / "experiment.yaml")["budget"] == {"evaluations": 12}
    experiment = small[0].experiment.model_copy(update={"name": "another"})
    changed = PlannedExperiment(small[0].kind, small[0].target, experiment)
    with pytest.raises(InvalidInput, match="holds another experiment; choose another directory"):
        plan.load_complete(path, changed)
