"""Loggers: what a run leaves, handed to programs that people already use.

An experiment switches loggers on with ``loggers: [mlflow, {type: wandb, project: mine}]``. One
follower in the process that started the run reads the stores of its searches
(`hwnas.runner.log_follower`) and hands each logger what is new. So workers, executors, kills and
resumed runs need no care of a logger.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RunInfo:
    """Run that is logged.

    Attributes
    ----------
    name
        Name of the experiment.
    folder
        Directory of the run, absolute.
    identity
        Text that no two runs share; it stays the same when a run is resumed or moved.
    experiment
        Resolved experiment, as keys and values.
    """

    name: str
    folder: Path
    identity: str
    experiment: Mapping[str, Any]


@dataclass(frozen=True)
class SearchInfo:
    """Search of one optimizer with one seed.

    Attributes
    ----------
    optimizer, seed
        Name of the optimizer in the run, and its seed.
    settings
        Type and settings of the optimizer.

    Examples
    --------
    >>> SearchInfo("random", 0).key
    'random/seed-0'
    """

    optimizer: str
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Directory of the search in the run, a text that no two searches of a run share."""
        return f"{self.optimizer}/seed-{self.seed}"


@dataclass(frozen=True)
class LoggedTrial:
    """Trial of a search.

    Attributes
    ----------
    number
        Number of the trial in its search, from 0.
    arch
        Architecture as text.
    choices
        Active choices of the architecture, by the names of the columns.
    values
        Objectives and constraints by name, in raw units; those that are finite.
    status
        ``"ok"``, ``"failed"`` or ``"infeasible"``.
    seconds
        Duration of the evaluation.
    """

    number: int
    arch: str
    choices: Mapping[str, Any]
    values: Mapping[str, float]
    status: str
    seconds: float


@dataclass(frozen=True)
class LoggedStep:
    """Hypervolume after a number of evaluations, with the columns of ``hypervolume.csv``.

    Attributes
    ----------
    evaluations
        Evaluations so far.
    values
        Hypervolume and its relatives by name.
    """

    evaluations: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class LoggedLoss:
    """Loss of a training that has run to a step.

    Attributes
    ----------
    arch
        Architecture as text.
    choices
        Active choices of the architecture, by the names of the columns.
    step
        Completed steps.
    loss
        Loss of the last batch, in nats per token.
    tokens_per_second
        Throughput, ``None`` where no step was timed.
    """

    arch: str
    choices: Mapping[str, Any]
    step: int
    loss: float
    tokens_per_second: float | None


@dataclass(frozen=True)
class SearchUpdate:
    """What is new of a search, in order.

    Attributes
    ----------
    trials, steps, losses
        Trials, steps of the hypervolume, and losses of trainings.
    """

    trials: Sequence[LoggedTrial] = ()
    steps: Sequence[LoggedStep] = ()
    losses: Sequence[LoggedLoss] = ()

    def __bool__(self) -> bool:
        return bool(self.trials or self.steps or self.losses)


class Logger(ABC):
    """Receiver of what a run leaves.

    Settings are keyword arguments of the constructor with annotations. It is called in the main
    thread before the first trial; the other methods in one thread at a time. A logger that raises
    an error is left out for the rest of the run, which goes on; ``hwnas resume`` logs what is
    missing.

    Parameters
    ----------
    run
        Run to log.

    Examples
    --------
    >>> import hwnas, tempfile
    >>> numbers = []
    >>> @hwnas.register_logger("numbers")
    ... class Numbers(hwnas.Logger):
    ...     def log(self, search, update):
    ...         numbers.extend(trial.number for trial in update.trials)
    >>> experiment = {
    ...     "name": "example",
    ...     "space": "gpt-s",
    ...     "objectives": ["perplexity", "latency@h100"],
    ...     "optimizers": ["random"],
    ...     "budget": {"evaluations": 10},
    ...     "seeds": 1,
    ...     "loggers": ["numbers"],
    ... }
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = hwnas.run(experiment, f"{folder}/example", draw=False)
    >>> numbers
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """

    def __init__(self, run: RunInfo) -> None:
        self.run = run

    @abstractmethod
    def log(self, search: SearchInfo, update: SearchUpdate) -> None:
        """Log what is new of a search; all of it is safe when this returns."""

    def finish(  # noqa: B027 - a logger need not do anything
        self, search: SearchInfo, status: str, files: Sequence[Path]
    ) -> None:
        """Log the end of a search.

        Parameters
        ----------
        search
            The search.
        status
            Its status, as in ``summary.csv``: ``"done"``.
        files
            Its files of results: the front and the hypervolume as CSV.
        """

    def close(self) -> None:  # noqa: B027
        """Release files and connections; `log` is not called any more."""
