from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

import hwnas
from hwnas import registry
from hwnas.backends import Backend, Evaluation, all_metrics, metric_of
from hwnas.errors import InvalidInput, UnknownName
from hwnas.objectives import Metric, Objective, parse_constraints, parse_objectives
from hwnas.runner.evaluation import measure
from hwnas.spaces import Codes, SearchSpace
from hwnas.workloads import BUILT_IN, Workload, kv_cache, weight_memory

Answer = Callable[[Codes, Sequence[Objective]], Any]
LEADING = [0, 1, 2]  # columns that tell the networks of a sample apart


class Scripted(Backend):
    """Answers what a test wants, and remembers how it was asked."""

    metrics: Mapping[str, Metric] = {
        "error": Metric("", "expensive"),
        "memory": Metric("MB"),
        "latency@fast": Metric("ms", quantiles=True),
        "latency@slow": Metric("ms", quantiles=True),
    }
    fidelities = (1, 10)

    def __init__(self, space: SearchSpace, answer: Answer) -> None:
        super().__init__(space)
        self.answer = answer
        self.calls: list[tuple[Codes, list[Objective], NDArray[np.uint64], int | None]] = []

    def evaluate(
        self,
        codes: Codes,
        objectives: Sequence[Objective],
        *,
        seeds: NDArray[np.uint64],
        fidelity: int | None = None,
    ) -> Evaluation:
        self.calls.append((codes, list(objectives), seeds, fidelity))
        answer: Evaluation = self.answer(codes, objectives)
        return answer


def ones(codes: Codes, objectives: Sequence[Objective]) -> NDArray[np.float64]:
    return np.ones((len(codes), len(objectives)))


@pytest.fixture
def codes(small_space: SearchSpace) -> Codes:
    """Six networks that their leading columns tell apart."""
    codes = small_space.sample(6, np.random.default_rng(3))
    codes[:, LEADING] = list(itertools.product((0, 1), repeat=3))[1:7]
    return small_space.canonical(codes)


def test_answers_go_through(toy: Backend, codes: Codes) -> None:
    objectives = parse_objectives(["error", "latency@slow:p90", "memory"])
    found = measure(toy, codes, objectives)
    asked = toy.evaluate(codes, objectives, seeds=np.zeros(6, dtype=np.uint64))
    np.testing.assert_array_equal(found.values, asked.values)
    assert found.std is None
    assert list(found.status or ()) == ["ok"] * 6
    assert list(found.reasons or ()) == [""] * 6


def test_what_is_maximised_stays_in_raw_units(toy: Backend, codes: Codes) -> None:
    plain, turned = (
        measure(toy, codes, parse_objectives(texts)).values
        for texts in (["memory", "params"], ["-memory", "-params"])
    )
    np.testing.assert_array_equal(plain, turned)
    assert (plain > 0).all()


def test_exact_metrics_never_reach_the_backend(small_space: SearchSpace, codes: Codes) -> None:
    backend = Scripted(small_space, lambda *_: pytest.fail("asked for what follows from a code"))
    found = measure(backend, codes, parse_objectives(["params", "-flops"]))
    np.testing.assert_array_equal(found.values[:, 0], small_space.params(codes))
    np.testing.assert_array_equal(found.values[:, 1], small_space.flops(codes))
    assert (found.std, list(found.status or ())) == (None, ["ok"] * 6)
    assert found.seconds is not None
    assert found.seconds.shape == (6,)


def test_columns_keep_their_order_among_exact_ones(toy: Backend, codes: Codes) -> None:
    texts = ["params", "memory", "flops", "error"]
    found = measure(toy, codes, parse_objectives(texts)).values
    for j, text in enumerate(texts):
        alone = measure(toy, codes, parse_objectives([text])).values
        np.testing.assert_array_equal(found[:, [j]], alone)


