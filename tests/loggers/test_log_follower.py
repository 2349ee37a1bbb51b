"""The follower of a run hands loggers each thing once, whatever happens to the run."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from loggers.logged_run import EXPERIMENT, trajectory

import hwnas
from hwnas import registry
from hwnas.errors import ExperimentError, HwnasWarning, InvalidInput
from hwnas.loggers import LoggedStep, LoggedTrial, Logger, RunInfo, SearchInfo, SearchUpdate
from hwnas.problem import load_experiment
from hwnas.profiling.measurement_log import append
from hwnas.runner.log_follower import FILE, LogFollower

LIBRARIES = ("mlflow", "wandb", "tensorboard")


class Recorder(Logger):
    """Keeps what it gets, for the tests."""

    runs: list[RunInfo] = []  # noqa: RUF012 - shared on purpose, and emptied by the fixture
    updates: list[tuple[str, SearchUpdate]] = []  # noqa: RUF012
    ends: list[tuple[str, str, list[str]]] = []  # noqa: RUF012
    broken: str = ""  # the method that raises an error

    def __init__(self, run: RunInfo, *, level: int = 0) -> None:
        super().__init__(run)
        self.fail("start")
        self.runs.append(run)

    def fail(self, place: str) -> None:
        if place == type(self).broken:
            raise ConnectionError("no server\nthere")

    def log(self, search: SearchInfo, update: SearchUpdate) -> None:
        self.fail("log")
        self.updates.append((search.key, update))

    def finish(self, search: SearchInfo, status: str, files: Sequence[Path]) -> None:
        self.fail("finish")
        self.ends.append((search.key, status, [file.name for file in files]))

    @classmethod
    def trials(cls, key: str = "random/seed-0") -> list[LoggedTrial]:
        return [trial for k, update in cls.updates for trial in update.trials if k == key]

    @classmethod
    def steps(cls, key: str = "random/seed-0") -> list[LoggedStep]:
        return [step for k, update in cls.updates for step in update.steps if k == key]


@pytest.fixture(autouse=True)
def recorder(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.replace_registered({})
    registry.register_logger("recorder")(Recorder)
    for name in ("runs", "updates", "ends"):
        monkeypatch.setattr(Recorder, name, [])
    monkeypatch.setattr(Recorder, "broken", "")


def run(path: Path, **changed: Any) -> hwnas.Result:
    return hwnas.run({**EXPERIMENT, "loggers": ["recorder"], **changed}, path, draw=False)


def test_all_is_logged_once_and_a_resumed_run_goes_on(tmp_path: Path) -> None:
    result = run(tmp_path / "small")
    assert [t.number for t in Recorder.trials()] == [0, 1, 2, 3]
    result = hwnas.resume(result.path, overrides={"budget.evaluations": 7}, draw=False)
    trials = Recorder.trials()
    assert [t.number for t in trials] == [*range(7)]
    stored = result.searches[0].trials
    assert [[*t.values.values()] for t in trials] == stored.values.tolist()
    assert [*trials[0].values] == ["perplexity", "latency@h100"]
    assert [t.arch for t in trials] == [str(a) for a in result.space.decode(stored.codes)]
    assert all(t.choices["n_layer"] == hwnas.Architecture.parse(t.arch).n_layer for t in trials)
    steps = [(step.evaluations, step.values["hypervolume"]) for step in Recorder.steps()]
    # The end of the first part is a step as well, although nothing grew there.
    assert set(steps) >= {*trajectory(result)} - {(7, steps[-1][1])}
    assert sorted(steps) == steps
    files = ["front.csv", "hypervolume.csv"]
    assert Recorder.ends == [("random/seed-0", "done", files)] * 2
    assert len({info.identity for info in Recorder.runs}) == 1


def test_a_finished_run_is_logged_no_more(tmp_path: Path) -> None:
    result = run(tmp_path / "small")
    n = len(Recorder.updates), len(Recorder.ends)
    hwnas.resume(result.path, draw=False)
    assert (len(Recorder.updates), len(Recorder.ends)) == n


def test_loggers_can_be_added_to_a_finished_run(tmp_path: Path) -> None:
    hwnas.run(EXPERIMENT, tmp_path / "small", draw=False)
    hwnas.resume(tmp_path / "small", overrides={"loggers": ["recorder"]}, draw=False)
    assert [t.number for t in Recorder.trials()] == [0, 1, 2, 3]
    assert len(Recorder.ends) == 1


def test_other_settings_are_another_logger(tmp_path: Path) -> None:
    result = run(tmp_path / "small")
    other = {"loggers": [{"type": "recorder", "level": 1}]}
    hwnas.resume(result.path, overrides=other, draw=False)
    assert [t.number for t in Recorder.trials()] == [0, 1, 2, 3] * 2


def test_a_running_search_is_logged(tmp_path: Path) -> None:
    content = {**EXPERIMENT, "loggers": ["recorder"]}
    experiment, _ = load_experiment(content)
    followers: list[LogFollower] = []
    counts: list[int] = []

    def progress(search: object, evaluations: int) -> None:
        followers[:] = followers or [LogFollower(tmp_path / "small", experiment)]
        followers[0].update()
        counts.append(len(Recorder.trials()))

    hwnas.run({**EXPERIMENT, "name": "small"}, tmp_path / "small", draw=False, progress=progress)
    assert counts[-1] >= 3
    assert counts == sorted(counts)
    assert [t.number for t in Recorder.trials()] == [*range(counts[-1])]


@pytest.mark.parametrize("settings", [{"workers": 2}, {}])
def test_searches_side_by_side_and_parallel_trials(tmp_path: Path, settings: Any) -> None:
    changed = {"seeds": 2} if settings else {"executor": {"type": "process", "workers": 2}}
    content = {**EXPERIMENT, "loggers": ["recorder"], **changed}
    result = hwnas.run(content, tmp_path / "small", draw=False, **settings)
    for search in result.searches:
        trials = Recorder.trials(f"random/seed-{search.seed}")
        assert [[*t.values.values()] for t in trials] == search.trials.values.tolist()


def test_noise(tmp_path: Path) -> None:
    result = run(tmp_path / "small", noise=True)
    (trajectory,) = result.trajectories
    last = Recorder.steps()[-1].values
    assert last["true"] == trajectory.hypervolume[-1]
    assert {*last} == {"observed", "true", "measured", "normalised"}


@pytest.mark.parametrize("place", ["log", "finish"])
def test_an_error_of_a_logger_costs_no_run(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recorder, "broken", place)
    message = "recorder: ConnectionError: no server there; what is missing there is logged by: hwna"
    with pytest.warns(HwnasWarning, match=message):
        result = run(tmp_path / "small")
    assert len(result.searches[0].trials) == 4
    monkeypatch.setattr(Recorder, "broken", "")
    hwnas.resume(result.path, draw=False)
    assert {t.number for t in Recorder.trials()} == {0, 1, 2, 3}
    assert len(Recorder.ends) == 1


def test_a_logger_that_cannot_start_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recorder, "broken", "start")
    with pytest.raises(InvalidInput, match=r"loggers\[0\]: recorder cannot start: ConnectionErr"):
        run(tmp_path / "small")
    monkeypatch.setattr(Recorder, "broken", "")
    hwnas.resume(tmp_path / "small", draw=False)
    assert len(Recorder.trials()) == 4


def test_damaged_notes_begin_anew(tmp_path: Path) -> None:
    result = run(tmp_path / "small")
    (result.path / FILE).write_text('{"logged": 3}')
    hwnas.resume(result.path, draw=False)
    assert [t.number for t in Recorder.trials()] == [0, 1, 2, 3] * 2
    assert set(json.loads((result.path / FILE).read_text())) == {"identity", "logged"}


def test_losses_of_trainings_are_logged(tmp_path: Path) -> None:
    result = run(tmp_path / "small")
    (search,) = result.searches
    arch = str(result.space.decode(search.trials.codes)[0])
    for curve in ([[10, 5.0, 1e4], [20, 4.0, None]], [[30, 3.0, 1e4]]):
        append(search.path / "measurements.jsonl", {"arch": arch, "curve": curve})
        hwnas.resume(result.path, draw=False)
    losses = [loss for _, update in Recorder.updates for loss in update.losses]
    assert [(loss.step, loss.loss) for loss in losses] == [(10, 5.0), (20, 4.0), (30, 3.0)]
    assert losses[0].choices == Recorder.trials()[0].choices


@pytest.mark.parametrize(
    ("loggers", "message"),
    [
        (["recordr"], r"loggers\[0\]: unknown logger 'recordr'; did you mean 'recorder'"),
        ([{"type": "recorder", "levle": 1}], r"loggers\[0\]: .*'levle'; did you mean 'level'"),
        ([{"type": "recorder", "level": "x"}], "expected an integer, found 'x'"),
        ("recorder", "loggers: expected a list of loggers"),
        ([3], r"loggers\[0\]: expected the name of a logger"),
    ],
)
def test_faults_are_found_before_a_run(loggers: Any, message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        load_experiment({**EXPERIMENT, "loggers": loggers})


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_missing_library_is_one_line(name: str) -> None:
    if importlib.util.find_spec(name):
        pytest.skip(f"{name} is installed")
    line = rf'loggers\[0\]: logger \'{name}\' needs {name}: pip install "hwnas\[{name}\]"'
    with pytest.raises(ExperimentError, match=line):
        load_experiment({**EXPERIMENT, "loggers": [name]})
