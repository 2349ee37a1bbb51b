"""Architecture strings and their round trip."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.errors import InvalidInput
from hwnas.spaces.architecture import Architecture

# Names without a part that is all digits, see `Architecture.parse`.
names = st.lists(
    st.from_regex(r"[A-Za-z0-9._]*[A-Za-z._][A-Za-z0-9._]*", fullmatch=True), min_size=1, max_size=3
).map("-".join)
numbers = st.integers(1, 4096)


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    depth = draw(st.integers(1, 6))
    per_layer = st.lists(numbers, min_size=depth, max_size=depth).map(tuple)
    return Architecture(
        draw(names), draw(numbers), depth, draw(per_layer), draw(per_layer), draw(st.booleans())
    )


@given(architectures())
def test_string_round_trip(arch: Architecture) -> None:
    assert Architecture.parse(str(arch)) == arch


def test_string_of_an_architecture() -> None:
    text = "gpt-s-3-768-2-3-4-4-8-12-False"
    arch = Architecture.parse(text)
    assert arch == Architecture("gpt-s", 768, 3, (2, 3, 4), (4, 8, 12), False)
    assert str(arch) == text


def test_equal_architectures_have_equal_hashes() -> None:
    a, b = (Architecture.parse("gpt-s-1-192-2-4-True") for _ in range(2))
    # Architectures are keys of dictionaries and members of sets.
    assert len({a, b}) == 1
    assert len({a, dataclasses.replace(a, bias=False)}) == 2


def test_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Architecture.parse("gpt-s-1-192-2-4-True").n_layer = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gpt-s",
        "gpt-s-True",
        "gpt-s-1-True",
        "gpt-s-1-192-True",
        "gpt-s-1-192-2-True",
        "gpt-s-1-192-2-4",
        "gpt-s-1-192-2-4-true",
        "gpt-s-1-192-2-4-1",
        "gpt-s-1-192-2-4-8-True",
        "gpt-s-2-192-2-4-True",
        "gpt-s-0-192-True",
        "gpt-s-1-192--2-4-True",
        "gpt-s-1-192-2.0-4-True",
        "1-192-2-4-True",
        "-1-192-2-4-True",
        "gpt-s-1-192-2-4-True\n",
        "gpt-s\n-1-192-2-4",
    ],
)
def test_malformed_strings_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="expected SPACE-LAYERS-WIDTH") as caught:
        Architecture.parse(text)
    assert "\n" not in str(caught.value)
    assert repr(text) in str(caught.value)


def test_wrong_count_is_named() -> None:
    with pytest.raises(InvalidInput, match="2 layers want 4 ratios and head counts, found 3"):
        Architecture.parse("gpt-s-2-192-2-4-8-True")


def test_numbers_with_too_many_digits() -> None:
    # Python refuses to convert strings of more than 4,300 digits.
    with pytest.raises(InvalidInput):
        Architecture.parse(f"gpt-s-1-{'9' * 5000}-2-4-True")
