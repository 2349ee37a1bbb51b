"""Searches under tight constraints: the feasible front, and the first feasible network.

    python benchmarks/constraints.py front [--most 10] [--optimizer additive] [--known hardware]
    python benchmarks/constraints.py feasible [--most 10] [--optimizer additive]
    python benchmarks/constraints.py report

`front`: gpt-l, perplexity against latency on an rtx3080, with bounds that leave 4 % of the space.
`feasible`: random spaces and devices, with bounds on perplexity, latency and energy that leave 0.02
to 1 %. Both append to ``constraints.csv`` what it does not have yet, and can be stopped at any
time; `report` writes ``constraints.md``. With `--known`, what 300 networks have in perplexity or on
the device is told before the search.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from csv_rows import append_row, read_rows
from known_values import N_KNOWN, known_trials, label_of

import hwnas
from hwnas import pareto
from hwnas.fronts import reference_point
from hwnas.runner.executors import one_thread
from hwnas.typing import Array, Codes

HERE = Path(__file__).parent
ROWS, PAGE = HERE / "constraints.csv", HERE / "constraints.md"
COLUMNS = ("kind", "optimizer", "case", "space", "device", "share", "first feasible", "at 100")
BOUNDS = {"latency@rtx3080": 15.0, "energy@rtx3080": 6.4, "perplexity": 31.0}
KNOWN = {"perplexity": ("perplexity",), "hardware": ("latency@rtx3080", "energy@rtx3080")}
SPACES = ("gpt-s", "gpt-m", "gpt-l")
N_EVALUATIONS, N_FEASIBLE, WITHIN = 100, 60, 30


def search(
    optimizer: str,
    space: str,
    metrics: Sequence[str],
    bounds: Array,
    n: int,
    seed: int,
    known: Sequence[str] = (),
) -> tuple[Array, Array]:
    """Return losses (n, 2) of the first two metrics, and violations (n, 3) of bounds on them."""
    backend = hwnas.surrogate(space)
    method = hwnas.optimizer(optimizer, space, 2, seed=seed, n_constraints=len(metrics))
    if known:
        # Losses of the first two metrics, then violations of all.
        outcomes = [j for j, name in enumerate([*metrics[:2], *metrics]) if name in known]

        def values_of(codes: Codes) -> Array:
            values = backend.predict(codes, metrics)
            return np.concatenate([values[:, :2], values - bounds], axis=1)[:, outcomes]

        method.tell_related(known_trials(space, values_of, outcomes))
    values = np.empty((0, len(metrics)))
    while len(values) < n:
        codes = method.ask(min(method.batch, n - len(values)))
        measured = backend.predict(codes, metrics)
        method.tell(codes, measured[:, :2], constraints=measured - bounds)
        values = np.concatenate([values, measured])
    return values[:, :2], values - bounds


def first_feasible(violations: Array) -> str:
    """Return the number of evaluations up to the first feasible one, empty if there is none."""
    rows = np.flatnonzero((violations <= 0).all(axis=1))
    return str(rows[0] + 1) if len(rows) else ""


def front_row(optimizer: str, case: int, known: Sequence[str] = ()) -> list[str]:
    """Return the row of a search for the feasible front."""
    metrics = ["perplexity", "latency@rtx3080", "energy@rtx3080"]
    constraints = [f"{metric} <= {bound}" for metric, bound in BOUNDS.items()]
    exact = hwnas.surrogate("gpt-l").front(metrics[:2], constraints).losses
    point = reference_point(exact)
    bounds = np.array([BOUNDS[metric] for metric in metrics])
    losses, violations = search(optimizer, "gpt-l", metrics, bounds, N_EVALUATIONS, case, known)
    feasible = losses[(violations <= 0).all(axis=1)]
    share = pareto.hypervolume(feasible, point) / pareto.hypervolume(exact, point)
    return ["gpt-l", "rtx3080", "0.0408", first_feasible(violations), f"{share:.4f}"]


def feasible_row(optimizer: str, case: int) -> list[str]:
    """Return the row of a search on a random problem, of which little is feasible."""
    rng = np.random.default_rng(case)
    space = SPACES[case % len(SPACES)]
    device = rng.choice(hwnas.surrogate(space).devices)
    metrics = ["perplexity", f"latency@{device}", f"energy@{device}"]
    codes = hwnas.space(space).sample(20_000, rng)
    values = hwnas.surrogate(space).predict(codes, metrics)
    while True:
        # Up to 5 % above the values of one network.
        bounds = values[rng.integers(len(values))] * (1 + rng.uniform(0, 0.05, 3))
        share = (values <= bounds).all(axis=1).mean()
        if 0.0002 < share < 0.01:
            break
    _, violations = search(optimizer, space, metrics, bounds, N_FEASIBLE, case)
    return [space, str(device), f"{share:.4f}", first_feasible(violations), ""]


def run(kind: str, optimizer: str, most: int, known: str | None) -> None:
    """Make up to `most` searches of 10 (`front`) or 60 (`feasible`) that are missing."""
    label, names = label_of(optimizer, known), KNOWN[known] if known else ()
    n_cases, make_row = {
        "front": (10, partial(front_row, known=names)),
        "feasible": (60, feasible_row),
    }[kind]
    finished = {tuple(row[:3]) for row in read_rows(ROWS)}
    missing = [i for i in range(n_cases) if (kind, label, str(i)) not in finished]
    for case in missing[:most]:
        row = [kind, label, str(case), *make_row(optimizer, case)]
        append_row(ROWS, COLUMNS, row)
        print(*row, flush=True)


def report() -> None:
    """Write the page."""
    rows = read_rows(ROWS)
    lines = [
        "# Tight constraints",
        "",
        "    python benchmarks/constraints.py front",
        "    python benchmarks/constraints.py feasible",
        "    python benchmarks/constraints.py report",
        "",
        "`front`: the share of the feasible front's hypervolume after 100 evaluations (wanted:",
        "0.96), gpt-l, perplexity against latency on an rtx3080, `latency <= 15`, `energy <= 6.4`,",
        "`perplexity <= 31`; 4 % of the space is feasible. `feasible`: searches with a feasible",
        "network within 30 evaluations (wanted: 95 %), on random problems, 0.02 to 1 % feasible.",
        "*known*: told the exact perplexities, or latencies and energies, of "
        f"{N_KNOWN} random networks.",
        "",
        "| optimizer | searches | hypervolume at 100, mean | lowest |",
        "|---|---|---|---|",
    ]
    optimizers = sorted({row[1] for row in rows})
    for optimizer in optimizers:
        shares = [float(row[7]) for row in rows if row[:2] == ["front", optimizer]]
        if shares:
            mean, lowest = f"{np.mean(shares):.4f}", f"{min(shares):.4f}"
            lines.append(f"| {optimizer} | {len(shares)} | {mean} | {lowest} |")
    lines += [
        "",
        "| optimizer | searches | feasible within 30 | first feasible, median | latest |",
        "|---|---|---|---|---|",
    ]
    for optimizer in optimizers:
        texts = [row[6] for row in rows if row[:2] == ["feasible", optimizer]]
        if texts:
            firsts = np.array([int(text or N_FEASIBLE + 1) for text in texts])
            within = f"{100 * (firsts <= WITHIN).mean():.0f} %"
            latest = f"over {N_FEASIBLE}" if firsts.max() > N_FEASIBLE else str(firsts.max())
            lines.append(
                f"| {optimizer} | {len(firsts)} | {within} | {np.median(firsts):.0f} | {latest} |"
            )
    lines += [
        "",
        "Of the feasible front, 100 evaluations do not have what is wanted even after the",
        f"perplexities, or the latencies and energies, of {N_KNOWN} networks.",
    ]
    PAGE.write_text("\n".join(lines) + "\n")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=("front", "feasible", "report"))
    parser.add_argument("--most", type=int, default=1000)
    parser.add_argument("--optimizer", default="additive")
    parser.add_argument("--known", choices=KNOWN, help="of front")
    options = parser.parse_args()
    if options.task == "feasible" and options.known:
        parser.error("--known: expected the task front, found feasible")
    if options.task == "report":
        report()
        return
    with one_thread():
        run(options.task, options.optimizer, options.most, options.known)


if __name__ == "__main__":
    main()