def test_what_the_backend_is_asked(small_space: SearchSpace, codes: Codes) -> None:
    backend = Scripted(small_space, lambda c, o: Evaluation(ones(c, o)))
    wanted = parse_objectives(
        ["-memory", "latency@fast", "latency@fast:p90", "params", "latency@fast+slow"]
    )
    wanted += parse_constraints(["latency@fast <= 5", "flops <= 1e9", "error >= 0.5"])
    seeds = np.arange(6, dtype=np.uint64)
    measure(backend, codes, wanted, seeds=seeds, fidelity=10)
    ((given, asked, given_seeds, fidelity),) = backend.calls
    np.testing.assert_array_equal(given, codes)
    np.testing.assert_array_equal(given_seeds, seeds)
    assert fidelity == 10
    # Once each, without signs; a bound goes with its metric, for a backend that can stop there.
    assert sorted(map(str, asked)) == [
        "error >= 0.5",
        "latency@fast <= 5",
        "latency@fast:p90",
        "latency@slow",
        "memory",
    ]


@pytest.mark.parametrize("texts", [["error", "error <= 3"], ["error <= 3", "error"]])
def test_a_bound_is_passed_on_in_any_order(
    small_space: SearchSpace, codes: Codes, texts: list[str]
) -> None:
    backend = Scripted(small_space, lambda c, o: Evaluation(ones(c, o)))
    measure(backend, codes, [Objective.parse(text) for text in texts])
    ((_, asked, _, _),) = backend.calls
    assert list(map(str, asked)) == ["error <= 3"]


def test_seeds_are_zeros_by_default(small_space: SearchSpace, codes: Codes) -> None:
    backend = Scripted(small_space, lambda c, o: Evaluation(ones(c, o)))
    measure(backend, codes, parse_objectives(["error"]))
    (_, _, seeds, fidelity), *_ = backend.calls
    assert seeds.dtype == np.uint64
    assert (seeds.tolist(), fidelity) == ([0] * 6, None)


def test_constraints_are_values_like_others(toy: Backend, codes: Codes) -> None:
    constrained = (*parse_objectives(["latency@fast"]), *parse_constraints(["latency@fast <= 2"]))
    found = measure(toy, codes, constrained)
    np.testing.assert_array_equal(found.values[:, 0], found.values[:, 1])
    assert list(found.status or ()) == ["ok"] * 6


# -- several devices -----------------------------------------------------------------------------


@pytest.mark.parametrize("statistic", ["", ":p90"])
def test_worst_ratio_over_devices(toy: Backend, codes: Codes, statistic: str) -> None:
    everything = np.concatenate(list(toy.space.enumerate()))
    one = parse_objectives(["latency@fast" + statistic, "latency@slow" + statistic])
    optima = measure(toy, everything, one).values.min(axis=0)
    ratios = measure(toy, codes, one).values / optima
    assert len(set(ratios.argmax(axis=1))) == 2  # each device is the worst for some network
    found = measure(toy, codes, parse_objectives([f"latency@fast+slow{statistic}", "error"]))
    np.testing.assert_allclose(found.values[:, 0], ratios.max(axis=1))
    assert found.values[:, 0].min() >= 1


def test_standard_error_is_the_worst_devices(toy: Backend, codes: Codes) -> None:
    class Noisy(type(toy)):  # type: ignore[misc]
        def evaluate(self, codes: Codes, objectives: Any, **how: Any) -> Evaluation:
            values = super().evaluate(codes, objectives, **how).values
            scale = [0.1 if o.key == "latency@fast" else 0.2 for o in objectives]
            return Evaluation(values, std=values * scale)

    found = measure(Noisy(toy.space), codes, parse_objectives(["latency@fast+slow", "params"]))
    one = measure(toy, codes, parse_objectives(["latency@fast", "latency@slow"])).values
    everything = np.concatenate(list(toy.space.enumerate()))
    optima = measure(toy, everything, parse_objectives(["latency@fast", "latency@slow"])).values
    worst = (one / optima.min(axis=0)).argmax(axis=1)
    assert found.std is not None
    np.testing.assert_allclose(found.std[:, 0], found.values[:, 0] * np.where(worst == 0, 0.1, 0.2))
    assert (found.std[:, 1] == 0).all()


