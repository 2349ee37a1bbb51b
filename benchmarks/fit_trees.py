"""Fit the trees of the surrogate's second flavour to the residuals of its tables.

::

    pip install catboost
    python benchmarks/fit_trees.py --data DIR [--out hwnas/surrogates/data]
                                   [--report benchmarks/trees.md]

DIR holds gpt-s.npz, gpt-m.npz and gpt-l.npz. For every metric, CatBoost (Prokhorenkova et al. 2018)
boosts oblivious trees on the difference between the published figure and the table, features as
`hwnas.surrogates.trees.features_of` has them. A fifth of the networks is held out for the report,
there from tables and trees that are both fitted to the rest; what is shipped is fitted to all.

Then the best known fronts of perplexity against every hardware metric: Pareto local search (Paquete
et al. 2004) from the tables' exact front, over all networks that differ in one choice, until no new
one is found or the rounds are over.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fidelity
import fit_surrogate
import numpy as np
from fit_surrogate import PLAIN, QUANTILES, Array, Figures
from numpy.typing import NDArray

from hwnas.fronts import Front
from hwnas.objectives import Objective
from hwnas.spaces import space
from hwnas.surrogates.pareto_front import exact_front
from hwnas.surrogates.published import SCALES, PublishedFigures, load_figures
from hwnas.surrogates.quantiles import MEDIAN
from hwnas.surrogates.tables import AdditiveTable, predict
from hwnas.surrogates.trees import Trees, features_of

TREES = {"depth": 6, "iterations": 600, "learning_rate": 0.15, "random_strength": 0}
UNITS = 127  # of a leaf's value, either side of zero
METHOD = (
    f"On the additive tables, {TREES['iterations']} oblivious trees of depth {TREES['depth']} a "
    "metric, boosted by CatBoost on what the tables leave over; distances between quantiles are "
    "the tables'. Leaves are rounded to 255 steps."
)
MEMBERS, ROUNDS = 400, 12  # of a best known front, and of the search for it
WANTED = {
    "latency, error %, mean of devices": "at most 0.42 / 0.30 / 0.27",
    "latency, error %, worst device": "at most 0.80 / 0.69 / 0.46",
    "energy, error %, mean of devices": "at most 0.56 / 0.54 / 0.46",
    "energy, error %, worst device": "at most 1.09 / 1.46 / 0.71",
}


def targets(data: Figures) -> dict[str, Array]:
    """Published medians and values (n,) by metric."""
    out = {metric: data[name].astype(np.float64) for metric, name in PLAIN.items()}
    for metric, name in QUANTILES.items():
        for v, device in enumerate(data["devices"].tolist()):
            out[f"{metric}@{device}"] = data[name][:, v, MEDIAN].astype(np.float64)
    return out


def fit(features: NDArray[np.float32], residual: Array) -> list[dict[str, Any]]:
    """The trees of one metric, from features (n, F) and what is left over (n,)."""
    from catboost import CatBoostRegressor

    model = CatBoostRegressor(
        **TREES, loss_function="RMSE", random_seed=0, thread_count=2, verbose=False,
        allow_writing_files=False,
    )  # fmt: skip
    model.fit(features, residual)
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        model.save_model(file.name, format="json")
        described = json.loads(Path(file.name).read_text())
    scale, (shift,) = described["scale_and_bias"]
    trees: list[dict[str, Any]] = [
        {
            "tests": [(s["float_feature_index"], s["border"]) for s in tree["splits"]],
            "leaves": scale * np.array(tree["leaf_values"]),
        }
        for tree in described["oblivious_trees"]
    ]
    trees[0]["leaves"] = trees[0]["leaves"] + shift
    return trees


def packed(trees: Mapping[str, list[dict[str, Any]]]) -> dict[str, NDArray[Any]]:
    """The arrays of `hwnas.surrogates.trees` for the trees of every metric."""
    questions = sorted(
        {test for metric_trees in trees.values() for tree in metric_trees for test in tree["tests"]}
    )
    number = {question: q for q, question in enumerate(questions)}
    out: dict[str, NDArray[Any]] = {
        "features": np.array([feature for feature, _ in questions], dtype=np.uint8),
        "borders": np.array([border for _, border in questions], dtype=np.float32),
    }
    depth = int(TREES["depth"])
    for metric, metric_trees in trees.items():
        tests = np.zeros((len(metric_trees), depth), dtype=np.uint16)
        leaves = np.zeros((len(metric_trees), 2**depth))
        for t, tree in enumerate(metric_trees):
            indices = [number[test] for test in tree["tests"]]
            # A tree that asks less has the same leaf whatever the other answers are.
            tests[t, : len(indices)] = indices
            leaves[t] = np.resize(tree["leaves"], 2**depth)
        unit = np.maximum(np.abs(leaves).max(axis=1), 1e-30) / UNITS
        out[f"{metric}:tests"] = tests
        out[f"{metric}:leaves"] = np.rint(leaves / unit[:, None]).astype(np.int8)
        out[f"{metric}:scales"] = unit.astype(np.float32)
    return out


def fitted(
    tables: PublishedFigures, data: Figures, rows: NDArray[np.intp]
) -> dict[str, NDArray[Any]]:
    """The trees' arrays, fitted to what the tables leave over on some rows of the data."""
    codes = fit_surrogate.codes_of(data, tables.space)[rows]
    features = np.ascontiguousarray(features_of(tables.space, codes).T)
    trees = {}
    for metric, figures in targets(data).items():
        residuals = figures[rows] - median_of(tables, metric).predict(codes)
        trees[metric] = fit(features, residuals)
    return packed(trees)


