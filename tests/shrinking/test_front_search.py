"""Times of alternatives, corrected scores, and the search with real evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from hwnas import pareto
from hwnas.errors import InvalidInput
from hwnas.profiling.device_profiler import Measurement
from hwnas.profiling.errors import OutOfMemory
from hwnas.shrinking.block_times import (
    figures_of_log,
    fit_times,
    measure_networks,
    networks_to_measure,
    table_of_layers,
)
from hwnas.shrinking.correction import CorrectedScores, correct_scores
from hwnas.shrinking.front_search import predicted_front, search_front
from hwnas.shrinking.report import agreement
from hwnas.spaces import ShrunkLlamaSpace
from hwnas.surrogates.layer_layout import LayerLayout
from hwnas.typing import Array, Codes
from hwnas.workloads import Workload

SETTINGS: dict[str, Any] = {
    "name": "mine",
    "embed_dim": 64,
    "n_layer": 4,
    "mlp_dim": [0, 64, 128],
    "n_head": [0, 2, 4],
    "context": 32,
    "head_size": 8,
    "vocab_size": 50,
}
SPACE = ShrunkLlamaSpace(**SETTINGS)
TIMES = table_of_layers(SPACE, 2.0, np.add.outer([0, 1.0, 1.5], [0, 0.7, 1.1]) * np.ones((4, 1, 1)))
# Later layers cost more; half of an attention costs little.
SCORES = np.add.outer([0.5, 0.1, 0.0], [0.3, 0.02, 0.0]) * np.array([1, 1.5, 2, 4])[:, None, None]


def all_codes() -> Codes:
    return np.concatenate(list(SPACE.enumerate()))


def sums(scores: Array, codes: Codes) -> Array:
    return table_of_layers(SPACE, 0.0, scores).predict(LayerLayout(SPACE).pack(codes))


def times(codes: Codes) -> Array:
    return TIMES.predict(LayerLayout(SPACE).pack(codes))


def test_times_are_recovered_from_noisy_networks() -> None:
    codes = networks_to_measure(SPACE, 24)
    assert len(np.unique(codes, axis=0)) == 24
    noise = 1 + 0.01 * np.random.default_rng(0).standard_normal(24)
    fit = fit_times(SPACE, codes, times(codes) * noise)
    assert fit.error < 0.02
    assert fit.kendall > 0.9
    np.testing.assert_allclose(fit.table.predict(LayerLayout(SPACE).pack(all_codes())),
                               times(all_codes()), rtol=0.05)  # fmt: skip


def test_times_never_fall_with_sizes() -> None:
    codes = networks_to_measure(SPACE, 12)
    values = np.random.default_rng(0).uniform(1, 2, 12)  # nothing but noise
    layers = fit_times(SPACE, codes, values).table.layers[0, 0, 0]
    assert (np.diff(layers, axis=1) >= 0).all()
    assert (np.diff(layers, axis=2) >= 0).all()
    with pytest.raises(InvalidInput, match="expected more than 5 measured networks, found 4"):
        fit_times(SPACE, codes[:4], values[:4])
    with pytest.raises(InvalidInput, match="networks: expected more than 5, found 5"):
        networks_to_measure(SPACE, 5)


class Clock:
    """Device whose times are those of `TIMES`, in place of a `DeviceProfiler`."""

    name = "clock"
    workloads: ClassVar = {"mine": Workload(prompt=8, generate=4, batch=1, precision="float32")}

    def __init__(self) -> None:
        self.measured: list[str] = []

    def build_model(self, space: ShrunkLlamaSpace, arch: object) -> object:
        return arch

    def measure(self, model: object, measure: str, workload: Workload) -> Measurement:
        if len(self.measured) == 4:
            self.measured.append("")
            raise OutOfMemory("no memory")
        self.measured.append(f"{measure} {model}")
        time = float(times(SPACE.encode([str(model)]))[0])
        return Measurement(time / 2 if measure == "tpot" else time, 0.01, None)  # type: ignore

    def release(self) -> None:
        pass


def test_measured_times_are_kept_and_add_up(tmp_path: Path) -> None:
    clock: Any = Clock()
    file = tmp_path / "times.csv"
    log = measure_networks(SPACE, "mine", clock, file, count=8)
    count = len(clock.measured)
    assert measure_networks(SPACE, "mine", clock, file, count=8).rows == log.rows
    assert len(clock.measured) == count
    assert [row["reason"] for row in log.rows].count("no memory") == 1
    figures = figures_of_log(SPACE, log, "mine", clock.workloads["mine"], "clock")
    names = [figure.quantity for figure in figures]
    assert names == ["ttft.mine@clock", "tpot.mine@clock", "latency.mine@clock"]
    assert [figure.points for figure in figures] == [7, 7, 7]
    # A request of 4 tokens: a prefill and 3 steps of half of its time.
    assert figures[2].table.maximum() == pytest.approx(2.5 * TIMES.maximum())
    with pytest.raises(InvalidInput, match="contains a survey with space"):
        measure_networks(
            SPACE.__class__(**{**SETTINGS, "n_layer": 5}), "mine", clock, file, count=8
        )


def test_correction_learns_link_and_layers() -> None:
    codes = SPACE.sample(40, np.random.default_rng(0))
    truth = 1.3 * sums(SCORES * np.array([1, 2, 1, 1])[:, None, None], codes) ** 1.2
    corrected = correct_scores(SPACE, SCORES, codes[:30], truth[:30])
    plain = agreement(SPACE, codes[30:], sums(SCORES, codes[30:]), truth[30:])
    seen = agreement(SPACE, codes[30:], corrected.predict(SPACE, codes[30:]), truth[30:])
    assert seen.error < plain.error / 3
    assert seen.overall > 0.95
    assert 0.9 < corrected.power < 1.4


def test_few_members_change_only_the_link() -> None:
    codes = SPACE.sample(4, np.random.default_rng(0))
    corrected = correct_scores(SPACE, SCORES, codes, 2 * sums(SCORES, codes))
    np.testing.assert_allclose(corrected.predict(SPACE, codes), 2 * sums(SCORES, codes))
    assert CorrectedScores(table_of_layers(SPACE, 0.0, SCORES)).power == 1


def test_predicted_front_is_exact() -> None:
    codes = all_codes()
    points = np.stack([sums(SCORES, codes), times(codes)], axis=1)
    front = predicted_front(SPACE, table_of_layers(SPACE, 0.0, SCORES), TIMES, max_loss=2.0)
    wanted = points[pareto.non_dominated(points)]
    wanted = wanted[wanted[:, 0] <= 2.0]
    found = np.stack([sums(SCORES, front), times(front)], axis=1)
    np.testing.assert_allclose(np.unique(found.round(9), axis=0),
                               np.unique(wanted.round(9), axis=0))  # fmt: skip


def test_search_finds_the_front_of_additive_losses() -> None:
    evaluated: list[int] = []

    def truth(codes: Codes) -> Array:
        evaluated.append(len(codes))
        return 1.5 * sums(SCORES, codes) ** 1.3

    found = search_front(SPACE, SCORES, TIMES, truth, evaluations=30, max_loss=3.0, seed=1)
    assert sum(evaluated) == len(found.codes) == len(np.unique(found.codes, axis=0)) <= 30
    codes = all_codes()
    points = np.stack([1.5 * sums(SCORES, codes) ** 1.3, times(codes)], axis=1)
    reference = np.array([3.0, float(TIMES.maximum()) * 1.05])
    mine = np.stack([found.added, found.times], axis=1)
    best, reached = (
        float(pareto.hypervolume(p[(p < reference).all(axis=1)], reference)) for p in (points, mine)
    )
    assert reached > 0.97 * best
    assert (np.diff(found.times[found.front]) > 0).all()
    again = search_front(SPACE, SCORES, TIMES, truth, evaluations=30, max_loss=3.0, seed=1)
    np.testing.assert_array_equal(again.codes, found.codes)


def test_a_network_without_layers_is_not_evaluated() -> None:
    front = predicted_front(SPACE, table_of_layers(SPACE, 0.0, SCORES), TIMES)
    assert SPACE.depth_of(front).min() == 0  # the fastest of all
    found = search_front(SPACE, SCORES, TIMES, lambda codes: sums(SCORES, codes), evaluations=30)
    assert len(found.codes) > 10
    assert SPACE.depth_of(found.codes).min() == 1
    # Of a model that is better the less is left of it, nothing but that would be evaluated.
    found = search_front(SPACE, -SCORES, TIMES, lambda codes: -sums(SCORES, codes), evaluations=30)
    assert SPACE.depth_of(found.codes).tolist() == [4]


def test_agreement_is_within_depths() -> None:
    codes = SPACE.sample(40, np.random.default_rng(0))
    depth = SPACE.depth_of(codes).astype(float)
    rng = np.random.default_rng(1)
    noise = rng.random(40)
    # Depth alone tells all of them apart, and nothing within a depth.
    seen = agreement(SPACE, codes, 10 * depth + rng.random(40), 10 * depth + noise)
    assert seen.overall > 0.5
    assert abs(seen.spearman) < 0.4
