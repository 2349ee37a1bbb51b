from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hwnas.errors import InvalidInput
from hwnas.profiling.training.config import TrainingSettings, autocast

IDS = np.arange(1000, dtype=np.uint16)


def test_learning_rate_increases_and_decreases() -> None:
    settings = TrainingSettings(steps=110, learning_rate=2.0, final=0.1, warmup=10 / 110)
    rates = [settings.learning_rate_at(step) for step in range(111)]
    assert rates[:11] == pytest.approx(np.arange(1, 12) * 2 / 11)
    assert rates[60] == pytest.approx(1.1)  # half way down
    assert rates[110] == pytest.approx(0.2)
    assert rates[35] == pytest.approx(0.2 + 1.8 * (1 + 2**-0.5) / 2)
    assert np.diff(rates[10:]).max() < 0


@given(st.integers(1, 50), st.floats(0, 1), st.floats(0, 1))
def test_learning_rate_stays_within_its_bounds(steps: int, warmup: float, final: float) -> None:
    settings = TrainingSettings(steps=steps, warmup=warmup, final=final, learning_rate=1.0)
    rates = [settings.learning_rate_at(step) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates) or final == 0
    assert max(rates) == 1 or warmup * steps > steps - 0.51


def test_batch_consists_of_contiguous_sequences() -> None:
    batch = TrainingSettings(steps=9, batch_size=5).batch(IDS, 7, step=3)
    assert batch.shape == (5, 8)
    assert batch.dtype == np.int64
    assert (np.diff(batch) == 1).all()


def test_batch_depends_only_on_seed_and_step() -> None:
    shorter, longer = (TrainingSettings(steps=steps, seed=1) for steps in (9, 99))
    assert (shorter.batch(IDS, 7, 3) == longer.batch(IDS, 7, 3)).all()
    assert (shorter.batch(IDS, 7, 3) != shorter.batch(IDS, 7, 4)).any()
    assert (shorter.batch(IDS, 7, 3) != TrainingSettings(steps=9).batch(IDS, 7, 3)).any()


def test_every_position_is_sampled() -> None:
    batch = TrainingSettings(steps=1, batch_size=400).batch(IDS[:11], 7, 0)
    assert set(batch[:, 0]) == {0, 1, 2, 3}
    assert batch.max() == 10


@pytest.mark.parametrize(("precision", "enabled"), [("auto", False), ("bfloat16", True)])
def test_precision_on_a_cpu(precision: Any, enabled: bool) -> None:
    with autocast(torch.device("cpu"), precision):
        assert torch.is_autocast_enabled("cpu") == enabled


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps: expected an integer of at least 1, found 0"),
        ({"steps": True}, "steps: expected an integer of at least 1, found True"),
        ({"batch_size": 6, "accumulate": 4}, "accumulate: expected a divisor of batch_size 6"),
        ({"learning_rate": 0}, "learning_rate: expected a number above 0, at most 1e30, found 0"),
        (
            {"learning_rate": float("nan")},
            "learning_rate: expected a number above 0, at most 1e30, found nan",
        ),
        ({"warmup": 2}, "warmup: expected a share from 0 to 1, found 2"),
        ({"final": -0.1}, "final: expected a share from 0 to 1, found -0.1"),
        ({"weight_decay": "0.1"}, "weight_decay: expected a number of at least 0, found '0.1'"),
        ({"betas": (0.9, 1)}, "betas: expected numbers from 0 to below 1, found 1"),
        ({"betas": 0.9}, "betas: expected a pair of numbers, found 0.9"),
        ({"precision": "bf16"}, "precision: expected one of auto, float32, bfloat16, found 'bf16'"),
        ({"compile": 1}, "compile: expected one of auto, off, blocks, whole, found 1"),
        ({"seed": -1}, "seed: expected an integer of at least 0, found -1"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        TrainingSettings(**{"steps": 10, **settings})
