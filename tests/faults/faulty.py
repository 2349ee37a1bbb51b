"""A plugin whose backend and optimizer fail in the way that ``HWNAS_FAULT`` names.

Every architecture that an optimizer is told is appended to ``HWNAS_TOLD``, before it is told. The
backend is deterministic: without a fault, or with one that depends on the code alone, a search has
the same trials whenever it is run.
"""

from __future__ import annotations

import functools
import hashlib
import os
import signal
import time
from pathlib import Path
from typing import Any, ClassVar

import hwnas_plugins.random
import numpy as np

import hwnas

FAULT = os.environ.get("HWNAS_FAULT", "")
# Files that exist once a fault that happens a single time has happened.
ONCE = os.environ.get("HWNAS_ONCE", "")
SECONDS = float(os.environ.get("HWNAS_SECONDS", "0.02"))
N_BEFORE = 8  # asks or tells before an optimizer fails


def record_tells() -> None:
    """Let every optimizer append what it is told to ``HWNAS_TOLD``."""
    plain = hwnas.Optimizer.tell
    path = os.environ.get("HWNAS_TOLD")
    if path is None or hasattr(plain, "__wrapped__"):
        return

    @functools.wraps(plain)
    def tell(self: hwnas.Optimizer, codes: Any, losses: Any, **others: Any) -> None:
        text = "".join(np.asarray(code, dtype=np.int8).tobytes().hex() + "\n" for code in codes)
        with open(path, "a", encoding="utf-8") as file:
            file.write(text)
        plain(self, codes, losses, **others)

    hwnas.Optimizer.tell = tell  # type: ignore[method-assign]


record_tells()


def is_chosen(code: np.ndarray, one_in: int = 6) -> bool:
    """Return whether a fault of evaluations strikes an architecture, one of every few."""
    return hashlib.blake2b(code.tobytes(), digest_size=1).digest()[0] % one_in == 0


@hwnas.register_backend("faulty")
class Faulty(hwnas.Backend):
    """Sums of choices; some evaluations fail."""

    metrics: ClassVar = {"a": hwnas.Metric("ms"), "b": hwnas.Metric("ms")}
    side_by_side = True

    def evaluate(self, codes, objectives, *, seeds, fidelity=None):  # type: ignore[no-untyped-def]
        time.sleep(SECONDS * len(codes))
        # No product of matrices: it would round a row differently in another group of rows.
        total = codes.astype(float).sum(axis=1)
        weighted = (codes * np.linspace(-1.0, 1.0, codes.shape[1])).sum(axis=1)
        columns = {"a": 1.0 + total, "b": 60.0 - total + weighted**2}
        values = np.stack([columns[objective.metric] for objective in objectives], axis=1)
        for i, code in enumerate(codes):
            if is_chosen(code):
                self.fail(values, i)
        if FAULT == "shape" and any(map(is_chosen, codes)):
            return hwnas.Evaluation(values[:, :1])
        return hwnas.Evaluation(values)

    def fail(self, values: np.ndarray, i: int) -> None:
        """Let the evaluation in row i fail as `FAULT` says."""
        if FAULT == "raise":
            raise RuntimeError("no such kernel")
        if FAULT == "nan":
            values[i] = np.nan
        elif FAULT == "infinity":
            values[i, 1] = np.inf
        elif FAULT == "hang":
            time.sleep(3600)
        elif FAULT == "memory":
            self.hoard = np.ones((64, 1 << 27))  # 64 GiB
        elif FAULT == "clock":
            time.time = lambda: -1e9  # type: ignore[assignment]
        elif FAULT == "dies once" and not Path(ONCE).exists():
            Path(ONCE).touch()
            os.kill(os.getpid(), signal.SIGKILL)


@hwnas.register_optimizer("faulty")
class FaultyOptimizer(hwnas_plugins.random.Random):
    """Random search with faults."""

    n_asked = n_told = 0

    def ask(self, n: int) -> Any:
        """Propose, or fail."""
        self.n_asked += 1
        codes = super().ask(min(n, 1))
        if FAULT == "prints":
            print("loud", "<b>", "\x1b[31m", flush=True)
        if self.n_asked > N_BEFORE:
            if FAULT == "ask raises":
                raise ValueError("no idea")
            if FAULT == "invalid codes":
                return codes - 2
            if FAULT == "float codes":
                return codes + 0.5
            if FAULT == "duplicate codes":
                return self.history.codes[:1] if len(self.history) else codes
        return codes

    def update(self, codes: Any, losses: Any, **others: Any) -> None:
        """Learn, or fail."""
        self.n_told += len(codes)
        if FAULT == "tell raises" and self.n_told > N_BEFORE:
            raise ValueError("no use")
        super().update(codes, losses, **others)
