"""Doctests of the whole package, but for modules whose library is not installed.

A module that cannot be imported would stay in Python's memory half made, and spoil later tests.
"""

from __future__ import annotations

from importlib.util import find_spec

_LIBRARIES = {
    "mlflow_runs.py": "mlflow",
    "tensorboard_events.py": "tensorboard",
    "wandb_runs.py": "wandb",
}
collect_ignore = [
    f"hwnas/loggers/{module}"
    for module, library in _LIBRARIES.items()
    if find_spec(library) is None
]
