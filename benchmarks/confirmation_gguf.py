"""Decoding of pairs of networks in llama.cpp and here, on a CPU, for ``confirmation.py``.

llama.cpp has no blocks like those of gpt-s and gpt-l. Each network is replaced by its Llama twin: a
Llama with the same width, layers and heads, and an MLP of as many weights, so that the two have the
same operations. The twins were not trained: that a pair has equal perplexity holds for the GPTs.
"""

from __future__ import annotations

import ctypes
import math
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from confirmation_rows import ROLES, append_row, chosen_pairs, measured_ways, read_rows
from workloads_measure import make_profiler, make_space, workload_text

from hwnas.profiling.export.gguf import MODEL, write_gguf
from hwnas.profiling.llama import Llama
from hwnas.profiling.meters.forward_pass import environment
from hwnas.spaces import LlamaArchitecture
from hwnas.workloads import Workload

OURS, LLAMA_CPP = "hwnas", "llama.cpp"
_MULTIPLE = 32  # of the width of an MLP
_STEPS = 5
_PREFILL_BATCH = 512


def measure_gguf(*, seconds: float, out: Path, batch: int, spaces: list[str]) -> None:
    """Measure the twins of the pairs that have no values yet, and append rows to ``gguf.csv``.

    Parameters
    ----------
    seconds
        Nothing is begun after them.
    out
        Folder of the CSV.
    batch
        Sequences that are decoded at once; prompt and generated tokens are those of ``serve``.
    spaces
        Spaces whose pairs are measured.
    """
    end = time.monotonic() + seconds
    file = out / "gguf.csv"
    finished = measured_ways(read_rows([file]))
    profiler = make_profiler("cpu", small=False, energy=False)
    library = _load_library()
    machine = environment(profiler.device)
    origin = {
        "card": f"{machine.device_name}, {torch.get_num_threads()} threads",
        "torch": machine.torch,
        "library": f"llama-cpp-python {library.__version__}",
        "date": datetime.now(UTC).date().isoformat(),
    }
    longest = 0.0
    for pair in (pair for pair in chosen_pairs() if pair.space in spaces):
        for role, text in zip(ROLES, (pair.first, pair.second), strict=True):
            if {(text, OURS), (text, LLAMA_CPP)} <= finished:
                continue
            begin = time.monotonic()
            if begin + longest > end:
                print(f"the time is over before {pair.space} pair {pair.number}", flush=True)
                return
            space = make_space(pair.space)
            sizes = {name: getattr(space, name) for name in Llama.settings if hasattr(space, name)}
            model = Llama(twin(space.parse(text)), **sizes)
            workload = Workload(896, 128, batch, "float32")
            head = {"space": pair.space, "pair": pair.number, "role": role, "arch": text, **origin}
            for method in (OURS, LLAMA_CPP):
                start = time.monotonic()
                if method == OURS:
                    result = profiler.measure(model, "tpot", workload)
                    tpot, std = result.value, result.std
                    profiler.release()
                else:
                    samples = step_times(library, model.half(), workload)
                    tpot, std = float(np.median(samples)), float(np.ptp(samples)) / 2
                precision = "float32" if method == OURS else "float16"
                row = {"way": method, "tpot": tpot, "std": std, "seconds": time.monotonic() - start}
                text_of_workload = workload_text(Workload(896, 128, batch, precision))
                append_row(file, head | row | {"workload": text_of_workload})
                print(f"{pair.space} {pair.number} {role} {method}: {tpot:.4g} ms", flush=True)
            longest = max(longest, time.monotonic() - begin)


def twin(arch: Any) -> LlamaArchitecture:
    """Return the Llama with the layers, heads and about the weights of a GPT.

    An MLP of a Llama has three matrices, one of a GPT two.

    >>> from hwnas.spaces.architecture import Architecture
    >>> str(twin(Architecture.parse("gpt-2-384-2-3-4-8-False")))
    'gpt-2-384-512-768-4-8-4-8-False'
    """
    widths = [ratio * arch.embed_dim * 2 / 3 for ratio in arch.mlp_ratio]
    hidden = [_MULTIPLE * math.ceil(width / _MULTIPLE) for width in widths]
    heads = list(arch.n_head)
    parts = [arch.space, arch.n_layer, arch.embed_dim, *hidden, *heads, *heads, False]
    return LlamaArchitecture.parse("-".join(map(str, parts)))


def step_times(library: Any, model: Llama, workload: Workload) -> list[float]:
    """Return ms of decoding steps in the middle of the generated tokens.

    One sequence is prefilled, and its cache copied to the others.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_gguf(model, Path(folder), encoder=None)
        network = library.llama_model_load_from_file(
            str(Path(folder) / MODEL).encode(), library.llama_model_default_params()
        )
    settings = library.llama_context_default_params()
    settings.n_ctx, settings.n_seq_max = workload.positions * workload.batch, workload.batch
    settings.n_batch = settings.n_ubatch = _PREFILL_BATCH
    settings.n_threads = settings.n_threads_batch = torch.get_num_threads()
    settings.kv_unified = False
    context = library.llama_init_from_model(network, settings)
    if not context:
        raise SystemExit("llama.cpp: no context could be made")
    memory = library.llama_get_memory(context)
    position = workload.prompt + (workload.generate - 1) // 2
    try:
        for start in range(0, position, _PREFILL_BATCH):
            stop = min(position, start + _PREFILL_BATCH)
            _decode(library, context, [(0, p, False) for p in range(start, stop)])
        for sequence in range(1, workload.batch):
            library.llama_memory_seq_cp(memory, 0, sequence, -1, -1)
        samples = []
        for _ in range(_STEPS + 1):
            begin = time.perf_counter()
            _decode(library, context, [(s, position, True) for s in range(workload.batch)])
            samples.append(1e3 * (time.perf_counter() - begin))
            for sequence in range(workload.batch):
                library.llama_memory_seq_rm(memory, sequence, position, -1)
        return samples[1:]  # the first one warms up
    finally:
        library.llama_free(context)
        library.llama_model_free(network)


def _decode(library: Any, context: Any, entries: list[tuple[int, int, bool]]) -> None:
    """Decode tokens, each given by its sequence, its position, and whether logits are wanted."""
    batch = library.llama_batch_init(len(entries), 0, 1)
    batch.n_tokens = len(entries)
    for k, (sequence, position, is_output) in enumerate(entries):
        batch.token[k], batch.pos[k] = 7 + k % 100, position
        batch.n_seq_id[k], batch.seq_id[k][0] = 1, sequence
        batch.logits[k] = is_output
    status = library.llama_decode(context, batch)
    library.llama_synchronize(context)
    library.llama_batch_free(batch)
    if status:
        raise SystemExit(f"llama.cpp: decoding failed with status {status}")


def _load_library() -> Any:
    """Import llama-cpp-python, without its messages."""
    import llama_cpp

    silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    llama_cpp.hwnas_log_callback = silent  # kept alive as long as the library
    llama_cpp.llama_backend_init()
    return llama_cpp
