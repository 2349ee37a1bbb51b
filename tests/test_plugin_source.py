"""What is read from a plugin's source is what an import would say."""

from __future__ import annotations

import inspect
import itertools
from importlib import import_module
from pathlib import Path

import pytest

from hwnas import registry
from hwnas.errors import MissingExtra
from hwnas.plugin_source import read_source

# Sources of a package `pack`, and the module that is missing; "" where none is.
PACKAGES = {
    "nothing": ({"plugin": "import json, os.path\nfrom numpy.typing import NDArray"}, ""),
    "own": ({"plugin": "import lacking.part"}, "lacking"),
    "from": ({"plugin": "from lacking.part import name"}, "lacking"),
    "first": ({"plugin": "import lacking\nimport absent"}, "lacking"),
    "sibling": ({"plugin": "from ._base import x", "_base": "import lacking\nx = 1"}, "lacking"),
    "module": (
        {"plugin": "from . import _base\nimport absent", "_base": "import lacking"},
        "lacking",
    ),
    "absolute": ({"plugin": "import {0}._base", "_base": "from lacking import y"}, "lacking"),
    "parent": ({"__init__": "import lacking", "plugin": ""}, "lacking"),
    "circle": ({"plugin": "from . import _base", "_base": "from . import plugin"}, ""),
    "optional": ({"plugin": "try:\n    import lacking\nexcept ImportError:\n    pass"}, ""),
    "deferred": ({"plugin": "def f():\n    import lacking"}, ""),
    "typing": (
        {"plugin": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import lacking"},
        "",
    ),
}
_names = (f"pack{i}" for i in itertools.count())
CLASS = '\n\nclass Plugin:\n    """First line.\n\n    More.\n    """\n'


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a package that is not written yet."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return next(_names)


def write(folder: Path, name: str, sources: dict[str, str]) -> None:
    (folder / name).mkdir()
    for module, source in {"__init__": "", **sources}.items():
        text = source.replace("{0}", name) + (CLASS if module == "plugin" else "")
        (folder / name / f"{module}.py").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("case", PACKAGES)
def test_missing_module_is_that_of_an_import(case: str, package: str, tmp_path: Path) -> None:
    sources, missing = PACKAGES[case]
    write(tmp_path, package, sources)
    source = read_source(f"{package}.plugin", "Plugin")
    assert source is not None
    assert source.missing.partition(".")[0] == missing
    assert inspect.cleandoc(source.docstring) == "First line.\n\nMore."
    # The import agrees.
    if missing:
        with pytest.raises(ModuleNotFoundError) as error:
            import_module(f"{package}.plugin")
        assert (error.value.name or "").partition(".")[0] == missing
    else:
        import_module(f"{package}.plugin")


@pytest.mark.parametrize(
    "source",
    ["class Plugin:\n    pass", "from json import JSONDecoder as Plugin", "class Plugin(:", ""],
)
def test_none_where_only_an_import_can_tell(source: str, package: str, tmp_path: Path) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "other.py").write_text(source, encoding="utf-8")
    assert read_source(f"{package}.other", "Plugin") is None
    assert read_source(f"{package}.nowhere", "Plugin") is None
    assert read_source("sys", "Plugin") is None


KINDS: tuple[registry.Kind, ...] = ("optimizer", "backend")


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in KINDS for name in registry.names(kind)]
)
def test_documentation_is_that_of_the_class(kind: registry.Kind, name: str) -> None:
    try:
        expected = inspect.getdoc(registry.lookup(kind, name))
    except MissingExtra as error:
        with pytest.raises(MissingExtra, match=str(error).partition(":")[0]):
            registry.documentation(kind, name)
    else:
        assert registry.documentation(kind, name) == expected