def test_a_ratio_is_lost_with_one_of_its_devices(toy: Backend, codes: Codes) -> None:
    class Half(type(toy)):  # type: ignore[misc]
        def evaluate(self, codes: Codes, objectives: Any, **how: Any) -> Evaluation:
            values = super().evaluate(codes, objectives, **how).values
            values[0, [o.key == "latency@slow" for o in objectives]] = np.nan
            return Evaluation(values)

    found = measure(Half(toy.space), codes, parse_objectives(["latency@fast+slow"]))
    assert list(found.status or ()) == ["failed"] + ["ok"] * 5


# -- what a backend does wrong -------------------------------------------------------------------

PAIR = parse_objectives(["error", "memory"])


def assert_complete(found: Evaluation, n: int, m: int = 2) -> None:
    assert found.values.shape == (n, m)
    assert found.status is not None
    assert found.reasons is not None
    assert found.seconds is not None
    assert len(found.status) == len(found.reasons) == n
    assert np.shape(found.seconds) == (n,)
    for status, reason, values in zip(found.status, found.reasons, found.values, strict=True):
        assert "\n" not in reason
        if status == "ok":
            assert reason == ""
            assert np.isfinite(values).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_fails_its_trial(
    small_space: SearchSpace, codes: Codes, value: float
) -> None:
    def answer(codes: Codes, objectives: Sequence[Objective]) -> Evaluation:
        values = ones(codes, objectives)
        values[2, 1] = value
        values[4] = value
        return Evaluation(values)

    found = measure(Scripted(small_space, answer), codes, PAIR)
    assert_complete(found, 6)
    assert list(found.status or ()) == ["ok", "ok", "failed", "ok", "failed", "ok"]
    assert list(found.reasons or ())[2] == "not finite: memory"
    assert list(found.reasons or ())[4] == "not finite: error, memory"
    assert found.values[2, 0] == 1  # what is known stays known


def test_raising_for_one_network_fails_only_that_one(
    small_space: SearchSpace, codes: Codes
) -> None:
    def answer(given: Codes, objectives: Sequence[Objective]) -> Evaluation:
        if (given[:, LEADING] == codes[2, LEADING]).all(axis=1).any():
            raise RuntimeError("out of\nmemory")
        values = given[:, :2] + 1.0
        return Evaluation(values, std=values / 10)

    backend = Scripted(small_space, answer)
    seeds = np.arange(6, dtype=np.uint64)
    found = measure(backend, codes, PAIR, seeds=seeds)
    assert_complete(found, 6)
    assert list(found.status or ()) == ["ok", "ok", "failed", "ok", "ok", "ok"]
    assert list(found.reasons or ())[2].startswith(
        "RuntimeError: out of memory (tests/test_backends.py, line "
    )
    assert np.isnan(found.values[2]).all()
    kept = [0, 1, 3, 4, 5]
    np.testing.assert_array_equal(found.values[kept], codes[kept, :2] + 1.0)
    assert found.std is not None
    np.testing.assert_array_equal(found.std[kept], found.values[kept] / 10)
    for given, _, given_seeds, _ in backend.calls:  # a trial keeps its seed when asked alone
        rows = [np.flatnonzero((codes == code).all(axis=1))[0] for code in given]
        assert given_seeds.tolist() == rows


def test_raising_for_all(small_space: SearchSpace, codes: Codes) -> None:
    def answer(*_: object) -> Evaluation:
        raise KeyError("driver")

    found = measure(Scripted(small_space, answer), codes, PAIR)
    assert_complete(found, 6)
    assert list(found.status or ()) == ["failed"] * 6
    (reason,) = set(found.reasons or ())
    assert reason.startswith("KeyError: 'driver' (tests/test_backends.py, line ")
    assert found.std is None


