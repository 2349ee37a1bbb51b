"""Fits of tables to few measurements, beside other predictors: writes few_shot.csv, .md and .png.

::

    python benchmarks/few_shot.py --data DIR [--seconds 600] [--parts measured]

DIR holds the published figures, gpt-s.npz, gpt-m.npz and gpt-l.npz. Points are chosen from random
candidates as ``hwnas profile`` chooses networks; a second fit has random ones, spread over the
widths. What is held out is no candidate. Results are added to few_shot.csv, one repetition of
everything after the other: a run that stops goes on where it was. Rows of hwnas's own devices are
those of the measurements that were there: remove them to begin again.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import pickle
import tempfile
import time
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import few_shot_report
import numpy as np
import torch
from few_shot_baselines import centred_ridge, counts, features, nearest_affine, ridge
from few_shot_networks import (
    DeviceEmbedding,
    MetaRegressor,
    inputs,
    train_device_embedding,
    train_meta_regressor,
)
from fit_surrogate import codes_of
from scipy.stats import kendalltau
from ship_devices import Source, sources
from workloads_statistics import measured

import hwnas
from hwnas.devices.design import DesignModel
from hwnas.devices.fit import FittedMetric, fit_tables
from hwnas.devices.fit_prior import Prior
from hwnas.devices.fit_terms import Terms
from hwnas.spaces import LanguageModelSpace, require_gpt
from hwnas.surrogates.published import load_figures
from hwnas.surrogates.tables import AdditiveTable, predict
from hwnas.typing import Array, Codes, IndexArray

HERE = Path(__file__).parent
PUBLISHED = ("gpt-s", "gpt-m", "gpt-l")
METRICS = ("latency", "tpot.serve", "tpot.chat", "energy")
MEASURED_POINTS, PUBLISHED_POINTS = (10, 20, 50), (10, 20, 40)
PERPLEXITY_POINTS = (10, 20, 50, 200, 1000)
PARTS = ("measured", "published", "perplexity", "networks")
CANDIDATES = 2 / 3  # share of the architectures
MAX_CANDIDATES, MAX_LEFT = 1000, 500  # of those held out as well
MIN_MEASURED = 30  # architectures of a device, of which fewer say too little
# Of more architectures than MANY, HELD_OUT are held out, or as many more or fewer as leave a number
# of candidates within MEASURED_CANDIDATES.
MANY, HELD_OUT, MEASURED_CANDIDATES = 150, 200, (50, 100)
NETWORK_REPETITIONS = 5  # at most: tuning takes longer than a fit
TRAINED = 3000  # architectures that networks are trained on
FIELDS = ("part", "space", "metric", "points", "repetition", "method", "error", "tau", "coverage")

Row = dict[str, str]


def spread_points(width: Array, n: int, rng: np.random.Generator) -> IndexArray:
    """Return n random indices, as equally spread over the widths as they can be."""
    order, rank = rng.permutation(len(width)), np.zeros(len(width))
    for e in np.unique(width):
        own = order[width[order] == e]
        rank[own] = np.arange(len(own))
    return np.asarray(order[np.argsort(rank[order], kind="stable")][:n])


def designed_points(
    space: LanguageModelSpace, codes: Codes, candidates: IndexArray, n: int
) -> IndexArray:
    """Return the n candidates that tell most of the space, as `hwnas profile` chooses them."""
    candidates = candidates[:MAX_CANDIDATES]
    model = copy(_design_model(space.name))
    return candidates[model.choose(codes[candidates], n)]


@cache
def _design_model(name: str) -> DesignModel:
    space = hwnas.space(name)
    return DesignModel(Terms(space), space.sample(1000, np.random.default_rng(0)))


def within_width(a: Array, b: Array, width: Array) -> float:
    """Return the mean of Kendall's tau within the widths of more than two architectures."""
    groups = [width == e for e in np.unique(width)]
    values = [kendalltau(a[g], b[g])[0] for g in groups if g.sum() > 2]
    return float(np.nanmean(values)) if values else np.nan


@dataclass(eq=False)
class Networks:
    """Predictors that are trained on known devices, and kept in a file.

    Attributes
    ----------
    file
        Where they are kept.
    x, known : (t, k), (t, m)
        Inputs of the architectures that train them, and their values on m devices.
    own : (n, k)
        Inputs of the architectures of a problem.
    """

    file: Path
    x: Array
    known: Array
    own: Array

    def predict(self, y: Array, i: IndexArray, h: IndexArray) -> dict[str, Array]:
        """Return the predictions at `h` of both networks, given values at `i`."""
        return {name: net.predict(self.own, y, i, h) for name, net in self._pair.items()}

    @cached_property
    def _pair(self) -> dict[str, MetaRegressor | DeviceEmbedding]:
        if not self.file.exists():
            pair = {
                "meta": train_meta_regressor(self.x, self.known, 0),
                "embedding": train_device_embedding(self.x, self.known, 0),
            }
            self.file.write_bytes(pickle.dumps(pair))
        return dict(pickle.loads(self.file.read_bytes()))  # a file of our own


