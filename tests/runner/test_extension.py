"""Runs that are given more: budget, seeds, optimizers; never another problem."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import yaml

import hwnas
from hwnas.errors import HwnasWarning, InvalidInput
from hwnas.experiment import validate_form
from hwnas.reports.summary_table import search_notes, table_notes
from hwnas.runner.extension import changes, lowered_limits
from hwnas.runner.results import Result
from hwnas.runner.storage import Store, Trials

# Settings under which every optimizer has left its initial design, within few evaluations.
POPULATION = {"pop_size": 8}
SETTINGS: dict[str, dict[str, Any]] = {
    "random": {},
    "uniform": {},
    "local_search": {"initial": 5},
    "morea": POPULATION,
    "nsga2": POPULATION,
    "nsga3": POPULATION,
    "moead": POPULATION,
    "smsemoa": POPULATION,
    "moasha": {},
    "additive": {},
    "auto": {},
    "motpe": {"initial": 6},
    "ehvi": {"initial": 6, "batch": 4},
    "parego": {"initial": 6, "batch": 4},
    "lsbo": {"initial": 6, "batch": 4},
    "rsbo": {"initial": 6, "batch": 4},
    "gp": {"initial": 6},
}
SLOW = {"ehvi", "parego", "lsbo", "rsbo", "gp"}
FIRST, WHOLE = 13, 22  # evaluations, neither of them a whole number of batches

pytestmark = pytest.mark.filterwarnings("ignore::hwnas.errors.HwnasWarning")


def experiment(**changed: Any) -> dict[str, Any]:
    return {
        "name": "small",
        "space": "gpt-s",
        "objectives": ["perplexity", "latency@h100"],
        "optimizers": ["random", {"type": "morea", **POPULATION}],
        "budget": {"evaluations": FIRST},
        "seeds": 1,
        **changed,
    }


def assert_same_results(one: Result, other: Result) -> None:
    assert len(one.searches) == len(other.searches)
    for a, b in zip(one.searches, other.searches, strict=True):
        assert (a.optimizer, a.seed, a.status) == (b.optimizer, b.seed, b.status)
        for field in fields(Trials):
            if field.name not in ("seconds", "elapsed"):
                pair = [getattr(search.trials, field.name) for search in (a, b)]
                np.testing.assert_array_equal(*pair, err_msg=f"{a.path}: {field.name}")
        np.testing.assert_array_equal(a.front.codes, b.front.codes)
        assert [r.n_trials for r in a.recommended] == [r.n_trials for r in b.recommended]
        assert "diverged" not in b.meta


def extended(content: dict[str, Any], path: Path, **overrides: Any) -> Result:
    hwnas.run(content, path, draw=False)
    return hwnas.resume(path, overrides=overrides, draw=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("extension") / "run"
    hwnas.run(experiment(seeds=2), path, draw=False)
    return path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def content_of(path: Path) -> dict[str, bytes]:
    files = (file for file in path.rglob("*") if file.suffix in (".yaml", ".json", ".csv"))
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(files)}


def edit(path: Path, **changed: Any) -> None:
    """Edit the experiment of a run by hand."""
    file = path / "experiment.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **changed}))


# -- equality with a run that had it from the start -------------------------------------------


def test_every_built_in_optimizer_is_here() -> None:
    points = metadata.entry_points(group="hwnas.optimizers")
    assert {point.name for point in points if "hwnas_plugins" in point.value} == set(SETTINGS)


@pytest.mark.parametrize("noise", [False, True], ids=["exact", "noisy"])
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in SETTINGS],
)
def test_a_greater_budget_ends_as_one_from_the_start(
    name: str, noise: bool, tmp_path: Path
) -> None:
    if name == "moasha" and noise:
        pytest.skip("its end depends on the budget, see below")
    content = experiment(optimizers=[{"type": name, **SETTINGS[name]}], noise=noise)
    result = extended(content, tmp_path / "part", **{"budget.evaluations": WHOLE})
    whole = hwnas.run({**content, "budget": {"evaluations": WHOLE}}, tmp_path / "whole", draw=False)
    assert_same_results(whole, result)


def test_where_the_end_depends_on_the_budget_it_is_said(tmp_path: Path) -> None:
    """MOASHA spends the end of its budget on what fits: a greater one begins with what did not."""
    pytest.importorskip("syne_tune")
    content = experiment(optimizers=["moasha"], noise=True)
    result = extended(content, tmp_path / "part", **{"budget.evaluations": 40})
    (search,) = result.searches
    first = int(search.meta["diverged"])
    assert 0 < first < len(search.trials)
    assert search.trials.evaluations.sum() == 40
    assert search_notes(result) == [
        f"moasha seed 0: from trial {first} on its trials are not those of a run in one go with "
        "this budget"
    ]
    record = json.loads((tmp_path / "part" / "environment.json").read_text())
    assert record["not_identical_from_trial"] == {"moasha/seed-0": first}


@pytest.mark.parametrize("noise", [False, True])
def test_everything_at_once_in_steps(noise: bool, tmp_path: Path) -> None:
    optimizers = ["random", {"type": "morea", **POPULATION}, "uniform"]
    hwnas.run(experiment(noise=noise), tmp_path / "part", draw=False)
    hwnas.resume(tmp_path / "part", overrides={"budget.evaluations": 17}, draw=False)
    hwnas.resume(tmp_path / "part", overrides={"seeds": [2, 0]}, draw=False)
    more = {"optimizers": optimizers, "budget.evaluations": WHOLE}
    result = hwnas.resume(tmp_path / "part", overrides=more, draw=False, workers=2)
    whole = experiment(
        optimizers=optimizers, seeds=[2, 0], budget={"evaluations": WHOLE}, noise=noise
    )
    assert_same_results(hwnas.run(whole, tmp_path / "whole", draw=False), result)
    record = json.loads((tmp_path / "part" / "environment.json").read_text())
    assert [list(entry["changes"]) for entry in record["extended"]] == [
        ["budget.evaluations"],
        ["seeds"],
        ["budget.evaluations", "optimizers"],
    ]
    assert record["extended"][1]["changes"]["seeds"] == {"before": [0], "after": [2, 0]}
    assert all(entry["when"] for entry in record["extended"])
    assert record["seeds"] == [2, 0]


def test_a_stopped_run_is_given_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = experiment(seeds=2)
    add, n_adds = Store.add, 0

    def dying(self: Store, trials: Trials) -> None:
        nonlocal n_adds
        n_adds += 1
        if n_adds == 6:
            raise KeyboardInterrupt
        add(self, trials)

    monkeypatch.setattr(Store, "add", dying)
    with pytest.raises(KeyboardInterrupt):
        hwnas.run(content, tmp_path / "part", draw=False)
    monkeypatch.undo()
    result = hwnas.resume(tmp_path / "part", overrides={"budget.evaluations": WHOLE}, draw=False)
    whole = hwnas.run({**content, "budget": {"evaluations": WHOLE}}, tmp_path / "whole", draw=False)
    assert_same_results(whole, result)


def test_a_kill_in_the_middle_of_an_extension(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adopt, n_adopted = Store.adopt, 0

    def dying(self: Store, experiment: str, *, reopen: bool) -> None:
        nonlocal n_adopted
        n_adopted += 1
        if n_adopted == 3:
            raise KeyboardInterrupt
        adopt(self, experiment, reopen=reopen)

    monkeypatch.setattr(Store, "adopt", dying)
    with pytest.raises(KeyboardInterrupt):
        hwnas.resume(run, overrides={"budget.evaluations": WHOLE}, draw=False)
    monkeypatch.undo()
    whole = experiment(seeds=2, budget={"evaluations": WHOLE})
    expected = hwnas.run(whole, tmp_path / "whole", draw=False)
    assert_same_results(expected, hwnas.resume(run, draw=False))
    assert len(json.loads((run / "environment.json").read_text())["extended"]) == 1


def test_an_exhausted_space_stays_exhausted(tmp_path: Path) -> None:
    choices = {"embed_dim": [192], "n_layer": [1], "mlp_ratio": [2, 3], "n_head": [4, 8]}
    content = experiment(
        space={"name": "few", **choices},
        backend="profile",
        objectives=["params", "flops"],
        optimizers=["random"],
        reference=[1e12, 1e15],
    )
    (search,) = extended(content, tmp_path / "run", **{"budget.evaluations": 50}).searches
    assert (search.status, len(search.trials)) == ("exhausted", 8)


def test_edited_by_hand_counts_for_every_search(run: Path, tmp_path: Path) -> None:
    edit(run, budget={"evaluations": WHOLE}, seeds=[0, 1, 2])
    result = hwnas.resume(run, draw=False)
    assert {row["evaluations"] for row in result.summary} == {WHOLE}
    whole = experiment(budget={"evaluations": WHOLE}, seeds=3)
    assert_same_results(hwnas.run(whole, tmp_path / "whole", draw=False), result)
    assert yaml.safe_load((run / "experiment.yaml").read_text())["seeds"] == [0, 1, 2]


def test_other_limits(run: Path) -> None:
    hwnas.resume(run, overrides={"budget": {"evaluations": WHOLE, "seconds": 3600.0}}, draw=False)
    result = hwnas.resume(run, overrides={"budget": {"evaluations": 30, "cost": 60}}, draw=False)
    assert {row["evaluations"] for row in result.summary} == {30}


@hwnas.register_backend("one-second-each")
class OneSecondEach(hwnas.Backend):
    """Backend whose evaluations count as one second; it measures one by one."""

    metrics: ClassVar = {"depth": hwnas.Metric(), "width": hwnas.Metric()}
    on_hardware = True

    def evaluate(self, codes: Any, objectives: Any, *, seeds: Any, fidelity: Any = None) -> Any:
        columns = [codes.sum(axis=1) * 1.0, (codes**2).sum(axis=1) * 1.0]
        values = [columns[objective.key == "width"] for objective in objectives]
        return hwnas.Evaluation(np.stack(values, axis=1), seconds=np.ones(len(codes)))


@pytest.mark.parametrize("limits", [{"cost": 10}, {"cost": 10, "evaluations": 20}], ids=str)
def test_a_budget_of_cost(limits: dict[str, Any], tmp_path: Path) -> None:
    """Batches of four and of five end in the middle at the first limit."""
    content = experiment(
        backend="one-second-each",
        objectives=["depth", "width"],
        optimizers=[{"type": "morea", **POPULATION}, {"type": "random", "batch": 4}],
        budget=limits,
        reference=[1e3, 1e3],
    )
    result = extended(content, tmp_path / "part", **{"budget": {"cost": 22}})
    assert {row["evaluations"] for row in result.summary} == {22}
    whole = hwnas.run({**content, "budget": {"cost": 22}}, tmp_path / "whole", draw=False)
    assert_same_results(whole, result)


def test_a_run_that_is_running_is_given_nothing(tmp_path: Path) -> None:
    path, refusals = tmp_path / "run", []

    def second(search: Any, evaluations: int) -> None:
        for start in (hwnas.resume, lambda path, **options: hwnas.run(experiment(), path)):
            with pytest.raises(InvalidInput) as error:
                start(path, overrides={"seeds": 4}, draw=False)
            refusals.append(str(error.value))

    hwnas.run(experiment(), path, draw=False, progress=second)
    anew, resumed = sorted(set(refusals))
    assert resumed == f"{path}: another process is running here; wait for it"
    assert anew == f"{path}: already holds this experiment; go on with: hwnas resume {path}"


def test_nothing_to_extend_changes_nothing(run: Path) -> None:
    before = content_of(run)
    hwnas.resume(run, overrides={"budget.evaluations": FIRST}, draw=False)
    assert content_of(run) == before


# -- what is refused ---------------------------------------------------------------------------

MOREA = {"type": "morea", "name": "morea"}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "space": ({"space": "gpt-m"}, "space was 'gpt-s' and cannot become 'gpt-m'"),
    "backend": (
        {"backend": {"type": "surrogate", "model": "trees"}},
        "backend.model was not given and cannot become 'trees'",
    ),
    "objectives": (
        {"objectives": ["perplexity", "energy@h100"]},
        r"objectives\[1\] was 'latency@h100' and cannot become 'energy@h100'",
    ),
    "constraints": ({"constraints": ["params <= 1e9"]}, r"constraints was \[\] and cannot become"),
    "noise": ({"noise": True}, "noise was False and cannot become True"),
    "reference": ({"reference": [50.0, 50.0]}, "reference was not given and cannot become"),
    "initial": ({"initial": "shared"}, "initial was not given and cannot become {'shared': 16}"),
    "settings": (
        {"optimizers": ["random", {**MOREA, "pop_size": 9}]},
        "morea: pop_size was 8 and cannot become 9",
    ),
    "batch": (
        {"optimizers": ["random", {**MOREA, **POPULATION, "batch": 2}]},
        "morea: batch was not given and cannot become 2",
    ),
    "renamed": (
        {"optimizers": [{"type": "random", "name": "r"}, {**MOREA, **POPULATION}]},
        "'random' has trials here; .* found it renamed 'r'",
    ),
    "dropped": ({"optimizers": ["random"]}, "'morea' has trials here; .* found random"),
    "seeds": ({"seeds": [1, 2]}, r"seed 0 has trials here; expected seeds that include \[0, 1\]"),
    "budget": (
        {"budget": {"evaluations": FIRST - 1}},
        rf"budget.evaluations: expected at least the {FIRST} evaluations that morea seed 0 has "
        rf"used, found {FIRST - 1}",
    ),
}


@pytest.mark.parametrize("by_hand", [False, True], ids=["overrides", "by hand"])
@pytest.mark.parametrize("name", REFUSED)
def test_another_problem_is_refused(name: str, by_hand: bool, run: Path) -> None:
    changed, message = REFUSED[name]
    if by_hand:
        edit(run, **changed)
    before = content_of(run)
    with pytest.raises(InvalidInput, match=message) as error:
        hwnas.resume(run, overrides={} if by_hand else changed, draw=False)
    assert "\n" not in str(error.value)
    assert str(run) in str(error.value)
    assert content_of(run) == before


def test_a_limit_that_is_lower_but_not_spent(run: Path) -> None:
    hwnas.resume(run, overrides={"budget.cost": 1000.0}, draw=False)
    assert Result(run).experiment.budget.cost == 1000.0


def test_which_limits_are_lower() -> None:
    before = validate_form(experiment(budget={"evaluations": 10, "cost": 5.0}))
    after = validate_form(experiment(budget={"evaluations": 20, "seconds": 5.0}))
    assert lowered_limits(changes(before, after)) == ["seconds"]
    assert lowered_limits(changes(after, before)) == ["evaluations", "cost"]


def test_run_points_to_the_extension(run: Path) -> None:
    content = experiment(seeds=2)
    before = content_of(run)
    greater = {**content, "budget": {"evaluations": 50}}
    with pytest.raises(InvalidInput, match=rf"hwnas resume {run} --set budget\.evaluations=50$"):
        hwnas.run(greater, run)
    with pytest.raises(InvalidInput, match="holds another experiment: noise was False"):
        hwnas.run({**content, "noise": True}, run)
    with pytest.raises(InvalidInput, match=r"budget\.evaluations: 13 -> 5\); choose another"):
        hwnas.run({**content, "budget": {"evaluations": 5}}, run)
    assert content_of(run) == before


# -- directories that were copied, moved or edited ---------------------------------------------


def test_copies_of_a_search_are_none(run: Path, tmp_path: Path) -> None:
    expected = Result(run).summary
    for copy in ("random/seed-0 copy", "random/seed-0.bak", "random/seed-7", "random.bak/seed-0"):
        shutil.copytree(run / "random" / "seed-0", run / copy)
    assert Result(run).summary == expected
    assert hwnas.resume(run, draw=False).summary == expected
    with pytest.raises(InvalidInput, match=r"seed-7: holds a copy of .*seed-0; move it elsewhere"):
        hwnas.resume(run, overrides={"seeds": [0, 1, 7]}, draw=False)
    result = hwnas.resume(run, overrides={"seeds": 3}, draw=False)
    assert [search.seed for search in result.searches] == [0, 1, 2] * 2
    content = experiment(warm_start=str(run), seeds=1)
    assert len(hwnas.run(content, tmp_path / "warm", draw=False).searches) == 2


def test_a_search_in_the_wrong_place_is_named(run: Path) -> None:
    (run / "random" / "seed-0").rename(run / "random" / "seed-5")
    with pytest.raises(InvalidInput, match=r"seed-5: holds the trials of .*seed-0; expected it by"):
        hwnas.resume(run, draw=False)


@pytest.mark.parametrize("move", [shutil.copytree, shutil.move])
def test_a_moved_directory_goes_on(move: Any, run: Path, tmp_path: Path) -> None:
    with Store.open(run / "random" / "seed-0" / "trials.db") as store:
        store._db.execute("DELETE FROM trials WHERE trial >= 5")
        store._db.execute("DELETE FROM meta WHERE key = 'finished'")
        store._db.commit()
    move(run, tmp_path / "elsewhere")
    result = hwnas.resume(tmp_path / "elsewhere", overrides={"seeds": 3}, draw=False)
    expected = hwnas.run(experiment(seeds=3), tmp_path / "whole", draw=False)
    assert_same_results(expected, result)


# -- tables ------------------------------------------------------------------------------------


def test_tables_name_unequal_budgets(run: Path) -> None:
    """As after a kill in the middle of an extension."""
    assert len(table_notes(Result(run))) == 1
    hwnas.resume(run, overrides={"budget.evaluations": WHOLE}, draw=False)
    with Store.open(run / "morea" / "seed-1" / "trials.db") as store:
        store._db.execute(f"DELETE FROM trials WHERE trial >= {FIRST}")
        store._db.commit()
    result = Result(run)
    (note,) = table_notes(result)[1:]
    assert note.startswith(
        f"searches used {FIRST} to {WHOLE} evaluations, within an optimizer: morea {FIRST} to "
    )
    from hwnas.reports.comparison.comparison import compare
    from hwnas.reports.plots.figures import run_title

    assert f"{FIRST} to {WHOLE} evaluations" in run_title(result)
    assert any(f"{FIRST} to {WHOLE} evaluations" in note for note in compare([result]).notes)
    shutil.rmtree(run / "morea" / "seed-1")
    (note,) = table_notes(Result(run))[1:]
    assert note == "means are over unequal numbers of seeds, 1 to 2"


def test_new_optimizers_are_warned_of(run: Path) -> None:
    more = {
        "optimizers": ["random", {**MOREA, **POPULATION}, {**MOREA, "name": "b", "pop_size": 20}]
    }
    with pytest.warns(HwnasWarning, match="b: all 13 evaluations fall within its initial design"):
        hwnas.resume(run, overrides=more, draw=False)
