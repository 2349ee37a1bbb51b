"""Events of TensorBoard: searches, and the trainings of their architectures.

``random/seed-0`` has the hypervolume over evaluations and the objectives over trials;
``random/seed-0/ARCH`` has the loss over the steps of a training, and the choices of the
architecture as hyperparameters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo
from tensorboard.summary import Writer
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from hwnas.loggers import LoggedLoss, Logger, RunInfo, SearchInfo, SearchUpdate

_MAX_NAME = 80  # characters of an architecture in the name of a folder


class TensorBoardLogger(Logger):
    """TensorBoard: hypervolume, objectives and the losses of trainings.

    Files are kept in ``tensorboard/`` of the run: ``tensorboard --logdir DIR/tensorboard``. Losses
    are there for architectures that the backend ``profile`` trains, every 10 seconds.
    """

    def __init__(self, run: RunInfo) -> None:
        super().__init__(run)
        self.folder = run.folder / "tensorboard"
        self.writers: dict[Path, Writer] = {}

    def log(self, search: SearchInfo, update: SearchUpdate) -> None:
        """Write the scalars of a search and of its trainings."""
        folder = self.folder / search.optimizer / f"seed-{search.seed}"
        for trial in update.trials:
            for name, value in trial.values.items():
                self._add(folder, f"trials/{name}", value, trial.number)
        for step in update.steps:
            for name, value in step.values.items():
                self._add(folder, f"hypervolume/{name}", value, step.evaluations)
        for loss in update.losses:
            self._add_loss(folder / _folder_name(loss.arch), loss)
        for writer in self.writers.values():
            writer.flush()

    def finish(self, search: SearchInfo, status: str, files: Sequence[Path]) -> None:
        """Leave the files of results where they are: TensorBoard shows none."""

    def close(self) -> None:
        """Close all files."""
        while self.writers:
            self.writers.popitem()[1].close()

    def _add(self, folder: Path, tag: str, value: float, step: int) -> None:
        if folder not in self.writers:
            self.writers[folder] = Writer(str(folder))
        self.writers[folder].add_scalar(tag, value, step=step)

    def _add_loss(self, folder: Path, loss: LoggedLoss) -> None:
        if folder not in self.writers:
            _write_hyperparameters(folder, {"arch": loss.arch, **loss.choices})
        self._add(folder, "training/loss", loss.loss, loss.step)
        if loss.tokens_per_second is not None:
            self._add(folder, "training/tokens_per_second", loss.tokens_per_second, loss.step)


def _write_hyperparameters(folder: Path, values: Mapping[str, Any]) -> None:
    """Write an event by which TensorBoard knows the hyperparameters of a folder."""
    start = SessionStartInfo()
    for name, value in values.items():
        if isinstance(value, bool):
            start.hparams[name].bool_value = value
        elif isinstance(value, int | float):
            start.hparams[name].number_value = value
        else:
            start.hparams[name].string_value = str(value)
    content = HParamsPluginData(session_start_info=start, version=metadata.PLUGIN_DATA_VERSION)
    plugin = SummaryMetadata.PluginData(
        plugin_name=metadata.PLUGIN_NAME, content=content.SerializeToString()
    )
    summary = Summary.Value(
        tag=metadata.SESSION_START_INFO_TAG,
        metadata=SummaryMetadata(plugin_data=plugin),
        tensor=metadata.NULL_TENSOR,
    )
    writer = EventFileWriter(str(folder))
    writer.add_event(Event(summary=Summary(value=[summary])))
    writer.close()


def _folder_name(arch: str) -> str:
    """Return a name of a folder for an architecture.

    >>> _folder_name("gpt-s-1-8-1-2-True")
    'gpt-s-1-8-1-2-True'
    """
    if len(arch) <= _MAX_NAME and "/" not in arch:
        return arch
    return f"{arch[:_MAX_NAME].replace('/', '_')}-{hashlib.sha256(arch.encode()).hexdigest()[:8]}"
