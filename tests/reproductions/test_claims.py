"""Claims of the paper: known answers, and verdicts that follow from measurements."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.reproductions.claims import check_claims
from hwnas.reproductions.results import ReproductionResults, read_held_out
from hwnas.reproductions.surrogate_claims import _explained_variance, check_devices
from hwnas.surrogates.devices import DEVICES
from hwnas.surrogates.published import SCALES


@pytest.fixture(scope="module")
def without_searches() -> ReproductionResults:
    """A reproduction without any experiment, on the smallest scale."""
    return ReproductionResults({}, ["gpt-s"])


def test_explained_variance_known_answers() -> None:
    groups = np.array([0.0, 0.0, 1.0, 1.0])
    assert _explained_variance(np.array([1.0, 1.0, 3.0, 3.0]), groups) == pytest.approx(1)
    assert _explained_variance(np.array([1.0, 3.0, 1.0, 3.0]), groups) == pytest.approx(0)
    assert _explained_variance(np.array([0.0, 2.0, 4.0, 6.0]), groups) == pytest.approx(4 / 5)


def test_held_out_calibration_covers_all_devices() -> None:
    calibration = read_held_out()
    assert set(calibration) == {
        (scale, f"{metric}@{device}")
        for scale in SCALES
        for metric in ("latency", "energy")
        for device in DEVICES
    }
    for levels, shares in calibration.values():
        np.testing.assert_allclose(levels, np.arange(1, 10) / 10)
        assert (np.diff(shares) > 0).all()
        assert abs(shares - levels).max() < 0.03


def test_claims_on_the_surrogate_need_no_searches(without_searches: ReproductionResults) -> None:
    claims = check_claims(without_searches)
    by_first_word = {claim.says.partition(" ")[0]: claim for claim in claims}
    assert by_first_word["embed_dim"].verdict == "agrees"
    # The share of the variance of perplexity, as in the published figures.
    assert "0.990" in by_first_word["embed_dim"].here
    assert "0.015" in by_first_word["The"].here or any("0.015" in c.here for c in claims)
    verdicts = {claim.verdict for claim in claims}
    assert verdicts <= {"agrees", "in part", "differs", "not tested", "made anew"}
    assert not any("Mean share" in claim.here for claim in claims)
    for claim in claims:
        assert claim.says.endswith(".")
        assert claim.source


def test_devices_with_similar_orders_lose_little(without_searches: ReproductionResults) -> None:
    (claim,) = check_devices(without_searches)
    assert claim.verdict == "in part"
    median = float(claim.here.partition("loses ")[2].partition(" %")[0])
    worst = float(claim.here.rpartition("and ")[2].partition(" %")[0])
    assert 0 < median < 2 < worst < 10
