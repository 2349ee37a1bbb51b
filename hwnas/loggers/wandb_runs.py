"""Runs of Weights & Biases: one for each search.

A run has the hypervolume over ``evaluations``, the objectives and the choices of each architecture
over ``trial``, the experiment as its configuration, and the front as an artifact.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import wandb

from hwnas.loggers import Logger, RunInfo, SearchInfo, SearchUpdate


class WandbLogger(Logger):
    """Weights & Biases: one run for each search, offline unless you say otherwise.

    Files are kept in ``wandb/`` beside the directory of the run, and uploaded by ``wandb sync``.
    Only your own environment makes it upload at once: ``WANDB_MODE=online``.

    Parameters
    ----------
    run
        Run to log.
    project, entity
        Project, and its owner.
    tags
        Tags of the runs.
    """

    def __init__(
        self,
        run: RunInfo,
        *,
        project: str = "hwnas",
        entity: str | None = None,
        tags: tuple[str, ...] = (),
    ) -> None:
        super().__init__(run)
        self.project, self.entity, self.tags = project, entity, tags
        self.mode: Any = os.environ.get("WANDB_MODE", "offline")
        self.runs: dict[str, Any] = {}

    def log(self, search: SearchInfo, update: SearchUpdate) -> None:
        """Log a row for each trial, and one for each step of the hypervolume."""
        run = self._run_of(search)
        for trial in update.trials:
            choices = {f"arch/{name}": value for name, value in trial.choices.items()}
            row = {"trial": trial.number, "seconds": trial.seconds, "status": trial.status}
            run.log({**row, "architecture": trial.arch, **choices, **trial.values})
        for step in update.steps:
            run.log({"evaluations": step.evaluations, **step.values})

    def finish(self, search: SearchInfo, status: str, files: Sequence[Path]) -> None:
        """Add the files of results as an artifact, and end the run."""
        run = self._run_of(search)
        run.summary["status"] = status
        artifact = wandb.Artifact(_name(f"{self.run.name}-{search.key}"), type="front")
        for file in files:
            artifact.add_file(str(file))
        run.log_artifact(artifact)
        self.runs.pop(search.key).finish()

    def close(self) -> None:
        """End the runs of searches that have not ended."""
        while self.runs:
            self.runs.popitem()[1].finish()

    def _run_of(self, search: SearchInfo) -> Any:
        """Return the run of a search; one that is resumed keeps its identity."""
        if search.key not in self.runs:
            run = wandb.init(
                project=self.project,
                entity=self.entity,
                dir=self.run.folder.parent,  # its links lead out of any run
                id=_name(f"{self.run.identity[:12]}-{search.key}"),
                name=f"{self.run.name} {search.key}",
                group=self.run.name,
                tags=list(self.tags),
                config={**self.run.experiment, "optimizer": dict(search.settings)},
                mode=self.mode,
                resume=None if self.mode == "offline" else "allow",
                reinit="create_new",
                settings=wandb.Settings(console="off", silent=True),
            )
            run.define_metric("*", step_metric="trial")
            for name in ("hypervolume", "normalised", "observed", "true", "measured"):
                run.define_metric(name, step_metric="evaluations")
            self.runs[search.key] = run
        return self.runs[search.key]


def _name(text: str) -> str:
    """Return a name that Weights & Biases allows.

    >>> _name("devices-random/seed-0")
    'devices-random-seed-0'
    """
    return re.sub(r"[^\w.-]", "-", text)[-120:]
