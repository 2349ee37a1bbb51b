"""Rank correlations and their matrices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy.stats import kendalltau

import hwnas
from hwnas.objectives import Objective
from hwnas.reports.plots import figures
from hwnas.reports.plots.correlation import kendall_tau, plot_correlation
from hwnas.reports.plots.sampled_architectures import SampledArchitectures
from hwnas.runner.results import Result
from hwnas.surrogates.device_library import shipped_devices
from hwnas.surrogates.devices import DEVICES

LATENCY, ENERGY = Objective("latency", ("h100",)), Objective("energy", ("h100",))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=30))
def test_kendall_tau_equals_that_of_scipy(pairs: list[tuple[int, int]]) -> None:
    values = np.array(pairs, dtype=float)
    if (np.ptp(values, axis=0) == 0).any():
        return  # tau is not defined
    expected = kendalltau(*values.T, variant="b").statistic
    assert kendall_tau(values)[0, 1] == pytest.approx(expected)
    assert kendall_tau(values)[0, 0] == pytest.approx(1)


def test_matrices_contain_their_numbers(sample: SampledArchitectures) -> None:
    axes = Figure().subplots()
    image = plot_correlation(axes, sample, [LATENCY, ENERGY])
    matrix = image.get_array()
    assert matrix is not None
    assert matrix.shape == (2, 2)
    assert axes.texts[1].get_text() == f"{matrix[0, 1]:.2f}"
    assert image.norm.vmin == 0
    image = plot_correlation(axes, sample, [LATENCY, Objective("perplexity")])
    assert image.norm.vmin == -1  # a greater perplexity goes with a lower latency


def test_matrices_of_a_run(finished_run: Result) -> None:
    figure = figures.correlation_matrices_figure(finished_run)
    names = [[label.get_text() for label in axes.get_xticklabels()] for axes in figure.axes[:3]]
    assert "latency@rtx3080" in names[0]
    assert "latency@h100" not in names[0]
    figures_of_ours = [d.figures for d in shipped_devices(hwnas.space("gpt-s")).values()]
    for metric, found in zip(("latency", "energy"), names[1:], strict=True):
        ours = sum(any(f.quantity == metric for f in own) for own in figures_of_ours)
        assert len(found) == len(DEVICES) + ours
