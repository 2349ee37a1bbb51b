"""Report of a run in a real browser: its content, and its reactions to mouse and keys.

Skipped where there is no Chromium; ``make report-test`` installs one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromium
import numpy as np
import own_spaces
import pytest
from report_page import (
    axes,
    choose,
    click,
    column,
    copy_payload,
    element,
    names,
    open_payload,
    point_of,
    text_of,
    texts,
)

from hwnas.api import run
from hwnas.reports.html.page import write_page
from hwnas.reports.html.payload import report_payload
from hwnas.reports.html.space_payload import members_payload, space_payload
from hwnas.runner.results import Result
from hwnas.spaces import GPTSpace, SearchSpace, space

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
    with chromium.opened() as tab:
        tab.prefer("light")
        yield tab


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run(SMALL, out=tmp_path_factory.mktemp("browser") / "small")


@pytest.fixture(scope="module")
def three_run(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run(THREE, out=tmp_path_factory.mktemp("browser") / "three")


@pytest.fixture
def small(page: chromium.Page, small_run: Result) -> chromium.Page:
    """A page with the report of `small_run`, freshly opened."""
    page.open(small_run.path / "report.html", ready="drawn")
    return page


@pytest.fixture(autouse=True)
def no_trouble(page: chromium.Page) -> Iterator[None]:
    """Check that the console is empty and that only the file was requested."""
    yield
    assert page.troubles == []
    assert len(page.requests) == 1


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
    GPTSpace(
        "no-bias", embed_dim=[64, 128], n_layer=[1, 5], mlp_ratio=[1], n_head=[1, 2], bias=[False]
    ),
    GPTSpace("one", embed_dim=[64], n_layer=[1], mlp_ratio=[4], n_head=[2], bias=[True]),
    GPTSpace("many", embed_dim=list(range(1, 128)), n_layer=[1, 2], mlp_ratio=[1, 3], n_head=[7]),
    space("llama-s"),
    *map(space, own_spaces.SPACES.values()),
    space({"name": "bounds", "choices": {"size": list(range(127)), "kind": ["é*", "a,b", "*"]}}),
]


@pytest.mark.parametrize("search_space", SPACES, ids=lambda search_space: search_space.name)
def test_architectures_have_the_names_of_python(
    page: chromium.Page, small_run: Result, tmp_path: Path, search_space: SearchSpace
) -> None:
    data = report_payload(small_run)
    n = len(data["networks"]) // len(small_run.space.columns)
    codes = search_space.sample(n, np.random.default_rng(0))
    # The first architecture gets the largest code of every column.
    codes[0] = search_space.canonical(search_space.cardinalities[None])[0]
    changed = {
        **data,
        "space": space_payload(search_space),
        **members_payload(search_space, codes),
    }
    open_payload(page, tmp_path / "changed.html", changed)
    names = page.run(f"Array.from({{length: {n}}}, (_, index) => architecture(index).text)")
    assert names == [str(arch) for arch in search_space.decode(codes)]


def test_tooltip_of_a_front_member(small: chromium.Page, small_run: Result) -> None:
    search = small_run.searches[0]
    member = len(search.front) // 2
    small.mouse("mouseMoved", *point_of(small, search.front.values[member]))
    tip = text_of(small, "#fronts .tip")
    arch = small_run.space.decode(search.front.codes[[member]])[0]
    assert f"random, seed 0, trial {search.front_trials[member]}" in tip
    assert f"{search.front.values[member, 0]:.4f}" in tip
    assert f"{search.front.values[member, 1]:.4f} ms" in tip
    assert f"{arch.n_layer} layers, width {arch.embed_dim}" in tip
    assert "on the front of its search" in tip
    small.click(*point_of(small, search.front.values[member]))
    assert str(arch) in text_of(small, "#picked").split()


@pytest.mark.parametrize("name", own_spaces.SPACES)
def test_choices_of_a_user_s_own(page: chromium.Page, tmp_path: Path, name: str) -> None:
    result = own_spaces.run_on(own_spaces.SPACES[name], tmp_path / "run")
    page.open(write_page(result), ready="drawn")
    page.run(f"{element('#more')}.click()")
    by_name = {
        str(config): config
        for search in result.searches
        for config in result.space.decode(search.front.codes)
    }
    shown = names(page)
    assert set(shown) <= set(by_name)
    # Every value of a member is in its row or in the line below it, under the choice's own name.
    rows, lines = texts(page, "#front .member"), texts(page, "#front .details .arch > div")
    header = text_of(page, "#front thead")
    for row, line, member in zip(rows, lines, (by_name[name] for name in shown), strict=True):
        for choice, value in member.items():
            assert choice in header or f"{choice} " in line
            if isinstance(value, tuple):
                separator = ", " if isinstance(result.space.layers[choice][0], str) else " "
                assert f"{choice} {separator.join(map(str, value))}" in line
            else:
                assert str(value) in (row if choice in header.split() else line)
        switched_off = set(result.space.choices) - set(member)
        assert row.count("off") >= len(switched_off)
    # The table is sorted by the order of the choices, and copied as CSV.
    (row, *_) = csv.DictReader(io.StringIO(page.run("csvOf(table.rows)")))
    assert row["arch"] in by_name
    # Units, meanings and values are texts.
    page.run("point(chart.members[0])")
    tip = text_of(page, "#fronts .tip")
    assert own_spaces.UNIT in tip
    assert "width" not in tip or "width" in result.space.layers
    assert own_spaces.MEANING in text_of(page, "#objectives")
    text = page.run("document.body.innerText")
    assert "Configurations on the front" in text
    assert "rchitecture" not in text.replace("environment", "")
    for gpt in ("embed_dim", "n_layer", "mlp_ratio", "n_head"):
        assert gpt not in text
    assert page.run("document.querySelectorAll('main b b').length") == 0


def test_tables_are_sorted_by_the_order_of_choices(page: chromium.Page, tmp_path: Path) -> None:
    layered = own_spaces.SPACES["layered"]
    page.open(write_page(own_spaces.run_on(layered, tmp_path / "run")), ready="drawn")
    page.run(f"{element('#more')}.click()")
    header = texts(page, "#front th button")
    first = header.index("momentum") + 1
    click(page, f"#front th:nth-child({first}) button")
    order = ["off", *map(str, layered["choices"]["momentum"])]
    places = [order.index(text) for text in column(page, first)]
    assert places == sorted(places)
    assert len(set(places)) > 1


def test_tooltip_of_a_dominated_trial(small: chromium.Page, small_run: Result) -> None:
    search = small_run.searches[0]
    trial = int(np.argmax(search.trials.values[:, 0]))
    assert trial not in search.front_trials
    small.mouse("mouseMoved", *point_of(small, search.trials.values[trial]))
    tip = text_of(small, "#fronts .tip")
    assert f"trial {trial}\n" in tip
    assert "front" not in tip


def test_optimizers_can_be_hidden(small: chromium.Page) -> None:
    optimizers = "new Set(chart.members.map((member) => member.search.optimizer)).size"
    lines = "grown.svg.querySelectorAll('g > path[stroke]').length"
    line_count = small.run(lines)
    assert small.run(optimizers) == 2
    click(small, "#legend label")
    assert (small.run(optimizers), small.run(lines)) == (1, line_count - 1)
    click(small, "#legend label")
    assert (small.run(optimizers), small.run(lines)) == (2, line_count)


def test_choice_of_a_seed(small: chromium.Page, small_run: Result) -> None:
    choose(small, "#choose-seed select", "1")
    expected = sum(len(search.front) for search in small_run.searches if search.seed == 1)
    assert small.run("chart.members.length") == expected


def test_zooming(small: chromium.Page, small_run: Result) -> None:
    assert small_run.exact is not None
    # Drag a box whose lower left corner is a known point of the front.
    corner = small_run.exact.values[len(small_run.exact) // 2]
    fitted = small.run("fitted()")
    x_start, y_end = point_of(small, corner)
    x_end, y_start = x_start + 120, y_end - 90
    small.mouse("mouseMoved", x_start, y_start)
    small.mouse("mousePressed", x_start, y_start, button="left", clickCount=1)
    small.mouse("mouseMoved", x_start + 60, y_start + 45, button="left", buttons=1)
    small.mouse("mouseMoved", x_end, y_end, button="left", buttons=1)
    small.mouse("mouseReleased", x_end, y_end, button="left", clickCount=1)
    view = small.run("state.view")
    assert view["x"][0] == pytest.approx(corner[0], rel=0.01)
    assert view["y"][0] == pytest.approx(corner[1], rel=0.01)
    assert view["x"][1] - view["x"][0] < (fitted["x"][1] - fitted["x"][0]) / 4
    click(small, "[data-zoom=fit]")
    assert small.run("state.view") is None
    click(small, "[data-zoom=out]")
    assert small.run("state.view.x[0]") < fitted["x"][0]


def test_keys_step_along_the_fronts(small: chromium.Page, small_run: Result) -> None:
    small.run("chart.canvas.focus()")
    small.key("ArrowRight")
    small.key("ArrowRight")
    # Members are visited by increasing x; two steps reach the second.
    xs = np.sort(np.concatenate([search.front.values[:, 0] for search in small_run.searches]))
    for selector in ("#fronts .tip", "#said"):
        assert f"{xs[1]:.4f}" in text_of(small, selector)
    small.key("Enter")
    assert f"{xs[1]:.4f}" in text_of(small, "#picked")
    small.key("+")
    assert small.run("state.view") is not None
    small.key("0")
    assert small.run("state.view") is None
    small.key("Escape")
    assert small.run("chart.tip.hidden")


def test_clicks_sort_the_table(small: chromium.Page) -> None:
    first = [float(text) for text in column(small, 1)]
    assert first == sorted(first)
    click(small, "#front th:nth-child(2) button")
    latency = [float(text) for text in column(small, 2)]
    assert latency == sorted(latency)
    assert small.run(f"{element('#front th:nth-child(2)')}.ariaSort") == "ascending"
    assert small.run(f"{element('#front th:nth-child(1)')}.ariaSort") == "none"
    small.run(f"{element('#more')}.click()")
    click(small, "#front th:nth-child(2) button")
    latency = [float(text) for text in column(small, 2)]
    assert latency == sorted(latency, reverse=True)


def test_the_table_of_one_optimizer(small: chromium.Page, small_run: Result) -> None:
    choose(small, "#choose-front select", "1")
    small.run(f"{element('#more')}.click()")
    fronts = [search.front.codes for search in small_run.searches if search.optimizer == "uniform"]
    expected = [str(arch) for codes in fronts for arch in small_run.space.decode(codes)]
    assert sorted(names(small)) == sorted(expected)
    assert {text.strip() for text in column(small, 3)} == {"uniform"}


def test_the_front_is_before_the_seeds_and_architectures_are_complete(
    small: chromium.Page, small_run: Result
) -> None:
    sections = small.run("[...document.querySelectorAll('main > section')].map((node) => node.id)")
    assert sections.index("front") < sections.index("statistics")
    # Each optimizer has a row; rows of seeds are shown on request, and on paper.
    assert small.run("document.querySelectorAll('#overview tbody tr').length") == 2
    assert not small.run(f"{element('#seeds table')}.checkVisibility()")
    click(small, "#seed-rows summary")
    assert small.run("document.querySelectorAll('#seeds tbody tr').length") == 4
    assert small.run(f"{element('#seeds table')}.checkVisibility()")
    # Nothing of an architecture is cut off, at any width.
    for width in (340, 1300):
        small.open(small_run.path / "report.html", width=width, ready="drawn")
        cut = "[...document.querySelectorAll('#front .arch')].filter((cell) =>"
        assert small.run(f"{cut} cell.scrollWidth > cell.clientWidth + 1).length") == 0
    archs = [
        arch for front in small_run.fronts.values() for arch in small_run.space.decode(front.codes)
    ]
    by_name = {str(arch): arch for arch in archs}
    lines = texts(small, "#front .details .arch > div")
    assert len(lines) == len(names(small)) == 10
    for name, line in zip(names(small), lines, strict=True):
        arch = by_name[name]
        for choices in (arch.mlp_ratio, arch.n_head):
            assert " ".join(map(str, choices)) in line
    small.run("getSelection().selectAllChildren(document.querySelector('#front .name'))")
    assert small.run("String(getSelection())") == names(small)[0]


def test_constraints_have_values_and_slacks(page: chromium.Page, three_run: Result) -> None:
    page.open(three_run.path / "report.html", ready="drawn")
    (header,) = [text for text in texts(page, "#front th") if "bfloat16" in text]
    assert header == "bfloat16_memory <= 400 MB (slack)"
    values = {
        str(arch): memory
        for search in three_run.searches
        for arch, memory in zip(
            three_run.space.decode(search.front.codes),
            search.front_constraints[:, 0].tolist(),
            strict=True,
        )
    }
    for name, cell in zip(names(page), column(page, 4), strict=True):
        value, slack = cell.removesuffix(")").split(" (")
        assert float(value) == pytest.approx(values[name], abs=0.01)
        assert slack[0] == "+"
        assert float(slack) == pytest.approx(400 - values[name], abs=0.01)
    slack_column = f"{element('#front th:nth-child(4) button')}.click()"
    page.run(slack_column)
    slacks = [float(cell.partition("(")[2].rstrip(")")) for cell in column(page, 4)]
    assert slacks == sorted(slacks)
    # Outside a bound the sign is minus, for both relations.
    at_most, at_least = '{relation: "<=", bound: 2}', '{relation: ">=", bound: 2}'
    assert page.run(f"[slackOf({at_most}, 3), slackOf({at_least}, 3)]") == [-1, 1]
    assert page.run("[signed(-1, String), signed(1, String)]") == ["-1", "+1"]
    assert "slack of bfloat16_memory <= 400" in text_of(page, "#overview")
    assert "slack of bfloat16_memory <= 400" in page.run("csvOf(table.rows)").splitlines()[0]


def test_metrics_failures_and_optimizers_are_described(
    page: chromium.Page, three_run: Result, tmp_path: Path
) -> None:
    data = copy_payload(three_run)
    data["failed"] = ["random: 3 of 120 trials failed; the first: out of memory"]
    data["optimizers"][1]["note"] = "same results as random"
    data["curves"]["evaluations"]["lines"][0]["measured"] = 0.5
    open_payload(page, tmp_path / "described.html", data)
    described = texts(page, "#objectives li")
    assert len(described) == 4
    assert described[1].startswith("latency@h100 (ms), minimized: one forward pass")
    assert described[2].startswith("params, maximized: ")
    assert described[3].startswith("bfloat16_memory <= 400 MB, constraint: ")
    assert texts(page, "#failed li") == data["failed"]
    assert "uniform (same results as random)" in text_of(page, "#legend").replace("\n", " ")
    assert page.run("document.querySelectorAll('#trajectories .measured').length") == 1
    assert "never measured" in text_of(page, "#trajectories-about")
    page.open(three_run.path / "report.html", ready="drawn")
    assert page.run(f"{element('#failed')}.hidden")
    assert page.run("document.querySelectorAll('#trajectories .measured').length") == 0
    assert "never measured" not in text_of(page, "#trajectories-about")


def test_copying(small: chromium.Page, small_run: Result) -> None:
    small.call("Browser.grantPermissions", permissions=["clipboardReadWrite"])
    click(small, "#front tbody tr:nth-child(4) button")
    assert small.run("navigator.clipboard.readText()") == names(small)[1]
    click(small, "#copy-csv")
    header, *rows = small.run("navigator.clipboard.readText()").splitlines()
    assert header == "optimizer,seed,trial,arch,perplexity,latency@rtx3080"
    assert len(rows) == len(report_payload(small_run)["union"])
    assert rows[1].split(",")[3] == names(small)[1]
    click(small, "#copy-settings")
    assert small.run("navigator.clipboard.readText()") == small_run.experiment.to_yaml()


def test_copying_without_access_to_the_clipboard(small: chromium.Page) -> None:
    small.call("Browser.grantPermissions", permissions=["clipboardReadWrite"])
    # Make the clipboard fail: the page must fall back to copying a selection.
    small.run("navigator.clipboard.writeText = () => Promise.reject(new Error('not allowed'))")
    click(small, "#front tbody tr:nth-child(6) button")
    assert small.run("navigator.clipboard.readText()") == names(small)[2]


def test_showing_a_row_in_the_chart(small: chromium.Page) -> None:
    click(small, "#legend label")
    small.run(f"{element('#front tbody tr:nth-child(2) [title^=Show]')}.click()")
    assert names(small)[0] in text_of(small, "#picked")
    assert small.run("document.querySelectorAll('#fronts .over circle').length") == 1


def test_cursor_of_trajectories(small: chromium.Page, small_run: Result) -> None:
    small.run("grown.svg.focus()")
    small.key("ArrowRight")
    tip = text_of(small, "#trajectories .tip")
    ends = [row["normalised"] for row in small_run.summary if row["optimizer"] == "uniform"]
    assert tip.startswith("60 evaluations")
    assert f"{np.mean(ends):.4f}" in tip
    click(small, "[name=scale][value=missing]")
    small.run("cursor(60)")
    assert f"{1 - np.mean(ends):.3g}" in text_of(small, "#trajectories .tip")
    assert axes(small, "#trajectories")[1].startswith("missing hypervolume")
    for x, label in (("seconds", "time (s)"), ("cost", "cost (s of evaluation)")):
        choose(small, "#choose-over select", x)
        assert axes(small, "#trajectories")[0] == label
    assert small.run(f"{element('#bound')}.hidden")


def test_three_objectives_in_pairs(page: chromium.Page, three_run: Result) -> None:
    page.open(three_run.path / "report.html", ready="drawn")
    latency, params = "latency@h100 (ms)", "params (millions, higher is better)"
    assert axes(page, "#fronts") == ["perplexity", latency]
    choose(page, "#choose-x select", "2")
    assert axes(page, "#fronts") == [params, latency]
    choose(page, "#choose-y select", "2")  # the other axis gets the previous objective
    assert axes(page, "#fronts") == [latency, params]
    assert page.run(f"{element('#choose-x select')}.value") == "1"
    member = three_run.searches[0].front.values[0]
    page.mouse("mouseMoved", *point_of(page, member[1:]))
    tip = text_of(page, "#fronts .tip")
    assert f"{member[2]:,.0f}" in tip
    assert "values are medians" in tip


def test_lines_bound_the_dominated_region(small: chromium.Page) -> None:
    """Steps are horizontal first if x is minimized, vertical first if it is maximized."""
    # Record the path that is drawn through two members.
    trace = (
        "((maximise) => { run.objectives[0].maximise = maximise; const path = [];"
        "const to = (...place) => { path.push(place) };"
        "const values = [[1, 2], maximise ? [1, 3] : [3, 1]];"
        "traceSteps({ beginPath() {}, moveTo: to, lineTo: to }, values, stepsOf(values));"
        "return path.map(([x, y]) => [chart.x.value(x), chart.y.value(y)]) })"
    )
    np.testing.assert_allclose(small.run(f"{trace}(false)"), [[1, 3], [2, 3], [2, 1]])
    np.testing.assert_allclose(small.run(f"{trace}(true)"), [[1, 1], [1, 3], [2, 3]])


def test_names_are_shown_as_text(page: chromium.Page, small_run: Result, tmp_path: Path) -> None:
    data = copy_payload(small_run)
    data["name"] = data["settings"] = data["space"]["name"] = data["standard"] = HOSTILE
    data["known"]["name"] = data["bound"]["name"] = data["warm_start"] = HOSTILE
    data["notes"], data["environment"] = [HOSTILE], [[HOSTILE, HOSTILE]]
    data["overview_notes"] = [HOSTILE]
    data["overview"]["rows"][0][-1] = data["seeds"]["rows"][0][-1] = HOSTILE
    data["constraints"] = [{**data["objectives"][0], "relation": "<=", "bound": 30}]
    for search in data["searches"]:
        search["front"]["constraints"] = [search["front"]["values"][0]]
    for named in (*data["objectives"], *data["constraints"]):
        named["name"] = named["value"] = named["unit"] = named["meaning"] = HOSTILE
    for optimizer in data["optimizers"]:
        optimizer["name"] = optimizer["note"] = HOSTILE
    data["failed"] = [HOSTILE]
    failure = {"search": 0, "trial": 1, "network": 0, "reason": HOSTILE}
    data["failures"] = {"of": 1, "rows": [failure]}
    open_payload(page, tmp_path / "hostile.html", data)
    page.run("point(chart.members[0]); pick(chart.members[0]); cursor(20)")
    assert page.run("document.images.length + document.querySelectorAll('main b b').length") == 0
    assert page.run("typeof window.broken") == "undefined"
    assert text_of(page, "h1") == HOSTILE
    assert page.run("document.title") == f"{HOSTILE}: hwnas report"
    assert page.run(f"{element('main')}.textContent").count(HOSTILE) > 30


# Script that returns labels of charts that overlap or lie outside their chart.
MISPLACED_LABELS = """
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
def test_page_fits_any_window(
    page: chromium.Page, small_run: Result, three_run: Result, width: int
) -> None:
    for result in (small_run, three_run):
        page.open(result.path / "report.html", width=width, ready="drawn")
        assert page.run("document.documentElement.scrollWidth") <= width
        for scale in ("normalised", "missing"):
            page.run(f"{element(f'[name=scale][value={scale}]')}.click()")
            assert page.run(MISPLACED_LABELS) == []
        # Extreme zooms give long tick labels.
        for factor in (0.1, 0.001, 1e6):
            page.run(f"zoom({factor})")
            assert page.run(MISPLACED_LABELS) == []


