"""The kinds of figures of HW-GPT-Bench's paper, drawn anew of what was run again."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D

from hwnas.objectives import Objective
from hwnas.reports.comparison.comparison import Comparison, compare
from hwnas.reports.comparison.critical_difference import critical_difference_figure
from hwnas.reports.plots import attainment, convergence, space_plots, style, trajectories
from hwnas.reports.plots.sampled_architectures import Population, drawn_at_random
from hwnas.reproductions.plan import NOISE, THREE, TWO, WITHOUT_DEVICE, Part
from hwnas.runner.results import Result
from hwnas.surrogates import surrogate
from hwnas.surrogates.devices import DEVICES
from hwnas.surrogates.published import DATA

Drawn = Iterator[tuple[str, Figure]]

METRICS = ("latency", "energy")
_NETWORKS = 60  # whose intervals are drawn
_PLAIN = ("perplexity", *WITHOUT_DEVICE)


@dataclass(frozen=True)
class Found:
    """What a reproduction has to draw.

    Attributes
    ----------
    results
        Of each experiment, as far as there are any.
    scales
        Names of the spaces to look at.
    """

    results: dict[Part, Result]
    scales: list[str]

    def of(self, kind: str, scale: str, metric: str = "") -> dict[str, Result]:
        """Results of one kind on one scale, by objective or device; of one metric alone."""
        return {
            part.what: result
            for part, result in self.results.items()
            if part.kind == kind and part.experiment.space == scale and part.what.startswith(metric)
        }

    def population(self, scale: str) -> Population:
        """Random networks of a scale with all of their metrics."""
        if scale not in self._populations:
            self._populations[scale] = drawn_at_random(surrogate(scale))
        return self._populations[scale]

    @property
    def pairs(self) -> list[Result]:
        """Results of all problems with two objectives."""
        return [result for part, result in self.results.items() if part.kind == TWO]

    @cached_property
    def comparison(self) -> Comparison:
        """The methods over all of these."""
        return compare(self.pairs)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of ranks and tests."""
        return self.comparison.notes if self.pairs else ()

    @cached_property
    def _populations(self) -> dict[str, Population]:
        return {}


def effects(found: Found) -> Drawn:
    """What embed_dim, layers, ratios and heads change of each metric."""
    yield from _by_aspect(found, space_plots.effect, "effects")


def distributions(found: Found) -> Drawn:
    """How metrics are spread over networks, by embed_dim, layers, ratios and heads (ECDF)."""
    yield from _by_aspect(found, space_plots.distribution, "distributions")


def _by_aspect(found: Found, draw: Callable[..., None], name: str) -> Drawn:
    shown = [Objective("perplexity"), *(Objective(m, ("h100",)) for m in METRICS)]
    shown += [Objective("bfloat16_memory"), Objective("params")]
    for scale in found.scales:
        of = found.population(scale)
        yield f"{name}-{scale}", space_plots.by_aspect(draw, of, shown, of.source)


def correlations(found: Found) -> Drawn:
    """Rank correlation of metrics, and of latency and energy across devices."""
    plain = [Objective(name) for name in _PLAIN]
    matrices = [
        [*plain, *(Objective(metric, ("h100",)) for metric in METRICS)],
        *([Objective(metric, (device,)) for device in DEVICES] for metric in METRICS),
    ]
    for scale in found.scales:
        made = space_plots.correlations(found.population(scale), matrices)
        yield f"correlations-{scale}", made


def scatters(found: Found) -> Drawn:
    """What perplexity, latency and energy trade for each other, and the last two on each device."""
    for scale in found.scales:
        of = found.population(scale)
        three = [Objective("perplexity"), *(Objective(metric, ("rtx2080",)) for metric in METRICS)]
        made = style.figure(3, of.source, width=4.8)
        pairs = itertools.combinations(three, 2)
        for axes, (x, y) in zip(made.subplots(1, 3), pairs, strict=True):
            space_plots.scatter(axes, of, x, y, "embed_dim")
        yield f"tradeoffs-{scale}", made
        made, panels = _grid(len(DEVICES), of.source, height=3.6)
        for axes, device in zip(panels, DEVICES, strict=True):
            x, y = (Objective(metric, (device,)) for metric in METRICS)
            space_plots.scatter(axes, of, x, y, "embed_dim")
        yield f"scatters-{scale}", made


