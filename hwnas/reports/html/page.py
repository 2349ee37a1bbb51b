"""The report of a run: one file that opens in any browser, without a network."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from hwnas.errors import InvalidInput
from hwnas.reports.html.payload import TRIALS, contents
from hwnas.runner.results import Result

NAME = "report.html"

_TEMPLATE = "report.html"  # beside this module; it says how everything looks and moves
_PLACE = "__CONTENTS__"  # where the template takes the data of a run


def page(result: Result, *, trials: int = TRIALS) -> str:
    """The report of a run, a whole HTML document.

    Parameters
    ----------
    result
        The run, finished or not.
    trials
        How many trials to draw at most, see `hwnas.reports.html.payload.contents`.

    Returns
    -------
    str
        It asks for nothing from outside. Whatever texts the run has stand in it as data, which the
        page shows as text.
    """
    return filled(contents(result, trials=trials))


def filled(data: dict[str, Any]) -> str:
    """The template with the data of `hwnas.reports.html.payload.contents` in it."""
    template = resources.files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8")
    before, _, after = template.partition(_PLACE)
    plain = json.dumps(data, separators=(",", ":"), allow_nan=False)
    # Within a script element only "</script" and "<!--" mean anything to a browser.
    return before + plain.replace("<", "\\u003c") + after


def write_page(result: Result, out: Path | None = None, *, trials: int = TRIALS) -> Path:
    """Write the report of a run, whole or not at all.

    Parameters
    ----------
    result
        The run.
    out
        The file; ``report.html`` in the directory of the run by default.
    trials
        How many trials to draw at most.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InvalidInput
        The file cannot be written: its folder is missing, or it is a folder itself.
    """
    file = result.path / NAME if out is None else out
    draft = file.with_name(file.name + ".part")
    try:
        if file.is_dir():
            example = file / NAME
            raise InvalidInput(f"{file}: is a directory, expected a file to write, as in {example}")
        if not file.parent.is_dir():
            raise InvalidInput(f"{file}: there is no directory {file.parent}; make it first")
        draft.write_text(page(result, trials=trials), encoding="utf-8")
        draft.replace(file)
    except OSError as error:
        raise InvalidInput(f"{file}: cannot be written: {error.strerror}") from error
    return file
