"""Exact constrained fronts in processes of their own, which the next question ends.

A thread could not be stopped in the middle of a layer and would slow down the answers to sliders.
Processes are started ahead of questions, because importing takes longer than many fronts.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
import warnings
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from hwnas.errors import HwnasError, InvalidInput
from hwnas.explorer.catalogue import Catalogue
from hwnas.explorer.queries import FrontQuery
from hwnas.fronts import Front

MAX_RUNNING = 2  # questions at a time, of different pages
_MAX_KEPT = 32  # answered fronts that are kept


class Solver:
    """A process that answers one question after the other.

    Parameters
    ----------
    spaces, tables
        Those of the catalogue.
    """

    def __init__(self, spaces: Sequence[str], tables: Sequence[str]) -> None:
        context = multiprocessing.get_context("spawn")  # threads of the server rule out a fork
        self._connection, child_end = context.Pipe()
        self._process = context.Process(
            target=_answer, args=(child_end, tuple(spaces), tuple(tables)), daemon=True
        )
        self._process.start()
        child_end.close()

    def solve(self, query: FrontQuery) -> Front | None:
        """Return the front of a query, ``None`` if the process was ended meanwhile.

        Raises
        ------
        InvalidInput
            The query cannot be answered.
        """
        try:
            self._connection.send(query)
            answer = self._connection.recv()
        except (EOFError, OSError):
            return None
        if isinstance(answer, str):
            raise InvalidInput(answer)
        return answer if isinstance(answer, Front) else None

    def end(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.join()


class BackgroundFronts:
    """Exact fronts of queries; a new query of a page ends the one before.

    Parameters
    ----------
    catalogue
        Spaces on offer.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._sources = catalogue.spaces, catalogue.tables
        self._lock = threading.Lock()
        self._running: dict[str, Solver] = {}
        self._idle: list[Solver] = []
        self._answers: dict[FrontQuery, Front] = {}
        self._is_closed = False

    def start(self) -> None:
        """Start a process ahead of the first question."""
        with self._lock:
            self._idle.append(Solver(*self._sources))

    def solve(self, page: str, query: FrontQuery) -> Front | None:
        """Return the exact front of a query, or ``None`` if the page asked for another meanwhile.

        Parameters
        ----------
        page
            Identifies the page that asks.
        query
            The question.

        Raises
        ------
        InvalidInput
            No front is known, not even an approximation.
        """
        with self._lock:
            self._end(page)
            if query in self._answers:
                return self._answers[query]
            if self._is_closed:
                return None
            while len(self._running) >= MAX_RUNNING:
                self._end(next(iter(self._running)))  # the longest-running
            solver = self._idle.pop() if self._idle else Solver(*self._sources)
            self._running[page] = solver
            if not self._idle:
                self._idle.append(Solver(*self._sources))  # for the next move
        try:
            front = solver.solve(query)
        finally:
            self._release(page, solver)
        if front is not None:
            with self._lock:
                self._answers[query] = front
                while len(self._answers) > _MAX_KEPT:
                    self._answers.pop(next(iter(self._answers)))
        return front

    def cancel(self, page: str) -> None:
        """End the question of a page, if it has one."""
        with self._lock:
            self._end(page)

    def close(self) -> None:
        """End all processes."""
        with self._lock:
            self._is_closed = True
            for page in list(self._running):
                self._end(page)
            while self._idle:
                self._idle.pop().end()

    def _end(self, page: str) -> None:
        """End the process of a page."""
        solver = self._running.pop(page, None)
        if solver is not None:
            solver.end()

    def _release(self, page: str, solver: Solver) -> None:
        """Keep a process that has answered for the next question, unless one waits already."""
        with self._lock:
            if self._running.get(page) is not solver:
                return  # ended meanwhile
            del self._running[page]
            if self._is_closed or len(self._idle) >= MAX_RUNNING:
                solver.end()
            else:
                self._idle.append(solver)


def _answer(connection: Connection, spaces: tuple[str, ...], tables: tuple[str, ...]) -> None:
    """Answer questions until the pipe is closed: the body of a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this
    warnings.simplefilter("ignore")  # those of devices were shown by the server
    catalogue = Catalogue(spaces, tables)
    while True:
        try:
            query = connection.recv()
        except EOFError:
            return
        connection.send(_front_or_error(catalogue, query))


def _front_or_error(catalogue: Catalogue, query: FrontQuery) -> Any:
    """Return the front of a query, or the reason why there is none."""
    try:
        front = catalogue.bench(query.space).front(query.objectives, query.bounds)
    except HwnasError as error:
        return str(error)
    except MemoryError:
        front = None
    return (
        "too many candidates for an exact front; expected fewer bounds" if front is None else front
    )
