"""The report of a run in a real browser: what it shows, and that it answers to mouse and keys.

Skipped where there is no Chromium; ``make report-test`` installs one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.api import run
from hwnas.reports.html.page import fill_template
from hwnas.reports.html.payload import report_payload
from hwnas.reports.html.search_payload import encode_codes
from hwnas.runner.results import Result
from hwnas.spaces import SearchSpace, space

sys.path.insert(0, str(Path(__file__).parent))
import chromium

pytestmark = pytest.mark.skipif(chromium.binary() is None, reason="there is no Chromium")

SMALL: dict[str, Any] = {
    "name": "small",
    "space": "gpt-s",
    "objectives": ["perplexity", "latency@rtx3080"],
    "optimizers": ["random", "uniform"],
    "budget": {"evaluations": 60},
    "seeds": 2,
}
THREE = {
    **SMALL,
    "objectives": ["perplexity", "latency@h100", "-params"],
    "constraints": ["bfloat16_memory <= 400"],
    "noise": True,
}
HOSTILE = '</script><img src=x onerror="window.broken = 1"><b>\'"&amp;</b>'


@pytest.fixture(scope="module")
def page() -> Iterator[chromium.Page]:
    with chromium.opened() as opened:
        opened.prefer("light")
        yield opened


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run(SMALL, out=tmp_path_factory.mktemp("browser") / "small")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run(THREE, out=tmp_path_factory.mktemp("browser") / "three")


@pytest.fixture
def small(page: chromium.Page, done: Result) -> chromium.Page:
    """A page with the report of `done`, as it opens."""
    page.open(done.path / "report.html", ready="drawn")
    return page


@pytest.fixture(autouse=True)
def no_trouble(page: chromium.Page) -> Iterator[None]:
    """Whatever a test does, the console stays empty and nothing but the file is asked for."""
    yield
    assert page.troubles == []
    assert len(page.requests) == 1


def opened(page: chromium.Page, file: Path, data: dict[str, Any]) -> None:
    """Open a report of data that no run has."""
    file.write_text(fill_template(data), encoding="utf-8")
    page.open(file, ready="drawn")


def copied(result: Result) -> dict[str, Any]:
    """The contents of a report, to be changed."""
    return dict(json.loads(json.dumps(report_payload(result))))


def one(selector: str) -> str:
    return f"document.querySelector({json.dumps(selector)})"


def text_of(page: chromium.Page, selector: str) -> str:
    return str(page.run(f"{one(selector)}.innerText"))


def place_of(page: chromium.Page, values: Sequence[float]) -> tuple[float, float]:
    """Where in the window the chart of the fronts draws a point, brought into view."""
    page.run(f"{one('#fronts canvas')}.scrollIntoView({{block: 'center'}})")
    at = page.run(f"{one('#fronts canvas')}.getBoundingClientRect().toJSON()")
    x, y = page.run(f"[chart.x.at({float(values[0])}), chart.y.at({float(values[1])})]")
    return at["left"] + x, at["top"] + y


def click(page: chromium.Page, selector: str) -> None:
    """Click in the middle of an element."""
    page.run(f"{one(selector)}.scrollIntoView({{block: 'center'}})")
    at = page.run(f"{one(selector)}.getBoundingClientRect().toJSON()")
    page.click(at["left"] + at["width"] / 2, at["top"] + at["height"] / 2)


def choose(page: chromium.Page, selector: str, value: str) -> None:
    """Choose from a list."""
    page.run(f"{one(selector)}.value = {value!r}")
    page.run(f"{one(selector)}.dispatchEvent(new Event('change'))")


def column(page: chromium.Page, number: int) -> list[str]:
    """The texts of a column of the table of networks."""
    cells = f"document.querySelectorAll('#front tbody td:nth-child({number})')"
    return list(page.run(f"[...{cells}].map((cell) => cell.textContent)"))


def axes(page: chromium.Page, chart: str) -> list[str]:
    """What the axes of a chart say."""
    labels = f"document.querySelectorAll('{chart} .axis')"
    return list(page.run(f"[...{labels}].map((label) => label.textContent)"))


@pytest.mark.parametrize("name", ["gpt-s", "gpt-l"])
def test_30_000_trials_open_within_three_seconds(
    page: chromium.Page, tmp_path: Path, name: str
) -> None:
    form = {**SMALL, "space": name, "optimizers": ["random"], "seeds": 1}
    run({**form, "budget": {"evaluations": 30_000}}, out=tmp_path / "long")
    assert page.open(tmp_path / "long" / "report.html", ready="drawn") <= 3
    assert page.run("run.searches[0].trials.network.length") == 30_000


SPACES = [
    space("gpt-s"),
    space("gpt-l"),
    space("gpt-s-wide"),
    SearchSpace(
        "no-bias", embed_dim=[64, 128], n_layer=[1, 5], mlp_ratio=[1], n_head=[1, 2], bias=[False]
    ),
    SearchSpace("one", embed_dim=[64], n_layer=[1], mlp_ratio=[4], n_head=[2], bias=[True]),
    SearchSpace(
        "many", embed_dim=list(range(1, 128)), n_layer=[1, 2], mlp_ratio=[1, 3], n_head=[7]
    ),
]


@pytest.mark.parametrize("its", SPACES, ids=lambda its: its.name)
def test_networks_are_named_as_in_python(
    page: chromium.Page, done: Result, tmp_path: Path, its: SearchSpace
) -> None:
    data = report_payload(done)
    n = len(data["networks"]) // len(done.space.columns)
    codes = its.sample(n, np.random.default_rng(0))
    codes[0] = its.canonical(its.cardinalities[None])[0]
    other = {**data, "space": its.to_dict(), "networks": encode_codes(codes)}
    opened(page, tmp_path / "other.html", other)
    named = page.run(f"Array.from({{length: {n}}}, (_, place) => architecture(place).text)")
    assert named == [str(arch) for arch in its.decode(codes)]


def test_pointing_at_a_network_tells_what_it_is(small: chromium.Page, done: Result) -> None:
    cell = done.searches[0]
    member = len(cell.front) // 2
    small.mouse("mouseMoved", *place_of(small, cell.front.values[member]))
    tip = text_of(small, "#fronts .tip")
    arch = done.space.decode(cell.front.codes[[member]])[0]
    assert f"random, seed 0, trial {cell.front_trials[member]}" in tip
    assert f"{cell.front.values[member, 0]:.4f}" in tip
    assert f"{cell.front.values[member, 1]:.4f} ms" in tip
    assert f"{arch.n_layer} layers, width {arch.embed_dim}" in tip
    assert "on the front of its search" in tip
    small.click(*place_of(small, cell.front.values[member]))
    assert str(arch) in text_of(small, "#picked").split()


def test_pointing_at_a_trial_off_the_front(small: chromium.Page, done: Result) -> None:
    cell = done.searches[0]
    trial = int(np.argmax(cell.trials.values[:, 0]))
    assert trial not in cell.front_trials
    small.mouse("mouseMoved", *place_of(small, cell.trials.values[trial]))
    tip = text_of(small, "#fronts .tip")
    assert f"trial {trial}\n" in tip
    assert "front" not in tip


def test_an_optimizer_can_be_left_out(small: chromium.Page) -> None:
    shown = "new Set(chart.members.map((member) => member.search.optimizer)).size"
    lines = "grown.svg.querySelectorAll('g > path[stroke]').length"
    before = small.run(lines)
    assert small.run(shown) == 2
    click(small, "#legend label")
    assert (small.run(shown), small.run(lines)) == (1, before - 1)
    click(small, "#legend label")
    assert (small.run(shown), small.run(lines)) == (2, before)


def test_one_seed_or_all(small: chromium.Page, done: Result) -> None:
    choose(small, "#choose-seed select", "1")
    expected = sum(len(cell.front) for cell in done.searches if cell.seed == 1)
    assert small.run("chart.members.length") == expected


def test_zooming(small: chromium.Page, done: Result) -> None:
    assert done.exact is not None
    corner = done.exact.values[len(done.exact) // 2]
    whole = small.run("fitted()")
    left, bottom = place_of(small, corner)
    right, top = left + 120, bottom - 90
    small.mouse("mouseMoved", left, top)
    small.mouse("mousePressed", left, top, button="left", clickCount=1)
    small.mouse("mouseMoved", left + 60, top + 45, button="left", buttons=1)
    small.mouse("mouseMoved", right, bottom, button="left", buttons=1)
    small.mouse("mouseReleased", right, bottom, button="left", clickCount=1)
    view = small.run("state.view")
    assert view["x"][0] == pytest.approx(corner[0], rel=0.01)
    assert view["y"][0] == pytest.approx(corner[1], rel=0.01)
    assert view["x"][1] - view["x"][0] < (whole["x"][1] - whole["x"][0]) / 4
    click(small, "[data-zoom=fit]")
    assert small.run("state.view") is None
    click(small, "[data-zoom=out]")
    assert small.run("state.view.x[0]") < whole["x"][0]


def test_keys_walk_along_the_fronts(small: chromium.Page, done: Result) -> None:
    small.run("chart.canvas.focus()")
    small.key("ArrowRight")
    small.key("ArrowRight")
    xs = np.sort(np.concatenate([cell.front.values[:, 0] for cell in done.searches]))
    for place in ("#fronts .tip", "#said"):
        assert f"{xs[1]:.4f}" in text_of(small, place)
    small.key("Enter")
    assert f"{xs[1]:.4f}" in text_of(small, "#picked")
    small.key("+")
    assert small.run("state.view") is not None
    small.key("0")
    assert small.run("state.view") is None
    small.key("Escape")
    assert small.run("chart.tip.hidden")


def test_the_table_is_sorted_by_a_click(small: chromium.Page) -> None:
    first = [float(text) for text in column(small, 1)]
    assert first == sorted(first)
    click(small, "#front th:nth-child(2) button")
    latency = [float(text) for text in column(small, 2)]
    assert latency == sorted(latency)
    assert small.run(f"{one('#front th:nth-child(2)')}.ariaSort") == "ascending"
    assert small.run(f"{one('#front th:nth-child(1)')}.ariaSort") == "none"
    small.run(f"{one('#more')}.click()")
    click(small, "#front th:nth-child(2) button")
    latency = [float(text) for text in column(small, 2)]
    assert latency == sorted(latency, reverse=True)


def test_the_table_of_one_optimizer(small: chromium.Page, done: Result) -> None:
    choose(small, "#choose-front select", "1")
    small.run(f"{one('#more')}.click()")
    fronts = [cell.front.codes for cell in done.searches if cell.optimizer == "uniform"]
    expected = [str(arch) for codes in fronts for arch in done.space.decode(codes)]
    assert sorted(column(small, 8)) == sorted(expected)
    assert {text.strip() for text in column(small, 3)} == {"uniform"}


def test_copying(small: chromium.Page, done: Result) -> None:
    small.call("Browser.grantPermissions", permissions=["clipboardReadWrite"])
    click(small, "#front tbody tr:nth-child(2) button")
    assert small.run("navigator.clipboard.readText()") == column(small, 8)[1]
    click(small, "#copy-csv")
    header, *rows = small.run("navigator.clipboard.readText()").splitlines()
    assert header == "optimizer,seed,trial,arch,perplexity,latency@rtx3080"
    assert len(rows) == len(report_payload(done)["union"])
    assert rows[1].split(",")[3] == column(small, 8)[1]
    click(small, "#copy-settings")
    assert small.run("navigator.clipboard.readText()") == done.experiment.to_yaml()


def test_copying_where_a_page_may_not_use_the_clipboard(small: chromium.Page) -> None:
    small.call("Browser.grantPermissions", permissions=["clipboardReadWrite"])
    small.run("navigator.clipboard.writeText = () => Promise.reject(new Error('not allowed'))")
    click(small, "#front tbody tr:nth-child(3) button")
    assert small.run("navigator.clipboard.readText()") == column(small, 8)[2]


def test_showing_a_row_among_the_fronts(small: chromium.Page) -> None:
    click(small, "#legend label")
    small.run(f"{one('#front tbody tr:nth-child(1) [title^=Show]')}.click()")
    assert column(small, 8)[0] in text_of(small, "#picked")
    assert small.run("document.querySelectorAll('#fronts .over circle').length") == 1


def test_trajectories_are_read_with_a_cursor(small: chromium.Page, done: Result) -> None:
    small.run("grown.svg.focus()")
    small.key("ArrowRight")
    tip = text_of(small, "#trajectories .tip")
    ends = [row["normalised"] for row in done.summary if row["optimizer"] == "uniform"]
    assert tip.startswith("60 evaluations")
    assert f"{np.mean(ends):.4f}" in tip
    click(small, "[name=scale][value=missing]")
    small.run("cursor(60)")
    assert f"{1 - np.mean(ends):.3g}" in text_of(small, "#trajectories .tip")
    assert axes(small, "#trajectories")[1].startswith("missing hypervolume")
    for x, label in (("seconds", "time (s)"), ("cost", "cost (s of evaluation)")):
        choose(small, "#choose-over select", x)
        assert axes(small, "#trajectories")[0] == label
    assert small.run(f"{one('#bound')}.hidden")


def test_three_objectives_in_pairs(page: chromium.Page, three: Result) -> None:
    page.open(three.path / "report.html", ready="drawn")
    latency, params = "latency@h100 (ms)", "params (millions, more is better)"
    assert axes(page, "#fronts") == ["perplexity", latency]
    choose(page, "#choose-x select", "2")
    assert axes(page, "#fronts") == [params, latency]
    choose(page, "#choose-y select", "2")  # which leaves the other axis to what was here
    assert axes(page, "#fronts") == [latency, params]
    assert page.run(f"{one('#choose-x select')}.value") == "1"
    member = three.searches[0].front.values[0]
    page.mouse("mouseMoved", *place_of(page, member[1:]))
    tip = text_of(page, "#fronts .tip")
    assert f"{member[2]:,.0f}" in tip
    assert "values are medians" in tip


def test_lines_bound_what_is_dominated(small: chromium.Page) -> None:
    """Steps go flat first where less of x is better, upright first where more is."""
    trace = (
        "((maximise) => { run.objectives[0].maximise = maximise; const path = [];"
        "const to = (...place) => { path.push(place) };"
        "const values = [[1, 2], maximise ? [1, 3] : [3, 1]];"
        "traceSteps({ beginPath() {}, moveTo: to, lineTo: to }, values, stepsOf(values));"
        "return path.map(([x, y]) => [chart.x.value(x), chart.y.value(y)]) })"
    )
    np.testing.assert_allclose(small.run(f"{trace}(false)"), [[1, 3], [2, 3], [2, 1]])
    np.testing.assert_allclose(small.run(f"{trace}(true)"), [[1, 1], [1, 3], [2, 3]])


def test_names_are_shown_as_text(page: chromium.Page, done: Result, tmp_path: Path) -> None:
    data = copied(done)
    data["name"] = data["settings"] = data["space"]["name"] = data["standard"] = HOSTILE
    data["known"]["name"] = data["bound"]["name"] = data["warm_start"] = HOSTILE
    data["notes"], data["environment"] = [HOSTILE], [[HOSTILE, HOSTILE]]
    data["overview"]["rows"][0][-1] = data["seeds"]["rows"][0][-1] = HOSTILE
    data["constraints"] = [{**data["objectives"][0], "relation": "<=", "bound": 30}]
    for named in (*data["objectives"], *data["constraints"]):
        named["name"] = named["value"] = named["unit"] = HOSTILE
    for optimizer in data["optimizers"]:
        optimizer["name"] = HOSTILE
    failure = {"search": 0, "trial": 1, "network": 0, "reason": HOSTILE}
    data["failures"] = {"of": 1, "rows": [failure]}
    opened(page, tmp_path / "hostile.html", data)
    page.run("point(chart.members[0]); pick(chart.members[0]); cursor(20)")
    assert page.run("document.images.length + document.querySelectorAll('main b b').length") == 0
    assert page.run("typeof window.broken") == "undefined"
    assert text_of(page, "h1") == HOSTILE
    assert page.run("document.title") == f"{HOSTILE}: hwnas report"
    assert page.run(f"{one('main')}.textContent").count(HOSTILE) > 30


# Labels of the charts that lie over one another or outside of their chart.
ASTRAY = """
[...document.querySelectorAll('.chart .frame')].flatMap((svg) => {
  const whole = svg.getBoundingClientRect();
  const labels = [...svg.querySelectorAll('text')].map((text) =>
    ({ text: text.textContent, box: text.getBoundingClientRect() }));
  const outside = labels.filter(({ box }) => box.left < whole.left - 1
    || box.right > whole.right + 1 || box.top < whole.top - 4 || box.bottom > whole.bottom + 1);
  const over = labels.filter(({ box: a }, i) => labels.slice(i + 1).some(({ box: b }) =>
    a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom));
  return [...outside, ...over].map(({ text }) => text);
})
"""


@pytest.mark.parametrize("width", [340, 420, 700, 1400])
def test_it_fits_any_window(page: chromium.Page, done: Result, three: Result, width: int) -> None:
    for result in (done, three):
        page.open(result.path / "report.html", width=width, ready="drawn")
        assert page.run("document.documentElement.scrollWidth") <= width
        for scale in ("normalised", "missing"):
            page.run(f"{one(f'[name=scale][value={scale}]')}.click()")
            assert page.run(ASTRAY) == []
        for factor in (0.1, 0.001, 1e6):
            page.run(f"zoom({factor})")
            assert page.run(ASTRAY) == []


def test_light_dark_and_paper(small: chromium.Page) -> None:
    card = f"getComputedStyle({one('.card')}).backgroundColor"
    light = small.run(card)
    small.prefer("dark")
    assert small.run(card) != light
    small.prefer("dark", medium="print")
    assert small.run(f"{one('#copy-csv')}.offsetParent") is None
    small.run("dispatchEvent(new Event('beforeprint'))")
    assert small.run(card) == "rgb(255, 255, 255)"
    assert small.run("chart.host.clientWidth") == 680 == small.run("chart.box.width")
    small.run("dispatchEvent(new Event('afterprint'))")
    small.prefer("light")
    assert small.run(card) == light


def test_whatever_can_be_focused_has_a_name(small: chromium.Page) -> None:
    nameless = (
        "[...document.querySelectorAll('button, select, input, [tabindex]')].filter((one) =>"
        "!(one.textContent.trim() || one.labels?.[0]?.textContent.trim() || one.ariaLabel))"
        ".map((one) => one.outerHTML)"
    )
    assert small.run(nameless) == []
    assert small.run("document.documentElement.lang") == "en"


def test_searches_that_found_nothing(page: chromium.Page, done: Result, tmp_path: Path) -> None:
    data = copied(done)
    for search in data["searches"]:
        search["trials"] = {"network": [], "values": [[], []], "number": []}
        search["front"] = {"of": 0, "network": [], "trial": [], "values": [[], []]}
    for curve in data["curves"].values():
        curve["lines"] = [{"at": [], "mean": [], "low": [], "high": []}] * 2
    data |= {"union": [], "known": None, "bound": None, "networks": ""}
    opened(page, tmp_path / "nothing.html", data)
    page.run("cursor(3); walk(1)")
    assert column(page, 1) == []
