"""Texts of errors, and their places in the exception tree."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import hwnas.api
import hwnas.experiment
from hwnas.errors import (
    ExperimentError,
    HwnasError,
    HwnasWarning,
    InvalidInput,
    MissingExtra,
    SearchFailed,
    UnknownName,
    similar_names,
)
from hwnas.objectives import UNITS
from hwnas.registry import names
from hwnas.spaces import GPT_SPACES
from hwnas.surrogates.devices import DEVICES


def test_errors_are_importable_where_they_are_raised() -> None:
    assert hwnas.experiment.ExperimentError is ExperimentError
    assert hwnas.api.SearchFailed is SearchFailed
    assert issubclass(ExperimentError, InvalidInput)
    assert not issubclass(SearchFailed, HwnasError)  # a bug, not an input to correct


def test_similar_name_is_suggested() -> None:
    error = UnknownName("device", "rtx308", ["a100", "rtx3080"])
    assert str(error) == "unknown device 'rtx308'; did you mean 'rtx3080'?"
    assert isinstance(error, ValueError)
    assert isinstance(error, HwnasError)


def _spellings(name: str) -> set[str]:
    """Return other ways to write a name: case, punctuation and Roman numerals."""
    stem = name.rstrip("0123456789")
    number = name[len(stem) :]
    roman = {"2": "II", "3": "III"}.get(number)
    spellings = {name.upper(), name.title(), f"{name[:2]}-{name[2:]}", name.replace("_", "-")}
    if number:
        spellings |= {f"{stem}-{number}", f"{stem}_{number}", f"{stem.upper()} {number}"}
    if roman:
        spellings |= {f"{stem.upper()}-{roman}", f"{stem}-{roman.lower()}"}
        spellings |= {stem + roman.lower(), stem.upper() + roman}
    return spellings - {name}


@pytest.mark.parametrize(
    ("kind", "choices"),
    [
        ("optimizer", names("optimizer")),
        ("backend", names("backend")),
        ("space", list(GPT_SPACES)),
        ("device", list(DEVICES)),
        ("metric", list(UNITS)),
    ],
)
def test_spelling_makes_no_difference(kind: str, choices: list[str]) -> None:
    for choice in choices:
        for spelling in _spellings(choice) - set(choices):
            message = str(UnknownName(kind, spelling, choices))
            assert message.endswith(f"did you mean {choice!r}?"), message


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("nsga-ii", "'nsga2'"),
        ("NSGA-III", "'nsga3'"),
        ("nsgaii", "'nsga2'"),
        ("moea/d", "'moead'"),
        ("sms-emoa", "'smsemoa'"),
        ("Pareg0", "'parego'"),
        ("nsga", "'nsga2' or 'nsga3'"),
        ("ramdom", "'random'"),
    ],
)
def test_names_of_optimizers_as_people_write_them(name: str, suggestion: str) -> None:
    message = str(UnknownName("optimizer", name, names("optimizer")))
    assert message == f"unknown optimizer {name!r}; did you mean {suggestion}?"


@pytest.mark.parametrize("name", ["budget.evaluations", "optimizers[0].batch"])
def test_the_last_part_of_a_path_is_compared(name: str) -> None:
    choices = ["budget.evaluations", "budget.cost", "optimizers[0].batch", "plugins"]
    assert similar_names(name.rpartition(".")[2], choices) == [name]
    assert similar_names(name.rpartition(".")[2][:-1], choices) == [name]


def test_names_are_listed_if_none_is_similar() -> None:
    assert str(UnknownName("device", "x", ["b", "a"])) == "unknown device 'x'; known: a, b"
    assert str(UnknownName("device", "x", [])) == "unknown device 'x'; none is known here"
    # The user must choose from the list, so it is never cut.
    choices = [f"name-{i:03d}" for i in range(200)]
    assert str(UnknownName("device", "x", choices)).endswith(", ".join(choices))


@pytest.mark.parametrize("name", ["rtx3090", "rtx4090ti", "RTX-3090", "h200", "a30", "tpu"])
def test_another_device_is_no_misspelling(name: str) -> None:
    message = str(UnknownName("device", name, DEVICES, reason="there are no figures of it"))
    expected = f"unknown device {name!r}: there are no figures of it; known: "
    assert message == expected + ", ".join(sorted(DEVICES))


def test_missing_extra_names_the_command() -> None:
    error = MissingExtra("optimizer 'nsga2'", "pymoo", "pymoo")
    assert str(error) == "optimizer 'nsga2' needs pymoo: pip install \"hwnas[pymoo]\""
    assert isinstance(error, ImportError)


def _subclasses(cls: type[Exception]) -> Iterator[type[Exception]]:
    for subclass in cls.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def _error_classes() -> list[type[Exception]]:
    """All errors and warnings of hwnas, wherever they are defined."""
    folder = Path(hwnas.__file__).parent
    for file in folder.rglob("*.py"):
        if re.search(
            r"^class \w+\(.*(Error|InvalidInput|Failed|Warning)\b", file.read_text(), re.M
        ):
            name = file.relative_to(folder.parent).with_suffix("")
            importlib.import_module(".".join(name.parts))
    roots = (HwnasError, SearchFailed, HwnasWarning)
    found = [*roots, *(cls for root in roots for cls in _subclasses(root))]
    return [cls for cls in dict.fromkeys(found) if cls.__module__.startswith("hwnas.")]


@pytest.mark.parametrize("cls", _error_classes(), ids=lambda cls: cls.__name__)
def test_errors_can_be_pickled_and_copied(cls: type[Exception]) -> None:
    own = next((c.__init__ for c in cls.__mro__ if inspect.isfunction(c.__init__)), None)
    parameters = [*inspect.signature(own).parameters.values()][1:] if own else []
    names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD] or ["message"]
    error = cls(*([name] if name == "choices" else f"the {name}" for name in names))
    error.add_note("a note")
    for restored in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(restored) is cls
        assert str(restored) == str(error)
        assert restored.args == error.args
        assert restored.__notes__ == ["a note"]
    if issubclass(cls, ImportError):
        assert pickle.loads(pickle.dumps(error)).msg == str(error)
