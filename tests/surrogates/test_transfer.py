"""Transfer of fronts between devices and workloads: known answers, tables and heat maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hwnas
from hwnas import pareto
from hwnas.errors import InvalidInput
from hwnas.reports.comparison.transfer_tables import (
    heading,
    labels_of,
    markdown,
    matrix_tables,
    tidy_table,
)
from hwnas.reports.plots.transfer import draw_transfer, transfer_figure
from hwnas.spaces import LanguageModelSpace
from hwnas.surrogates import Surrogate, surrogate
from hwnas.surrogates.device_file import DeviceFigure, DeviceFile
from hwnas.surrogates.device_library import device_path
from hwnas.surrogates.tables import AdditiveTable
from hwnas.surrogates.transfer import Transfer, best_at, loss, transfer

PAIR = ["latency@h100", "latency@cpu_amd_7452"]


@pytest.fixture(autouse=True)
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture(scope="module")
def bench() -> Surrogate:
    return surrogate("gpt-s")


@pytest.fixture(scope="module")
def found(bench: Surrogate) -> Transfer:
    return transfer(bench, [*PAIR, "energy@h100"])


def test_losses_are_those_of_the_fronts(bench: Surrogate, found: Transfer) -> None:
    first, second = (bench.front(["perplexity", name]) for name in PAIR)
    assert first is not None
    assert second is not None
    values = bench.predict(first.codes, ["perplexity", PAIR[1]])
    low, high = second.losses.min(axis=0), second.losses.max(axis=0)
    reference = high + 0.1 * (high - low)
    share = pareto.hypervolume(values, reference) / pareto.hypervolume(second.losses, reference)
    np.testing.assert_allclose(found.matrix("hypervolume")[0, 1], 1 - share)
    # The excess, by its definition.
    excess = [v / second.values[second.values[:, 0] <= p, 1].min() - 1 for p, v in values.tolist()]
    np.testing.assert_allclose(found.matrix("mean")[0, 1], np.mean(excess))
    np.testing.assert_allclose(found.matrix("worst")[0, 1], np.max(excess))
    assert found.members == (len(first), len(second), found.members[2])
    assert found.epsilon == 0


def test_a_front_loses_nothing_by_its_own_metric(found: Transfer) -> None:
    for name in ("hypervolume", "mean", "worst"):
        matrix = found.matrix(name)
        assert not matrix.diagonal().any()
        assert (matrix[~np.eye(3, dtype=bool)] > 0).all()


def test_loss_of_maximized_metrics_is_that_of_their_inverse() -> None:
    best = np.array([[10.0, -2.0], [20.0, -4.0]])
    lost = loss(np.array([[10.0, -1.0], [20.0, -4.0]]), best, is_maximised=True)
    assert (lost.mean, lost.worst) == (0.5, 1.0)
    assert 0 < lost.hypervolume < 1
    same = loss(best, best, is_maximised=True)
    assert (same.hypervolume, same.mean, same.worst) == (0, 0, 0)


def test_a_front_of_one_member_is_lost_or_not() -> None:
    best = np.array([[1.0, 1.0]])
    assert loss(best, best).hypervolume == 0
    assert loss(np.array([[1.0, 2.0]]), best).hypervolume == 1


def test_a_perplexity_below_the_front_has_the_value_of_its_first_member() -> None:
    front = np.array([[20.0, 1.0], [10.0, 2.0]])
    assert best_at(np.array([9.0, 30.0]), front).tolist() == [2.0, 1.0]


def add_device(source: str) -> LanguageModelSpace:
    """Add a device with a latency and a throughput, in which the order of its time is turned."""
    space = hwnas.space(source)
    assert isinstance(space, LanguageModelSpace)
    figures = []
    for quantity, function in (("latency", space.flops), ("energy", space.params)):
        table = AdditiveTable.from_function(space, function)
        figures.append(DeviceFigure(space, quantity, table, 20, 0.01))
    DeviceFile("mine", tuple(figures), "0").write(device_path("mine"))
    return space


def test_devices_of_users_stand_beside_published_ones_with_a_note() -> None:
    add_device("gpt-s")
    found = transfer(surrogate("gpt-s"), ["latency@h100", "latency@mine"])
    assert found.notes[0].startswith("protocols differ: latency@mine as measured by a user")
    assert labels_of(found) == ["h100", "mine"]
    mixed = transfer(surrogate("gpt-s"), ["latency@mine", "energy@mine"])
    assert mixed.notes == ()
    assert labels_of(mixed) == ["latency@mine", "energy@mine"]


def test_spaces_without_perplexity_have_another_objective() -> None:
    add_device("llama-s")
    found = transfer(surrogate("llama-s"), ["latency@mine", "energy@mine"], "-params")
    assert str(found.against) == "-params"
    assert (found.matrix("mean") >= 0).all()
    assert "worse at equal params, mean over the front, %" in matrix_tables(found)


def test_tables_and_markdown(found: Transfer) -> None:
    header, rows = tidy_table(found)
    assert header[:3] == ["found_for", "judged_by", "hypervolume_lost"]
    assert len(rows) == 9
    assert rows[1][2] == found.matrix("hypervolume")[0, 1]
    title, (header, cells) = next(iter(matrix_tables(found).items()))
    assert title == "hypervolume lost, %"
    assert header[1:] == [str(metric) for metric in found.metrics]
    assert cells[0][:2] == ["latency@h100", "-"]
    assert heading(found) == "gpt-s: exact fronts of perplexity and each metric"
    assert markdown(found).count("| --- | --: | --: | --: |") == 3


def test_heat_maps_have_a_number_in_each_cell(found: Transfer, tmp_path: Path) -> None:
    figure = transfer_figure(found)
    left, right = figure.axes
    assert len(left.texts) == len(right.texts) == 9
    assert [text.get_text() for text in left.texts[::4]] == ["-", "-", "-"]
    assert "worse at equal perplexity, %" in right.get_title()
    for suffix in ("png", "svg", "pdf"):
        assert draw_transfer(found, tmp_path / f"t.{suffix}").stat().st_size > 1000
    with pytest.raises(InvalidInput, match="there is no directory"):
        draw_transfer(found, tmp_path / "no" / "t.png")


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (["latency@h100"], "expected at least two metrics to transfer between, found latency@h100"),
        ([], "found none"),
        (["latency@h100", "latency@h101"], "unknown device 'h101'"),
        (["latency@h100", "latency@h100+a100"], "expected a metric on one device"),
        (["latency@h100", "latency@a100 <= 3"], "expected a metric on one device"),
        (["latency@h100", "perplexity"], "is the other objective of all fronts already"),
    ],
)
def test_wrong_metrics_are_refused(bench: Surrogate, metrics: list[str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        transfer(bench, metrics)
