"""Sweeps: the grammar, their runs, and what refuses them."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
import yaml

import hwnas
from hwnas import registry
from hwnas.errors import ExperimentError, InvalidInput, SearchFailed
from hwnas.sweep_runs import load_sweep, results_of, resume_sweep
from hwnas.sweeps import Cell, cell_content, sweep_cells

SWEEP: dict[str, Any] = {
    "name": "models",
    "sweep": {"device": ["h100", "v100"], "space": ["gpt-s"]},
    "objectives": ["perplexity", "latency@$device"],
    "optimizers": ["random"],
    "budget": {"evaluations": 8},
    "seeds": 1,
}


def test_cells_are_all_combinations_and_fill_every_place() -> None:
    tiny = {"name": "tiny", "embed_dim": [16], "n_layer": [1], "mlp_ratio": [1], "n_head": [2]}
    content = {
        "name": "x",
        "sweep": {"space": ["gpt-s", tiny], "n": [5, 7], "budget.seconds": [1.5]},
        "objectives": ["a.$n", "latency@$n+b:p90"],
        "optimizers": [{"type": "nsga2", "pop_size": "$n"}],
        "budget": {"evaluations": 3},
    }
    cells = sweep_cells(content)
    assert [cell.name for cell in cells] == [
        "gpt-s-5-1.5",
        "gpt-s-7-1.5",
        "tiny-5-1.5",
        "tiny-7-1.5",
    ]
    assert cell_content(content, cells[3]) == {
        "name": "x-tiny-7-1.5",
        "space": tiny,
        "objectives": ["a.7", "latency@7+b:p90"],
        "optimizers": [{"type": "nsga2", "pop_size": 7}],
        "budget": {"evaluations": 3, "seconds": 1.5},
    }
    assert content["budget"] == {"evaluations": 3}  # the content itself is left alone


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sweep": {}}, "sweep: expected names with lists of values"),
        ({"sweep": [1]}, "sweep: expected names with lists of values"),
        ({"sweep": {"device": "h100"}}, "sweep.device: expected a list of values"),
        ({"sweep": {"device": []}}, "sweep.device: expected a list of values"),
        ({"sweep": {"device": ["a", "a"]}}, "sweep.device: expected distinct values"),
        ({"sweep": {"device": ["h/1", "h-1"]}}, "would be in the directory 'h-1'"),
        ({"sweep": {"a b": [1]}}, "sweep: expected names of letters"),
        ({"sweep": {"devices": ["h100"]}}, "sweep.devices: is used nowhere; write [$]devices"),
        ({"sweep": {"device": ["h100"], "name": ["a"]}}, "sweep.name: is used nowhere"),
        ({"sweep": {"space": ["gpt-s"]}}, "unknown placeholder 'device'"),
        ({"sweep": {"device": [*range(2000)]}}, "at most 1000 combinations"),
        (
            {"sweep": {"device": ["h100"], "seeds": [1]}, "seeds": 2},
            "seeds: has a value and is swept; leave it out, or write seeds: [$]seeds",
        ),
        (
            {"sweep": {"device": ["h100"], "budget.evaluations": [1]}},
            "budget.evaluations: has a value and is swept",
        ),
        ({"sweep": {"device": ["h1000"], "space": ["gpt-s"]}}, "h1000"),
        ({"name": 5}, "name: expected a text"),
        ({"optimizer": ["random"]}, "unknown key 'optimizer'"),
    ],
)
def test_faults_are_refused_before_anything_runs(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ExperimentError, match=message):
        hwnas.run_sweep({**SWEEP, **change}, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_cell_is_the_run_that_its_experiment_would_be(tmp_path: Path) -> None:
    results = hwnas.run_sweep(SWEEP, tmp_path / "models", draw=False)
    alone = hwnas.run(
        {k: v for k, v in SWEEP.items() if k != "sweep"}
        | {"space": "gpt-s", "objectives": ["perplexity", "latency@v100"]},
        tmp_path / "alone",
        draw=False,
    )
    cell = results["v100-gpt-s"]
    assert cell.experiment.name == "models-v100-gpt-s"
    assert cell.searches[0].trials.values.tolist() == alone.searches[0].trials.values.tolist()
    rows = list(csv.DictReader(io.StringIO((tmp_path / "models/sweep.csv").read_text())))
    assert [(r["run"], r["device"], r["space"]) for r in rows] == [
        ("h100-gpt-s", "h100", "gpt-s"),
        ("v100-gpt-s", "v100", "gpt-s"),
    ]
    assert float(rows[1]["hypervolume"]) == alone.summary[0]["hypervolume"]


def test_resume_adds_budget_and_values_but_loses_none(tmp_path: Path) -> None:
    path = tmp_path / "models"
    hwnas.run_sweep(SWEEP, path, draw=False)
    with pytest.raises(InvalidInput, match="already holds this sweep; go on with: hwnas resume"):
        hwnas.run_sweep(SWEEP, path)
    with pytest.raises(InvalidInput, match="holds another sweep"):
        hwnas.run_sweep({**SWEEP, "seeds": 2}, path)
    with pytest.raises(InvalidInput, match="a sweep that keeps v100-gpt-s"):
        resume_sweep(path, overrides={"sweep.device": ["h100"]})
    more = {"sweep.device": ["h100", "v100", "a100"], "budget.evaluations": 12}
    results = resume_sweep(path, overrides=more, draw=False)
    assert [*results] == ["h100-gpt-s", "v100-gpt-s", "a100-gpt-s"]
    assert {row["evaluations"] for r in results.values() for row in r.summary} == {12}
    # A sweep that was stopped between two cells goes on with those that are missing.
    import shutil

    shutil.rmtree(path / "v100-gpt-s")
    assert len(results_of(path)) == 2
    again = resume_sweep(path, draw=False)
    values = [r["v100-gpt-s"].searches[0].trials.values.tolist() for r in (results, again)]
    assert values[0] == values[1]
    assert len(results_of(path)) == 3


def test_directories_of_others_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InvalidInput, match="is not empty and holds no sweep"):
        hwnas.run_sweep(SWEEP, tmp_path)
    with pytest.raises(InvalidInput, match="is a file"):
        hwnas.run_sweep(SWEEP, tmp_path / "notes.txt")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.txt"]


PLUGIN = """
import hwnas