def test_an_interrupt_is_not_a_failed_trial(small_space: SearchSpace, codes: Codes) -> None:
    def answer(*_: object) -> Evaluation:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(Scripted(small_space, answer), codes, PAIR)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda c, o: None, id="nothing"),
        pytest.param(lambda c, o: ones(c, o), id="an array"),
        pytest.param(lambda c, o: Evaluation(ones(c, o)[:, :1]), id="values: a column too few"),
        pytest.param(lambda c, o: Evaluation(ones(c, o)[1:]), id="values: a row too few"),
        pytest.param(lambda c, o: Evaluation(ones(c, o)[:, 0]), id="values: one dimension"),
        pytest.param(lambda c, o: Evaluation([["x", "y"]] * len(c)), id="values: text"),
        pytest.param(lambda c, o: Evaluation(ones(c, o), np.ones(len(c))), id="std"),
        pytest.param(
            lambda c, o: Evaluation(ones(c, o), status=["ok"] * (len(c) + 1)), id="status"
        ),
        pytest.param(lambda c, o: Evaluation(ones(c, o), status=["done"] * len(c)), id="a status"),
        pytest.param(
            lambda c, o: Evaluation(ones(c, o), seconds=np.ones(len(c) + 1)), id="seconds"
        ),
        pytest.param(
            lambda c, o: Evaluation(ones(c, o), reasons=["", *[""] * len(c)]), id="reasons"
        ),
    ],
)
def test_an_answer_of_another_shape_is_a_failure(
    small_space: SearchSpace, codes: Codes, answer: Answer
) -> None:
    for n in (6, 2, 1):
        found = measure(Scripted(small_space, answer), codes[:n], PAIR)
        assert_complete(found, n)
        assert list(found.status or ()) == ["failed"] * n
        assert all(found.reasons or ())


def test_an_answer_in_arrays_and_tuples(small_space: SearchSpace, codes: Codes) -> None:
    def answer(codes: Codes, objectives: Sequence[Objective]) -> Evaluation:
        n = len(codes)
        return Evaluation(
            ones(codes, objectives),
            status=np.array(["ok"] * (n - 1) + ["failed"]),  # type: ignore[arg-type]
            seconds=np.arange(n, dtype=float),
            reasons=np.array([""] * (n - 1) + ["late"]),  # type: ignore[arg-type]
        )

    found = measure(Scripted(small_space, answer), codes, PAIR)
    assert_complete(found, 6)
    assert list(found.status or ()) == ["ok"] * 5 + ["failed"]
    assert list(found.reasons or ()) == [""] * 5 + ["late"]
    assert np.asarray(found.seconds).tolist() == [0, 1, 2, 3, 4, 5]


def test_infeasible_trials_may_lack_values(small_space: SearchSpace, codes: Codes) -> None:
    def answer(codes: Codes, objectives: Sequence[Objective]) -> Evaluation:
        values = ones(codes, objectives)
        values[1:, 0] = np.nan
        return Evaluation(values, status=["ok", "infeasible", *["failed"] * (len(codes) - 2)])

    found = measure(Scripted(small_space, answer), codes, PAIR)
    assert list(found.status or ()) == ["ok", "infeasible"] + ["failed"] * 4
    assert (found.values[:, 1] == 1).all()


@pytest.mark.parametrize("raises", [False, True])
def test_no_networks(small_space: SearchSpace, raises: bool) -> None:
    def answer(codes: Codes, objectives: Sequence[Objective]) -> Evaluation:
        if raises and not len(codes):
            raise ValueError("nothing to measure")
        return Evaluation(ones(codes, objectives))

    none = small_space.encode([])
    assert_complete(measure(Scripted(small_space, answer), none, PAIR), 0)


