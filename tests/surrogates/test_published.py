from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.errors import InvalidInput
from hwnas.spaces import GPTSpace, space
from hwnas.spaces.architecture import Architecture
from hwnas.surrogates import surrogate
from hwnas.surrogates.published import DATA, LEVELS, SCALES, load_figures

FIGURES = Path(__file__).parents[2].parent / "shared" / "hwgptbench"
CHOICES: Mapping[str, Any] = {
    "embed_dim": [384, 768], "n_layer": [10, 12], "mlp_ratio": [2, 4], "n_head": [4, 12]
}  # fmt: skip


@pytest.mark.parametrize("scale", SCALES)
def test_quantile_tables_increase_in_every_entry(scale: str) -> None:
    # So do their sums, for every architecture: rounding is monotone.
    figures = load_figures(space(scale))
    for metric in ("latency", "energy"):
        for device in figures.devices:
            nine = figures.quantile_tables(metric, device)
            assert len(nine) == len(LEVELS)
            for below, above in itertools.pairwise(nine):
                assert (below.base <= above.base).all()
                assert (below.layers <= above.layers).all()


@pytest.mark.parametrize("scale", SCALES)
def test_every_metric_is_positive_everywhere(scale: str) -> None:
    bench = surrogate(scale)
    for name, metric in bench.metrics.items():
        assert bench.range(f"{name}:p01" if metric.quantiles else name)[0] > 0


def test_files_are_small_and_have_provenance() -> None:
    assert sum((DATA / f"{s}.npz").stat().st_size for s in SCALES) < 2_000_000
    for scale in SCALES:
        about = load_figures(space(scale)).provenance
        assert len(about["devices"]) == 13
        assert about["levels"] == list(LEVELS)
        assert about["licence"] == "Apache-2.0"
        assert "HW-GPT-Bench" in about["citation"]
        assert len(about["source"]["sha256"]) == 64
        assert about["held_out_error_percent"]["latency@rtx3080"] < 1


def test_a_space_cut_down_has_the_values_of_its_scale() -> None:
    part = GPTSpace("part", **CHOICES, bias=[True])
    codes = part.sample(300, np.random.default_rng(0))
    scale_backend = surrogate("gpt-s")
    same = scale_backend.space.encode(part.decode(codes))
    names = ["perplexity", "latency@h100:p20", "energy@P100", "float16_memory", "params"]
    actual = surrogate(part).predict(codes, names)
    # Bit for bit: every table entry is the same.
    assert np.array_equal(actual, scale_backend.predict(same, names))


@pytest.mark.parametrize("shallow", [[10], [11], [10, 11]])
def test_a_space_may_be_shallower_than_its_scale(shallow: list[int]) -> None:
    part = GPTSpace("part", **{**CHOICES, "n_layer": shallow})
    codes = part.sample(50, np.random.default_rng(0))
    scale_backend = surrogate("gpt-s")
    same = scale_backend.space.encode(part.decode(codes))
    names = ["perplexity", "latency@a100"]
    assert np.array_equal(surrogate(part).predict(codes, names), scale_backend.predict(same, names))


@pytest.mark.parametrize(
    "change",
    [
        {"embed_dim": [200]},
        {"embed_dim": [384, 512]},  # of two scales
        {"n_layer": [9, 10]},
        {"mlp_ratio": [1, 2]},
        {"n_head": [6]},
        {"head_size": 32},
        {"context": 512},
        {"vocab_size": 50_304},
    ],
)
def test_unpublished_choices_have_no_figures(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=r"no published figures.*gpt-s.*profile backend"):
        surrogate(GPTSpace("mine", **{**CHOICES, **change}))


def test_other_named_spaces_have_no_figures() -> None:
    name = "gpt-m-wide"
    with pytest.raises(InvalidInput, match=f"'{name}'.*no published figures"):
        surrogate(name)


@pytest.mark.skipif(not FIGURES.is_dir(), reason="needs the published figures")
@pytest.mark.parametrize(
    ("scale", "latency", "energy", "perplexity"),
    [  # mean over devices and worst device, per cent
        ("gpt-s", (0.56, 1.07), (0.75, 1.45), 0.13),
        ("gpt-m", (0.40, 0.92), (0.72, 1.95), 0.037),
        ("gpt-l", (0.36, 0.62), (0.62, 0.95), 0.022),
    ],
)
def test_agrees_with_the_published_figures(
    scale: str, latency: tuple[float, float], energy: tuple[float, float], perplexity: float
) -> None:
    with np.load(FIGURES / f"{scale}.npz", allow_pickle=False) as file:
        data = {name: file[name][:2000] if file[name].ndim else file[name] for name in file}
    bench = surrogate(scale)
    codes = bench.space.encode(
        Architecture(scale, e, d, tuple(ratios[:d]), tuple(heads[:d]), bias)
        for e, d, ratios, heads, bias in zip(
            *(data[k].tolist() for k in ("embed_dim", "n_layer", "mlp_ratio", "n_head", "bias")),
            strict=True,
        )
    )

    def error(names: list[str], expected: np.ndarray) -> np.ndarray:
        return 100 * np.abs(bench.predict(codes, names) / expected - 1).mean(axis=0)

    devices = data["devices"].tolist()
    for metric, array, (mean, worst) in (
        ("latency", data["latency_ms"], latency),
        ("energy", data["energy_mwh"], energy),
    ):
        actual = error([f"{metric}@{d}" for d in devices], array[:, :, 4])
        assert actual.mean() < 1.1 * mean
        assert actual.max() < 1.1 * worst
        ends = error([f"{metric}@{d}:p{p}" for d in devices for p in (10, 90)],
                     array[:, :, [0, 8]].reshape(len(codes), -1))  # fmt: skip
        assert ends.mean() < 2 * mean
    assert error(["perplexity"], data["perplexity"][:, None])[0] < 1.1 * perplexity
    memory = np.stack([data["float16_memory_mb"], data["bfloat16_memory_mb"]], axis=1)
    assert error(["float16_memory", "bfloat16_memory"], memory).max() < 2.2
