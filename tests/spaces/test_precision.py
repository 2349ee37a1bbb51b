"""Precision of weights as a choice of a space: codes, strings and memory."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

import hwnas
from hwnas.backends import metric_of
from hwnas.errors import InvalidInput
from hwnas.objectives import Objective
from hwnas.runner.evaluation import measure
from hwnas.spaces import GPTSpace, LanguageModelSpace, LlamaSpace
from hwnas.spaces.arch_input import parse_text
from hwnas.spaces.precision import PRECISIONS
from hwnas.workloads import BUILT_IN, Workload, kv_cache, weight_memory

GPT: dict[str, Any] = {
    "name": "g",
    "embed_dim": [32, 64],
    "n_layer": [1, 2],
    "mlp_ratio": [1, 4],
    "n_head": [2, 3],
}
LLAMA: dict[str, Any] = {
    "family": "llama",
    "name": "l",
    "embed_dim": [32, 64],
    "n_layer": [1, 2],
    "mlp_dim": [0, 64],
    "n_head": [0, 4],
    "n_kv_head": [1, 2],
}
# SHA-256 of 100 samples and their strings, before precision became a choice.
DIGESTS = {"gpt-s": "b37387e52114f4c6", "llama-s": "fbec08169d9ceb08"}
CHOICES = ["bfloat16", "int8", "float32"]
FORMS = pytest.mark.parametrize("form", [GPT, LLAMA], ids=["gpt", "llama"])


def with_precision(form: dict[str, Any], choices: list[str]) -> LanguageModelSpace:
    space = hwnas.space({**form, "precision": choices})
    assert isinstance(space, GPTSpace | LlamaSpace)
    return space


@FORMS
def test_members_with_precision(form: dict[str, Any]) -> None:
    plain, space = hwnas.space(form), with_precision(form, CHOICES)
    assert space.columns == (*plain.columns[:3], "precision", *plain.columns[3:])
    assert space.size == 3 * plain.size
    codes = np.concatenate(list(space.enumerate()))
    assert len(np.unique(codes, axis=0)) == len(codes) == space.size
    archs = space.decode(codes)
    assert len(set(map(str, archs))) == space.size
    np.testing.assert_array_equal(space.encode(archs), codes)
    np.testing.assert_array_equal(space.encode(list(map(str, archs))), codes)
    assert [arch.precision for arch in archs] == [CHOICES[c] for c in codes[:, 3]]
    assert all(str(arch).endswith(f"-{arch.precision}") for arch in archs)
    assert all(space.parse(str(arch)) == arch for arch in archs)
    again = hwnas.space({"family": space.family, **space.to_dict()})
    np.testing.assert_array_equal(again.encode(archs), codes)
    assert (again.size, again.columns) == (space.size, space.columns)
    # Mappings and lines of text, too.
    fields = {f: getattr(archs[-1], f) for f in archs[-1].__dataclass_fields__ if f != "space"}
    np.testing.assert_array_equal(space.encode([fields]), codes[-1:])
    (item,) = parse_text(str(archs[-1]), space)
    assert item.arch == archs[-1]


@FORMS
def test_the_same_network_in_each_precision(form: dict[str, Any]) -> None:
    plain, space = hwnas.space(form), with_precision(form, list(PRECISIONS))
    assert isinstance(plain, LanguageModelSpace)
    codes = plain.sample(30, np.random.default_rng(0))
    workload = Workload(8, 4, 2, "fp8")
    for precision in PRECISIONS:
        archs = [replace(arch, precision=precision) for arch in plain.decode(codes)]
        chosen, own = space.encode(archs), replace(workload, precision=precision)
        np.testing.assert_array_equal(space.params(chosen), plain.params(codes))
        np.testing.assert_array_equal(space.flops(chosen), plain.flops(codes))
        for form_of in (kv_cache, weight_memory):
            np.testing.assert_array_equal(
                form_of(space, chosen, workload), form_of(plain, codes, own)
            )


@FORMS
def test_precisions_that_a_space_does_not_have_are_refused(form: dict[str, Any]) -> None:
    plain, space = hwnas.space(form), with_precision(form, CHOICES)
    (arch,) = plain.decode(plain.canonical([[1] * len(plain.columns)]))
    with pytest.raises(InvalidInput, match=r"expects one of bfloat16, int8, float32, found none$"):
        space.encode([arch])
    with pytest.raises(InvalidInput, match=r"expects one of .*, found 'fp8'$"):
        space.encode([replace(arch, precision="fp8")])
    with pytest.raises(InvalidInput, match=r"precision: . expects none, found 'int8'$"):
        plain.encode([f"{arch}-int8"])
    with pytest.raises(InvalidInput, match=r"^architecture"):
        plain.parse(f"{arch}-int4")


@FORMS
@pytest.mark.parametrize("choices", [["int4"], ["int8", "int8"], "int8", [8], [None]])
def test_wrong_choices_are_refused(form: dict[str, Any], choices: Any) -> None:
    with pytest.raises(InvalidInput, match=r"^precision: expected a list of distinct ones of") as e:
        hwnas.space({**form, "precision": choices})
    assert "\n" not in str(e.value)


def test_there_are_no_published_figures_of_precisions() -> None:
    part = {k: list(v) for k, v in GPTSpace.named["gpt-s"].items()}
    assert hwnas.surrogate(hwnas.space({"name": "part", **part})).devices
    space = hwnas.space({"name": "part", **part, "precision": ["bfloat16", "int8"]})
    with pytest.raises(InvalidInput, match="no published figures"):
        hwnas.surrogate(space)


def test_a_metric_says_whose_precision_it_has() -> None:
    class Measured(hwnas.Backend):
        metrics: ClassVar = {"error": hwnas.Metric()}

        def evaluate(self, codes: Any, objectives: Any, **others: Any) -> hwnas.Evaluation:
            return hwnas.Evaluation(np.ones((len(codes), len(objectives))))

    backend = Measured(with_precision({**GPT, "context": 1024}, CHOICES))
    objective = Objective.parse("weight_memory.chat")
    assert "the precision of each network" in metric_of(backend, objective).meaning
    codes = backend.space.sample(20, np.random.default_rng(0))
    values = measure(backend, codes, [objective]).values[:, 0]
    assert isinstance(backend.space, GPTSpace)
    np.testing.assert_array_equal(values, weight_memory(backend.space, codes, BUILT_IN["chat"]))


def test_named_spaces_have_no_such_choice() -> None:
    """Their codes, strings and dictionaries are those that they always were."""
    digests = {}
    for name in ("gpt-s", "llama-s"):
        space = hwnas.space(name)
        codes = space.sample(100, np.random.default_rng(0))
        assert "precision" not in space.to_dict()
        assert all(arch.precision is None for arch in space.decode(codes))
        texts = "\n".join(map(str, space.decode(codes)))
        digests[name] = hashlib.sha256(codes.tobytes() + texts.encode()).hexdigest()[:16]
    assert digests == DIGESTS
