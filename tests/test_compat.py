"""HW-GPT-Bench's API: its calls, its keys, its numbers and errors."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.compat import HWGPT
from hwnas.errors import InvalidInput, MissingExtra, UnknownName
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


# Every public name of HW-GPT-Bench's class hwgpt.api.HWGPT, with the arguments of a call.
SERVED: dict[str, dict[str, Any]] = {
    "sample_arch": {},
    "set_arch": {"config": ARCH},
    "query": {"device": "h100", "metric": "latencies", "predictor": "mlp"},
    "init_devices": {},
    "set_metrics_and_devices": {"hw_metric": "energies", "device": "h100"},
    "reset_config": {},
    "compute_predictions_ppl": {},
    "compute_predictions_hw": {"hw_metric": "latencies", "device": "h100"},
    "get_flops": {},
    "get_params": {},
    "get_memory": {"objective": "float16_memory"},
    "create_model": {},
}
SERVED_ATTRIBUTES = [
    "base_path", "search_space", "search_space_name", "device_list", "hw_metrics_surrogate",
    "hw_metrics_true", "metrics", "config", "use_supernet_surrogate", "on_device", "device_query",
    "hw_metrics_surrogate_query", "hw_metrics_true_query",
]  # fmt: skip
NOT_SERVED = {
    "surrogate_ppl": "compute_predictions_ppl",
    "cfg_model": "create_model",
    "get_model_config": "create_model",
    "gt_stats": r"surrogate\('gpt-s'\).*predict.*front",
    "get_gt_latencies": "predict",
    "get_gt_energies": "predict",
    "get_gt_agnostic": "predict",
    "query_gt_all_archs": "predict",
    "gpt_ppl_profiler": "register_backend",
    "prepare_args_for_ppl_profiler": "register_backend",
    "eval_supernet_surrogate": "register_backend",
}


@pytest.mark.parametrize("name", SERVED)
def test_published_methods_take_published_arguments(api: HWGPT, name: str) -> None:
    if name == "create_model":
        pytest.importorskip("torch")
    by_name = getattr(api, name)(**SERVED[name])
    by_position = getattr(api, name)(*SERVED[name].values())
    assert type(by_name) is type(by_position)


@pytest.mark.parametrize("name", SERVED_ATTRIBUTES)
def test_published_attributes_exist(api: HWGPT, name: str) -> None:
    assert isinstance(getattr(api, name), bool | str | list | dict)


@pytest.mark.parametrize("name", NOT_SERVED)
def test_other_published_names_say_what_to_do(api: HWGPT, name: str) -> None:
    with pytest.raises(InvalidInput, match=rf"^{name}: hwnas .*{NOT_SERVED[name]}") as caught:
        getattr(api, name)
    assert "\n" not in str(caught.value)


def test_names_that_nobody_publishes_are_attribute_errors(api: HWGPT) -> None:
    with pytest.raises(AttributeError, match="no attribute 'get_param'"):
        _ = api.get_param  # type: ignore[attr-defined]
    assert copy.deepcopy(api).query("h100") == api.query("h100")


def test_sample_arch_sets_the_architecture(api: HWGPT) -> None:
    arch = api.sample_arch()
    assert api.config is arch
    before = api.query(metric=["flops", "params", "perplexity"])
    api.set_arch(dict(arch))
    assert api.query(metric=["flops", "params", "perplexity"]) == before


@pytest.mark.parametrize("kind", [list, tuple])
def test_lists_of_metrics_and_devices(api: HWGPT, kind: Any) -> None:
    # As in the script of three objectives: one value for each pair of metric and device.
    answer = api.query(metric=kind(["energies", "latencies"]), device=kind(["a6000", "rtx2080"]))
    assert {key: list(lookup(answer, key)) for key in answer} == {
        "energies": ["a6000", "rtx2080"],
        "latencies": ["a6000", "rtx2080"],
    }
    assert list(api.query(metric=kind(["flops", "float16_memory"]))) == ["flops", "float16_memory"]
    # Mixed lists fail in HW-GPT-Bench.
    mixed = api.query(metric=kind(["params", "latencies", "perplexity", "params"]), device="h100")
    assert list(mixed) == ["latencies", "params", "perplexity"]
    assert list(lookup(mixed, "latencies")) == ["h100"]
    assert list(api.query(kind(["v100", "a40"]))) == ["latencies", "energies"]
    assert api.query(metric=kind([])) == {}


def test_selection_of_a_query_is_kept_for_no_other(api: HWGPT) -> None:
    api.query("h100", ["energies", "params"])
    assert api.device_query == ["h100"]
    assert (api.hw_metrics_surrogate_query, api.hw_metrics_true_query) == (["energies"], ["params"])
    everything = api.query()
    assert list(lookup(everything, "latencies")) == api.device_query == DEVICES
    # The lists of defaults can be shortened.
    api.device_list, api.hw_metrics_true = ["a40"], ["flops"]
    assert list(lookup(api.query(), "energies")) == ["a40"]
    assert list(api.query()) == ["latencies", "energies", "flops"]


@pytest.mark.parametrize("metric", ["flops", "params"])
@pytest.mark.parametrize("scale", ["s", "m", "l"])
def test_extremes_of_true_metrics(scale: str, metric: str) -> None:
    """The largest and the smallest architecture, as HW-GPT-Bench's normalization sets them."""
    api, values = HWGPT(scale), []
    for extreme in (min, max):
        choices = {key: extreme(values) for key, values in api.search_space.items()}
        depth = choices["n_layer_choices"]
        api.set_arch(
            {
                "sample_embed_dim": choices["embed_dim_choices"],
                "sample_n_layer": depth,
                "sample_layer_indices": list(range(depth)),
                "sample_n_head": [choices["n_head_choices"]] * depth,
                "sample_mlp_ratio": [choices["mlp_ratio_choices"]] * depth,
                "sample_bias": True,
            }
        )
        values.append(getattr(api, f"get_{metric}")())
    assert type(values[0]) is int
    assert values[0] < values[1]


