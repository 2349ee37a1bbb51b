"""Models that are built, trained on text and measured on the device at hand.

Importing it needs no packages other than numpy and torch. Its modules, from the bottom up::

    language_model.py    `LanguageModel`, what all models have in common, and `build_model`
    gpt.py, llama.py     the models of two families; rotary.py: their rotary positions
    errors.py            reasons for which a trial fails
    data/                text (documents), tokenizer (token ids), corpus (both, for a search space)
    training/            config (settings), train_loop (the loop), checkpoint (its files)
    generation/          prefill and decoding steps with a cache of keys and values
    meters/              forward_pass (the workload), latency, energy, memory, perplexity;
                         requests (workloads that generate): generation (TTFT, TPOT),
                         request_energy, request_memory; behind them timing (short passes),
                         convergence (when to stop sampling), nvml (state of a GPU),
                         energy_counter and sustained_load (energy over a window)
    device_profiler.py   all meters of one device behind one method
    measurement_log.py   a file with one JSON record for each measurement
    peak_flops.py        peak throughput of known GPUs
    trial.py             one architecture measured and trained, the cheapest measurement first
    backend.py           the backend ``profile``, which runs trials for a search
    survey/              designed sets of architectures measured into a CSV: design (the choice of
                         architectures), columns (metrics and header), csv_log (the file),
                         drift (the summary), survey (the loop)
    export/              a model as files for use elsewhere
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from hwnas.deprecation import warn_renamed
from hwnas.errors import MissingExtra

if find_spec("torch") is None:  # the modules below would fail without a word of the extra
    raise MissingExtra("hwnas.profiling", "torch", "profile")

from hwnas.profiling.data.text import Split, Text, text
from hwnas.profiling.data.tokenizer import Tokenizer, Tokens, tokenizer, tokens
from hwnas.profiling.errors import Diverged, OutOfMemory, TimedOut, TrialFailed
from hwnas.profiling.export.safetensors import load_model, save_model
from hwnas.profiling.gpt import GPT, build_gpt
from hwnas.profiling.language_model import LanguageModel, build_model
from hwnas.profiling.llama import Llama
from hwnas.profiling.meters.energy import Energy, EnergyMeter, energy_meter
from hwnas.profiling.meters.forward_pass import PassSettings
from hwnas.profiling.meters.latency import Latency, latency
from hwnas.profiling.meters.memory import PeakMemory, peak_memory
from hwnas.profiling.meters.nvml import NoMeter
from hwnas.profiling.meters.perplexity import Perplexity, perplexity
from hwnas.profiling.training.config import TrainingSettings
from hwnas.profiling.training.train_loop import Progress, train

__all__ = [
    "GPT",
    "Diverged",
    "Energy",
    "EnergyMeter",
    "LanguageModel",
    "Latency",
    "Llama",
    "NoMeter",
    "OutOfMemory",
    "PassSettings",
    "PeakMemory",
    "Perplexity",
    "Progress",
    "Split",
    "Text",
    "TimedOut",
    "Tokenizer",
    "Tokens",
    "TrainingSettings",
    "TrialFailed",
    "build_gpt",
    "build_model",
    "energy_meter",
    "latency",
    "load_model",
    "peak_memory",
    "perplexity",
    "save_model",
    "text",
    "tokenizer",
    "tokens",
    "train",
]


# The former functions `gpt` and `export` have no alias here: their names are submodules.
def __getattr__(name: str) -> Any:
    if name == "load":
        warn_renamed("hwnas.profiling.load", "load_model")
        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
