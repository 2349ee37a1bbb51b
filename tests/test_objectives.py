"""The grammar of objectives, losses and violations, and the properties of metrics."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hwnas.backends import EXACT_METRICS
from hwnas.errors import InvalidInput
from hwnas.measured_metrics import TRAINED_METRICS, device_metrics, workload_metrics
from hwnas.objectives import (
    UNITS,
    Metric,
    Objective,
    constraint_violations,
    losses_of,
    parse_constraints,
    parse_objectives,
)
from hwnas.surrogates import surrogate
from hwnas.workloads import BUILT_IN

metrics = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
workloads = st.none() | metrics
devices = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,6}(:[0-9]{1,2})?", fullmatch=True)
bounds = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def objectives(draw: st.DrawFn) -> Objective:
    relation = draw(st.sampled_from([None, "<=", ">="]))
    return Objective(
        draw(metrics),
        tuple(draw(st.lists(devices, max_size=3, unique=True))),
        # The 50th percentile is the median and is written without a level.
        draw(st.one_of(st.none(), st.integers(1, 99).filter(lambda p: p != 50).map(_percent))),
        relation is None and draw(st.booleans()),
        relation,
        None if relation is None else draw(bounds),
        draw(workloads),
    )


def _percent(percent: int) -> float:
    return percent / 100


@given(objectives())
@example(Objective("flops", relation="<=", bound=123_456_789_012_345.0))
@example(Objective("perplexity", relation=">=", bound=0.1 + 0.2))
def test_string_round_trip(objective: Objective) -> None:
    text = str(objective)
    assert Objective.parse(text) == objective
    assert str(Objective.parse(text)) == text
    assert Objective.parse(f"  {text} ") == objective


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("perplexity", Objective("perplexity")),
        ("-flops", Objective("flops", maximise=True)),
        ("- flops", Objective("flops", maximise=True)),
        ("latency@h100", Objective("latency", ("h100",))),
        ("latency@h100:p90", Objective("latency", ("h100",), 0.9)),
        ("latency@h100:p05", Objective("latency", ("h100",), 0.05)),
        ("latency@h100:median", Objective("latency", ("h100",))),
        ("latency@h100:p50", Objective("latency", ("h100",))),
        ("latency@cuda:1", Objective("latency", ("cuda:1",))),
        ("latency@cuda:1:p90", Objective("latency", ("cuda:1",), 0.9)),
        ("latency@h100+rtx3080", Objective("latency", ("h100", "rtx3080"))),
        ("latency@cuda:0+cuda:1:p10", Objective("latency", ("cuda:0", "cuda:1"), 0.1)),
        ("kv_cache.chat", Objective("kv_cache", workload="chat")),
        ("tpot.serve@cuda", Objective("tpot", ("cuda",), workload="serve")),
        ("tpot.serve@cuda:1:p90", Objective("tpot", ("cuda:1",), 0.9, workload="serve")),
        (
            "-throughput._w2@a.b+c",
            Objective("throughput", ("a.b", "c"), maximise=True, workload="_w2"),
        ),
        (
            "kv_cache.serve<=.5",
            Objective("kv_cache", relation="<=", bound=0.5, workload="serve"),
        ),
        ("params <= 1e8", Objective("params", relation="<=", bound=1e8)),
        ("params<=1e8", Objective("params", relation="<=", bound=1e8)),
        ("x >= -.5", Objective("x", relation=">=", bound=-0.5)),
        ("x >= +2.", Objective("x", relation=">=", bound=2.0)),
        (
            "latency@h100:p90 <= 20",
            Objective("latency", ("h100",), 0.9, relation="<=", bound=20.0),
        ),
    ],
)
def test_parsed_texts(text: str, expected: Objective) -> None:
    assert Objective.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("  latency@h100:p50  ", "latency@h100"),
        ("- flops", "-flops"),
        ("params<=1e8", "params <= 100000000"),
        ("latency@h100:p90<=20.50", "latency@h100:p90 <= 20.5"),
        ("x:p05", "x:p05"),
    ],
)
def test_shortest_spelling(text: str, spelling: str) -> None:
    assert str(Objective.parse(text)) == spelling


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected"),
        ("-", "expected"),
        ("+flops", "expected"),
        ("--flops", "expected"),
        ("two words", "expected"),
        ("9lives", "expected"),
        ("latency@", "expected"),
        ("tpot.", "expected"),
        ("tpot.@cuda", "expected"),
        ("tpot.9@cuda", "expected"),
        ("tpot.se-rve@cuda", "expected"),
        ("tpot.a.b", "expected"),
        (".serve", "expected"),
        ("tpot .serve", "expected"),
        ("latency@h100+", "expected"),
        ("latency@h100:p9", "expected"),
        ("latency@h100:p100", "expected"),
        ("latency@h100:q90", "expected"),
        ("latency@-h100", "expected"),
        ("latency <<= 3", "expected .* <= or >="),
        ("latency < x", "expected .* <= or >="),
        ("latency <=", "expected"),
        ("latency <= x", "expected"),
        ("latency <= nan", "expected"),
        ("3 <= latency", "expected"),
        ("1 <= latency <= 3", "expected"),
        ("latency@h100:p00", "expected a statistic from p01 to p99"),
        ("latency@h100+h100", "expected distinct devices"),
        ("latency <= 1e999", "expected a finite bound"),
        ("-latency <= 3", "expected no '-' in a constraint; use >="),
    ],
)
def test_malformed_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        Objective.parse(text)
    kind = "constraint" if set(text) & set("<>") else "objective"
    assert str(caught.value).startswith(f"{kind} {text!r}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("objective", ["latency@h100", "params", "latency@a+b:p90"])
@pytest.mark.parametrize("space", ["", " "])
@pytest.mark.parametrize(
    ("found", "relation"),
    [("<", "<="), ("=<", "<="), ("≤", "<="), (">", ">="), ("=>", ">="), ("≥", ">=")],
)
def test_another_relation_is_explained(
    objective: str, space: str, found: str, relation: str
) -> None:
    text = f"{objective}{space}{found}{space}2e1"
    with pytest.raises(InvalidInput) as caught:
        parse_constraints([text])
    corrected = f"{objective} {relation} 2e1"
    assert str(caught.value) == (
        f"constraint {text!r}: use {relation} in place of {found!r}, as in {corrected!r}"
    )
    assert str(parse_constraints([corrected])[0]) == f"{objective} {relation} 20"


@pytest.mark.parametrize("found", ["=", "=="])
def test_an_equation_is_no_constraint(found: str) -> None:
    text = f"latency@h100 {found} 20"
    with pytest.raises(InvalidInput, match=f"expected <= or >=, found '{found}'$"):
        parse_constraints([text])


@pytest.mark.parametrize("metric", [name for name, unit in UNITS.items() if not unit])
@pytest.mark.parametrize(
    ("bound", "corrected"),
    [("20%", "20"), ("100M", "1e+08"), ("1.5 B", "1.5e+09"), ("2 k", "2000"), ("3 of", "")],
)
def test_a_bound_of_a_plain_number_is_corrected(metric: str, bound: str, corrected: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_constraints([f"{metric} >= {bound}"])
    message = str(caught.value)
    example = f"{metric} >= {corrected or '3'}"
    assert message.endswith(f"as in {example!r}")
    parse_constraints([example])


@pytest.mark.parametrize("metric", [*UNITS, "own_metric"])
@pytest.mark.parametrize("unit", ["ms", "mWh", "MB", "bits", "s", "µs", "GB", "M", "%"])
@pytest.mark.parametrize("space", ["", " "])
def test_a_unit_in_a_bound_is_explained(metric: str, unit: str, space: str) -> None:
    text = f"{metric} <= 3.5e1{space}{unit}"
    with pytest.raises(InvalidInput) as caught:
        parse_constraints([text])
    message = str(caught.value)
    assert message.startswith(f"constraint {text!r}: ")
    assert "METRIC" not in message
    own_unit = UNITS.get(metric)
    if own_unit == unit:
        assert message.endswith(f"leave the unit out, as in '{metric} <= 3.5e1'; it is {unit}")
    elif own_unit:
        assert message.endswith(f"in {own_unit}, without a unit, found {unit!r}")
    else:
        assert repr(unit) in message
        assert ("plain number" in message) == (own_unit == "")


def test_units_are_those_that_the_backends_declare() -> None:
    declared = {
        **EXACT_METRICS,
        **surrogate("gpt-s").metrics,
        **device_metrics(),
        **TRAINED_METRICS,
        **workload_metrics("forward", BUILT_IN["forward"]),
        **workload_metrics("serve", BUILT_IN["serve"]),
    }
    parsed = {Objective.parse(name).metric: metric.unit for name, metric in declared.items()}
    assert parsed == UNITS


def test_keys() -> None:
    assert Objective.parse("perplexity").key == "perplexity"
    assert Objective.parse("perplexity").keys == ("perplexity",)
    assert Objective.parse("-latency@a:p90").key == "latency@a"
    several = Objective.parse("latency@a+cuda:1:p90 <= 3")
    assert several.key == "latency@a+cuda:1"
    assert several.keys == ("latency@a", "latency@cuda:1")


def test_keys_with_a_workload() -> None:
    assert Objective.parse("kv_cache.chat <= 3").keys == ("kv_cache.chat",)
    several = Objective.parse("-tpot.chat@a+cuda:1:p90")
    assert several.quantity == "tpot.chat"
    assert several.key == "tpot.chat@a+cuda:1"
    assert several.keys == ("tpot.chat@a", "tpot.chat@cuda:1")
    assert several.value == Objective("tpot", ("a", "cuda:1"), 0.9, workload="chat")


@given(objectives())
def test_key_is_an_objective_of_its_own(objective: Objective) -> None:
    for key in (objective.key, *objective.keys):
        parsed = Objective.parse(key)
        assert parsed.key == key
        assert (parsed.metric, parsed.workload) == (objective.metric, objective.workload)
    assert objective.value.workload == objective.workload


@given(objectives(), metrics)
def test_workloads_tell_objectives_apart(objective: Objective, other: str) -> None:
    changed = dataclasses.replace(objective, workload=other)
    assert (changed == objective) == (changed.key == objective.key)


def test_objectives_of_two_workloads_are_distinct() -> None:
    texts = ["tpot.chat@a", "tpot.serve@a", "tpot@a"]
    assert [str(o) for o in parse_objectives(texts)] == texts
    with pytest.raises(InvalidInput, match="expected distinct objectives"):
        parse_objectives(["tpot.chat@a", "-tpot.chat@a"])


def test_a_unit_after_a_workload_is_explained() -> None:
    with pytest.raises(InvalidInput, match=r"as in 'kv_cache\.serve <= 24000'; it is MB$"):
        parse_constraints(["kv_cache.serve <= 24000 MB"])
    with pytest.raises(InvalidInput, match=r"as in 'perplexity\.serve <= 30'$"):
        parse_constraints(["perplexity.serve <= 30 MB"])


def test_value_has_neither_sign_nor_bound() -> None:
    assert Objective.parse("latency@a:p90 <= 3").value == Objective.parse("latency@a:p90")
    assert Objective.parse("-flops").value == Objective.parse("flops")


def test_loss_negates_maximized_values() -> None:
    values = np.array([1.0, -2.0, 0.0])
    np.testing.assert_array_equal(Objective.parse("x").loss(values), values)
    maximized = Objective.parse("-x")
    np.testing.assert_array_equal(maximized.loss(values), [-1, 2, 0])
    np.testing.assert_array_equal(maximized.loss(maximized.loss(values)), values)


def test_violation_is_at_most_0_within_the_bound() -> None:
    values = np.array([2.0, 3.0, 5.0])
    np.testing.assert_array_equal(Objective.parse("x <= 3").violation(values), [-1, 0, 2])
    np.testing.assert_array_equal(Objective.parse("x >= 3").violation(values), [1, 0, -2])
    with pytest.raises(InvalidInput, match="x has no bound"):
        Objective.parse("x").violation(values)


def test_losses_and_violations_by_column() -> None:
    values = np.array([[1.0, 10.0], [2.0, 20.0]])
    values.flags.writeable = False
    losses = losses_of(parse_objectives(["x", "-y"]), values)
    np.testing.assert_array_equal(losses, [[1, -10], [2, -20]])
    violations = constraint_violations(parse_constraints(["x <= 1.5", "y >= 15"]), values)
    np.testing.assert_array_equal(violations, [[-0.5, 5], [0.5, -5]])
    assert constraint_violations((), values).shape == (2, 0)


def test_objectives_in_order() -> None:
    texts = ["perplexity", "latency@a:p90", "latency@a", "-flops"]
    assert [str(o) for o in parse_objectives(texts)] == texts


@pytest.mark.parametrize(
    "texts",
    [["x", "x"], ["x", "-x"], ["x@a", "y", "x@a:median"], ["x:p50", " x"]],
)
def test_objectives_are_distinct(texts: list[str]) -> None:
    with pytest.raises(InvalidInput, match="expected distinct objectives, found") as caught:
        parse_objectives(texts)
    assert "\n" not in str(caught.value)


def test_objectives_have_no_bound() -> None:
    with pytest.raises(InvalidInput, match="objective 'y <= 3': expected no bound"):
        parse_objectives(["x", "y <= 3"])


def test_constraints_in_order() -> None:
    # Two bounds on one metric are distinct constraints.
    lower, upper = parse_constraints(["x >= 1", "x <= 3"])
    assert (lower.relation, lower.bound) == (">=", 1)
    assert (upper.relation, upper.bound) == ("<=", 3)
    assert parse_constraints([]) == ()


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["x <= 3", "y"], "constraint 'y': expected <= or >= and a number, found no bound"),
        (["x <= 3", "x:median <= 3.0"], "expected distinct constraints, found"),
    ],
)
def test_invalid_constraints_are_refused(texts: list[str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        parse_constraints(texts)


# -- metrics -------------------------------------------------------------------------------------


def test_metric_is_the_same_class_everywhere() -> None:
    import hwnas
    from hwnas.backends import Metric as of_backends

    assert Metric is of_backends is hwnas.Metric


def test_former_cost_class_warns_at_the_line_of_the_author() -> None:
    with pytest.warns(DeprecationWarning, match='"dear" of a metric .* "expensive"') as caught:
        metric = Metric("bits", "dear", quantiles=True)  # type: ignore[arg-type]
    assert metric == Metric("bits", "expensive", quantiles=True)
    assert Path(caught[0].filename) == Path(__file__)
    # A copy has the new name already.
    assert dataclasses.replace(metric, unit="").cost == "expensive"
