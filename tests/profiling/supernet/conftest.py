"""Fixtures: small spaces of both families, and text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import hwnas
from hwnas.profiling.supernet.config import SupernetSettings
from hwnas.profiling.supernet.shared_weights import SharedWeights
from hwnas.profiling.training.config import TrainingSettings

SIZES = {"name": "tiny", "head_size": 8, "context": 16, "vocab_size": 257}
SPACES: dict[str, dict[str, Any]] = {
    "gpt": {"embed_dim": [16, 32], "n_layer": [1, 2], "mlp_ratio": [1, 2], "n_head": [1, 2]},
    "llama": {
        "family": "llama",
        "embed_dim": [16, 32],
        "n_layer": [1, 2],
        "mlp_dim": [16, 32],
        "n_head": [2, 4],
        "n_kv_head": [1, 2],
    },
}


@pytest.fixture(params=SPACES)
def shared(request: pytest.FixtureRequest) -> SharedWeights:
    return new_shared(request.param)


def new_shared(name: str) -> SharedWeights:
    space: Any = hwnas.space({**SIZES, **SPACES[name]})
    shared = SharedWeights(space)
    shared.reset(seed=0)
    return shared


Settings = Callable[..., SupernetSettings]


@pytest.fixture
def settings() -> Settings:
    """Function that returns settings of a short training."""

    def make(steps: int = 6, sampled: int = 2, **changes: Any) -> SupernetSettings:
        own = {key: changes.pop(key) for key in ("distillation", "order") if key in changes}
        training = TrainingSettings(steps=steps, **{"batch_size": 4, **changes})
        return SupernetSettings(training=training, sampled=sampled, **own)

    return make
