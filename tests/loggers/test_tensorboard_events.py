"""TensorBoard has the hypervolume and the objectives of searches, and the losses of trainings."""

from __future__ import annotations

from pathlib import Path

import pytest
from loggers.logged_run import logged_run, trajectory

from hwnas.loggers import LoggedLoss, RunInfo, SearchInfo, SearchUpdate

pytest.importorskip("tensorboard")


def test_searches_have_scalars(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = logged_run(tmp_path / "small", "tensorboard")
    events = EventAccumulator(str(tmp_path / "small/tensorboard/random/seed-0"))
    events.Reload()
    points = {
        tag: {event.step: float(event.tensor_proto.float_val[0]) for event in events.Tensors(tag)}
        for tag in events.Tags()["tensors"]
    }
    values = result.searches[0].trials.values[:, 0]
    assert points["trials/perplexity"] == pytest.approx(dict(enumerate(values)), rel=1e-6)
    assert points["hypervolume/hypervolume"] == pytest.approx(dict(trajectory(result)), rel=1e-6)


def test_trainings_have_losses_and_hyperparameters(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from hwnas.loggers.tensorboard_events import TensorBoardLogger

    logger = TensorBoardLogger(RunInfo("small", tmp_path, "0", {}))
    choices = {"n_layer": 2, "bias": True, "activation": "relu"}
    losses = [LoggedLoss("mlp-2", choices, step, 1 / step, 100.0) for step in (1, 2, 3)]
    logger.log(SearchInfo("random", 0), SearchUpdate(losses=losses[:2]))
    logger.log(SearchInfo("random", 0), SearchUpdate(losses=losses[2:]))
    logger.close()
    events = EventAccumulator(str(tmp_path / "tensorboard/random/seed-0/mlp-2"))
    events.Reload()
    assert [event.step for event in events.Tensors("training/loss")] == [1, 2, 3]
    content = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    assert b"activation" in content
