"""HTML page of a run: one file that opens in any browser, offline."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from hwnas.errors import InvalidInput
from hwnas.files import check_output, write_text
from hwnas.reports.html.payload import MAX_TRIALS, report_payload
from hwnas.runner.results import Result

FILE_NAME = "report.html"

_TEMPLATE = "report.html"  # beside this module: styles and scripts of the page
_PLACEHOLDER = "__CONTENTS__"  # replaced by the payload in the template


def render_page(result: Result, *, trials: int = MAX_TRIALS) -> str:
    """Return the report of a run as an HTML document.

    Parameters
    ----------
    result
        The run, finished or not.
    trials
        Maximum number of trials to draw, see `hwnas.reports.html.payload.report_payload`.

    Returns
    -------
    str
        Document without external resources. Texts of the run are embedded as data, which the page
        shows as text.
    """
    return fill_template(report_payload(result, trials=trials))


def fill_template(payload: dict[str, Any]) -> str:
    """Return the template with a payload of `hwnas.reports.html.payload.report_payload`."""
    # Split instead of formatting: the template is full of braces.
    template = resources.files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8")
    head, _, tail = template.partition(_PLACEHOLDER)
    data = json.dumps(payload, separators=(",", ":"), allow_nan=False)
    # Within a script element only "</script" and "<!--" mean anything to a browser.
    return head + data.replace("<", "\\u003c") + tail


def write_page(result: Result, out: Path | None = None, *, trials: int = MAX_TRIALS) -> Path:
    """Write the report of a run atomically.

    Parameters
    ----------
    result
        The run.
    out
        File to write; ``report.html`` in the directory of the run by default.
    trials
        Maximum number of trials to draw.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InvalidInput
        The file cannot be written: its directory is missing, or it is a directory itself.
    """
    file = result.path / FILE_NAME if out is None else out
    try:
        # Refuse before the payload is computed, which takes time for long runs.
        check_output(file, example=FILE_NAME)
        write_text(file, render_page(result, trials=trials))
    except OSError as error:
        raise InvalidInput(f"{file}: cannot be written: {error.strerror}") from error
    return file
