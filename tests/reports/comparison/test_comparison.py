"""Comparisons of runs: what is one problem, what is judged, ranked, tested and said of it."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pymoo.indicators.hv import HV
from pymoo.indicators.igd_plus import IGDPlus
from scipy import stats
from statsmodels.stats.multitest import multipletests

from hwnas import registry
from hwnas.api import run
from hwnas.backends import Backend, Evaluation
from hwnas.errors import InvalidInput, UnknownName
from hwnas.metrics import Metric
from hwnas.objectives import Objective
from hwnas.reports.comparison import critical_difference, export, tables
from hwnas.reports.comparison.comparison import Comparison, Pair, compare, comparison_of
from hwnas.reports.comparison.problem_comparison import METRICS, Contest, Entry, contests, front_at
from hwnas.runner.results import Result
from hwnas.spaces import Codes

SMALL: dict[str, Any] = {
    "name": "small",
    "space": "gpt-s",
    "objectives": ["perplexity", "latency@rtx3080"],
    "optimizers": ["random", "uniform"],
    "budget": {"evaluations": 40},
    "seeds": 2,
}


class Sizes(Backend):
    """Closed forms without a known front; `drift` makes its references differ."""

    metrics: Mapping[str, Metric] = {"error": Metric(""), "latency": Metric("ms")}
    drift = 1.0

    def evaluate(
        self,
        codes: Codes,
        objectives: Sequence[Objective],
        *,
        seeds: NDArray[np.uint64],
        fidelity: int | None = None,
    ) -> Evaluation:
        size = self.space.params(codes) / 1e7
        columns = {"error": 10 / size + codes[:, 3] / 9, "latency": self.drift * size}
        return Evaluation(np.stack([columns[o.key] for o in objectives], axis=1))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Make a run, or have it again."""
    folder = tmp_path_factory.mktemp("compared")
    done: dict[str, Result] = {}

    def call(name: str, **changes: Any) -> Result:
        if name not in done:
            done[name] = run({**SMALL, "name": name, **changes}, out=folder / name)
        return done[name]

    return call


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr("hwnas.registry._registered", {"optimizer": {}, "backend": {}})
    registry.register_backend("sizes")(Sizes)
    return {"backend": "sizes", "objectives": ["error", "latency"]}


def changed(result: Result, seed: int, **meta: str | None) -> Result:
    """A result with other texts beside the trials of one seed of its first optimizer."""
    made = copy.copy(result)
    made.searches = list(result.searches)
    at = next(i for i, cell in enumerate(made.searches) if cell.seed == seed)
    texts = {k: v for k, v in {**made.searches[at].meta, **meta}.items() if v is not None}
    made.searches[at] = replace(made.searches[at], meta=texts)
    return made


# -- one problem ---------------------------------------------------------------------------------


def test_at_the_end_it_is_the_summary(made: Any) -> None:
    result = made("small")
    (contest,) = contests([result])
    assert contest.name == "perplexity, latency@rtx3080 on gpt-s"
    assert contest.standard == "exact front"
    assert [entry.optimizer for entry in contest.entries] == ["random", "uniform"]
    for entry in contest.entries:
        rows = [row for row in result.summary if row["optimizer"] == entry.optimizer]
        assert entry.seeds == (0, 1)
        assert entry.evaluations.tolist() == [40, 40]
        assert entry.status == "done"
        for metric in ("hypervolume", "normalised", "igd_plus", "epsilon"):
            np.testing.assert_allclose(entry.values[metric], [row[metric] for row in rows])


def additive_epsilon(points: Any, front: Any) -> float:
    return float((points[None] - front[:, None]).max(axis=2).min(axis=1).max())


