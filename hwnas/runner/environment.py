"""The record of a run, ``environment.json``: the code that it may run again, its metrics, notes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwnas.errors import HwnasError
from hwnas.files import read_bounded, write_text
from hwnas.objectives import Metric
from hwnas.runner.signature import is_signed, signature
from hwnas.yaml_loader import read_yaml

FILE = "environment.json"
_MAX_MB = 10  # of a record

_PLUGINS = "plugins"  # SHA-256 by path of the files that ran at the start
_RESUMED = "plugins_when_resumed"  # and of those that have changed since
_ALLOWED = "allowed"  # those that may run again, with a signature
_CLUSTER = "cluster"  # that may be joined again, with a signature


def allowed_code(hashes: Mapping[str, str], backend: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a record for files that a user has allowed to run.

    They are signed, because a directory of others could list any file.

    Parameters
    ----------
    hashes
        SHA-256 by path.
    backend
        Settings of the backend, which may name a function.
    """
    return {_PLUGINS: dict(hashes), **(_allowed(hashes, backend) if hashes else {})}


def allowed_cluster(executor: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry of a record for the cluster that a user has allowed to be joined, signed.

    Parameters
    ----------
    executor
        Settings of the executor.
    """
    address = executor.get("address")
    if address is None:
        return {}
    return {_CLUSTER: {"address": address, "signature": signature(_cluster_text(address))}}


def recorded_cluster(path: Path) -> str | None:
    """Return the address of the cluster that this user has allowed for a run, if any."""
    entry = _mapping(read_environment(path).get(_CLUSTER))
    address = entry.get("address")
    is_allowed = is_signed(_cluster_text(address), entry.get("signature"))
    return address if is_allowed else None


def _cluster_text(address: Any) -> str:
    return json.dumps(["cluster", address])


def recorded_plugins(path: Path) -> dict[str, str]:
    """Return the SHA-256 by path of the files that may run again, without leave.

    These are the plugin files and the function that this user has allowed for this run. A record
    that another user or another machine has made allows none; nor does a damaged one. A file inside
    the directory does not count, because it may have been changed together with the record.
    """
    try:
        allowed = read_environment(path)[_ALLOWED]
        hashes = {str(file): str(sha256) for file, sha256 in allowed["files"].items()}
        backend = read_yaml(path / "experiment.yaml").get("backend")
        if not is_signed(_signed_text(hashes, backend), allowed["signature"]):
            return {}
        folder = Path(os.path.realpath(path))
        return {
            file: sha256
            for file, sha256 in hashes.items()
            if not Path(os.path.realpath(file)).is_relative_to(folder)
        }
    except (HwnasError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def note_plugins(path: Path, hashes: Mapping[str, str]) -> None:
    """Note the files that have changed since the run started, or that were not allowed before.

    Parameters
    ----------
    path
        Directory of the run.
    hashes
        SHA-256 by path of the files that run now.
    """
    recorded, content = recorded_plugins(path), read_environment(path)
    if not hashes.items() <= recorded.items():
        former = {**_mapping(content.get(_PLUGINS)), **_mapping(content.get(_RESUMED))}
        changed = dict(hashes.items() - former.items())
        resumed = {_RESUMED: {**_mapping(content.get(_RESUMED)), **changed}} if changed else {}
        backend = read_yaml(path / "experiment.yaml").get("backend")
        update_environment(path, {**resumed, **_allowed({**recorded, **hashes}, backend)})


def _allowed(hashes: Mapping[str, str], backend: Any) -> dict[str, Any]:
    signed = {"files": dict(hashes), "signature": signature(_signed_text(hashes, backend))}
    return {_ALLOWED: signed}


def _signed_text(hashes: Mapping[str, str], backend: Any) -> str:
    """Return what is signed: all files that may run, and the function that is called."""
    function = backend.get("function") if isinstance(backend, Mapping) else None
    return json.dumps([sorted(hashes.items()), function])


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def recorded_metrics(path: Path) -> dict[str, Metric]:
    """Return the metrics that a run recorded, with unit and meaning, by name.

    Older runs have none, and a damaged record has none either.
    """
    try:
        content = read_environment(path)
        return {
            str(name): Metric(str(entry["unit"]), meaning=str(entry["meaning"]))
            for name, entry in content["metrics"].items()
        }
    except (KeyError, TypeError, AttributeError):
        return {}


def note_divergence(path: Path, first_trials: dict[str, int]) -> None:
    """Note the trials from which resumed searches are not identical."""
    update_environment(path, {"not_identical_from_trial": first_trials})


def read_environment(path: Path) -> dict[str, Any]:
    """Return the content of a record; empty where it is missing or damaged."""
    try:
        content = json.loads(read_bounded(path / FILE, _MAX_MB))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def update_environment(path: Path, entries: dict[str, Any]) -> None:
    """Set keys of a record; a missing or damaged one stays as it is."""
    content = read_environment(path)
    changed = {**content, **entries}
    if content and changed != content:
        write_text(path / FILE, json.dumps(changed, indent=2) + "\n")
