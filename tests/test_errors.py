from __future__ import annotations

from hwnas.errors import HwnasError, MissingExtra, UnknownName


def test_nearest_name() -> None:
    error = UnknownName("device", "rtx308", ["a100", "rtx3080"])
    assert str(error) == "unknown device 'rtx308'; did you mean 'rtx3080'?"
    assert isinstance(error, ValueError)
    assert isinstance(error, HwnasError)


def test_known_names_where_none_is_near() -> None:
    assert str(UnknownName("device", "x", ["b", "a"])) == "unknown device 'x'; known: a, b"
    many = [f"name-{i:02d}" for i in range(20)]
    assert str(UnknownName("device", "x", many)).endswith("name-11 and 8 more")


def test_missing_extra_names_the_command() -> None:
    error = MissingExtra("optimizer 'nsga2'", "pymoo", "pymoo")
    assert str(error) == "optimizer 'nsga2' needs pymoo: pip install \"hwnas[pymoo]\""
    assert isinstance(error, ImportError)
