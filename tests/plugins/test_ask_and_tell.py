"""Every optimizer by hand: `ask` without a number, `tell` with configurations in any form."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import hwnas
from hwnas import registry
from hwnas.errors import InvalidInput
from hwnas.optimizers import Optimizer
from hwnas.spaces import Codes, GPTSpace, SearchSpace

OWN = {
    "name": "mlp",
    "choices": {"depth": [1, 2, 3], "act": ["relu", "tanh"], "rate": [0.01, 0.1, 1.0]},
    "layers": {"width": [8, 16, 32, 64]},
}
FORMS = {
    "codes": lambda space, codes: codes,
    "lists": lambda space, codes: codes.tolist(),
    "decoded": lambda space, codes: space.decode(codes),
    "strings": lambda space, codes: [str(member) for member in space.decode(codes)],
    "dicts": lambda space, codes: [as_dict(member) for member in space.decode(codes)],
}


def as_dict(member: Any) -> dict[str, Any]:
    names = getattr(type(member), "__dataclass_fields__", member)
    look_up = dict(member) if names is member else {n: getattr(member, n) for n in names}
    return {name: look_up[name] for name in names}


def codes_of(proposal: Any) -> Codes:
    """Codes of an `ask`; a multi-fidelity optimizer returns a fidelity beside them."""
    return np.asarray(proposal[0] if isinstance(proposal, tuple) else proposal)


def losses_of(codes: Codes) -> Any:
    return np.stack([codes.sum(axis=1), -(codes.astype(float) ** 2).sum(axis=1)], axis=1)


@pytest.mark.parametrize("form", ["decoded", "dicts"])
@pytest.mark.parametrize("name", registry.names("optimizer"))
@pytest.mark.parametrize("source", ["gpt", "own"])
def test_every_optimizer_by_hand(small_space: GPTSpace, name: str, form: str, source: str) -> None:
    space = small_space if source == "gpt" else hwnas.space(OWN)
    by_hand, by_codes = (hwnas.optimizer(name, space, 2, seed=3) for _ in range(2))
    for _ in range(12):
        codes = codes_of(by_hand.ask())
        np.testing.assert_array_equal(codes, codes_of(by_codes.ask(1)))
        assert len(codes) == 1
        losses = losses_of(codes)
        (member,) = FORMS[form](space, codes)
        by_hand.tell(member, losses[0].tolist())
        by_codes.tell(codes, losses)
    np.testing.assert_array_equal(by_hand.history.codes, by_codes.history.codes)
    np.testing.assert_array_equal(by_hand.history.losses, by_codes.history.losses)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("source", ["tiny", "own", "llama-s", "dtlz2"])
def test_several_configurations_in_every_form(
    small_space: GPTSpace, form: str, source: str
) -> None:
    space = {"tiny": small_space, "own": hwnas.space(OWN)}.get(source) or hwnas.space(source)
    optimizer = hwnas.optimizer("random", space, 2, seed=0, n_constraints=1)
    codes = space.sample(5, np.random.default_rng(0))
    optimizer.tell(
        FORMS[form](space, codes),
        losses_of(codes),
        std=np.ones((5, 2)),
        constraints=np.ones((5, 1)),
    )
    np.testing.assert_array_equal(optimizer.history.codes, codes)
    one = FORMS[form](space, codes[:1])
    if form not in ("codes", "lists"):
        optimizer.tell(one[0], (1.0, 2.0), std=(0.1, 0.2), constraints=(-1.0,))
        np.testing.assert_array_equal(optimizer.history.losses[-1], [1, 2])
        np.testing.assert_array_equal(optimizer.history.std[-1], [0.1, 0.2])
        np.testing.assert_array_equal(optimizer.history.constraints[-1], [-1])


@pytest.mark.parametrize(
    ("config", "losses", "message"),
    [
        ({"depth": 1, "act": "gelu", "rate": 0.1, "width": (8,)}, (1, 2), "act: expected one of"),
        ({"depth": 1, "act": "relu", "rate": 0.1}, (1, 2), "width: expected a list of 1 values"),
        ({"dept": 1}, (1, 2), "unknown choice of mlp: 'dept'; did you mean 'depth'"),
        ("mlp:depth=1", (1, 2), "width: expected a list of 1 values"),
        ({"depth": 1, "act": "relu", "rate": 0.1, "width": (8,)}, (1,), "expected losses of shape"),
        ({"depth": 1, "act": "relu", "rate": 0.1, "width": (8,)}, [[1, 2]], "expected losses"),
        ([0, 0, 0, 0, 0, 0], (1, 2), "expected codes of shape"),
        ({}, (1, 2), "expected a value of depth, found none"),
        (None, (1, 2), "expected codes of shape .* or members of mlp, found None"),
        ([[0, 0], [0]], (1, 2), "expected codes of shape"),
        ([["a"] * 6], [[1, 2]], "codes of mlp: expected shape .* of numbers, found"),
        ({"depth": [1], "act": "relu"}, (1, 2), r"depth: expected one of .*, found \[1\]"),
        ("mlp:depth=1/act=relu/rate=0.1/width=8", {"a": 1, "b": 2}, "expected losses of shape"),
        ("mlp:depth=1/act=relu/rate=0.1/width=8", ("a", "b"), "expected losses of shape"),
        ("mlp:depth=1/act=relu/rate=0.1/width=8", None, "expected losses of shape"),
    ],
)
def test_what_is_no_configuration_is_refused(config: Any, losses: Any, message: str) -> None:
    optimizer = hwnas.optimizer("random", OWN, 2, seed=0)
    with pytest.raises(InvalidInput, match=message):
        optimizer.tell(config, losses)
    assert len(optimizer.history) == 0


@pytest.mark.parametrize("source", [OWN, "gpt-s", "llama-s", "dtlz2"])
def test_no_space_encodes_nonsense(source: Any) -> None:
    space = hwnas.space(source)
    others = [hwnas.space(name) for name in ("gpt-s", "llama-s", "dtlz2")]
    foreign = [s.decode(s.canonical([[0] * len(s.columns)]))[0] for s in others]
    nonsense: list[Any] = [None, 3, 2.5, b"x", "", "x", (), {}, {"space": 1}, {1: 2}, object()]
    (member,) = space.decode(space.canonical([[0] * len(space.columns)]))
    fields = dict(member) if isinstance(member, Mapping) else dataclasses.asdict(member)
    wrong = [{**fields, key: value} for key in fields for value in (None, 0.3, "a", [], [[1]], {})]
    # A field that is None, such as the precision of a space without that choice, may be left out.
    required = [key for key, value in fields.items() if value is not None]
    wrong += [{k: v for k, v in fields.items() if k != key} for key in required]
    wrong = [config for config in wrong if {**config, "space": ""} != {**fields, "space": ""}]
    for value in [*nonsense, *wrong, *(f for f in foreign if type(f) is not type(member))]:
        with pytest.raises(InvalidInput):
            space.encode([value])


class Required(Optimizer):
    """As plugin authors write it."""

    def ask(self, n):  # type: ignore[no-untyped-def]
        return self.space.sample(n, self.rng)


class Child(Required):
    """Calls its parent's."""

    def ask(self, n: int) -> Codes:
        return np.asarray(super().ask(n))


class Inheriting(Required):
    """Has no `ask` of its own."""


class OwnDefault(Optimizer):
    """Has a default of its own, which stays."""

    def ask(self, n: int = 3) -> Codes:
        return self.space.sample(n, self.rng)


@pytest.mark.parametrize(
    ("kind", "number"), [(Required, 1), (Child, 1), (Inheriting, 1), (OwnDefault, 3)]
)
def test_authors_need_not_know_of_the_default(
    small_space: SearchSpace, kind: type[Optimizer], number: int
) -> None:
    assert len(kind(small_space, 2, seed=0).ask()) == number  # type: ignore[call-arg]
    assert len(kind(small_space, 2, seed=0).ask(5)) == 5
    assert len(kind(small_space, 2, seed=0).ask(n=5)) == 5
