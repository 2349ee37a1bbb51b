"""Plots of runs and search spaces, as functions that draw into Matplotlib axes."""

from __future__ import annotations

import contextlib
import os
import sys

from hwnas.errors import InvalidInput


def _import_matplotlib() -> None:
    """Import Matplotlib even if the environment names a backend that is not installed.

    Matplotlib cannot be imported where ``MPLBACKEND`` is wrong, which Jupyter sets for all commands
    that a notebook starts. Figures here are written to files and need no such backend.
    """
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InvalidInput(
            f"Matplotlib cannot be loaded: {reason}; install it again: "
            "pip install --force-reinstall matplotlib"
        ) from error
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    # A backend that is installed is still the one of the caller's own figures.
    if backend:
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = backend


_import_matplotlib()
