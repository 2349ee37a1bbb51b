"""What can go wrong, and what the user reads when it does.

::

    HwnasError              the user can mend it: one line, exit code 2
    ├── InvalidInput        a value is not what was expected (also a ValueError)
    │   └── UnknownName     a name is not known; the nearest known one is offered
    ├── MissingExtra        an optional library is not installed (also an ImportError)
    └── SpaceExhausted      every architecture of a space has been proposed

Anything else that escapes is a fault of hwnas. `HwnasWarning` says what works otherwise than it may
seem.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HwnasError(Exception):
    """Something the user can mend. Its text is one line: what was given, what was expected."""


class HwnasWarning(UserWarning):
    """Something works otherwise than the user may think."""


class InvalidInput(HwnasError, ValueError):
    """A value is not what was expected."""


class UnknownName(InvalidInput):
    """A name that is not known.

    Parameters
    ----------
    kind
        What the name should have named, in the singular: ``"space"``.
    name
        What was given.
    known
        The names that would have been right.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        if near:
            hint = f"did you mean {near[0]!r}?"
        elif known:
            hint = f"known: {shortened(known)}"
        else:
            hint = "none is known here"
        super().__init__(f"unknown {kind} {name!r}; {hint}")


class MissingExtra(HwnasError, ImportError):
    """An optional library is not installed.

    Parameters
    ----------
    what
        What was asked for: ``"optimizer 'nsga2'"``.
    module
        The module that is missing: ``"pymoo"``.
    extra
        The extra of hwnas that brings it.
    """

    def __init__(self, what: str, module: str, extra: str) -> None:
        super().__init__(f'{what} needs {module}: pip install "hwnas[{extra}]"')


class MachineFailed(HwnasError):
    """What everything is measured on does not work any more; no trial is to blame."""


class SpaceExhausted(HwnasError):
    """Every architecture of the space has been proposed; there is nothing new to ask for."""


def shortened(names: Iterable[str], most: int = 12) -> str:
    """The names as one comma-separated line, the rest beyond `most` as a count.

    >>> shortened(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    names = list(names)
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


class ExperimentError(InvalidInput):
    """An experiment that cannot be run.

    Parameters
    ----------
    file
        File of the experiment; empty where there is none.
    key_path
        Path of the key at fault, ``optimizers[1].name``.
    message
        What was found and what was expected.
    """

    def __init__(self, file: str, key_path: str, message: str) -> None:
        super().__init__(": ".join(part for part in (file, key_path, message) if part))


class SearchFailed(RuntimeError):
    """An optimizer or the framework raised an error in a search; the others ran to their end."""
