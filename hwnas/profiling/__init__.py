"""The real thing: a GPT that is built, trained on text and measured. Needs numpy and torch alone.

``models`` builds the network, ``texts`` and ``tokenizers`` bring what it reads, ``schedules`` and
``training`` train it, ``perplexities`` says how well it predicts, ``exports`` writes it to files,
``failures`` says why a trial failed.
"""

from __future__ import annotations

from hwnas.profiling.exports import export, load
from hwnas.profiling.failures import Diverged, OutOfMemory, TimedOut, TrialFailed
from hwnas.profiling.models import GPT, gpt
from hwnas.profiling.perplexities import Perplexity, perplexity
from hwnas.profiling.schedules import TrainingSettings
from hwnas.profiling.texts import Split, Text, text
from hwnas.profiling.tokenizers import Tokenizer, Tokens, tokenizer, tokens
from hwnas.profiling.training import Progress, train

__all__ = [
    "GPT",
    "Diverged",
    "OutOfMemory",
    "Perplexity",
    "Progress",
    "Split",
    "Text",
    "TimedOut",
    "Tokenizer",
    "Tokens",
    "TrainingSettings",
    "TrialFailed",
    "export",
    "gpt",
    "load",
    "perplexity",
    "text",
    "tokenizer",
    "tokens",
    "train",
]