@hwnas.register_optimizer("fragile")
class Fragile(hwnas.Optimizer):
    def ask(self, n):
        if len(self.space.columns) > 30:
            raise RuntimeError("too many columns")
        return self.space.sample(n, self.rng)
"""


def test_a_cell_that_fails_leaves_the_others_alone(tmp_path: Path) -> None:
    registry.replace_registered({})
    (tmp_path / "fragile.py").write_text(PLUGIN)
    content = {
        **SWEEP,
        "sweep": {"space": ["gpt-l", "gpt-s"]},
        "objectives": ["perplexity", "latency@h100"],
        "optimizers": ["fragile"],
        "plugins": ["fragile.py"],
    }
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(SearchFailed, match="1 runs of the sweep failed, first gpt-l: 1 of 1"):
        hwnas.run_sweep(tmp_path / "x.yaml", tmp_path / "out", allow_plugins=True, draw=False)
    assert [len(s.trials) for r in results_of(tmp_path / "out") for s in r.searches] == [0, 8]
    # The plugin file is found from any directory.
    assert yaml.safe_load((tmp_path / "out/sweep.yaml").read_text())["plugins"] == [
        str(tmp_path / "fragile.py")
    ]


def test_run_refuses_a_sweep_by_its_key() -> None:
    with pytest.raises(ExperimentError, match="sweep: is one of several experiments; run it with"):
        hwnas.run(SWEEP)
    assert load_sweep({k: v for k, v in SWEEP.items() if k != "sweep"}) is None


def test_cell_labels() -> None:
    values = {"a": {"type": "nsga2", "b": 1}, "c": [1, 2], "d": True}
    assert Cell("x", values).labels == {"a": "nsga2", "c": "1-2", "d": "true"}