def test_single_predictions(api: HWGPT) -> None:
    for metric in ("latencies", "energies"):
        value = api.compute_predictions_hw(metric, "h100")
        assert type(value) is float
        assert value > 0
    for metric in ("float16_memory", "bfloat16_memory"):
        assert api.get_memory(metric) == api.query(metric=metric)[metric]
    with pytest.raises(UnknownName, match="unknown metric 'latency'"):
        api.compute_predictions_hw("latency", "h100")
    with pytest.raises(UnknownName, match="unknown metric 'float32_memory'"):
        api.get_memory("float32_memory")


def test_created_model_has_the_parameters() -> None:
    torch = pytest.importorskip("torch")
    api = HWGPT("s")
    api.set_arch(ARCH)
    model = api.create_model()
    assert sum(parameter.numel() for parameter in model.parameters()) == api.get_params()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, dtype=torch.long)).shape[:2] == (1, 3)


def test_model_without_torch_names_the_extra(api: HWGPT, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("hwnas.profiling")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"hwnas\.profiling needs torch: pip install .*profile"):
        api.create_model()


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
    assert list(rtx2080) == ["latencies", "energies"]
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
    assert list(api.query("h100", "energies", "supernet")) == ["energies"]
    assert api.query(None, "perplexity", "mlp")["perplexity"] == api.compute_predictions_ppl()


def test_values_equal_surrogate(api: HWGPT) -> None:
    bench = surrogate("gpt-s")
    ratios, heads = tuple(ARCH["sample_mlp_ratio"]), tuple(ARCH["sample_n_head"])
    codes = bench.space.encode([Architecture("gpt-s", 384, 10, ratios, heads, True)])
    for name in ("perplexity", "float16_memory", "bfloat16_memory", "params", "flops"):
        assert api.query(metric=name) == {name: bench.predict(codes, [name])[0, 0]}
    for name, ours in (("latencies", "latency"), ("energies", "energy")):
        draws = [lookup(api.query("h100", name), name, "h100") for _ in range(400)]
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
        answers.append({**api.query(), **api.query(metric="perplexity")})
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


def test_changes_of_the_dictionary_count(api: HWGPT) -> None:
    """As in HW-GPT-Bench, which keeps the dictionary: by mutation, or by assigning a new one."""
    arch = json.loads(json.dumps(ARCH))
    api.set_arch(arch)
    assert api.config is arch
    n_params = api.get_params()
    arch["sample_mlp_ratio"][0] = 4
    n_params_of_changed = api.get_params()
    assert n_params_of_changed > n_params
    api.config = ARCH
    assert api.get_params() == n_params
    arch["sample_n_layer"] = 9
    api.config = arch
    for ask in (api.query, api.get_params, api.reset_config):
        with pytest.raises(InvalidInput, match="sample_n_layer: expected one of"):
            ask()


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
        with pytest.raises(ValueError, match=r"no architecture is set; call set_arch"):
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
        ({"metric": ["latencies", 3]}, "metric: expected one of latencies, energies.*found 3"),
        ({"metric": ["latencies", "param"]}, "unknown metric 'param'; did you mean 'params'"),
        ({"metric": [["latencies"]]}, r"metric: expected one of .*found \['latencies'\]"),
        ({"metric": 3}, "metric: expected a name or a list of names, found 3"),
        ({"metric": "accuracy"}, "'accuracy': hwnas ships no supernet"),
        ({"device": ["a100", "p100"]}, "unknown device 'p100'; did you mean 'P100'"),
        ({"device": "latencies"}, "found the metric 'latencies'.*write metric='latencies'"),
        ({"device": "rtx2090"}, "unknown device 'rtx2090'; .*rtx2080"),
        ({"device": "p100", "metric": "flops"}, "unknown device 'p100'"),
        ({"predictor": "forest"}, "unknown predictor 'forest'"),
        ({"predictor": "supernet", "metric": "perplexity"}, r'predictor="supernet".*"mlp"'),
    ],
)
def test_wrong_queries_raise(api: HWGPT, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        api.query(**arguments)


def test_wrong_arguments_of_constructor_raise() -> None:
    with pytest.raises(InvalidInput, match=r"use_supernet_surrogate=True.*register_backend"):
        HWGPT(search_space="s", use_supernet_surrogate=True)
    with pytest.raises(UnknownName, match="unknown search space 'xl'"):
        HWGPT("xl")
    with pytest.raises(InvalidInput, match="seed: expected a non-negative integer, found -1"):
        HWGPT("s", seed=-1)
