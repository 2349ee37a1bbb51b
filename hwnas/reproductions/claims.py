"""Claims of HW-GPT-Bench, and a check of each against the surrogate and the repeated searches.

The claims are those of the paper's abstracts (arXiv:2405.10299, three versions) and of its
published scripts, in our own words. All numbers are measured on the surrogate that is installed
with hwnas, or in the experiments of the reproduction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hwnas.reproductions import search_claims, surrogate_claims
from hwnas.reproductions.claim import Claim
from hwnas.reproductions.results import ReproductionResults


def check_claims(reproduction: ReproductionResults) -> list[Claim]:
    """Return all claims that the results of a reproduction can say something about."""
    return [claim for check in CHECKS for claim in check(reproduction)]


def untested_claims(reproduction: ReproductionResults) -> Iterator[Claim]:
    """Yield claims that cannot be tested with the published data."""
    yield Claim(
        "Architectures have up to 1.55B parameters.",
        "abstract, version 3",
        "not tested",
        "The space gpt-xl is available, and can be measured with the profile backend.",
        "Figures are published for the three smaller scales only.",
    )
    yield Claim(
        "Perplexity comes from one supernet for each scale, by weight sharing.",
        "abstract",
        "not tested",
        "The published perplexities are used unchanged.",
        "A test requires the training of a supernet.",
    )
    yield Claim(
        "AutoGluon is better calibrated than three ensembles of trees.",
        "scripts of the calibration figures",
        "not tested",
        "There is one surrogate here, fitted to the quantiles of the first version.",
        "The measurements that a test requires are not published with the surrogates.",
    )


# In the order of the page: the main comparison first, claims without a test last.
CHECKS: tuple[Callable[[ReproductionResults], Iterator[Claim]], ...] = (
    search_claims.check_methods,
    surrogate_claims.check_devices,
    surrogate_claims.check_calibration,
    surrogate_claims.check_noise_levels,
    search_claims.check_search_time,
    surrogate_claims.check_features,
    surrogate_claims.check_device_correlation,
    search_claims.check_noisy_fronts,
    untested_claims,
)
