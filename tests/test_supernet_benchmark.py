"""Statistics of benchmarks/supernet.py, whose answers are known, and a small run of it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

FOLDER = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(FOLDER))

import supernet as benchmark  # noqa: E402
import supernet_profile as profiles  # noqa: E402
import supernet_report as reports  # noqa: E402
import supernet_statistics as statistics  # noqa: E402
from supernet_statistics import Networks, bootstrap, mean_over_widths, partial_kendall, trust  # noqa: E402

RNG = np.random.default_rng(0)


def networks(n: int = 30, *, noise: float = 0.3, own: float = 1.0, seed: int = 0) -> Networks:
    """Networks whose quality is a part of parameters and one of its own."""
    rng = np.random.default_rng(seed)
    width = np.repeat([1.0, 2.0], n)
    params = rng.normal(size=2 * n)
    quality = -params + own * rng.normal(size=2 * n) + 10 * width
    alone, again, inherited = (quality + noise * rng.normal(size=2 * n) for _ in range(3))
    again[rng.permutation(2 * n)[: 4 * n // 3]] = np.nan
    depth = np.tile([3.0, 6.0], n)
    return Networks(width, depth, alone, again, inherited, params, params)


def test_widths_are_never_compared_with_each_other() -> None:
    width, x = np.repeat([1, 2], 5), np.arange(10.0)
    y = np.concatenate([x[:5], 100 - x[5:]])  # opposite orders within the widths
    tau = mean_over_widths(width, lambda i: statistics.kendall(x[i], y[i]))
    assert tau == pytest.approx(0)
    few = np.arange(10) < 7  # two networks of the second width are too few
    assert mean_over_widths(width, lambda i: statistics.kendall(x[i], y[i]), few) == 1
    none = np.zeros(10, dtype=bool)
    assert np.isnan(bootstrap(width, lambda i: 1.0, RNG, chosen=none).low)


def test_ranks_within_a_depth_do_not_count_differences_between_depths() -> None:
    n = networks()
    rng = np.random.default_rng(1)
    # The depth decides, and nothing else is common.
    alone, inherited, params = (100 * n.depth + rng.normal(size=60) for _ in range(3))
    deep = replace(n, alone=alone, inherited=inherited, params=-params)
    assert trust(deep, RNG, n_bootstrap=50)["inherited"].value > 0.4
    within = statistics.depth_trust(deep, RNG, n_bootstrap=50)
    assert all(abs(estimate.value) < 0.25 for estimate in within.values())
    same = statistics.depth_trust(replace(deep, inherited=alone), RNG, n_bootstrap=50)
    assert same["inherited"].value == 1


def test_kendall_equals_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    for n in (2, 5, 30):
        x, y = rng.integers(0, 6, size=(2, n)).astype(float)
        expected = kendalltau(x, y).statistic
        assert statistics.kendall(x, y) == pytest.approx(expected, nan_ok=True)


def test_partial_correlation_takes_away_what_parameters_explain() -> None:
    rng = np.random.default_rng(0)
    given = rng.normal(size=4000)
    x, y = (given + rng.normal(size=4000) for _ in range(2))
    assert statistics.kendall(x, y) > 0.3
    # By Kendall's formula a common cause of normal variables leaves a third of the plain value.
    assert abs(partial_kendall(x, y, given)) < 0.15
    z = x + 0.1 * rng.normal(size=4000)
    assert partial_kendall(x, z, given) > 0.8
    assert np.isnan(partial_kendall(given, y, given))


def test_the_bootstrap_covers_the_true_value() -> None:
    """Intervals of 90 % contain the mean in about 90 % of samples."""
    hits = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        values = rng.normal(size=40)
        found = bootstrap(np.ones(40), lambda i, v=values: float(v[i].mean()), rng, n=300)  # type: ignore[misc]
        hits += found.low <= 0 <= found.high
    assert 80 <= hits <= 98


def test_trust_in_inherited_perplexity() -> None:
    found = trust(networks(), np.random.default_rng(0), n_bootstrap=300)
    assert 0.9 < found["share"].value < 1.1
    assert found["lead over params"].low > 0
    assert found["partial"].low > 0.3
    assert found["inherited"].low < found["inherited"].value < found["inherited"].high
    # Where perplexity follows from parameters, there is nothing to gain.
    found = trust(networks(own=0.0), np.random.default_rng(0), n_bootstrap=100)
    assert found["lead over params"].value < 0
    assert found["partial"].value < 0.4
    # Of nothing but noise.
    found = trust(networks(noise=30.0), np.random.default_rng(0), n_bootstrap=100)
    assert abs(found["inherited"].value) < 0.3


def test_networks_and_seeds_of_a_study() -> None:
    study = benchmark.STUDIES["gpt-s-wide"]
    archs = benchmark.networks(benchmark.space_of("gpt-s-wide", study), study)
    assert [arch.embed_dim for arch in archs[:4]] == [384, 768, 384, 768]
    assert len({*map(str, archs)}) == 60
    trials = benchmark.trials(archs)
    again = [arch for arch, seed in trials if seed == 1]
    assert len(trials) == 80
    assert [sum(arch.embed_dim == w for arch in again) for w in study.widths] == [10, 10]


def test_differences_between_seeds_are_relative() -> None:
    row = {"study": "s", "width": "8", "learning_rate": "0.001"}
    rows = [
        {**row, "arch": "a", "seed": "0", "perplexity": "10"},
        {**row, "arch": "a", "seed": "1", "perplexity": f"{10 * np.exp(0.02)}"},
        {**row, "arch": "b", "seed": "0", "perplexity": f"{10 * np.exp(0.04)}"},
    ]
    expected = f"| s | 0.001 | 8 | 2 | 10.20 | {4 / 2**0.5:.1f} | 1 | {2 / 2**0.5:.1f} |  |"
    assert reports.seed_lines(rows)[-2] == expected


def test_cost_of_a_supernet_is_relative_to_the_largest_network() -> None:
    row = {"space": "s", "batch": "8", "device": "d", "utilization": "", "memory_gb": ""}
    rows = [
        {**row, "what": "largest alone, whole", "tflops": "400", "per_minute": ""},
        {**row, "what": "supernet", "tflops": "320", "per_minute": ""},
    ]
    assert "| supernet | 320 |  | 1.25 |" in reports.cost_lines(rows)[-1]


def test_kernels_are_summed_by_kind() -> None:
    kernels = [("nvjet_tst", 3.0, 4), ("flash_fwd", 1.0, 2), ("nvjet_hsh", 2.0, 1)]
    rows = profiles.rows_of(10.0, kernels)
    sums = {r["kind"]: (r["milliseconds"], r["count"]) for r in rows if not r["kernel"]}
    assert sums == {"matrix products": ("5", 5), "idle": ("4", 0), "attention": ("1", 2)}
    assert [row["kernel"] for row in rows if row["kernel"]] == [
        "nvjet_tst",
        "nvjet_hsh",
        "flash_fwd",
    ]
    row = {"space": "s", "batch": "8", "device": "d", "what": "supernet"}
    line = reports.profile_lines([{**row, **{k: str(v) for k, v in r.items()}} for r in rows])[-1]
    assert line.startswith("| s | 8 | d | supernet | 10.0 | 5 | 4 | 1 | `nvjet_tst` 3")


def test_a_small_study_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = str(FOLDER / "supernet.py")
    common = ["--study", "tiny", "--device", "cpu", "--text", "pydoc", "--out", str(tmp_path)]
    common += ["--weights", str(tmp_path / "weights")]
    commands = [
        ["alone", *common, "--steps", "4", "--seconds", "60"],
        ["train", *common, "--supernet-steps", "4", "--seconds", "60", "--", "--sampled", "1"],
    ]
    for command in commands:
        done = subprocess.run([sys.executable, script, *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    monkeypatch.setattr(profiles, "_CASES", {"supernet": profiles.supernet()})
    profiles.run(str(tmp_path / "weights" / "tiny-default.yaml"), "cpu", tmp_path, lambda: 99.0, 2)
    text = reports.write(
        tmp_path, tmp_path / "page.md", benchmark.spaces(), benchmark.supernet_studies()
    )
    assert "| tiny, default, 0.01 | 12 |" in text
    assert "matrix products" in text
    assert len(reports.read(tmp_path / "alone.csv")) == 16
