"""Audits of fronts with a fake meter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from hwnas.devices.audit import (
    agreement,
    combine,
    contested,
    hypervolume_change,
    kendall_interval,
    measure_members,
)
from hwnas.typing import Array

TRUTH = np.array([1.0, 1.01, 2.0, 3.0])


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_only_contested_members_are_measured_again() -> None:
    noise = np.random.default_rng(1)

    def measure(member: int, columns: Sequence[int]) -> tuple[Array, Array]:
        return np.array([TRUTH[member] + 1e-4 * noise.normal()]), np.array([0.05])

    found = measure_members(4, 1, measure, rng(), repeats=2)
    assert found.counts.ravel().tolist() == [3, 3, 1, 1]
    assert found.std[0, 0] < 0.05 == found.std[2, 0]


def test_failures_and_interrupts_keep_what_is_measured() -> None:
    calls = []

    def measure(member: int, columns: Sequence[int]) -> tuple[Array, Array]:
        calls.append(member)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return np.array([np.nan if len(calls) == 1 else 5.0]), np.array([0.0])

    found = measure_members(4, 1, measure, rng())
    assert found.counts.sum() == 1
    assert found.values[calls[1], 0] == 5.0
    assert np.isnan(found.values[calls[0], 0])


def test_reversed_order_and_bias() -> None:
    found = agreement(TRUTH[::-1], TRUTH, 0 * TRUTH, rng())
    assert found.kendall == pytest.approx(-1)
    assert found.low == pytest.approx(-1)
    half = agreement(TRUTH / 2, TRUTH, 0 * TRUTH, rng())
    assert (half.error, half.bias) == pytest.approx((0.5, -0.5))


def test_two_members_have_no_interval() -> None:
    assert np.isnan(kendall_interval(TRUTH[:2], TRUTH[:2], rng())).all()


def test_repeats_that_scatter_enlarge_the_error() -> None:
    assert combine([1.0, 3.0], [0.1, 0.1])[1] == pytest.approx(1.0)
    assert combine([2.0, 2.0], [0.2, 0.2]) == pytest.approx((2.0, 0.2 / 2**0.5))
    assert combine([7.0], [0.0]) == (7.0, 0.0)


def test_equal_exact_values_are_not_contested() -> None:
    assert not contested(np.array([1.0, 1.0, np.nan]), np.array([0.0, 0.0, np.nan])).any()


def test_hypervolume_of_slower_members_is_lost() -> None:
    front = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])
    # Reference (4.3, 3.2) of the points of both, by hand: 4.26 as predicted, 2.06 as measured.
    change = hypervolume_change(front, front + np.array([1.0, 0.0]))
    assert change == pytest.approx(2.06 / 4.26 - 1)
