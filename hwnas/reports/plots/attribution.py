"""Attribution of each objective to the choices of each layer, learned from the trials of a run."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from hwnas import pareto
from hwnas.additive.effects import Effects
from hwnas.additive.model import AdditiveModel, Design, fit_model
from hwnas.errors import InvalidInput
from hwnas.history import History
from hwnas.objectives import Objective, losses_of
from hwnas.reports.plots import style
from hwnas.reports.plots.subset import select_evenly
from hwnas.runner.results import Result
from hwnas.spaces import require_gpt
from hwnas.typing import Array, Codes, IndexArray

CHOICES = ("mlp_ratio", "n_head")  # of one layer, in the order of its columns

_MIN_ARCHITECTURES = 8  # to fit a model to
_MAX_ARCHITECTURES = 400  # the time of a fit grows with their cube
_N_DRAWS = 200  # of the model's weights, for intervals
_INTERVAL = (0.05, 0.95)
_MIN_EXPLAINED = 0.95  # share of variance below which the plot warns

HEADER = ["objective", "unit", "embed_dim", "choice", "layer", "effect", "low", "high"]


@dataclass(frozen=True, eq=False)
class Attribution:
    """Effects of the choices of each layer on each objective, in the deepest architecture.

    An effect is the change of an objective when a choice goes from its least to its greatest value,
    averaged over the values of the layer's other choice. Choices with one value are left out.

    Attributes
    ----------
    objectives : tuple of m Objective
        Metrics, without direction and bound.
    units : tuple of m str
        Units of the effects: that of the metric, or ``"%"`` where effects are factors.
    widths : tuple of W int
        All values of ``embed_dim``.
    choices : tuple of (str, int, int)
        Names of the c choices, their least and greatest values.
    effect, low, high : (m, W, c, L)
        Posterior means and the ends of 90 % intervals.
    explained : (m,)
        Share of the variance of the measurements that is a sum over layers.
    depth, bias
        Of the architecture: the greatest ``n_layer``, and the ``bias`` of most trials.
    n_architectures
        Number of architectures that the model was fitted to.
    """

    objectives: tuple[Objective, ...]
    units: tuple[str, ...]
    widths: tuple[int, ...]
    choices: tuple[tuple[str, int, int], ...]
    effect: Array
    low: Array
    high: Array
    explained: Array
    depth: int
    bias: bool
    n_architectures: int


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
        Fewer than 8 architectures were measured, or the layers of the space have no choices.

    Notes
    -----
    The model is `hwnas.additive.model.AdditiveModel`, which assumes that a layer has much the same
    effect in architectures of every depth. Where this is wrong, effects are those of the depths
    that were measured most, and intervals are too narrow, because they do not include this error:
    after 150 exact evaluations of ``additive`` on gpt-s (perplexity, latency@rtx3080) they contain
    three quarters of the surrogate's own effects in 12 layers.
    """
    space = require_gpt(result.space)
    # Positions of the choices among the columns of a layer, without those that have one value.
    choices = [(name, c, getattr(space, name)) for c, name in enumerate(CHOICES)]
    choices = [(name, c, values) for name, c, values in choices if len(values) > 1]
    if not choices:
        raise InvalidInput(f"attribution: the layers of {space.name} have no choices")
    codes, values, std = training_data(result, "attribution")
    bias_column = _complete_trials(result, "codes")[:, space.columns.index("bias")]
    bias = int(np.bincount(bias_column).argmax())
    # Objectives are modeled separately.
    effects = Effects(space)
    design = Design(effects, codes)
    models = [
        fit_model(effects, design, values[:, j], std[:, j]) for j in range(len(result.objectives))
    ]
    columns = [c for _, c, _ in choices]
    effect, low, high = np.stack(
        [_posterior_effects(model, bias, columns) for model in models], axis=1
    )
    objectives = tuple(objective.value for objective in result.objectives)
    return Attribution(
        objectives,
        tuple(_effect_unit(o, model) for o, model in zip(objectives, models, strict=True)),
        space.embed_dim,
        tuple((name, values[0], values[-1]) for name, _, values in choices),
        effect,
        low,
        high,
        np.array([model.explained_variance for model in models]),
        space.n_layer[-1],
        space.bias[bias],
        len(codes),
    )


def training_data(result: Result, purpose: str) -> tuple[Codes, Array, Array]:
    """Return at most 400 architectures of a run with their values, to fit a model to.

    Parameters
    ----------
    result
        The run.
    purpose
        Use of the model, for an error.

    Returns
    -------
    codes, values, std : (k, d), (k, m), (k, m)

    Raises
    ------
    InvalidInput
        Fewer than 8 architectures were measured.
    """
    codes, values, std = _distinct_architectures(result)
    if len(codes) < _MIN_ARCHITECTURES:
        raise InvalidInput(
            f"{purpose}: expected at least {_MIN_ARCHITECTURES} measured architectures, "
            f"found {len(codes)}"
        )
    rows = _training_subset(losses_of(result.objectives, values))
    return codes[rows], values[rows], std[rows]


