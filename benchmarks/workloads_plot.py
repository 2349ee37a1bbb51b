"""Plot of ``workloads.py``: two fronts of each space, and what each loses by other metrics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from workloads_fronts import Fronts
from workloads_rows import FOUND_FOR, JUDGED_BY, TIMES

from hwnas.reports.plots import style
from hwnas.surrogates.transfer import best_at
from hwnas.typing import Array
from hwnas.workloads import BUILT_IN

SHORT = {
    "latency": "forward pass", "ttft.chat": "chat:\nfirst token", "tpot.chat": "chat:\nnext tokens",
    "ttft.serve": "serving:\nfirst token", "tpot.serve": "serving:\nnext tokens",
}  # fmt: skip
_FORWARD, _SERVING, _GAP = style.COLOURS[1], style.COLOURS[0], "#F6C9A8"
# White to the orange of the gap; the text of a cell is white from this share on.
_COLORS = LinearSegmentedColormap.from_list("loss", ["#FFFFFF", _GAP, _FORWARD])
_DARK = 0.85


def plot(fronts: Mapping[str, Fronts], card: str, file: Path) -> None:
    """Draw the fronts and losses of each space, which has fronts for all times.

    Parameters
    ----------
    fronts
        Fronts of each space, in the order of the rows of panels.
    card
        Name of the device.
    file
        PNG to write.
    """
    figure = style.make_figure(2, "", rows=len(fronts), width=6.0, height=4.6)
    title = f"The workload decides which network is best  ({style.plain(card)})"
    figure.suptitle(title, fontsize=14, fontweight="bold")
    panels = figure.subplots(len(fronts), 2, squeeze=False, width_ratios=(1.15, 1))
    for row, (name, space_fronts) in zip(panels, fronts.items(), strict=True):
        _draw_fronts(row[0], name, space_fronts)
        _draw_losses(row[1], name, space_fronts)
    style.save(figure, file)


def _draw_fronts(axes: Axes, name: str, fronts: Fronts) -> None:
    """Draw decoding time over perplexity of two fronts, with the gap between them filled."""
    best = fronts.points(JUDGED_BY, JUDGED_BY)
    forward = fronts.points(FOUND_FOR, JUDGED_BY)
    own = best_at(forward[:, 0], best)
    excess = forward[:, 1] / own - 1
    # Where a perplexity is allowed, a front offers its last network of at most that.
    allowed = np.union1d(forward[:, 0], best[:, 0])
    allowed = allowed[(allowed >= forward[0, 0]) & (allowed <= forward[-1, 0])]
    chosen = forward[np.searchsorted(forward[:, 0], allowed, side="right") - 1, 1]
    axes.fill_between(allowed, best_at(allowed, best), chosen, step="post", color=_GAP, linewidth=0)
    axes.plot(*forward.T, "o", color=_FORWARD, markersize=2.6, markeredgewidth=0)
    axes.plot(*_steps(best), color=_SERVING, linewidth=2.2)
    _annotate(axes, forward, own, excess)
    axes.set_ylim(0, 1.12 * float(forward[:, 1].max()))
    axes.margins(x=0.02)
    axes.plot([], [], "o", color=_FORWARD, markersize=5, label="found for the forward pass")
    axes.plot([], [], color=_SERVING, linewidth=2.2, label="found for serving")
    style.format_axes(
        axes,
        title=f"{name}: {percent(excess.mean())} slower on average at equal perplexity",
        x="perplexity",
        y=f"ms a decoding step, {BUILT_IN['serve'].batch} requests at once",
    )
    axes.legend(frameon=False, fontsize=9, loc="upper right")


def _annotate(axes: Axes, forward: Array, own: Array, excess: Array) -> None:
    """Mark the widest gap with its size."""
    k = int(excess.argmax())
    x, top, bottom = forward[k, 0], forward[k, 1], own[k]
    axes.annotate(
        "", (x, top), (x, bottom), arrowprops={"arrowstyle": "<->", "color": "black", "lw": 1.1}
    )
    axes.annotate(
        f"+ {percent(excess[k])}",
        (x, top),
        xytext=(0, 4),
        textcoords="offset points",
        ha="center",
        fontsize=10,
        fontweight="bold",
    )


def _steps(front: Array) -> tuple[Array, Array]:
    """Return the staircase of a front by increasing perplexity."""
    return np.repeat(front[:, 0], 2)[1:], np.repeat(front[:, 1], 2)[:-1]


def _draw_losses(axes: Axes, name: str, fronts: Fronts) -> None:
    """Draw the matrix of mean losses, with the worst ones below them."""
    losses = [[fronts.loss(a, b) for b in TIMES] for a in TIMES]
    mean = 100 * np.array([[loss.mean for loss in row] for row in losses])
    norm = Normalize(0, mean.max() or 1)
    axes.imshow(mean, cmap=_COLORS, norm=norm, aspect="auto")
    for i, row in enumerate(losses):
        for j, loss in enumerate(row):
            color = "white" if norm(mean[i, j]) > _DARK else "black"
            cell: dict[str, Any] = {"ha": "center", "color": color}
            if i == j:
                axes.text(j, i, "-", va="center", fontsize=11, **cell)
                continue
            axes.text(j, i - 0.08, percent(loss.mean), va="center", fontsize=11, **cell)
            axes.text(j, i + 0.27, f"≤ {percent(loss.worst)}", va="center", fontsize=7, **cell)
    labels = [SHORT[metric] for metric in TIMES]
    axes.set_xticks(range(len(TIMES)), labels, fontsize=8)
    axes.set_yticks(range(len(TIMES)), labels, fontsize=8)
    axes.set_xlabel("judged by")
    axes.set_ylabel("front found for")
    axes.set_title(f"{name}: slower at equal perplexity, mean and worst", fontsize=10)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    # Thin lines between the cells.
    for k in range(1, len(TIMES)):
        axes.axhline(k - 0.5, color="#dddddd", linewidth=1)
        axes.axvline(k - 0.5, color="#dddddd", linewidth=1)


def percent(share: float) -> str:
    """Return a share in per cent, with a digit after the point where it is small.

    Examples
    --------
    >>> percent(0.0123), percent(0.23)
    ('1.2 %', '23 %')
    """
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"