def test_light_dark_and_paper(small: chromium.Page) -> None:
    card = f"getComputedStyle({element('.card')}).backgroundColor"
    light = small.run(card)
    small.prefer("dark")
    assert small.run(card) != light
    # Buttons are not printed.
    small.prefer("dark", medium="print")
    assert small.run(f"{element('#copy-csv')}.offsetParent") is None
    # Printing uses light colors and a fixed width, then restores both.
    small.run("dispatchEvent(new Event('beforeprint'))")
    assert small.run(card) == "rgb(255, 255, 255)"
    assert small.run("chart.host.clientWidth") == 680 == small.run("chart.box.width")
    small.run("dispatchEvent(new Event('afterprint'))")
    small.prefer("light")
    assert small.run(card) == light


def test_focusable_elements_have_names(small: chromium.Page) -> None:
    nameless = (
        "[...document.querySelectorAll('button, select, input, [tabindex]')].filter((node) =>"
        "!(node.textContent.trim() || node.labels?.[0]?.textContent.trim() || node.ariaLabel))"
        ".map((node) => node.outerHTML)"
    )
    assert small.run(nameless) == []
    assert small.run("document.documentElement.lang") == "en"


def test_empty_searches(page: chromium.Page, small_run: Result, tmp_path: Path) -> None:
    data = copy_payload(small_run)
    for search in data["searches"]:
        search["trials"] = {"network": [], "values": [[], []], "number": []}
        empty = {"network": [], "trial": [], "values": [[], []], "constraints": []}
        search["front"] = {"of": 0, **empty}
    for curve in data["curves"].values():
        curve["lines"] = [{"at": [], "mean": [], "low": [], "high": [], "measured": None}] * 2
    data |= {"union": [], "known": None, "bound": None, "networks": ""}
    open_payload(page, tmp_path / "nothing.html", data)
    page.run("cursor(3); walk(1)")
    assert column(page, 1) == []
