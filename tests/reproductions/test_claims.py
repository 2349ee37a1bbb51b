"""Claims: known answers, and verdicts that follow from what was measured."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.reproductions import claims
from hwnas.reproductions.claims import _explained
from hwnas.reproductions.figures import Found, held_out
from hwnas.surrogates.devices import DEVICES
from hwnas.surrogates.published import SCALES


@pytest.fixture(scope="module")
def nothing() -> Found:
    """A reproduction of which nothing was run, on the smallest scale."""
    return Found({}, ["gpt-s"])


def test_the_share_that_groups_explain() -> None:
    groups = np.array([0.0, 0.0, 1.0, 1.0])
    assert _explained(np.array([1.0, 1.0, 3.0, 3.0]), groups) == pytest.approx(1)
    assert _explained(np.array([1.0, 3.0, 1.0, 3.0]), groups) == pytest.approx(0)
    assert _explained(np.array([0.0, 2.0, 4.0, 6.0]), groups) == pytest.approx(4 / 5)


def test_what_was_held_out_ships_for_all() -> None:
    rows = held_out()
    assert set(rows) == {
        (scale, f"{metric}@{device}")
        for scale in SCALES
        for metric in ("latency", "energy")
        for device in DEVICES
    }
    for levels, below in rows.values():
        np.testing.assert_allclose(levels, np.arange(1, 10) / 10)
        assert (np.diff(below) > 0).all()
        assert abs(below - levels).max() < 0.03


def test_claims_of_the_surrogate_need_no_searches(nothing: Found) -> None:
    made = claims.claims(nothing)
    said = {claim.says.partition(" ")[0]: claim for claim in made}
    assert said["embed_dim"].verdict == "agrees"
    assert "0.990" in said["embed_dim"].here  # of perplexity, as the published figures have it
    assert "0.015" in said["The"].here or any("0.015" in claim.here for claim in made)
    verdicts = {claim.verdict for claim in made}
    assert verdicts <= {"agrees", "in part", "differs", "not tested", "made anew"}
    assert not any("Mean share" in claim.here for claim in made)
    for claim in made:
        assert claim.says.endswith(".")
        assert claim.source


def test_devices_that_order_networks_alike_lose_little(nothing: Found) -> None:
    (claim,) = claims._devices_differ(nothing)
    assert claim.verdict == "in part"
    middle = float(claim.here.partition("loses ")[2].partition(" %")[0])
    worst = float(claim.here.rpartition("and ")[2].partition(" %")[0])
    assert 0 < middle < 2 < worst < 10
