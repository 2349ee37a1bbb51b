"""Tests of settings that the Bayesian optimizers inherit from their base class."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from hwnas.errors import HwnasError, UnknownName
from hwnas.registry import checked_settings, lookup, settings_of
from hwnas.spaces import space

pytest.importorskip("botorch")

COMMON = {"initial": 16, "candidates": 128, "rounds": 3, "samples": 64}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ehvi", COMMON | {"samples": 32}),
        ("parego", COMMON),
        ("rsbo", COMMON),
        ("lsbo", {"weights": None} | COMMON),
    ],
)
def test_names_and_defaults(name: str, expected: dict[str, Any]) -> None:
    cls = lookup("optimizer", name)
    defaults = {key: parameter.default for key, parameter in settings_of(cls).items()}
    assert defaults == expected
    text = inspect.getdoc(cls) or ""
    assert all(key in text for key in expected)


@pytest.mark.parametrize("name", ["ehvi", "lsbo"])
def test_inherited_settings_are_checked(name: str) -> None:
    assert checked_settings("optimizer", name, {"rounds": 2}) == {"rounds": 2}
    with pytest.raises(HwnasError, match="rounds"):
        checked_settings("optimizer", name, {"rounds": 2.5})
    with pytest.raises(UnknownName, match="settings"):
        checked_settings("optimizer", name, {"settings": 1})
    # Without the registry, Python refuses unknown settings.
    with pytest.raises(TypeError, match="nonexistent"):
        lookup("optimizer", name)(space("gpt-s"), 2, seed=0, nonexistent=1)
