"""Pareto fronts of problems on the surrogate: objectives and constraints in, fronts out."""

from __future__ import annotations

from hwnas.fronts import Front
from hwnas.objectives import Objective
from hwnas.surrogates.pareto_front import Limit, find_front
from hwnas.surrogates.predictor import MetricPredictor, bound_of_table
from hwnas.surrogates.tables import AdditiveTable


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
        Metrics that exist, each on one device; every constraint with a bound.

    Returns
    -------
    Front, or None
        ``None`` where even an approximation needs too many labels.
    """
    signed: dict[tuple[Objective, bool], AdditiveTable] = {}

    def loss_table(objective: Objective, negative: bool) -> AdditiveTable:
        # A constraint on an objective must share its table object: it then costs no dimension.
        table = predictor.table(objective)
        return signed.setdefault((objective.value, negative), -1 * table if negative else table)

    tables = [loss_table(objective, objective.maximise) for objective in objectives]
    limits = []
    for constraint in constraints:
        assert constraint.bound is not None
        negative = constraint.relation == ">="
        bound = bound_of_table(constraint, -constraint.bound if negative else constraint.bound)
        limits.append(Limit(loss_table(constraint, negative), bound))
    solution = find_front(tables, limits)
    if solution is None:
        return None
    packed, epsilon = solution
    codes = predictor.layout.unpack(packed)
    return Front.of(codes, predictor.predict(codes, objectives), objectives, epsilon)


def best_known_front(
    predictor: MetricPredictor,
    objectives: tuple[Objective, ...],
    constraints: tuple[Objective, ...],
) -> Front | None:
    """Return the best known front of the trees, of perplexity against one hardware metric.

    Returns
    -------
    Front, or None
        ``None`` for every other problem and for spaces that are cut down from a scale.
    """
    assert predictor.trees is not None
    hardware = [str(objective) for objective in objectives if str(objective) != "perplexity"]
    if constraints or len(objectives) != 2 or len(hardware) != 1:
        return None
    codes = predictor.trees.best_known(hardware[0])
    if codes is None:
        return None
    return Front.of(codes, predictor.predict(codes, objectives), objectives, epsilon=None)