@dataclass(eq=False)
class Problem:
    """Values of one metric of a device, and what is known of it.

    Attributes
    ----------
    part
        Name of the device where it is one of hwnas's own, else ``"published"``, ``"perplexity"``.
    codes, y : (n, d), (n,)
        Architectures and their values.
    n_candidates
        Number of architectures among which points are chosen; the others are held out.
    known : (n, m)
        Values of known devices, with the prior and the networks that follow from them; or `None`.
    """

    part: str
    metric: str
    space: LanguageModelSpace
    codes: Codes
    y: Array
    points: Sequence[int]
    n_candidates: int
    known: Array | None = None
    prior: Prior | None = None
    networks: Networks | None = None

    @cached_property
    def _features(self) -> tuple[Array, Array]:
        return counts(self.space, self.codes), features(self.space, self.codes)

    def rows(self, repetition: int, n: int, *, is_network: bool = False) -> Iterator[Row]:
        """Return a row for each predictor, given n points: networks, or all others."""
        seed = [repetition, *self.metric.encode()]
        rng = np.random.default_rng(seed if self.part == "published" else repetition)
        order = rng.permutation(len(self.y))
        candidates, h = order[: self.n_candidates], order[self.n_candidates :][:MAX_LEFT]
        spread = candidates[spread_points(self.codes[candidates, 0], n, rng)]
        i = (
            spread
            if self.part == "perplexity"
            else designed_points(self.space, self.codes, candidates, n)
        )
        start = {"part": self.part, "space": self.space.name, "metric": self.metric}
        start |= {"points": str(n), "repetition": str(repetition)}
        predictions, coverage = {}, {}
        if is_network and self.networks is not None:
            predictions = self.networks.predict(self.y, i, h)
        else:
            for method, fit in self._fits(i, spread).items():
                predictions[method] = fit.predict(self.codes[h])
                low, high = fit.interval(self.codes[h]).T
                is_held = (low <= self.y[h]) & (self.y[h] <= high)
                coverage[method] = f"{100 * is_held.mean():.2f}"
            predictions |= self._baselines(i, h)
        for method, values in predictions.items():
            error = 100 * np.abs(values / self.y[h] - 1).mean()
            tau = within_width(values, self.y[h], self.codes[h, 0])
            own = {"method": method, "error": f"{error:.4f}", "tau": f"{tau:.4f}"}
            yield {**start, **own, "coverage": coverage.get(method, "")}

    def _fits(self, i: IndexArray, spread: IndexArray) -> dict[str, FittedMetric]:
        fit, spread_fit, scratch = (
            fit_tables(self.space, self.codes[own], self.y[own], prior=prior)
            for own, prior in ((i, self.prior), (spread, self.prior), (i, None))
        )
        return {"fit": fit, "random": spread_fit, "scratch": scratch}

    def _baselines(self, i: IndexArray, h: IndexArray) -> dict[str, Array]:
        few, plain = self._features
        out = {
            "ridge": centred_ridge(few, plain, self.y, i, h),
            "counts": ridge(few[i], self.y[i], few[h]),
        }
        if self.known is not None:
            out["affine"] = nearest_affine(self.known, self.y, i, h)
        return out


def candidate_count(n: int) -> int:
    """Return how many of n measured architectures are candidates; the others are held out.

    Examples
    --------
    >>> [candidate_count(n) for n in (60, 120, 225, 274, 300)]
    [40, 80, 50, 74, 100]
    """
    fewest, most = MEASURED_CANDIDATES
    return int(np.clip(n - HELD_OUT, fewest, most)) if n > MANY else int(CANDIDATES * n)


def measured_problems(folder: Path, data: Path) -> Iterator[Problem]:
    """Return a problem for each device of hwnas's own, space and metric."""
    for source in sources():
        yield from _problems_of(source, folder, data)


def _problems_of(source: Source, folder: Path, data: Path) -> Iterator[Problem]:
    space, name = source.space, source.space.name
    group = measured(name, source.rows)
    all_codes = space.encode(group.archs)
    for metric in METRICS:
        has_value = np.isfinite(group.values[metric])
        codes, y = all_codes[has_value], group.values[metric][has_value]
        n_candidates = candidate_count(len(y))
        points = [n for n in MEASURED_POINTS if n <= n_candidates]
        if len(y) < MIN_MEASURED:
            continue
        problem = Problem(source.device, metric, space, codes, y, points, n_candidates)
        if metric == "latency" and name in PUBLISHED:
            tables = published_tables(space)
            problem.known = predict(tables, codes)
            problem.prior = Prior.from_tables(Terms(space), tables)
            others, values = published_values(space, data)
            x = inputs(space, np.concatenate([others[:TRAINED], codes]))
            file = folder / f"{name}-{source.device}.pickle"
            problem.networks = Networks(file, x[:TRAINED], values[:TRAINED], x[TRAINED:])
        yield problem


