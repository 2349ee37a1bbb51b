"""Standard output and error that may be closed, full, or a pipe that nobody reads any more.

An error of standard output ends a command; what cannot be written to standard error is dropped,
because there is nowhere left to report it.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


def printable(text: str) -> str:
    """Return a text whose control characters are escaped, all but ends of lines and tabs.

    Names and reasons come from files of others: a terminal would obey them.

    >>> printable("a\\tname\\033]0;title\\a")
    'a\\tname\\\\x1b]0;title\\\\x07'
    """
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


class _Stream:
    """Text stream that hands everything but writing on to another one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        # A terminal without a character, such as the sign of plus or minus, shows another one.
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError, ValueError):
                stream.reconfigure(errors="replace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _redirect_to_null(self) -> None:
        """Let the file descriptor discard what is left, or Python complains of it at exit."""
        # A stream of a test has no descriptor.
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)


class Output(_Stream):
    """Standard output that keeps the first error of writing to it.

    Attributes
    ----------
    error
        The error, by which a command tells it from an error of another file.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Write a text."""
        with self._noting():
            return self._stream.write(text)

    def flush(self) -> None:
        """Write what is left."""
        with self._noting():
            self._stream.flush()

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = self.error or error
            raise

    def discard(self) -> str:
        """Discard what is left after an error; return the error as a line.

        The line is empty for a pipe that its reader, such as ``head``, has closed.
        """
        self._redirect_to_null()
        if self.error is None or self.error.errno == errno.EPIPE:
            return ""
        # A closed stream has been replaced by one that cannot be written to.
        is_closed = self.error.errno in (None, errno.EBADF)
        reason = "it is closed" if is_closed else self.error.strerror
        return f"standard output: cannot be written to: {reason}; redirect it to another file"


class _ErrorOutput(_Stream):
    """Standard error without errors of its own."""

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._redirect_to_null()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._redirect_to_null()


@contextlib.contextmanager
def guarded_streams() -> Iterator[Output]:
    """Guard standard output and error in a ``with`` block, and yield the former."""
    stdout, stderr = sys.stdout, sys.stderr
    if stdout is None or stderr is None:
        _occupy_descriptors()
    # Python has None for a closed stream. Writing to a file that is open for reading fails.
    output = Output(stdout or open(os.devnull, encoding="utf-8"))  # noqa: SIM115
    sys.stdout = cast(TextIO, output)
    error_output = _ErrorOutput(stderr or open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    sys.stderr = cast(TextIO, error_output)
    try:
        yield output
    finally:
        sys.stdout, sys.stderr = stdout, stderr
        error_output.flush()


def _occupy_descriptors() -> None:
    """Open the descriptors of closed standard streams.

    The next files, such as a database, would get their numbers and with them what other libraries
    print.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
