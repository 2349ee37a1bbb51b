"""The explorer in a real browser: load, move a slider, click, export, absurd input.

Skipped where there is no Chromium; ``make report-test`` installs one.
"""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator

import chromium
import pytest
from foreground import HWNAS

pytest.importorskip("starlette")
pytestmark = pytest.mark.skipif(chromium.binary() is None, reason="there is no Chromium")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Address of a running explorer, which must stop cleanly."""
    command = [*HWNAS, "explore", "--port=0", "--no-browser"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        found = re.search(r"http://127\.0\.0\.1:\d+/", process.stderr.readline())
        assert found
        yield found[0]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""


@pytest.fixture(scope="module")
def tab() -> Iterator[chromium.Page]:
    with chromium.opened() as page:
        yield page


def opened(tab: chromium.Page, address: str, choices: str = "") -> chromium.Page:
    tab.call("Page.navigate", url="about:blank")
    tab.troubles.clear()
    tab.call("Page.navigate", url=f"{address}#{choices}")
    wait(tab, "location.host && performance.getEntriesByName('ready').length")
    return tab


def wait(tab: chromium.Page, condition: str) -> None:
    """Wait until an expression of the page is true."""
    end = time.monotonic() + 60
    while not tab.run(f"Boolean({condition})"):
        assert time.monotonic() < end, (condition, tab.troubles)
        time.sleep(0.02)


def move(tab: chromium.Page, metric: str, step: int) -> None:
    bound = f"document.getElementById('bound-{metric}').closest('.bound')"
    tab.run(f"(() => {{ const i = {bound}.querySelector('[type=range]'); i.value = {step};"
            f" i.oninput(); }})()")  # fmt: skip


def test_slider_click_and_export(tab: chromium.Page, address: str) -> None:
    page = opened(tab, address)
    before = page.run("front.of")
    move(page, "params", 300)
    wait(page, "performance.getEntriesByName('exact').length")
    assert page.run("front.state") == "exact front"
    assert 0 < page.run("front.of") != before
    # A click at a member shows it.
    box = page.run("document.querySelector('#canvas').getBoundingClientRect().toJSON()")
    x, y = page.run("[chart.x.at(front.x[0]), chart.y.at(front.y[0])]")
    page.click(box["left"] + x, box["top"] + y)
    wait(page, "!document.querySelector('#picked').hidden")
    name = page.run("document.querySelector('#name').textContent")
    assert name.startswith("gpt-s-")
    # The download has a line for each member, and its name.
    lines = page.run("frontCsv()").splitlines()
    assert lines[0] == "arch,latency@h100,perplexity"
    assert len(lines) == page.run("front.of") + 1
    assert any(line.startswith(f"{name},") for line in lines)
    assert page.troubles == []
    assert all(url.startswith((address, "data:", "about:")) for url in page.requests)


def test_the_next_move_ends_the_search(tab: chromium.Page, address: str) -> None:
    page = opened(tab, address, "space=gpt-l")
    move(page, "params", 200)
    wait(page, "performance.getEntriesByName('filtered').length")
    assert page.run("front.filtered")
    time.sleep(0.3)  # the search has begun
    move(page, "params", 1000)
    wait(page, "performance.getEntriesByName('exact').length")
    assert page.run("front.of") == 7490
    assert page.troubles == []


@pytest.mark.parametrize("text", ["NaN", "nonsense", "1e999", "<img src=x onerror=alert(1)>"])
def test_absurd_numbers_get_a_message(tab: chromium.Page, address: str, text: str) -> None:
    page = opened(tab, address)
    page.run(f"(() => {{ const i = document.getElementById('bound-params'); i.value = {text!r};"
             f" i.onchange(); }})()")  # fmt: skip
    assert "expected a number" in page.run("document.querySelector('#message').innerText")
    assert page.troubles == []


def test_an_impossible_bound_and_unknown_names(tab: chromium.Page, address: str) -> None:
    page = opened(tab, address, "space=nowhere&device=abacus&bound=params:-1e300")
    wait(page, "document.querySelector('#state').innerText.startsWith('empty')")
    assert "there is no" in page.run("document.querySelector('#message').innerText")
    assert page.troubles == []
