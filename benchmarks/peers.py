"""Built-in optimizers and the libraries' own loops on the same problems: ``benchmarks/peers.md``.

    python benchmarks/peers.py run [--only REGEX] [--seeds 5] [--workers 1] [--untimed]
                                   [--device cuda] [--most SECONDS]
    python benchmarks/peers.py report
    python benchmarks/peers.py paired

A problem is perplexity against one latency or energy of one space's surrogate, without noise. `run`
adds what is not yet there to ``benchmarks/peers.csv``, a row a search, first seeds first, so it can
be stopped and gone on with; REGEX is matched with ``METHOD SPACE OBJECTIVE``. `report` turns the
rows into ``peers.md`` and ``peers.png``. With `--untimed` seconds are left empty, for searches on
another machine than the one whose times the page tells; there BoTorch's own loop, which takes an
hour on gpt-l, can also run on a GPU, and end after so many seconds with what it has.

Quality is the normalised hypervolume after so many evaluations. Time is that of the processor, of
one thread, until the last of them: two searches beside each other do not slow each other's clock.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import re
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from libraries import LOOPS, moasha

import hwnas
from hwnas import pareto
from hwnas.fronts import reference_point
from hwnas.reports.plots import style
from hwnas.runner.executors import one_thread
from hwnas.statistics import holm, wilcoxon
from hwnas.typing import Array

# For workers, which load torch in the middle of their first search, when it is too late to say.
os.environ["OMP_NUM_THREADS"] = "1"

HERE = Path(__file__).parent
ROWS = HERE / "peers.csv"
DEVICES = ("rtx2080", "h100", "cpu_xeon_silver", "cpu_xeon_gold")
OBJECTIVES = [f"{metric}@{device}" for metric in ("latency", "energy") for device in DEVICES]
MARKS = (20, 32, 50, 64, 81, 100, 200, 500, 1000, 2000, 5000, 10_000)
POPULATIONS = (20, 100, 400, 1000)
DRAWS = 2000  # of a noisy search
ONE = OBJECTIVES[:1]  # for loops that take minutes


@dataclass(frozen=True)
class Method:
    """A way to search, and where and how long it is tried.

    Attributes
    ----------
    name
        Of our optimizer, or of its peer in `libraries.LOOPS`.
    ours
        Which of the two.
    evaluations
        Of one search.
    settings
        Other than the defaults.
    spaces, objectives
        Its problems.
    seeds
        At most so many.
    model
        Of the surrogate.
    """

    name: str
    ours: bool
    evaluations: int
    settings: tuple[tuple[str, Any], ...] = ()
    spaces: Sequence[str] = ("gpt-s", "gpt-l")
    objectives: Sequence[str] = tuple(OBJECTIVES)
    seeds: int = 5
    model: str = "additive"

    def __str__(self) -> str:
        settings = "".join(f" {key}={value}" for key, value in self.settings)
        model = "" if self.model == "additive" else f" on {self.model}"
        return f"{'' if self.ours else 'library '}{self.name}{settings}{model}"


def methods() -> Iterator[Method]:
    """All of them."""
    scales = ("gpt-s", "gpt-m", "gpt-l")
    yield Method("additive", True, 200, spaces=scales)
    yield Method("additive", True, 200, spaces=scales, model="trees")
    for name in ("uniform", "random", "morea", "local_search"):
        yield Method(name, True, 1000, spaces=scales)
    for name in ("nsga2", "nsga3", "moead", "smsemoa"):
        for pop_size in POPULATIONS:
            # Larger ones are worse up to 10,000: that much is tried on fewer problems.
            objectives = OBJECTIVES if pop_size <= 100 else ONE
            for ours in (True, False):
                yield Method(name, ours, 10_000, (("pop_size", pop_size),), objectives=objectives)
    yield Method("motpe", True, 200)
    yield Method("motpe", False, 200)
    yield Method("ehvi", True, 200, spaces=scales)
    yield Method("ehvi", False, 100, objectives=ONE)
    yield Method("gp", True, 100, objectives=ONE, seeds=2)
    yield Method("gp", False, 100, objectives=ONE, seeds=2)
    for name in ("parego", "rsbo", "lsbo"):
        yield Method(name, True, 200, spaces=scales, seeds=2)
    yield Method("moasha", True, DRAWS, objectives=ONE)
    yield Method("moasha", False, DRAWS, objectives=ONE)


@cache
def bench_of(space: str, model: str) -> Any:
    """The backend of a space."""
    return hwnas.surrogate(space, model=model)  # type: ignore[arg-type]


@cache
def known(space: str, model: str, objective: str) -> tuple[Any, float]:
    """Reference point of a problem, and the best hypervolume known."""
    front = bench_of(space, model).front(["perplexity", objective]).losses
    reference = reference_point(front)
    return reference, pareto.hypervolume(front, reference)


def ours(method: Method, bench: Any, objectives: list[str], seed: int) -> Array:
    """Losses (n, 2) of one of our optimizers, asked for as the loop asks."""
    optimizer = hwnas.optimizer(method.name, bench.space, 2, seed=seed, **dict(method.settings))
    batches: list[Array] = []
    remaining = method.evaluations
    while remaining > 0:
        codes = optimizer.ask(min(optimizer.batch, remaining))
        losses = bench.predict(codes, objectives)
        optimizer.tell(codes, losses)
        batches.append(losses)
        remaining -= len(codes)
    return np.concatenate(batches)


def noisy(method: Method, space: str, objectives: list[str], seed: int) -> float:
    """True normalised hypervolume of what moasha recommends after `DRAWS` draws."""
    if method.ours:
        with tempfile.TemporaryDirectory() as folder:
            experiment = {
                "name": "noisy",
                "space": space,
                "objectives": objectives,
                "optimizers": [method.name],
                "budget": {"evaluations": method.evaluations},
                "seeds": [seed],
                "noise": True,
            }
            result = hwnas.run(experiment, out=Path(folder, "out"))
            return float(result.summary[0]["normalised"])
    bench = hwnas.surrogate(space, noise=True)
    codes = moasha(bench, objectives, method.evaluations, seed)
    reference, best = known(space, method.model, objectives[1])
    return pareto.hypervolume(bench.predict(codes, objectives), reference) / best


def row_of(
    method: Method, space: str, objective: str, seed: int, plain: dict[str, Any]
) -> list[Any]:
    """One search: who, where, seconds, and the hypervolume at each mark.

    `plain` are settings of BoTorch's own loop: on which device, and for how long at most.
    """
    bench, objectives = bench_of(space, method.model), ["perplexity", objective]
    reference, best = known(space, method.model, objective)
    key = [str(method), space, objective, seed]
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        begin = time.process_time()
        if method.name == "moasha":
            value = noisy(method, space, objectives, seed)
            seconds = time.process_time() - begin
            return [*key, f"{seconds:.2f}", *[""] * (len(MARKS)), f"{value:.5f}"]
        if method.ours:
            losses = ours(method, bench, objectives, seed)
        else:
            loop, settings = LOOPS[method.name], dict(method.settings)
            if method.name == "ehvi":
                settings.update(plain)
            losses = loop(bench, objectives, method.evaluations, seed, **settings)
        seconds = time.process_time() - begin
    values = [
        f"{pareto.hypervolume(losses[:mark], reference) / best:.5f}" if mark <= len(losses) else ""
        for mark in MARKS
    ]
    return [*key, f"{seconds:.2f}", *values, ""]


def paired(name: str = "nsga2", seeds: int = 60, evaluations: int = 200) -> None:
    """Print how far an evolutionary method with 20 networks is ahead of its library's loop."""
    method, objectives = Method(name, True, evaluations, (("pop_size", 20),)), ["perplexity", *ONE]
    for space in method.spaces:
        bench, (reference, best) = bench_of(space, "additive"), known(space, "additive", ONE[0])
        both = [
            (
                pareto.hypervolume(ours(method, bench, objectives, seed), reference) / best,
                pareto.hypervolume(
                    LOOPS[name](bench, objectives, evaluations, seed, pop_size=20), reference
                )
                / best,
            )
            for seed in range(seeds)
        ]
        lead = np.subtract(*np.transpose(both))
        print(f"{space}: {lead.mean():+.4f}, standard error {lead.std(ddof=1) / seeds**0.5:.4f}")