def attribution_table(attribution: Attribution) -> tuple[list[str], list[list[Any]]]:
    """Return header and rows of ``attribution.csv``, a row for every effect; layers start at 1."""
    rows: list[list[Any]] = []
    for index in np.ndindex(*attribution.effect.shape):
        j, width, choice, layer = index
        estimate = (attribution.effect, attribution.low, attribution.high)
        rows.append(
            [
                str(attribution.objectives[j]),
                attribution.units[j],
                attribution.widths[width],
                attribution.choices[choice][0],
                layer + 1,
                *(float(array[index]) for array in estimate),
            ]
        )
    return HEADER, rows


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
        effect, label = attribution.effect[index], f"embed_dim {width}"
        axes.plot(layers, effect, **look, linewidth=1.4, markersize=3.5, label=label)
    unit = attribution.units[objective]
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
    name, minimum, maximum = attribution.choices[choice]
    share = attribution.explained[objective]
    title = (
        f"{textwrap.fill(str(attribution.objectives[objective]), 60)}\n"
        f"{name} {minimum} to {maximum}: {100 * share:.4g} % of the variance is additive in layers"
    )
    if share < _MIN_EXPLAINED:
        title += f"\nless than {100 * _MIN_EXPLAINED:.0f} %: the plot says little"
    return title


def _complete_trials(result: Result, column: str) -> NDArray[Any]:
    """Return a column of all trials with complete values, see `Result.has_full_fidelity`."""
    masks = [(search, result.has_full_fidelity(search)) for search in result.searches]
    # The arrays of a search without trials do not even have the right number of columns.
    parts = [getattr(search.trials, column)[mask] for search, mask in masks if mask.any()]
    return np.concatenate(parts) if parts else np.empty((0, len(result.space.columns)), np.int8)


def _distinct_architectures(result: Result) -> tuple[Codes, Array, Array]:
    """Return distinct architectures (k, d), means of their values (k, m) and their errors (k, m).

    Of an architecture with several fidelities, the highest counts. Searches with the same seed have
    noise draws in common: each draw counts once.
    """
    m = len(result.objectives)
    codes = _complete_trials(result, "codes")
    history = History(len(result.space.columns), m, 0)
    if len(codes):
        fidelity = _complete_trials(result, "fidelity")
        values = _complete_trials(result, "values")[:, :m]
        std = _complete_trials(result, "std")[:, :m]
        # Keep the trials with the highest fidelity of their architecture.
        group = np.unique(codes, axis=0, return_inverse=True)[1].ravel()
        highest = np.full(len(codes), fidelity.min())
        np.maximum.at(highest, group, fidelity)
        rows = np.flatnonzero(fidelity == highest[group])
        # Drop repetitions of a draw, and keep the order of trials.
        draws = np.concatenate([codes, values, std], axis=1)[rows]
        rows = rows[np.sort(np.unique(draws, axis=0, return_index=True)[1])]
        history.add(codes[rows], values[rows], std[rows], np.empty((len(rows), 0)))
    return history.averaged()[:3]


def _training_subset(losses: Array) -> IndexArray:
    """Return at most 400 indices into losses (n, m): the front, then evenly from the others."""
    mask = pareto.non_dominated(losses, keep_equal=True)
    front = select_evenly(np.flatnonzero(mask), _MAX_ARCHITECTURES)
    dominated = select_evenly(np.flatnonzero(~mask), _MAX_ARCHITECTURES - len(front))
    return np.sort(np.concatenate([front, dominated]))


def _posterior_effects(model: AdditiveModel, bias: int, choices: list[int]) -> Array:
    """Return mean and interval of the effect of every width, choice and layer, (3, W, c, L).

    Parameters
    ----------
    model
        Fitted to one objective.
    bias
        Index of the bias of the architecture.
    choices
        Positions of the choices among the columns of a layer.
    """
    effects = model.effects
    # Tables of layer terms: of the posterior mean first, then of draws. R are the combinations of
    # width, depth and bias, O the combinations of a layer's choices.
    draws = model.sample_weights(_N_DRAWS, np.random.default_rng(0))
    _, layers = effects.tables(np.concatenate([model.weights[None], draws]))  # (s, R, L, O)
    deepest = effects.roots[:, 1].max()
    roots = (effects.roots[:, 1] == deepest) & (effects.roots[:, 2] == bias)
    layers = layers[:, roots] * model.scale.spread
    # The effect of a choice: the greatest value minus the least, means over the other choice.
    parts = []
    for choice in choices:
        option = effects.options[:, choice]
        greatest, smallest = (layers[..., option == end] for end in (option.max(), 0))
        parts.append(greatest.mean(axis=-1) - smallest.mean(axis=-1))
    change = np.stack(parts, axis=2)  # (s, W, c, L)
    if model.scale.logarithmic:
        change = 100 * np.expm1(change)
    return np.concatenate([change[:1], np.quantile(change[1:], _INTERVAL, axis=0)])


def _effect_unit(objective: Objective, model: AdditiveModel) -> str:
    if model.scale.logarithmic:
        return "%"
    return style.unit(objective)
