"""Checks of what a backend declares: its settings, metrics, fidelities and data.

The name of each function, with hyphens, is that of its check; its docstring is the requirement.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import get_args, get_type_hints

from hwnas.errors import HwnasError
from hwnas.objectives import Metric, Objective
from hwnas.testing.backend_harness import BackendUnderTest
from hwnas.testing.checks import (
    NONEXISTENT,
    CheckFailed,
    require,
    require_unknown_setting_refused,
    require_valid_constructor,
)

_COSTS = get_args(get_type_hints(Metric)["cost"])


def settings(subject: BackendUnderTest) -> str:
    """It has a docstring, named and annotated settings, and refuses unknown ones."""
    require_valid_constructor(subject, ("space",))
    require_unknown_setting_refused(
        lambda: subject.cls(subject.space, **subject.settings, **{NONEXISTENT: 1})
    )
    return "with noise" if subject.takes_noise else "without noise"


def metrics(subject: BackendUnderTest) -> str:
    """It declares at least one metric, by names that objectives can have, and its fidelities."""
    declared = subject.noiseless.metrics
    require(len(declared), "no metrics")
    for key, metric in declared.items():
        require(isinstance(metric, Metric), f"metrics[{key!r}] is a {type(metric).__name__}")
        require(metric.cost in _COSTS, f"{key} costs {metric.cost!r}")
        _require_metric_name(key, subject.noiseless.space.closed_forms)
    # ``None`` means one fidelity only.
    levels = subject.noiseless.fidelities
    if levels is not None:
        _require_valid_fidelities(levels)
    return f"{len(declared)} metrics"


def _require_metric_name(key: str, closed_forms: Collection[str]) -> None:
    require(key not in closed_forms, f"{key}, which hwnas computes itself")
    try:
        objective = Objective.parse(key)
    except HwnasError as error:
        raise CheckFailed(str(error)) from error
    # A metric on one device at most: neither a sign, a quantile nor a bound.
    plain = objective.key == key and len(objective.devices) <= 1 and objective.level is None
    require(plain and objective.bound is None, f"{key!r} is not a metric or a metric@device")


def _require_valid_fidelities(levels: Sequence[int]) -> None:
    positive = all(isinstance(level, int) and level > 0 for level in levels)
    require(positive and list(levels) == sorted(set(levels)), f"fidelities {levels!r}")


def data_hash(subject: BackendUnderTest) -> str:
    """Its data_hash is a SHA-256 as text, always the same; empty where there are no data."""
    digest = subject.noiseless.data_hash()
    valid = isinstance(digest, str) and re.fullmatch(r"([0-9a-f]{64})?", digest)
    require(valid, f"{digest!r:.80}")
    # A hash of a path or of a time would differ here.
    second_digest = subject.create().data_hash()
    require(second_digest == digest, f"{digest[:12]}, and {second_digest[:12]} of a new instance")
    return f"{digest[:12]}..." if digest else "empty"
