"""Protocols of the published figures: each metric has one, and the figures agree with it."""

from __future__ import annotations

import numpy as np
import pytest

import hwnas
from hwnas.surrogates.devices import DEVICES
from hwnas.surrogates.protocol import BATCH_SIZES, TOKENS, published_meaning

SCALES = sorted(BATCH_SIZES)
# Dense 16-bit operations per second with the tensor cores' fastest accumulation, from the vendor's
# data sheets, in TFLOP/s; of the larger model where the name leaves two open.
PEAK_TFLOPS = {"a100": 312.0, "a40": 149.7, "h100": 989.4, "a6000": 154.8, "v100": 125.0}


@pytest.mark.parametrize("scale", SCALES)
def test_every_published_metric_has_a_meaning(scale: str) -> None:
    bench = hwnas.surrogate(scale)
    for name, metric in bench.metrics.items():
        assert metric.meaning, name
        if name in bench.added.figures:  # of devices of our own
            continue
        measure, _, device = name.partition("@")
        if measure == "perplexity":
            assert "OpenWebText" in metric.meaning
            continue
        gpu_energy = measure == "energy" and DEVICES[device].kind == "GPU"
        batch = 8 if gpu_energy else BATCH_SIZES[scale]
        assert f"{batch} x 1,024 " in metric.meaning, name
        precision = DEVICES[device].precision if device else measure.removesuffix("_memory")
        assert precision in metric.meaning, name


def test_spaces_cut_down_from_a_scale_have_its_protocol() -> None:
    choices = {"embed_dim": [320], "n_layer": [34], "mlp_ratio": [2, 4], "n_head": [8]}
    part = hwnas.surrogate(hwnas.space({"name": "part", **choices}))
    assert part.metrics["latency@h100"] == hwnas.surrogate("gpt-l").metrics["latency@h100"]


def test_meaning_of_an_unknown_metric_is_empty() -> None:
    assert published_meaning("accuracy", "gpt-s") == ""


def max_tflops(scale: str, device: str, batch: int) -> float:
    """Largest throughput of an architecture that a published latency implies for a batch."""
    bench = hwnas.surrogate(scale)
    space = bench.space
    codes = space.sample(2000, np.random.default_rng(0))
    width = np.array(space.embed_dim)[codes[:, space.columns.index("embed_dim")]]
    # Input embeddings are looked up, not multiplied.
    flops = space.flops(codes) - 2 * TOKENS * space.vocab_size * width
    latency = bench.predict(codes, [f"latency@{device}"])[:, 0]
    return float((flops * batch / latency).max() / 1e9)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("device", sorted(PEAK_TFLOPS))
def test_latencies_agree_with_the_batch(scale: str, device: str) -> None:
    assert max_tflops(scale, device, BATCH_SIZES[scale]) < 0.8 * PEAK_TFLOPS[device]


@pytest.mark.parametrize("device", ["a100", "a40", "a6000", "v100"])
def test_latencies_contradict_the_batches_of_later_profilers(device: str) -> None:
    assert max_tflops("gpt-l", device, 8) > PEAK_TFLOPS[device]
    assert max_tflops("gpt-s", device, 64) > PEAK_TFLOPS[device]
