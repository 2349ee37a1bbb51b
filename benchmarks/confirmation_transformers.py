"""Decoding of pairs of networks in the library transformers and here, for ``confirmation.py``.

It needs numpy, torch and transformers alone.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from confirmation_rows import ROLES, SPACES, append_row, chosen_pairs, measured_ways, read_rows
from workloads_measure import make_profiler, make_space, workload_text, workloads_of
from workloads_rows import Pair

from hwnas.profiling.cuda_graph import capture_graph
from hwnas.profiling.device_profiler import DeviceProfiler
from hwnas.profiling.export.transformers import import_transformers, write_transformers
from hwnas.profiling.language_model import LanguageModel
from hwnas.profiling.meters.forward_pass import environment
from hwnas.spaces import LanguageModelSpace
from hwnas.workloads import Workload

OURS, STATIC, DYNAMIC, COMPILED = "hwnas", "static cache", "generate", "generate compiled"
WAYS = (OURS, STATIC, DYNAMIC)  # of each network; COMPILED comes last, in the time that is left
_REPEATS = {STATIC: 5, DYNAMIC: 3, COMPILED: 3}
_SMALL_PAIRS = 2


def measure(*, seconds: float, out: Path, device: str, small: bool) -> None:
    """Measure the pairs that have no values yet, and append their rows to ``DEVICE.csv``.

    Parameters
    ----------
    seconds
        Nothing is begun after them.
    out
        Folder of the CSV.
    device
        ``"cuda"`` or ``"cpu"``.
    small
        Two pairs of tiny networks and a short workload, to try the script.
    """
    end = time.monotonic() + seconds
    file = out / f"{'small-' if small else ''}{device}.csv"
    finished = measured_ways(read_rows([file]))
    os.environ["HF_HUB_OFFLINE"] = "1"  # models are loaded from folders alone
    library = import_transformers()
    library.utils.logging.set_verbosity_error()
    profiler = make_profiler(device, small, energy=False)
    origin = describe_origin(profiler, library)
    longest = 0.0
    pairs = pairs_of(small)
    rounds: list[tuple[Sequence[str], list[Pair]]] = [(WAYS, pairs)]
    if device == "cuda":
        # Time may be short for compilations, so small networks come first.
        rounds.append(((COMPILED,), sorted(pairs, key=lambda pair: SPACES.index(pair.space))))
    for methods, chosen in rounds:
        for pair in chosen:
            for role, text in zip(ROLES, (pair.first, pair.second), strict=True):
                missing = [method for method in methods if (text, method) not in finished]
                if not missing:
                    continue
                begin = time.monotonic()
                if begin + longest > end:
                    print(f"the time is over before {pair.space} pair {pair.number}", flush=True)
                    return
                space = make_space(pair.space, small)
                workload = workloads_of(pair.space, small)["serve"]
                head = {"space": pair.space, "pair": pair.number, "role": role, "arch": text}
                head |= {"workload": workload_text(workload)} | origin
                for row in measure_network(profiler, space, text, workload, missing):
                    append_row(file, head | row)
                    finished.add((text, str(row["way"])))
                    value = row.get("tpot", math.nan)
                    print(
                        f"{pair.space} {pair.number} {role} {row['way']}: {value:.4g} ms in "
                        f"{row['seconds']:.1f} s {row['failed']}",
                        flush=True,
                    )
                longest = max(longest, time.monotonic() - begin)
        longest = 0.0


def pairs_of(small: bool) -> list[Pair]:
    """Return the chosen pairs, or pairs of tiny random networks."""
    if not small:
        return chosen_pairs()
    space = make_space("gpt-s", small=True)
    codes = space.sample(2 * _SMALL_PAIRS, np.random.default_rng(0))
    archs = [str(arch) for arch in space.decode(codes)]
    return [Pair("gpt-s", k, *archs[2 * k : 2 * k + 2]) for k in range(_SMALL_PAIRS)]


def measure_network(
    profiler: DeviceProfiler,
    space: LanguageModelSpace,
    text: str,
    workload: Workload,
    methods: Sequence[str],
) -> Iterator[dict[str, Any]]:
    """Yield the time per output token of one network in each way: ms, its standard error."""
    model = profiler.build_model(space, space.parse(text))
    exported = None
    for method in methods:
        begin = time.monotonic()
        row: dict[str, Any] = {"way": method, "failed": ""}
        try:
            if method == OURS:
                result = profiler.measure(model, "tpot", workload)
                row |= {"tpot": result.value, "std": result.std}
                profiler.release()
            else:
                if exported is None:
                    exported = load_exported(model, workload)
                    model = model.to("meta")  # its memory is not needed any more
                samples = _TIMERS[method](exported, workload, _REPEATS[method])
                row |= {"tpot": float(np.median(samples)), "std": float(np.ptp(samples)) / 2}
        except Exception as error:  # a way that fails leaves the others
            row["failed"] = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        yield row | {"seconds": time.monotonic() - begin}
    del model, exported
    if profiler.device.type == "cuda":
        torch._dynamo.reset()
        torch.cuda.empty_cache()


def load_exported(model: LanguageModel, workload: Workload) -> Any:
    """Return a network as transformers loads it from its exported files."""
    from transformers import AutoModelForCausalLM

    dtype = getattr(torch, workload.precision)
    device = model.device
    with tempfile.TemporaryDirectory() as folder:
        write_transformers(model.to(dtype), Path(folder))
        exported = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, dtype=dtype)
    return exported.to(device).eval()


@torch.no_grad()
def static_times(model: Any, workload: Workload, repeats: int) -> list[float]:
    """Return ms of a decoding step with transformers' static cache, a mean over all steps each.

    On CUDA the step is replayed as a graph.
    """
    from transformers import StaticCache

    cache = StaticCache(config=model.config, max_cache_len=workload.positions)
    name = model_cache_name()
    prompt = random_prompt(model, workload)
    model(prompt, **{name: cache}, use_cache=True, logits_to_keep=1)
    token = prompt[:, :1].contiguous()
    layers = [layer for layer in cache.layers if layer.is_initialized]

    def step() -> object:
        return model(token, **{name: cache}, use_cache=True).logits

    def restart() -> None:
        for layer in layers:
            layer.cumulative_length.fill_(workload.prompt)

    restart()
    run = capture_graph(step) if model.device.type == "cuda" else step
    n_steps = workload.generate - 1
    samples = []
    for _ in range(repeats + 1):
        restart()
        samples.append(milliseconds(lambda: [run() for _ in range(n_steps)], model) / n_steps)
    return samples[1:]  # the first one warms up


def generate_times(model: Any, workload: Workload, repeats: int) -> list[float]:
    """Return ms of a step of greedy ``generate`` with a cache that grows."""
    return _generate_times(model, workload, repeats)


def compiled_times(model: Any, workload: Workload, repeats: int) -> list[float]:
    """Return ms of a step of greedy ``generate`` with a static cache, which compiles on CUDA."""
    return _generate_times(model, workload, repeats, cache_implementation="static")


@torch.no_grad()
def _generate_times(model: Any, workload: Workload, repeats: int, **options: Any) -> list[float]:
    """Return ms per token after the first: of a whole request, less one that generates a token."""
    prompt = random_prompt(model, workload)
    mask = torch.ones_like(prompt)

    def request(n: int) -> float:
        settings = {"max_new_tokens": n, "min_new_tokens": n, "do_sample": False} | options
        return milliseconds(
            lambda: model.generate(prompt, attention_mask=mask, pad_token_id=0, **settings), model
        )

    request(2)
    request(workload.generate)  # compiles, where it does
    return [
        (request(workload.generate) - request(1)) / (workload.generate - 1) for _ in range(repeats)
    ]


def milliseconds(run: Callable[[], object], model: Any) -> float:
    """Return the duration of a function, its work on the device included."""
    wait = torch.cuda.synchronize if model.device.type == "cuda" else bool
    wait()
    start = time.perf_counter()
    run()
    wait()
    return 1e3 * (time.perf_counter() - start)


def random_prompt(model: Any, workload: Workload) -> torch.Tensor:
    """Return prompts, (B, P) tokens."""
    generator = torch.Generator().manual_seed(0)
    shape = (workload.batch, workload.prompt)
    tokens = torch.randint(model.config.vocab_size, shape, generator=generator)
    return tokens.to(model.device)


def model_cache_name() -> str:
    """Return the name of the cache among a model's arguments, which depends on the version."""
    from transformers.modeling_outputs import CausalLMOutputWithPast

    names = CausalLMOutputWithPast.__dataclass_fields__
    return "cache" if "cache" in names else "past_key_values"


def describe_origin(profiler: DeviceProfiler, library: Any) -> dict[str, str]:
    """Return hardware, software and the day."""
    machine = environment(profiler.device)
    return {
        "card": machine.device_name,
        "torch": machine.torch,
        "library": f"transformers {library.__version__}",
        "date": datetime.now(UTC).date().isoformat(),
    }


_TIMERS = {STATIC: static_times, DYNAMIC: generate_times, COMPILED: compiled_times}
