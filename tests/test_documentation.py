"""Every code block of the README, the contributing guide and docs/ does what it says."""

from __future__ import annotations

import ast
import configparser
import doctest
import re
import shlex
import subprocess
import sys
import tomllib
import typing
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main
import yaml
from documents import (
    BLOCKS,
    DOCUMENTS,
    ROOT,
    Block,
    blocks_in,
    blocks_of,
    commands,
    inline_code,
    is_synopsis,
)
from typer.testing import CliRunner

import hwnas
from hwnas import registry
from hwnas.cli.main import app
from hwnas.devices.add import device_of_measurements
from hwnas.errors import HwnasWarning
from hwnas.experiment import validate_form
from hwnas.problem import load_experiment
from hwnas.registry import checked_settings
from hwnas.reports.plots.kinds import KINDS
from hwnas.surrogates.device_library import device_path
from hwnas.sweep_runs import load_sweep
from hwnas.yaml_loader import parse_yaml

CLI: Any = typer.main.get_command(app)
# A part of an experiment replaces these keys.
EXPERIMENT: dict[str, Any] = {
    "name": "part",
    "space": "gpt-s",
    "objectives": ["perplexity", "latency@rtx3080"],
    "optimizers": ["random"],
    "budget": {"evaluations": 30},
    "seeds": 1,
}
# Commands of hwnas that take a second, and need no hardware and no earlier run.
QUICK = {"list", "query", "front", "schema", "check"}
OTHER_PROGRAMS = {"make", "git", "pip", "python", "pytest", "apt", "hwnas", "pre-commit"}
OTHER_PROGRAMS |= {"ray", "source", "torchrun"}


@pytest.fixture(scope="module", autouse=True)
def lab_device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The devices that the documents add, from measurements in the repository."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        files = [ROOT / f"benchmarks/workloads/{name}.csv" for name in ("gpt-s", "gpt-xl")]
        card = "NVIDIA H100 80GB HBM3"
        for name in ("h100-lab", "mine"):
            device_of_measurements(name, files, card=card).write(device_path(name))
        yield


def test_every_language_is_tested() -> None:
    assert {block.language for block in BLOCKS} <= {"python", "yaml", "toml", "sh", "diff", "text"}


def test_blocks_are_found_whatever_their_fence() -> None:
    text = "a\n```python\nx\n```\n\n  ```\n  y\n  ```\n```sh title\nz\n```\n"
    found = blocks_of(text, "d")
    assert [(b.language, b.text, b.line) for b in found] == [
        ("python", "x\n", 3),
        ("", "y\n", 7),
        ("sh title", "z\n", 10),
    ]
    for file in DOCUMENTS:
        assert file.read_text(encoding="utf-8").count("```") == 2 * sum(
            block.document == str(file.relative_to(ROOT)) for block in BLOCKS
        )


# -- python --------------------------------------------------------------------------------------

PYTHON_DOCUMENTS = sorted({block.document for block in blocks_in("python")})


