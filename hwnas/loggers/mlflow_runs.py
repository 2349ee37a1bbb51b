"""Runs of MLflow: one for each search, with one below it for each trial.

A search's run has the hypervolume over evaluations and the objectives over trials as metrics, the
experiment as parameters, and ``front.csv`` and ``hypervolume.csv`` as artifacts. A trial's run has
the architecture as parameters and its values as metrics.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hwnas.errors import MissingExtra
from hwnas.loggers import LoggedTrial, Logger, RunInfo, SearchInfo, SearchUpdate

try:
    import mlflow
    import sqlalchemy  # noqa: F401 - of the local store; MLflow's small package comes without it
    from mlflow.entities import Metric, Param, Run
except ImportError as error:
    raise MissingExtra("logger 'mlflow'", error.name or "mlflow", "mlflow") from error

_MAX_METRICS = 1000  # of a request
_MAX_PARAMS = 100  # of a request
_MAX_TEXT = 500  # characters of a parameter
_STATUS = {"ok": "FINISHED", "failed": "FAILED", "infeasible": "KILLED"}


class MLflowLogger(Logger):
    """MLflow: runs of searches and of trials, for ``mlflow ui``.

    The server is that of MLflow's own variable ``MLFLOW_TRACKING_URI``. Without it everything is
    kept in ``mlflow.db`` and ``mlruns/`` beside the directory of the run, so that runs side by side
    can be compared: ``mlflow ui --backend-store-uri sqlite:///runs/mlflow.db``.

    Parameters
    ----------
    run
        Run to log.
    experiment
        Experiment of MLflow; by default it has the name of the run's experiment.
    trials
        Number of first trials of a search that get a run of their own; later ones are metrics
        alone, because a run takes MLflow some hundredths of a second.
    """

    def __init__(self, run: RunInfo, *, experiment: str | None = None, trials: int = 1000) -> None:
        super().__init__(run)
        self.n_trials = trials
        folder = run.folder.parent
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        self.client = mlflow.MlflowClient(uri or f"sqlite:///{folder / 'mlflow.db'}")
        name = experiment or run.name
        existing = self.client.get_experiment_by_name(name)
        artifacts = None if uri else (folder / "mlruns").as_uri()
        self.experiment_id: str = (
            self.client.create_experiment(name, artifact_location=artifacts)
            if existing is None
            else existing.experiment_id
        )
        self.run_ids: dict[str, str] = {}
        self.last_trials: dict[str, int] = {}  # number of the last trial with a run, -1 for none

    def log(self, search: SearchInfo, update: SearchUpdate) -> None:
        """Log metrics of the search, and a run for each of its trials."""
        run_id = self._search_run(search)
        now = time.time_ns() // 1_000_000
        metrics = [
            Metric(_metric_name(name), value, now, trial.number)
            for trial in update.trials
            for name, value in trial.values.items()
        ]
        metrics += [
            Metric(_metric_name(name), value, now, step.evaluations)
            for step in update.steps
            for name, value in step.values.items()
        ]
        for start in range(0, len(metrics), _MAX_METRICS):
            self.client.log_batch(run_id, metrics=metrics[start : start + _MAX_METRICS])
        for trial in update.trials:
            # A process that was killed may have logged more than it has noted.
            if self.last_trials[search.key] < trial.number < self.n_trials:
                self._log_trial(run_id, search, trial)

    def finish(self, search: SearchInfo, status: str, files: Sequence[Path]) -> None:
        """Add the files of results to the run of a search, and end it."""
        run_id = self._search_run(search)
        for file in files:
            self.client.log_artifact(run_id, str(file))
        self.client.set_tag(run_id, "hwnas.status", status)
        self.client.set_terminated(run_id, "FINISHED" if status.startswith("done") else "FAILED")

    def _search_run(self, search: SearchInfo) -> str:
        """Return the run of a search, which is made where there is none."""
        if search.key not in self.run_ids:
            identity = f"{self.run.identity}/{search.key}"
            runs = self._runs(f"tags.`hwnas.search` = '{identity}'")
            run = runs[0] if runs else self._new_search_run(search, identity)
            if run.info.status != "RUNNING":  # it ended, and is resumed
                self.client.update_run(run.info.run_id, status="RUNNING")
            self.run_ids[search.key] = run.info.run_id
            last = self._runs(f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
            self.last_trials[search.key] = int(last[0].data.tags["hwnas.trial"]) if last else -1
        return self.run_ids[search.key]

    def _runs(self, condition: str) -> list[Run]:
        """Return the last run that fits a condition, in a list."""
        runs: list[Run] = self.client.search_runs(
            [self.experiment_id], condition, max_results=1, order_by=["attributes.start_time DESC"]
        )
        return runs

    def _new_search_run(self, search: SearchInfo, identity: str) -> Run:
        run: Run = self.client.create_run(
            self.experiment_id,
            run_name=f"{self.run.name} {search.key}",
            tags={"hwnas.search": identity, "hwnas.folder": str(self.run.folder)},
        )
        entries = {k: v for k, v in self.run.experiment.items() if k not in _NOT_OF_SEARCH}
        entries |= {"optimizer": search.optimizer, "seed": search.seed}
        entries |= {f"optimizer.{name}": value for name, value in search.settings.items()}
        self.client.log_batch(run.info.run_id, params=[*_params(entries)])
        return run

    def _log_trial(self, parent: str, search: SearchInfo, trial: LoggedTrial) -> None:
        """Make the run of a trial, which has ended when it is made."""
        number = str(trial.number)
        tags = {"mlflow.parentRunId": parent, "hwnas.trial": number, "hwnas.arch": trial.arch}
        run_id = self.client.create_run(
            self.experiment_id, run_name=f"{search.key} trial {number}", tags=tags
        ).info.run_id
        now = time.time_ns() // 1_000_000
        metrics = [Metric(_metric_name(k), v, now, 0) for k, v in trial.values.items()]
        params = [*_params(trial.choices)]
        for start in range(0, max(1, len(params)), _MAX_PARAMS):
            self.client.log_batch(
                run_id,
                metrics=metrics if start == 0 else (),
                params=params[start : start + _MAX_PARAMS],
            )
        self.client.set_terminated(run_id, _STATUS[trial.status])
        self.last_trials[search.key] = trial.number


# Keys of an experiment that are not of one search, or that a resumed run may change.
_NOT_OF_SEARCH = ("optimizers", "seeds", "loggers", "plugins", "executor", "budget")


def _metric_name(name: str) -> str:
    """Return a name that MLflow allows.

    >>> _metric_name("latency@h100+rtx3080:p90")
    'latency/h100_rtx3080:p90'
    """
    return re.sub(r"[^\w\-. :/]", "_", name.replace("@", "/"))


def _params(entries: Mapping[str, Any]) -> Iterable[Param]:
    """Yield parameters, each value as text."""
    for name, value in entries.items():
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        yield Param(_metric_name(str(name)), text[:_MAX_TEXT])
