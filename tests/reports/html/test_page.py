"""Payload and page of a report; test_browser.py tests the page in a browser."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import hwnas
from hwnas import pareto
from hwnas.api import run
from hwnas.backends import EXACT_METRICS, Backend, Evaluation
from hwnas.errors import InvalidInput
from hwnas.objectives import Metric, Objective
from hwnas.reports.html.page import render_page, write_page
from hwnas.reports.html.payload import report_payload
from hwnas.reports.html.search_payload import encode_codes
from hwnas.reports.plots import style
from hwnas.reports.plots.trajectories import curves
from hwnas.reports.summary_table import summary_table, table_notes
from hwnas.runner.results import Result
from hwnas.spaces import Codes

SMALL: dict[str, Any] = {
    "name": "small",
    "space": "gpt-s",
    "objectives": ["perplexity", "latency@rtx3080"],
    "optimizers": ["random", "uniform"],
    "budget": {"evaluations": 60},
    "seeds": 2,
}
HOSTILE = "</script><script>alert(1)</script><!-- <img src=x onerror=alert(2)> \u2028"


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run(SMALL, out=tmp_path_factory.mktemp("pages") / "small")


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Result:
    form = {**SMALL, "noise": True, "optimizers": [{"type": "random", "repeats": 2}]}
    return run(form, out=tmp_path_factory.mktemp("pages") / "noisy")


class Brittle(Backend):
    """Backend that fails on deep architectures, with markup as reason, and stops wide ones."""

    metrics: Mapping[str, Metric] = {"size": Metric("MB", "cheap"), "work": Metric("", "expensive")}

    def evaluate(
        self,
        codes: Codes,
        objectives: Sequence[Objective],
        *,
        seeds: NDArray[np.uint64],
        fidelity: int | None = None,
    ) -> Evaluation:
        params, flops = self.space.params(codes), self.space.flops(codes)
        columns = {"size": params / 3e5, "work": -1 / flops, "params": params}
        values = np.stack([columns[o.key] for o in objectives], axis=1).astype(float)
        deep, wide = codes[:, 1] == 2, (codes[:, 0] == 2) & (codes[:, 1] < 2)
        values[deep] = np.nan
        for j in (j for j, o in enumerate(objectives) if o.key == "work"):
            values[wide, j] = np.nan
        status = np.where(deep, "failed", np.where(wide, "infeasible", "ok")).tolist()
        reasons = [HOSTILE if word == "failed" else "" for word in status]
        return Evaluation(values, status=status, reasons=reasons)


@pytest.fixture(scope="module")
def brittle(tmp_path_factory: pytest.TempPathFactory) -> Result:
    hwnas.register_backend("brittle")(Brittle)
    form = {
        **SMALL,
        "backend": "brittle",
        "objectives": ["work", "-params"],
        "constraints": ["size <= 150"],
        "optimizers": ["random"],
    }
    return run(form, out=tmp_path_factory.mktemp("pages") / "brittle")


def codes_in(data: dict[str, Any], indices: list[int]) -> Codes:
    """Return architectures (n, d) of a payload."""
    flat = np.array([ord(character) - ord("0") for character in data["networks"]], dtype=np.int8)
    return flat.reshape(-1, data["space"]["columns"])[indices]


def data_of(text: str) -> dict[str, Any]:
    """Return the payload as a browser reads it: up to the first end of a script."""
    inside = re.search(r'<script id="contents" type="application/json">(.*?)</script', text, re.S)
    assert inside is not None
    return dict(json.loads(inside[1]))


def test_trials_and_fronts(small_run: Result) -> None:
    data = report_payload(small_run)
    assert data["failed"] == []
    assert [optimizer["name"] for optimizer in data["optimizers"]] == ["random", "uniform"]
    assert [(s["optimizer"], s["seed"]) for s in data["searches"]] == [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
    ]
    for search, expected in zip(data["searches"], small_run.searches, strict=True):
        trials, front = search["trials"], search["front"]
        assert set(trials) == {"network", "values"}
        np.testing.assert_array_equal(codes_in(data, trials["network"]), expected.trials.codes)
        np.testing.assert_allclose(
            np.transpose(trials["values"]), expected.trials.values, rtol=5e-6
        )
        np.testing.assert_array_equal(codes_in(data, front["network"]), expected.front.codes)
        np.testing.assert_allclose(np.transpose(front["values"]), expected.front.values, rtol=5e-6)
        assert front["trial"] == expected.front_trials.tolist()
    distinct = np.concatenate(
        [*(c.trials.codes for c in small_run.searches), small_run.exact.codes]
    )
    assert len(data["networks"]) == 27 * len(np.unique(distinct, axis=0))


def test_encode_codes(small_space: hwnas.SearchSpace) -> None:
    assert encode_codes(np.array([[0, 1, 126]], dtype=np.int8)) == "01\u00ae"
    codes = small_space.sample(5, np.random.default_rng(0))
    assert len(encode_codes(codes)) == 5 * len(small_space.columns)


def test_union_is_the_front_of_all_fronts(small_run: Result) -> None:
    data = report_payload(small_run)
    actual = [small_run.searches[i].front.values[j] for i, j in data["union"]]
    union = np.concatenate([search.front.values for search in small_run.searches])
    expected = union[pareto.non_dominated(union)]
    np.testing.assert_array_equal(np.unique(actual, axis=0), np.unique(expected, axis=0))


def test_exact_front_and_bound(small_run: Result) -> None:
    data = report_payload(small_run)
    assert data["known"]["name"] == "exact front"
    assert data["known"]["of"] == len(small_run.exact) == len(data["known"]["network"])
    assert data["standard"] == "exact front"
    assert data["bound"]["name"] == "bound: best k of the exact front"
    assert len(data["bound"]["values"]) == 60
    assert data["bound"]["values"][19] == pytest.approx(0.984, abs=0.002)


def test_trajectories_equal_those_of_plots(small_run: Result) -> None:
    data = report_payload(small_run)
    assert set(data["curves"]) == {"evaluations", "cost", "seconds"}
    for x, curve in data["curves"].items():
        for optimizer, line in zip(("random", "uniform"), curve["lines"], strict=True):
            at, hypervolumes = curves(small_run, optimizer, x)
            np.testing.assert_allclose(line["at"], at, rtol=5e-6)
            np.testing.assert_allclose(line["mean"], hypervolumes.mean(axis=0), atol=1e-7)
            np.testing.assert_allclose(line["low"], hypervolumes.min(axis=0), atol=1e-7)
            np.testing.assert_allclose(line["high"], hypervolumes.max(axis=0), atol=1e-7)
    assert data["curves"]["evaluations"]["lines"][0]["at"][-1] == 60


def test_long_trajectories_are_thinned(small_run: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwnas.reports.html.payload._MAX_POINTS", 6)
    all_points, _ = curves(small_run, "random", "evaluations")
    line = report_payload(small_run)["curves"]["evaluations"]["lines"][0]
    assert len(line["at"]) <= 6 < len(all_points)
    assert line["at"][-1] == 60
    assert set(line["at"]) <= set(all_points)


def test_statistics(small_run: Result) -> None:
    data = report_payload(small_run)
    assert (data["overview"]["header"], data["overview"]["rows"]) == summary_table(small_run)
    assert data["overview_notes"] == table_notes(small_run) != []
    row = dict(zip(data["seeds"]["header"], data["seeds"]["rows"][0], strict=True))
    assert row["optimizer"] == "random"
    assert row["normalised"] == f"{small_run.summary[0]['normalised']:.4f}"
    assert row["status"] == "done"


def test_settings_and_environment(small_run: Result) -> None:
    data = report_payload(small_run)
    assert data["settings"] == (small_run.path / "experiment.yaml").read_text()
    environment = dict(data["environment"])
    assert environment["versions.hwnas"] == metadata.version("hwnas")
    assert environment["seeds"] == "[0, 1]"
    assert environment["plugins"] == "{}"


def test_looks_equal_those_of_plots(small_run: Result) -> None:
    looks = [optimizer["look"] for optimizer in report_payload(small_run)["optimizers"]]
    assert looks[0] == {"colour": style.COLOURS[0], "mark": "o", "dash": []}
    assert looks[1] == {"colour": style.COLOURS[1], "mark": "s", "dash": [5, 1.5]}


def test_noise(noisy: Result) -> None:
    data = report_payload(noisy)
    (search, _), (expected, _) = data["searches"], noisy.searches
    assert data["noise"]
    # Members of fronts have medians, trials have noisy values.
    medians = hwnas.surrogate("gpt-s").predict(expected.front.codes, SMALL["objectives"])
    np.testing.assert_allclose(np.transpose(search["front"]["values"]), medians, rtol=5e-6)
    assert search["trials"]["repeat"][:2] == [0, 1]
    np.testing.assert_allclose(search["trials"]["std"][1], expected.trials.std[:, 1], rtol=0.05)
    assert data["bound"]["name"] == "bound on measured members: best k of the exact front"


def test_recommendations_without_trials(noisy: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    data = report_payload(noisy)
    assert [optimizer["note"] for optimizer in data["optimizers"]] == [""]
    assert [line["measured"] for line in data["curves"]["evaluations"]["lines"]] == [None]
    # All members of one seed's front but the first were never measured.
    search, other = noisy.searches
    trials = np.where(np.arange(len(search.front)) == 0, search.front_trials, -1)
    monkeypatch.setitem(search.__dict__, "front_trials", trials)
    last = search.recommended[-1]
    is_first = (last.losses == search.front.losses[0]).all(axis=1)
    recommended = [*search.recommended[:-1], last._replace(measured=is_first)]
    monkeypatch.setitem(search.__dict__, "recommended", recommended)
    monkeypatch.delitem(noisy.__dict__, "summary")
    data = report_payload(noisy)
    assert data["searches"][0]["front"]["trial"] == trials.tolist()
    n, total = len(search.front) - 1, len(search.front) + len(other.front)
    assert data["optimizers"][0]["note"] == f"{n} of {total} members unmeasured"
    hypervolumes = [
        pareto.hypervolume(losses, noisy.reference.point)
        for losses in (search.front.losses[:1], other.front.losses)
    ]
    (line,) = data["curves"]["evaluations"]["lines"]
    assert line["measured"] == pytest.approx(np.mean(hypervolumes) / noisy.best_hypervolume)
    assert line["measured"] < line["mean"][-1]
    assert data["floor"] < line["measured"]
    rows = [dict(zip(data["seeds"]["header"], row, strict=True)) for row in data["seeds"]["rows"]]
    assert [row["unmeasured"] for row in rows] == [str(n), "0"]
    assert rows[0]["normalised_measured"] < rows[0]["normalised"]
    assert rows[1]["normalised_measured"] == rows[1]["normalised"]
    assert "measured" in data["overview"]["header"]


def test_equal_optimizers_are_named(small_run: Result, tmp_path: Path) -> None:
    optimizers = ["random", {"type": "random", "name": "twin"}, "uniform"]
    result = run({**SMALL, "optimizers": optimizers}, out=tmp_path / "twins", draw=False)
    notes = [optimizer["note"] for optimizer in report_payload(result)["optimizers"]]
    assert notes == ["", "same results as random", ""]
    assert [optimizer["note"] for optimizer in report_payload(small_run)["optimizers"]] == ["", ""]


def test_meanings_of_metrics(small_run: Result, brittle: Result) -> None:
    perplexity, latency = report_payload(small_run)["objectives"]
    backend = hwnas.surrogate("gpt-s")
    assert perplexity["meaning"] == backend.metrics["perplexity"].meaning != ""
    assert latency["meaning"] == backend.metrics["latency@rtx3080"].meaning != ""
    # A backend that might need a device is not built for a report.
    loaded = Result(brittle.path, allow_plugins=True)
    work, params = report_payload(loaded)["objectives"]
    assert work["meaning"] == ""
    assert params["meaning"] == EXACT_METRICS["params"].meaning != ""
    assert "problem" not in vars(loaded)


def test_meanings_of_statistics(tmp_path: Path) -> None:
    objectives = ["latency@h100+rtx3080", "energy@h100:p90"]
    small = {"optimizers": ["random"], "seeds": 1, "budget": {"evaluations": 5}}
    result = run({**SMALL, **small, "objectives": objectives}, out=tmp_path / "x", draw=False)
    worst, quantile = report_payload(result)["objectives"]
    assert worst["meaning"].startswith("worst ratio to each device's own optimum; one forward pass")
    assert quantile["meaning"].startswith("0.9 quantile; one forward pass")


def test_constraints_failures_and_maximized_objectives(brittle: Result) -> None:
    data = report_payload(brittle)
    assert [o["maximise"] for o in data["objectives"]] == [False, True]
    assert data["objectives"][1] | {"name": "-params", "value": "params"} == data["objectives"][1]
    (bound,) = data["constraints"]
    assert (bound["value"], bound["relation"], bound["bound"]) == ("size", "<=", 150)
    assert (data["known"], data["bound"], data["standard"]) == (None, None, "union of all fronts")
    for search, expected in zip(data["searches"], brittle.searches, strict=True):
        rows = np.flatnonzero(expected.trials.ok)
        trials = search["trials"]
        assert trials["number"] == rows.tolist()
        assert search["valued"] == len(rows) < search["of"] == 60
        assert trials["values"][1] == expected.trials.values[rows, 1].tolist()  # integers are exact
        assert trials["kept"] == (expected.trials.values[rows, 2] <= 150).astype(int).tolist()
        assert 0 < sum(trials["kept"]) < len(rows)
        # The front has values of the constraint, which are within the bound.
        (sizes,) = search["front"]["constraints"]
        np.testing.assert_allclose(sizes, expected.front_constraints[:, 0], rtol=5e-6)
        assert 0 < max(sizes) <= 150
    for row in data["seeds"]["rows"]:
        assert (
            dict(zip(data["seeds"]["header"], row, strict=True))["slack of size <= 150"][0] == "+"
        )
    failed = [search.trials.status.count("failed") for search in brittle.searches]
    assert data["failed"] == [f"random: {sum(failed)} of 120 trials failed; the first: {HOSTILE}"]
    failures = data["failures"]
    assert failures["of"] == sum(int((~search.trials.ok).sum()) for search in brittle.searches)
    for row in failures["rows"]:
        expected = brittle.searches[row["search"]]
        assert row["reason"] == (expected.trials.reason[row["trial"]] or "stopped")
        network = codes_in(data, [row["network"]])[0]
        np.testing.assert_array_equal(network, expected.trials.codes[row["trial"]])
    assert {row["reason"] for row in failures["rows"]} == {HOSTILE, "stopped"}


def test_number_of_trials_is_limited(small_run: Result) -> None:
    data = report_payload(small_run, trials=80)
    for search, expected in zip(data["searches"], small_run.searches, strict=True):
        assert search["valued"] == 60
        number = search["trials"]["number"]
        assert len(number) == 20
        assert number == sorted(set(number))
        # Trials on the front are kept first if they fit.
        on_front = expected.front_trials[: 20 if len(expected.front) <= 20 else 0]
        assert set(on_front.tolist()) <= set(number)
        assert (len(search["front"]["network"]), search["front"]["of"]) == (
            min(20, len(expected.front)),
            len(expected.front),
        )
    # The union refers to members that are in the payload.
    assert all(j < 20 for _, j in data["union"])
    assert len(report_payload(small_run, trials=1)["searches"][0]["trials"]["network"]) == 1


def test_an_unfinished_run(small_run: Result, tmp_path: Path) -> None:
    """One search was killed halfway, one before its first trial; the environment is damaged."""
    path = tmp_path / "killed"
    shutil.copytree(small_run.path, path)
    # Damage the environment and cut two of the four searches.
    (path / "environment.json").write_text("{")
    for seed, last_trial in ((0, 30), (1, -1)):
        with sqlite3.connect(path / f"uniform/seed-{seed}/trials.db") as db:
            db.execute("DELETE FROM trials WHERE trial > ?", (last_trial,))
            db.execute("DELETE FROM meta WHERE key = 'finished'")
        db.close()
    data = data_of(render_page(Result(path)))
    assert [len(s["trials"]["network"]) for s in data["searches"]] == [60, 60, 31, 0]
    assert [s["status"] for s in data["searches"]] == ["done", "done", "unfinished", "unfinished"]
    assert data["environment"] == []


def test_five_objectives(tmp_path: Path) -> None:
    objectives = ["perplexity", "latency@h100", "energy@h100", "params", "flops"]
    form = {**SMALL, "objectives": objectives, "seeds": 1, "optimizers": ["random"]}
    small = {"space": "gpt-s", "reference": [60, 100, 100_000, 1e9, 1e12]}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("hwnas.surrogates.backend.Surrogate.front", lambda *_: None)
        data = report_payload(run({**form, **small}, out=tmp_path / "five"))
    assert len(data["objectives"]) == len(data["searches"][0]["front"]["values"]) == 5
    assert data["bound"] is None


def test_texts_are_embedded_as_data(brittle: Result) -> None:
    text = render_page(brittle)
    assert HOSTILE in {row["reason"] for row in data_of(text)["failures"]["rows"]}
    assert data_of(text) == json.loads(json.dumps(report_payload(brittle)))
    # Two script elements of the template, none of a text of the run.
    assert text.count("</script") == 2
    assert "<img" not in text
    assert text.isascii() or "\u2028" not in text


def test_page_has_no_external_resources(small_run: Result) -> None:
    text = render_page(small_run)
    assert set(re.findall(r"https?://[^\"'\s]+", text)) == {"http://www.w3.org/2000/svg"}
    assert re.findall(r"(?:src|href)=\S+", text) == ['href="data:,">']
    assert "default-src 'none'" in text


def test_run_writes_its_report(small_run: Result, tmp_path: Path) -> None:
    assert (small_run.path / "report.html").read_text(encoding="utf-8") == render_page(small_run)
    file = write_page(small_run, tmp_path / "other.html")
    assert file == tmp_path / "other.html"
    assert [f.name for f in tmp_path.iterdir()] == ["other.html"]


def test_unwritable_files_are_refused(small_run: Result, tmp_path: Path) -> None:
    with pytest.raises(
        InvalidInput, match=r"is a directory, expected a file to write, as in .*html"
    ):
        write_page(small_run, tmp_path)
    with pytest.raises(InvalidInput, match=r"there is no directory .*none; make it first"):
        write_page(small_run, tmp_path / "none" / "x.html")
    with pytest.raises(InvalidInput, match="cannot be written: File name too long"):
        write_page(small_run, tmp_path / ("x" * 300))
    assert not list(tmp_path.iterdir())


def test_30_000_trials_of_deep_architectures_are_at_most_8_mb(tmp_path: Path) -> None:
    form = {**SMALL, "space": "gpt-l", "optimizers": ["random"], "seeds": 1}
    result = run({**form, "budget": {"evaluations": 30_000}}, out=tmp_path / "long")
    assert sum(len(s["trials"]["network"]) for s in report_payload(result)["searches"]) == 30_000
    assert (result.path / "report.html").stat().st_size <= 8e6
