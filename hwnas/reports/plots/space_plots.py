"""What networks of a space are like: how metrics are spread, and what they go together with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from hwnas.errors import InvalidInput
from hwnas.objectives import Objective
from hwnas.reports.plots import style
from hwnas.reports.plots.sampled_architectures import Population, aspects, grouped, kendall

COMPARED = 1000  # networks whose order is compared pair by pair, at most
_READABLE = 16  # rows of a matrix whose numbers can be read


def distribution(axes: Axes, of: Population, objective: Objective, aspect: str) -> None:
    """The share of networks that have at most so much of a metric, by one of their aspects.

    Parameters
    ----------
    axes
        Where to draw.
    of
        The networks.
    objective
        The metric.
    aspect
        One of `aspects`.
    """
    values = of.column(objective)
    for index, (name, inside) in enumerate(grouped(aspects(of.space, of.codes)[aspect])):
        look = style.look(index)
        axes.ecdf(
            values[inside],
            color=look["color"],
            linestyle=look["linestyle"],
            linewidth=1.5,
            label=name,
        )
    style.tidy(axes, x=style.label(objective), y="share of networks")
    if (values > 0).all() and values.max() > 30 * values.min():
        axes.set_xscale("log")
    _legend_above(axes, aspect)


def effect(axes: Axes, of: Population, objective: Objective, aspect: str) -> None:
    """How a metric changes with an aspect of networks: boxes from quartile to quartile.

    Nearly all of it follows from embed_dim, so what other aspects change is shown beside the mean
    of all networks of the same embed_dim. Whiskers end at 5 % and 95 %, the line is the median.
    Aspects with many values are grouped in thirds.

    Parameters
    ----------
    axes
        Where to draw.
    of
        The networks.
    objective
        The metric.
    aspect
        One of `aspects`.
    """
    values, label = of.column(objective), style.label(objective)
    known = aspects(of.space, of.codes)
    groups = grouped(known[aspect])
    if aspect != "embed_dim" and "embed_dim" in known:
        which = np.unique(known["embed_dim"], return_inverse=True)[1]
        means = np.bincount(which, values) / np.bincount(which)
        values = 100 * (values / means[which] - 1)
        label = f"{objective}, % from the mean\nof its embed_dim"
    drawn = axes.boxplot(
        [values[inside] for _, inside in groups],
        whis=(5, 95),
        showfliers=False,
        patch_artist=True,
        widths=0.55,
        medianprops={"color": "black"},
    )
    for box in drawn["boxes"]:
        box.set(facecolor=style.COLOURS[5], alpha=0.6)
    style.tidy(axes, x=aspect, y=label)
    axes.set_xticks(range(1, len(groups) + 1), [name for name, _ in groups])


def by_aspect(
    draw: Callable[[Axes, Population, Objective, str], None],
    of: Population,
    objectives: Sequence[Objective],
    title: str,
) -> Figure:
    """A row of panels for each metric, a panel for each aspect that tells networks apart.

    Parameters
    ----------
    draw
        `distribution` or `effect`.
    of
        The networks.
    objectives
        The metrics.
    title
        Of the figure.

    Raises
    ------
    InvalidInput
        All networks of the space are alike.
    """
    names = telling(of)
    made = style.figure(len(names), title, rows=len(objectives), width=3.6, height=3.0)
    grid = made.subplots(len(objectives), len(names), squeeze=False)
    for row, objective in zip(grid, objectives, strict=True):
        for axes, name in zip(row, names, strict=True):
            draw(axes, of, objective, name)
    return made


def telling(of: Population) -> list[str]:
    """Aspects that tell networks apart; bias, which hardly does, where there are no others.

    Raises
    ------
    InvalidInput
        There are none.
    """
    names = list(aspects(of.space, of.codes))
    if not names:
        raise InvalidInput(f"the networks of {of.space.name} have nothing to choose")
    return [name for name in names if name != "bias"] or names


def scatter(axes: Axes, of: Population, x: Objective, y: Objective, aspect: str) -> None:
    """One metric against another, networks coloured by an aspect.

    Parameters
    ----------
    axes
        Where to draw.
    of
        The networks.
    x, y
        The metrics.
    aspect
        One of `aspects`.
    """
    across, up = of.column(x), of.column(y)
    for index, (name, inside) in enumerate(grouped(aspects(of.space, of.codes)[aspect])):
        look = style.look(index)
        axes.plot(
            across[inside],
            up[inside],
            linestyle="none",
            marker=look["marker"],
            color=look["color"],
            markersize=2.6,
            markeredgewidth=0,
            alpha=0.55,
            label=name,
            rasterized=True,
        )
    tau = kendall(np.column_stack([across, up])[:COMPARED])[0, 1]
    style.tidy(axes, x=style.label(x), y=style.label(y))
    _legend_above(axes, f"Kendall's tau {tau:.2f}; by {aspect}", markerscale=2)


def _legend_above(axes: Axes, title: str, **look: Any) -> None:
    """A legend in a line above the axes, where it hides nothing."""
    axes.legend(
        title=title,
        title_fontsize=8,
        fontsize=8,
        frameon=False,
        ncols=3,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        borderaxespad=0.2,
        columnspacing=1.0,
        handlelength=1.6,
        **look,
    )


def correlation(axes: Axes, of: Population, objectives: Sequence[Objective]) -> AxesImage:
    """Rank correlation (Kendall's tau) of metrics over networks, as a matrix.

    Parameters
    ----------
    axes
        Where to draw.
    of
        The networks, some 1,000: every pair of them is compared.
    objectives
        The metrics, rows and columns.

    Returns
    -------
    AxesImage
        For a colour bar.
    """
    tau = kendall(of.only(objectives).values)
    opposed = bool(np.nanmin(tau, initial=1.0) < 0)
    look: dict[str, Any] = {"cmap": style.ORDERED, "vmin": 0}
    if opposed:
        look = {"cmap": style.DIVERGING, "vmin": -1}
    image = axes.imshow(tau, vmax=1, **look)
    names = [str(objective) for objective in objectives]
    at, n = range(len(names)), len(names)
    axes.set_xticks(at, names, rotation=90, fontsize=7)
    axes.set_yticks(at, names, fontsize=7)
    if n <= _READABLE:
        for i, j in np.ndindex(n, n):
            if np.isnan(tau[i, j]):
                continue
            dark = abs(tau[i, j]) > 0.6 if opposed else tau[i, j] < 0.5
            axes.text(
                j,
                i,
                f"{tau[i, j]:.2f}",
                ha="center",
                va="center",
                fontsize=6,
                color="white" if dark else "black",
            )
    return image


def correlations(of: Population, matrices: Sequence[Sequence[Objective]]) -> Figure:
    """Matrices of rank correlations beside each other.

    Parameters
    ----------
    of
        The networks; of more than `COMPARED`, the first.
    matrices
        The metrics of each.
    """
    of = of.first(COMPARED)
    size = max(5.2, 0.34 * max(map(len, matrices)) + 1.6)
    made, panels = style.grid(
        len(matrices),
        f"{of.source}: rank correlation (Kendall's tau)",
        width=size,
        height=size,
    )
    for axes, objectives in zip(panels, matrices, strict=True):
        made.colorbar(correlation(axes, of, objectives), ax=axes, shrink=0.6)
    return made


def parallel(axes: Axes, of: Population) -> None:
    """Networks as lines across their aspects and metrics, coloured by the last metric.

    Each axis goes from the least to the greatest value there is.

    Parameters
    ----------
    axes
        Where to draw.
    of
        The networks.

    Raises
    ------
    InvalidInput
        There are no networks.
    """
    if len(of) == 0:
        raise InvalidInput("parallel coordinates: expected networks, found none")
    columns = {
        **aspects(of.space, of.codes),
        **{style.label(o): of.values[:, j] for j, o in enumerate(of.objectives)},
    }
    values = np.column_stack(list(columns.values()))  # (n, c)
    low, high = values.min(axis=0), values.max(axis=0)
    scaled = np.where(high > low, (values - low) / np.where(high > low, high - low, 1.0), 0.5)
    at = np.arange(values.shape[1])
    order = np.argsort(scaled[:, -1], kind="stable")
    shade = colormaps[style.ORDERED]
    lines = LineCollection(
        [np.column_stack([at, row]) for row in scaled[order]],
        colors=shade(Normalize(0, 1)(scaled[order, -1])),
        linewidths=0.8,
        alpha=0.6,
    )
    axes.add_collection(lines)
    for place, least, most in zip(at, low, high, strict=True):
        axes.axvline(place, color="black", linewidth=0.8)
        ends = [f"{least:.4g}", f"{most:.4g}"]
        if list(columns)[place] == "bias":
            ends = ["without", "with"]
        axes.text(place, -0.03, ends[0], ha="center", va="top", fontsize=8)
        axes.text(place, 1.02, ends[1], ha="center", va="bottom", fontsize=8)
    axes.set_xticks(at, [name.replace(" (", "\n(").replace("@", "\n@") for name in columns])
    axes.tick_params(axis="x", length=0, pad=16, labelsize=8)
    axes.set_yticks([])
    axes.set_xlim(-0.3, len(at) - 0.7)
    axes.set_ylim(0, 1)
    axes.spines[:].set_visible(False)
