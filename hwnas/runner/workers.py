"""Worker processes: tasks side by side, in processes that end with the one that started them.

A worker is a new interpreter that runs `serve` and nothing else: it neither imports the script that
started it nor needs a guard in it, and works below notebooks, interpreters and daemonic processes.
Classes that were registered there are handed over by value.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from hwnas import registry

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")
Progress = Callable[[int, int], None]  # index of the task, amount of work that is finished
Function = Callable[[Task, Callable[[int], None]], Outcome]

_MODULE = "hwnas.runner.workers"
_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's prctl
_FILE_MODULES = "hwnas_file_"  # of plugin files, which a worker runs itself


class WorkerDied(RuntimeError):
    """Worker process that ended in the middle of a task."""


class NotPicklable(RuntimeError):
    """Object that cannot be handed to another process."""


def run_in_workers(
    function: Function[Task, Outcome],
    tasks: Sequence[Task],
    *,
    workers: int,
    progress: Progress,
) -> list[Outcome | Exception]:
    """Call ``function(task, report)`` for every task in worker processes.

    Parameters
    ----------
    function
        Module-level function.
    tasks
        Picklable.
    workers
        Number of processes.
    progress
        Called in this process with the index of a task and the number that it reported.

    Returns
    -------
    list
        For each task what the function returned; a `WorkerDied` where its process ended, which
        leaves the other tasks alone.

    Raises
    ------
    NotPicklable
        A registered class or a task cannot be handed to another process.
    """
    # Pickled once, before a process is started.
    payload = pickled((function, registered_here()))
    pickled_tasks = [pickled(task) for task in tasks]
    outcomes: dict[int, Outcome | Exception] = {}
    waiting = [*range(len(tasks))][::-1]
    pool: list[Worker] = []
    try:
        while waiting or any(worker.task is not None for worker in pool):
            # 1. Give every idle worker a task; a new worker replaces one that died.
            pool = [worker for worker in pool if worker.is_alive]
            pool += [Worker(payload) for _ in range(min(workers - len(pool), len(waiting)))]
            for worker in pool:
                if worker.task is None and waiting:
                    index = waiting.pop()
                    worker.give(index, pickled_tasks[index])
            # 2. Wait for messages: progress, results, or the end of a process.
            busy = {worker.connection: worker for worker in pool if worker.task is not None}
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]
                assert worker.task is not None
                index = worker.task
                kind, value = worker.receive()
                if kind == "progress":
                    progress(index, value)
                else:
                    outcomes[index] = value
    finally:
        for worker in pool:
            worker.kill()
    return [outcomes[i] for i in range(len(tasks))]


def start_interpreter(module: str, **options: Any) -> tuple[subprocess.Popen[bytes], Connection]:
    """Start an interpreter that calls the function `serve` of a module with one end of a pipe.

    Parameters
    ----------
    module
        Name of the module; `serve` takes the number of a file descriptor.
    **options
        Further arguments of `subprocess.Popen`.

    Returns
    -------
    process, connection
        The process, and the other end of the pipe.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"import sys; from {module} import serve; serve(int(sys.argv[1]))",
                str(theirs.fileno()),
            ],
            pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.DEVNULL,
            **options,
        )
    return process, Connection(ours.detach())


class Worker:
    """Worker process and the pipe to it.

    Parameters
    ----------
    payload
        Pickled function and registered classes.
    """

    def __init__(self, payload: bytes) -> None:
        self._process, self.connection = start_interpreter(_MODULE)
        self.task: int | None = None
        self.is_alive = True
        self.connection.send((os.getpid(), list(sys.path)))
        self.connection.send_bytes(payload)

    def give(self, index: int, task: bytes) -> None:
        """Hand over a pickled task."""
        self.task = index
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # noticed by `receive`
            self.connection.send_bytes(task)

    def receive(self) -> tuple[str, Any]:
        """Return the next message: ``"progress"`` with a number, or ``"done"`` with the outcome."""
        try:
            kind, value = self.connection.recv()
        except (EOFError, OSError):
            self.is_alive, self.task = False, None
            return "done", WorkerDied(f"its process ended {_describe_exit(self._process.wait())}")
        if kind == "done":
            self.task = None
        return kind, value

    def kill(self) -> None:
        """End the process at once; what it has stored stays."""
        self._process.kill()
        self._process.wait()
        self.connection.close()


def pickled(value: object) -> bytes:
    """Return a value as bytes; classes of scripts and notebooks by value."""
    import cloudpickle

    try:
        return bytes(cloudpickle.dumps(value))
    except Exception as error:  # whatever `__reduce__` of a user's object raises
        raise NotPicklable(
            f"a registered class cannot be handed to another process: {type(error).__name__}: "
            f"{error}"
        ) from error


def registered_here() -> dict[Any, dict[str, type]]:
    """Return the classes that decorators registered outside plugin files, which workers need.

    Loggers work in the process that starts a run.
    """
    return {
        kind: {
            name: cls
            for name, cls in classes.items()
            if not cls.__module__.startswith(_FILE_MODULES)
        }
        for kind, classes in registry.registered_classes().items()
        if kind != "logger"
    }


def _describe_exit(code: int) -> str:
    """Return how a process ended.

    >>> _describe_exit(-9), _describe_exit(3)
    ('by signal SIGKILL; it may have run out of memory', 'with exit code 3')
    """
    if code >= 0:
        return f"with exit code {code}"
    hint = "; it may have run out of memory" if -code == signal.SIGKILL else ""
    return f"by signal {signal.Signals(-code).name}{hint}"


# -- in the worker ---------------------------------------------------------------------------------


def serve(descriptor: int) -> None:
    """Run the tasks that arrive through a socket, until it is closed."""
    connection = Connection(descriptor)
    # An interrupt of the terminal reaches the parent too, which then ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent, path = connection.recv()
    sys.path[:] = path
    _end_with(parent)
    import pickle

    function, classes = pickle.loads(connection.recv_bytes())
    registry.replace_registered(classes)
    for task in _tasks(connection):
        outcome = function(task, lambda n_done: connection.send(("progress", n_done)))
        connection.send(("done", outcome))


def _tasks(connection: Connection) -> Iterator[Any]:
    import pickle

    with contextlib.suppress(EOFError, ConnectionResetError):
        while True:
            yield pickle.loads(connection.recv_bytes())


def _end_with(parent: int) -> None:
    """End this process when its parent ends, however that happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)

    # Elsewhere, and if the parent had ended before: an orphan has another parent.
    def watch() -> None:
        while os.getppid() == parent:
            threading.Event().wait(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