@pytest.mark.parametrize("document", PYTHON_DOCUMENTS)
def test_python(document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    registry.replace_registered({})
    if document == "docs/tutorial-build.md":
        tell_story(document)
    # Later blocks use names of earlier ones, as a reader would.
    namespace: dict[str, Any] = {"__name__": "document"}
    with warnings.catch_warnings():
        # An example follows our own advice.
        warnings.simplefilter("error", HwnasWarning)
        for block in blocks_in("python"):
            if block.document == document:
                run_python(block, namespace)
        for name, test in list(namespace.items()):
            if name.startswith("test_"):
                run_test(test)


def tell_story(document: str) -> None:
    """Do, shortened, what the tutorial on built networks does before it loads one."""
    pytest.importorskip("transformers")
    (experiment,) = (block for block in blocks_in("yaml") if block.document == document)
    Path("story.yaml").write_text(experiment.text, encoding="utf-8")
    shorter = ("training={steps: 3}", "held_out_tokens=200", "max_seconds=0.1", "threads=1")
    changes = [word for change in shorter for word in ("--set", f"backend.{change}")]
    changes += ["--set", "budget.evaluations=2", "--set", "reference=[999, 999]", "--no-draw"]
    for place, line in LINES:
        words = shlex.split(line)[1:]
        if place.startswith(f"{document}:") and words[:1] == ["run"]:
            run_command([*words, *changes])
    picked = ["--pick", "knee", "--format", "transformers", "--out", "story"]
    run_command(["build", "runs/story", *picked])
    run_command(["evaluate", "story", "--text", "pydoc", "--held-out", "0.1", "--tokens", "99"])


def run_command(words: list[str]) -> None:
    """Run a command of hwnas that must succeed."""
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output


def run_python(block: Block, namespace: dict[str, Any]) -> None:
    """Run a block: a session with prompts must print what the document shows."""
    if not block.text.startswith(">>>"):
        exec(compile(block.text, str(block), "exec"), namespace)
        return
    session = doctest.DocTestParser().get_doctest(block.text, namespace, str(block), None, 0)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(session, out=report.append, clear_globs=False)
    namespace.update(session.globs)
    assert not report, "".join(report)


def run_test(test: Callable[..., None]) -> None:
    """Run a test of a document with each of its parameters."""
    (mark,) = getattr(test, "pytestmark", ())
    for value in mark.args[1]:
        test(value)


# -- yaml ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", blocks_in("yaml"), ids=str)
def test_yaml(block: Block, tmp_path: Path) -> None:
    content = parse_yaml(block.text)
    if "objectives" not in content:
        # A part of an experiment.
        content = {**EXPERIMENT, **content}
    # The libraries of loggers need not be installed.
    for entry in content.pop("loggers", []):
        assert (entry if isinstance(entry, str) else entry["type"]) in registry.names("logger")
    if "sweep" in content:
        sweep = load_sweep(content)
        assert sweep is not None
        assert len(sweep.cells) > 1
        return
    experiment = validate_form(content)
    assert yaml.safe_load(experiment.to_yaml())["name"] == content["name"]
    if "plugins" in content:
        # The files that it names are those of the blocks before it.
        write_family(tmp_path / "cnn.py")
        write_function(tmp_path / "training.py", "train", block.document)
        file = tmp_path / "experiment.yaml"
        file.write_text(block.text, encoding="utf-8")
        load_experiment(file, allow_plugins=True)
        return
    if experiment.backend.type == "surrogate":
        load_experiment(content)
        return
    # Another backend may need hardware: its settings and the optimizers' can be checked without.
    entries = [("backend", experiment.backend)]
    entries += [("optimizer", entry) for entry in experiment.optimizers]
    for kind, entry in entries:
        checked_settings(kind, entry.type, entry.settings)  # type: ignore[arg-type]


# -- shell ---------------------------------------------------------------------------------------


def shell_lines() -> Iterator[tuple[str, str]]:
    """Yield each command line of the documents with its place."""
    for block in blocks_in("sh"):
        # A loop and a line that ends with a backslash are one command.
        text = re.sub(r"; do\n(.*?)\ndone", r"; do \1; done", block.text, flags=re.S)
        for line in text.replace("\\\n", " ").splitlines():
            if line.strip():
                yield str(block), line.strip()
    for program in ("hwnas ", "make ", "pip "):
        yield from inline_code(program)


LINES = sorted(set(shell_lines()))


@pytest.mark.parametrize(("place", "line"), LINES)
def test_commands_exist(place: str, line: str) -> None:
    check_line(place, line)


@pytest.mark.parametrize(
    "line",
    [
        "hwnas run x.yaml --nothing",
        "hwnas run --out x",
        "hwnas nothing x",
        "hwnas list nothing",
        "hwnas query [ARCH]... [--nothing x]",
        "hwnas query [ARCH]... [--format table|nothing]",
        "hwnas list (devices|nothing)",
        "hwnas list devices | hwnas query --nothing",
        "make nothing",
        "pip install 'hwnas[pymoo,nothing]'",
        "python benchmarks/nothing.py",
        "nothing x",
    ],
)
def test_a_line_that_fails_is_found(line: str) -> None:
    with pytest.raises(Exception, match=r"(?i)nothing|missing"):
        check_line("README.md:1", line)


@pytest.mark.parametrize(
    ("line", "is_form"),
    [
        ("hwnas build ARCH --out DIR", True),
        ("hwnas device add NAME --from FILE.csv [--card CARD]", True),
        ('hwnas device add lab --from lab.csv --card "NVIDIA H100 80GB HBM3"', False),
        ("hwnas front gpt-s perplexity 'latency@P100' --best 3", False),
    ],
)
def test_what_is_quoted_makes_no_form_of_a_command(line: str, is_form: bool) -> None:
    assert is_synopsis(line) == is_form


def check_line(place: str, line: str) -> None:
    """Check that what a line of shell names exists."""
    if is_synopsis(line):
        check_synopsis(line)
        return
    for words in commands(line):
        # hwnas and .venv/bin/hwnas are the same program.
        program, *arguments = words
        name = program.rpartition("/")[2]
        assert name in OTHER_PROGRAMS, f"{place}: unknown program {program}"
        if name == "hwnas":
            check_hwnas(arguments, complete=":" in place)
        elif name == "make":
            check_targets(arguments)
        elif name == "pip":
            check_extras(arguments)
        elif name in ("python", "pytest"):
            paths = [word.partition("::")[0] for word in arguments if "/" in word]
            assert all((ROOT / path).exists() for path in paths), line


def test_documents_show_every_command_and_plot() -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for name in CLI.commands:
        assert re.search(rf"\bhwnas {name}\b", text), name
    plots = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    for plot in KINDS:
        assert f"`{plot}`" in plots, plot
    (function,) = (c.callback for c in app.registered_commands if c.name == "list")
    kinds = typing.get_type_hints(function)["kind"]
    assert f"hwnas list ({'|'.join(kinds)})" in text


def subcommand(arguments: list[str]) -> tuple[Any, list[str]]:
    """Return a command of hwnas and its arguments; the program itself for options alone."""
    if not arguments or arguments[0].startswith("-"):
        return CLI, arguments
    command, rest = CLI, arguments
    # A group, such as that of devices, has commands of its own.
    while hasattr(command, "commands") and rest:
        assert rest[0] in command.commands, f"unknown command hwnas {' '.join(arguments)}"
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


def check_hwnas(arguments: list[str], *, complete: bool) -> None:
    """Parse the arguments of a command without running it; a mention need not be complete."""
    command, rest = subcommand(arguments)
    if command is CLI:
        assert all(word in option_names(CLI) for word in rest)
        return
    try:
        command.make_context(command.name, list(rest))
    except Exception as error:
        # The package of the class depends on the version of typer.
        if complete or type(error).__name__ != "MissingParameter":
            raise


def option_names(command: Any) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts} | {"--help"}


