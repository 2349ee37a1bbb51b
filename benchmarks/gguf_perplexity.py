"""Perplexity of networks as GGUF in llama.cpp, beside that of the same weights in torch.

    pip install llama-cpp-python
    python benchmarks/gguf_perplexity.py

Five Llama-family networks are trained for a moment on Python's help texts, with bytes as tokens,
and written as float16. Both sides predict the same windows of held-out text. Wanted: perplexities
within 0.2 %.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from llama_cpp import Llama as LlamaCpp

from hwnas.profiling import TrainingSettings, text, tokenizer, tokens, train
from hwnas.profiling.export.gguf import MODEL, write_gguf
from hwnas.profiling.llama import Llama
from hwnas.spaces import LlamaArchitecture

WINDOWS, CONTEXT = 8, 128
SIZES = {"head_size": 32, "context": CONTEXT, "vocab_size": 257}
NETWORKS = (
    "equal-3-128-256-256-256-4-4-4-2-2-2-True",
    "untied-2-96-192-192-3-3-1-1-False",
    "heads-3-128-256-128-384-4-2-6-2-1-3-True",
    "no-attention-3-128-256-256-256-4-0-2-4-0-1-False",
    "no-first-4-96-192-0-96-0-0-2-0-3-0-1-0-3-True",
)


def perplexity(logits: np.ndarray, targets: np.ndarray) -> float:
    """Return the perplexity of targets (n,) under logits (n, vocab_size)."""
    logits = logits.astype(np.float64)
    losses = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(targets)), targets]
    return float(np.exp(losses.mean()))


def main() -> int:
    """Print both perplexities of each network; return 1 if some differ by more than 0.2 %."""
    split, encoder = text("pydoc").split(), tokenizer("bytes")
    data, held_out = (tokens(part, encoder) for part in (split.train, split.held_out))
    ids = held_out.ids[: WINDOWS * CONTEXT + 1].astype(np.int64)
    inputs, targets = ids[:-1].reshape(WINDOWS, CONTEXT), ids[1:]
    worst = 0.0
    print("network | torch float32 | llama.cpp float16 | difference %")
    for name in NETWORKS:
        arch = LlamaArchitecture.parse(name)
        model = Llama(arch, **SIZES)
        train(model, data, TrainingSettings(steps=60, batch_size=8, learning_rate=3e-3))
        with torch.no_grad():
            ours = perplexity(model(torch.from_numpy(inputs)).flatten(0, 1).numpy(), targets)
        with tempfile.TemporaryDirectory() as folder:
            write_gguf(model.half(), Path(folder), encoder=encoder)
            llama = LlamaCpp(
                str(Path(folder) / MODEL), n_ctx=CONTEXT, logits_all=True, verbose=False
            )
            rows = []
            for window in inputs:
                llama.reset()
                llama.eval(window.tolist())
                rows.append(llama.scores[:CONTEXT].copy())
            assert llama.tokenize(b"def f(x):", add_bos=False) == list(b"def f(x):")
        theirs = perplexity(np.concatenate(rows), targets)
        difference = 100 * (theirs / ours - 1)
        worst = max(worst, abs(difference))
        print(f"{arch.space} | {ours:.4f} | {theirs:.4f} | {difference:+.3f}", flush=True)
    return int(worst > 0.2)


if __name__ == "__main__":
    sys.exit(main())
