"""Checks of a family of spaces: its constructor, its named spaces, and their other forms.

The name of each function, with hyphens, is that of its check; its docstring is the requirement.
"""

from __future__ import annotations

import json
import pickle
import sys
from typing import Any

import numpy as np

from hwnas.errors import HwnasError, InvalidInput
from hwnas.spaces import SearchSpace
from hwnas.spaces import space as space_of
from hwnas.spaces.families import settings_of_space
from hwnas.testing.checks import (
    NONEXISTENT,
    CheckFailed,
    NotJudged,
    require,
    require_unknown_setting_refused,
    require_valid_constructor,
)
from hwnas.testing.space_harness import SpaceUnderTest

# Values that make sense for no setting; a setting may still accept some of them.
_NONSENSE: tuple[Any, ...] = ("no such choice", -1, [], [None], ["", ""], {"x": 1}, 1.5, [[1]])


def settings(subject: SpaceUnderTest) -> str:
    """It has a docstring, takes a name and annotated settings, and refuses unknown ones."""
    require_valid_constructor(subject, ("name",))
    require_unknown_setting_refused(
        lambda: subject.cls("check", **subject.arguments, **{NONEXISTENT: 1})
    )
    return ", ".join(settings_of_space(subject.cls)) or "no settings"


def named(subject: SpaceUnderTest) -> str:
    """Every named space loads and carries its name."""
    if not subject.cls.named:
        raise NotJudged("it names no spaces")
    for name, arguments in subject.cls.named.items():
        is_registered = isinstance(subject.tested, str)
        space = space_of(name) if is_registered else subject.cls(name, **arguments)
        require(isinstance(space, subject.cls), f"{name} is a {type(space).__name__}")
        require(space.name == name, f"{name} has the name {space.name!r}")
    return ", ".join(subject.cls.named)


def refusals(subject: SpaceUnderTest) -> str:
    """Its constructor refuses nonsense by InvalidInput, in one line."""
    arguments = subject.arguments
    cases = [("a/b c", arguments), ("", arguments)]
    cases += [("check", {**arguments, key: value}) for key in arguments for value in _NONSENSE]
    accepted: dict[str, int] = {}
    for i, (name, changed) in enumerate(cases):
        key = "name" if i < 2 else list(arguments)[(i - 2) // len(_NONSENSE)]
        value = name if i < 2 else changed[key]
        try:
            subject.cls(name, **changed)
        except HwnasError as error:
            lines = str(error).strip().splitlines()
            require(len(lines) == 1, f"{key}={value!r} is refused in {len(lines)} lines")
        except Exception as error:
            raise CheckFailed(
                f"{key}={value!r} raises {type(error).__name__}: {error}, expected InvalidInput"
            ) from error
        else:
            accepted[key] = accepted.get(key, 0) + 1
    for key, n in accepted.items():
        require(key != "name", "a name with other characters than letters, digits, '.', '_', '-'")
        require(n < len(_NONSENSE), f"{key} accepts anything, even {_NONSENSE[0]!r} and {{}}")
    return f"{len(cases)} constructors with nonsense"


def strings(subject: SpaceUnderTest) -> str:
    """str and parse are inverse, different members have different strings of one line."""
    for space in subject.spaces:
        codes = np.unique(subject.codes(space), axis=0)
        texts = [str(member) for member in space.decode(codes)]
        for text in texts:
            require(text and text == " ".join(text.split()), f"a string is {text!r}")
        require(len(set(texts)) == len(texts), f"two members of {space.name} have one string")
        parsed = space.encode([space.parse(text) for text in texts])
        difference = (parsed != codes).any(axis=1)
        if difference.any():
            i = int(difference.argmax())
            raise CheckFailed(f"parse of {texts[i]!r} has the code {parsed[i].tolist()}")
        _require_refused(space, "no such member")
        _require_refused(space, "")
    return texts[0]


def _require_refused(space: SearchSpace, text: str) -> None:
    """Require that a text which is no member is refused in one line."""
    try:
        space.parse(text)
    except InvalidInput as error:
        require(len(str(error).splitlines()) == 1, f"parse refuses {text!r} in several lines")
    else:
        raise CheckFailed(f"parse accepts {text!r}")


def to_dict(subject: SpaceUnderTest) -> str:
    """hwnas.space makes an equal space of to_dict, closed forms included, also through JSON."""
    for space in subject.spaces:
        plain = space.to_dict()
        try:
            parsed = json.loads(json.dumps(plain))
        except (TypeError, ValueError) as error:
            raise CheckFailed(f"to_dict of {space.name} is no JSON: {error}") from error
        require(parsed == plain, f"to_dict of {space.name} changes through JSON; lists, not tuples")
        # A class without a registered name cannot be looked up by its family.
        if isinstance(subject.tested, str) or "family" not in parsed:
            copy = space_of(parsed)
        else:
            copy = subject.cls(**{k: v for k, v in parsed.items() if k != "family"})
        _require_equal(subject, space, copy, "to_dict")
    return f"{len(subject.spaces)} spaces"


def pickles(subject: SpaceUnderTest) -> str:
    """Spaces and their members can be pickled."""
    module = sys.modules.get(subject.cls.__module__)
    if getattr(module, subject.cls.__qualname__, None) is not subject.cls:
        raise NotJudged("its class is not in a module that can be imported")
    for space in subject.spaces:
        _require_equal(subject, space, pickle.loads(pickle.dumps(space)), "pickle")
        members = space.decode(subject.codes(space)[:5])
        copies = pickle.loads(pickle.dumps(members))
        equal = list(map(str, copies)) == list(map(str, members))
        require(equal, f"members of {space.name} change when they are pickled")
    return f"{len(subject.spaces)} spaces"


def _require_equal(
    subject: SpaceUnderTest, space: SearchSpace, copy: SearchSpace, source: str
) -> None:
    """Require that a copy of a space has the same codes, members and closed forms."""
    start = f"{source} of {space.name}"
    for name in ("name", "columns", "choices", "layers", "depth", "size", "closed_forms"):
        expected, actual = getattr(space, name), getattr(copy, name)
        require(actual == expected, f"{start} gives {name} {actual!r:.60}, not {expected!r:.60}")
    codes = subject.codes(space)
    require((copy.canonical(codes) == codes).all(), f"{start} gives other codes")
    texts = [str(member) for member in copy.decode(codes)]
    require(texts == [str(member) for member in space.decode(codes)], f"{start}: other strings")
    for form in space.closed_forms:
        equal = np.array_equal(getattr(copy, form)(codes), getattr(space, form)(codes))
        require(equal, f"{start} gives other {form}")


FORM_CHECKS = (settings, named, refusals, strings, to_dict, pickles)
