"""Actions on the report page in a browser, by CSS selectors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.reports.html.page import fill_template
from hwnas.reports.html.payload import report_payload
from hwnas.runner.results import Result

if TYPE_CHECKING:
    import chromium


def open_payload(page: chromium.Page, file: Path, payload: dict[str, Any]) -> None:
    """Write a report of a payload to a file and open it."""
    file.write_text(fill_template(payload), encoding="utf-8")
    page.open(file, ready="drawn")


def copy_payload(result: Result) -> dict[str, Any]:
    """Return the payload of a report, which may be changed."""
    return dict(json.loads(json.dumps(report_payload(result))))


def element(selector: str) -> str:
    """Return the script that finds an element."""
    return f"document.querySelector({json.dumps(selector)})"


def text_of(page: chromium.Page, selector: str) -> str:
    """Return the visible text of an element."""
    return str(page.run(f"{element(selector)}.innerText"))


def point_of(page: chromium.Page, values: Sequence[float]) -> tuple[float, float]:
    """Scroll to the chart of fronts and return the window position of two objective values."""
    page.run(f"{element('#fronts canvas')}.scrollIntoView({{block: 'center'}})")
    box = page.run(f"{element('#fronts canvas')}.getBoundingClientRect().toJSON()")
    x, y = page.run(f"[chart.x.at({float(values[0])}), chart.y.at({float(values[1])})]")
    return box["left"] + x, box["top"] + y


def click(page: chromium.Page, selector: str) -> None:
    """Click at the center of an element."""
    page.run(f"{element(selector)}.scrollIntoView({{block: 'center'}})")
    box = page.run(f"{element(selector)}.getBoundingClientRect().toJSON()")
    page.click(box["left"] + box["width"] / 2, box["top"] + box["height"] / 2)


def choose(page: chromium.Page, selector: str, value: str) -> None:
    """Choose an option of a list."""
    page.run(f"{element(selector)}.value = {value!r}")
    page.run(f"{element(selector)}.dispatchEvent(new Event('change'))")


def column(page: chromium.Page, number: int) -> list[str]:
    """Return the texts of a column of the table of architectures."""
    return texts(page, f"#front .member td:nth-child({number})")


def names(page: chromium.Page) -> list[str]:
    """Return the names of the architectures in the table."""
    return texts(page, "#front .details .name")


def texts(page: chromium.Page, selector: str) -> list[str]:
    """Return the texts of all elements that a selector finds."""
    found = f"document.querySelectorAll({json.dumps(selector)})"
    return list(page.run(f"[...{found}].map((node) => node.textContent)"))


def axes(page: chromium.Page, chart: str) -> list[str]:
    """Return the axis labels of a chart."""
    return texts(page, f"{chart} .axis")
