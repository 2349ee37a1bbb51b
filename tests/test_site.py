"""The documentation as a site: every page is in its navigation, and the reference has every name.

``make docs`` builds it strictly; here is what needs no mkdocs.
"""

from __future__ import annotations

import ast
import dataclasses
import doctest
import importlib
import importlib.util
import inspect
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer.main
import yaml
from documents import DOCUMENTS, ROOT

import hwnas
from hwnas import registry
from hwnas.cli.main import app
from hwnas.experiment import Budget, Experiment

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    """Hooks of the site, which is no package."""
    spec = importlib.util.spec_from_file_location("hwnas_site_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(hooks: ModuleType) -> dict[str, str]:
    """Generated pages by name."""
    return dict(hooks.generated_pages())


def test_hooks_do_what_their_examples_say(hooks: ModuleType) -> None:
    assert doctest.testmod(hooks).failed == 0


def test_every_function_of_the_reference_has_an_example_that_runs(hooks: ModuleType) -> None:
    # The examples themselves run with the doctests.
    missing = [
        f"{module}.{name}"
        for module in (module for modules in hooks.MODULES.values() for module in modules)
        for name, function in vars(importlib.import_module(module)).items()
        if inspect.isfunction(function)
        if function.__module__ == module
        if not name.startswith("_")
        if ">>>" not in (function.__doc__ or "")
    ]
    assert missing == []
    for name in hwnas.__all__:
        if inspect.isfunction(public := getattr(hwnas, name)) or inspect.isclass(public):
            assert ">>>" in (public.__doc__ or ""), name


def test_every_page_is_in_the_navigation_and_exists(
    hooks: ModuleType, pages: dict[str, str]
) -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    written = {file.name for file in (ROOT / "docs").glob("*.md")}
    named = set(hooks.nav_pages(config["nav"]))
    assert named <= written | set(pages), named - written - set(pages)
    complete = set(hooks.nav_pages(hooks.complete_nav(config["nav"], sorted(written))))
    assert written <= complete


def test_a_page_that_nobody_lists_is_shown(hooks: ModuleType) -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    assert "new.md" in set(hooks.nav_pages(hooks.complete_nav(nav, ["new.md"])))


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.name)
def test_links_lead_to_pages(hooks: ModuleType, pages: dict[str, str], file: Path) -> None:
    source = str(file.relative_to(ROOT))
    page = hooks.page_of(source)
    assert hooks.source_of(page) == source
    text = hooks.site_links(file.read_text(encoding="utf-8"), source)
    for match in hooks._LINK.finditer(hooks._FENCE.sub("", text)):
        target = match[3].partition("#")[0]
        if target and "://" not in target:
            assert target in pages or any((ROOT / f / target).exists() for f in ("docs", "."))


def test_the_reference_has_every_command(pages: dict[str, str]) -> None:
    def paths(command: Any, path: str) -> list[str]:
        children = getattr(command, "commands", {}).items()
        return [path, *(p for name, child in children for p in paths(child, f"{path} {name}"))]

    command: Any = typer.main.get_command(app)
    for path in paths(command, "hwnas")[1:]:
        assert re.search(rf"^#+ {path}$", pages["reference/cli.md"], re.MULTILINE), path
    assert "`--plugin FILE`" in pages["reference/cli.md"]


def test_the_reference_has_every_key(pages: dict[str, str]) -> None:
    for key in [*Experiment.model_fields, *Budget.model_fields, "sweep"]:
        (row,) = re.findall(rf"^\| `{key}` \|.*$", pages["reference/yaml.md"], re.MULTILINE)
        assert len([cell for cell in re.split(r"(?<!\\)\|", row) if cell.strip()]) >= 3, row


def test_the_reference_has_every_plugin_and_every_public_name(pages: dict[str, str]) -> None:
    for kind in ("optimizer", "backend", "logger"):
        for name in registry.names(kind):  # type: ignore[arg-type]
            if name not in registry._registered.get(kind, {}):  # type: ignore[call-overload]
                assert f"### {name}\n" in pages["reference/plugins.md"], name
    for name in hwnas.__all__:
        assert f"`hwnas.{name}`" in pages["reference/api.md"], name


# -- examples ------------------------------------------------------------------------------------


def public_definitions(hooks: ModuleType) -> list[str]:
    """Names of the functions and classes that the reference shows, where they are defined."""
    names = {*hooks.public_names("hwnas").values(), *hooks.public_names("hwnas.profiling").values()}
    for module in (module for modules in hooks.MODULES.values() for module in modules):
        for node in ast.parse(source_file(module).read_text(encoding="utf-8")).body:
            is_definition = isinstance(node, ast.FunctionDef | ast.ClassDef)
            if is_definition and not node.name.startswith("_"):
                names.add(f"{module}.{node.name}")
    return sorted(names)


def source_file(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def is_record(value: Any) -> bool:
    """Return whether a class is an error or holds the results of other calls."""
    if not isinstance(value, type):
        return False
    return issubclass(value, Exception | tuple) or dataclasses.is_dataclass(value)


def test_every_public_function_has_an_example(hooks: ModuleType) -> None:
    """The example is one that doctest finds, in a file whose doctests the suite runs."""
    named = {*hooks.public_names("hwnas").values()}
    definitions = public_definitions(hooks)
    assert len(definitions) > 100
    without = []
    for definition in definitions:
        module, _, name = definition.rpartition(".")
        value = getattr(importlib.import_module(module), name)
        # Of records, errors and what only a measurement makes, those that `import hwnas` has.
        is_optional = is_record(value) or (isinstance(value, type) and ".profiling." in module)
        if is_optional and definition not in named:
            continue
        examples = doctest.DocTestParser().get_examples(value.__doc__ or "")
        if not any(doctest.SKIP not in example.options for example in examples):
            without.append(definition)
    assert not without


# -- the notebook ---------------------------------------------------------------------------------


def test_the_notebook_has_its_outputs(pages: dict[str, str]) -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    assert all(output["output_type"] != "error" for output in outputs)
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert any("text/html" in output.get("data", {}) for output in outputs)
    assert pages["notebook.md"].count("```python") == sum(c["cell_type"] == "code" for c in cells)
    assert str(ROOT) not in json.dumps(cells)


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    if importlib.util.find_spec("nbclient") and importlib.util.find_spec("ipykernel"):
        import nbclient
        import nbformat

        nbclient.NotebookClient(nbformat.read(NOTEBOOK, as_version=4), timeout=120).execute()
        return
    pytest.importorskip("pymoo")
    import matplotlib as mpl

    # Without Jupyter the cells run as a program.
    monkeypatch.setenv("MPLBACKEND", "agg")
    mpl.use("agg")
    namespace: dict[str, Any] = {"__name__": "notebook"}
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), namespace)
    assert namespace["result"].summary[0]["evaluations"] == 100
