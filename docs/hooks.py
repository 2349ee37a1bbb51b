"""Hooks of mkdocs: pages that are generated from the code and from files outside of ``docs/``.

The pages of ``reference/`` come from the schema of the YAML, from the command line and from the
docstrings; the home page is the README. Links between files of the repository become links of the
site, and lose their target where that is no page.
"""

from __future__ import annotations

import configparser
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SECTION = "Guides"  # of the pages that mkdocs.yml does not name
# Pages of the site by the files of the repository that they show.
COPIES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}
COPIES |= {"CHANGELOG.md": "changelog.md"}
# Public modules by the part of the reference that shows them.
MODULES = {
    "spaces": ("hwnas.spaces.search_space", "hwnas.spaces.gpt", "hwnas.spaces.llama"),
    "optimizers": ("hwnas.optimizers", "hwnas.history", "hwnas.sampling", "hwnas.related_trials"),
    "backends": ("hwnas.backends", "hwnas.objectives", "hwnas.workloads"),
    "fronts": ("hwnas.fronts", "hwnas.pareto", "hwnas.hypervolume_improvement", "hwnas.statistics"),
    "surrogate": ("hwnas.surrogates.backend",),
    "results": ("hwnas.runner.results", "hwnas.runner.search_result"),
    "loggers": ("hwnas.loggers",),
    "profiling": (),  # the names of `hwnas.profiling.__all__`
    "testing": ("hwnas.testing",),
    "compat": ("hwnas.compat",),
    "errors": ("hwnas.errors",),
}
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"(^ *```.*?^ *```$)", re.M | re.S)


# -- hooks ---------------------------------------------------------------------------------------


def on_config(config: Any) -> Any:
    """Complete the navigation, and form the anchors of titles as they are formed elsewhere."""
    from pymdownx.slugs import slugify

    config["mdx_configs"].setdefault("toc", {})["slugify"] = slugify(case="lower")
    config["nav"] = complete_nav(config["nav"], sorted(p.name for p in ROOT.glob("docs/*.md")))
    for item in config["nav"]:
        if "Reference" in item:
            item["Reference"] += [f"reference/{name}.md" for name in MODULES]
        if "Measurements" in item:
            item["Measurements"] += [
                f"benchmarks/{file.name}"
                for file in sorted(ROOT.glob("benchmarks/*.md"))
                if file.name != "README.md"
            ]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages and pictures that are not in ``docs/``."""
    from mkdocs.structure.files import File

    for name, content in generated_pages():
        files.append(File.generated(config, name, content=content))
    for file in sorted(ROOT.glob("benchmarks/*.png")):
        name = str(file.relative_to(ROOT))
        files.append(File.generated(config, name, abs_src_path=str(file)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turn links between files of the repository into links of the site."""
    source = source_of(page.file.src_uri)
    return markdown if source is None else site_links(markdown, source)


# -- navigation and links ------------------------------------------------------------------------


def complete_nav(nav: Sequence[Any], pages: Sequence[str]) -> list[Any]:
    """Return a navigation with all pages: those that it does not name come last in `SECTION`.

    >>> complete_nav([{"Home": "index.md"}, {"Guides": ["a.md"]}], ["a.md", "b.md"])
    [{'Home': 'index.md'}, {'Guides': ['a.md', 'b.md']}]
    """
    named = set(nav_pages(nav))
    rest = [page for page in pages if page not in named]
    return [
        {SECTION: [*item[SECTION], *rest]} if isinstance(item, dict) and SECTION in item else item
        for item in nav
    ]


def nav_pages(nav: Any) -> Iterator[str]:
    """Yield the pages of a navigation."""
    if isinstance(nav, str):
        yield nav
    else:
        for item in nav.values() if isinstance(nav, Mapping) else nav:
            yield from nav_pages(item)


