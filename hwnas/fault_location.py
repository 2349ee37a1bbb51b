"""File and line of a plugin in which an error was raised."""

from __future__ import annotations

import contextlib
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

from hwnas.errors import HwnasError


def fault_location(error: BaseException, *owners: type) -> str:
    """Return file and line of the plugin in which an error was raised.

    The innermost frame in a file that defines one of the owners counts, or else the innermost one
    outside hwnas, the standard library and installed packages; empty where there is neither, or
    where the user can correct the error without reading code.

    Parameters
    ----------
    error
        An error with its traceback.
    owners
        Classes whose code ran.

    Examples
    --------
    >>> fault_location(ValueError("never raised"))
    ''
    """
    if isinstance(error, HwnasError):
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    own_files = {file for owner in owners for file in _source_files(owner)}
    own_frames = [frame for frame in frames if frame.filename in own_files]
    other_frames = [frame for frame in frames if not _is_installed(frame.filename)]
    for frame in reversed(own_frames or other_frames):
        return f"{_short(frame.filename)}, line {frame.lineno}"
    # A wrong result of a method is found after it has returned: its text begins with its name.
    name, _, method = str(error).partition(":")[0].partition(".")
    for owner in owners:
        code = getattr(getattr(owner, method.partition("(")[0], None), "__code__", None)
        if owner.__name__ == name and code is not None:
            return f"{_short(code.co_filename)}, line {code.co_firstlineno}"
    return ""


def _source_files(cls: type) -> Iterator[str]:
    """Yield the file names of the functions of a class and its parents outside hwnas."""
    for parent in cls.__mro__:
        for value in vars(parent).values():
            if isinstance(value, FunctionType) and not _is_of_hwnas(value.__code__.co_filename):
                yield value.__code__.co_filename


def _is_of_hwnas(file: str) -> bool:
    return Path(file).is_relative_to(Path(__file__).parent)


def _is_installed(file: str) -> bool:
    paths = (sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
    return _is_of_hwnas(file) or any(Path(file).is_relative_to(path) for path in paths)


def _short(file: str) -> str:
    """Return a file relative to the working directory if it lies there."""
    with contextlib.suppress(ValueError, OSError):
        return str(Path(file).relative_to(Path.cwd()))
    return file
