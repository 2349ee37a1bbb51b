"""Claims on devices, noise and architectures, checked on the surrogate."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from hwnas.fronts import Front
from hwnas.objectives import Objective
from hwnas.reports.plots.correlation import kendall_tau
from hwnas.reports.plots.features import architecture_features
from hwnas.reports.plots.sampled_architectures import SampledArchitectures
from hwnas.reproductions.claim import NEGLIGIBLE, Claim, Verdict, grade
from hwnas.reproductions.results import METRICS, ReproductionResults, read_held_out
from hwnas.surrogates import Surrogate, surrogate
from hwnas.surrogates.devices import DEVICES
from hwnas.surrogates.transfer import hypervolume_lost
from hwnas.typing import Array

_N_COMPARED = 1000  # architectures
_NOTABLE_RATIO = 1.2


def check_devices(reproduction: ReproductionResults) -> Iterator[Claim]:
    """Value the front of each device by the latencies of every other device."""
    for scale in reproduction.scales:
        backend = surrogate(scale)
        fronts = [backend.front(["perplexity", f"latency@{device}"]) for device in DEVICES]
        # A device has no front if the exact method does not apply.
        exact_fronts = [front for front in fronts if front is not None]
        # Every ordered pair: the front of device a, valued by the latency of device b.
        losses = [_lost_share(backend, a, b) for a, b in itertools.permutations(exact_fronts, 2)]
        yield Claim(
            "Architectures with a good latency on one device need not be good on another.",
            "abstract",
            grade(float(np.median(losses)), NEGLIGIBLE, float(max(losses)), NEGLIGIBLE),
            f"{scale}: the exact front of one device loses {100 * np.median(losses):.2g} % of "
            f"another's hypervolume in the median of all pairs of devices, and "
            f"{100 * max(losses):.2g} % in the worst.",
            "By medians the devices order architectures much alike (see the correlations); the "
            "small losses are between kinds of devices.",
        )


def _lost_share(backend: Surrogate, front: Front, target: Front) -> float:
    """Return the share of the target's hypervolume that another device's front does not reach."""
    values = backend.predict(front.codes, [str(objective) for objective in target.objectives])
    return hypervolume_lost(values, target.losses)


def check_calibration(reproduction: ReproductionResults) -> Iterator[Claim]:
    """Report the calibration of the surrogate on held-out architectures."""
    held_out = read_held_out()
    for scale in reproduction.scales:
        errors = {}
        for metric in METRICS:
            rows = [held_out[scale, f"{metric}@{device}"] for device in DEVICES]
            # Differences between coverage and level, (devices, 9).
            errors[metric] = np.array([abs(shares - levels) for levels, shares in rows])
        yield Claim(
            "The surrogates are calibrated: their uncertainty is reliable.",
            "abstract, versions 2 and 3",
            "not tested",
            f"{scale}: on held-out architectures, the share of the published distributions below "
            "our quantiles differs from the level by "
            + " and ".join(
                f"{error.mean():.4f} (at most {error.max():.3f}) for {metric}"
                for metric, error in errors.items()
            )
            + ".",
            "This compares with the published quantiles of the first version, not with "
            "measurements: those are not published with them. The paper judges other surrogates, "
            "against the mean of each architecture's repeats.",
        )


def check_noise_levels(reproduction: ReproductionResults) -> Iterator[Claim]:
    """Compare the noise of quiet and noisy architectures."""
    for scale in reproduction.scales:
        backend = surrogate(scale)
        codes = backend.space.sample(_N_COMPARED, np.random.default_rng(0))
        # Ratio of the 95 % and 5 % quantiles of interval widths, for each metric and device.
        absolute, relative = [], []
        for metric, device in itertools.product(METRICS, DEVICES):
            quantiles = backend.quantiles(codes, f"{metric}@{device}")  # (n, 9)
            width = quantiles[:, -1] - quantiles[:, 0]
            absolute.append(np.divide(*np.quantile(width, [0.95, 0.05])))
            relative.append(np.divide(*np.quantile(width / quantiles[:, 4], [0.95, 0.05])))
        yield Claim(
            "The noise of latency and energy differs between architectures.",
            "abstract, versions 2 and 3",
            "in part" if np.median(relative) > _NOTABLE_RATIO else "differs",
            f"{scale}: between the quietest and the noisiest twentieth of architectures, the "
            f"interval from 10 % to 90 % grows {np.median(absolute):.2g}-fold in the median of all "
            f"devices and metrics, and {np.median(relative):.2g}-fold relative to the median "
            "value.",
            "The first version's quantiles contain the error of its models as well as the noise of "
            "repeats: their width is not the noise of a device.",
        )


def check_features(reproduction: ReproductionResults) -> Iterator[Claim]:
    """Compute the share of variance that single choices of an architecture explain."""
    for scale in reproduction.scales:
        sample = reproduction.architectures(scale)
        objectives = [Objective("perplexity"), *(Objective(m, ("h100",)) for m in METRICS)]
        values = np.column_stack([sample.column(objective) for objective in objectives])
        features = architecture_features(sample.space, sample.codes)
        shares = {
            name: [_explained_variance(column, features[name].values) for column in values.T]
            for name in ("embed_dim", "n_layer", "bias")
        }
        # Thresholds for "nearly all" and "not at all".
        agrees = min(shares["embed_dim"]) > 0.9 and max(shares["bias"]) < 0.01
        yield Claim(
            "embed_dim explains nearly all differences; n_layer matters little, bias not at all.",
            "scripts of the ECDF figures",
            "agrees" if agrees else "in part",
            f"{scale}: share of the variance of perplexity, latency and energy (h100) that "
            + "; ".join(
                f"{name} explains: {', '.join(f'{share:.3f}' for share in explained)}"
                for name, explained in shares.items()
            )
            + ".",
            "Latency and energy cannot depend on bias here: the published figures contain no "
            "architecture without it.",
        )


def _explained_variance(values: Array, groups: Array) -> float:
    """Return the share of the variance of values (n,) that is between groups (n,)."""
    # Law of total variance: 1 - (variance within groups) / (total variance).
    group = np.unique(groups, return_inverse=True)[1]
    means = np.bincount(group, values) / np.bincount(group)
    return float(1 - np.var(values - means[group]) / np.var(values))


def check_device_correlation(reproduction: ReproductionResults) -> Iterator[Claim]:
    """Compare rank correlations among GPUs, among CPUs and between both."""
    for scale in reproduction.scales:
        sample = reproduction.architectures(scale)
        mean = {metric: _mean_correlations(sample, metric) for metric in METRICS}
        correlations = {
            (metric, pair): tau for metric in METRICS for pair, tau in mean[metric].items()
        }
        # The claim has two parts: latencies of GPUs have the highest correlation of all blocks, and
        # those of energy are lower than those of latency.
        highest = max(correlations, key=lambda block: correlations[block])
        gpus_first = highest == ("latency", "GPU-GPU")
        energy, latency = max(mean["energy"].values()), min(mean["latency"].values())
        verdict: Verdict = "differs"
        if gpus_first and energy < latency - NEGLIGIBLE:
            verdict = "agrees"
        elif gpus_first or energy < latency:
            verdict = "in part"
        numbers = (
            f"{metric} " + ", ".join(f"{pair} {tau:.2f}" for pair, tau in mean[metric].items())
            for metric in METRICS
        )
        yield Claim(
            "Latencies of GPUs are highly correlated; those of CPUs, and energies, less.",
            "script of the correlation figures",
            verdict,
            f"{scale}: mean Kendall's tau of {'; '.join(numbers)}.",
            "These are correlations of the surrogate's medians; the paper's are of measurements.",
        )


def _mean_correlations(sample: SampledArchitectures, metric: str) -> dict[str, float]:
    """Return the mean Kendall's tau of a metric by the kinds of both devices."""
    is_cpu = np.array([device.kind == "CPU" for device in DEVICES.values()])
    columns = [sample.column(Objective(metric, (device,))) for device in DEVICES]
    tau = kendall_tau(np.column_stack(columns)[:_N_COMPARED])
    upper = np.triu(np.ones_like(tau, dtype=bool), 1)  # each pair of devices once
    masks = {
        "GPU-GPU": upper & ~is_cpu[:, None] & ~is_cpu,
        "CPU-CPU": upper & is_cpu[:, None] & is_cpu,
        "GPU-CPU": upper & (is_cpu[:, None] != is_cpu),
    }
    return {pair: float(tau[mask].mean()) for pair, mask in masks.items()}
