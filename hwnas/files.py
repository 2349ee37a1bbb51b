"""Files: atomic writes, reading no more than is expected, and directories held by one process.

After a kill at any moment a file that is written here holds its old content or the new one.
"""

from __future__ import annotations

import csv
import errno
import fcntl
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from hwnas.errors import InvalidInput

PARTIAL = ".part"  # suffix of a file that is being written


@contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file that replaces `path` when the block ends without an error.

    Missing parents of `path` are created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        # A link by that name would lead the content elsewhere.
        partial.unlink(missing_ok=True)
        with open(partial, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave an empty file by the new name
        os.replace(partial, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # an error of a full disk names no file
        raise
    finally:
        partial.unlink(missing_ok=True)


def read_bounded(path: Path, limit_mb: int) -> bytes:
    """Return the content of a file of at most `limit_mb` megabytes.

    Raises
    ------
    OSError
        The file cannot be read, or is larger.
    """
    with open(path, "rb") as file:
        content = file.read(limit_mb * 1_000_000 + 1)
    if len(content) > limit_mb * 1_000_000:
        raise OSError(errno.EFBIG, f"larger than {limit_mb} MB, the limit", str(path))
    return content


def unreadable(path: str | Path, error: OSError | None = None) -> str:
    """Return why a file cannot be read, as the text of an error.

    Parameters
    ----------
    path
        The file.
    error
        What reading it raised; None where it was only looked for.

    Examples
    --------
    >>> unreadable("none.csv"), unreadable("/")
    ('none.csv: no such file', '/: cannot be read: Is a directory')
    """
    if error is None or isinstance(error, FileNotFoundError):
        is_directory = Path(path).is_dir()
        return f"{path}: {'cannot be read: Is a directory' if is_directory else 'no such file'}"
    return f"{path}: cannot be read: {error.strerror or error}"


def check_output(path: Path, suffixes: Sequence[str] = (), *, example: str = "") -> None:
    """Refuse a file that cannot be written, before any work is done for it.

    Parameters
    ----------
    path
        File to write; one that is there is replaced.
    suffixes
        Ends that its name may have; by default any.
    example
        Name for a file in place of a directory.

    Raises
    ------
    InvalidInput
        It is a directory, its own directory is missing, or its name ends otherwise.

    Examples
    --------
    >>> check_output(Path("plot.gif"), [".png", ".pdf"])
    Traceback (most recent call last):
    hwnas.errors.InvalidInput: plot.gif: expected a name that ends in .png, .pdf
    """
    if path.is_dir():
        hint = f", as in {path / example}" if example else ""
        raise InvalidInput(f"{path}: is a directory, expected a file to write{hint}")
    if suffixes and path.suffix.lower() not in suffixes:
        raise InvalidInput(f"{path}: expected a name that ends in {', '.join(suffixes)}")
    if not path.parent.is_dir():
        raise InvalidInput(f"{path}: there is no directory {path.parent}; make it first")


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_writer(path) as file:
        file.write(text.encode())


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a CSV file atomically."""
    with atomic_writer(path) as file:
        # The csv module wants text; detaching leaves the binary file open.
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
        text.flush()
        text.detach()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a directory against a second process; the system releases it when the process dies.

    Raises
    ------
    InvalidInput
        Another process holds it.
    """
    # A lock on the directory itself leaves no file behind.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidInput(f"{path}: another process is running here; wait for it") from None
        yield
    finally:
        os.close(descriptor)
