"""Failures of backends and optimizers: text, traceback and the line of the plugin at fault."""

from __future__ import annotations

import contextlib
import traceback
from dataclasses import dataclass
from pathlib import Path

from hwnas.errors import HwnasError, InvalidInput, MachineFailed
from hwnas.fault_location import fault_location
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
# Errors of the machine rather than of the code: memory, files, drivers.
_ENVIRONMENT_ERRORS = (OSError, MemoryError, RuntimeError)
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
        Class of an error that the user can correct; ``None`` for any other.
    is_bug
        Whether it is an error of the code, see `is_bug`.
    """

    text: str
    location: str
    traceback: str
    kind: type[HwnasError] | None = None
    is_bug: bool = False

    @classmethod
    def of(cls, error: BaseException, *owners: type) -> Failure:
        """Return the failure of an error that was raised in code of some classes."""
        if isinstance(error, RemoteError):
            return error.failure
        kinds = (InvalidInput, MachineFailed, HwnasError)
        kind = next((kind for kind in kinds if isinstance(error, kind)), None)
        return cls(
            str(error) if kind else f"{type(error).__name__}: {error}".removesuffix(": "),
            fault_location(error, *owners),
            "".join(traceback.format_exception(error)),
            kind,
            is_bug(error),
        )

    def __str__(self) -> str:
        line = " ".join(self.text.split())
        return f"{line} ({self.location})" if self.location else line

    def write(self, folder: Path) -> None:
        """Write the traceback to ``error.txt`` in a folder, which is created."""
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / ERROR_FILE, self.traceback)


class RemoteError(Exception):
    """Error of a backend that was raised in another process.

    Parameters
    ----------
    failure
        The error as text.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


def is_bug(error: BaseException) -> bool:
    """Return whether an error is one of the code: neither the user's nor the machine's.

    >>> is_bug(ValueError()), is_bug(RuntimeError("out of memory")), is_bug(RecursionError())
    (True, False, True)
    """
    if isinstance(error, RemoteError):
        return error.failure.is_bug
    if isinstance(error, (*PROGRAMMING_ERRORS, RecursionError)):
        return True
    return not isinstance(error, (HwnasError, *_ENVIRONMENT_ERRORS))


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
        self.first_error: Exception | None = None
        self._all_bugs = True

    def add(self, error: Exception) -> str:
        """Record a failed evaluation and return its reason in one line.

        Raises
        ------
        Exception
            The first error, once the first ten evaluations have all failed by programming errors.
        """
        return self.record(error, is_programming_error=isinstance(error, PROGRAMMING_ERRORS))

    def record(self, error: Exception, *, is_programming_error: bool) -> str:
        """Record a failed evaluation as `add` does, for an error that may be a `RemoteError`.

        Parameters
        ----------
        error
            The error.
        is_programming_error
            Whether every evaluation would fail by it.
        """
        failure = Failure.of(error, self.backend)
        if self.first_error is None:
            self.first_error = error
            with contextlib.suppress(OSError):  # the reason is stored with the trial too
                failure.write(self.folder)
        self.n_failed += 1
        self._all_bugs &= is_programming_error
        if self.n_failed >= _MAX_FAILURES:
            self.raise_bug()
        return str(failure)

    def raise_bug(self) -> None:
        """Raise the first error if every evaluation has failed by a programming error."""
        if self.first_error is not None and self._all_bugs and not self.has_success:
            raise self.first_error