def test_evaluation_defaults(small_space: SearchSpace, codes: Codes) -> None:
    bare = Evaluation(np.ones((2, 2)))
    assert (bare.std, bare.status, bare.seconds, bare.reasons) == (None,) * 4
    backend = Scripted(small_space, lambda c, o: Evaluation(ones(c, o)))
    found = measure(backend, codes, PAIR)
    assert_complete(found, 6)
    assert (np.asarray(found.seconds) >= 0).all()


# -- what may be asked ---------------------------------------------------------------------------


def test_metrics(toy: Backend) -> None:
    assert set(all_metrics(toy)) == {
        *("error", "latency@fast", "latency@slow", "memory", "params", "flops")
    }
    assert metric_of(toy, Objective("latency", ("fast",), 0.9)).unit == "ms"
    assert metric_of(toy, Objective.parse("-memory")).unit == "MB"
    assert metric_of(toy, Objective.parse("error <= 3")).cost == "expensive"
    assert metric_of(toy, Objective.parse("params")).cost == "free"
    assert metric_of(toy, Objective.parse("latency@fast+slow:p90")).unit == ""


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("latancy@fast", UnknownName, "unknown metric 'latancy'; did you mean 'latency'"),
        ("parms", UnknownName, "did you mean 'params'"),
        ("zzz", UnknownName, "known: error, flops, latency, memory, params"),
        ("latency", InvalidInput, "latency needs a device, as in latency@fast.*slow"),
        ("latency@fasst", UnknownName, "unknown device 'fasst'; did you mean 'fast'"),
        ("latency@fast+slw", UnknownName, "did you mean 'slow'"),
        ("error@fast", InvalidInput, "error takes no device"),
        ("params@fast", InvalidInput, "params takes no device"),
        ("error:p90", InvalidInput, "error has no quantiles"),
        ("params:p90 <= 3", InvalidInput, "params has no quantiles"),
    ],
)
def test_what_cannot_be_asked(
    toy: Backend, text: str, kind: type[InvalidInput], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        metric_of(toy, Objective.parse(text))
    assert "\n" not in str(caught.value)


def test_ratios_need_optima(small_space: SearchSpace) -> None:
    backend = Scripted(small_space, lambda c, o: Evaluation(ones(c, o)))
    assert backend.front(PAIR) is None
    metric_of(backend, Objective.parse("latency@fast"))
    with pytest.raises(InvalidInput, match=r"latency@fast\+slow: .*optima, expected one device"):
        metric_of(backend, Objective.parse("latency@fast+slow"))


def test_a_backend_must_evaluate(small_space: SearchSpace) -> None:
    class Unfinished(Backend):
        pass

    with pytest.raises(TypeError, match="evaluate"):
        Unfinished(small_space)  # type: ignore[abstract]


def test_a_bound_on_params_stops_what_takes_its_time(small_space: SearchSpace) -> None:
    asked: list[int] = []

    class Slow(Backend):
        metrics: Mapping[str, Metric] = {"speed": Metric()}
        missing: Mapping[str, str] = {"energy@cpu": "no counter"}
        on_hardware = True

        def evaluate(
            self, codes: Codes, objectives: Any, *, seeds: Any, fidelity: Any = None
        ) -> Any:
            asked.append(len(codes))
            return Evaluation(seeds[:, None].astype(float), std=np.full((len(codes), 1), 0.5))

    codes = np.unique(small_space.sample(9, np.random.default_rng(0)), axis=0)
    params = small_space.params(codes)
    bound = int(np.median(params))
    wanted = (*parse_objectives(["speed", "flops"]), *parse_constraints([f"params <= {bound}"]))
    seeds = np.arange(len(codes), dtype=np.uint64)
    found = measure(Slow(small_space), codes, wanted, seeds=seeds)
    kept = params <= bound
    assert asked == [1] * kept.sum()
    assert found.status == ["ok" if k else "infeasible" for k in kept]
    assert found.reasons is not None
    assert found.seconds is not None
    assert found.std is not None
    for i, k in enumerate(kept):
        assert found.reasons[i] == ("" if k else f"stopped at params <= {bound}: {params[i]:.6g}")
        assert (found.seconds[i] > 0) == k
        assert found.std[i].tolist() == [0.5 * k, 0, 0]
    assert np.array_equal(found.values[:, 0], np.where(kept, seeds, np.nan), equal_nan=True)
    assert found.values[:, 2].tolist() == params.tolist()
    with pytest.raises(InvalidInput, match="energy@cpu cannot be measured here: no counter"):
        metric_of(Slow(small_space), Objective.parse("energy@cpu"))


def test_hooks_of_former_names_still_serve(small_space: SearchSpace, tmp_path: Path) -> None:
    with pytest.warns(DeprecationWarning, match="is now called"):

        class Former(Backend):
            calls: ClassVar[list[str]] = []

            def evaluate(self, codes: Codes, objectives: Any, **_: Any) -> Evaluation:
                return Evaluation(np.zeros((len(codes), len(objectives))))

            def begin(self, folder: Path) -> None:
                super().begin(folder)
                self.calls.append("begin")

            def end(self) -> None:
                super().end()
                self.calls.append("end")

    backend = Former(small_space)
    with pytest.warns(DeprecationWarning, match="on_start"):
        backend.on_start(tmp_path)
    with pytest.warns(DeprecationWarning, match="on_end"):
        backend.on_end()
    assert backend.calls == ["begin", "end"]


# -- workloads -----------------------------------------------------------------------------------

GPT_S = hwnas.space("gpt-s")


class Deployed(Scripted):
    """Offers a metric of a workload on two devices."""

    metrics: Mapping[str, Metric] = {
        "latency@fast": Metric("ms"),
        "tpot.chat@fast": Metric("ms", quantiles=True),
        "tpot.chat@slow": Metric("ms", quantiles=True),
        "perplexity.chat": Metric("", "expensive"),
    }


def test_metrics_of_workloads() -> None:
    backend = Deployed(GPT_S, ones)
    assert metric_of(backend, Objective.parse("tpot.chat@slow:p90")).unit == "ms"
    assert metric_of(backend, Objective.parse("perplexity.chat")).cost == "expensive"
    assert metric_of(backend, Objective.parse("kv_cache.serve <= 3")).cost == "free"
    assert "bfloat16" in metric_of(backend, Objective.parse("weight_memory.chat")).meaning


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tpot.chat", r"^tpot\.chat needs a device, as in tpot\.chat@fast; known: fast, slow$"),
        ("tpot.chat@fats", r"^unknown device 'fats'; did you mean 'fast'\?$"),
        ("perplexity.chat@fast", r"^perplexity\.chat takes no device"),
        ("kv_cache.chat@fast", r"^kv_cache\.chat takes no device"),
        ("kv_cache.chat:p90", r"^kv_cache\.chat has no quantiles"),
        ("tpot@fast", r"^tpot needs a workload, as in tpot\.serve; known: chat, serve$"),
        ("kv_cache", r"^kv_cache needs a workload, as in kv_cache\.serve; known: chat, serve$"),
        ("tpot.sreve@fast", r"^unknown workload 'sreve'; did you mean 'serve'\?$"),
        ("kv_cache.chta", r"^unknown workload 'chta'; did you mean 'chat'\?$"),
        ("params.chat", r"^params takes no workload, found 'params\.chat'$"),
        ("tpott.chat@fast", r"^unknown metric 'tpott'; did you mean 'tpot'\?$"),
        ("tpot.forward@fast", r": the workload forward has latency and energy alone$"),
        (
            "tpot.serve@fast",
            r"^tpot\.serve@fast must be measured, with: hwnas profile --workload serve and hwnas "
            r"device add, or in a search with the profile backend; of this workload there are "
            r"kv_cache\.serve and weight_memory\.serve here$",
        ),
        (
            "latency.forward@fast:p90",
            r"^latency\.forward@fast:p90 must be measured, .* backend; latency@fast:p90 is one "
            r"forward pass$",
        ),
        (
            "-throughput.serve@fast+slow",
            r"can only be minimised; for several devices use latency\.serve or tpot\.serve$",
        ),
        ("tpot.chat@fast+slow", r"does not know the devices' optima"),
    ],
)
def test_other_metrics_of_workloads_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        metric_of(Deployed(GPT_S, ones), Objective.parse(text))
    assert "\n" not in str(caught.value)


