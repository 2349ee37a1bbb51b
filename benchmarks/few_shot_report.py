"""Page and plot of few_shot.csv: wanted beside measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt
from ship_devices import Source, sources
from workloads_rows import CARDS, SPACES, rows_of
from workloads_statistics import first_layer_errors, measured, residual_correlation

LABELS = {
    "fit": "fit of tables",
    "random": "fit, random points",
    "scratch": "fit without known devices",
    "ridge": "ridge",
    "counts": "parameters, FLOPs",
    "affine": "affine, nearest device",
    "meta": "meta-learned (HELP-like)",
    "embedding": "embedding (NASFLAT-like)",
}
OWN = ("fit", "random", "scratch")
STRICT_SPACES = ("gpt-s", "gpt-m", "gpt-l", "gpt-xl")
WANTED = {("gpt-s", "latency"): (1.1, 0.7, 0.5)}
WANTED_LATENCY, WANTED_DECODING = (0.55, 0.4, 0.33), (0.8, 0.5, 0.3)  # of the others of these
WANTED_TAU = (0.91, 0.935, 0.95)
STRICT_DEVICES = tuple(CARDS.values())  # a CPU is as good as its noise allows
MEASURED_POINTS, PUBLISHED_POINTS = (10, 20, 50), (10, 20, 40)
OTHER_PARTS = ("published", "perplexity")  # than devices of hwnas's own
_MIN_NETWORKS = 60  # of the linear models of all widths
# Mean and median distance of normal values from their center, in deviations.
_MEAN, _MEDIAN = np.sqrt(2 / np.pi), 0.6745

Row = Mapping[str, str]
Cells = Mapping[tuple[str, str, int, str], "list[Row]"]


def write(folder: Path, rows: Sequence[Row]) -> None:
    """Write few_shot.md and few_shot.png into a folder."""
    parts: dict[str, dict[tuple[str, str, int, str], list[Row]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for row in rows:
        key = (row["space"], row["metric"], int(row["points"]), row["method"])
        parts[row["part"]][key].append(row)
    names = sorted(parts.keys() - set(OTHER_PARTS))
    devices = {name: parts[name] for name in sorted(names, key=lambda n: n not in STRICT_DEVICES)}
    measured_sources = sources(folder / "workloads")
    page = PAGE.format(
        measured=_measured(devices, measured_sources),
        rivals=_rivals(devices),
        published=_published(parts["published"]),
        perplexity=_perplexity(parts["perplexity"]),
        coverage=_coverage({**devices, "published devices": parts["published"]}),
        harm=_harm(devices),
        repetitions=_repetitions(parts),
        won=_won(*parts.values()),
        first_layer=_first_layer(folder / "workloads"),
        own=_own_residuals(measured_sources),
    )
    (folder / "few_shot.md").write_text(page, encoding="utf-8")
    _plot(folder / "few_shot.png", parts["published"], devices)


def _mean(rows: Sequence[Row], column: str = "error") -> float:
    values = [float(row[column]) for row in rows if row[column] not in ("", "nan")]
    return float(np.mean(values)) if values else float("nan")


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _wanted(device: str, space: str, metric: str) -> tuple[float, ...] | None:
    if device not in STRICT_DEVICES or space not in STRICT_SPACES:
        return None
    if metric == "latency":
        return WANTED.get((space, metric), WANTED_LATENCY)
    return WANTED_DECODING if metric.startswith("tpot") else None


def _join(values: Sequence[float], digits: int, wanted: Sequence[float] | None = None) -> str:
    """Return values as text; those that miss what is wanted, upper bounds, are bold."""
    texts = []
    for k, value in enumerate(values):
        text = "-" if np.isnan(value) else f"{value:.{digits}f}"
        is_missed = wanted is not None and round(value, digits) > wanted[k]
        texts.append(f"**{text}**" if is_missed else text)
    return " / ".join(texts)


def _pairs(cells: Cells) -> list[tuple[str, str]]:
    pairs = dict.fromkeys((space, metric) for space, metric, _, _ in cells)
    return sorted(pairs, key=lambda pair: SPACES.index(pair[0]))


def _series(
    cells: Cells, pair: tuple[str, str], method: str, points: Sequence[int], column: str = "error"
) -> list[float]:
    return [_mean(cells.get((*pair, n, method), []), column) for n in points]


def _measured(devices: Mapping[str, Cells], measured_sources: Sequence[Source]) -> str:
    """Return a table of each device, in which what misses is bold."""
    noise = {
        (source.device, source.space.name, metric): _noise(source, metric)
        for source in measured_sources
        for metric in ("latency", "tpot.serve", "tpot.chat", "energy")
    }
    header = [
        "device", "space", "metric", "wanted", "error", "noise", "tau", "coverage",
        "error, random points",
    ]  # fmt: skip
    lines = []
    for device, cells in devices.items():
        for pair in _pairs(cells):
            wanted = _wanted(device, *pair)
            errors = _series(cells, pair, "fit", MEASURED_POINTS)
            tau = _series(cells, pair, "fit", MEASURED_POINTS, "tau")
            cover = _series(cells, pair, "fit", MEASURED_POINTS, "coverage")
            random = _join(_series(cells, pair, "random", MEASURED_POINTS), 2)
            text = "" if wanted is None else " / ".join(map(str, wanted))
            noise_text = _join([noise.get((device, *pair), float("nan"))], 2)
            texts = [_join(errors, 2, wanted), noise_text, _join(tau, 3), _join(cover, 0)]
            lines.append([device, *pair, text, *texts, random])
    return _table(header, lines)


def _noise(source: Source, metric: str) -> float:
    """Return the mean error in % that measurements themselves have; NaN where none is repeated.

    It is that of normal values whose differences have the median of those of successive
    measurements of a network, boards aligned: a few that went wrong do not count.
    """
    values: dict[str, list[float]] = defaultdict(list)
    for row in source.rows:
        if row[metric]:
            values[row["arch"]].append(np.log(float(row[metric])))
    differences = [np.abs(np.diff(own)) for own in values.values() if len(own) > 1]
    if not differences:
        return float("nan")
    deviation = float(np.median(np.concatenate(differences))) / _MEDIAN / np.sqrt(2)
    return 100 * float(_MEAN * deviation)


def _rivals(devices: Mapping[str, Cells]) -> str:
    names = [name for name in LABELS if name == "fit" or name not in OWN]
    lines = [
        [device, *pair, *(_join(_series(cells, pair, n, MEASURED_POINTS), 2) for n in names)]
        for device, cells in devices.items()
        for pair in _pairs(cells)
    ]
    return _table(["device", "space", "metric", *(LABELS[name] for name in names)], lines)


def _pooled(cells: Cells, space: str, n: int, method: str, column: str = "error") -> float:
    """Return the mean over devices and repetitions."""
    own = [
        r for (s, _, k, m), rows in cells.items() if (s, k, m) == (space, n, method) for r in rows
    ]
    return _mean(own, column)


def _published(cells: Cells) -> str:
    lines, verdicts = [], []
    spaces = list(dict.fromkeys(space for space, _, _, _ in cells))
    for space in spaces:
        n_devices = len({metric for s, metric, _, _ in cells if s == space})
        for n in PUBLISHED_POINTS:
            errors = []
            for name in LABELS:
                own = {k[1] for k in cells if (k[0], *k[2:]) == (space, n, name)}
                text = _join([_pooled(cells, space, n, name)], 2)
                is_partial = 0 < len(own) < n_devices
                errors.append(f"{text} ({len(own)} devices)" if is_partial else text)
            coverage = _join([_pooled(cells, space, n, "fit", "coverage")], 0)
            lines.append([space, str(n), *errors, coverage])
        few, many = _pooled(cells, space, 10, "fit"), _pooled(cells, space, 40, "scratch")
        verdicts.append(
            f"{space} {few:.2f} against {many:.2f} ({'' if few <= many else 'not '}met)"
        )
    table = _table(["space", "points", *LABELS.values(), "coverage"], lines)
    return f"{table}\n\n10 points with known devices against 40 without: {'; '.join(verdicts)}."


def _perplexity(cells: Cells) -> str:
    points = sorted({n for _, _, n, _ in cells})
    lines = []
    for space, metric in _pairs(cells):
        pair = (space, metric)
        errors = _join(_series(cells, pair, "fit", points), 2)
        cover = _join(_series(cells, pair, "fit", points, "coverage"), 0)
        lines.append([space, errors, cover, _join(_series(cells, pair, "ridge", points), 2)])
    title = " / ".join(map(str, points))
    return _table(["space", f"error, {title} points", "coverage", "ridge"], lines)


def _coverage(parts: Mapping[str, Cells]) -> str:
    lines = []
    for name, cells in parts.items():
        values = [_mean(r, "coverage") for (_, _, _, m), r in cells.items() if m == "fit"]
        if values:
            outside = sum(not 80 <= v <= 97 for v in values)
            lines.append(
                f"{name} {np.mean(values):.1f} % (single ones {min(values):.0f} to "
                f"{max(values):.0f} %, {outside} of {len(values)} outside 80 to 97 %)"
            )
    return f"90 % intervals cover, pooled: {'; '.join(lines)}. Wanted: 87 to 93 %, 80 to 97 %."


def _harm(devices: Mapping[str, Cells]) -> str:
    lines = []
    for device, cells in devices.items():
        for pair in _pairs(cells):
            if any((*pair, n, "affine") in cells for n in MEASURED_POINTS):
                both = [
                    _join(_series(cells, pair, m, MEASURED_POINTS), 2) for m in ("fit", "scratch")
                ]
                lines.append([device, *pair, *both])
    return _table(["device", "space", "metric", "with known devices", "without"], lines)


def _won(*parts: Cells) -> str:
    """Return a sentence on the comparisons with baselines that the fit wins.

    One comparison is of one metric, or published device, and one number of points; networks are
    compared on the repetitions that they have.
    """
    total: dict[str, int] = defaultdict(int)
    lost: dict[str, int] = defaultdict(int)
    for cells in parts:
        for (space, metric, n, method), rows in cells.items():
            if method in OWN:
                continue
            total[method] += 1
            own = {row["repetition"] for row in rows}
            fits = [r for r in cells[space, metric, n, "fit"] if r["repetition"] in own]
            lost[method] += _mean(rows) < _mean(fits)
    all_, won = sum(total.values()), sum(total.values()) - sum(lost.values())
    counts = [f"{LABELS[m]} wins {lost[m]} of {total[m]}" for m in LABELS if lost[m]]
    text = f"Of {all_} comparisons with a baseline the fit wins {won}"
    return f"{text}; {', '.join(counts)}." if counts else f"{text}."


def _first_layer(folder: Path) -> str:
    """Return errors of linear models without and with the heads of the first layer, as text."""
    texts = []
    for name in SPACES:
        rows = rows_of(name, [folder])
        of = measured(name, rows) if rows else None
        if of is not None and np.isfinite(of.values["tpot.chat"]).sum() >= _MIN_NETWORKS:
            without, with_it = first_layer_errors(of, "tpot.chat")
            texts.append(f"from {100 * without:.2f} to {100 * with_it:.2f} % in {name}")
    return ", ".join(texts)


def _own_residuals(measured_sources: Sequence[Source]) -> str:
    """Return how alike residuals of two cards are, as text."""
    groups = {
        (source.device, source.space.name): measured(source.space.name, source.rows)
        for source in measured_sources
        if source.device in STRICT_DEVICES
    }
    texts = []
    for space in SPACES:
        pair = [groups[device, space] for device in STRICT_DEVICES if (device, space) in groups]
        if len(pair) == 2:
            n, correlation = residual_correlation(*pair, "tpot.chat")
            texts += [] if np.isnan(correlation) else [f"{correlation:.2f} ({n} of {space})"]
    return ", ".join(texts)


def _repetitions(parts: Mapping[str, Cells]) -> str:
    texts = []
    for part, cells in parts.items():
        sizes = [len(r) for (_, _, n, m), r in cells.items() if m == "fit" and n < 1000]
        few, many = min(sizes, default=0), max(sizes, default=0)
        texts.append(f"{part} {few}" if few == many else f"{part} {few} to {many}")
    return ", ".join(texts)


def _plot(path: Path, published: Cells, devices: Mapping[str, Cells]) -> None:
    """Plot errors by the number of points: published devices, and decoding on the first own one."""
    device, cells = next(iter(devices.items()), ("no device", {}))
    colors = dict(zip(LABELS, plt.get_cmap("tab10").colors, strict=False))  # type: ignore[attr-defined]
    spaces = list(dict.fromkeys(space for space, _, _, _ in published))
    n_axes = len(spaces) + 1
    figure, grid = plt.subplots(1, n_axes, figsize=(3.4 * n_axes, 3.4), squeeze=False)
    axes = list(grid[0])
    for axis, space in zip(axes, spaces, strict=False):
        for name, label in LABELS.items():
            errors = [_pooled(published, space, n, name) for n in PUBLISHED_POINTS]
            own = {k[1] for k in published if (k[0], *k[2:]) == (space, PUBLISHED_POINTS[-1], name)}
            if len(own) < len({k[1] for k in published if k[0] == space}):
                errors = [np.nan] * len(errors)  # the mean of some devices says little
            axis.plot(PUBLISHED_POINTS, errors, "o-", ms=3.5, color=colors[name], label=label)
        axis.set_title(f"{space}: a published device\nfrom the other 12", fontsize=9)
        axis.set_xticks(PUBLISHED_POINTS, map(str, PUBLISHED_POINTS))
    axis = axes[-1]
    pairs = [("gpt-s", "latency"), ("gpt-l", "latency"), ("gpt-s", "tpot.serve")]
    pairs += [("gpt-l", "tpot.serve"), ("gpt-s", "tpot.chat"), ("gpt-l", "tpot.chat")]
    for k, pair in enumerate(pair for pair in pairs if (*pair, 10, "fit") in cells):
        color, mark = f"C{k // 2}", "o-" if pair[0] == "gpt-s" else "s--"
        errors = _series(cells, pair, "fit", MEASURED_POINTS)
        axis.plot(MEASURED_POINTS, errors, mark, ms=3.5, color=color, label=" ".join(pair))
    axis.set_title(f"measured on {device}:\nfit of tables", fontsize=9)
    axis.set_xticks(MEASURED_POINTS, map(str, MEASURED_POINTS))
    for axis in axes:
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("{x:g}")
        axis.tick_params(which="both", labelsize=7)
        axis.set_xlabel("measured architectures", fontsize=8)
        axis.grid(which="both", alpha=0.25)
    axes[0].set_ylabel("mean error of others, %", fontsize=8)
    if axes[-1].lines:
        low, high = axes[-1].get_ylim()
        axes[-1].set_ylim(low, 3 * high)  # room for the legend
        axes[-1].legend(fontsize=6.5, loc="upper right", ncol=2)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=4, fontsize=7.5, frameon=False)
    figure.tight_layout(rect=(0, 0.13, 1, 1))
    figure.savefig(path, dpi=130)
    plt.close(figure)


PAGE = """# Tables from few measurements

    python benchmarks/few_shot.py --data DIR

