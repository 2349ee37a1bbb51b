from __future__ import annotations

import copy
import json
import math
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import hwnas
from hwnas.errors import ExperimentError, InvalidInput
from hwnas.experiment import (
    Experiment,
    read_experiment,
    validate_form,
)
from hwnas.form_errors import EXPECTED
from hwnas.problem import build_problem, load_experiment
from hwnas.shipped_experiments import shipped_experiment, shipped_experiments
from hwnas.workloads import BUILT_IN, Workload
from hwnas.yaml_loader import parse_yaml

GOOD: dict[str, Any] = {
    "name": "x",
    "space": "gpt-s",
    "objectives": ["perplexity", "latency@rtx3080"],
    "optimizers": ["random"],
    "budget": {"evaluations": 10},
}
OWN_SPACE = {
    "name": "cut",
    "embed_dim": [192, 768],
    "n_layer": [10],
    "mlp_ratio": [2, 4],
    "n_head": [4],
}
MINE = {"prompt": 100, "generate": 50, "batch": 4, "precision": "float32"}


def test_defaults_are_filled_in() -> None:
    experiment = load_experiment(GOOD)[0]
    assert experiment.backend.type == "surrogate"
    assert experiment.seeds == [0, 1, 2]
    assert (experiment.noise, experiment.constraints) == (False, [])
    assert [entry.name for entry in experiment.optimizers] == ["random"]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"space": OWN_SPACE},
        {"seeds": [7, 3]},
        {"seeds": 1},
        {"noise": True},
        {"reference": [60, 70.5]},
        {"constraints": ["params <= 1e8", "bfloat16_memory<=600"]},
        {"objectives": ["perplexity", "-flops", "energy@h100:p90"]},
        {"optimizers": ["random", {"type": "nsga2", "name": "n-8", "pop_size": 8, "batch": 4}]},
        {"budget": {"evaluations": 5, "cost": 60, "seconds": 1.5}},
        {"budget": {"cost": 0.5}},
        {"objectives": ["params", "flops"], "budget": {"cost": 1.0, "seconds": 1.0}},
    ],
)
def test_the_resolved_yaml_is_the_same_experiment(tmp_path: Path, change: dict[str, Any]) -> None:
    experiment = load_experiment({**GOOD, **change})[0]
    file = tmp_path / "experiment.yaml"
    file.write_text(experiment.to_yaml())
    assert load_experiment(file)[0] == experiment
    assert load_experiment(experiment)[0] == experiment


def test_settings_go_to_their_optimizer() -> None:
    experiment = load_experiment(
        {**GOOD, "optimizers": [{"type": "nsga2", "pop_size": 8, "batch": 4}]}
    )[0]
    (optimizer,) = experiment.optimizers
    assert (optimizer.name, optimizer.batch, optimizer.settings) == ("nsga2", 4, {"pop_size": 8})


def test_the_problem_is_built() -> None:
    problem = build_problem(load_experiment({**GOOD, "constraints": ["params <= 1e8"]})[0])
    assert list(map(str, problem.measured)) == [
        "perplexity",
        "latency@rtx3080",
        "params <= 100000000",
    ]
    assert problem.backend is problem.truth
    noisy = build_problem(load_experiment({**GOOD, "noise": True})[0])
    assert noisy.backend is not noisy.truth
    assert noisy.backend.fidelities


def test_overrides() -> None:
    experiment = load_experiment(GOOD, {"budget.evaluations": 7, "name": "y"})[0]
    assert (experiment.budget.evaluations, experiment.name) == (7, "y")
    with pytest.raises(ExperimentError, match="colour: unknown key 'colour'"):
        load_experiment(GOOD, {"colour": 1})[0]


