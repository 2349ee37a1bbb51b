"""The optimizer ``auto`` beside the single optimizer that is best on other seeds.

    python benchmarks/auto.py run [--most 10] [--seconds 600] [--only REGEX]
    python benchmarks/auto.py report

`run` appends to ``auto.csv`` what it does not have yet and can be stopped at any time; searches
start within `--seconds`; REGEX is matched with ``GROUP PROBLEM OPTIMIZER``. `report` writes
``auto.md``. The problems are those of ``auto_problems.py``.
"""

from __future__ import annotations

import argparse
import re
import time
from collections import defaultdict
from pathlib import Path

from auto_problems import AUTO, CANDIDATES, FLAT, GROUPS, MARKS, MEASURED, Case, cases, shares_of
from csv_rows import append_row, read_rows

import numpy as np  # isort: skip - one thread is set above

from hwnas.runner.executors import one_thread

HERE = Path(__file__).parent
ROWS, PAGE = HERE / "auto.csv", HERE / "auto.md"
COLUMNS = ("group", "problem", "optimizer", "seed", *map(str, MARKS), "seconds")
MARGIN = 0.005  # of normalized hypervolume that `auto` may be behind

LIMITS = """\
## Limits

- Two rules of `auto` on flat problems, turns of `local_search` from 300 evaluations on and no
  `ehvi` with three objectives, were chosen by searches on these problems with the seeds 0 to 3.
  Their lines are no test on unseen data.
- The same holds for *noisy, measured*: `additive` was behind `ehvi` while its predictions hid
  measured architectures.
- A pass is about the mean alone. Where the error is larger than the margin, as on flat problems,
  these searches cannot tell whether `auto` is behind by more than that.
- At 500 evaluations `ehvi`, `parego` and `motpe` are not among the singles.
- Cases that some optimizer has not run yet count nowhere.

## Where `auto` is furthest behind

Of each group the case with the largest deficit to any single optimizer, chosen afterwards.

| group | problem | seed | evaluations | auto | best | its share |
|---|---|---:|---:|---:|---|---:|
"""

Scores = dict[str, float]  # by optimizer


def run(max_searches: int, seconds: float, only: str) -> None:
    """Make up to `max_searches` missing searches, the last of them started within `seconds`."""
    end = time.monotonic() + seconds
    finished = {tuple(row[:4]): row[4:] for row in read_rows(ROWS)}
    for case in cases():
        for optimizer, evaluations in {"auto": AUTO, **CANDIDATES[case.group]}.items():
            key = (case.group, case.problem, optimizer, str(case.seed))
            if key in finished or not re.search(only, " ".join(key[:3])):
                continue
            if max_searches == 0 or time.monotonic() > end:
                return
            max_searches -= 1
            for group, values in values_of(case, optimizer, evaluations, finished).items():
                finished[(group, *key[1:])] = values
                append_row(ROWS, COLUMNS, [group, *key[1:], *values])
                print(group, *key[1:], *values, flush=True)


def values_of(
    case: Case, optimizer: str, evaluations: int, finished: dict[tuple[str, ...], list[str]]
) -> dict[str, list[str]]:
    """Return the shares and the processor seconds of a search, by group."""
    groups = (case.group, MEASURED) if case.group == "noisy" else (case.group,)
    auto = [(group, case.problem, "auto", str(case.seed)) for group in groups]
    if optimizer == "additive" and has_layers(case) and all(key in finished for key in auto):
        return {key[0]: finished[key] for key in auto}
    shares, used = shares_of(case, optimizer, evaluations)
    return {group: [*own, f"{used:.1f}"] for group, own in shares.items()}


def has_layers(case: Case) -> bool:
    """Return whether `auto` is `additive` on a problem, trial by trial, so that one is run."""
    return case.group not in FLAT


# -- report --------------------------------------------------------------------------------------


def complete_cases(rows: list[list[str]], group: str, mark: int) -> dict[Case, Scores]:
    """Return the scores at a mark of the cases that all optimizers of a group have run."""
    column = COLUMNS.index(str(mark))
    scores: dict[Case, Scores] = defaultdict(dict)
    for row in rows:
        if row[0] == group and row[column]:
            scores[Case(group, row[1], int(row[3]))][row[2]] = float(row[column])
    limits = {"auto": AUTO, **GROUPS[group]}
    expected = {name for name, limit in limits.items() if mark <= limit}
    if "auto" not in expected:
        return {}
    return {
        case: {name: own[name] for name in expected}
        for case, own in scores.items()
        if expected <= own.keys()
    }


def best_single(scores: dict[Case, Scores], seed: int) -> str | None:
    """Return the optimizer but `auto` of the best mean over other seeds; None without any."""
    other_scores = [own for case, own in scores.items() if case.seed != seed]
    names = [name for name in (other_scores[0] if other_scores else {}) if name != "auto"]
    return max(names, key=lambda name: np.mean([own[name] for own in other_scores]), default=None)


