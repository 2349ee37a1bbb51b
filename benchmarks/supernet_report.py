"""The page supernet.md, from the CSVs of ``supernet.py``."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from supernet_statistics import MIN_NETWORKS, Networks, depth_trust, kendall, trust

from hwnas.profiling import build_model
from hwnas.spaces import LanguageModelSpace

Row = Mapping[str, str]
_WANTED_SHARE, _WANTED_COST, _WANTED_RATE = 0.8, 1.25, 30
_KERNEL_LENGTH = 40  # of a name in the table
_FINDINGS = """\
## Why ranks agree in one study and not in the others

After 1,200 steps, 20 million tokens, networks of gpt-s-wide and llama-s are far from what they can
learn: twice the learning rate takes a quarter off the perplexities of gpt-s-wide at width 384, and
a supernet's are lower by a fifth to more than a third. Their order is then that of how fast they
learn, which is hardly that of parameters (tau above). Of eight networks with three layers of width
384 at a learning rate of 0.002, four have perplexities of 34 to 35 and four of 45 to 47; the better
ones have more neurons in the first layer than in the second, whatever their size. Two have further
seeds: 34 and 35, and 41. In a supernet all networks learn together and are past that stage, which
is probably why inherited perplexity does not show it; its order is close to that of parameters.

More steps decide. After 3,200 steps, 26 million tokens (`gpt-s-wide-long`), the same networks agree
with the same supernet's perplexities by 0.56 instead of 0.20, more than two seeds agree with each
other, which differ by 4 %. This is the order of depths, and parameters show it as well: among
networks of one depth neither ranks well. Two reasons can be seen. Trainings alone are still not
long enough: twelve layers of width 768 have perplexities of 24 to 27 alone and 19 to 22 in the
supernet, and of the ten networks with three layers of width 384, those with a ratio of 4 in the
first layer have 32 to 36 and all others 39 to 44, seed by seed, as before. And the supernet treats
small networks badly: those ten have 40 to 43, whatever their first layer, more than most reach
alone.

Tried: learning rates of 0.0005, 0.001 and 0.002 (the first leaves networks at a perplexity of 60,
the last doubles the differences between seeds), and 2.7 times the steps. Not tried: trainings
until twelve layers do as well alone as in a supernet; a larger share of steps for small networks.
The study `cpu`, with small networks and tokens of one
byte, shows the same course. After 400 steps, and 1,200 of the supernet, 24 of its networks agreed
with a second seed by 0.50 and with inherited perplexity by 0.52; after 1,600 and 4,800 steps, 60 of
them by 0.89 and 0.77. Without distillation (`text`) the order is the same, and perplexities are 1
to 3 % higher.