def check_synopsis(line: str) -> None:
    """Check the options and alternatives that the form of a command of hwnas names."""
    program, *words = line.partition(" #")[0].split()
    assert program in OTHER_PROGRAMS
    if program != "hwnas":
        return
    command, rest = subcommand(words)
    names = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", " ".join(rest)))
    assert names <= option_names(command), f"{line}: {names - option_names(command)}"
    # (a|b) in place of the first argument, or a|b as the value of an option.
    for option, alternatives in re.findall(r"(--\w+ |)\(?(\w+(?:\|\w+)+)\)?", " ".join(rest)):
        for value in alternatives.split("|"):
            check_hwnas([command.name, *option.split(), value], complete=False)


def check_targets(targets: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in targets:
        assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), target


def check_extras(arguments: list[str]) -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    for names in re.findall(r"hwnas\[([^\]]+)\]", " ".join(arguments)):
        for name in names.split(","):
            assert name in setup["options.extras_require"], name


def quick_lines() -> list[tuple[str, str]]:
    quick = []
    for place, line in LINES:
        if is_synopsis(line) or not line.startswith("hwnas "):
            continue
        arguments = [words[1:] for words in commands(line) if words[0] == "hwnas"]
        # Inline code often names a command without its arguments.
        complete = [words for words in arguments if len(words) > 1 or words[0] == "schema"]
        if complete == arguments and all(words[0] in QUICK for words in arguments):
            quick.append((place, line))
    return quick