@pytest.mark.parametrize("third", [[], ["energy@h100"]])
def test_indicators_are_moocores_and_pymoos(made: Any, third: list[str]) -> None:
    objectives = [*SMALL["objectives"], *third]
    result = made("three", objectives=objectives, seeds=1) if third else made("small")
    (contest,) = contests([result])
    reference, known = result.reference, result.best_known
    for cell in result.searches:
        values = {
            metric: contest.judged[cell.optimizer].values[metric][cell.seed] for metric in METRICS
        }
        losses = cell.front.losses
        found, front = reference.scaled(losses), reference.scaled(known)
        hypervolume = HV(ref_point=reference.point)(losses)
        assert values["hypervolume"] == pytest.approx(hypervolume)
        assert values["hypervolume"] == pytest.approx(
            moocore.hypervolume(losses, ref=reference.point)
        )
        best = HV(ref_point=reference.point)(known) if not third else reference.best
        assert values["normalised"] == pytest.approx(hypervolume / best)
        assert values["igd_plus"] == pytest.approx(IGDPlus(front)(found))
        assert values["igd_plus"] == pytest.approx(moocore.igd_plus(found, ref=front))
        assert values["epsilon"] == pytest.approx(additive_epsilon(found, front))
        assert values["epsilon"] == pytest.approx(moocore.epsilon_additive(found, ref=front))
        if not third:
            assert values["r2"] == pytest.approx(moocore.r2_exact(found, ref=[0.0, 0.0]))


def test_runs_of_other_problems_stand_apart(made: Any) -> None:
    others = [
        made("h100", objectives=["perplexity", "latency@h100"]),
        made("bound", constraints=["latency@rtx3080 <= 30"]),
        made("given", reference=[60.0, 60.0]),
        made("noisy", noise=True, budget={"evaluations": 60}),
    ]
    found = contests([made("small"), *others])
    assert [contest.name for contest in found] == [
        "perplexity, latency@rtx3080 on gpt-s (small)",
        "perplexity, latency@h100 on gpt-s",
        "perplexity, latency@rtx3080 on gpt-s; latency@rtx3080 <= 30",
        "perplexity, latency@rtx3080 on gpt-s (given)",
        "perplexity, latency@rtx3080 on gpt-s; with noise",
    ]
    noisy = made("noisy")
    rows = [row for row in noisy.summary if row["optimizer"] == "random"]
    values = found[-1].judged["random"].values
    for metric in ("hypervolume", "igd_plus", "epsilon"):
        np.testing.assert_allclose(values[metric], [row[metric] for row in rows])


def test_seeds_are_pooled_where_all_else_is_the_same(made: Any) -> None:
    first, second = made("small"), made("more-seeds", seeds=[2, 5])
    (contest,) = contests([first, second])
    assert [entry.optimizer for entry in contest.entries] == ["random", "uniform"]
    assert contest.entries[0].seeds == (0, 1, 2, 5)
    rows = [*first.summary, *second.summary]
    values = [row["igd_plus"] for row in rows if row["optimizer"] == "random"]
    np.testing.assert_allclose(contest.entries[0].values["igd_plus"], values)


def test_clashing_names_are_told_apart_by_their_runs(made: Any) -> None:
    longer = made("longer", budget={"evaluations": 50}, optimizers=["random"], seeds=[7])
    (contest,) = contests([made("small"), made("more-seeds", seeds=[2, 5]), longer])
    assert list(contest.judged) == ["random (small+more-seeds)", "random (longer)", "uniform"]
    again = made("again")  # the same seeds: another machine, another version
    (contest,) = contests([made("small"), again])
    names = ["random (small)", "random (again)", "uniform (small)", "uniform (again)"]
    assert list(contest.judged) == names
    repeated = made("repeated", optimizers=[{"type": "random", "repeats": 3}], seeds=[9])
    assert list(contests([made("small"), repeated])[0].judged)[:2] == [
        "random (small)",
        "random (repeated)",
    ]


def test_runs_of_one_name_are_told_apart_by_their_directories(made: Any, tmp_path: Path) -> None:
    again = run({**SMALL, "budget": {"evaluations": 20}}, out=tmp_path / "short")
    assert list(contests([made("small"), again])[0].judged)[:2] == [
        "random (small)",
        "random (short)",
    ]


def test_a_union_is_taken_over_all_runs(sizes: dict[str, Any], tmp_path: Path) -> None:
    results = [
        run({**SMALL, **sizes, "name": name, "optimizers": [name]}, out=tmp_path / name)
        for name in ("random", "uniform")
    ]
    (contest,) = contests(results)
    assert contest.standard == "union of all fronts"
    assert list(contest.judged) == ["random", "uniform"]
    fronts = [cell.front.losses for result in results for cell in result.searches]
    point = results[0].reference.point
    best = moocore.hypervolume(np.concatenate(fronts), ref=point)
    for entry in contest.entries:
        np.testing.assert_allclose(entry.values["normalised"], entry.values["hypervolume"] / best)
        assert (entry.values["normalised"] < 1).all()
        assert (entry.values["r2"] >= 0).all()


