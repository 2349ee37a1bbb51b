"""The explorer's answers, without a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hwnas.api import run
from hwnas.errors import HwnasError, InvalidInput

pytest.importorskip("starlette")

from hwnas.explorer.app import refusal
from hwnas.explorer.architectures import architecture_names, describe_architecture
from hwnas.explorer.background import BackgroundFronts
from hwnas.explorer.catalogue import Catalogue, describe_space, ranges
from hwnas.explorer.fronts import codes_as_text, codes_of_text, filtered_front
from hwnas.explorer.overlays import RunOverlays
from hwnas.explorer.queries import parse_query
from hwnas.explorer.server import listen

AXES = ["perplexity", "latency@h100"]


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue()


@pytest.fixture(scope="module")
def background(catalogue: Catalogue) -> Iterator[BackgroundFronts]:
    fronts = BackgroundFronts(catalogue)
    yield fronts
    fronts.close()


def test_filtered_members_are_those_of_the_front_that_keep_the_bounds(catalogue: Catalogue) -> None:
    bench = catalogue.bench("gpt-s")
    query = parse_query(catalogue, "gpt-s", AXES, ["params <= 6e7"])
    front = bench.front(AXES)
    assert front is not None
    kept = bench.predict(front.codes, ["params"])[:, 0] <= 6e7
    filtered = filtered_front(bench, query)
    np.testing.assert_array_equal(filtered.codes, front.codes[kept])
    assert filtered.epsilon is None


def test_a_bound_on_an_axis_needs_no_search(catalogue: Catalogue) -> None:
    bench = catalogue.bench("gpt-s")
    query = parse_query(catalogue, "gpt-s", AXES, ["latency@h100 <= 8"])
    exact = bench.front(AXES, ["latency@h100 <= 8"])
    filtered = filtered_front(bench, query)
    assert exact is not None
    assert filtered.epsilon == 0
    np.testing.assert_array_equal(filtered.values, exact.values)


def test_background_front_is_that_of_the_backend(
    catalogue: Catalogue, background: BackgroundFronts
) -> None:
    query = parse_query(catalogue, "gpt-s", AXES, ["params <= 6e7"])
    front, exact = (
        background.solve("page", query),
        catalogue.bench("gpt-s").front(AXES, query.bounds),
    )
    assert front is not None
    assert exact is not None
    np.testing.assert_array_equal(front.values, exact.values)


@pytest.mark.parametrize(
    ("space", "axes", "bounds"),
    [
        ("gpt-z", AXES, []),
        ("gpt-s", ["perplexity", "perplexity"], []),
        ("gpt-s", ["perplexity", "latency@nowhere"], []),
        ("gpt-s", AXES, ["params <= nan"]),
        ("gpt-s", AXES, ["params <= 1e999"]),
        ("gpt-s", AXES, ["params"]),
        ("gpt-s", AXES, ["params <= 1"] * 99),
        ("gpt-s", ["x" * 10_000, "perplexity"], []),
    ],
)
def test_absurd_questions_are_refused(
    catalogue: Catalogue, space: str, axes: list[str], bounds: list[str]
) -> None:
    with pytest.raises(HwnasError):
        parse_query(catalogue, space, axes, bounds)


def test_an_impossible_bound_leaves_nothing(catalogue: Catalogue) -> None:
    query = parse_query(catalogue, "gpt-s", AXES, ["params <= -1e300"])
    assert len(filtered_front(catalogue.bench("gpt-s"), query)) == 0


def test_numbers_of_an_architecture_are_those_of_the_surrogate(catalogue: Catalogue) -> None:
    bench = catalogue.bench("gpt-s")
    codes = bench.space.sample(3, np.random.default_rng(0))
    text = codes_as_text(codes)
    np.testing.assert_array_equal(codes_of_text(bench, text), codes)
    assert architecture_names(catalogue, "gpt-s", text) == list(map(str, bench.space.decode(codes)))
    told = describe_architecture(catalogue, "gpt-s", text[: len(bench.space.columns)])
    rows = {f"{row['quantity']}@{row['device']}": row for row in told["devices"]}
    expected = bench.predict(codes[:1], ["latency@h100", "latency@h100:p90"])[0]
    assert [rows["latency@h100"]["median"], rows["latency@h100"]["p90"]] == expected.tolist()


@pytest.mark.parametrize("text", ["", "0", "9" * 27, "ü€", "0" * 26 + "\n"])
def test_wrong_codes_are_refused(catalogue: Catalogue, text: str) -> None:
    with pytest.raises(InvalidInput, match="code: expected"):
        codes_of_text(catalogue.bench("gpt-s"), text)


def test_description_and_ranges(catalogue: Catalogue) -> None:
    told = describe_space(catalogue, "gpt-s")
    names = {one["name"]: one for one in told["quantities"]}
    assert "h100" in names["latency"]["devices"]
    assert names["latency"]["quantiles"]
    assert names["kv_cache.serve"]["workload"] == "serve"
    assert ranges(catalogue.bench("gpt-s"), ["params"]) == {"params": [22746240.0, 162246144.0]}


def test_runs_are_overlaid_with_their_own_values(catalogue: Catalogue, tmp_path: Path) -> None:
    form = {"name": "r", "space": "gpt-s", "objectives": AXES, "optimizers": ["random"]}
    result = run({**form, "budget": {"evaluations": 20}, "seeds": 1}, tmp_path / "r", draw=False)
    objectives = parse_query(catalogue, "gpt-s", AXES).objectives
    (told,) = RunOverlays([tmp_path / "r"]).payload(catalogue.bench("gpt-s"), objectives)
    assert (told["trials"], told["running"], told["note"]) == (20, False, "")
    assert told["fronts"][0]["x"] == result.searches[0].front.values[:, 0].tolist()
    with pytest.raises(InvalidInput, match=r"no experiment\.yaml"):
        RunOverlays([tmp_path])


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:8730", "", "0.0.0.0"]
)
def test_other_hosts_are_refused(host: str) -> None:
    assert refusal([("host", host)])


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9", "[::1]:8730"])
def test_loopback_is_served_but_not_to_other_sites(host: str) -> None:
    assert not refusal([("host", host), ("sec-fetch-site", "same-origin")], "/api/front")
    assert refusal([("host", host), ("sec-fetch-site", "cross-site")], "/api/front")


def test_a_port_in_use_is_named() -> None:
    with listen(0) as taken, pytest.raises(InvalidInput, match="is in use"):
        listen(taken.getsockname()[1])