def calibration(found: Found) -> Drawn:
    """Whether the surrogate's quantiles hold for networks that it was not fitted to."""
    rows = held_out()
    for scale in found.scales:
        made = style.figure(2, f"{scale}: a fifth of the networks, held out", rows=2, height=3.8)
        for column, metric in zip(made.subplots(2, 2).T, METRICS, strict=True):
            all_of_it, apart = column
            all_of_it.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=(0, (4, 2)))
            apart.axhline(0, color="black", linewidth=0.8, linestyle=(0, (4, 2)))
            worst = 0.0
            for index, device in enumerate(DEVICES):
                levels, below = rows[scale, f"{metric}@{device}"]
                worst = max(worst, float(abs(below - levels).max()))
                look = {**style.look(index), "linewidth": 1, "markersize": 3, "label": device}
                all_of_it.plot(levels, below, **look)
                apart.plot(levels, below - levels, **look)
            x, title = "level of the predicted quantile", f"{metric}: off by {worst:.3f} at most"
            style.tidy(all_of_it, title=title, x=x, y="published distribution below it")
            style.tidy(apart, x=x, y="the same, less the level")
            all_of_it.set_aspect("equal")
            apart.set_ylim(-0.03, 0.03)
        style.legend_below(made, all_of_it)
        yield f"calibration-{scale}", made


