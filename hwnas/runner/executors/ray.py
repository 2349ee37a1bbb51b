"""Trials on a Ray cluster."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hwnas.errors import InvalidInput, MachineFailed, MissingExtra, SearchFailed
from hwnas.runner.executors.interface import (
    EvaluatorFactory,
    Executor,
    TrialOutcome,
    TrialRequest,
)
from hwnas.runner.executors.ray_files import PortableFactory
from hwnas.runner.executors.ray_gateway import GatewaySettings
from hwnas.runner.executors.ray_pool import PoolSettings
from hwnas.runner.workers import start_interpreter

for _module in ("ray", "psutil"):
    if importlib.util.find_spec(_module) is None:
        raise MissingExtra("executor 'ray'", _module, "ray")

_PROBE_S = 5.0  # seconds to reach the port of a cluster
_CONNECT_S = 60.0  # seconds to join a cluster or to start one
_END_S = 10.0  # seconds to end a cluster
_RANGES: dict[str, tuple[str, Callable[[float], bool]]] = {
    "workers": ("at least 1", lambda x: x >= 1),
    "cpus": ("at least 0", lambda x: x >= 0),
    "gpus": ("a share below 1, or a whole number", lambda x: 0 <= x < 1 or (x > 0 and x % 1 == 0)),
    "retries": ("at least 0", lambda x: x >= 0),
    "timeout": ("seconds above 0", lambda x: x > 0),
    "patience": ("seconds above 0", lambda x: x > 0),
}


class RayExecutor(Executor):
    """Trials in Ray actors, each of which builds the problem once.

    A cluster that this executor starts ends with the process of the search, however that ends; on
    another's cluster its actors do.

    Parameters
    ----------
    factory
        Factory of the evaluator of each worker.
    address
        ``HOST:PORT`` of the head of a cluster that this machine is a node of, or ``"auto"``. By
        default that in the environment variable ``RAY_ADDRESS``; without one a cluster is started
        on this machine.
    workers
        Number of actors, and of trials at once; by default as many as the cluster has room for
        when the search starts. Those without room are started once there is some.
    cpus, gpus
        Processors and GPUs that each actor reserves; fractions share one.
    retries
        Number of times that a trial is tried again after its worker or node died.
    timeout
        Seconds after which a trial fails and its worker is replaced; unlimited by default.
    shared
        Folder that all nodes see under this path, for what backends keep, such as checkpoints. By
        default the directory of the search.
    patience
        Seconds to wait while there is no worker at all, such as for a cluster that has to grow.

    Raises
    ------
    InvalidInput
        A setting is out of range, or there is no cluster at the address.
    MachineFailed
        No node has room for a worker within `patience`.
    NotPicklable
        A registered class cannot be handed to another process.
    """

    def __init__(
        self,
        factory: EvaluatorFactory,
        *,
        address: str | None = None,
        workers: int | None = None,
        cpus: float = 1.0,
        gpus: float = 0.0,
        retries: int = 2,
        timeout: float | None = None,
        shared: str | None = None,
        patience: float = 300.0,
    ) -> None:
        self.check(
            address=address,
            workers=workers,
            cpus=cpus,
            gpus=gpus,
            retries=retries,
            timeout=timeout,
            shared=shared,
            patience=patience,
        )
        self._address = address or os.environ.get("RAY_ADDRESS") or None
        if shared is not None:
            self.folder = shared_folder(Path(shared), factory.folder)
        self._files = (self.folder or factory.folder).absolute()
        self._files.mkdir(parents=True, exist_ok=True)
        data = PortableFactory.of(replace(factory, folder=self._files)).to_bytes()
        pool = PoolSettings(workers or 0, cpus, gpus, retries, timeout, self._address is not None)
        self._closed, self._patience = False, patience
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - read if the gateway dies
        self._start(GatewaySettings(self._address, workers, pool), data)
        try:
            self._await_first_worker()
        except BaseException:
            self.close()
            raise

    @classmethod
    def check(cls, **settings: Any) -> None:
        """Check settings before a run starts; a cluster at an address must be there.

        Raises
        ------
        InvalidInput
            Naming the setting.
        """
        for name, (expected, is_allowed) in _RANGES.items():
            value = settings.get(name)
            if value is not None and not is_allowed(value):
                raise InvalidInput(f"{name}: expected {expected}, found {value}")
        nothing = settings.get("cpus", 1) == 0 and settings.get("gpus", 0) == 0
        if nothing and settings.get("workers") is None:
            raise InvalidInput("workers: expected a number where cpus and gpus are 0")
        shared = settings.get("shared")
        if shared is not None and not Path(shared).is_absolute():
            raise InvalidInput(f"shared: expected an absolute path, found {shared}")
        address = settings.get("address") or os.environ.get("RAY_ADDRESS")
        if address and address != "auto":
            _probe(address)

    def submit(self, request: TrialRequest) -> None:
        """Hand a trial to a worker."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # noticed by `wait`
            self._connection.send(request)

    def wait(self, timeout: float | None = None) -> Sequence[TrialOutcome]:
        """Return the outcomes that have come; see `Executor.wait`."""
        end = None if timeout is None else time.perf_counter() + timeout
        slots = self.slots
        outcomes: list[TrialOutcome] = []
        while not outcomes and self.slots <= slots:
            ends = [end for end in (end, self._end_of_patience()) if end is not None]
            if self._connection.poll(max(0.0, min(ends) - time.perf_counter()) if ends else None):
                outcomes += self._receive()
            elif end is not None and time.perf_counter() >= end:
                break
            else:
                raise self._out_of_patience()
        while outcomes and self._connection.poll(0):
            outcomes += self._receive()
        return outcomes

    def close(self) -> None:
        """End all workers, and the cluster if it was started here."""
        if self._closed:
            return
        self._closed = True
        self._connection.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
        with contextlib.suppress(OSError):
            self._files.rmdir()  # where nothing was kept

    def _start(self, settings: GatewaySettings, factory: bytes) -> None:
        self._process, self._connection = start_interpreter(
            "hwnas.runner.executors.ray_gateway",
            stdout=self._log,
            stderr=self._log,
            # What is sent to the group of the search must not end the gateway before it has
            # cleaned up.
            start_new_session=True,
        )
        folders = [os.path.abspath(folder) for folder in sys.path]
        self._connection.send((settings, factory, os.getcwd(), folders))

    def _await_first_worker(self) -> None:
        """Wait until the cluster is there, and then until a worker is ready."""
        location = f"at {self._address}" if self._address else "on this machine"
        if not self._connection.poll(_CONNECT_S):
            raise InvalidInput(f"executor.address: no answer of Ray {location} in {_CONNECT_S:g} s")
        self._resources = self._message("connected", f"executor.address: no Ray cluster {location}")
        self.slots, self._without_workers_since = 0, time.perf_counter()
        while self.slots == 0:
            self.wait()

    def _end_of_patience(self) -> float | None:
        """Return when to give up, ``None`` while there are workers."""
        return self._without_workers_since + self._patience if self.slots == 0 else None

    def _out_of_patience(self) -> MachineFailed:
        return MachineFailed(
            f"executor: no worker was ready for {self._patience:g} s; the nodes of the cluster had "
            f"{self._resources}; ask for fewer cpus and gpus, or set executor.patience"
        )

    def _receive(self) -> list[TrialOutcome]:
        """Receive a message; return the outcomes in it."""
        try:
            kind, value = self._connection.recv()
        except (EOFError, OSError):
            raise MachineFailed(
                f"the connection to Ray has ended: {self._last_words()}; continue with hwnas resume"
            ) from None
        if kind == "failed":
            raise (value.kind or SearchFailed)(value.text)
        if kind == "slots":
            if value == 0 and self.slots > 0:
                self._without_workers_since = time.perf_counter()
            self.slots = value
            return []
        outcomes: list[TrialOutcome] = value
        return outcomes

    def _message(self, kind: str, complaint: str) -> Any:
        """Return the value of the first message, which is of a kind unless there is a failure."""
        try:
            received, value = self._connection.recv()
        except (EOFError, OSError):
            raise InvalidInput(f"{complaint}: {self._last_words()}") from None
        if received != kind:
            text = " ".join(value.text.split())
            raise value.kind(text) if value.kind else InvalidInput(f"{complaint}: {text}")
        return value

    def _last_words(self) -> str:
        """Return the last line that the gateway has written."""
        self._process.wait(_END_S)
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "without a reason")


def shared_folder(shared: Path, search: Path) -> Path:
    """Return the folder below a shared one that belongs to the directory of a search.

    It is the same after a resume, and no other search has it.

    >>> shared_folder(Path("/nfs"), Path("/home/me/runs/a/random/seed-0")).parent
    PosixPath('/nfs')
    """
    path = str(search.absolute())
    digest = hashlib.sha256(path.encode()).hexdigest()[:12]
    return shared / "-".join([*search.absolute().parts[-3:], digest])


def _probe(address: str) -> None:
    """Check that something listens at an address."""
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise InvalidInput(
            f"address: expected HOST:PORT of the head of a Ray cluster, or auto, found "
            f"{address!r}; run hwnas on a node of the cluster"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_S).close()
    except (OSError, OverflowError) as error:
        raise InvalidInput(
            f"address: nothing answers at {address}: {error}; expected the head of a Ray "
            "cluster, as ray start --head prints it"
        ) from None
