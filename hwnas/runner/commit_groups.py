"""Sizes of the groups of trials that are evaluated and committed at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

_SECONDS = 0.05  # that a group may take: what is lost when a process is killed
_GROWTH = 16  # of a group, so that one slow evaluation is never multiplied by much


class CommitGroups:
    """Size of the next group of trials: one where each takes long, many where it takes none.

    Parameters
    ----------
    one_by_one
        Whether a group is always a single trial.

    Attributes
    ----------
    size : int
        Number of trials to evaluate next.

    Examples
    --------
    >>> groups = CommitGroups(one_by_one=False)
    >>> groups.size
    1
    >>> with groups.timed(1):
    ...     pass  # an evaluation of microseconds
    >>> groups.size
    16
    """

    def __init__(self, one_by_one: bool) -> None:
        self.one_by_one = one_by_one
        self.size = 1

    @contextlib.contextmanager
    def timed(self, n: int) -> Iterator[None]:
        """Time the evaluation of `n` trials in the block, and choose the next size by it."""
        start = time.perf_counter()
        yield
        if not self.one_by_one:
            seconds_each = (time.perf_counter() - start) / n
            limit = int(_SECONDS / max(seconds_each, 1e-9))
            self.size = max(1, min(limit, _GROWTH * n))
