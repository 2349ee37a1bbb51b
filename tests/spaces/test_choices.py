"""Choices that define a search space, by the constructor and from a mapping."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from hwnas.errors import HwnasError, InvalidInput, UnknownName
from hwnas.spaces import GPTSpace, space
from hwnas.spaces.architecture import Architecture

sys.path.insert(0, str(Path(__file__).parent))
from space_strategies import sample_codes

VALID: dict[str, Any] = {
    "name": "x",
    "embed_dim": [64],
    "n_layer": [1, 2],
    "mlp_ratio": [1, 2],
    "n_head": [1, 2],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "name: expected letters, digits"),
        ({"name": "a b"}, "name: expected letters, digits.*'a b'"),
        ({"name": "a/b"}, "name: expected letters, digits"),
        ({"name": "x\n"}, "name: expected letters, digits"),
        ({"name": 3}, "name: expected letters, digits.*found 3"),
        ({"name": "gpt-2"}, "all digits.*'gpt-2'"),
        ({"name": "7"}, "all digits"),
        ({"embed_dim": []}, "embed_dim: expected a list of 1 to 127 choices"),
        ({"embed_dim": 64}, "embed_dim: expected a list.*found 64"),
        ({"embed_dim": "64"}, "embed_dim: expected a list"),
        ({"embed_dim": list(range(1, 129))}, "embed_dim: expected a list of 1 to 127"),
        ({"embed_dim": [64, 32]}, r"embed_dim: expected increasing.*\[64, 32\]"),
        ({"mlp_ratio": [2, 2]}, "mlp_ratio: expected increasing"),
        ({"embed_dim": [0, 4]}, "embed_dim: expected a positive integer, found 0"),
        ({"n_head": [-4]}, "n_head: expected 0 or a positive integer, found -4"),
        ({"n_head": [4.0]}, "n_head: expected 0 or a positive integer, found 4.0"),
        ({"mlp_ratio": ["4"]}, "mlp_ratio: expected 0 or a positive integer, found '4'"),
        ({"mlp_ratio": [0], "n_head": [0]}, "allowed: expected at least one combination"),
        ({"n_layer": [True]}, "n_layer: expected a positive integer, found True"),
        ({"n_layer": [1025]}, "n_layer: expected at most 1024 layers, found 1025"),
        ({"bias": []}, "bias: expected"),
        ({"bias": [1]}, r"bias: expected.*found \[1\]"),
        ({"bias": [True, True]}, "bias: expected"),
        ({"bias": "True"}, "bias: expected.*found 'True'"),
        ({"bias": True}, "bias: expected.*found True"),
        ({"bias": None}, "bias: expected.*found None"),
        ({"head_size": 63}, "head_size: expected an even number, found 63"),
        ({"head_size": 0}, "head_size: expected a positive integer, found 0"),
        ({"context": True}, "context: expected a positive integer, found True"),
        ({"context": 1e3}, "context: expected a positive integer, found 1000.0"),
        ({"vocab_size": -1}, "vocab_size: expected a positive integer, found -1"),
        ({"vocab_size": None}, "vocab_size: expected a positive integer, found None"),
    ],
)
def test_invalid_choices_are_refused(change: dict[str, Any], message: str) -> None:
    # By the constructor and by space().
    for make in (lambda settings: GPTSpace(**settings), space):
        with pytest.raises(InvalidInput, match=message) as caught:
            make({**VALID, **change})
        assert "\n" not in str(caught.value)


def test_maximum_number_of_choices() -> None:
    search_space = space({**VALID, "embed_dim": list(range(1, 128))})
    codes = sample_codes(search_space, 0, 2000)
    assert codes[:, 0].max() == 126
    assert search_space.is_valid(codes).all()
    assert [arch.embed_dim for arch in search_space.decode(codes)] == (codes[:, 0] + 1).tolist()


@pytest.mark.parametrize(
    ("name", "hint"), [("gpt_s", "'gpt-s'"), ("gpt-xll", "'gpt-xl'"), ("resnet", "known: ")]
)
def test_unknown_space(name: str, hint: str) -> None:
    with pytest.raises(UnknownName, match=f"unknown space '{name}'.*{hint}"):
        space(name)


def test_unknown_key_of_a_space() -> None:
    with pytest.raises(UnknownName, match="'n_layers'; did you mean 'n_layer'"):
        space({**VALID, "n_layers": [1]})


def test_missing_keys_of_a_space() -> None:
    with pytest.raises(InvalidInput, match="missing: n_layer, n_head"):
        space({key: value for key, value in VALID.items() if key not in ("n_layer", "n_head")})


def test_bias_outside_the_space_is_refused() -> None:
    search_space = space({**VALID, "bias": [False]})
    with pytest.raises(InvalidInput, match="bias: expected"):
        search_space.encode([Architecture("x", 64, 1, (1,), (1,), True)])


def test_errors_can_be_corrected_by_the_user() -> None:
    assert issubclass(InvalidInput, HwnasError)
    assert issubclass(InvalidInput, ValueError)
