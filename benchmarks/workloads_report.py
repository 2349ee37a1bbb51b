"""Page of ``workloads.py``: every figure in it comes from the rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from hardware_common import table
from workloads_fronts import Fronts, find_fronts
from workloads_pairs import Verdict, verdict
from workloads_plot import percent, plot
from workloads_processes import PREFIX, Spread, spread
from workloads_rows import (
    ENERGIES,
    ENERGY_SECONDS,
    N_ANCHORS,
    SPACES,
    TIME_SECONDS,
    TIMES,
    WITH_PERPLEXITY,
    Row,
    rows_of,
)
from workloads_statistics import (
    METRICS,
    Measured,
    held_out_error,
    main_card,
    measured,
    rank_correlation,
    repeatability,
)

MAX_BYTES = 2_000_000  # of all CSVs together
LABELS = {
    "latency": "forward pass",
    "ttft.chat": "chat, first token",
    "tpot.chat": "chat, next tokens",
    "ttft.serve": "serving, first token",
    "tpot.serve": "serving, next tokens",
    "energy": "energy of a forward pass",
    "energy_per_token.chat": "energy a token, chat",
    "energy_per_token.serve": "energy a token, serving",
}
# Pairs of metrics whose ranks are compared: all times, and each energy with its own time.
PAIRS = (
    *combinations(TIMES, 2),
    ("latency", "energy"),
    ("tpot.chat", "energy_per_token.chat"),
    ("tpot.serve", "energy_per_token.serve"),
    ("energy", "energy_per_token.serve"),
)


def write_page(folder: Path, to: Path) -> None:
    """Write the page, and its plot beside it, from the CSVs of a folder."""
    rows = {name: space_rows for name in SPACES if (space_rows := rows_of(name, [folder]))}
    if not rows:
        raise SystemExit(f"{folder}: expected CSVs of spaces; write some with measure or merge")
    size = sum(file.stat().st_size for file in folder.glob("*.csv"))
    if size > MAX_BYTES:
        print(f"{folder}: {size:,} bytes; expected at most {MAX_BYTES:,}")
    everything = [row for space_rows in rows.values() for row in space_rows]
    card = main_card(everything)
    networks = {
        name: measured(name, ours)
        for name, space_rows in rows.items()
        if (ours := [row for row in space_rows if row["card"] == card])
    }
    fronts = {n: find_fronts(networks[n], METRICS) for n in WITH_PERPLEXITY if n in networks}
    plotted = {name: front for name, front in fronts.items() if set(TIMES) <= set(front.tables)}
    if plotted:
        plot(plotted, card, to.with_suffix(".png"))
    verdicts = {
        name: verdict(networks[name], front, front_rows)
        for name, front in fronts.items()
        if (front_rows := [r for r in rows_of(f"front-{name}", [folder]) if r["card"] == card])
    }
    sections = [
        "# Workloads",
        *introduction(plotted, to.with_suffix(".png").name),
        *protocol(networks, everything, card),
        *repeatability_section(networks),
        *processes_section({name: rows_of(PREFIX + name, [folder]) for name in SPACES}),
        *additivity_section(networks),
        *correlation_section(networks),
        *losses_section(fronts, networks),
        *check_section(verdicts),
    ]
    to.write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def introduction(fronts: dict[str, Fronts], plot_name: str) -> Iterator[str]:
    """Yield the question, the answer and the plot."""
    yield (
        "HW-GPT-Bench's latency is that of one forward pass. People chat with a model, or serve "
        "many requests at once. Random networks of several spaces were measured at all three, "
        "to see whether the network that is best for one is best for the others."
    )
    if not fronts:
        yield "There are not yet enough networks for fronts."
        return
    clauses = []
    for name, front in fronts.items():
        lost = front.loss("latency", "tpot.serve")
        clauses.append(
            f"on {name} {percent(lost.mean)} slower on average and {percent(lost.worst)} at most"
        )
    yield (
        "**Networks on the front of perplexity and the forward pass are, at decoding for many "
        f"requests at once, {'; '.join(clauses)}, than the best networks of the same perplexity.**"
    )
    yield f"![fronts found for the forward pass and for serving, and all losses]({plot_name})"


def protocol(networks: dict[str, Measured], everything: Sequence[Row], card: str) -> Iterator[str]:
    """Yield the hardware, the software, what was measured and how many networks there are."""
    ours = [row for row in everything if row["card"] == card]
    yield "## What was measured"
    yield (
        f"{card}; {listed(ours, 'torch', 'torch ')}; {listed(ours, 'cuda', 'CUDA ')}; "
        f"{listed(ours, 'driver', 'driver ')}; {span(ours)}. `python benchmarks/workloads.py` "
        "measures with `hwnas.profiling` and writes this page from the CSVs in "
        "`benchmarks/workloads/`. All networks are uniformly random. Times are medians, repeated "
        f"until the 95 % interval is within 1 % or {TIME_SECONDS:g} s are over "
        f"({ENERGY_SECONDS:g} s where energy is measured too); energies are those of the whole "
        "board under sustained load, idle power included, within 3 % or for "
        f"{ENERGY_SECONDS:g} s. Values that missed this are counted as "
        "imprecise; they are used all the same."
    )
    other_cards = sorted({row["card"] for row in everything} - {card})
    if other_cards:
        yield f"Rows from other cards are not used here: {', '.join(other_cards)}."
    yield table(
        ["", "requests x tokens", "metrics"],
        [
            ["forward pass", listed(ours, "forward"), "`latency`, `energy`"],
            ["chat", listed(ours, "chat"), "`ttft.chat`, `tpot.chat`, `energy_per_token.chat`"],
            ["serving", listed(ours, "serve"), "`ttft.serve`, `tpot.serve`, ..."],
        ],
    )
    yield (
        "`(512 + 256)` stands for 512 tokens of prompt and 256 generated ones; `ttft` is the time "
        "to the first token, `tpot` that of each further step of the whole batch. Seconds are "
        "those of all three workloads."
    )
    header = [
        "space", "networks", "with energy", "failed", "pieces", "forward pass", "imprecise values",
        "seconds a network", "with energies",
    ]  # fmt: skip
    yield table(header, [counts(name, space_networks) for name, space_networks in networks.items()])


def counts(name: str, networks: Measured) -> list[object]:
    """Return the row of a space in the table of what was measured."""
    complete = np.all([np.isfinite(networks.values[metric]) for metric in TIMES], axis=0)
    with_energy = np.all([np.isfinite(networks.values[metric]) for metric in ENERGIES], axis=0)
    failed = {row["arch"] for row in networks.rows if row["failed"]}
    imprecise = sum(len(row["imprecise"].split()) for row in networks.rows)
    total = sum(bool(row[metric]) for row in networks.rows for metric in METRICS)
    seconds = [
        [float(row["seconds"]) for row in networks.rows if bool(row["energy"]) == energy]
        for energy in (False, True)
    ]
    return [
        name,
        int(complete.sum()),
        int(with_energy.sum()),
        len(failed),
        len(networks.pieces),
        listed(networks.rows, "forward"),
        f"{imprecise} of {total:,}",
        *(float(np.median(values)) if values else None for values in seconds),
    ]


def repeatability_section(networks: dict[str, Measured]) -> Iterator[str]:
    """Yield how far the anchors of later pieces are from those of the first."""
    yield "## Repeatability"
    yield (
        f"The first {N_ANCHORS} networks of each space are measured again in every piece, each "
        "piece a process of its own. Distance from the value of the first piece: median and worst; "
        "then the largest shift of a whole piece (the median of its signed distances). Empty where "
        "nothing was measured twice. Boards of one card differ, in energy most; in all that "
        "follows, pieces are aligned by these networks to the average of the boards."
    )
    rows = []
    for name, space_networks in networks.items():
        cells = []
        for metric in METRICS:
            result = repeatability(space_networks, metric)
            cells.append(
                ""
                if result is None
                else f"{small(result.median)}, {small(result.worst)}; {small(result.shift, '+')}"
            )
        rows.append([name, *cells])
    yield table(["%", *(f"`{metric}`" for metric in METRICS)], rows)


def processes_section(rows: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    """Yield how far values of fresh processes on one board are from each other."""
    repeated = {name: ours for name, ours in rows.items() if ours}
    if not repeated:
        return
    yield (
        "The same networks in fresh processes on one board, one after the other: distance from the "
        "median of a network's values, median and worst. Wanted are 1 % of times to the first "
        "token and of each further one, and 3 % of energies a token."
    )

    def text(result: Spread | None) -> str:
        return f"{small(result.median)}, {small(result.worst)}" if result else ""

    yield table(
        ["%", "processes", "networks", *(f"`{metric}`" for metric in METRICS)],
        [
            [
                name,
                len({row["piece"] for row in ours}),
                len({row["arch"] for row in ours}),
                *(text(spread(ours, metric)) for metric in METRICS),
            ]
            for name, ours in repeated.items()
        ],
    )


def additivity_section(networks: dict[str, Measured]) -> Iterator[str]:
    """Yield the errors of linear models."""
    yield "## Additivity"
    yield (
        "Mean error, relative and held out (leave one out), of a linear model for each "
        "`embed_dim`: in the number of layers, the sums over layers of MLP ratios (Llama: widths) "
        "and of heads (Llama: those of queries, and those of keys and values), and `bias` (Llama: "
        "`tied`). Empty where a width has too few networks."
    )
    rows = [
        [name, *(small(held_out_error(space_networks, metric)) for metric in METRICS)]
        for name, space_networks in networks.items()
    ]
    yield table(["%", *(f"`{metric}`" for metric in METRICS)], rows)


def correlation_section(networks: dict[str, Measured]) -> Iterator[str]:
    """Yield Kendall's tau of pairs of metrics."""
    yield "## Rank correlation"
    yield (
        "Kendall's tau over the random networks of a space, and its mean within one `embed_dim`: "
        "1 where two metrics order all networks alike."
    )
    rows = []
    for a, b in PAIRS:
        taus = [rank_correlation(space_networks, a, b) for space_networks in networks.values()]
        cells = ["" if math.isnan(all_) else f"{all_:.2f}, {within:.2f}" for all_, within in taus]
        rows.append([f"`{a}`, `{b}`", *cells])
    yield table(["", *networks], rows)


