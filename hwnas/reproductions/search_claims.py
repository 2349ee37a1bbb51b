"""Claims on search methods, checked on the searches of a reproduction."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hwnas.reproductions.claim import NEGLIGIBLE, Claim, Verdict, grade
from hwnas.reproductions.plan import NOISE, TWO
from hwnas.reproductions.results import ReproductionResults
from hwnas.runner.results import Result

_FEW_SECONDS = 5.0
_FULL_EVALUATIONS = 200  # of a search in the full reproduction


def check_methods(reproduction: ReproductionResults) -> Iterator[Claim]:
    """Compare the methods by hypervolume, and MOASHA with random search."""
    results = _two_objective_results(reproduction)
    if not results:
        return
    # 1. Rank the methods by their mean normalized hypervolume.
    # All problems and seeds have the same weight in the mean of a method.
    normalised = _by_optimizer(results, "normalised")
    means = {name: float(np.mean(values)) for name, values in normalised.items()}
    order = sorted(means, key=lambda name: -means[name])
    yield Claim(
        "Eight multi-objective methods are compared by their fronts.",
        "abstract; scripts",
        "made anew",
        f"Mean share of the exact hypervolume over {len(results)} problems: "
        + ", ".join(f"{name} {means[name]:.3f}" for name in order)
        + ".",
        "The published scripts compare fewer methods: their MOASHA has one rung, and their EHVI "
        "maximizes losses, with a reference point on the wrong side, so both are random search; "
        "their RSBO draws one pair of weights a run; bias=False is never tried, because "
        '`type=bool` reads "False" as true; budgets are wall-clock times, so slower methods '
        "evaluate less; and fronts are of single noisy draws. Here EHVI and RSBO are corrected, "
        "all methods have the same number of evaluations, and values are medians.",
    )
    # 2. With one fidelity MOASHA cannot stop trials early, so it should equal random search.
    if {"random", "moasha"} <= means.keys():
        difference = abs(means["moasha"] - means["random"])
        yield Claim(
            "MOASHA differs from random search.",
            "scripts",
            "agrees" if difference > NEGLIGIBLE else "differs",
            f"With one fidelity it finds {means['moasha']:.3f} of the exact hypervolume, random "
            f"search {means['random']:.3f}.",
            "It needs rungs: with noise, repeats are its fidelities, see the searches with noise.",
        )


def check_search_time(reproduction: ReproductionResults) -> Iterator[Claim]:
    """Compare the time of a search with a few seconds."""
    results = _two_objective_results(reproduction)
    if not results:
        return
    seconds = _by_optimizer(results, "seconds")
    evaluations = max(row["evaluations"] for result in results for row in result.summary)
    # Models take longer with more observations, so short searches cannot confirm the claim.
    is_short = evaluations < _FULL_EVALUATIONS
    slow = [name for name, values in seconds.items() if np.mean(values) > _FEW_SECONDS]
    # The claim is about the benchmark, so it fails only if most methods are slow.
    verdict: Verdict = "agrees"
    if 2 * len(slow) > len(seconds):
        verdict = "differs"
    elif slow or is_short:
        verdict = "in part"
    yield Claim(
        "A search of the benchmark takes a few seconds.",
        "abstract, versions 2 and 3",
        verdict,
        f"Means over {evaluations} evaluations: "
        + ", ".join(f"{name} {np.mean(values):.2g} s" for name, values in seconds.items())
        + ".",
        "An evaluation takes microseconds here; the time is that of fits of Gaussian processes. "
        "The published scripts give every search 48,000 s, most of it to start processes.",
    )


def check_noisy_fronts(reproduction: ReproductionResults) -> Iterator[Claim]:
    """Compare the observed hypervolume of noisy searches with the true one."""
    for scale in reproduction.scales:
        # At the end of each search: observed and true hypervolume, and that of the exact front. A
        # true hypervolume of 0 has no ratio to the observed one.
        hypervolumes = [
            (
                float(trajectory.observed[-1]),
                float(trajectory.hypervolume[-1]),
                result.best_hypervolume,
            )
            for result in reproduction.select(NOISE, scale).values()
            for trajectory in result.trajectories
            if trajectory.observed is not None
            and len(trajectory.observed)
            and trajectory.hypervolume[-1] > 0
        ]
        # The observed front is ahead of the true one where noise made architectures look better.
        if hypervolumes:
            observed, true, best = np.array(hypervolumes).T
            ahead = float(np.mean(observed > true))
            yield Claim(
                "Noise moves the front: favorable noise draws are in front of it.",
                "script of the trade-off figures",
                grade(ahead, 0.5, ahead, 0.1),
                f"{scale}: in {100 * ahead:.0f} % of searches with noise, the observed "
                "hypervolume is greater than the true one of the recommended architectures, with a "
                f"median ratio of {np.median(observed / true):.2f}; in "
                f"{100 * np.mean(observed > best):.0f} %, it is greater than that of the exact "
                "front.",
                "The paper's fronts and hypervolumes are of such draws. Here the architectures "
                "that an optimizer recommends are valued by medians.",
            )


def _two_objective_results(reproduction: ReproductionResults) -> list[Result]:
    return [
        result
        for scale in reproduction.scales
        for result in reproduction.select(TWO, scale).values()
    ]


def _by_optimizer(results: list[Result], column: str) -> dict[str, list[float]]:
    """Return a column of the summaries of all runs by optimizer."""
    values: dict[str, list[float]] = {}
    for result in results:
        for row in result.summary:
            values.setdefault(row["optimizer"], []).append(row[column])
    return values