def test_references_measured_apart(
    sizes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for drift in (1.0, 1.01):
        monkeypatch.setattr(Sizes, "drift", drift)
        for given in ({}, {"reference": [30.0, 20.0]}):
            content = {**SMALL, **sizes, **given, "name": f"drift-{drift}-{len(given)}"}
            results.append(run(content, out=tmp_path / content["name"]))
    apart = contests(results[::2])
    assert [contest.name for contest in apart] == [
        "error, latency on gpt-s; sizes (drift-1.0-0)",
        "error, latency on gpt-s; sizes (drift-1.01-0)",
    ]
    assert all("give both the same 'reference:'" in contest.notes[0] for contest in apart)
    (together,) = contests(results[1::2])
    assert together.notes == ("all but hypervolumes is on the scale of drift-1.0-1",)
    assert len(together.judged) == 4


# -- honest about what is not there ---------------------------------------------------------------


def test_unfinished_searches_are_left_out(made: Any) -> None:
    result = changed(made("small"), 1, finished=None)
    (contest,) = contests([result])
    assert contest.entries[0].seeds == (0,)
    assert contest.entries[0].status == "seed 0: done; seed 1: unfinished at 40, left out"
    broken = changed(made("small"), 1, finished=None, error="ValueError: no")
    assert (
        "seed 1: error: ValueError: no at 40, left out" in contests([broken])[0].entries[0].status
    )
    (contest,) = contests([result], at=30)
    assert contest.entries[0].seeds == (0, 1)
    assert contest.entries[0].status == "seed 0: done; seed 1: unfinished"


def test_missing_seeds_and_optimizers(made: Any) -> None:
    result = copy.copy(made("small"))
    result.searches = [made("small").searches[0]]
    (contest,) = contests([result])
    assert contest.entries[0].status == "seed 0: done; seed 1: missing"
    assert contest.entries[1].status == "missing"
    assert list(contest.judged) == ["random"]
    _, rows = tables.standings(compare([result]), contest)
    assert rows[1] == ["uniform", "0", *[""] * 8, "missing"]
    result.searches = [replace(result.searches[0], meta={**result.searches[0].meta})]
    del result.searches[0].meta["finished"]
    with pytest.raises(InvalidInput, match="no search has ended yet; --at N compares"):
        compare([result])


def test_nothing_feasible_is_the_worst(made: Any) -> None:
    tight = made("tight", constraints=["latency@rtx3080 <= 14.5"], budget={"evaluations": 3})
    comparison = compare([tight], metric="igd_plus")
    entry = comparison.contests[0].judged["random"]
    assert entry.values["igd_plus"].tolist() == [np.inf, np.inf]
    assert entry.values["hypervolume"].tolist() == [0, 0]
    assert entry.mean("r2") == entry.best("r2") == np.inf
    assert np.isnan(entry.interval("epsilon")).all()
    assert "inf" in export.markdown(comparison)


def test_runs_that_cannot_be_compared(made: Any) -> None:
    with pytest.raises(InvalidInput, match="expected at least one run"):
        compare([])
    with pytest.raises(InvalidInput, match="expected every run once, found it 2 times"):
        compare([made("small"), made("small")])
    with pytest.raises(UnknownName, match="unknown metric 'igd'; did you mean 'igd_plus'"):
        compare([made("small")], metric="igd")


# -- after so many evaluations -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["small", "noisy"])
def test_after_evaluations_it_is_the_trajectory(made: Any, name: str) -> None:
    changes = {"noise": True, "budget": {"evaluations": 60}} if name == "noisy" else {}
    result = made(name, **changes)
    for at in (1, 17, 40):
        (contest,) = contests([result], at=at)
        for cell, steps in zip(result.searches, result.trajectories, strict=True):
            entry = contest.judged[cell.optimizer]
            reached = np.searchsorted(steps.evaluations, at, side="right")
            expected = steps.normalised[reached - 1] if reached else 0.0
            assert entry.values["normalised"][cell.seed] == pytest.approx(expected)
            assert entry.evaluations[cell.seed] == at


def test_all_indicators_are_of_what_was_found_by_then(made: Any) -> None:
    result = made("small")
    cell = result.searches[0]
    losses, evaluations = front_at(result, cell, 25)
    assert evaluations == 25
    first = cell.losses[:25]
    assert {tuple(row) for row in losses} == {
        tuple(row) for row in first[moocore.is_nondominated(first)]
    }
    (contest,) = contests([result], at=25)
    expected = moocore.r2_exact(result.reference.scaled(losses), ref=[0.0, 0.0])
    assert contest.judged["random"].values["r2"][0] == pytest.approx(expected)


def test_what_ended_before_is_refused(made: Any) -> None:
    with pytest.raises(InvalidInput, match=r"--at 41: .*seed-0 ended after 40 .* at most 40"):
        compare([made("small")], at=41)
    with pytest.raises(InvalidInput, match="--at 0: expected at least 1"):
        compare([made("small")], at=0)
    exhausted = made("small")
    for seed in (0, 1):
        exhausted = changed(exhausted, seed, exhausted="true")
    exhausted.searches = exhausted.searches[:2]
    (contest,) = contests([exhausted], at=1000)
    assert contest.entries[0].evaluations.tolist() == [40, 40]


# -- ranks and tests -----------------------------------------------------------------------------


def entry(name: str, values: Any, seeds: Sequence[int] | None = None, **of: Any) -> Entry:
    """An optimizer whose every metric has these values."""
    array = np.asarray(values, dtype=float)
    seeds = tuple(range(len(array)) if seeds is None else seeds)
    evaluations = np.full(len(array), of.get("evaluations", 100))
    every = dict.fromkeys(METRICS, array)
    return Entry(name, seeds, evaluations, every, "done", of.get("settings", ""))


def problem(name: str, **values: Any) -> Contest:
    """A problem; of each optimizer the values of its seeds."""
    return Contest(name, "exact front", tuple(entry(*item) for item in values.items()))


def problems(n: int, seeds: int = 2) -> list[Contest]:
    rng = np.random.default_rng(n)
    drawn = rng.normal([[[0.0], [0.1], [1.0], [3.0]]], 1, (n, 4, seeds)).round(1)
    return [
        problem(f"p{i}", **dict(zip("abcd", values, strict=True))) for i, values in enumerate(drawn)
    ]


@pytest.mark.parametrize("n", [5, 12])
@pytest.mark.parametrize("metric", ["normalised", "r2"])
def test_over_problems_it_is_scipys_and_statsmodels(n: int, metric: str) -> None:
    contests = problems(n)
    found = comparison_of(contests, metric=metric)
    assert (found.over, found.blocks) == ("problems", n)
    assert found.ranked_over == f"{n} problems"
    means = {
        name: np.array([c.judged[name].mean(metric) for c in contests]) for name in found.optimizers
    }
    scores = np.stack([m if metric == "r2" else -m for m in means.values()], axis=1)
    np.testing.assert_allclose(found.ranks, stats.rankdata(scores, axis=1).mean(axis=0))
    assert (np.diff(found.ranks) >= 0).all()
    assert found.friedman == pytest.approx(stats.friedmanchisquare(*scores.T).pvalue)
    for pair in found.pairs:
        lead = (means[pair.first] - means[pair.second]) * (-1 if metric == "r2" else 1)
        assert (pair.over, pair.n, pair.wins) == ("problems", n, (lead > 0).sum())
        assert pair.lead == pytest.approx(lead.mean())
        assert pair.lead >= 0
        assert pair.p == pytest.approx(stats.wilcoxon(lead[lead != 0]).pvalue)
    together = multipletests([pair.p for pair in found.pairs], method="holm")[1]
    np.testing.assert_allclose([pair.p_holm for pair in found.pairs], together)
    assert not any("over seeds" in note for note in found.notes)
    assert "leads early in a search are 2 draws there, one a seed" in found.notes[-1]


def test_over_seeds_where_problems_are_few() -> None:
    contests = problems(4, seeds=3)
    found = comparison_of(contests)
    assert (found.over, found.blocks) == ("seeds", 12)
    assert found.ranked_over == "12 seeds of 4 problems"
    pair = next(p for p in found.pairs if {p.first, p.second} == {"a", "d"})
    lead = np.concatenate(
        [c.judged["d"].values["normalised"] - c.judged["a"].values["normalised"] for c in contests]
    )
    assert (pair.first, pair.n, pair.over) == ("d", 12, "seeds")
    assert pair.p == pytest.approx(stats.wilcoxon(lead).pvalue)
    assert "first samples of a seed are the same for all optimizers" in found.notes[-1]


def test_only_shared_seeds_are_paired() -> None:
    a, b = entry("a", [1, 2, 3], (0, 1, 2)), entry("b", [9, 7, 5], (1, 2, 4))
    (pair,) = comparison_of([Contest("p", "", (a, b))], metric="r2").pairs
    assert (pair.first, pair.n, pair.wins) == ("a", 2, 2)
    assert pair.lead == pytest.approx(((9 - 2) + (7 - 3)) / 2)
    assert pair.p == 0.5


def test_no_seed_in_common() -> None:
    found = comparison_of([Contest("p", "", (entry("a", [1], [0]), entry("b", [2], [1])))])
    assert (found.optimizers, found.over, found.blocks) == (("b", "a"), "problems", 1)
    assert found.pairs == ()
    assert found.notes == ("not tested, for they share no seed of a problem: a and b",)


def test_optimizers_that_are_not_everywhere() -> None:
    contests = [problem("p", a=[1, 2], b=[2, 3], c=[5, 6]), problem("q", a=[1, 2], b=[3, 4])]
    found = comparison_of(contests)
    assert found.optimizers == ("b", "a")
    assert found.ranks.tolist() == [1, 2]
    assert {frozenset((p.first, p.second)): p.n for p in found.pairs} == {
        frozenset("ab"): 4,
        frozenset("ac"): 2,
        frozenset("bc"): 2,
    }
    assert "not on every problem and so not ranked: c" in found.notes
    apart = comparison_of([problem("p", a=[1]), problem("q", b=[1])])
    assert apart.optimizers == ()
    assert apart.pairs == ()


def test_one_optimizer(made: Any) -> None:
    found = compare([made("one", optimizers=["random"])])
    assert found.pairs == ()
    assert found.optimizers == ("random",)
    assert np.isnan(found.friedman)
    assert found.notes == ("one optimizer: nothing is tested",)
    with pytest.raises(InvalidInput, match="expected two optimizers on all problems, found 1"):
        critical_difference.rankings_figure(found)


def test_notes_of_uneven_comparisons() -> None:
    a = entry("a", [1, 2], evaluations=50), entry("b", [1, 3])
    b = entry("a", [1, 2], settings="other"), entry("b", [1, 3])
    notes = comparison_of([Contest("p", "", a), Contest("q", "", b)]).notes
    assert "p: searches used 50 to 100 evaluations; --at N judges all after N" in notes
    assert "a: its settings are not the same on all problems" in notes
    assert any(note.startswith("so few pairs can give no p (Holm) below 0.12") for note in notes)


def test_infinite_scores_rank_last() -> None:
    found = comparison_of([problem("p", a=[1, np.inf], b=[np.inf, np.inf])], metric="r2")
    (pair,) = found.pairs
    assert (pair.first, pair.wins, pair.p) == ("a", 1, 1)
    assert np.isnan(pair.lead)
    assert found.ranks.tolist() == [1.25, 1.75]


def test_leaders() -> None:
    seeds = np.arange(10.0)
    noise = np.array([3, -4, 5, -6, 7, -8, 9, -10, 11, -12]) / 10
    contest = problem("p", a=seeds, b=seeds + noise + 0.7, c=seeds + 20)
    assert comparison_of([contest], metric="r2").leaders(contest) == ({"a"}, {"b"})
    assert comparison_of([contest]).leaders(contest) == ({"c"}, set())
    few = problem("p", a=[1, 2], b=[1, 2], c=[5, 6])
    assert comparison_of([few], metric="r2").leaders(few) == ({"a", "b"}, None)
    assert comparison_of([few]).leaders(Contest("none", "", ())) == (set(), None)


# -- tables --------------------------------------------------------------------------------------


def test_standings(made: Any) -> None:
    found = compare([made("three-seeds", seeds=3)])
    (contest,) = found.contests
    header, rows = tables.standings(found, contest)
    assert header[:6] == [
        "optimizer",
        "seeds",
        "evaluations",
        "normalised",
        "95 % interval",
        "best",
    ]
    assert [row[0] for row in rows] == ["uniform", "random"]
    best = contest.judged["uniform"]
    low, high = best.interval("normalised")
    assert rows[0][1:6] == [
        "3",
        "40",
        f"{best.mean('normalised'):.4f}",
        f"{low:.4f} to {high:.4f}",
        f"{best.best('normalised'):.4f}",
    ]
    header, rows = tables.standings(
        compare([made("three-seeds", seeds=3)], metric="igd_plus"), contest
    )
    assert header[3] == "igd_plus"
    assert header[6:] == ["normalised", "hypervolume", "epsilon", "r2", "status"]
    assert [row[0] for row in rows] == ["uniform", "random"]


@pytest.mark.parametrize("values", [[0.5], [0.25, 0.75]])
def test_fewer_than_three_seeds_have_no_interval(values: list[float]) -> None:
    contest = problem("p", a=values)
    _, ((*row,),) = tables.standings(comparison_of([contest]), contest)
    assert row[3:6] == ["0.5000", "", f"{max(values):.4f}"]


def test_tidy(made: Any) -> None:
    found = compare([made("three-seeds", seeds=3), made("one", optimizers=["random"])], metric="r2")
    header, rows = tables.tidy(found)
    assert header == ["problem", "optimizer", "indicator", "seeds", "mean", "low", "high", "best"]
    assert len(rows) == 3 * len(METRICS)
    row = next(row for row in rows if row[1:3] == ["uniform", "epsilon"])
    entry = found.contests[0].judged["uniform"]
    assert row[3:] == [
        3,
        entry.mean("epsilon"),
        *entry.interval("epsilon"),
        entry.values["epsilon"].min(),
    ]
    _, rows = tables.tidy(comparison_of([problem("p", a=[0.1])]))
    assert rows[-1] == ["p", "a", "r2", 1, 0.1, "", "", 0.1]


NASTY = "a_b%&{c}"


def nasty() -> Comparison:
    seeds = np.arange(10.0)
    noise = np.array([3, -4, 5, -6, 7, -8, 9, -10, 11, -12]) / 10
    values = {NASTY: seeds, "b": seeds + noise + 0.7, "c": seeds + 20}
    return comparison_of([problem("x_y; params <= 5 on 50%", **values)], metric="r2")


def test_latex_is_escaped() -> None:
    text = export.latex(nasty())
    assert r"a\_b\%\&\{c\} & 10 & 100 & \textbf{4.50}" in text
    assert r"x\_y; params $<$= 5 on 50\%" in text
    assert r"b & 10 & 100 & 5.15$^{*}$" in text
    assert re.search(r"c & 10 & 100 & 24\.50 &", text)
    code = [line for line in text.splitlines() if not line.startswith("%")]
    for line in code:
        bare = re.sub(r"\\[_%&{}#$]", "", line)
        assert "%" not in bare
        assert "#" not in bare
        assert bare.count("{") == bare.count("}")
        assert bare.count("$") % 2 == 0
        if "_" in bare:
            raise AssertionError(line)
    for table in text.split(r"\begin{tabular}")[1:]:
        columns = len(re.match(r"\{([lr]+)\}", table).group(1))  # type: ignore[union-attr]
        rows = [line for line in table.splitlines() if line.endswith(r"\\")]
        counts = {
            re.sub(r"\\&", "", row).count("&") + 1 for row in rows if "multicolumn" not in row
        }
        assert counts == {columns}
        for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}"):
            assert table.count(rule) == 1
    assert export.escape("\\^~") == r"\textbackslash{}\textasciicircum{}\textasciitilde{}"