def losses_section(fronts: dict[str, Fronts], networks: dict[str, Measured]) -> Iterator[str]:
    """Yield the matrices of what a front for one metric loses by another."""
    yield "## What a front for one workload loses by another"
    yield (
        "Linear models of each width are fitted to the measured values and make additive tables, "
        "of which, with the surrogate's perplexity, exact fronts follow. Each front is judged by "
        "the other metrics: the hypervolume it lacks of that metric's own front (reference point: "
        "the front's worst values and 10 % of its range); then, over its networks, the mean and "
        "the worst excess over the best network of at most the same perplexity. The other spaces "
        "have no published perplexity."
    )
    for name, space_fronts in fronts.items():
        yield f"### {name}"
        metrics = [metric for metric in METRICS if metric in space_fronts.tables]
        if len(metrics) < 2:
            yield "Too few networks of each width so far."
            continue
        rows = []
        for a in metrics:
            losses = [space_fronts.loss(a, b) for b in metrics]
            cells = [
                "" if a == b else
                f"{small(loss.hypervolume)}; {small(loss.mean)}, {small(loss.worst)}"
                for b, loss in zip(metrics, losses, strict=True)
            ]  # fmt: skip
            rows.append([LABELS[a], f"{len(space_fronts.codes[a]):,}", *cells])
        header = ["front for, by % of", "networks", *(f"`{metric}`" for metric in metrics)]
        yield table(header, rows)
        errors = ", ".join(f"`{m}` {small(held_out_error(networks[name], m))} %" for m in metrics)
        yield f"Held-out errors of the models: {errors}."