def page_of(source: str) -> str | None:
    """Return the page, or picture, of the site for a file of the repository.

    >>> page_of("README.md"), page_of("docs/spaces.md"), page_of("setup.cfg")
    ('index.md', 'spaces.md', None)
    """
    if source in COPIES:
        return COPIES[source]
    if source.startswith("docs/") and Path(source).suffix in (".md", ".png"):
        return source.removeprefix("docs/")
    return source if re.fullmatch(r"benchmarks/[\w.-]+\.(md|png)", source) else None


def source_of(page: str) -> str | None:
    """Return the file of the repository that a page shows; ``None`` for a page of the reference."""
    copies = {target: source for source, target in COPIES.items()}
    if page in copies:
        return copies[page]
    if page.startswith("benchmarks/"):
        return page
    return None if page.startswith("reference/") else f"docs/{page}"


def site_links(text: str, source: str) -> str:
    """Return a document whose links lead to pages of the site.

    A link to a file that is no page, such as a script, leaves its text.

    Parameters
    ----------
    text
        Markdown of the document.
    source
        Its file, relative to the root of the repository.

    Examples
    --------
    >>> site_links("[a](docs/spaces.md#x) and [b](setup.cfg)", "README.md")
    '[a](spaces.md#x) and b'
    >>> site_links("[a](../benchmarks/peers.md)", "docs/optimizers.md")
    '[a](benchmarks/peers.md)'
    """

    def replace(match: re.Match[str]) -> str:
        mark, label, link = match.groups()
        target, _, anchor = link.partition("#")
        if not target or "://" in link or link.startswith("mailto:"):
            return match[0]
        file = os.path.normpath(os.path.join(os.path.dirname(source), target))
        page = page_of(file)
        if page is None:
            return label if (ROOT / file).exists() else match[0]
        here = page_of(source) or source
        place = os.path.relpath(page, os.path.dirname(here) or ".")
        return f"{mark}[{label}]({place}{'#' if anchor else ''}{anchor})"

    # Code stays as it is: links are replaced between fences alone.
    parts = _FENCE.split(text)
    return "".join(p if i % 2 else _LINK.sub(replace, p) for i, p in enumerate(parts))


# -- generated pages -----------------------------------------------------------------------------


def generated_pages() -> Iterator[tuple[str, str]]:
    """Yield the name and the Markdown of each page that is not in ``docs/``."""
    for source, page in COPIES.items():
        yield page, (ROOT / source).read_text(encoding="utf-8")
    for file in sorted(ROOT.glob("benchmarks/*.md")):
        yield f"benchmarks/{file.name}", file.read_text(encoding="utf-8")
    for file in sorted(ROOT.glob("docs/*.ipynb")):
        yield (
            f"{file.stem}.md",
            notebook_page(json.loads(file.read_text(encoding="utf-8")), file.name),
        )
    yield "reference/yaml.md", yaml_page()
    yield "reference/cli.md", cli_page()
    yield "reference/plugins.md", plugins_page()
    yield "reference/api.md", api_page()
    for name, modules in MODULES.items():
        lines = [f"# {name.capitalize()}"]
        lines += [
            f"::: {module}\n    options:\n      show_root_full_path: true" for module in modules
        ]
        if not modules:
            lines += [f"::: {target}" for target in public_names(f"hwnas.{name}").values()]
        yield f"reference/{name}.md", "\n\n".join(lines) + "\n"


def notebook_page(notebook: Mapping[str, Any], file: str = "") -> str:
    """Return an executed notebook as a page: its texts, its code and the outputs that it holds.

    Parameters
    ----------
    notebook
        Its content.
    file
        Its name, for a link at the end.

    Examples
    --------
    >>> outputs = [{"data": {"text/plain": "2"}}]
    >>> cell = {"cell_type": "code", "source": ["1 + 1"], "outputs": outputs}
    >>> print(notebook_page({"cells": [cell]}).strip().replace("`", "'"))
    '''python
    1 + 1
    '''
    <BLANKLINE>
    '''text
    2
    '''
    """
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            data = output.get("data", {"text/plain": output.get("text", "")})
            if "image/png" in data:
                picture = "".join(data["image/png"]).strip()
                parts.append(f'<img alt="output" src="data:image/png;base64,{picture}">')
            elif "text/html" in data:
                parts.append("".join(data["text/html"]))
            else:
                parts.append(f"```text\n{''.join(data['text/plain']).rstrip()}\n```")
    if file:
        parts.append(f"[{file}]({file}) is this page to run.")
    return "\n\n".join(parts) + "\n"


