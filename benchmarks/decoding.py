"""Decoding of one sequence beside what the memory bandwidth allows; writes decoding.md.

    PYTHONPATH=. python benchmarks/decoding.py [--out decoding.md] [--transformers]

The largest network of each space decodes one token at a context of 640, the middle of a chat. The
bytes of all weights but the input embedding, and of the cache read, over the time of a step, are
given as a share of the bandwidth of a copy on the same card. ``--transformers`` measures the
largest network of llama-s as a `LlamaForCausalLM` too, with a static cache and its step compiled.
Needs a CUDA device.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

import hwnas
from hwnas.profiling.generation import Generator, cast_for_inference
from hwnas.profiling.language_model import LanguageModel, build_model

HERE = Path(__file__).parent
POSITION, POSITIONS = 640, 768
WANTED = {"gpt-s": 0.35, "gpt-l": 0.55, "gpt-xl": 0.65}
SPACES = ("gpt-s", "gpt-m", "gpt-l", "gpt-xl", "llama-s", "llama-m", "llama-l")


def main() -> None:
    """Measure all spaces and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "decoding.md")
    parser.add_argument("--transformers", action="store_true")
    options = parser.parse_args()
    bandwidth = copy_bandwidth()
    lines = [
        "# Decoding",
        "",
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}: a copy moves "
        f"{bandwidth / 1e9:,.0f} GB/s. `benchmarks/decoding.py` made this page and explains it.",
        "",
        "| largest network of | ms a token | share of the bandwidth | wanted | kernels, us |",
        "|---|---|---|---|---|",
    ]
    for name in SPACES:
        space = hwnas.space(name)
        largest = [[cardinality - 1 for cardinality in space.cardinalities]]
        arch = space.decode(space.canonical(np.array(largest)))[0]
        model = cast_for_inference(build_model(space, arch, device="cuda"), "bfloat16")
        with Generator(model, batch=1, positions=POSITIONS) as generator:
            step = generator.step_pass(POSITION)
            ms = milliseconds(step)
            kernels = ", ".join(f"{kernel} {us:.1f}" for kernel, us in kernel_times(step))
        share = step_bytes(model) / bandwidth / (ms / 1e3)
        wanted = f"{WANTED[name]:.0%}" if name in WANTED else ""
        lines.append(f"| {name} | {ms:.4f} | {share:.1%} | {wanted} | {kernels} |")
        print(lines[-1], flush=True)
        if name == "llama-s" and options.transformers:
            ms = transformers_milliseconds(space, arch)
            lines.append(f"| {name} in transformers, compiled | {ms:.4f} | | | |")
            print(lines[-1], flush=True)
        del model, generator, step
        torch.cuda.empty_cache()
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def milliseconds(run: Callable[[], object], repeats: int = 50, inner: int = 20) -> float:
    """Return the median duration of a function on the GPU, over groups of runs."""
    for _ in range(inner):
        run()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(inner):
            run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / inner)
    return float(np.median(times))


def copy_bandwidth(size: int = 2**30) -> float:
    """Return the bytes a second, read and written, of a large copy."""
    source = torch.empty(size, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * size / milliseconds(lambda: target.copy_(source), 20, 2) * 1e3


def step_bytes(model: LanguageModel) -> int:
    """Return the bytes that a step reads: of all weights but the input embedding, and the cache."""
    weights = sum(
        parameter.nbytes
        for name, parameter in model.named_parameters()
        if name != "embedding.weight" or model.output_weight is model.embedding.weight
    )
    size = model.head_size * model.dtype.itemsize
    return weights + 2 * POSITION * sum(model.kv_heads) * size


def kernel_times(step: Callable[[], object], repeats: int = 5) -> list[tuple[str, float]]:
    """Return the mean microseconds of the kernels that take longest in total."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(repeats):
            step()
        torch.cuda.synchronize()
    events = sorted(profiler.key_averages(), key=lambda event: -event.device_time_total)[:3]
    return [(event.key.strip("_")[:20], event.device_time_total / event.count) for event in events]


def transformers_milliseconds(space: Any, arch: Any) -> float:
    """Return the median step of the same network in transformers, compiled with a static cache."""
    from transformers import LlamaConfig, LlamaForCausalLM, StaticCache

    config = LlamaConfig(
        vocab_size=space.vocab_size,
        hidden_size=arch.embed_dim,
        intermediate_size=arch.mlp_dim[0],
        num_hidden_layers=arch.n_layer,
        num_attention_heads=arch.n_head[0],
        num_key_value_heads=arch.n_kv_head[0],
        head_dim=space.head_size,
        max_position_embeddings=space.context,
        tie_word_embeddings=arch.tied,
    )
    model = LlamaForCausalLM(config).to("cuda", torch.bfloat16).eval()
    cache = StaticCache(config=config, max_cache_len=POSITIONS)
    prompt = torch.randint(space.vocab_size, (1, 512), device="cuda")
    token = prompt[:, :1].clone()
    step = torch.compile(model.forward, mode="reduce-overhead", fullgraph=True)
    times: list[float] = []
    with torch.no_grad():
        for _ in range(3):  # the first time compiles
            cache.reset()
            model(prompt, past_key_values=cache, use_cache=True)
            times.clear()
            for _ in range(POSITIONS - 513):
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                start.record()
                step(token, past_key_values=cache, use_cache=True)
                end.record()
                end.synchronize()
                times.append(start.elapsed_time(end))
    return float(np.median(times))


if __name__ == "__main__":
    main()
