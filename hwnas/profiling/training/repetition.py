"""Number of times that a training sees its text."""

from __future__ import annotations

from hwnas.profiling.data.corpus import Corpus
from hwnas.profiling.training.config import TrainingSettings

# Up to four passes over a text serve nearly as well as new text (Muennighoff et al. 2023,
# arXiv:2305.16264, figure 5).
MAX_PASSES = 4.0


def repetition_note(corpus: Corpus, settings: TrainingSettings, context: int) -> str:
    """Return a warning if a complete training sees its text more than `MAX_PASSES` times.

    Parameters
    ----------
    corpus
        The text.
    settings
        Settings of the training.
    context
        Tokens of a sequence.

    Returns
    -------
    str
        One line; empty if the text suffices.

    Examples
    --------
    >>> import numpy as np
    >>> from hwnas.profiling import Tokens
    >>> text = Tokens(np.zeros(1000, dtype=np.uint16), n_bytes=1000, vocab_size=257, end=256)
    >>> corpus = Corpus(train=text, held_out=text, sha256="")
    >>> repetition_note(corpus, TrainingSettings(steps=100, batch_size=2), context=10)
    ''
    >>> repetition_note(corpus, TrainingSettings(steps=500, batch_size=2), context=10)[:52]
    'text: a training of 500 steps sees its 1,000 tokens '
    """
    n_tokens = settings.steps * settings.batch_size * context
    n_passes = n_tokens / len(corpus.train)
    if n_passes <= MAX_PASSES:
        return ""
    return (
        f"text: a training of {settings.steps:,} steps sees its {len(corpus.train):,} tokens "
        f"{n_passes:.1f} times, so that models learn them by heart and perplexities of held-out "
        f"text mean little; give at least {n_tokens / MAX_PASSES:,.0f} tokens of text, or fewer "
        "steps"
    )
