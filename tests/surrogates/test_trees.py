from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from hwnas.errors import InvalidInput
from hwnas.objectives import parse_objectives
from hwnas.pareto import non_dominated
from hwnas.problem import load_experiment
from hwnas.spaces import GPTSpace, space
from hwnas.surrogates import Surrogate, surrogate
from hwnas.surrogates.published import DATA, SCALES
from hwnas.surrogates.trees import Trees, features_of, load_trees

CHOICES: Mapping[str, Any] = {
    "embed_dim": [384, 768], "n_layer": [10, 12], "mlp_ratio": [2, 4], "n_head": [4, 12]
}  # fmt: skip
PROBLEM = ("perplexity", "latency@rtx3080")


@pytest.fixture(scope="module")
def bench() -> Surrogate:
    return surrogate("gpt-s", model="trees")


@pytest.fixture(scope="module")
def codes(bench: Surrogate) -> np.ndarray:
    return bench.space.sample(300, np.random.default_rng(0))


def by_hand(arrays: Mapping[str, Any], name: str, features: np.ndarray) -> float:
    """Return the correction of one architecture, as in the docstring of the module."""
    total = 0.0
    tests, leaves, scales = (arrays[f"{name}:{part}"] for part in ("tests", "leaves", "scales"))
    for questions, values, unit in zip(tests, leaves, scales, strict=True):
        leaf = 0
        for bit, question in enumerate(questions):
            yes = features[arrays["features"][question]] > arrays["borders"][question]
            leaf += int(yes) << bit
        total += float(values[leaf]) * float(unit)
    return total


def test_a_correction_is_the_sum_of_leaves(bench: Surrogate, codes: np.ndarray) -> None:
    arrays = load_trees("gpt-s")
    trees = Trees(bench.space, arrays)
    names = ["perplexity", "energy@P100", "params"]
    actual = trees.correction(codes[:20], names)
    features = features_of(bench.space, codes[:20])
    for j, name in enumerate(names[:2]):
        expected = [by_hand(arrays, name, features[:, i]) for i in range(20)]
        np.testing.assert_allclose(actual[:, j], expected, rtol=1e-9, atol=1e-12)
    assert (actual[:, 2] == 0).all()
    assert trees.correction(codes[:5], ["params"]).tolist() == [[0]] * 5


def test_features_of_known_architectures() -> None:
    tiny = GPTSpace("tiny", embed_dim=[8], n_layer=[1, 2], mlp_ratio=[1, 3], n_head=[2, 4])
    code = np.array([[0, 1, 1, 1, 0, 0, 1], [0, 0, 0, 1, 1, 0, 0]], dtype=np.int8)
    assert features_of(tiny, code).T.tolist() == [
        [8, 2, 1, 4, 6, 10, 3, 2, 1, 4],
        [8, 1, 0, 3, 4, 12, 3, 4, 0, 0],
    ]


def test_rows_are_independent(bench: Surrogate) -> None:
    codes = bench.space.sample(9000, np.random.default_rng(1))
    together = bench.predict(codes, PROBLEM)
    for i in (0, 8191, 8192, 8999):
        assert np.array_equal(bench.predict(codes[i : i + 1], PROBLEM)[0], together[i])
    for n in (100, 256, 257):
        assert np.array_equal(bench.predict(codes[:n], PROBLEM), together[:n])


def test_trees_shift_all_quantiles_alike(bench: Surrogate, codes: np.ndarray) -> None:
    tables = surrogate("gpt-s")
    name = "latency@h100"
    ours, theirs = bench.quantiles(codes, name), tables.quantiles(codes, name)
    assert (np.diff(ours, axis=1) >= 0).all()
    moved = ours - theirs
    np.testing.assert_allclose(moved, np.tile(moved[:, [4]], 9), atol=1e-9)
    assert 0 < np.abs(moved[:, 4] / theirs[:, 4]).mean() < 0.01
    assert np.array_equal(bench.predict(codes, [f"{name}:p90"])[:, 0], ours[:, 8])
    assert np.array_equal(bench.predict(codes, ["flops"]), tables.predict(codes, ["flops"]))


