"""Texts of errors, and their places in the exception tree."""

from __future__ import annotations

import hwnas.api
import hwnas.experiment
from hwnas.errors import (
    ExperimentError,
    HwnasError,
    InvalidInput,
    MissingExtra,
    SearchFailed,
    UnknownName,
)


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


def test_names_are_listed_if_none_is_similar() -> None:
    assert str(UnknownName("device", "x", ["b", "a"])) == "unknown device 'x'; known: a, b"
    # No more than 12 names are listed.
    names = [f"name-{i:02d}" for i in range(20)]
    assert str(UnknownName("device", "x", names)).endswith("name-11 and 8 more")


def test_missing_extra_names_the_command() -> None:
    error = MissingExtra("optimizer 'nsga2'", "pymoo", "pymoo")
    assert str(error) == "optimizer 'nsga2' needs pymoo: pip install \"hwnas[pymoo]\""
    assert isinstance(error, ImportError)
