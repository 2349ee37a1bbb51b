"""Numerical threads: one a search and one a worker.

Some results differ in their last bits with the number of threads, and then a proposal differs too.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import threadpoolctl


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Limit the numerical libraries that are loaded to a single thread within the block."""
    # Torch is never loaded for this: a library that is not loaded has no threads.
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 0
    with threadpoolctl.threadpool_limits(1):
        if torch:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(threads)
