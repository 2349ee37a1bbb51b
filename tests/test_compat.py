"""HW-GPT-Bench's API: its calls, its keys, its numbers and errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.compat import HWGPT
from hwnas.errors import InvalidInput, UnknownName
from hwnas.spaces.architecture import Architecture
from hwnas.surrogates import surrogate

FIGURES = Path(__file__).parents[1].parent / "shared" / "hwgptbench"
DEVICES = [
    "a100", "a40", "h100", "rtx2080", "rtx3080", "a6000", "v100", "P100", "cpu_xeon_silver",
    "cpu_xeon_gold", "cpu_amd_7502", "cpu_amd_7513", "cpu_amd_7452",
]  # fmt: skip
ARCH: dict[str, Any] = {
    "sample_embed_dim": 384,
    "sample_n_layer": 10,
    "sample_mlp_ratio": [2, 3, 4, 2, 3, 4, 2, 3, 4, 2],
    "sample_n_head": [4, 8, 12, 4, 8, 12, 4, 8, 12, 4],
    "sample_bias": "True",
}


@pytest.fixture
def api() -> HWGPT:
    api = HWGPT(search_space="s", use_supernet_surrogate=False)
    api.set_arch(ARCH)
    return api


def lookup(answer: Any, *keys: str) -> Any:
    """Return a nested value of an answer."""
    for key in keys:
        answer = answer[key]
    return answer


@pytest.mark.parametrize("scale", ["s", "m", "l"])
def test_calls_of_readme(scale: str) -> None:
    api = HWGPT(search_space=scale, use_supernet_surrogate=False)
    random_arch = api.sample_arch()
    api.set_arch(random_arch)
    results = api.query()
    assert list(results) == [
        "latencies", "energies", "flops", "params", "float16_memory", "bfloat16_memory"
    ]  # fmt: skip
    for metric in ("latencies", "energies"):
        assert list(lookup(results, metric)) == DEVICES
        assert all(type(v) is float and v > 0 for v in lookup(results, metric).values())
    assert type(results["flops"]) is type(results["params"]) is int
    assert type(results["float16_memory"]) is type(results["bfloat16_memory"]) is float
    energy = api.query(metric="energies")
    assert list(energy) == ["energies"]
    assert list(lookup(energy, "energies")) == DEVICES
    assert list(api.query(metric="latencies")) == ["latencies"]
    rtx2080 = api.query(device="rtx2080")
    assert list(rtx2080) == list(results)
    assert list(lookup(rtx2080, "latencies")) == list(lookup(rtx2080, "energies")) == ["rtx2080"]
    perplexity_mlp = api.query(metric="perplexity", predictor="mlp")
    assert list(perplexity_mlp) == ["perplexity"]
    assert type(perplexity_mlp["perplexity"]) is float
    json.dumps([random_arch, results, energy, rtx2080, perplexity_mlp])


def test_positional_and_superfluous_arguments(api: HWGPT) -> None:
    # By position, with a path, and with a device for a metric that has none.
    assert HWGPT("s", False, base_path="../HW-GPT-Bench").search_space_name == "s"
    assert (
        lookup(api.query(metric="energies", predictor="mlp", device="a40"), "energies", "a40") > 0
    )
    params = api.query(metric="params", predictor="mlp", device="a40")["params"]
    assert params == api.get_params()
    assert api.query("flops")["flops"] == api.get_flops()
    assert api.query("perplexity")["perplexity"] == api.compute_predictions_ppl()


def test_values_equal_surrogate(api: HWGPT) -> None:
    bench = surrogate("gpt-s")
    ratios, heads = tuple(ARCH["sample_mlp_ratio"]), tuple(ARCH["sample_n_head"])
    codes = bench.space.encode([Architecture("gpt-s", 384, 10, ratios, heads, True)])
    for name in ("perplexity", "float16_memory", "bfloat16_memory", "params", "flops"):
        assert api.query(name) == {name: bench.predict(codes, [name])[0, 0]}
    for name, ours in (("latencies", "latency"), ("energies", "energy")):
        draws = [lookup(api.query(name, "h100"), name, "h100") for _ in range(400)]
        deciles = bench.quantiles(codes, f"{ours}@h100")[0]
        # The share of draws below the k-th decile, within four standard errors.
        shares = (np.array(draws)[:, None] <= deciles).mean(axis=0)
        assert np.abs(shares - np.arange(1, 10) / 10).max() < 4 * 0.5 / 20
        assert len(set(draws)) > 300


@pytest.mark.skipif(not FIGURES.exists(), reason="the published figures are missing")
@pytest.mark.parametrize("scale", ["s", "m", "l"])
def test_numbers_and_units_match_published_figures(scale: str) -> None:
    api = HWGPT(scale)
    with np.load(FIGURES / f"gpt-{scale}.npz") as file:
        head = {name: file[name][:40] for name in file if len(file[name]) == 8000}
        devices = file["devices"].tolist()
    answers = []
    for i in range(40):
        fields = ("embed_dim", "n_layer", "mlp_ratio", "n_head", "bias")
        api.set_arch({f"sample_{name}": head[name][i] for name in fields})  # NumPy's
        answers.append({**api.query(), **api.query("perplexity")})
    for ours, published_name in (
        ("perplexity", "perplexity"),
        ("float16_memory", "float16_memory_mb"),
        ("bfloat16_memory", "bfloat16_memory_mb"),
    ):
        ratio = np.array([lookup(answer, ours) for answer in answers]) / head[published_name]
        assert np.median(ratio) == pytest.approx(1, rel=0.02)
    for ours, published_name in (("latencies", "latency_ms"), ("energies", "energy_mwh")):
        draws = np.array([[lookup(answer, ours, d) for d in devices] for answer in answers])
        ratio = draws / head[published_name][:, :, 4]
        assert np.median(ratio, axis=0) == pytest.approx(1, rel=0.3)
        assert np.median(ratio) == pytest.approx(1, rel=0.01)


def test_seed_determines_samples() -> None:
    def record(seed: int) -> tuple[Any, ...]:
        api = HWGPT("s", seed=seed)
        arch = api.sample_arch()
        api.set_arch(arch)
        return arch, api.query(), api.query(device="a100")

    assert record(3) == record(3)
    first, second = record(3), record(4)
    assert all(a != b for a, b in zip(first, second, strict=True))
    np.random.seed(0)  # noqa: NPY002 - the global generator must have no effect
    assert record(3) == first


def test_queries_do_not_change_sampled_architectures(api: HWGPT) -> None:
    fresh_api = HWGPT("s")
    api.query()
    assert api.sample_arch() == fresh_api.sample_arch()


@pytest.mark.parametrize("scale", ["s", "m", "l"])
def test_samples_cover_choices(scale: str) -> None:
    api = HWGPT(scale)
    choices = api.search_space
    archs = [api.sample_arch() for _ in range(300)]
    for name in ("embed_dim", "n_layer", "bias"):
        assert {arch[f"sample_{name}"] for arch in archs} == set(choices[f"{name}_choices"])
    for arch in archs:
        assert arch["sample_layer_indices"] == list(range(arch["sample_n_layer"]))
        for name in ("mlp_ratio", "n_head"):
            assert len(arch[f"sample_{name}"]) == max(choices["n_layer_choices"])
            assert set(arch[f"sample_{name}"]) <= set(choices[f"{name}_choices"])


@settings(max_examples=25)
@given(st.lists(st.integers(-1, 99)), st.booleans())
def test_entries_beyond_depth_are_ignored(entries: list[int], bias: bool) -> None:
    plain, longer = HWGPT("s"), HWGPT("s")
    lists = {key: [*ARCH[key], *entries] for key in ("sample_mlp_ratio", "sample_n_head")}
    plain.set_arch({**ARCH, "sample_bias": str(bias)})
    longer.set_arch({**ARCH, **lists, "sample_bias": bias, "sample_layer_indices": []})
    assert plain.query(device="a100") == longer.query(device="a100")


def test_bias_changes_metrics(api: HWGPT) -> None:
    with_bias = api.get_params(), api.compute_predictions_ppl()
    api.set_arch({**ARCH, "sample_bias": "False"})
    assert api.get_params() < with_bias[0]
    assert api.compute_predictions_ppl() != with_bias[1]


def test_set_arch_copies_configuration(api: HWGPT) -> None:
    arch = json.loads(json.dumps(ARCH))
    api.set_arch(arch)
    n_params = api.get_params()
    arch["sample_mlp_ratio"][0] = 4
    assert api.config == ARCH
    assert api.get_params() == n_params


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample_embed_dim": 200}, r"sample_embed_dim: expected one of \[192, 384, 768\].*200"),
        ({"sample_embed_dim": "384"}, "sample_embed_dim: expected an integer, found '384'"),
        ({"sample_n_layer": 9}, r"sample_n_layer: expected one of \[10, 11, 12\], found 9"),
        ({"sample_n_layer": 12}, "sample_mlp_ratio: expected one value a layer, 12, found 10"),
        ({"sample_n_layer": -1}, "sample_n_layer"),
        ({"sample_mlp_ratio": 4}, "sample_mlp_ratio: expected a list of integers, found 4"),
        ({"sample_mlp_ratio": [5] * 10}, r"sample_mlp_ratio: expected one of \[2, 3, 4\]"),
        ({"sample_n_head": [4.0] * 10}, "sample_n_head: expected a list of integers"),
        ({"sample_n_head": [2**70] * 10}, "sample_n_head: expected numbers below"),
        ({"sample_bias": "true"}, "sample_bias: expected .*'true'"),
    ],
)
def test_wrong_architectures_raise(api: HWGPT, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        api.set_arch({**ARCH, **change})
    assert "\n" not in str(caught.value)
    assert api.config == ARCH  # the former one stays


def test_missing_architecture_raises() -> None:
    api = HWGPT("s")
    for ask in (api.query, api.get_flops, api.compute_predictions_ppl):
        with pytest.raises(ValueError, match=r"no architecture is set; call set_arch\(arch\)"):
            ask()
    bad: Any
    for bad in ("gpt-s-10", None, {}):
        with pytest.raises(InvalidInput, match="sample_embed_dim"):
            api.set_arch(bad)
    with pytest.raises(InvalidInput, match="missing: sample_bias"):
        api.set_arch({key: value for key, value in ARCH.items() if key != "sample_bias"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metric": "energy"}, "unknown metric 'energy'; did you mean 'energies'"),
        ({"metric": ["latencies"]}, "metric: expected one of latencies, energies"),
        ({"device": "rtx2090"}, "unknown device 'rtx2090'; did you mean 'rtx2080'"),
        ({"device": "p100", "metric": "flops"}, "unknown device 'p100'"),
        ({"predictor": "forest"}, "unknown predictor 'forest'"),
        ({"predictor": "supernet"}, r'predictor="supernet".*predictor="mlp"'),
    ],
)
def test_wrong_queries_raise(api: HWGPT, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        api.query(**arguments)


def test_unsupported_features_raise(api: HWGPT) -> None:
    with pytest.raises(InvalidInput, match=r"use_supernet_surrogate=True.*register_backend"):
        HWGPT(search_space="s", use_supernet_surrogate=True)
    with pytest.raises(InvalidInput, match=r"surrogate\('gpt-s'\).*predict.*front"):
        api.query_gt_all_archs(metric="latencies", device="a100")
    with pytest.raises(UnknownName, match="unknown search space 'xl'"):
        HWGPT("xl")
    with pytest.raises(InvalidInput, match="seed: expected a non-negative integer, found -1"):
        HWGPT("s", seed=-1)
