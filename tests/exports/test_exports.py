"""Exports have every trial, and the same front, as the run; a second one adds what is new."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwnas
from hwnas.errors import InvalidInput
from hwnas.exports.table_files import export_csv, export_parquet
from hwnas.exports.trial_columns import trial_columns
from hwnas.runner.results import Result

EXPERIMENT: dict[str, Any] = {
    "name": "small",
    "space": "gpt-s",
    "objectives": ["perplexity", "-flops"],
    "constraints": ["bfloat16_memory <= 300"],
    "optimizers": ["random"],
    "budget": {"evaluations": 15},
    "seeds": 2,
}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return hwnas.run(EXPERIMENT, tmp_path_factory.mktemp("runs") / "small", draw=False)


def grown(result: Result) -> Result:
    """The same run with a third more trials, without touching the files of the first."""
    import shutil

    path = result.path.with_name("grown")
    if not path.exists():
        shutil.copytree(result.path, path)
        hwnas.resume(path, overrides={"budget.evaluations": 20}, draw=False)
    return Result(path)


def read_rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_columns_spell_each_architecture(result: Result) -> None:
    columns = trial_columns([result])
    assert len(columns["arch"]) == 30
    arch = hwnas.Architecture.parse(columns["arch"][7])
    values = {name: column[7] for name, column in columns.items()}
    assert values["embed_dim"] == arch.embed_dim
    depth = arch.n_layer
    assert [values[f"n_head_{i}"] for i in range(12)] == [*arch.n_head] + [None] * (12 - depth)
    assert values["-flops"] > 0  # raw units, as in front.csv
    first = [s.front_trials.tolist() for s in result.searches]
    found = [i for i, on_front in enumerate(columns["on_front"]) if on_front]
    assert found == sorted([*first[0], *(15 + i for i in first[1])])


def test_a_choice_named_as_another_column_keeps_both(tmp_path: Path) -> None:
    def squares(config: Any) -> tuple[float, float]:
        return float(config["seed"] ** 2), -float(config["seed"] * config["width"])

    result = hwnas.minimize(
        squares,
        {"seed": [1, 2], "width": [3, 4]},
        ["a", "b"],
        optimizers="random",
        budget=4,
        out=tmp_path / "squares",
    )
    columns = trial_columns([result])
    assert set(columns["seed"]) == {0}
    assert sorted(columns["choice seed"]) == [1, 1, 2, 2]


def test_csv(result: Result, tmp_path: Path) -> None:
    file = tmp_path / "trials.csv"
    assert str(export_csv([result], file)) == f"{file}: 30 trials"
    rows = read_rows(file)
    # Each member of a front.csv is a row with the same values.
    for search in result.searches:
        of_search = {r["trial"]: r for r in rows if r["seed"] == str(search.seed)}
        for member in read_rows(search.path / "front.csv"):
            row = of_search[member["trial"]]
            assert row["on_front"] == "True"
            shared = ["arch", "perplexity", "-flops", "bfloat16_memory <= 300"]
            assert [row[key] for key in shared] == [member[key] for key in shared]
    assert str(export_csv([result], file)) == f"{file}: 30 trials, all there already"
    assert str(export_csv([grown(result)], file)) == f"{file}: 40 trials, 10 of them new"


def test_files_of_others_are_left_alone(result: Result, tmp_path: Path) -> None:
    for content in (b"a,b\n1,2\n", b"", b"\xff\xfe", b"PAR1nonsensePAR1"):
        file = tmp_path / "mine"
        file.write_bytes(content)
        with pytest.raises(InvalidInput, match=r"no export of trials; choose another file"):
            export_csv([result], file)
        if importlib.util.find_spec("pyarrow"):
            with pytest.raises(InvalidInput, match=r"no export of trials; choose another file"):
                export_parquet([result], file)
        assert file.read_bytes() == content


def test_parquet(result: Result, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "trials.parquet"
    assert export_parquet([result], file).n_new == 30
    table = parquet.read_table(file)
    columns = trial_columns([result])
    assert table.to_pydict() == columns
    assert table.schema.field("bfloat16_memory <= 300").metadata == {b"unit": b"MB"}
    assert str(table.schema.field("mlp_ratio_11").type) == "int64"
    assert export_parquet([result], file).n_new == 0
    assert export_parquet([grown(result)], file).n_new == 10


def losses_of_best(study: Any) -> list[list[float]]:
    values = np.array([trial.values for trial in study.best_trials])
    return np.unique(values, axis=0).tolist()


def test_optuna_studies_have_the_same_front(result: Result, tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    from hwnas.exports.optuna_studies import export_studies

    url = f"sqlite:///{tmp_path}/x.db"
    exported = export_studies([result], url)
    assert [str(e) for e in exported] == [f"small/random/seed-{k}: 15 trials" for k in (0, 1)]
    for search in result.searches:
        study = optuna.load_study(study_name=f"small/random/seed-{search.seed}", storage=url)
        assert [d.name for d in study.directions] == ["MINIMIZE", "MAXIMIZE"]
        assert study.metric_names == ["perplexity", "-flops"]
        assert losses_of_best(study) == sorted(search.front.values.tolist())
        for trial, codes in zip(study.trials, search.trials.codes, strict=True):
            (arch,) = result.space.decode(codes[None])
            assert trial.user_attrs["arch"] == str(arch)
            assert trial.params["embed_dim"] == arch.embed_dim
            assert len(trial.params) == 3 + 2 * arch.n_layer
            (violation,) = trial.constraints.values()
            assert violation == search.trials.values[trial.number, 2] - 300
            # optuna-dashboard 0.21 knows this key alone.
            assert trial.system_attrs["constraints"] == [violation]
        assert study.user_attrs["constraints"] == ["bfloat16_memory <= 300"]
    # Nothing is written twice, and a run that has grown adds its new trials.
    assert [e.n_new for e in export_studies([result], url)] == [0, 0]
    assert [e.n_new for e in export_studies([grown(result)], url)] == [5, 5]


def test_a_study_of_another_run_is_refused(result: Result, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    from hwnas.exports.optuna_studies import export_studies

    url = f"sqlite:///{tmp_path}/x.db"
    few = {**EXPERIMENT, "budget": {"evaluations": 2}, "seeds": 1}
    export_studies([hwnas.run(few, tmp_path / "few", draw=False)], url)
    with pytest.raises(InvalidInput, match="is not of this search; choose another storage"):
        export_studies([result], url)
    (tmp_path / "text.db").write_text("no database, but long enough to be read as one" * 40)
    for bad in ("x.db", f"sqlite:///{tmp_path}/text.db", "nosuch://x", "sqlite:////no/where/x.db"):
        with pytest.raises(InvalidInput, match="--storage"):
            export_studies([result], bad)


def test_under_noise_a_second_study_has_the_front(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    from hwnas.exports.optuna_studies import export_studies

    noisy = {
        **EXPERIMENT,
        "objectives": ["perplexity", "latency@rtx3080"],
        "constraints": [],
        "noise": True,
        "seeds": 1,
    }
    result = hwnas.run(noisy, tmp_path / "noisy", draw=False)
    url = f"sqlite:///{tmp_path}/x.db"
    assert [e.place for e in export_studies([result], url)] == [
        "small/random/seed-0",
        "small/random/seed-0/front",
    ]
    study = optuna.load_study(study_name="small/random/seed-0/front", storage=url)
    assert study.metric_names == ["perplexity", "latency@rtx3080 (ms)"]
    (search,) = result.searches
    assert losses_of_best(study) == sorted(search.front.values.tolist())
    # The front of a longer run replaces the former one.
    longer = hwnas.resume(result.path, overrides={"budget.evaluations": 40}, draw=False)
    export_studies([longer], url)
    study = optuna.load_study(study_name="small/random/seed-0/front", storage=url)
    assert losses_of_best(study) == sorted(longer.searches[0].front.values.tolist())


def test_notebooks_show_the_summary(result: Result) -> None:
    html = result._repr_html_()
    assert html.startswith("<table><tr><th>optimizer</th><th>seed</th>")
    assert html.count("<tr>") == 1 + len(result.searches)
    assert f"<td>{result.summary[0]['normalised']:.5g}</td>" in html
    assert "<th>slack of bfloat16_memory &lt;= 300</th>" in html