def line_of(group: str, mark: int, scores: dict[Case, Scores]) -> str | None:
    """Return the line of the table on a group at a mark; None without cases on two seeds."""
    chosen = {seed: best_single(scores, seed) for seed in {case.seed for case in scores}}
    pairs = [
        (own["auto"], own[name])
        for case, own in scores.items()
        if (name := chosen[case.seed]) is not None
    ]
    if not pairs:
        return None
    auto, single = np.array(pairs).T
    difference = auto - single
    error = difference.std(ddof=1) / np.sqrt(len(pairs)) if len(pairs) > 1 else np.nan
    names = ", ".join(sorted({name for name in chosen.values() if name}))
    verdict = "pass" if difference.mean() >= -MARGIN else "**miss**"
    n_searches = sum(map(len, scores.values()))
    return (
        f"| {group} | {mark:,} | {auto.mean():.4f} | {names} | {single.mean():.4f} | "
        f"{difference.mean():+.4f} ± {error:.4f} | {verdict} | {len(pairs)} | {n_searches} |"
    )


def deficits_table(rows: list[list[str]]) -> list[str]:
    """Return a line for each group in which `auto` was behind, on the case where it was most."""
    lines = []
    for group in GROUPS:
        singles = [
            (own[name] - own["auto"], case, mark, own["auto"], name, own[name])
            for mark in MARKS
            for case, own in complete_cases(rows, group, mark).items()
            for name in own
        ]
        deficit, case, mark, auto, name, single = max(singles, key=lambda entry: entry[0])
        if deficit > 0:
            lines.append(
                f"| {group} | {case.problem} | {case.seed} | {mark} | {auto:.4f} | {name} | "
                f"{single:.4f} |"
            )
    return lines


def means_table(rows: list[list[str]]) -> list[str]:
    """Return the mean of every optimizer at every mark, over the complete cases."""
    lines = [
        "| group | optimizer | " + " | ".join(map(str, MARKS)) + " | processor seconds |",
        "|---|---|" + "---:|" * (len(MARKS) + 1),
    ]
    for group, candidates in GROUPS.items():
        by_mark = {mark: complete_cases(rows, group, mark) for mark in MARKS}
        for name in ("auto", *candidates):
            values = [[own[name] for own in by_mark[m].values() if name in own] for m in MARKS]
            texts = [f"{np.mean(shares):.4f}" if shares else "" for shares in values]
            used = [float(row[-1]) for row in rows if row[0] == group and row[2] == name]
            if used:
                lines.append(f"| {group} | {name} | {' | '.join(texts)} | {np.mean(used):.0f} |")
    return lines


def report() -> None:
    """Write the page."""
    rows = read_rows(ROWS)
    lines = [
        "# `auto` and the best single optimizer",
        "",
        "    python benchmarks/auto.py run",
        "    python benchmarks/auto.py report",
        "",
        "Share of the exact front's hypervolume after so many evaluations, mean over problems and",
        "seeds, of `auto` and of the single optimizer that is best *on the other seeds* of the",
        f"group: whoever chose it could not do better in advance. Wanted: never more than {MARGIN}",
        "behind. A case is one problem with one seed; all optimizers of its group have run it. The",
        "error is that of the mean difference.",
        "",
        "| group | evaluations | auto | best single | its mean | difference | | cases | searches |",
        "|---|---:|---:|---|---:|---:|---|---:|---:|",
    ]
    for group in GROUPS:
        for mark in MARKS:
            line = line_of(group, mark, complete_cases(rows, group, mark))
            lines += [line] if line else []
    lines += [
        "",
        "On spaces with layers `auto` is `additive`, trial by trial, so that one search counts for",
        "both; what is learned there is whether another optimizer is ahead of it.",
        "",
        "- layered: gpt-s and gpt-l, perplexity against latency or energy of a published device.",
        "- flat: ZDT on grids, on the scale of [classic.md](classic.md); with three",
        "  objectives, DTLZ1 to DTLZ4 and DTLZ7.",
        "- noisy: as layered, of one draw an evaluation; scored is what an optimizer recommends,",
        "  valued by medians: the column `normalised` of a run. Its other line is about those of",
        "  the recommended architectures that were measured.",
        "- constrained: perplexity against latency, with bounds on both and on energy that 1 to",
        "  6 % of the space keep.",
        "- multi-fidelity: made-up learning curves with rungs of 1, 3, 9 and 27 steps that end in",
        "  the perplexity of the surrogate; an evaluation is the time of 27 steps, and only what",
        "  was trained for all of them counts.",
        "- three objectives: perplexity, latency and energy of one device.",
        "",
        *LIMITS.splitlines(),
        *deficits_table(rows),
        "",
        "## All optimizers",
        "",
        "Over cases that are complete at the mark. Optimizers end where a search would take too",
        "long; an empty field is one that was not run so far.",
        "",
        *means_table(rows),
    ]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=("run", "report"))
    parser.add_argument("--most", type=int, default=-1)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    if options.task == "report":
        report()
        return
    with one_thread():
        run(options.most, options.seconds, options.only)


if __name__ == "__main__":
    main()
