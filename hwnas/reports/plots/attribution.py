"""What each layer's choices cost and bring, by objective, learned from the trials of a run."""

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
from hwnas.additive.model import AdditiveModel, Design, model_of
from hwnas.errors import InvalidInput
from hwnas.objectives import Objective, losses_of
from hwnas.optimizers import History
from hwnas.reports.plots import style
from hwnas.reports.plots.subset import evenly
from hwnas.runner.results import Result
from hwnas.spaces import Codes
from hwnas.typing import Array

CHOICES = ("mlp_ratio", "n_head")  # of a layer, as its columns have them

_FEWEST = 8  # networks to learn from
_MOST = 400  # and so many are enough: the fit's time grows with their cube
_DRAWS = 200  # of the model's weights, for intervals
_INTERVAL = (0.05, 0.95)
_ENOUGH = 0.95  # of an objective's variance, for what adds up over layers to tell much of it

HEADER = ["objective", "unit", "embed_dim", "choice", "layer", "effect", "low", "high"]


@dataclass(frozen=True, eq=False)
class Attribution:
    """What changes with a layer's choice, in the deepest network.

    An effect is the change of an objective from the choice's least to its greatest value, the
    layer's other choice averaged. What has only one value is no choice and is left out.

    Attributes
    ----------
    objectives : tuple of m Objective
        What is measured, without what is wanted of it.
    units : tuple of m str
        Of the effects: the objective's own, or ``"%"`` where effects multiply.
    widths : tuple of W int
        Every ``embed_dim``.
    choices : tuple of (str, int, int)
        Names of the c choices, their least and greatest values.
    effect, low, high : (m, W, c, L)
        Posterior means and the ends of 90 % intervals.
    explained : (m,)
        Share of the variance of what was measured that adds up over layers.
    depth, bias
        Of the network: the greatest ``n_layer``, and what most trials have.
    networks
        How many were learned from.
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
    networks: int


@lru_cache(maxsize=1)  # a plot and its table need one fit
def attribution(result: Result) -> Attribution:
    """Learn from the networks of all optimizers and seeds what layers' choices change.

    Of more than 400 networks, those that no other dominates are taken and others evenly among the
    rest. The same run gives the same figures.

    Parameters
    ----------
    result
        The run.

    Raises
    ------
    InvalidInput
        Fewer than 8 networks were measured, or the layers of the space have nothing to choose.

    Notes
    -----
    The model is `hwnas.additive.model.AdditiveModel`, which takes what a layer adds to be much the
    same in networks of every depth. Where it is not, effects are those of the depths that were
    measured most, and the intervals, which know of no such error, are too narrow: after 150 exact
    evaluations of ``additive`` on gpt-s (perplexity, latency@rtx3080) they hold three quarters of
    the surrogate's own effects in 12 layers.
    """
    space = result.space
    choices = [(name, c, getattr(space, name)) for c, name in enumerate(CHOICES)]
    choices = [(name, c, values) for name, c, values in choices if len(values) > 1]
    if not choices:
        raise InvalidInput(f"attribution: the layers of {space.name} have nothing to choose")
    codes, values, std = learned_from(result, "attribution")
    bias = int(np.bincount(_ok(result, "codes")[:, space.columns.index("bias")]).argmax())
    effects = Effects(space)
    design = Design(effects, codes)
    models = [
        model_of(effects, design, values[:, j], std[:, j]) for j in range(len(result.objectives))
    ]
    columns = [c for _, c, _ in choices]
    effect, low, high = np.stack([_effects(model, bias, columns) for model in models], axis=1)
    objectives = tuple(objective.value for objective in result.objectives)
    return Attribution(
        objectives,
        tuple(_unit(o, model) for o, model in zip(objectives, models, strict=True)),
        space.embed_dim,
        tuple((name, values[0], values[-1]) for name, _, values in choices),
        effect,
        low,
        high,
        np.array([model.explained for model in models]),
        space.n_layer[-1],
        space.bias[bias],
        len(codes),
    )


def learned_from(result: Result, what: str) -> tuple[Codes, Array, Array]:
    """Networks of a run that a model can be fitted to, in little time.

    Parameters
    ----------
    result
        The run.
    what
        What the model is for, for an error.

    Returns
    -------
    codes, values, std : (k, d), (k, m), (k, m)
        k is at most 400.

    Raises
    ------
    InvalidInput
        Fewer than 8 networks were measured.
    """
    codes, values, std = _measured(result)
    if len(codes) < _FEWEST:
        raise InvalidInput(
            f"{what}: expected at least {_FEWEST} networks that were measured, found {len(codes)}"
        )
    some = _telling(losses_of(result.objectives, values))
    return codes[some], values[some], std[some]


def rows(found: Attribution) -> tuple[list[str], list[list[Any]]]:
    """The columns of ``attribution.csv``, and a row for every layer; 1 is the first layer.

    Returns
    -------
    header, rows
    """
    table: list[list[Any]] = []
    for at in np.ndindex(*found.effect.shape):
        j, width, choice, layer = at
        numbers = [float(array[at]) for array in (found.effect, found.low, found.high)]
        names = [str(found.objectives[j]), found.units[j], found.widths[width]]
        table.append([*names, found.choices[choice][0], layer + 1, *numbers])
    return HEADER, table


def effects(axes: Axes, found: Attribution, objective: int = 0, choice: int = 0) -> None:
    """What a choice of each layer changes of an objective, with its 90 % interval as a band.

    Parameters
    ----------
    axes
        Where to draw.
    found
        What was learned from a run.
    objective, choice
        Which of its objectives and choices.
    """
    at = np.arange(1, found.depth + 1)
    axes.axhline(0, color=style.GREY, linewidth=0.8)
    for index, width in enumerate(found.widths):
        where, look = (objective, index, choice), style.look(index)
        low, high = found.low[where], found.high[where]
        axes.fill_between(at, low, high, color=look["color"], alpha=0.18, linewidth=0)
        label = f"embed_dim {width}"
        axes.plot(at, found.effect[where], **look, linewidth=1.4, markersize=3.5, label=label)
    value, unit = found.objectives[objective], found.units[objective]
    name, least, greatest = found.choices[choice]
    share = found.explained[objective]
    title = (
        f"{textwrap.fill(str(value), 60)}\n"
        f"{name} {least} to {greatest}: {100 * share:.4g} % of the variance adds up over layers"
    )
    if share < _ENOUGH:
        title += f"\nless than {100 * _ENOUGH:.0f} %: the picture tells little"
    style.tidy(axes, title=title, x="layer", y=f"change ({unit})" if unit else "change")
    axes.set_xlim(0.5, found.depth + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _ok(result: Result, name: str) -> NDArray[Any]:
    """A column of all trials that have their values, see `Result.fully`."""
    kept = [(cell, result.has_full_fidelity(cell)) for cell in result.searches]
    # Of a cell without trials not even the widths are known.
    parts = [getattr(cell.trials, name)[rows] for cell, rows in kept if rows.any()]
    return np.concatenate(parts) if parts else np.empty((0, len(result.space.columns)), np.int8)


def _measured(result: Result) -> tuple[Codes, Array, Array]:
    """Distinct networks (k, d), the means of their values (k, m) and standard errors (k, m).

    Of a network that was measured at several fidelities, the highest counts. The same draw, which
    searches with one seed have in common, counts once.
    """
    m = len(result.objectives)
    codes = _ok(result, "codes")
    told = History(len(result.space.columns), m, 0)
    if len(codes):
        fidelity = _ok(result, "fidelity")
        values, std = _ok(result, "values")[:, :m], _ok(result, "std")[:, :m]
        which = np.unique(codes, axis=0, return_inverse=True)[1].ravel()
        highest = np.full(len(codes), fidelity.min())
        np.maximum.at(highest, which, fidelity)
        keep = np.flatnonzero(fidelity == highest[which])
        draws = np.concatenate([codes, values, std], axis=1)[keep]
        keep = keep[np.sort(np.unique(draws, axis=0, return_index=True)[1])]
        told.add(codes[keep], values[keep], std[keep], np.empty((len(keep), 0)))
    return told.averaged()[:3]


def _telling(losses: Array) -> NDArray[np.intp]:
    """Which networks to learn from, of losses (n, m): the front, then evenly through the rest."""
    front = pareto.non_dominated(losses, keep_equal=True)
    best = evenly(np.flatnonzero(front), _MOST)
    rest = evenly(np.flatnonzero(~front), _MOST - len(best))
    return np.sort(np.concatenate([best, rest]))


def _effects(model: AdditiveModel, bias: int, choices: list[int]) -> Array:
    """Mean, low and high of every width, choice and layer, (3, W, c, L)."""
    effects = model.effects
    draws = model.weight_draws(_DRAWS, np.random.default_rng(0))
    _, layers = effects.tables(np.concatenate([model.weights[None], draws]))  # (s, R, L, O)
    deepest = effects.roots[:, 1].max()
    roots = (effects.roots[:, 1] == deepest) & (effects.roots[:, 2] == bias)
    layers = layers[:, roots] * model.scale.spread
    parts = []
    for choice in choices:
        option = effects.options[:, choice]
        greatest, least = (layers[..., option == end] for end in (option.max(), 0))
        parts.append(greatest.mean(axis=-1) - least.mean(axis=-1))
    change = np.stack(parts, axis=2)  # (s, W, c, L)
    if model.scale.logarithmic:
        change = 100 * np.expm1(change)
    return np.concatenate([change[:1], np.quantile(change[1:], _INTERVAL, axis=0)])


def _unit(objective: Objective, model: AdditiveModel) -> str:
    if model.scale.logarithmic:
        return "%"
    return style.unit(objective)