HEADER = ["method", "space", "objective", "seed", "seconds", *map(str, MARKS), "noisy"]


def read() -> list[dict[str, str]]:
    """The rows there are."""
    if not ROWS.exists():
        return []
    with ROWS.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run(only: str, seeds: int, workers: int, timed: bool, plain: dict[str, Any]) -> None:
    """Add the searches that are missing."""
    finished = {(r["method"], r["space"], r["objective"], int(r["seed"])) for r in read()}
    tasks = [
        (method, space, objective, seed)
        for seed in range(seeds)
        for method in methods()
        for space in method.spaces
        for objective in method.objectives
        if seed < method.seeds
        and (str(method), space, objective, seed) not in finished
        and re.search(only, f"{method} {space} {objective}")
    ]
    print(f"{len(tasks)} searches", flush=True)
    spawn = multiprocessing.get_context("spawn")
    with (
        ROWS.open("a", newline="", encoding="utf-8") as file,
        ProcessPoolExecutor(workers, spawn) as pool,
    ):
        writer = csv.writer(file, lineterminator="\n")
        if not finished and ROWS.stat().st_size == 0:
            writer.writerow(HEADER)
        for future in as_completed([pool.submit(row_of, *task, plain) for task in tasks]):
            row = future.result()
            writer.writerow(row if timed else [*row[:4], "", *row[5:]])
            file.flush()