@pytest.mark.parametrize(
    ("key_path", "message"),
    [
        ("name.first", "--set name.first: 'name' holds no keys, found 'x'; set it as a whole: "),
        ("backend.model", "'backend' holds no keys, found None; .*as in {type: surrogate}"),
        ("optimizers.batch", r"'optimizers' holds no keys, found \['random'\]; .*a list of"),
        ("budgt.cost", "unknown key in --set budgt.cost: 'budgt'; did you mean 'budget'"),
        ("budget.evaluations.x", "'evaluations' holds no keys, found 10; .*keys and values"),
        ("budget.evluations.x", "unknown key in .*: 'evluations'; did you mean 'evaluations'"),
    ],
)
def test_overrides_below_a_key_without_keys(key_path: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        load_experiment(GOOD, {key_path: 1})


def test_overrides_leave_their_source_alone() -> None:
    content = {**GOOD, "budget": {"evaluations": 10}}
    load_experiment(content, {"budget.evaluations": 7})[0]
    assert content["budget"] == {"evaluations": 10}


def without(key: str) -> dict[str, Any]:
    return {k: v for k, v in GOOD.items() if k != key}


WRONG: list[tuple[dict[str, Any], str]] = [
    ({**GOOD, "budgt": 1}, "budgt: unknown key 'budgt'; did you mean 'budget'?"),
    (
        {**GOOD, "budget": {"evaluation": 1}},
        "budget.evaluation: unknown key 'evaluation'; did you mean 'evaluations'?",
    ),
    *((without(key), f"{key}: is required") for key in GOOD),
    ({**GOOD, "budget": {}}, "budget: expected 'evaluations', 'cost', 'seconds' or 'within'"),
    ({**GOOD, "budget": 5}, "budget: "),
    (
        {**GOOD, "budget": {"evaluations": 0}},
        "budget.evaluations: .*from 1 to 1,000,000,000,000, found 0",
    ),
    ({**GOOD, "budget": {"evaluations": 1.5}}, "budget.evaluations: .*integer.*, found 1.5"),
    ({**GOOD, "budget": {"evaluations": True}}, "budget.evaluations: .*integer.*, found True"),
    ({**GOOD, "budget": {"evaluations": "10"}}, "budget.evaluations: .*integer.*, found '10'"),
    ({**GOOD, "budget": {"seconds": float("inf")}}, "budget.seconds: .*finite"),
    ({**GOOD, "budget": {"seconds": -1}}, "budget.seconds: .*greater than 0"),
    ({**GOOD, "budget": {"cost": 0}}, "budget.cost: .*greater than 0, found 0"),
    ({**GOOD, "budget": {"cost": float("inf")}}, "budget.cost: .*finite"),
    ({**GOOD, "budget": {"cost": True}}, "budget.cost: .*number .*, found True"),
    (
        {**GOOD, "objectives": ["params", "-flops"], "budget": {"cost": 1}},
        "budget.cost: .*no time to evaluate, .*expected 'evaluations' or 'seconds' as well",
    ),
    ({**GOOD, "name": "../x"}, "name: .*found '../x'"),
    ({**GOOD, "name": ".."}, "name: .*found '..'"),
    ({**GOOD, "name": ""}, "name: "),
    ({**GOOD, "name": "a/b"}, "name: .*found 'a/b'"),
    ({**GOOD, "name": 7}, "name: .*text .*, found 7"),
    ({**GOOD, "space": "gpt-x"}, "space: unknown space 'gpt-x'; did you mean 'gpt-"),
    ({**GOOD, "space": {"name": "x"}}, "space: a space needs .*; missing: "),
    ({**GOOD, "space": {**OWN_SPACE, "n_layers": [1]}}, "space: unknown key of a space 'n_layers'"),
    ({**GOOD, "space": {**OWN_SPACE, "n_head": []}}, "space: n_head: expected a list"),
    ({**GOOD, "space": "gpt-m-wide"}, "backend: .*gpt-m-wide"),
    ({**GOOD, "space": ["gpt-s"]}, "space: "),
    ({**GOOD, "backend": "surogate"}, "backend: unknown backend 'surogate'; did you mean"),
    ({**GOOD, "backend": {"type": "surrogate", "x": 1}}, "backend: unknown setting of backend"),
    ({**GOOD, "backend": {"x": 1}}, "backend.type: is required"),
    ({**GOOD, "objectives": ["perplexity"]}, "objectives: .*2 to 5 obj"),
    ({**GOOD, "objectives": ["perplexity"] * 6}, "objectives: .*2 to 5 obj"),
    ({**GOOD, "objectives": ["perplexity", "-perplexity"]}, "objectives: expected distinct"),
    ({**GOOD, "objectives": ["perplexity", "latency"]}, r"objectives\[1\]: latency needs a device"),
    (
        {**GOOD, "objectives": ["perplexity", "latncy@h100"]},
        r"objectives\[1\]: unknown metric 'latncy'; did you mean 'latency'\?",
    ),
    (
        {**GOOD, "objectives": ["perplexity", "latency@h10"]},
        r"objectives\[1\]: unknown device 'h10'; did you mean 'h100' or 'h100-sxm'",
    ),
    ({**GOOD, "objectives": ["perplexity", "params@h100"]}, r"objectives\[1\]: params takes no"),
    ({**GOOD, "objectives": ["perplexity:p90", "params"]}, r"objectives\[0\]: perplexity has no q"),
    ({**GOOD, "objectives": ["perplexity", "params <= 5"]}, "objectives: .*expected no bound"),
    ({**GOOD, "objectives": ["perplexity", 5]}, r"objectives\[1\]: .*text.*, found 5"),
    ({**GOOD, "objectives": ["perplexity", "a b"]}, "objectives: objective 'a b': expected"),
    ({**GOOD, "objectives": "perplexity"}, "objectives: .*list .*, found 'perplexity'"),
    ({**GOOD, "constraints": ["params"]}, "constraints: constraint 'params': expected <= or >="),
    ({**GOOD, "constraints": ["parms <= 5"]}, r"constraints\[0\]: unknown metric 'parms'"),
    ({**GOOD, "constraints": ["params < 5"]}, "constraints: .*use <= in place of"),
    ({**GOOD, "optimizers": []}, "optimizers: .*at least 1 optimizer"),
    ({**GOOD, "optimizers": "random"}, "optimizers: .*list"),
    ({**GOOD, "optimizers": ["nsga"]}, r"optimizers\[0\]: unknown optimizer 'nsga'; did you mean"),
    ({**GOOD, "optimizers": ["random", "random"]}, r"optimizers\[1\]\.name: a second 'random'"),
    ({**GOOD, "optimizers": [{"pop_size": 4}]}, r"optimizers\[0\]\.type: is required"),
    (
        {**GOOD, "optimizers": [{"type": "nsga2", "pop_sze": 4}]},
        r"optimizers\[0\]: unknown setting .*'pop_sze'; did you mean 'pop_size'",
    ),
    (
        {**GOOD, "optimizers": [{"type": "nsga2", "pop_size": "4"}]},
        r"optimizers\[0\]: setting 'pop_size' .*found '4'",
    ),
    ({**GOOD, "optimizers": [{"type": "nsga2", "pop_size": 1}]}, r"optimizers\[0\]: pop_size: exp"),
    ({**GOOD, "optimizers": [{"type": "random", "batch": 0}]}, r"optimizers\[0\]\.batch: "),
    ({**GOOD, "optimizers": [{"type": "random", "name": "../x"}]}, r"optimizers\[0\]\.name: "),
    ({**GOOD, "optimizers": [{"type": "random", "seed": 3}]}, r"optimizers\[0\]: unknown setting"),
    ({**GOOD, "optimizers": [7]}, r"optimizers\[0\]: "),
    ({**GOOD, "seeds": 0}, "seeds: expected a number of seeds from 1 to 10,000, .*, found 0"),
    ({**GOOD, "seeds": []}, r"seeds: .*, or a list of them .*found \[\]"),
    ({**GOOD, "seeds": [1, 1]}, "seeds: expected distinct seeds"),
    ({**GOOD, "seeds": [-1]}, r"seeds\[0\]: "),
    ({**GOOD, "seeds": True}, "seeds: "),
    ({**GOOD, "seeds": "three"}, "seeds: "),
    ({**GOOD, "noise": 1}, "noise: expected true or false, found 1"),
    ({**GOOD, "noise": "yes"}, "noise: expected true or false, found 'yes'"),
    (
        {**GOOD, "noise": True, "objectives": ["perplexity", "latency@h100:p90"]},
        r"objectives\[1\]: 'latency@h100:p90' is a statistic",
    ),
    ({**GOOD, "reference": [1]}, "reference: expected one number an objective, 2, found 1"),
    ({**GOOD, "reference": ["a", "b"]}, r"reference\[0\]: "),
]


@pytest.mark.parametrize(("content", "message"), WRONG, ids=lambda value: str(value)[:60])
def test_wrong_input_is_one_line(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(ExperimentError, match=message) as caught:
        load_experiment(file)[0]
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def _schema_paths(schema: dict[str, Any], path: str = "") -> set[str]:
    """Return the paths of all keys of a JSON Schema, [] for the items of a list."""
    paths = {path}
    for key, value in schema.get("properties", {}).items():
        paths |= _schema_paths(value, f"{path}.{key}".lstrip("."))
    if "items" in schema:
        paths |= _schema_paths(schema["items"], f"{path}[]")
    for member in schema.get("anyOf", ()):
        paths |= _schema_paths(member, path)
    if "$ref" in schema:
        paths |= _schema_paths(SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], path)
    return paths


SCHEMA = Experiment.model_json_schema()
WRONG_VALUES: list[Any] = [
    None, 5, -1, 0.5, math.nan, True, "five", "a\nb", [], [[]], [None], [{}], ["x"], {}, {"x": 1},
    object(), b"x",
    {1: 2}, [[1]], -0.5, "x" * 500, ["x"] * 500, {"type": 5}, {"type": "x", "name": []},
]  # fmt: skip
# Wording of the library that validates, not of hwnas.
FOREIGN = re.compile(
    r"Input should|valid (dictionary|string|integer|number|list|boolean)|should have|"
    r"[Vv]alue error|instance of|String should|Keys should|pydantic|validation|"
    r"(List|Tuple|Dictionary) |class |items? after"
)


def _place(content: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return the content with a value at a path."""
    content = copy.deepcopy(content)
    content["optimizers"] = [{"type": "random", "name": "r"}]
    content["backend"] = {"type": "surrogate"}
    content |= {"constraints": ["params <= 1e8"], "seeds": [1], "reference": [1.0, 2.0]}
    content |= {"plugins": ["a.py"], "executor": {"type": "serial"}}
    content |= {"loggers": [{"type": "mlflow"}], "initial": {"shared": 16}}
    target: Any = content
    *parents, last = re.findall(r"\w+|\[\]", path)
    for part in parents:
        target = target[0 if part == "[]" else part]
    target[0 if last == "[]" else last] = value
    return content


def test_every_key_of_the_schema_has_an_expected_value() -> None:
    # A sweep is many experiments, and no key of one.
    assert set(EXPECTED) - {"sweep"} == _schema_paths(SCHEMA)


@pytest.mark.parametrize("path", [path for path in EXPECTED if path and path != "sweep"])
def test_wrong_types_are_explained_in_own_words(path: str) -> None:
    messages = []
    for value in WRONG_VALUES:
        try:
            validate_form(_place(GOOD, path, value), "x.yaml")
        except ExperimentError as error:
            messages.append(str(error))
    assert len(messages) >= 8
    key = path.partition(".")[0].partition("[")[0]
    for message in messages:
        assert not FOREIGN.search(message), message
        assert "\n" not in message
        assert len(message) < 300
        assert message.startswith(f"x.yaml: {key}"), message
        assert re.search("expected|unknown key|a second", message), message


@pytest.mark.parametrize("content", ["text", {1: 2}, {**GOOD, 1: 2}])
def test_content_that_is_no_experiment(content: Any) -> None:
    with pytest.raises(ExperimentError) as caught:
        validate_form(content)
    assert not FOREIGN.search(str(caught.value))


@pytest.mark.parametrize(
    ("path", "suggestion"),
    [
        (path, path.replace("[]", "[0]"))
        for path in EXPECTED
        if "." in path and path.rpartition(".")[2] not in Experiment.model_fields
    ],
)
def test_a_key_of_one_level_deeper_is_suggested(path: str, suggestion: str) -> None:
    key = path.rpartition(".")[2]
    with pytest.raises(ExperimentError) as caught:
        read_experiment(GOOD, {key: 200})
    assert str(caught.value).startswith(f"{key}: unknown key {key!r}; did you mean ")
    assert repr(suggestion) in str(caught.value)


@pytest.mark.parametrize("key", sorted(set(Experiment.model_fields) - {"budget"}))
def test_a_key_of_one_level_higher_is_named(key: str) -> None:
    message = rf"budget\.{key}: unknown key '{key}'; it belongs beside 'budget', not in it"
    with pytest.raises(ExperimentError, match=message):
        read_experiment(GOOD, {f"budget.{key}": 1})


def test_a_misspelled_key_is_named_before_a_missing_one() -> None:
    content = {**without("optimizers"), "optimisers": ["random"]}
    with pytest.raises(ExperimentError, match="unknown key 'optimisers'; did you mean 'optimiz"):
        validate_form(content)


@pytest.mark.parametrize("name", ["moea/d", "MOEA/D", "moea d", "moea:d"])
@pytest.mark.parametrize("entry", [str, lambda name: {"type": name}])
def test_a_type_that_names_no_directory_is_refused_as_a_type(name: str, entry: Any) -> None:
    content = {**GOOD, "optimizers": [entry(name)]}
    with pytest.raises(ExperimentError, match=r"optimizers\[0\].*did you mean 'moead'") as caught:
        load_experiment(content)
    assert "directory" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"warm_start": "a\0b"}, "warm_start"),
        ({"plugins": ["x.py", "a\0b"]}, r"plugins\[1\]"),
        ({"backend": {"type": "python", "function": "m:f", "folder": "a\0b"}}, "backend.folder"),
        ({"space": {"family": "table", "file": "a\0b"}}, "space.file"),
    ],
)
def test_texts_with_a_nul(tmp_path: Path, change: dict[str, Any], key: str) -> None:
    message = rf"{key}: expected a text without NUL characters, found 'a\\x00b'"
    with pytest.raises(ExperimentError, match=message):
        hwnas.run({**GOOD, **change}, tmp_path / "run", allow_plugins=True)


@pytest.mark.parametrize("arguments", [{"out": "a\0b"}, {"plugins": ["a\0b"]}])
def test_paths_with_a_nul(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=r"without NUL, found '.*a\\x00b'"):
        hwnas.run(GOOD, **arguments)


def test_a_content_that_contains_itself(tmp_path: Path) -> None:
    space: dict[str, Any] = {"family": "gpt"}
    space["x"] = space
    with pytest.raises(ExperimentError, match="space: expected at most 100 lists and mappings"):
        hwnas.run({**GOOD, "space": space}, tmp_path / "run")


def test_form_alone_needs_nothing_installed() -> None:
    content = {**GOOD, "optimizers": ["not-installed"], "backend": "neither"}
    assert validate_form(content).optimizers[0].type == "not-installed"


def test_shipped_experiments_load() -> None:
    folder = Path(__file__).resolve().parents[1] / "experiments"
    files = sorted(folder.rglob("*.yaml"))
    assert files
    for file in files:
        content = file.read_text()
        if file.stem == "gpu":  # there may be none here
            content = content.replace("cuda", "cpu").replace(", energy@cpu", "")
        assert load_experiment(parse_yaml(content))[0].name == file.stem
    assert load_experiment("quickstart")[0].name == "quickstart"


@pytest.mark.parametrize("path", shipped_experiments())
def test_shipped_experiments_are_found_by_path_and_by_name(path: str) -> None:
    name = path.rpartition("/")[2]
    assert shipped_experiment(path) == shipped_experiment(name) == shipped_experiments()[path]
    assert read_experiment(name)[0].name == name


@pytest.mark.parametrize(
    "name",
    ["nothing", "", "nope.yaml", "x" * 200],
)
def test_a_name_that_is_not_shipped_lists_those_that_are(name: str) -> None:
    assert shipped_experiment(name) is None
    if name:  # an empty path is the working directory
        with pytest.raises(InvalidInput, match=r"no such file; .*: hardware/cpu-tiny, .*start"):
            read_experiment(name)


@pytest.mark.parametrize(
    "name", ["quikstart", "quickstart.yaml", "Quickstart", "../experiments/quickstart", "x/quick"]
)
def test_a_shipped_name_that_is_nearly_right_is_suggested(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"no such file; did you mean the .* 'quickstart'\?$"):
        read_experiment(name)


def test_a_name_of_two_shipped_experiments_is_ambiguous(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = {"a/gpu": Path("a/gpu.yaml"), "b/gpu": Path("b/gpu.yaml")}
    monkeypatch.setattr("hwnas.shipped_experiments.shipped_experiments", lambda: shipped)
    assert shipped_experiment("gpu") is None
    assert shipped_experiment("b/gpu") == shipped["b/gpu"]


def test_schema_agrees_with_the_loader() -> None:
    schema = json.loads(json.dumps(Experiment.model_json_schema()))
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    quick = yaml.safe_load((shipped_experiment("quickstart") or Path()).read_text())
    for good in (
        GOOD,
        quick,
        {**GOOD, "seeds": [1, 2], "backend": {"type": "surrogate"}},
        {**GOOD, "budget": {"cost": 0.5}},
        {**GOOD, "workloads": {"mine": MINE}},
        {**GOOD, "optimizers": ["random", {"type": "nsga2", "pop_size": 8}]},
    ):
        assert check.is_valid(good), list(check.iter_errors(good))
    for bad in (
        without("name"),
        {**GOOD, "budgt": 1},
        {**GOOD, "optimizers": []},
        {**GOOD, "optimizers": [{"pop_size": 8}]},
        {**GOOD, "seeds": "three"},
        {**GOOD, "budget": {"evaluations": 0}},
        {**GOOD, "budget": {"cost": 0}},
        {**GOOD, "workloads": {"mine": {**MINE, "batch": 0}}},
        {**GOOD, "workloads": {"my-own": MINE}},
        {**GOOD, "workloads": {"mine": {**MINE, "promt": 8}}},
    ):
        assert not check.is_valid(bad), bad


def test_a_setting_of_null_is_kept() -> None:
    """Its default may be another one."""
    content = {**GOOD, "optimizers": [{"type": "random", "size": None}]}
    experiment = validate_form(content)
    assert experiment.reference is None
    assert "reference" not in experiment.to_yaml()
    again = validate_form(parse_yaml(experiment.to_yaml()))
    assert again == experiment
    assert again.optimizers[0].settings == {"size": None}


# -- workloads -----------------------------------------------------------------------------------


def test_workloads_of_an_experiment() -> None:
    content = {
        **GOOD,
        "objectives": ["perplexity", "kv_cache.mine"],
        "constraints": ["weight_memory.chat <= 200"],
        "workloads": {"mine": MINE},
    }
    experiment, problem = load_experiment(content)
    assert problem.backend.workloads == {**BUILT_IN, "mine": Workload(**MINE)}
    assert yaml.safe_load(experiment.to_yaml())["workloads"] == {"mine": MINE}
    # Callers of Python may give objects.
    given = {**content, "workloads": {"mine": Workload(**MINE)}}
    assert load_experiment(given)[0] == experiment
    # A key that is not given is not written.
    assert "workloads" not in load_experiment(GOOD)[0].to_yaml()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"workloads": [1]}, "^workloads: expected workloads by name, as in .*, found"),
        ({"workloads": {"mine": 3}}, "^workloads: mine: expected keys and values"),
        ({"workloads": {"my-own": MINE}}, "^workloads: name of a workload: expected letters"),
        ({"workloads": {"chat": MINE}}, "^workloads: chat: is built in as 1 request, .*another"),
        (
            {"workloads": {"mine": {**MINE, "batch": 1.5}}},
            "^workloads: mine: batch: expected a positive integer .*, found 1.5$",
        ),
        (
            {"workloads": {"mine": {**MINE, "precison": "int8"}}},
            "^workloads: mine: unknown key of a workload 'precison'; did you mean 'precision'",
        ),
        (
            {"workloads": {"mine": {**MINE, "prompt": 1000}}},
            r"^workloads: mine: workload of 1,000 \+ 50 tokens: expected at most 1,024, the "
            "context of gpt-s$",
        ),
        (
            {"workloads": {"mine": MINE}, "objectives": ["perplexity", "kv_cache.mien"]},
            r"^objectives\[1\]: unknown workload 'mien'; did you mean 'mine'\?$",
        ),
        (
            {"workloads": {"mine": MINE}, "constraints": ["tpot.mine@h100 <= 3"]},
            r"^constraints\[0\]: tpot.mine@h100 <= 3 must be measured, in a search with the",
        ),
        (
            {"objectives": ["perplexity", "tpot.serve@cuda"]},
            r"^objectives\[1\]: .* --workload serve",
        ),
        (
            {"objectives": ["perplexity", "tpot.serve@h100"]},
            r"^objectives\[1\]: h100: .* known: h100-sxm",
        ),
        (
            {"workload": {"mine": MINE}},
            "^workload: unknown key 'workload'; did you mean 'workloads'",
        ),
        (
            {"objectives": ["kv_cache.chat", "params"], "budget": {"cost": 1.0}},
            r"^budget\.cost: what is asked for takes no time",
        ),
    ],
)
def test_wrong_workloads_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ExperimentError, match=message) as caught:
        load_experiment({**GOOD, **change})
    assert "\n" not in str(caught.value)
