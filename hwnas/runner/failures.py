"""Failures of backends and optimizers: text, traceback and the line of the plugin at fault."""

from __future__ import annotations

import contextlib
import sysconfig
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType

import hwnas
from hwnas.errors import HwnasError, InvalidInput, MachineFailed
from hwnas.files import write_text

ERROR_FILE = "error.txt"  # beside the trials of a search, or in the directory of a run

# Errors that no architecture causes: the code is wrong, and every evaluation would fail.
PROGRAMMING_ERRORS = (
    NameError,
    TypeError,
    AttributeError,
    LookupError,
    ImportError,
    NotImplementedError,
)
_MAX_FAILURES = 10  # first evaluations that fail by such errors until a search is given up


@dataclass(frozen=True)
class Failure:
    """Error that ended a search, as text, so that any process can hand it to another.

    Attributes
    ----------
    text
        Type and message, ``"ZeroDivisionError: division by zero"``; for an error that the user can
        correct the message alone.
    location
        File and line of the plugin at fault; empty where there is none.
    traceback
        The whole traceback.
    kind
        Class of an error that the user can correct; ``None`` for a bug.
    """

    text: str
    location: str
    traceback: str
    kind: type[HwnasError] | None = None

    @classmethod
    def of(cls, error: Exception, *owners: type) -> Failure:
        """Return the failure of an error that was raised in code of some classes."""
        kinds = (InvalidInput, MachineFailed, HwnasError)
        kind = next((kind for kind in kinds if isinstance(error, kind)), None)
        return cls(
            str(error) if kind else f"{type(error).__name__}: {error}",
            fault_location(error, *owners),
            "".join(traceback.format_exception(error)),
            kind,
        )

    def __str__(self) -> str:
        line = " ".join(self.text.split())
        return f"{line} ({self.location})" if self.location else line

    def write(self, folder: Path) -> None:
        """Write the traceback to ``error.txt`` in a folder, which is created."""
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / ERROR_FILE, self.traceback)


class FailureLog:
    """Failed evaluations of one search.

    The first one's traceback is kept in ``error.txt``. A search whose first evaluations all fail by
    programming errors is given up: it would spend its budget on nothing.

    Parameters
    ----------
    folder
        Directory of the search.
    backend
        Class of the backend, whose file is looked for in tracebacks.
    has_success
        Whether the search has complete trials already.
    """

    def __init__(self, folder: Path, backend: type, has_success: bool = False) -> None:
        self.folder = folder
        self.backend = backend
        self.has_success = has_success
        self.n_failed = 0
        self._first_error: Exception | None = None
        self._all_bugs = True

    def add(self, error: Exception) -> str:
        """Record a failed evaluation and return its reason in one line.

        Raises
        ------
        Exception
            The first error, once the first ten evaluations have all failed by programming errors.
        """
        failure = Failure.of(error, self.backend)
        if self._first_error is None:
            self._first_error = error
            with contextlib.suppress(OSError):  # the reason is stored with the trial too
                failure.write(self.folder)
        self.n_failed += 1
        self._all_bugs &= isinstance(error, PROGRAMMING_ERRORS)
        if self.n_failed >= _MAX_FAILURES:
            self.raise_bug()
        return str(failure)

    def raise_bug(self) -> None:
        """Raise the first error if every evaluation has failed by a programming error."""
        if self._first_error is not None and self._all_bugs and not self.has_success:
            raise self._first_error


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
    return ""


def _source_files(cls: type) -> Iterator[str]:
    """Yield the file names of the functions of a class and its parents outside hwnas."""
    for parent in cls.__mro__:
        for value in vars(parent).values():
            if isinstance(value, FunctionType) and not _is_of_hwnas(value.__code__.co_filename):
                yield value.__code__.co_filename


def _is_of_hwnas(file: str) -> bool:
    return Path(file).is_relative_to(Path(str(hwnas.__file__)).parent)


def _is_installed(file: str) -> bool:
    paths = (sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
    return _is_of_hwnas(file) or any(Path(file).is_relative_to(path) for path in paths)


def _short(file: str) -> str:
    """Return a file relative to the working directory if it lies there."""
    with contextlib.suppress(ValueError, OSError):
        return str(Path(file).relative_to(Path.cwd()))
    return file
