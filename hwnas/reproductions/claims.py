"""What HW-GPT-Bench says of itself, and what is found here: does it agree, and why not?

The claims are those of the paper's abstracts (arXiv:2405.10299, three versions) and what its
published scripts draw, in our own words. A number here is measured on the surrogate that ships,
or on what was run again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hwnas import pareto
from hwnas.fronts import reference_point
from hwnas.objectives import Objective
from hwnas.reports.plots.sampled_architectures import aspects, kendall
from hwnas.reproductions.figures import METRICS, Found, held_out
from hwnas.reproductions.plan import NOISE, TWO
from hwnas.surrogates import surrogate
from hwnas.surrogates.devices import DEVICES
from hwnas.typing import Array

Verdict = Literal["agrees", "in part", "differs", "not tested", "made anew"]

_COMPARED = 1000  # networks
_FEW = 5.0  # seconds
_NOTABLE = 1.2  # times
_WHOLE = 200  # evaluations of a search of the whole reproduction
_SLIGHT = 0.02  # of a hypervolume, what hardly anybody would care about


@dataclass(frozen=True)
class Claim:
    """One thing that is said, and what is found.

    Attributes
    ----------
    says
        What the paper or its code has.
    source
        Where.
    verdict
        Whether it is so here.
    here
        What was measured.
    why
        Why it differs, or what to bear in mind; may be empty.
    """

    says: str
    source: str
    verdict: Verdict
    here: str
    why: str = ""


def claims(found: Found) -> list[Claim]:
    """All of them that what was run can say something about."""
    return [claim for check in CHECKS for claim in check(found)]


def _devices_differ(found: Found) -> Iterator[Claim]:
    for scale in found.scales:
        lost, bench = [], surrogate(scale)
        known = [bench.front(["perplexity", f"latency@{device}"]) for device in DEVICES]
        fronts = [front for front in known if front is not None]
        for one, other in itertools.permutations(fronts, 2):
            best, reference = other.losses, reference_point(other.losses)
            moved = bench.predict(one.codes, [str(objective) for objective in other.objectives])
            share = pareto.hypervolume(moved, reference) / pareto.hypervolume(best, reference)
            lost.append(1 - share)
        yield Claim(
            "Networks that are good by latency on one device need not be on another.",
            "abstract",
            _graded(float(np.median(lost)), _SLIGHT, float(max(lost)), _SLIGHT),
            f"{scale}: the exact front of one device loses {100 * np.median(lost):.2g} % of "
            f"another's hypervolume in the middle of all pairs of devices, and "
            f"{100 * max(lost):.2g} % in the worst.",
            "By medians the devices order networks much alike (see the correlations); what little "
            "is lost is lost between kinds of devices.",
        )


def _calibrated(found: Found) -> Iterator[Claim]:
    rows = held_out()
    for scale in found.scales:
        off = {
            metric: np.array(
                [
                    abs(below - levels)
                    for levels, below in (rows[scale, f"{metric}@{d}"] for d in DEVICES)
                ]
            )
            for metric in METRICS
        }
        yield Claim(
            "The surrogates are calibrated: their uncertainty can be relied on.",
            "abstract, versions 2 and 3",
            "not tested",
            f"{scale}: of networks held out, the published distributions put "
            + " and ".join(
                f"{o.mean():.4f} (at most {o.max():.3f}) more or less than the level below our "
                f"quantiles of {metric}"
                for metric, o in off.items()
            )
            + ".",
            "This is faithfulness to the published quantiles of the first version, not to "
            "measurements: those are not published with them. The paper judges other surrogates, "
            "against the mean of each network's repeats.",
        )


def _heteroscedastic(found: Found) -> Iterator[Claim]:
    for scale in found.scales:
        bench = surrogate(scale)
        codes = bench.space.sample(_COMPARED, np.random.default_rng(0))
        absolute, relative = [], []
        for metric, device in itertools.product(METRICS, DEVICES):
            nine = bench.quantiles(codes, f"{metric}@{device}")
            width = nine[:, -1] - nine[:, 0]
            absolute.append(np.divide(*np.quantile(width, [0.95, 0.05])))
            relative.append(np.divide(*np.quantile(width / nine[:, 4], [0.95, 0.05])))
        yield Claim(
            "The noise of latency and energy differs from network to network.",
            "abstract, versions 2 and 3",
            "in part" if np.median(relative) > _NOTABLE else "differs",
            f"{scale}: from the quietest to the noisiest twentieth of networks the interval from "
            f"10 % to 90 % grows {np.median(absolute):.2g}-fold in the middle of all devices and "
            f"metrics, and {np.median(relative):.2g}-fold relative to the median.",
            "The first version's quantiles hold the error of its models as well as the noise of "
            "repeats: do not take their width for what a device does.",
        )


def _in_seconds(found: Found) -> Iterator[Claim]:
    results = [r for scale in found.scales for r in found.of(TWO, scale).values()]
    if not results:
        return
    took: dict[str, list[float]] = {}
    for result in results:
        for row in result.summary:
            took.setdefault(row["optimizer"], []).append(row["seconds"])
    evaluations = max(row["evaluations"] for result in results for row in result.summary)
    short = evaluations < _WHOLE  # models take longer the more they know
    slow = [name for name, seconds in took.items() if np.mean(seconds) > _FEW]
    yield Claim(
        "A search of the benchmark takes a few seconds.",
        "abstract, versions 2 and 3",
        "differs" if 2 * len(slow) > len(took) else "in part" if slow or short else "agrees",
        f"Means over {evaluations} evaluations: "
        + ", ".join(f"{name} {np.mean(seconds):.2g} s" for name, seconds in took.items())
        + ".",
        "An answer takes microseconds here; what takes long is fitting Gaussian processes. The "
        "published scripts give every search 48,000 s, most of it spent starting processes.",
    )


def _methods(found: Found) -> Iterator[Claim]:
    results = [r for scale in found.scales for r in found.of(TWO, scale).values()]
    if not results:
        return
    reached: dict[str, list[float]] = {}
    for result in results:
        for row in result.summary:
            reached.setdefault(row["optimizer"], []).append(row["normalised"])
    means = {name: float(np.mean(values)) for name, values in reached.items()}
    order = sorted(means, key=lambda name: -means[name])
    yield Claim(
        "Eight multi-objective methods are compared by the fronts they find.",
        "abstract; scripts",
        "made anew",
        f"Mean share of the exact hypervolume over {len(results)} problems: "
        + ", ".join(f"{name} {means[name]:.3f}" for name in order)
        + ".",
        "The published scripts compare fewer: their MOASHA has one rung and their EHVI maximises "
        "what it should minimise, with a reference point on the wrong side, so both are random "
        "search; their RSBO draws one pair of weights a run; bias=False is never tried, because "
        '`type=bool` reads "False" as true; budgets are wall-clock, so methods that think longer '
        "evaluate less; and fronts are of single noisy draws. Here EHVI and RSBO are mended, all "
        "have the same evaluations, and values are medians.",
    )
    if {"random", "moasha"} <= means.keys():
        yield Claim(
            "MOASHA stands beside random search as another method.",
            "scripts",
            "agrees" if abs(means["moasha"] - means["random"]) > _SLIGHT else "differs",
            f"With one fidelity it finds {means['moasha']:.3f} of the exact hypervolume, random "
            f"search {means['random']:.3f}.",
            "It needs rungs: with noise, repeats are its fidelities, see the noisy searches.",
        )


def _aspects(found: Found) -> Iterator[Claim]:
    for scale in found.scales:
        of = found.population(scale)
        shown = [Objective("perplexity"), *(Objective(m, ("h100",)) for m in METRICS)]
        values = np.column_stack([of.column(objective) for objective in shown])
        by = aspects(of.space, of.codes)
        shares = {
            name: [_explained(v, by[name]) for v in values.T]
            for name in ("embed_dim", "n_layer", "bias")
        }
        yield Claim(
            "embed_dim tells networks apart nearly by itself; n_layer matters little, bias not.",
            "scripts of the ECDF figures",
            "agrees"
            if min(shares["embed_dim"]) > 0.9 and max(shares["bias"]) < 0.01
            else "in part",
            f"{scale}: share of the variance of perplexity, latency and energy (h100) that "
            + "; ".join(
                f"{name} explains: {', '.join(f'{share:.3f}' for share in found_shares)}"
                for name, found_shares in shares.items()
            )
            + ".",
            "Latency and energy cannot depend on bias here: the published figures never saw a "
            "network without it.",
        )


def _explained(values: Array, groups: Array) -> float:
    """Share of the variance of values (n,) between groups (n,)."""
    which = np.unique(groups, return_inverse=True)[1]
    means = np.bincount(which, values) / np.bincount(which)
    return float(1 - np.var(values - means[which]) / np.var(values))


def _blocks(found: Found) -> Iterator[Claim]:
    cpu = np.array([device.kind == "CPU" for device in DEVICES.values()])
    for scale in found.scales:
        of = found.population(scale)
        said, mean = [], {}
        for metric in METRICS:
            columns = [of.column(Objective(metric, (device,))) for device in DEVICES]
            tau = kendall(np.column_stack(columns)[:_COMPARED])
            upper = np.triu(np.ones_like(tau, dtype=bool), 1)
            blocks = {
                "GPU-GPU": upper & ~cpu[:, None] & ~cpu,
                "CPU-CPU": upper & cpu[:, None] & cpu,
                "GPU-CPU": upper & (cpu[:, None] != cpu),
            }
            for name, inside in blocks.items():
                mean[metric, name] = float(tau[inside].mean())
            said.append(
                f"{metric} " + ", ".join(f"{name} {mean[metric, name]:.2f}" for name in blocks)
            )
        most = max(mean, key=lambda block: mean[block])
        energies = max(value for (metric, _), value in mean.items() if metric == "energy")
        first = most == ("latency", "GPU-GPU")
        latencies = min(value for (metric, _), value in mean.items() if metric == "latency")
        yield Claim(
            "Latencies of GPUs go together; those of CPUs, and energies, less.",
            "script of the correlation figures",
            "agrees"
            if first and energies < latencies - _SLIGHT
            else "in part"
            if first or energies < latencies
            else "differs",
            f"{scale}: mean Kendall's tau of {'; '.join(said)}.",
            "Of medians of the surrogate; the paper's matrices are of measurements.",
        )


def _noise_moves_fronts(found: Found) -> Iterator[Claim]:
    for scale in found.scales:
        searches = [
            (float(steps.observed[-1]), float(steps.hypervolume[-1]), result.best_hypervolume)
            for result in found.of(NOISE, scale).values()
            for steps in result.trajectories
            if steps.observed is not None and len(steps.observed) and steps.hypervolume[-1] > 0
        ]
        if searches:
            observed, true, best = np.array(searches).T
            ahead = float(np.mean(observed > true))
            yield Claim(
                "Noise moves the front: lucky draws lie before it.",
                "script of the trade-off figures",
                _graded(ahead, 0.5, ahead, 0.1),
                f"{scale}: {100 * ahead:.0f} % of noisy searches seem to have found more than what "
                f"they recommend is worth, in the middle {np.median(observed / true):.2f} times as "
                f"much; {100 * np.mean(observed > best):.0f} % more than there is to find.",
                "The paper's fronts and hypervolumes are of such draws. Here what an optimizer "
                "recommends is valued by medians.",
            )


def _graded(value: float, for_all: float, weaker: float, in_part: float) -> Verdict:
    """A verdict by how much of an effect there is."""
    return "agrees" if value > for_all else "in part" if weaker > in_part else "differs"


def _out_of_reach(found: Found) -> Iterator[Claim]:
    yield Claim(
        "Architectures up to 1.55B parameters.",
        "abstract, version 3",
        "not tested",
        "The space gpt-xl is here, and can be measured with the profile backend.",
        "Figures are published for the three smaller scales only.",
    )
    yield Claim(
        "Perplexity comes from one supernet for each scale, by weight sharing.",
        "abstract",
        "not tested",
        "The published perplexities are taken as they are.",
        "To test them a supernet has to be trained.",
    )
    yield Claim(
        "AutoGluon is better calibrated than three ensembles of trees.",
        "scripts of the calibration figures",
        "not tested",
        "There is one surrogate here, fitted to the quantiles of the first version.",
        "The measurements that would tell are not published with the surrogates.",
    )


CHECKS: tuple[Callable[[Found], Iterator[Claim]], ...] = (
    _methods,
    _devices_differ,
    _calibrated,
    _heteroscedastic,
    _in_seconds,
    _aspects,
    _blocks,
    _noise_moves_fronts,
    _out_of_reach,
)
