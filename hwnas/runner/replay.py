"""Replay of stored trials: how a resumed search returns to where it was stopped."""

from __future__ import annotations

import numpy as np

from hwnas.runner.storage import Trials
from hwnas.typing import Codes


class ReplayLog:
    """Stored trials of a search, by the ask that proposed them.

    Parameters
    ----------
    trials
        Trials in the order in which they were asked for.
    """

    def __init__(self, trials: Trials) -> None:
        self._trials = trials
        self.n_asks = int(trials.ask[-1]) + 1 if len(trials) else 0
        # Asks are numbered without gaps, so `_starts[i]` is the first trial of ask i.
        self._starts = np.searchsorted(trials.ask, np.arange(self.n_asks + 1))

    @property
    def elapsed(self) -> float:
        """Seconds that the search had run when its last trial was told."""
        return float(self._trials.elapsed[-1]) if len(self._trials) else 0.0

    def trials(self, ask: int) -> Trials:
        """Return the stored trials of an ask; none if it was never made."""
        if ask >= self.n_asks:
            return self._trials[:0]
        return self._trials[self._starts[ask] : self._starts[ask + 1]]

    def is_faithful(self, ask: int, codes: Codes) -> bool:
        """Return whether a proposal (k, d) agrees with what is stored of its ask.

        Trials may be missing at the end of the last ask: a kill can come in the middle of one
        whose trials are stored one by one.
        """
        # A new ask cannot differ from anything.
        stored = self.trials(ask).codes
        if not len(stored):
            return True
        same = np.array_equal(codes[: len(stored)], stored)
        return same and (self._is_last(ask) or len(stored) == len(codes))

    def unstored(self, ask: int, codes: Codes) -> Codes:
        """Return the part of a proposal (k, d) that must still be evaluated."""
        stored = self.trials(ask).codes
        same = not len(stored) or np.array_equal(codes[: len(stored)], stored)
        return codes[len(stored) :] if same and self._is_last(ask) else codes[:0]

    def _is_last(self, ask: int) -> bool:
        return ask + 1 >= self.n_asks