def published_tables(space: hwnas.SearchSpace) -> list[AdditiveTable]:
    """Return the tables of the published medians of forward latency."""
    figures = load_figures(require_gpt(space))
    return [figures.quantile_tables("latency", name)[4] for name in figures.devices]


def published_values(space: hwnas.SearchSpace, data: Path) -> tuple[Codes, Array]:
    """Return codes (n, d) and median forward latencies (n, m) of the published devices."""
    with np.load(data / f"{space.name}.npz") as file:
        figures = dict(file)
    return codes_of(figures, space), figures["latency_ms"][:, :, 4].astype(float)


def published_problems(folder: Path, data: Path) -> Iterator[Problem]:
    """Return a problem for each published device, known from the others."""
    for name in PUBLISHED:
        space = require_gpt(hwnas.space(name))
        tables, (codes, values) = published_tables(space), published_values(space, data)
        terms, known, x = Terms(space), predict(tables, codes), inputs(space, codes)
        devices = load_figures(space).devices
        for d, device in enumerate(devices):
            others = [k for k in range(len(tables)) if k != d]
            yield Problem(
                "published",
                device,
                space,
                codes,
                values[:, d],
                PUBLISHED_POINTS,
                int(CANDIDATES * len(codes)),
                known[:, others],
                Prior.from_tables(terms, [tables[k] for k in others]),
                Networks(
                    folder / f"{name}-{device}.pickle",
                    x[:TRAINED],
                    values[:TRAINED, others],
                    x,
                ),
            )


def perplexity_problems(data: Path) -> Iterator[Problem]:
    """Return a problem for the perplexities of each published space."""
    for name in PUBLISHED:
        space = require_gpt(hwnas.space(name))
        with np.load(data / f"{name}.npz") as file:
            figures = dict(file)
        y = figures["perplexity"].astype(float)
        codes = codes_of(figures, space)
        n_candidates = int(CANDIDATES * len(y))
        yield Problem("perplexity", "perplexity", space, codes, y, PERPLEXITY_POINTS, n_candidates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after them")
    parser.add_argument("--networks", type=Path, help="folder that keeps trained networks")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    end = time.monotonic() + chosen.seconds
    path = HERE / "few_shot.csv"
    keys = {_key(row) for row in read_rows(path)}
    folder = chosen.networks or Path(tempfile.mkdtemp())
    folder.mkdir(exist_ok=True)
    if not path.exists():
        path.write_text(",".join(FIELDS) + "\n", encoding="utf-8")
    for problem, n, repetition, is_network in _tasks(chosen, folder):
        method = "meta" if is_network else "fit"
        key = (problem.part, problem.space.name, problem.metric, str(n), str(repetition), method)
        if key in keys:
            continue
        if time.monotonic() > end:
            break
        rows = list(problem.rows(repetition, n, is_network=is_network))
        with path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, FIELDS, lineterminator="\n").writerows(rows)
    few_shot_report.write(HERE, read_rows(path))


def _tasks(chosen: argparse.Namespace, folder: Path) -> Iterator[tuple[Problem, int, int, bool]]:
    """Return problems, numbers of points, repetitions, and whether networks are meant."""
    parts = {
        "measured": lambda: measured_problems(folder, chosen.data),
        "published": lambda: published_problems(folder, chosen.data),
        "perplexity": lambda: perplexity_problems(chosen.data),
    }
    for part in [part for part in chosen.parts if part != "networks"]:
        problems = list(parts[part]())
        for repetition, problem in itertools.product(range(chosen.repetitions), problems):
            for n in problem.points:
                # A fit to 1,000 points takes long: one is enough.
                if n < 1000 or repetition < 1:
                    yield problem, n, repetition, False
    if "networks" in chosen.parts:
        for problem in itertools.chain(parts["measured"](), parts["published"]()):
            for repetition in range(min(chosen.repetitions, NETWORK_REPETITIONS)):
                if problem.networks is not None:
                    yield from ((problem, n, repetition, True) for n in problem.points)


def _key(row: Row) -> tuple[str, ...]:
    return tuple(
        row[name] for name in ("part", "space", "metric", "points", "repetition", "method")
    )


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file of results; none without the file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
