"""Checks of a backend's values: they depend on the architecture, the metric and the seed alone.

The name of each function, with hyphens, is that of its check; its docstring is the requirement.
"""

from __future__ import annotations

from typing import get_args

import numpy as np

from hwnas.backends import Backend, Evaluation, Status
from hwnas.objectives import Objective
from hwnas.testing.backend_harness import (
    BackendUnderTest,
    answer_values,
    equal_entries,
    equal_values,
    require_equal,
)
from hwnas.testing.checks import (
    NONEXISTENT,
    NotJudged,
    changed_global_rngs,
    global_rng_states,
    require,
    seed_global_rngs,
)


def values(subject: BackendUnderTest) -> str:
    """It answers (n, m) finite values with status, errors and seconds that fit, of any n."""
    # One architecture and several: a squeezed axis shows with one.
    for n in (1, len(subject.codes)):
        answer = subject.noiseless.evaluate(
            subject.codes[:n].copy(), subject.objectives, seeds=subject.seeds[:n].copy()
        )
        _require_valid_answer(answer, n, subject.objectives)
    return f"{len(subject.codes)} architectures, {len(subject.objectives)} metrics"


def _require_valid_answer(answer: Evaluation, n: int, objectives: list[Objective]) -> None:
    """Require arrays of the right shapes, and finite values where the status is ok."""
    array = answer_values(answer, n, len(objectives))
    status = ["ok"] * n if answer.status is None else list(answer.status)
    require(len(status) == n and set(status) <= set(get_args(Status)), f"status {status}")
    ok = np.array(status) == "ok"
    reason = str(answer.reasons[0]) if answer.reasons else "no reason given"
    require(ok.any(), f"all of {n} architectures are {status[0]}: {reason}")
    finite = np.isfinite(array[ok]).all(axis=0)
    keys = [o.key for o, is_finite in zip(objectives, finite, strict=True) if not is_finite]
    require(not keys, f"{', '.join(keys[:3])} of architectures that are ok is not finite")
    # Optional parts.
    if answer.std is not None:
        std = np.asarray(answer.std)
        require(std.shape == array.shape, f"std of shape {std.shape}, expected {array.shape}")
        require((std[ok] >= 0).all(), "std below 0 or NaN")
    if answer.seconds is not None:
        seconds = np.asarray(answer.seconds)
        require(seconds.shape == (n,) and (seconds >= 0).all(), f"seconds {seconds!r:.60}")
    if answer.reasons is not None:
        require(len(answer.reasons) == n, f"{len(answer.reasons)} reasons, expected {n}")


def deterministic(subject: BackendUnderTest) -> str:
    """The same architectures and seeds have the same values, in one instance or two."""
    # Twice by the shared instance, whose state must not matter.
    first = subject.values(subject.create())
    same, fresh = "evaluated again by the same instance", "evaluated again by a new instance"
    require_equal(first, subject.values(subject.noiseless), fresh)
    require_equal(first, subject.values(subject.create()), fresh)
    require_equal(first, subject.values(subject.noiseless), same)
    return "the same values"


def global_random(subject: BackendUnderTest) -> str:
    """It neither reads nor changes the global generators of random, numpy and torch."""
    answers = []
    for rng_seed in (1, 2):
        seed_global_rngs(rng_seed)
        states = global_rng_states()
        answers.append(subject.values(subject.create(), rng_seed=None))
        changed = changed_global_rngs(states)
        require(not changed, f"the global state of {', '.join(changed)} was changed")
    subject.require_repeatable()
    require_equal(answers[0], answers[1], "with the global generators in another state")
    return "neither read nor changed"


def batches(subject: BackendUnderTest) -> str:
    """The values of an architecture do not depend on others in the batch, or on their order."""
    subject.require_repeatable()
    reference, instance = subject.reference_values, subject.noiseless
    reverse = np.arange(len(subject.codes))[::-1]
    require_equal(reference[reverse], subject.values(instance, reverse), "in another order")
    # Each end of the batch alone.
    for i in (0, len(subject.codes) - 1):
        row = np.array([i])
        require_equal(reference[row], subject.values(instance, row), "evaluated alone")
    return "the same values"