def held_out() -> dict[tuple[str, str], tuple[Any, Any]]:
    """Levels (9,) of quantiles and what is below them (9,), by scale and metric.

    Of the fifth of the networks that was held out when the tables were fitted, see
    ``benchmarks/surrogate.md``.
    """
    out = {}
    with (DATA / "held-out.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            below = {k.partition("_")[2]: v for k, v in row.items() if k.startswith("below_")}
            if all(below.values()):
                levels = np.array([int(level) / 100 for level in below])
                shares = np.array([float(share) for share in below.values()])
                out[row["space"], row["metric"]] = levels, shares
    return out


def intervals(found: Found) -> Drawn:
    """The noise that the surrogate gives each device: from 10 % to 90 % of its draws."""
    for scale in found.scales:
        bench = surrogate(scale)
        codes = bench.space.sample(_NETWORKS, np.random.default_rng(0))
        for metric in METRICS:
            made, panels = _grid(len(DEVICES), f"{scale}: {metric}, 10 % to 90 %", height=3.0)
            for axes, device in zip(panels, DEVICES, strict=True):
                objective = Objective(metric, (device,))
                nine = bench.quantiles(codes, str(objective))
                nine = nine[np.argsort(nine[:, 4], kind="stable")]
                at = np.arange(len(nine))
                axes.fill_between(at, nine[:, 0], nine[:, -1], color=style.COLOURS[5], alpha=0.5)
                axes.plot(at, nine[:, 4], color=style.COLOURS[0], linewidth=1)
                width = 100 * np.mean((nine[:, -1] - nine[:, 0]) / nine[:, 4])
                style.tidy(
                    axes,
                    title=f"{width:.0f} % of the median wide",
                    x="networks, by median",
                    y=style.label(objective),
                )
            yield f"intervals-{scale}-{metric}", made


def fronts(found: Found) -> Drawn:
    """Pareto fronts of the eight methods, and the exact ones behind them."""
    yield from _by_problem(found, "fronts", "Pareto fronts of all seeds", convergence.fronts)


def attained(found: Found) -> Drawn:
    """What half of the seeds of each method attain."""
    yield from _by_problem(found, "attainment", "median attainment surfaces", attainment.attainment)


def hypervolumes(found: Found) -> Drawn:
    """Hypervolume over evaluations, relative to the exact front's."""
    enough = all(trajectories.enough_seeds(result) for result in found.pairs)
    shown = "95 % interval" if enough else "range"

    def draw(axes: Axes, result: Result) -> None:
        convergence.hypervolume(axes, result, missing=True)
        axes.set_title(str(result.objectives[1]), fontsize=9)

    yield from _by_problem(found, "hypervolume", f"mean and {shown} of seeds", draw)


def _by_problem(found: Found, name: str, title: str, draw: Callable[[Axes, Result], None]) -> Drawn:
    """A panel for each problem with two objectives, those of a metric and a scale in a figure."""
    for metric, scale, results in _groups(found):
        made, panels = _grid(len(results), f"{scale}: {title}", height=3.9)
        for axes, result in zip(panels, results.values(), strict=True):
            draw(axes, result)
            legend = axes.get_legend()
            if legend is not None:
                legend.remove()  # one for all, below
        style.legend_below(made, panels[0])
        yield f"{name}-{scale}-{metric}", made


def ranks(found: Found) -> Drawn:
    """Which method is ahead, over all problems with two objectives."""
    if not found.pairs:
        return
    made = style.figure(1, f"Mean ranks over {len(found.pairs)} problems", width=7)
    axes = made.subplots()
    convergence.ranks(axes, found.pairs)
    style.legend_below(made, axes)
    yield "ranks", made
    yield "critical-differences", critical_difference_figure(found.comparison)


def three(found: Found) -> Drawn:
    """Perplexity, latency and energy at once."""
    for scale in found.scales:
        for device, result in found.of(THREE, scale).items():
            made = style.figure(2, f"{scale} on {device}", width=6.4, height=5)
            left = made.add_subplot(1, 2, 1, projection="3d")
            assert isinstance(left, Axes3D)
            convergence.fronts_in_space(left, result)
            right = made.add_subplot(1, 2, 2)
            convergence.hypervolume(right, result, missing=True, legend=False)
            style.legend_below(made, right)
            yield f"three-{scale}-{device}", made


def noise(found: Found) -> Drawn:
    """The same searches of noisy draws: what is recommended, valued by true medians."""
    for scale in found.scales:
        results = found.of(NOISE, scale)
        if results:
            made, panels = _grid(len(results), f"{scale}: searches of noisy draws", height=3.9)
            for axes, (device, result) in zip(panels, results.items(), strict=True):
                convergence.hypervolume(axes, result, legend=False)
                axes.set_title(f"latency@{device}", fontsize=9)
            style.legend_below(made, panels[0])
            yield f"noise-{scale}", made


def _groups(found: Found) -> Iterator[tuple[str, str, dict[str, Result]]]:
    """Problems with two objectives that stand in one figure: name, scale, results."""
    for scale in found.scales:
        for metric in METRICS:
            if results := found.of(TWO, scale, f"{metric}@"):
                yield metric, scale, results
        plain = {w: r for w, r in found.of(TWO, scale).items() if "@" not in w}
        if plain:
            yield "plain", scale, plain


def _grid(n: int, title: str, *, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each problem or device."""
    return style.grid(n, title, columns=4, width=4.4 if n > 1 else 6.4, height=height)


FIGURES: dict[str, Callable[[Found], Drawn]] = {
    "effects": effects,
    "distributions": distributions,
    "correlations": correlations,
    "scatters": scatters,
    "calibration": calibration,
    "intervals": intervals,
    "fronts": fronts,
    "attainment": attained,
    "hypervolume": hypervolumes,
    "ranks": ranks,
    "three": three,
    "noise": noise,
}
NEEDS: dict[str, Sequence[str]] = {
    "fronts": (TWO,),
    "attainment": (TWO,),
    "hypervolume": (TWO,),
    "ranks": (TWO,),
    "three": (THREE,),
    "noise": (NOISE,),
}
"""Experiments of which kinds a figure shows; the others need none."""
