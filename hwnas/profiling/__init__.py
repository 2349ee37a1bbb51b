"""The real thing: a GPT that is built, trained on text and measured. Needs numpy and torch alone.

``models`` builds the network, ``texts`` and ``tokenizers`` bring what it reads, ``schedules`` and
``training`` train it, ``perplexities`` says how well it predicts, ``exports`` writes it to files,
``failures`` says why a trial failed.

``passes`` makes one forward pass ready to be measured, ``latencies``, ``energies`` and ``memories``
measure it. Behind them stand ``medians`` (statistics), ``boards`` (a GPU's clocks and throttling),
``counters`` (of energy) and ``loads`` (what a device does meanwhile).
"""

from __future__ import annotations

from hwnas.profiling.data.text import Split, Text, text
from hwnas.profiling.data.tokenizer import Tokenizer, Tokens, tokenizer, tokens
from hwnas.profiling.errors import Diverged, OutOfMemory, TimedOut, TrialFailed
from hwnas.profiling.export.safetensors import export, load
from hwnas.profiling.gpt import GPT, build_gpt
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
    "Latency",
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
    "energy_meter",
    "export",
    "build_gpt",
    "latency",
    "load",
    "peak_memory",
    "perplexity",
    "text",
    "tokenizer",
    "tokens",
    "train",
]