def test_workloads_of_other_members_are_refused() -> None:
    space = SearchSpace("mlp", {"width": [1, 2]})
    for text in ("kv_cache.chat", "tpot.serve@fast"):
        with pytest.raises(InvalidInput, match="workloads are those of language models, mlp has"):
            metric_of(Scripted(space, ones), Objective.parse(text))


def test_a_workload_that_exceeds_the_context_is_refused(small_space: SearchSpace) -> None:
    backend = Scripted(GPT_S, ones)
    backend.workloads = {"long": Workload(1000, 25, 1)}
    with pytest.raises(InvalidInput, match=r"^kv_cache\.long: workload of 1,000 \+ 25 tokens: .*"):
        metric_of(backend, Objective.parse("kv_cache.long"))


def test_closed_forms_of_workloads_are_never_asked_for() -> None:
    codes = GPT_S.sample(5, np.random.default_rng(0))
    backend = Deployed(GPT_S, lambda c, o: Evaluation(ones(c, o)))
    objectives = parse_objectives(["kv_cache.serve", "tpot.chat@fast", "weight_memory.chat"])
    found = measure(backend, codes, objectives)
    assert [str(o) for o in backend.calls[0][1]] == ["tpot.chat@fast"]
    serve, chat = BUILT_IN["serve"], BUILT_IN["chat"]
    np.testing.assert_array_equal(found.values[:, 0], kv_cache(GPT_S, codes, serve))
    np.testing.assert_array_equal(found.values[:, 1], 1)
    np.testing.assert_array_equal(found.values[:, 2], weight_memory(GPT_S, codes, chat))


