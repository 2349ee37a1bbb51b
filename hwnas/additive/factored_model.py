"""The model of an objective with factors of layers."""

from __future__ import annotations

from hwnas.additive.column_effects import ColumnEffects
from hwnas.additive.layer_factors import FactoredEffects, layer_profile
from hwnas.additive.model import AdditiveModel
from hwnas.typing import Array

_FIRST_STEPS = 20  # of the fit of variances, where none was made before


def add_factors(
    plain: AdditiveModel,
    values: Array,
    std: Array,
    *,
    previous: AdditiveModel | None = None,
    steps: int = _FIRST_STEPS,
) -> AdditiveModel:
    """Return a model with factors of layers, for the profile of a model without them.

    Parameters
    ----------
    plain
        Model without factors; it is returned itself if the space has no effects of layers.
    values, std : (n,)
        Observed values and their standard errors, to which `plain` was fitted.
    previous
        An earlier model with factors; if the scale is the same, its variances are the initial ones.
    steps
        Steps of the fit of variances from these.
    """
    if isinstance(plain.effects, ColumnEffects):
        return plain
    effects = FactoredEffects(plain.effects, layer_profile(plain.effects, plain.weights))
    if previous is not None and not isinstance(previous.effects, FactoredEffects):
        previous = None
    is_first = previous is None or previous.scale.logarithmic != plain.scale.logarithmic
    return AdditiveModel(
        effects,
        plain.design,
        values,
        std,
        plain.scale,
        initial_variances=None if previous is None or is_first else previous.variances,
        steps=max(steps, _FIRST_STEPS) if is_first else steps,
    )