def median_of(tables: PublishedFigures, metric: str) -> AdditiveTable:
    """The table of a metric's median."""
    name, _, device = metric.partition("@")
    return tables.quantile_tables(name, device)[MEDIAN] if device else tables.table(name)


def measured(
    tables: PublishedFigures, trees: Trees, data: Figures, rows: NDArray[np.intp]
) -> list[fidelity.Fidelity]:
    """Fidelity of tables and trees on some rows of the data."""
    codes = fit_surrogate.codes_of(data, tables.space)[rows]
    widths = codes[:, 0]
    fidelities = []
    for metric, name in PLAIN.items():
        values = tables.table(metric).predict(codes) + trees.correction(codes, [metric])[:, 0]
        fidelities.append(fidelity.of_values(metric, values, data[name][rows], widths))
    for metric, name in QUANTILES.items():
        for v, device in enumerate(tables.devices):
            key = f"{metric}@{device}"
            values = predict(tables.quantile_tables(metric, device), codes)
            values += trees.correction(codes, [key])
            fidelities.append(fidelity.of_quantiles(key, values, data[name][rows, v], widths))
    return fidelities


def best_known(tables: PublishedFigures, trees: Trees, metric: str) -> NDArray[np.int8]:
    """Codes (k, d) of the best members found of the front of perplexity against a metric."""
    names = ("perplexity", metric)
    objectives = tuple(map(Objective.parse, names))
    medians = [median_of(tables, name) for name in names]
    start = exact_front(medians)
    assert start is not None

    def front_of(codes: NDArray[np.int8]) -> Front:
        values = predict(medians, codes) + trees.correction(codes, names)
        return Front.of(codes, values, objectives).best(2 * MEMBERS)

    front, visited = front_of(start), set()
    for _ in range(ROUNDS):
        fresh = [code for code in front.codes if code.tobytes() not in visited]
        if not fresh:
            break
        visited |= {code.tobytes() for code in fresh}
        near = [tables.space.neighbours(code) for code in fresh]
        front = front_of(np.unique(np.concatenate([front.codes, *near]), axis=0))
    return front.best(MEMBERS).codes


def fit_scale(scale: str, source: Path, out: Path) -> list[fidelity.Fidelity]:
    """Write the trees of one scale; return how faithful they are on networks held out."""
    within = space(scale)
    with np.load(source) as file:
        data = dict(file)
    about = fit_surrogate.provenance(data, source, METHOD)
    held_out, training_rows = fit_surrogate.split(data)
    tables = PublishedFigures(
        within, fit_surrogate.fitted(within, data, training_rows, about), about
    )
    trees = Trees(within, fitted(tables, data, training_rows))
    fidelities = measured(tables, trees, data, held_out)
    about["held_out_error_percent"] = {f.metric: round(f.error, 4) for f in fidelities}
    tables = load_figures(within)
    arrays = fitted(tables, data, np.arange(len(data["embed_dim"])))
    trees = Trees(within, arrays)
    hardware = [metric for metric in targets(data) if metric != "perplexity"]
    fronts = {f"{metric}:front": best_known(tables, trees, metric) for metric in hardware}
    np.savez_compressed(
        out / f"{scale}-trees.npz", provenance=np.array(json.dumps(about)), **arrays, **fronts
    )
    return fidelities


def page(fidelities: fidelity.Fidelities, sizes: Mapping[str, int]) -> str:
    """The report as Markdown."""
    lines = [
        "# Errors of the surrogate's trees against the published figures",
        "",
        "    python benchmarks/fit_trees.py --data DIR",
        "",
        METHOD,
        "",
        "The measures are those of `surrogate.md`, on the same held-out fifth.",
        "",
        *fidelity.overview(fidelities, WANTED),
    ]
    for kind in QUANTILES:
        lines += ["", f"## {kind.capitalize()}", "", *fidelity.by_device(fidelities, kind)]
    lines += ["", "## Size", "", *fit_surrogate.size_table(sizes)]
    return "\n".join(lines) + "\n"


def main() -> None:
    options = fit_surrogate.arguments(__doc__, "trees.md")
    fidelities = {s: fit_scale(s, options.data / f"{s}.npz", options.out) for s in SCALES}
    names = [f"{s}-trees.npz" for s in SCALES]
    sizes = {name: (options.out / name).stat().st_size for name in names}
    options.report.write_text(page(fidelities, sizes))


if __name__ == "__main__":
    main()