def test_a_violated_cache_spares_a_measurement() -> None:
    codes = GPT_S.canonical([[0] * 27, [2] * 27])
    backend = Deployed(GPT_S, lambda c, o: Evaluation(ones(c, o)))
    backend.on_hardware = True
    measured = (
        *parse_objectives(["tpot.chat@fast"]),
        *parse_constraints(["kv_cache.serve <= 1e3"]),
    )
    found = measure(backend, codes, measured)
    assert found.status == ["ok", "infeasible"]
    assert found.reasons == ["", "stopped at kv_cache.serve <= 1000: 2415.92"]


def test_workloads_reach_backends_of_every_kind() -> None:
    class Taking(Deployed):
        def __init__(
            self, space: SearchSpace, *, workloads: Mapping[str, Workload] | None = None
        ) -> None:
            super().__init__(space, ones)
            self.given = workloads

    class Other(Deployed):
        def __init__(self, space: SearchSpace) -> None:
            super().__init__(space, ones)

    mine = {"mine": Workload(8, 8, 1)}
    taking = registry.backend(Taking, GPT_S, workloads=mine)
    assert isinstance(taking, Taking)
    assert taking.given is mine
    assert registry.backend(Other, GPT_S, workloads=mine).workloads is mine
    assert registry.backend(Other, GPT_S).workloads is BUILT_IN
    with pytest.raises(UnknownName, match="unknown setting of backend Taking: 'workloads'"):
        registry.checked_settings("backend", Taking, {"workloads": {}})
