"""Runs of an optimizer on a synthetic problem, recorded but not checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.optimizers import MultiFidelityOptimizer, Optimizer
from hwnas.testing.checks import CheckFailed, require
from hwnas.testing.synthetic_problems import FIDELITIES, SyntheticProblem
from hwnas.typing import Array, Codes

_MAX_EMPTY_ANSWERS = 20  # in a row, while nothing is outstanding


@dataclass(frozen=True)
class AskRecord:
    """One call of ``ask`` and its answer.

    Attributes
    ----------
    n
        Number of architectures that were requested.
    answer
        Copy of the answer, without the fidelity.
    codes
        Answer as canonical codes (k, d) int8.
    fidelity
        Fidelity of the answer, possibly invalid; ``None`` without one.
    n_pending
        Number of results that were outstanding at the time.
    c_contiguous
        Whether the answer was a C-contiguous array.
    """

    n: int
    answer: Any
    codes: Codes
    fidelity: Any
    n_pending: int
    c_contiguous: bool


class SimulatedRun:
    """Optimizer together with the problem that it works on.

    It accepts any answer that it can interpret, so that a fault is reported by the check that is
    about it and by no other.

    Parameters
    ----------
    optimizer
        New instance.
    problem
        Source of the results.
    std
        Standard deviation of the noise on the losses.

    Attributes
    ----------
    records : list of AskRecord
    pending : dict of bytes to (d,) int8
        Codes that were proposed and neither told nor failed.
    cost : float
        Cost of the proposals in evaluations at the top fidelity.
    measured : list of (d,) int8
        Codes that were proposed at the top fidelity.
    last_answer
        Codes of the last answer: the very object, not a copy.
    """

    def __init__(self, optimizer: Optimizer, problem: SyntheticProblem, std: float = 0.0) -> None:
        self.optimizer, self.problem, self.std = optimizer, problem, std
        self.records: list[AskRecord] = []
        self.pending: dict[bytes, Codes] = {}
        self.cost = 0.0
        self.measured: list[Codes] = []
        self.last_answer: Any = None
        self._fidelities: dict[bytes, int] = {}  # last fidelity of each code
        self._rng = np.random.default_rng(0)

    def ask(self, n: int) -> Codes:
        """Ask for `n` architectures, record the answer and return its canonical codes."""
        answer: Any = self.optimizer.ask(n)
        fidelity = None
        if isinstance(self.optimizer, MultiFidelityOptimizer):
            is_pair = isinstance(answer, tuple) and len(answer) == 2
            require(
                is_pair, f"ask({n}) answered {_describe(answer)}, expected codes and a fidelity"
            )
            answer, fidelity = answer
        # The copy survives whatever the optimizer or a check does to its array.
        self.last_answer = answer
        copy = answer.copy() if isinstance(answer, np.ndarray) else answer
        codes = self._canonical_codes(copy, n)
        c_contiguous = isinstance(answer, np.ndarray) and answer.flags.c_contiguous
        record = AskRecord(n, copy, codes, fidelity, len(self.pending), c_contiguous)
        self.records.append(record)
        # An invalid fidelity is reported by its check; until then the top one stands in.
        self._add_pending(codes, fidelity if fidelity in FIDELITIES else FIDELITIES[-1])
        return codes

    def start_with(self, codes: Codes) -> None:
        """Begin with a design that the optimizer did not choose, and tell its results."""
        self.optimizer.start_with(codes.copy())
        is_multi_fidelity = isinstance(self.optimizer, MultiFidelityOptimizer)
        self._add_pending(codes, FIDELITIES[0 if is_multi_fidelity else -1])
        self.tell(codes)

    def _canonical_codes(self, answer: Any, n: int) -> Codes:
        """Return an answer as canonical codes if it is a table of numbers of the right width."""
        space = self.optimizer.space
        width = len(space.columns)
        # The exact type and layout are left to the check `codes`.
        try:
            table = np.asarray(answer, dtype=np.float64)
        except (TypeError, ValueError):
            table = np.empty(0)
        require(
            table.ndim == 2 and table.shape[1] == width,
            f"ask({n}) answered {_describe(answer)}, expected codes of shape (k, {width})",
        )
        return space.canonical(table)

    def _add_pending(self, codes: Codes, fidelity: int) -> None:
        for row in codes:
            key = row.tobytes()
            # A code that continues from a lower fidelity costs the difference.
            self.cost += (fidelity - self._fidelities.get(key, 0)) / FIDELITIES[-1]
            self._fidelities[key] = fidelity
            self.pending[key] = row.copy()
            if fidelity == FIDELITIES[-1]:
                self.measured.append(row.copy())

    def ask_nonempty(self, n: int) -> Codes:
        """Ask again after an empty answer, unless results are outstanding."""
        for _ in range(_MAX_EMPTY_ANSWERS):
            if len(codes := self.ask(n)) or self.pending:
                return codes
        raise CheckFailed(f"{_MAX_EMPTY_ANSWERS} empty answers in a row, and nothing outstanding")

    def tell(self, codes: Codes) -> None:
        """Tell the results of codes, each at the fidelity of its last proposal."""
        if len(codes) == 0:
            return
        losses = self.losses(codes)
        # Drawn even without noise, so that runs with and without it use the generator alike.
        noise = self.std * self._rng.standard_normal(losses.shape)
        self.optimizer.tell(
            codes,
            losses + noise,
            std=np.full(losses.shape, self.std) if self.std else None,
            constraints=self.problem.violations(codes) if self.problem.c else None,
        )
        self.remove_pending(codes)

    def fail(self, codes: Codes) -> None:
        """Report codes whose evaluation failed."""
        if len(codes):
            self.optimizer.fail(codes, "simulated failure")
        self.remove_pending(codes)

    def remove_pending(self, codes: Codes) -> None:
        """Remove codes from the outstanding ones."""
        for row in codes:
            self.pending.pop(row.tobytes(), None)

    def ask_and_tell(self, n: int) -> Codes:
        """Ask, tell all results in order and return the codes."""
        codes = self.ask_nonempty(n)
        self.tell(codes)
        return codes

    @property
    def proposals(self) -> Codes:
        """All proposed codes in order (k, d)."""
        answers = [record.codes for record in self.records]
        return np.concatenate([self.optimizer.space.encode([]), *answers])

    @property
    def pending_codes(self) -> Codes:
        """Outstanding codes in the order in which they were proposed (k, d)."""
        return self._stack(list(self.pending.values()))

    def measured_codes(self, n: int | None = None) -> Codes:
        """Return the first `n` codes that were proposed at the top fidelity (k, d)."""
        return self._stack(self.measured[:n])

    def losses(self, codes: Codes) -> Array:
        """Return exact losses (n, m) of codes, each at the fidelity of its last proposal."""
        rows = [
            self.problem.losses(row[None], self._fidelities.get(row.tobytes(), FIDELITIES[-1]))
            for row in codes
        ]
        return np.concatenate(rows)

    def _stack(self, rows: list[Codes]) -> Codes:
        return np.array(rows, dtype=np.int8).reshape(-1, len(self.optimizer.space.columns))


def find_difference(first: SimulatedRun, second: SimulatedRun) -> int | None:
    """Return the number of the first ask, from 1, that two runs answered differently.

    ``None`` where they agree as far as both went.
    """
    pairs = zip(first.records, second.records, strict=False)
    for i, (a, b) in enumerate(pairs):
        if not np.array_equal(a.codes, b.codes) or a.fidelity != b.fidelity:
            return i + 1
    return None


def equal_proposals(first: SimulatedRun, second: SimulatedRun) -> bool:
    """Return whether two runs agree as far as both went."""
    return find_difference(first, second) is None


def find_duplicate(run: SimulatedRun) -> str | None:
    """Describe the first code that a run proposed twice at one fidelity, if there is one."""
    first_asks: dict[tuple[bytes, Any], int] = {}
    for i, record in enumerate(run.records):
        for row in record.codes:
            key = row.tobytes(), record.fidelity
            # A code may return at a higher fidelity; that is no duplicate.
            if key in first_asks:
                j = first_asks[key]
                source = "the same ask" if j == i else f"ask {j + 1}"
                return f"ask {i + 1} has an architecture that {source} has: {row.tolist()}"
            first_asks[key] = i
    return None


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} {value.shape}"
    return f"{value!r:.60}"
