"""Attribution of each objective to the choices of each layer, learned from the trials of a run."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from hwnas.additive.choice import AnyEffects, create_effects
from hwnas.additive.model import AdditiveModel, Design, fit_model
from hwnas.errors import InvalidInput
from hwnas.objectives import Objective
from hwnas.reports.plots import style
from hwnas.reports.plots.subset import select_evenly
from hwnas.reports.plots.training_data import complete_trials, training_data
from hwnas.runner.results import Result
from hwnas.spaces import SearchSpace
from hwnas.spaces.choices import Value
from hwnas.typing import Array, Codes

_N_DRAWS = 200  # of the model's weights, for intervals
_INTERVAL = (0.05, 0.95)
_MIN_EXPLAINED = 0.95  # share of variance below which the plot warns
_MAX_WIDTHS = 6  # lines in a panel
_MAX_OTHERS = 64  # combinations of a layer's other choices that are averaged over


@dataclass(frozen=True, eq=False)
class Attribution:
    """Effects of the choices of each layer on each objective, with the greatest number of layers.

    The effect of a number is the change of an objective when it goes from its least to its greatest
    value, the effect of a text the change from the first one to it; averages over the values of the
    layer's other choices. Choices with one value are left out.

    Attributes
    ----------
    objectives : tuple of m Objective
        Metrics, without direction and bound.
    units : tuple of m str
        Units of the effects: that of the metric, or ``"%"`` where effects are factors.
    width_name
        Name of the choice on which effects depend most, such as ``embed_dim``; may be empty.
    widths : tuple of W values
        Values of that choice; one that stands for all where there is no such choice.
    choices : tuple of (str, value, value)
        Names of the c choices, and the values that they go from and to.
    effect, low, high : (m, W, c, L)
        Posterior means and the ends of 90 % intervals; NaN where a choice does not exist.
    explained : (m,)
        Share of the variance of the measurements that is a sum over layers.
    depth
        The greatest number of layers.
    fixed
        All other choices outside the layers: the value of most trials by name.
    n_architectures
        Number of architectures that the model was fitted to.
    """

    objectives: tuple[Objective, ...]
    units: tuple[str, ...]
    width_name: str
    widths: tuple[Value, ...]
    choices: tuple[tuple[str, Value, Value], ...]
    effect: Array
    low: Array
    high: Array
    explained: Array
    depth: int
    fixed: Mapping[str, Value]
    n_architectures: int


@dataclass(frozen=True)
class _Contrast:
    """Change of one choice of the layers, from one of its values to another one.

    Attributes
    ----------
    offset
        Position among the columns of a layer.
    start, end
        Indices of the values.
    """

    offset: int
    start: int
    end: int


@lru_cache(maxsize=1)  # a plot and its table share one fit
def fit_attribution(result: Result) -> Attribution:
    """Fit an additive model to the architectures of all searches, and return its effects.

    Of more than 400 architectures, the non-dominated ones are used, and others evenly in the order
    of their trials. The same run gives the same numbers.

    Parameters
    ----------
    result
        The run.

    Raises
    ------
    InvalidInput
        Fewer than 8 architectures were measured, the space has no layers, or these no choices.

    Notes
    -----
    The model is `hwnas.additive.model.AdditiveModel`, which assumes that a layer has much the same
    effect in architectures of every depth. Where this is wrong, effects are those of the depths
    that were measured most, and intervals are too narrow, because they do not include this error:
    after 150 exact evaluations of ``additive`` on gpt-s (perplexity, latency@rtx3080) they contain
    three quarters of the surrogate's own effects in 12 layers.
    """
    space = result.space
    contrasts = _contrasts(space)
    codes, values, std = training_data(result, "attribution")
    # Objectives are modeled separately.
    effects = create_effects(space)
    design = Design(effects, codes)
    models = [
        fit_model(effects, design, values[:, j], std[:, j]) for j in range(len(result.objectives))
    ]
    # The architecture whose layers change: the deepest one, with the choices of most trials.
    base = _typical_code(space, complete_trials(result, "codes"))
    width = space.columns.index(effects.width_name or str(space.depth))
    has_width = width != space.depth_column and space.cardinalities[width] > 1
    widths = np.arange(space.cardinalities[width]) if has_width else base[[width]].astype(np.intp)
    widths = select_evenly(widths, _MAX_WIDTHS)
    effect, low, high = np.stack(
        [_posterior_effects(models, base, width, index, contrasts) for index in widths], axis=2
    )
    objectives = tuple(objective.value for objective in result.objectives)
    globals_ = list(space.choices.items())
    layers = list(space.layers.items())
    active = space.active(base[None])[0]
    varying = {space.depth_column, width if has_width else None}
    return Attribution(
        objectives,
        tuple(
            "%" if model.scale.logarithmic else style.unit(objective, result.units)
            for objective, model in zip(objectives, models, strict=True)
        ),
        effects.width_name if has_width else "",
        tuple(globals_[width][1][index] for index in widths),
        tuple(
            (layers[c.offset][0], layers[c.offset][1][c.start], layers[c.offset][1][c.end])
            for c in contrasts
        ),
        effect,
        low,
        high,
        np.array([model.explained_variance for model in models]),
        int(space.depths[-1]),
        {
            name: choices[base[j]]
            for j, (name, choices) in enumerate(globals_)
            if j not in varying and active[j]
        },
        len(codes),
    )


def attribution_table(attribution: Attribution) -> tuple[list[str], list[list[Any]]]:
    """Return header and rows of ``attribution.csv``, a row for every effect; layers start at 1."""
    width_name = attribution.width_name
    header = ["objective", "unit", *([width_name] if width_name else []), "choice", "layer"]
    rows: list[list[Any]] = []
    for index in np.ndindex(*attribution.effect.shape):
        j, width, choice, layer = index
        estimate = (attribution.effect, attribution.low, attribution.high)
        rows.append(
            [
                str(attribution.objectives[j]),
                attribution.units[j],
                *([attribution.widths[width]] if width_name else []),
                _choice_name(attribution.choices[choice]),
                layer + 1,
                *(float(array[index]) for array in estimate),
            ]
        )
    return [*header, "effect", "low", "high"], rows


def plot_effects(axes: Axes, attribution: Attribution, objective: int = 0, choice: int = 0) -> None:
    """Plot the effect of a choice of each layer on an objective, with 90 % intervals as bands.

    Parameters
    ----------
    axes
        Axes to draw in.
    attribution
        Effects to plot.
    objective, choice
        Indices of one of its objectives and one of its choices.
    """
    layers = np.arange(1, attribution.depth + 1)
    axes.axhline(0, color=style.GREY, linewidth=0.8)
    for i, width in enumerate(attribution.widths):
        index, look = (objective, i, choice), style.line_style(i)
        low, high = attribution.low[index], attribution.high[index]
        axes.fill_between(layers, low, high, color=look["color"], alpha=0.18, linewidth=0)
        effect, label = attribution.effect[index], None
        if attribution.width_name:
            label = style.legend_text(f"{attribution.width_name} {width}")
        axes.plot(layers, effect, **look, linewidth=1.4, markersize=3.5, label=label)
    unit = style.plain(attribution.units[objective])
    style.format_axes(
        axes,
        title=_effect_title(attribution, objective, choice),
        x="layer",
        y=f"change ({unit})" if unit else "change",
    )
    axes.set_xlim(0.5, attribution.depth + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _effect_title(attribution: Attribution, objective: int, choice: int) -> str:
    """Return the title of a panel, which says how well an additive model fits."""
    name, *ends = attribution.choices[choice]
    start, end = (style.plain(str(value)) for value in ends)
    share = attribution.explained[objective]
    text = f"{name} {start} to {end}: {100 * share:.4g} % of the variance is additive in layers"
    lines = [textwrap.fill(str(attribution.objectives[objective]), 60), textwrap.fill(text, 64)]
    title = "\n".join(lines)
    if share < _MIN_EXPLAINED:
        title += f"\nless than {100 * _MIN_EXPLAINED:.0f} %: the plot says little"
    return title


def _contrasts(space: SearchSpace) -> list[_Contrast]:
    """Return the changes of a layer's choices: of numbers from end to end, of texts from the first.

    Raises
    ------
    InvalidInput
        The space has no layers, or these have no choices.
    """
    contrasts = []
    if not space.groups:
        raise InvalidInput(
            f"attribution: {space.name} has no layers to attribute to; the plots effect and "
            "distribution show its choices"
        )
    for offset, choices in enumerate(space.layers.values()):
        is_text = isinstance(choices[0], str)
        ends = range(1, len(choices)) if is_text else [len(choices) - 1] * (len(choices) > 1)
        contrasts += [_Contrast(offset, 0, end) for end in ends]
    if not contrasts:
        raise InvalidInput(f"attribution: the layers of {space.name} have no choices")
    return contrasts


def _typical_code(space: SearchSpace, codes: Codes) -> Codes:
    """Return the deepest code (d,) with the most frequent choices outside the layers."""
    code = np.zeros(len(space.columns), dtype=np.int8)
    for j in space.global_columns:
        code[j] = np.bincount(codes[:, j]).argmax()
    if space.depth_column is not None:
        code[space.depth_column] = len(space.depths) - 1
    canonical: Codes = space.canonical(code[None])[0]
    return canonical


def _posterior_effects(
    models: list[AdditiveModel], base: Codes, width: int, index: int, contrasts: list[_Contrast]
) -> Array:
    """Return mean and interval of the effect of every choice and layer, (3, m, c, L).

    Parameters
    ----------
    models
        Fitted to the m objectives, with the same effects.
    base : (d,)
        Code whose layers change.
    width, index
        Column whose choice the code has instead, and the choice.
    contrasts
        The c choices.
    """
    effects = models[0].effects
    code = base.copy()
    code[width] = index
    # Changes of the features: terms of a sum are independent of all other layers.
    changes = np.stack([_feature_changes(effects, code, c) for c in contrasts])  # (c, L, P)
    estimates = []
    for model in models:
        draws = model.sample_weights(_N_DRAWS, np.random.default_rng(0))
        weights = np.concatenate([model.weights[None], draws])  # the posterior mean, then draws
        change = np.moveaxis(changes @ weights.T, -1, 0) * model.scale.spread  # (s, c, L)
        if model.scale.logarithmic:
            change = 100 * np.expm1(change)
        interval = np.quantile(change[1:], _INTERVAL, axis=0)
        estimates.append(np.concatenate([change[:1], interval]))
    return np.stack(estimates, axis=1)


def _feature_changes(effects: AnyEffects, code: Codes, contrast: _Contrast) -> Array:
    """Return the mean change of the features with a choice of each layer, (L, P).

    It is a mean over the values of the layer's other choices; NaN where none of them goes with both
    ends of the change.
    """
    space = effects.space
    ranges = [range(n) for n in space.cardinalities[space.layer_columns[0]].tolist()]
    ranges[contrast.offset] = range(1)
    combinations = np.array(list(itertools.islice(itertools.product(*ranges), _MAX_OTHERS)))
    changes = np.full((len(space.layer_columns), effects.size), np.nan)
    for layer, columns in enumerate(space.layer_columns):
        ends = []
        for choice in (contrast.start, contrast.end):
            rows = np.tile(code, (len(combinations), 1))
            rows[:, columns] = combinations
            rows[:, columns[contrast.offset]] = choice
            ends.append(rows)
        is_valid = space.is_valid(ends[0]) & space.is_valid(ends[1])
        if is_valid.any():
            start, end = (effects(rows[is_valid].astype(np.int8)) for rows in ends)
            changes[layer] = (end - start).mean(axis=0)
    return changes


def _choice_name(choice: tuple[str, Value, Value]) -> str:
    """Return the name of a choice; with both values of a change between texts.

    >>> _choice_name(("width", 16, 32)), _choice_name(("kind", "relu", "tanh"))
    ('width', 'kind: relu to tanh')
    """
    name, start, end = choice
    return f"{name}: {start} to {end}" if isinstance(start, str) else name
