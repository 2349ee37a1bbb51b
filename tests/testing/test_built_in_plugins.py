"""The built-in optimizers and backends pass every check."""

from __future__ import annotations

from typing import Any

import pytest
from by_cost import by_cost
from failed_checks import failed_checks

from hwnas import registry
from hwnas.errors import MissingExtra
from hwnas.spaces import families
from hwnas.testing import Check, optimizer_checks, outcomes
from hwnas.testing.harness import OptimizerUnderTest
from hwnas.testing.quality import QUALITY_CHECKS

NAMES = registry.names("optimizer")

# Generations and initial designs that are small enough to come to several models.
SMALL = {"pop_size": 8, "initial": 4, "candidates": 16, "rounds": 1, "samples": 4}

# Optimizers that fit a model for every proposal; a comparison with random search takes long.
MODEL_BASED = {"additive", "auto", "ehvi", "gp", "lsbo", "parego", "rsbo"}
# ehvi stands for those whose model is a Gaussian process.
SLOW = MODEL_BASED - {"additive", "auto", "ehvi"}


def subject_of(name: str) -> OptimizerUnderTest:
    try:
        cls = registry.lookup("optimizer", name)
    except MissingExtra as missing:
        pytest.skip(str(missing))
    settings = registry.settings_of(cls)
    options: dict[str, Any] = {key: value for key, value in SMALL.items() if key in settings}
    if cls.batch == 1:  # it may fit a model for every architecture
        options["evaluations"] = 8
    return OptimizerUnderTest(name, **options)


def split_checks() -> tuple[list[Check], list[Check]]:
    """Return the checks of the protocol and of the results, and those of the quality."""
    protocol, quality = [], []
    for check in optimizer_checks():
        (quality if check.function in QUALITY_CHECKS else protocol).append(check)
    return protocol, quality


@pytest.mark.parametrize("name", by_cost(NAMES, SLOW))
def test_optimizer_follows_the_protocol(name: str) -> None:
    subject = subject_of(name)
    assert failed_checks(check.outcome(subject) for check in split_checks()[0]) == {}


@pytest.mark.parametrize("name", by_cost(NAMES, MODEL_BASED))
def test_optimizer_searches_well(name: str) -> None:
    subject = subject_of(name)
    assert failed_checks(check.outcome(subject) for check in split_checks()[1]) == {}


def test_no_check_is_left_out() -> None:
    protocol, quality = split_checks()
    assert protocol + quality == optimizer_checks()
    assert len(quality) == len(QUALITY_CHECKS)
    assert set(NAMES) >= MODEL_BASED


# A space of each family with so few members that all are listed and all neighbours followed.
SMALL_SPACES: dict[str, dict[str, Any]] = {
    "gpt": {"embed_dim": [8, 16], "n_layer": [1, 2], "mlp_ratio": [0, 2], "n_head": [0, 1, 2]},
    "llama": {
        "embed_dim": [8, 16],
        "n_layer": [1, 2],
        "mlp_dim": [0, 8],
        "n_head": [2, 4],
        "n_kv_head": [1, 2],
        "head_size": 4,
    },
}


@pytest.mark.parametrize("name", [n for n in registry.names("space") if families.family(n).named])
def test_family_of_spaces(name: str) -> None:
    assert failed_checks(outcomes("space", name)) == {}


@pytest.mark.parametrize("name", SMALL_SPACES)
def test_small_space_of_a_family(name: str) -> None:
    results = list(outcomes("space", name, **SMALL_SPACES[name]))
    assert failed_checks(results) == {}
    assert [outcome.check for outcome in results if outcome.result == "not judged"] == []


def test_backend() -> None:
    assert failed_checks(outcomes("backend", "surrogate")) == {}