def columns(subject: BackendUnderTest) -> str:
    """The values of a metric do not depend on other objectives, and follow the order asked for."""
    subject.require_repeatable()
    reference, instance, objectives = (
        subject.reference_values,
        subject.noiseless,
        subject.objectives,
    )
    reverse = subject.values(instance, objectives=objectives[::-1])
    require_equal(reference[:, ::-1], reverse, "with the objectives in another order")
    for j in sorted({0, len(objectives) - 1}):
        column = subject.values(instance, objectives=[objectives[j]])
        require_equal(reference[:, [j]], column, f"with {objectives[j].key} as the only objective")
    return "the same values"


def noise(subject: BackendUnderTest) -> str:
    """With noise the seeds alone determine the draws; without noise they have no effect."""
    if not subject.takes_noise:
        raise NotJudged("it does not take noise")
    subject.require_repeatable()
    other_seeds = subject.seeds + np.uint64(1)
    noiseless = subject.values(subject.noiseless, seeds=other_seeds)
    require_equal(subject.reference_values, noiseless, "with other seeds and no noise")
    # Equal seeds, equal draws ...
    draws = subject.values(subject.create(noise=True))
    repeated_draws = subject.values(subject.create(noise=True))
    require_equal(draws, repeated_draws, "drawn again with the same seeds")
    # ... also alone; a backend that depends on the batch even without noise fails `batches`.
    row = np.array([len(subject.codes) - 1])
    if equal_values(subject.reference_values[row], subject.values(subject.noiseless, row)):
        single_draw = subject.values(subject.create(noise=True), row)
        require_equal(draws[row], single_draw, "drawn for one architecture alone")
    # Other seeds, other draws.
    other_draws = subject.values(subject.create(noise=True), seeds=other_seeds)
    changed = np.asarray(~equal_entries(draws, other_draws).all(axis=0))
    require(changed.any(), "other seeds drew the same values of every metric")
    return f"{int(changed.sum())} of {len(changed)} metrics are drawn"


def fidelities(subject: BackendUnderTest) -> str:
    """It answers at every fidelity, and only metrics declared to do so depend on it."""
    instance = subject.create(noise=True) if subject.takes_noise else subject.noiseless
    if instance.fidelities is None:
        raise NotJudged("it has no fidelities")
    subject.require_repeatable()
    keys = [objective.key for objective in subject.objectives]
    fixed = np.array([not instance.metrics[key].fidelity_dependent for key in keys])
    # With noise, as its standard deviation may depend on the fidelity; the seeds are equal.
    first = subject.values(instance, fidelity=instance.fidelities[0])
    previous = 0
    for level in instance.fidelities:
        array = subject.values(instance, fidelity=level)
        # A value may be missing only where the plain evaluation has none.
        missing = np.isfinite(subject.reference_values) & ~np.isfinite(array)
        require(not missing.any(), f"values at fidelity {level} that are not finite")
        changed = ~equal_entries(first, array).all(axis=0) & fixed
        require(not changed.any(), f"{keys[int(changed.argmax())]} differs at fidelity {level}")
        _require_valid_cost(instance, level, previous)
        previous = level
    return ", ".join(map(str, instance.fidelities))


def _require_valid_cost(instance: Backend, level: int, previous: int) -> None:
    cost = instance.evaluations(level, previous)
    valid = isinstance(cost, int) and cost >= 0
    require(valid, f"evaluations({level}, {previous}) is {cost!r}")


def unknown_metric(subject: BackendUnderTest) -> str:
    """It raises for a metric that it does not have, or reports that the evaluation failed."""
    try:
        answer = subject.noiseless.evaluate(
            subject.codes[:1].copy(), [Objective(NONEXISTENT)], seeds=subject.seeds[:1].copy()
        )
    except Exception as error:
        return f"{type(error).__name__}"
    failed = answer.status is not None and list(answer.status) != ["ok"]
    array = np.asarray(answer.values, dtype=np.float64)
    has_value = np.isfinite(array).any()
    require(failed or not has_value, f"{NONEXISTENT} is {array.ravel()[:1].tolist()}")
    return "failed"


def inputs(subject: BackendUnderTest) -> str:
    """It does not change the codes, seeds and objectives that it gets."""
    codes, seeds, objectives = subject.codes.copy(), subject.seeds.copy(), subject.objectives
    subject.noiseless.evaluate(codes, objectives, seeds=seeds)
    require(np.array_equal(codes, subject.codes), "evaluate changed the codes")
    require(np.array_equal(seeds, subject.seeds), "evaluate changed the seeds")
    require(objectives == subject.objectives, "evaluate changed the list of objectives")
    return "unchanged"