# -- the page ----------------------------------------------------------------------------------

Table = dict[tuple[str, str, int], dict[str, list[float]]]
"""Normalised hypervolumes after a number of evaluations: by space, objective and evaluations, then
by method, those of its seeds."""


def tabled(rows: list[dict[str, str]]) -> Table:
    """The rows of noise-free searches, sorted."""
    table: Table = defaultdict(lambda: defaultdict(list))
    for row in sorted(rows, key=lambda row: int(row["seed"])):
        for mark in MARKS:
            if row[str(mark)]:
                key = row["space"], row["objective"], mark
                table[key][row["method"]].append(float(row[str(mark)]))
    return table


def merged(table: Table) -> Table:
    """With the population of each method that is best on average after so many evaluations.

    Only populations that were tried on all problems take part.
    """
    out: Table = defaultdict(dict)
    sizes: dict[tuple[str, str, int], dict[str, list[float]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for (space, _, mark), by_method in table.items():
        for method, values in by_method.items():
            sizes[space, method.partition(" pop_size")[0], mark][method].append(mean(values))
    for (space, objective, mark), by_method in table.items():
        for method, values in by_method.items():
            name = method.partition(" pop_size")[0]
            tried = sizes[space, name, mark]
            max_problems = max(map(len, tried.values()))
            best = max(
                (m for m in tried if len(tried[m]) == max_problems), key=lambda m: mean(tried[m])
            )
            if method == best:
                out[space, objective, mark][name] = values
    return out


def mean(values: Sequence[float]) -> float:
    """Their mean."""
    return float(np.mean(values))


def compared(table: Table, pairs: list[tuple[str, str, int]]) -> list[list[str]]:
    """A row for each pair of methods and number of evaluations: who is ahead, and how surely."""
    rows, ps = [], []
    for first, second, mark in pairs:
        a, b = [], []
        for (_, _, at), by_method in table.items():
            if at == mark and first in by_method and second in by_method:
                both = min(len(by_method[first]), len(by_method[second]))
                a.append(mean(by_method[first][:both]))
                b.append(mean(by_method[second][:both]))
        if not a:
            continue
        lead = np.array(a) - b
        ps.append(wilcoxon(a, b))
        worst = f"{lead.min():+.4f}"
        rows.append([first, second, f"{mark:,}", str(len(lead)), f"{lead.mean():+.4f}", worst])
    return [[*row, f"{p:.2g}"] for row, p in zip(rows, holm(ps), strict=True)] if rows else []


def lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    out = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    return "\n".join(out + [f"| {' | '.join(row)} |" for row in rows])


def qualities(table: Table, space: str, marks: Sequence[int]) -> str:
    """Mean over the problems of a space, a row a method; what is missing to 1 as a power of ten."""
    means: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    seeds: dict[str, int] = {}
    for (name, _, mark), by_method in table.items():
        if name == space and mark in marks:
            for method, values in by_method.items():
                means[method][mark].append(mean(values))
                seeds[method] = min(seeds.get(method, len(values)), len(values))
    rows = []
    for method, at in means.items():
        if not any(mark in at for mark in marks):
            continue
        cells = [f"{mean(at[mark]):.4f}" if mark in at else "" for mark in marks]
        last = max(mark for mark in marks if mark in at)
        problems = str(max(map(len, at.values())))
        missing = f"{np.log10(1 - mean(at[last])):.2f}"
        rows.append([method, problems, str(seeds[method]), *cells, missing])
    rows.sort(key=lambda row: row[3 + list(marks).index(100)] or "0", reverse=True)
    mark_texts = [f"{mark:,}" for mark in marks]
    header = [space, "problems", "seeds (least)", *mark_texts, "log10 of what is missing"]
    return lines(header, rows)


def times(rows: list[dict[str, str]]) -> str:
    """Processor seconds of one search."""
    durations: dict[tuple[str, str], list[float]] = defaultdict(list)
    spaces = ("gpt-s", "gpt-m", "gpt-l")
    for row in rows:
        if row["seconds"]:
            durations[row["method"], row["space"]].append(float(row["seconds"]))
    evaluations = {str(method): method.evaluations for method in methods()}
    out = []
    for method in dict.fromkeys(row["method"] for row in rows if row["seconds"]):
        seconds = [
            f"{mean(durations[method, space]):.2f}" if (method, space) in durations else ""
            for space in spaces
        ]
        each = [
            f"{1000 * mean(durations[method, space]) / evaluations[method]:.2f}"
            if (method, space) in durations
            else ""
            for space in spaces
        ]
        out.append([method, f"{evaluations[method]:,}", *seconds, *each])
    header = ["search", "evaluations", *(f"{s}, s" for s in spaces)]
    return lines([*header, *(f"{s}, ms each" for s in spaces)], sorted(out))


def draw(table: Table, file: Path) -> None:
    """Draw the missing hypervolume over evaluations, mean over problems."""
    figure = style.make_figure(2, "Missing hypervolume, mean over problems and seeds", width=6.2)
    panels = figure.subplots(1, 2)
    names = style.unique_names(
        [m for by in table.values() for m in by if not m.startswith("library")]
    )
    names = [name for name in names if " on " not in name and name != "moasha"]
    names.sort(key=lambda name: name != "additive")
    for axes, space in zip(panels, ("gpt-s", "gpt-l"), strict=True):
        for index, name in enumerate(names):
            curve = [
                (
                    mark,
                    1
                    - mean(
                        [
                            mean(by[name])
                            for (s, _, m), by in table.items()
                            if (s, m) == (space, mark) and name in by
                        ]
                    ),
                )
                for mark in MARKS
                if any((s, m) == (space, mark) and name in by for (s, _, m), by in table.items())
            ]
            look = style.line_style(index)
            axes.plot(*zip(*curve, strict=True), label=name, markersize=3.5, linewidth=1.3, **look)
        style.format_axes(axes, title=space, x="evaluations", y="1 - normalised hypervolume")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
    style.legend(
        figure, *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=6
    )
    figure.savefig(file)


def report() -> None:
    """Write the page and the plot."""
    rows = read()
    table = tabled([row for row in rows if not row["noisy"]])
    best = merged(table)
    ours_of = style.unique_names(
        [m for by in best.values() for m in by if not m.startswith("library")]
    )
    wrapped = [
        (name, f"library {name}", mark) for name in LOOPS for mark in (50, 100, 200, 1000, 10_000)
    ]
    rivals = [name for name in ours_of if name != "additive" and " on " not in name]
    ahead = [("additive", name, mark) for mark in (50, 100, 200) for name in rivals]
    header = ["ours", "against", "evaluations", "problems", "mean lead", "least lead", "p (Holm)"]
    noisy: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in rows:
        if row["noisy"]:
            noisy[row["method"], row["space"]].append(float(row["noisy"]))
    noisy_rows = [[*key, str(len(v)), f"{mean(v):.4f}"] for key, v in sorted(noisy.items())]
    marks = (20, 50, 100, 200, 1000, 10_000)
    draw(best, HERE / "peers.png")
    page = f"""# Every optimizer beside the libraries' own loops

    python benchmarks/peers.py run
    python benchmarks/peers.py report

Perplexity against a latency or an energy on {", ".join(DEVICES)}, without noise
(``peers.csv`` has every search). `library NAME` is the library's own loop (``libraries.py``): pymoo
for the four evolutionary ones, Optuna for motpe and gp, a plain BoTorch qLogNEHVI for ehvi. Figures
are normalised hypervolumes: means over problems of means over seeds. Of evolutionary methods the
population is the best of {", ".join(map(str, POPULATIONS))} for the space and the number of
evaluations, among those that were tried on all its problems.

![missing hypervolume](peers.png)

{qualities(best, "gpt-s", marks)}

{qualities(best, "gpt-m", marks)}

{qualities(best, "gpt-l", marks)}

`additive on trees` searched the not quite additive flavour of the surrogate, relative to its best
known front. What was tried on one problem of a space only is not comparable with the rest.

## Wrapped methods and their library's loop

On the problems and seeds that both have. p: Wilcoxon's signed-rank test over problems, corrected
together by Holm; with one problem a space there are too few for it to say anything. The first
samples of a seed are the same on all problems of a space, so early leads of methods without a model
are five draws and not eighty: over 60 seeds of latency@rtx2080 and a population of 20, nsga2 leads
its library's loop by 0.003 (standard error 0.002) on gpt-s and 0.000 (0.0015) on gpt-l after 200
(``python benchmarks/peers.py paired``).

{lines(header, compared(best, wrapped))}

`moasha` under noise, {DRAWS:,} draws: true normalised hypervolume of what is recommended.

{lines(["search", "space", "searches", "normalised"], noisy_rows)}

## `additive` against every other

{lines(header, compared(best, ahead))}

## Time

Processor seconds of one thread for a search, evaluations included, and milliseconds for each of its
evaluations; two searches ran beside each other on two cores.

{times(rows)}
"""
    (HERE / "peers.md").write_text(page, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    runs = actions.add_parser("run")
    runs.add_argument("--only", default="", metavar="REGEX")
    runs.add_argument("--seeds", type=int, default=5)
    runs.add_argument("--workers", type=int, default=1)
    runs.add_argument("--untimed", action="store_true")
    runs.add_argument("--device", default="cpu", help="of BoTorch's own loop")
    runs.add_argument("--most", type=float, default=np.inf, help="seconds of BoTorch's own loop")
    actions.add_parser("report")
    actions.add_parser("paired")
    chosen = parser.parse_args()
    if chosen.action == "run":
        plain = {"device": chosen.device, "seconds": chosen.most}
        run(chosen.only, chosen.seeds, chosen.workers, not chosen.untimed, plain)
    elif chosen.action == "paired":
        paired()
    else:
        report()


if __name__ == "__main__":
    main()