def check_section(verdicts: Mapping[str, Verdict | None]) -> Iterator[str]:
    """Yield how measured networks on the fronts agree with the models."""
    results = {name: result for name, result in verdicts.items() if result is not None}
    if not results:
        return
    yield "## Networks on the fronts, measured"
    yield (
        "Random networks are near the middle of their space, those on a front near its ends. Pairs "
        "of networks were therefore measured: one of the front for the forward pass, and the best "
        "by `tpot.serve` of at most its perplexity. Excess of the first over the second, mean and "
        "worst, as measured and as the models predict; then the models' mean error on all of these "
        "networks."
    )
    rows = [
        [
            name,
            result.pairs,
            *(", ".join(map(small, excess)) for excess in (result.measured, result.predicted)),
            *(small(result.errors[metric]) for metric in TIMES),
        ]
        for name, result in results.items()
    ]
    header = ["%", "pairs", "measured", "predicted", *(f"`{metric}`" for metric in TIMES)]
    yield table(header, rows)


def small(share: float, sign: str = "") -> str:
    """Return a share as a number of per cent with two or three digits; nothing for NaN.

    Examples
    --------
    >>> small(0.00123), small(0.234), small(0.012, "+"), small(float("nan"))
    ('0.12', '23', '+1.2', '')
    """
    if math.isnan(share):
        return ""
    number = 100 * share
    digits = 2 if abs(number) < 0.995 else 1 if abs(number) < 9.95 else 0
    return f"{number:{sign}.{digits}f}"


def listed(rows: Sequence[Row], column: str, prefix: str = "") -> str:
    """Return the different texts of a column."""
    texts = sorted({row[column] for row in rows if row[column]})
    return prefix + ", ".join(texts) if texts else f"no {prefix.strip() or column}"


def span(rows: Sequence[Row]) -> str:
    """Return the first and the last day."""
    days = sorted({row["date"] for row in rows})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
