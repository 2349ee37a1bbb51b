"""MLflow has each search as a run, and each trial below it."""

from __future__ import annotations

from pathlib import Path

import pytest
from loggers.logged_run import logged_run, trajectory

mlflow = pytest.importorskip("mlflow")
pytest.importorskip("sqlalchemy")


def test_searches_and_trials_are_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    result = logged_run(tmp_path / "small", {"type": "mlflow", "experiment": "mine", "trials": 5})
    (search,) = result.searches
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    (whole,) = (run for run in runs if "hwnas.search" in run.data.tags)
    assert whole.info.status == "FINISHED"
    assert whole.data.params["optimizer.type"] == "random"
    history = client.get_metric_history(whole.info.run_id, "hypervolume")
    points = {metric.step: metric.value for metric in history}
    assert points == pytest.approx(dict(trajectory(result)))
    assert {f.path for f in client.list_artifacts(whole.info.run_id)} >= {"front.csv"}
    trials = {int(run.data.tags["hwnas.trial"]): run for run in runs if run is not whole}
    assert sorted(trials) == [0, 1, 2, 3, 4]  # no more than the limit
    for number, run in trials.items():
        assert run.data.tags["mlflow.parentRunId"] == whole.info.run_id
        assert run.data.metrics["perplexity"] == search.trials.values[number, 0]
        assert run.data.metrics["latency/h100"] == search.trials.values[number, 1]
        arch = result.space.decode(search.trials.codes)[number]
        assert run.data.params["n_layer"] == str(arch.n_layer)
