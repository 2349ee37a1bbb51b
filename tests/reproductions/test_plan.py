"""Which experiments a reproduction has, what they take, and where they stand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hwnas.errors import InvalidInput
from hwnas.reproductions import plan
from hwnas.reproductions.plan import NOISE, THREE, TWO, WITHOUT_DEVICE, Part
from hwnas.surrogates.devices import DEVICES
from hwnas.yaml_loader import read_yaml

EIGHT = ["random", "morea", "local_search", "nsga2", "lsbo", "rsbo", "moasha", "ehvi"]


def test_the_paper_is_covered() -> None:
    full = plan.parts(quick=False)
    by_kind = {kind: [p for p in full if p.kind == kind] for kind in (TWO, THREE, NOISE)}
    assert len(by_kind[TWO]) == 3 * (2 * len(DEVICES) + len(WITHOUT_DEVICE))
    assert len(by_kind[THREE]) == len(by_kind[NOISE]) == 3 * len(DEVICES)
    assert len({part.folder for part in full}) == len(full)
    for part in full:
        experiment = part.experiment
        assert [entry.name for entry in experiment.optimizers] == EIGHT
        assert len(experiment.seeds) == 5
        assert experiment.noise == (part.kind == NOISE)
        assert len(experiment.objectives) == (3 if part.kind == THREE else 2)
        assert experiment.objectives[0] == "perplexity"


def test_quick_is_a_selection_with_every_kind() -> None:
    quick = plan.parts(quick=True)
    assert {part.kind for part in quick} == {TWO, THREE, NOISE}
    assert {part.folder for part in quick} <= {part.folder for part in plan.parts(quick=False)}
    assert plan.seconds(quick, 2) < 300 < 3600 < plan.seconds(plan.parts(quick=False), 2)


def test_estimates_grow_with_what_there_is_and_shrink_with_workers() -> None:
    parts = plan.parts(quick=True)
    assert plan.seconds(parts[:2], 1) < plan.seconds(parts, 1)
    assert plan.seconds(parts, 2) < plan.seconds(parts, 1)
    assert plan.seconds([], 1) == 0


@pytest.mark.parametrize(
    ("seconds", "said"), [(1, "10 s"), (89, "90 s"), (240, "4 min"), (70_000, "19 h")]
)
def test_durations_as_people_say_them(seconds: float, said: str) -> None:
    assert plan.told(seconds) == said


def test_what_is_complete_is_not_run_again(small: list[Part], tmp_path: Path) -> None:
    part, path = small[0], tmp_path / "runs" / small[0].folder
    assert plan.complete(path, part) is None
    plan.completed(part, tmp_path, 1, lambda cell, done: None)
    began = (path / "environment.json").stat().st_mtime_ns
    database = path / "nsga2" / "seed-1" / "trials.db"
    assert plan.complete(path, part) is not None
    before = database.stat().st_mtime_ns
    plan.completed(part, tmp_path, 1, lambda cell, done: None)
    assert database.stat().st_mtime_ns == before
    shutil.rmtree(path / "nsga2" / "seed-1")  # as if killed before it
    assert plan.complete(path, part) is None
    plan.completed(part, tmp_path, 1, lambda cell, done: None)
    assert database.exists()
    assert (path / "environment.json").stat().st_mtime_ns == began  # resumed, not begun anew


def test_another_experiment_is_refused(small: list[Part], tmp_path: Path) -> None:
    plan.completed(small[0], tmp_path, 1, lambda cell, done: None)
    path = tmp_path / "runs" / small[0].folder
    assert read_yaml(path / "experiment.yaml")["budget"] == {"evaluations": 12}
    other = small[0].experiment.model_copy(update={"name": "other"})
    changed = Part(small[0].kind, small[0].what, other)
    with pytest.raises(InvalidInput, match="holds another experiment; choose another directory"):
        plan.complete(path, changed)