Agreement with trainings alone is no lead over parameters. In `cpu`, inherited perplexity leads by a
little, above all among networks of one depth; in `cpu-llama`, where it reaches 0.8 of the ceiling
too, parameters rank better. Why is not known.
"""
_REMARKS = """
Rows of gpt-xl are older than those of gpt-s: on the H100, before subnetworks were views of the
shared weights; on the H200, before a fault was mended that kept the graphs of up to ten steps in
memory. A step of a supernet is timed without the profiler and its kernels with it, so that idle
time is approximate.
"""


def read(file: Path) -> list[Row]:
    """Return the rows of a CSV file, none if there is no file."""
    if not file.exists():
        return []
    with open(file, encoding="utf-8", newline="") as content:
        return list(csv.DictReader(content))


def joined(space: LanguageModelSpace, alone: Sequence[Row], inherited: Sequence[Row]) -> Networks:
    """Return the networks that have both perplexities.

    Parameters
    ----------
    alone, inherited
        Rows of one study, and of one supernet.
    """
    value = {(row["arch"], row["seed"]): _number(row["perplexity"]) for row in alone}
    # The last step of a supernet counts.
    last = {row["arch"]: row for row in sorted(inherited, key=lambda row: int(row["step"]))}
    names = [arch for arch in last if np.isfinite(value.get((arch, "0"), np.nan))]
    archs = space.decode(space.encode(names))
    counts = [count_decoder(space, arch) for arch in archs]
    return Networks(
        width=np.array([arch.embed_dim for arch in archs]),
        depth=np.array([arch.n_layer for arch in archs]),
        alone=np.array([value[name, "0"] for name in names]),
        repeated=np.array([value.get((name, "1"), np.nan) for name in names]),
        inherited=np.array([_number(last[name]["perplexity"]) for name in names]),
        params=np.array(space.params(space.encode(names)), dtype=np.float64),
        decoder=np.array(counts, dtype=np.float64),
    )


def count_decoder(space: LanguageModelSpace, arch: Any) -> int:
    """Return the parameters of the layers, a proxy of Javaheripi et al. 2022, arXiv:2203.02094."""
    return sum(p.numel() for p in build_model(space, arch, device="meta").blocks.parameters())


def write(
    folder: Path,
    page: Path,
    spaces: Mapping[str, LanguageModelSpace],
    supernet_studies: Mapping[str, str],
) -> str:
    """Write the page and return it.

    Parameters
    ----------
    folder
        Folder of the CSVs.
    page
        File to write.
    spaces, supernet_studies
        Space of each study, and the study whose supernet it is compared with.
    """
    lines = [
        "# Supernets: trust and cost",
        "",
        "Written by `python benchmarks/supernet.py report` from the CSVs beside it.",
        "",
        *trust_lines(folder, spaces, supernet_studies),
        *_FINDINGS.splitlines(),
        "",
        *seed_lines(read(folder / "alone.csv")),
        *cost_lines(read(folder / "cost.csv")),
        *profile_lines(read(folder / "profile.csv")),
        *_REMARKS.splitlines(),
    ]
    text = "\n".join(lines) + "\n"
    page.write_text(text, encoding="utf-8")
    return text


def trust_lines(
    folder: Path, spaces: Mapping[str, LanguageModelSpace], supernet_studies: Mapping[str, str]
) -> list[str]:
    """Return the section on ranks."""
    alone, inherited = read(folder / "alone.csv"), read(folder / "inherited.csv")
    lines = [
        "## Do inherited perplexities rank networks as their own trainings do?",
        "",
        "Kendall's tau within one `embed_dim`, mean of two widths; 90 % intervals of a bootstrap",
        "over networks. The ceiling is that of two seeds of the same training. Networks of",
        "gpt-s-wide and llama-s are under-trained.",
        "",
        "| study, supernet, learning rate alone | networks | inherited | of the ceiling "
        "| ceiling, two seeds | given parameters | lead over parameters "
        "| lead over decoder parameters |",
        "|---|---|---|---|---|---|---|---|",
    ]
    compared = comparisons(alone, inherited, spaces, supernet_studies)
    for label, networks, _ in compared:
        result = trust(networks, np.random.default_rng(0))
        order = ("inherited", "share", "ceiling", "partial", "lead over params")
        cells = [str(result[name]) for name in (*order, "lead over decoder")]
        lines.append(f"| {' | '.join([label, str(len(networks.width)), *cells])} |")
    if not inherited:
        lines.append("\nNo supernet has been evaluated yet: trainings from scratch are below.")
    return [
        *lines,
        "",
        f"Wanted: at least {_WANTED_SHARE} of the ceiling, and intervals of both leads above 0.",
        "",
        *depth_lines(compared),
        *median_lines(compared),
    ]


def comparisons(
    alone: Sequence[Row],
    inherited: Sequence[Row],
    spaces: Mapping[str, LanguageModelSpace],
    supernet_studies: Mapping[str, str],
) -> list[tuple[str, Networks, tuple[str, str]]]:
    """Return the networks of each supernet and learning rate with enough networks of each width.

    Returns
    -------
    list of (label, networks, steps alone and of the supernet)
    """
    supernets = {(row["study"], row["supernet"]) for row in inherited}
    trainings = {(row["study"], row["learning_rate"]) for row in alone}
    keys = [
        (study, supernet, rate)
        for study, rate in trainings
        for other, supernet in supernets
        if other == supernet_studies[study]
    ]
    compared = []
    for study, supernet, rate in sorted(keys):
        key = (supernet_studies[study], supernet)
        rows = [r for r in inherited if (r["study"], r["supernet"]) == key]
        own = [r for r in alone if (r["study"], r["learning_rate"]) == (study, rate)]
        networks = joined(spaces[study], own, rows)
        if min(np.unique(networks.width, return_counts=True)[1], default=0) >= MIN_NETWORKS:
            steps = (own[-1]["steps"], max((r["step"] for r in rows), key=int))
            compared.append((f"{study}, {supernet}, {rate}", networks, steps))
    return compared


def depth_lines(compared: Sequence[tuple[str, Networks, tuple[str, str]]]) -> list[str]:
    """Return the section on ranks among networks of one depth."""
    lines = [
        "## Do they rank networks of one depth?",
        "",
        "Kendall's tau with trainings alone within one `embed_dim` and `n_layer`, mean of all with",
        f"{MIN_NETWORKS} networks at least; 90 % intervals as above.",
        "",
        "| study, supernet, learning rate alone | inherited | parameters |",
        "|---|---|---|",
    ]
    for label, networks, _ in compared:
        result = depth_trust(networks, np.random.default_rng(0))
        lines.append(f"| {label} | {result['inherited']} | {result['params']} |")
    return [*lines, ""] if compared else []


def median_lines(compared: Sequence[tuple[str, Networks, tuple[str, str]]]) -> list[str]:
    """Return the section on how far the trainings were."""
    lines = [
        "## How far were the trainings?",
        "",
        "Median perplexities, and Kendall's tau of parameters with each. A supernet trains four",
        "networks on each batch.",
        "",
        "| study, supernet, learning rate alone | embed_dim | networks "
        "| steps alone | median | tau | steps of the supernet | median | tau |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for label, n, steps in compared:
        for width in np.unique(n.width):
            own = n.width == width
            cells = [label, str(width), str(own.sum())]
            for count, values in zip(steps, (n.alone[own], n.inherited[own]), strict=True):
                tau = kendall(-n.params[own], values)
                cells += [count, f"{np.median(values):.2f}", f"{tau:.2f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""] if compared else []


def seed_lines(alone: Sequence[Row]) -> list[str]:
    """Return the section on differences between seeds of trainings from scratch."""
    lines = [
        "## How far do two seeds of one training differ?",
        "",
        "Standard deviations of the logarithm of perplexity, in per cent: between the networks of",
        "a width (seed 0), and between two seeds of one network. Kendall's tau is that of the two",
        "seeds.",
        "",
        "| study | learning rate | embed_dim | networks | median | between networks "
        "| with two seeds | between seeds | tau |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    keys = {(r["study"], int(r["width"]), float(r["learning_rate"])) for r in alone}
    for study, width, rate in sorted(keys):
        value = {
            (r["arch"], r["seed"]): np.log(_number(r["perplexity"]))
            for r in alone
            if (r["study"], int(r["width"]), float(r["learning_rate"])) == (study, width, rate)
        }
        first = np.array([v for (_, seed), v in value.items() if seed == "0"])
        pairs = np.array(
            [(v, value[arch, "1"]) for (arch, seed), v in value.items()
             if seed == "0" and (arch, "1") in value]
        ).reshape(-1, 2)  # fmt: skip
        spread = f"{100 * first.std(ddof=1):.1f}" if len(first) > 1 else ""
        noise = f"{100 * np.sqrt(np.mean(np.diff(pairs) ** 2) / 2):.1f}" if len(pairs) else ""
        tau = f"{kendall(*pairs.T):.2f}" if len(pairs) >= MIN_NETWORKS else ""
        median = f"{np.exp(np.median(first)):.2f}" if len(first) else ""
        cells = [study, f"{rate:g}", str(width), str(len(first)), median, spread]
        lines.append(f"| {' | '.join([*cells, str(len(pairs)), noise, tau])} |")
    return [*lines, ""]


def cost_lines(rows: Sequence[Row]) -> list[str]:
    """Return the section on time."""
    lines = [
        "## What does a supernet cost?",
        "",
        "The ratio is the time of a supernet's step over that of the largest network's own step,",
        f"weighted by arithmetic (wanted: {_WANTED_COST}). Evaluations are those of 200,000 tokens",
        f"(wanted: {_WANTED_RATE} a minute).",
        "",
        "| space | batch | device | what | TFLOP/s | of the peak | ratio | a minute | GB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        own = [
            _number(candidate["tflops"])
            for candidate in rows
            if candidate["what"] == "largest alone, whole"
            and all(candidate[key] == row[key] for key in ("space", "batch", "device"))
        ]
        is_supernet = row["what"] == "supernet" and own
        ratio = f"{own[-1] / _number(row['tflops']):.2f}" if is_supernet else ""
        cells = [row[key] for key in ("space", "batch", "device", "what", "tflops", "utilization")]
        cells += [ratio, row["per_minute"], row["memory_gb"]]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def profile_lines(rows: Sequence[Row]) -> list[str]:
    """Return the section on kernels; none without rows."""
    if not rows:
        return []
    kinds = dict.fromkeys(row["kind"] for row in rows if not row["kernel"])
    lines = [
        "",
        "## Where does a step's time go?",
        "",
        "Milliseconds of a step, by kinds of kernels, and the kernels that take longest.",
        "",
        f"| space | batch | device | what | all | {' | '.join(kinds)} | longest |",
        f"|---|---|---|---|---|{'---|' * len(kinds)}---|",
    ]
    keys = dict.fromkeys(
        tuple(row[k] for k in ("space", "batch", "device", "what")) for row in rows
    )
    for key in keys:
        own = [r for r in rows if tuple(r[k] for k in ("space", "batch", "device", "what")) == key]
        sums = {row["kind"]: row["milliseconds"] for row in own if not row["kernel"]}
        longest = [
            f"`{row['kernel'][:_KERNEL_LENGTH]}` {row['milliseconds']}"
            for row in own
            if row["kernel"]
        ][:3]
        total = f"{sum(map(float, sums.values())):.1f}"
        cells = [*key, total, *(sums.get(kind, "") for kind in kinds), ", ".join(longest)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _number(text: str) -> float:
    return float(text) if text else float("nan")