def test_markdown() -> None:
    text = export.markdown(nasty())
    assert r"| a\_b%&{c} | 10 | 100 | **4.50** |" in text
    assert r"| b | 10 | 100 | 5.15\* |" in text
    assert "| c | 10 | 100 | 24.50 |" in text
    assert "- with fewer than 5 problems" in text
    for table in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_a_page_of_one_optimizer(made: Any) -> None:
    found = compare([made("one", optimizers=["random"])])
    for text in (export.markdown(found), export.latex(found)):
        assert "one optimizer: nothing is tested" in text
        assert "Wilcoxon's signed-rank tests" not in text
    assert export.latex(found).count(r"\begin{tabular}") == 1


# -- the diagram ---------------------------------------------------------------------------------

NAMES = [f"optimizer_{i}" for i in range(16)]


def ranked(k: int, ranks: Any, differ: Any) -> Comparison:
    """A comparison over 24 problems in which pairs differ by their ranks."""
    pairs = tuple(
        Pair(NAMES[i], NAMES[j], "problems", 24, 20, 0.1, p, p)
        for i in range(k)
        for j in range(i + 1, k)
        for p in [0.01 if differ(abs(ranks[i] - ranks[j])) else 0.5]
    )
    contests = tuple(problem(f"p{i}") for i in range(24))
    array = np.array(ranks, dtype=float)
    return Comparison(
        contests, "normalised", None, 0.05, tuple(NAMES[:k]), array, "problems", 24, 0.01, pairs
    )


