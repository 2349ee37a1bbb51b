"""Process between a search and Ray.

Ray writes to standard output, replaces signal handlers, ends its process where a cluster is lost,
and leaves processes behind for a while if that process is killed. In a process of its own none of
this reaches the search. When the search ends, however that happens, this process sees its
connection closed, kills all processes of a cluster that it has started itself, and ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import queue
import shutil
import signal
import sys
import threading
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

from hwnas.errors import InvalidInput
from hwnas.runner.executors.interface import TrialRequest
from hwnas.runner.executors.ray_pool import PoolFailed, PoolSettings, TrialPool
from hwnas.runner.failures import Failure

_SET_CHILD_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of Linux's prctl
_OBJECT_STORE_BYTES = 100 * 10**6  # trials are small
_EPSILON = 1e-9  # of resources, which Ray counts in ten-thousandths


@dataclass(frozen=True)
class GatewaySettings:
    """Settings of a gateway, see `hwnas.runner.executors.ray.RayExecutor`.

    Attributes
    ----------
    address
        Address of a cluster; ``None`` starts one on this machine.
    workers
        Number of workers; ``None`` for as many as the cluster has room for.
    pool
        The other settings.
    """

    address: str | None
    workers: int | None
    pool: PoolSettings


def serve(descriptor: int) -> None:
    """Evaluate the trials that arrive through a socket, until it is closed.

    Messages are pairs: first ``"connected"``, then ``"slots"`` with a number whenever that changes
    and ``"outcomes"`` with a list, or ``"failed"`` with a `Failure` as the last one.
    """
    connection = Connection(descriptor)
    for signal_number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(signal_number, signal.SIG_IGN)
    _adopt_orphans()
    settings, factory, directory, folders = connection.recv()
    session = _Session()
    events: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(connection, events, session), daemon=True).start()
    try:
        settings = _connect(settings, session)
        connection.send(("connected", session.description))
        post = lambda member, future: events.put((member, future))  # noqa: E731
        pool = TrialPool(settings.pool, factory, folders, directory, post)
        _run(connection, pool, events)
    except BaseException as error:
        failure = error.failure if isinstance(error, PoolFailed) else Failure.of(error)
        with contextlib.suppress(OSError):
            connection.send(("failed", failure))
        session.end()


class _Session:
    """Resources to clean up in the end.

    Attributes
    ----------
    folder
        Folder of the files of a cluster that was started here; ``None`` for another's cluster.
    description
        Resources of the cluster, for error texts.
    """

    def __init__(self) -> None:
        self.folder: str | None = None
        self.description = ""

    def end(self) -> None:
        """End this process, and all processes of its cluster, at once."""
        import psutil

        # A process that is killed leaves its children to this one: until there are none.
        while children := psutil.Process().children(recursive=True):
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            psutil.wait_procs(children, timeout=1.0)
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        os._exit(0)


def _run(
    connection: Connection, pool: TrialPool, events: queue.SimpleQueue[tuple[Any, ...]]
) -> None:
    """Handle events and send outcomes, forever."""
    slots = 0
    while True:
        # 1. Everything that has come, or a time-out.
        with contextlib.suppress(queue.Empty):
            event = events.get(timeout=pool.seconds_to_timeout())
            while True:
                _handle(pool, event)
                event = events.get_nowait()
        pool.stop_overdue()
        # 2. One message for all outcomes.
        if pool.outcomes:
            connection.send(("outcomes", pool.outcomes))
            pool.outcomes = []
        if pool.n_ready != slots:
            slots = pool.n_ready
            connection.send(("slots", slots))


def _handle(pool: TrialPool, event: tuple[Any, ...]) -> None:
    if isinstance(event[0], TrialRequest):
        pool.submit(event[0])
    else:
        pool.handle(*event)


def _read_requests(
    connection: Connection, events: queue.SimpleQueue[tuple[Any, ...]], session: _Session
) -> None:
    """Queue the requests of the search; end everything when it closes the connection."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            events.put((connection.recv(),))
    session.end()


def _connect(settings: GatewaySettings, session: _Session) -> GatewaySettings:
    """Connect to the cluster, or start one; return the settings with the number of workers."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    pool = settings.pool
    if settings.address is not None:
        ray.init(address=settings.address, **quiet)
    else:
        # As many workers as the user says, also where the machine has fewer processors.
        n_cpus = settings.workers and math.ceil(settings.workers * pool.cpus - _EPSILON)
        context = ray.init(
            address="local",
            num_cpus=n_cpus,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            **quiet,
        )
        session.folder = context.address_info["session_dir"]
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    session.description = ", ".join(
        f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes
    )
    room = sum(_room(node, pool.cpus, pool.gpus) for node in nodes)
    workers = settings.workers or max(1, room)
    if settings.address is None and room < workers:  # no node will be added
        raise InvalidInput(
            f"executor: {workers} workers with {pool.cpus:g} CPUs and {pool.gpus:g} GPUs each are "
            f"more than this machine has: {session.description}"
        )
    return replace(settings, workers=workers, pool=replace(pool, workers=workers))


def _room(resources: dict[str, float], cpus: float, gpus: float) -> int:
    """Return the number of workers that fit on a node.

    >>> _room({"CPU": 8.0, "GPU": 1.0}, 1, 0.25), _room({"CPU": 8.0}, 3, 0)
    (4, 2)
    """
    pairs = ((resources.get("CPU", 0.0), cpus), (resources.get("GPU", 0.0), gpus))
    return int(min((has / needs + _EPSILON for has, needs in pairs if needs), default=sys.maxsize))


def _adopt_orphans() -> None:
    """Make this process the parent of all descendants whose parents end."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1)