Mean relative errors in % on architectures held out: a random third, at most 500; of more than 150
that were measured on a device of hwnas's own 200, or all but 50. Points are chosen from the others
as `hwnas profile` chooses networks, by what they tell the fit of all others; all predictors have
the same ones. Random points, spread over the widths, for comparison; the points of perplexities are
random as well. Repetitions: {repetitions}.
The scales of the prior were set with an eye on these data. Bold: missed.

![errors by the number of measured architectures](few_shot.png)

- Fit of tables: the fit of `hwnas device add`, with known devices where there are three or more.
- Ridge: of features by width and layer, around the fit of parameters and FLOPs, the penalty by
  leave-one-out. Parameters, FLOPs: these two and a constant.
- Affine, nearest device: of the published device whose values correlate most at the points.
- Meta-learned (HELP-like): features trained on the other devices so that a ridge regression of few
  points predicts the rest. Embedding (NASFLAT-like): a network with an embedding of the device,
  which starts from the nearest one and is tuned to the points. Both are small networks trained on
  3,000 architectures of each known device: `few_shot_networks.py`.

{won}

## Devices of hwnas's own

After 10 / 20 / 50 points. Noise: the mean error of a single measurement, from networks that were
measured several times; errors are those from measured values, so that even the true value of every
network would have one of this size. Kendall's tau is within a width, wanted 0.91 / 0.935 / 0.95;
coverage is that of 90 % intervals.

{measured}

{coverage}

What fits leave of `tpot.chat` is partly noise, but mostly the networks' own: residuals of linear
models at each width on the two cards have correlations of {own}, and tables
fitted to all networks leave them as well. Residuals were searched for a further term (heads and
ratios of neighbouring layers, of the first and the last one, squares, totals, thresholds). The
heads of the first layer alone matter, and in the smallest networks alone: with them the held-out
error of linear models of `tpot.chat` goes
{first_layer}.
Why a step of some 80 microseconds depends on them is not known.

The same beside other predictors:

{rivals}

The 13 published devices were measured otherwise; they should do no harm:

{harm}

## Each published device from the other 12

Forward latency, mean of 13 devices. Wanted: 10 points with known devices reach the error that a fit
without them needs 40 for.

{published}

## Perplexity

The published perplexities. Tables with an entry for each width, layer and option, fitted to
thousands of networks, have an error of 0.09 % on gpt-s.

{perplexity}
"""