@pytest.mark.parametrize("k", [2, 3, 5, 16])
@pytest.mark.parametrize("case", ["apart", "one clique", "equal", "close", "chain"])
def test_names_do_not_cover_each_other(k: int, case: str) -> None:
    ranks = {
        "equal": np.full(k, (k + 1) / 2),
        "close": (k + 1) / 2 + np.linspace(-0.01, 0.01, k),
    }.get(case, np.arange(1.0, k + 1))
    differ = {"apart": lambda d: True, "chain": lambda d: d > 1.5}.get(case, lambda d: False)
    comparison = ranked(k, ranks, differ)
    figure = critical_difference.rankings_figure(comparison)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert [text.get_text().split("  ")[i % k >= (k + 1) // 2] for i, text in enumerate(axes.texts)]
    assert len(boxes) == k
    ticks = [label.get_window_extent() for label in axes.get_xticklabels()]
    title = figure._suptitle.get_window_extent()  # type: ignore[attr-defined]
    everything = [*boxes, *ticks, title]
    for i, box in enumerate(everything):
        assert not any(box.overlaps(other) for other in everything[i + 1 :])
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y1 <= figure.bbox.height
    bars = [line for line in axes.lines if line.get_linewidth() > 3]
    expected = {"apart": 0, "chain": k - 1}.get(case, 1)
    assert len(bars) == len(comparison.cliques) == expected


def test_bars_join_cliques_clear_of_each_other() -> None:
    axes = Figure().subplots()
    critical_difference.critical_differences(
        axes, "abcde", [1, 2, 3, 4, 5], [(0, 1, 2), (2, 3), (3, 4)]
    )
    bars = [line for line in axes.lines if line.get_linewidth() > 3]
    for bar, (low, high) in zip(bars, [(1, 3), (3, 4), (4, 5)], strict=True):
        start, end = bar.get_xdata()
        assert low - 0.1 < start < low
        assert high < end < high + 0.1
    rows = [bar.get_ydata()[0] for bar in bars]
    assert rows[0] == rows[2] < rows[1]
    assert [text.get_text() for text in axes.texts] == [
        "a  1.00",
        "b  2.00",
        "c  3.00",
        "4.00  d",
        "5.00  e",
    ]


def test_the_title_says_what_is_tested() -> None:
    title = critical_difference._title(ranked(3, [1, 2, 3], lambda d: True))
    assert title == [
        "Mean rank by normalised hypervolume over 24 problems",
        "Joined: not told apart at 5 % by Wilcoxon's signed-rank tests with Holm's correction",
    ]
    found = comparison_of(problems(4), metric="r2", at=100, level=0.1)
    assert (
        critical_difference._title(found)[0]
        == "Mean rank by R2 after 100 evaluations over 8 seeds of 4 problems"
    )
    one = replace(found.pairs[0], over="problems", n=6)
    mixed = critical_difference._title(replace(found, pairs=(one, *found.pairs[1:])))
    assert "at 10 % by Wilcoxon's signed-rank tests over 6 problems or 8 seeds with" in mixed[1]


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_diagram_files(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"ranks.{suffix}"
    assert critical_difference.draw(comparison_of(problems(5)), file) == file
    begins = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[suffix]
    assert file.read_bytes().startswith(begins)


def test_diagram_files_refused(tmp_path: Path) -> None:
    found = comparison_of(problems(5))
    with pytest.raises(InvalidInput, match=r"ranks.gif: expected a name that ends in .png, .pdf"):
        critical_difference.draw(found, tmp_path / "ranks.gif")
    with pytest.raises(InvalidInput, match="there is no folder"):
        critical_difference.draw(found, tmp_path / "none" / "ranks.png")