@pytest.mark.parametrize(("place", "line"), quick_lines())
def test_quick_commands_run(place: str, line: str, tmp_path: Path) -> None:
    write_plugins(tmp_path)
    write_family(tmp_path / "cnn.py")
    write_tables(tmp_path / "mine.npz")
    # The program of this environment, found under its name.
    folder = shlex.quote(str(Path(sys.executable).parent))
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"PATH={folder}:$PATH; {line}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def write_tables(file: Path) -> None:
    """Write the tables that the documents fit to measurements of one's own."""
    space = hwnas.space("gpt-s")
    codes = space.sample(12, np.random.default_rng(0))
    rows = zip(space.decode(codes), np.log(space.params(codes)), space.params(codes), strict=True)
    source = file.with_suffix(".csv")
    source.write_text("arch,accuracy,tpot.serve\n" + "\n".join(f"{a},{x},{y}" for a, x, y in rows))
    hwnas.fit(source, ["accuracy", "tpot.serve@mine"], file)


def write_plugins(folder: Path) -> None:
    """Write the optimizers of the documents as the files that their commands name."""
    for name in ("hill", "walk"):
        registers = f'@hwnas.register_optimizer("{name}")'
        (source,) = (b.text for b in blocks_in("python") if registers in b.text)
        text = source.partition("\n\nhwnas.run(")[0]
        (folder / f"{name}.py").write_text(text, encoding="utf-8")


def write_family(file: Path) -> None:
    """Write the family of docs/family.md as the file that its commands name."""
    (source,) = (b.text for b in blocks_in("python") if '@hwnas.register_space("cnn")' in b.text)
    file.write_text(source, encoding="utf-8")


def write_function(file: Path, name: str, document: str) -> None:
    """Write the function that a document defines as a module."""
    functions = [
        ast.unparse(node)
        for block in blocks_in("python")
        if block.document == document
        for node in ast.parse(block.text).body
        if isinstance(node, ast.FunctionDef) and node.name == name
    ]
    (source,) = functions
    file.write_text(source, encoding="utf-8")


# -- toml ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", blocks_in("toml"), ids=str)
def test_entry_points_name_what_the_document_defines(block: Block) -> None:
    content = tomllib.loads(block.text)
    names = {
        node.name
        for other in blocks_in("python")
        if other.document == block.document and not other.text.startswith(">>>")
        for node in ast.parse(other.text).body
        if isinstance(node, ast.ClassDef)
    }
    groups = content["project"]["entry-points"]
    assert groups
    for group, entries in groups.items():
        assert group in {f"hwnas.{kind}s" for kind in ("optimizer", "backend", "space", "logger")}
        assert {value.partition(":")[2] for value in entries.values()} <= names


# -- diff ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", blocks_in("diff"), ids=str)
def test_diff_imports_what_exists(block: Block) -> None:
    added = [line[1:] for line in block.text.splitlines() if line.startswith("+")]
    assert added
    exec("\n".join(added), {})


# -- links and pictures ---------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's titles, as GitHub forms them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.name)
def test_links_lead_to_files_and_titles(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = file.parent / path if path else file
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


def test_readme_and_first_pages_have_pictures() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(re.findall(r"!\[.+?\]\(docs/images/.+?\)", text)) == 1
    pages = [ROOT / "docs" / f"{name}.md" for name in ("quickstart", "comparing")]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    assert len(re.findall(r"!\[.+?\]\(images/.+?\)", text)) >= 3


def test_readme_is_short_and_in_the_order_of_questions() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("\n") <= 200
    titles = ["Two commands", "What came out", "Six tasks", "Where to read on"]
    titles += ["Beside other tools", "Citation"]
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == titles
    tasks = text.partition("## Six tasks")[2].partition("\n## ")[0]
    assert len(re.findall(r"^\*\*", tasks, re.MULTILINE)) == 6