def api_page() -> str:
    """Return the page of the public names, which other pages of the reference show in part."""
    import hwnas

    homes = public_names("hwnas")
    pages = {module: page for page, modules in MODULES.items() for module in modules}
    rows, own = [], []
    for name, target in homes.items():
        page = pages.get(target.rpartition(".")[0], "")
        link = f"{page}.md#{target}" if page else f"#{target}"
        summary = (getattr(hwnas, name).__doc__ or "").strip().partition("\n")[0]
        rows.append((f"[`hwnas.{name}`]({link})", _code(summary)))
        own += [] if page else [f"::: {target}"]
    return "\n\n".join(["# Python", _table(("name", "content"), rows), *own]) + "\n"


def public_names(package: str) -> dict[str, str]:
    """Return where the public names of a package are defined; none where it needs a library.

    >>> public_names("hwnas")["run"]
    'hwnas.api.run'
    """
    import importlib

    from hwnas.errors import MissingExtra

    try:
        names = importlib.import_module(package).__all__
    except MissingExtra:
        return {}
    return {name: _definition(package, name) for name in names}


def _definition(home: str, name: str) -> str:
    """Return where a public name is defined: a package may import it from its own module."""
    import importlib

    value = getattr(importlib.import_module(home), name)
    return f"{value.__module__}.{value.__qualname__}"


def plugins_page() -> str:
    """Return the page of the built-in optimizers, backends and loggers, with their settings."""
    lines = [
        "# Optimizers, backends, loggers",
        "Each is a `type` in the YAML, with its settings beside it. `hwnas list optimizers -v` has "
        "the same at hand.",
    ]
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    points = setup["options.entry_points"]
    for kind in ("optimizer", "backend", "logger"):
        lines.append(f"## {kind.capitalize()}s")
        for line in points[f"hwnas.{kind}s"].strip().splitlines():
            name, _, target = (word.strip() for word in line.partition("="))
            module, _, cls = target.partition(":")
            lines += [f"### {name}", *_settings_table(kind, name)]
            identifier = f"{module.replace('hwnas_plugins', 'plugins')}.{cls}"
            lines.append(
                f"::: {identifier}\n    options:\n      show_root_heading: false\n"
                "      show_root_toc_entry: false\n      members: false\n      show_bases: false"
            )
    return "\n\n".join(lines) + "\n"


def _settings_table(kind: Any, name: str) -> list[str]:
    """Return the settings of a component as a table; nothing where its library is missing."""
    import inspect

    from hwnas import registry
    from hwnas.errors import HwnasError

    try:
        settings = registry.settings_of(registry.lookup(kind, name))
    except (HwnasError, ImportError):
        return []
    rows = [
        (
            f"`{key}`",
            registry.describe_type(parameter.annotation),
            "required"
            if parameter.default is inspect.Parameter.empty
            else f"`{parameter.default}`",
        )
        for key, parameter in settings.items()
    ]
    return [_table(("setting", "value", "default"), rows)] if rows else []