def test_layers_interact(bench: Surrogate) -> None:
    # In a sum over layers the effect of one layer would not depend on another.
    base = bench.space.sample(200, np.random.default_rng(2))
    base[:, :3] = 2, 2, 0
    variants = []
    for first in (0, 2):
        for second in (0, 2):
            variant = base.copy()
            variant[:, 3], variant[:, 5] = first, second
            variants.append(bench.predict(variant, ["latency@rtx2080"])[:, 0])
    interaction = variants[0] - variants[1] - variants[2] + variants[3]
    assert np.abs(interaction).max() > 1e-3


def test_a_space_cut_down_has_the_values_of_its_scale(bench: Surrogate) -> None:
    part = GPTSpace("part", **CHOICES, bias=[True])
    codes = part.sample(100, np.random.default_rng(0))
    same = bench.space.encode(part.decode(codes))
    ours = surrogate(part, model="trees").predict(codes, PROBLEM)
    np.testing.assert_allclose(ours, bench.predict(same, PROBLEM), rtol=1e-12)
    assert surrogate(part, model="trees").front(PROBLEM) is None


@pytest.mark.parametrize("scale", SCALES)
def test_the_best_known_front_has_no_epsilon(scale: str) -> None:
    bench = surrogate(scale, model="trees")
    front = bench.front(PROBLEM)
    assert front is not None
    assert front.epsilon is None
    assert len(front) > 100
    assert non_dominated(front.losses).all()
    assert np.array_equal(front.values, bench.predict(front.codes, PROBLEM))
    swapped = bench.front(PROBLEM[::-1])
    assert swapped is not None
    assert {c.tobytes() for c in swapped.codes} == {c.tobytes() for c in front.codes}
    # The exact front of the tables, evaluated by the trees, is no better.
    start = surrogate(scale).front(PROBLEM)
    assert start is not None
    values = bench.predict(start.best(100).codes, PROBLEM)
    ahead = (values[:, None] < front.values[None]).all(axis=2)
    scaled = (front.values[None] - values[:, None]) / np.ptp(front.values, axis=0)
    assert np.where(ahead, scaled.min(axis=2), 0).max() < 0.002


@pytest.mark.parametrize(
    ("objectives", "constraints"),
    [
        (["perplexity", "latency@h100:p90"], []),
        (["perplexity", "latency@h100"], ["params <= 1e8"]),
        (["perplexity", "latency@h100", "energy@h100"], []),
        (["perplexity", "params"], []),
        (["latency@h100", "energy@h100"], []),
        (["-perplexity", "latency@h100"], []),
        (["perplexity"], []),
    ],
)
def test_no_front_of_unsupported_problems(
    bench: Surrogate, objectives: list[str], constraints: list[str]
) -> None:
    assert bench.front(objectives, constraints) is None


def test_trees_are_a_setting_of_the_backend() -> None:
    form = {
        "name": "trees",
        "space": "gpt-s",
        "backend": {"type": "surrogate", "model": "trees"},
        "objectives": list(PROBLEM),
        "optimizers": ["random"],
        "budget": {"evaluations": 5},
    }
    assert load_experiment(form)[0].name == "trees"
    with pytest.raises(InvalidInput, match="model"):
        load_experiment({**form, "backend": {"type": "surrogate", "model": "tree"}})[0]
    with pytest.raises(InvalidInput, match="expected 'additive' or 'trees', found 'tree'"):
        Surrogate(space("gpt-s"), model="tree")  # type: ignore[arg-type]


def test_data_and_provenance_differ_from_the_tables(bench: Surrogate) -> None:
    assert bench.data_hash() != surrogate("gpt-s").data_hash()
    ours = bench.provenance["held_out_error_percent"]
    theirs = surrogate("gpt-s").provenance["held_out_error_percent"]
    assert all(ours[f"latency@{d}"] < 0.75 * theirs[f"latency@{d}"] for d in bench.devices)
    assert sum((DATA / f"{s}-trees.npz").stat().st_size for s in SCALES) < 8_000_000


def test_noise_is_centered_on_the_trees(bench: Surrogate, codes: np.ndarray) -> None:
    noisy = surrogate("gpt-s", model="trees", noise=True)
    objectives = parse_objectives(["latency@h100"])
    seeds = np.arange(len(codes), dtype=np.uint64)
    actual = noisy.evaluate(codes, objectives, seeds=seeds, fidelity=2001)
    np.testing.assert_allclose(actual.values, bench.predict(codes, ["latency@h100"]), rtol=0.05)
