"""Pareto fronts of problems on the surrogate: objectives and constraints in, fronts out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hwnas.backends import Backend, metric_of
from hwnas.errors import InvalidInput
from hwnas.fronts import Front
from hwnas.objectives import Objective, losses_of
from hwnas.surrogates.label_setting import non_dominated_columns
from hwnas.surrogates.pareto_front import Limit, find_front
from hwnas.surrogates.predictor import MetricPredictor, bound_of_table, divisor_of
from hwnas.surrogates.tables import AdditiveTable
from hwnas.typing import Array


def check_front(
    backend: Backend, objectives: Sequence[Objective], constraints: Sequence[Objective]
) -> None:
    """Check the arguments of a front.

    Raises
    ------
    InvalidInput
        No objectives; a metric, a device or a statistic that does not exist; a constraint without a
        bound.
    """
    if not objectives:
        raise InvalidInput("front: expected at least one objective, found none")
    for objective in (*objectives, *constraints):
        metric_of(backend, objective)
    for constraint in constraints:
        if constraint.bound is None:
            raise InvalidInput(
                f"constraint {str(constraint)!r}: expected <= or >= and a number, found no bound"
            )


def additive_front(
    predictor: MetricPredictor,
    objectives: tuple[Objective, ...],
    constraints: tuple[Objective, ...],
) -> Front | None:
    """Return the Pareto front of the additive tables, exact or up to a proved epsilon.

    Parameters
    ----------
    predictor
        A predictor without trees.
    objectives, constraints
        Metrics that exist; every constraint with a bound. Several devices stand for the worst ratio
        to each device's own optimum.

    Returns
    -------
    Front, or None
        ``None`` where even an approximation needs too many labels.

    Notes
    -----
    A worst ratio is no sum over layers, but nowhere decreasing in the metric of each device. So
    for every architecture the front of all devices' metrics has one that is nowhere worse in the
    worst ratios either: these are computed for its members alone.
    """
    signed: dict[tuple[Objective, bool], AdditiveTable] = {}

    def loss_table(objective: Objective, negative: bool) -> AdditiveTable:
        # A constraint on an objective must share its table object: it then costs no dimension.
        table = predictor.table(objective)
        return signed.setdefault((objective.value, negative), -1 * table if negative else table)

    # 1. The front of the metrics of single devices.
    single = tuple(dict.fromkeys(part for o in objectives for part in _single_devices(o)))
    tables = [loss_table(objective, objective.maximise) for objective in single]
    limits = []
    for constraint in constraints:
        for part in _limits(predictor, constraint):
            assert part.bound is not None
            negative = part.relation == ">="
            bound = bound_of_table(part, -part.bound if negative else part.bound)
            limits.append(Limit(loss_table(part, negative), bound))
    solution = find_front(tables, limits)
    if solution is None:
        return None
    packed, epsilon = solution
    codes = predictor.layout.unpack(packed)
    values = predictor.predict(codes, single)
    if single == objectives or len(codes) == 0:
        return Front.of(codes, predictor.predict(codes, objectives), objectives, epsilon)
    # 2. Worst ratios of its members, and those that are not dominated in them.
    columns = np.stack([_column(predictor, o, single, values) for o in objectives], axis=1)
    is_member = non_dominated_columns(losses_of(objectives, columns).T)
    if epsilon:
        epsilon = _worst_epsilon(predictor, objectives, single, values, columns[is_member], epsilon)
    return Front.of(codes[is_member], columns[is_member], objectives, epsilon)


def worst_ratio(predictor: MetricPredictor, objective: Objective, values: Array) -> Array:
    """Return the worst ratio (n,) to each device's optimum of values (n, devices)."""
    # Multiplied by inverses, as in a search, so that both agree to the last bit.
    scale = [1 / minimum(predictor, part) for part in _single_devices(objective)]
    return np.asarray((values * np.array(scale)).max(axis=1))


def minimum(predictor: MetricPredictor, objective: Objective) -> float:
    """Return the minimum of a metric on one device over the whole space."""
    return predictor.table(objective).minimum() / divisor_of(objective)


def _single_devices(objective: Objective) -> list[Objective]:
    """Return an objective for each device of one, or itself."""
    if len(objective.devices) < 2:
        return [objective]
    return [replace(objective, devices=(name,)) for name in objective.devices]


def _limits(predictor: MetricPredictor, constraint: Objective) -> list[Objective]:
    """Return the constraints on single devices that a constraint is the conjunction of."""
    parts = _single_devices(constraint)
    if len(parts) == 1:
        return parts
    assert constraint.bound is not None
    # The greatest value of each device whose ratio, as a search computes it, is in the bound.
    return [
        replace(part, bound=_greatest(constraint.bound, minimum(predictor, part.value)))
        for part in parts
    ]


def _greatest(bound: float, optimum: float) -> float:
    """Return the greatest value of which the ratio to an optimum is at most a bound."""
    scale, value = 1 / optimum, bound * optimum
    while value * scale > bound:
        value = float(np.nextafter(value, -np.inf))
    while (above := float(np.nextafter(value, np.inf))) * scale <= bound:
        value = above
    return value


def _column(
    predictor: MetricPredictor, objective: Objective, single: Sequence[Objective], values: Array
) -> Array:
    """Return the values (n,) of an objective from those (n, k) of single devices."""
    indices = [single.index(part) for part in _single_devices(objective)]
    if len(indices) == 1:
        return values[:, indices[0]]
    return worst_ratio(predictor, objective, values[:, indices])


def _worst_epsilon(
    predictor: MetricPredictor,
    objectives: Sequence[Objective],
    single: Sequence[Objective],
    values: Array,
    member_columns: Array,
    epsilon: float,
) -> float:
    """Return an epsilon of worst ratios from that of the metrics of single devices.

    A member is in each metric worse by at most epsilon times the range of it, so in a worst ratio
    by at most the largest of these over the devices' optima; divided by the range of what is kept.
    """
    ranges = np.ptp(values, axis=0)
    bounds = []
    for j, objective in enumerate(objectives):
        parts = _single_devices(objective)
        shares = [
            ranges[single.index(part)] / (minimum(predictor, part) if len(parts) > 1 else 1)
            for part in parts
        ]
        bounds.append(epsilon * max(shares) / (np.ptp(member_columns[:, j]) or 1))
    return float(max(bounds))


def best_known_front(
    predictor: MetricPredictor,
    objectives: tuple[Objective, ...],
    constraints: tuple[Objective, ...],
) -> Front | None:
    """Return the best known front of the trees, of perplexity against one hardware metric.

    Returns
    -------
    Front, or None
        ``None`` for every other problem, for metrics of tables and for spaces that are cut down
        from a scale.
    """
    assert predictor.trees is not None
    if any(objective.key in predictor.added.figures for objective in objectives):
        return None
    hardware = [str(objective) for objective in objectives if str(objective) != "perplexity"]
    if constraints or len(objectives) != 2 or len(hardware) != 1:
        return None
    codes = predictor.trees.best_known(hardware[0])
    if codes is None:
        return None
    return Front.of(codes, predictor.predict(codes, objectives), objectives, epsilon=None)
