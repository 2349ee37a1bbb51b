"""Exceptions and warnings, and the text that a user reads.

::

    HwnasError              the user can correct it: one line, exit code 2
    ├── InvalidInput        a value is not as expected (also a ValueError)
    │   ├── UnknownName     a name does not exist; the most similar one is suggested
    │   └── ExperimentError an experiment cannot be run: file, key, message
    ├── MissingExtra        an optional library is not installed (also an ImportError)
    ├── MachineFailed       the machine that measures does not work any more
    └── SpaceExhausted      every architecture of a space has been proposed

    SearchFailed            an optimizer raised an error (a RuntimeError): exit code 1
    HwnasWarning            something may not work as the user expects (a UserWarning)

Any other exception is a bug in hwnas or in a plugin. This module imports the standard library only,
so that the command line can handle every error without loading what raises it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HwnasError(Exception):
    """Error that the user can correct; its text is one line with what was found and expected."""


class HwnasWarning(UserWarning):
    """Warning of something that may not work as the user expects."""


class InvalidInput(HwnasError, ValueError):
    """Value that is not as expected."""


class UnknownName(InvalidInput):
    """Name that does not exist.

    Parameters
    ----------
    kind
        Kind of the name, in the singular: ``"space"``.
    name
        The unknown name.
    choices
        The names that exist.

    Examples
    --------
    >>> print(UnknownName("device", "rtx308", ["a100", "rtx3080"]))
    unknown device 'rtx308'; did you mean 'rtx3080'?
    """

    def __init__(self, kind: str, name: str, choices: Iterable[str]) -> None:
        choices = sorted(choices)
        similar = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
        # One suggestion if a name is similar, else the list.
        if similar:
            hint = f"did you mean {similar[0]!r}?"
        elif choices:
            hint = f"known: {format_names(choices)}"
        else:
            hint = "none is known here"
        super().__init__(f"unknown {kind} {name!r}; {hint}")


class ExperimentError(InvalidInput):
    """Experiment that cannot be run.

    Parameters
    ----------
    file
        File of the experiment; empty if it was not read from a file.
    key_path
        Path of the faulty key, ``optimizers[1].name``.
    message
        The value found and the value expected.

    Examples
    --------
    >>> print(ExperimentError("mine.yaml", "seeds", "is required"))
    mine.yaml: seeds: is required
    """

    def __init__(self, file: str, key_path: str, message: str) -> None:
        # Empty parts leave no colon behind.
        super().__init__(": ".join(part for part in (file, key_path, message) if part))


class MissingExtra(HwnasError, ImportError):
    """Optional library that is not installed.

    Parameters
    ----------
    subject
        The part of hwnas that needs the library: ``"optimizer 'nsga2'"``.
    module
        The missing module: ``"pymoo"``.
    extra
        The extra of hwnas that installs it.
    """

    def __init__(self, subject: str, module: str, extra: str) -> None:
        super().__init__(f'{subject} needs {module}: pip install "hwnas[{extra}]"')


class MachineFailed(HwnasError):
    """Failure of the machine that measures: every trial would fail, so the search stops."""


class SpaceExhausted(HwnasError):
    """Search space without new architectures: every one has been proposed."""


class SearchFailed(RuntimeError):
    """Error of an optimizer or of hwnas in a search; the other searches ran to their end."""


def format_names(names: Iterable[str], limit: int = 12) -> str:
    """Return names as one comma-separated line, those beyond `limit` as a count.

    >>> format_names(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    # Any iterable: its length is needed before its items.
    names = list(names)
    if len(names) <= limit:
        return ", ".join(names)
    return f"{', '.join(names[:limit])} and {len(names) - limit} more"