def yaml_page() -> str:
    """Return the page of the keys of an experiment, from its schema."""
    from hwnas.experiment import Budget, Experiment
    from hwnas.form_errors import EXPECTED

    lines = [
        "# YAML of an experiment",
        "Every key, from the schema that an experiment is checked by. `hwnas schema` prints it as "
        "JSON, for editors; [An experiment](../experiment.md) has examples.",
    ]
    expected = {key: _escaped(text) for key, text in EXPECTED.items()}
    meanings = _attributes(Experiment.__doc__ or "")
    fields = Experiment.model_fields
    rows = []
    for key, field in fields.items():
        default = "required" if field.is_required() else f"`{_plain(field.default)}`"
        rows.append((f"`{key}`", meanings[key], expected[key], default))
    rows.append(
        ("`sweep`", "Values by name; a run for each combination.", expected["sweep"], "none")
    )
    lines.append(_table(("key", "meaning", "expected", "default"), rows))
    lines += ["## budget", (Budget.__doc__ or "").partition("\n")[0]]
    meanings = _attributes(Budget.__doc__ or "")
    budget = [(f"`{key}`", meanings[key], expected[f"budget.{key}"]) for key in Budget.model_fields]
    lines.append(_table(("key", "meaning", "expected"), budget))
    nested = [key for key in expected if "[]" in key or key.endswith(".type")]
    lines += [
        "## Items of lists, and entries",
        _table(("key", "expected"), [(f"`{k}`", expected[k]) for k in nested]),
    ]
    lines.append(
        "An entry of `backend`, `executor`, `optimizers` or `loggers` is a name, or a `type` with "
        "the [settings of that type](plugins.md)."
    )
    return "\n\n".join(lines) + "\n"


def _plain(default: Any) -> str:
    """Return a default as it would be written in a YAML."""
    import yaml

    if default is None:
        return "none"
    dumped = default.model_dump() if hasattr(default, "model_dump") else default
    return yaml.safe_dump(dumped, default_flow_style=True).partition("\n")[0]


def _attributes(docstring: str) -> dict[str, str]:
    """Return the meanings of the section ``Attributes`` of a docstring by name."""
    import inspect

    text = inspect.cleandoc(docstring).partition("Attributes\n----------\n")[2]
    meanings: dict[str, str] = {}
    for names, body in re.findall(r"^(\w[\w, ]*)\n((?:    .*\n?)+)", text, re.M):
        for name in names.split(", "):
            meanings[name] = _code(" ".join(body.split()))
    return meanings


def _code(text: str) -> str:
    """Return reStructuredText's literals as those of Markdown."""
    return text.replace("``", "`")


def cli_page() -> str:
    """Return the page of all commands, from the command line itself."""
    import typer.main

    from hwnas.cli.main import app

    command: Any = typer.main.get_command(app)
    lines = ["# Command line", "The same as `hwnas COMMAND --help`."]
    for name, child in command.commands.items():
        lines += _command(f"hwnas {name}", child, 2)
    return "\n\n".join(lines) + "\n"


def _command(path: str, command: Any, level: int) -> list[str]:
    """Return the lines of a command, and of those below it."""
    lines = [f"{'#' * level} {path}"]
    context = command.make_context(path, [], resilient_parsing=True)
    lines.append(f"`{' '.join([path, *command.collect_usage_pieces(context)])}`")
    lines += [_paragraph(part) for part in (command.help or "").split("\n\n")]
    records = [p.get_help_record(context) for p in command.params if p.name != "help"]
    rows = [
        (f"`{names}`".replace("|", "\\|"), _escaped(text)) for names, text in filter(None, records)
    ]
    if rows:
        lines.append(_table(("argument or option", "meaning"), rows))
    for name, child in getattr(command, "commands", {}).items():
        lines += _command(f"{path} {name}", child, level + 1)
    return lines


def _paragraph(text: str) -> str:
    """Return a paragraph of a help text; a command of an example as code."""
    plain = " ".join(text.replace("\b", "").split())
    return f"    {plain}" if plain.startswith("hwnas ") else _escaped(plain)


def _escaped(text: str) -> str:
    """Return a text without characters that Markdown would take for its own."""
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\[\]*_|{}])", r"\\\1", text)


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table of Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        f"| {' | '.join(str(c).replace(chr(10), ' ') for c in row)} |" for row in lines
    )
