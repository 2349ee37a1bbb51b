"""The same mistake gets the same words from every command."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main

import hwnas
from hwnas.cli.main import app

sys.path.insert(0, str(Path(__file__).parent))
from command_line import ARCH, SMALL, assert_user_error


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command with the words that name it, without groups of commands."""
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
    for name, child in (children or {}).items():
        yield from commands(child, (*path, name))


COMMANDS = dict(commands(typer.main.get_command(app)))


def label(parameter: Any) -> str:
    """Return the name of an option or an argument, as its help has it."""
    if parameter.param_type_name == "option":
        return str(max(parameter.opts, key=len))
    return str(parameter.metavar or parameter.name).removesuffix("...")


@pytest.fixture
def files(hw: Any, tmp_path: Path) -> Path:
    """A directory with a run, measurements, a file and a folder, in which commands run."""
    hwnas.run(SMALL, tmp_path / "run", draw=False)
    space = hwnas.space("gpt-s")
    codes = space.sample(8, np.random.default_rng(0))
    rows = zip(space.decode(codes), space.params(codes) / 1e6, strict=True)
    (tmp_path / "m.csv").write_text("arch,latency\n" + "\n".join(f"{a},{v}" for a, v in rows))
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize("path", [(), ("device",), ("supernet",)], ids=" ".join)
def test_a_group_of_commands_prints_its_help(hw: Any, path: tuple[str, ...]) -> None:
    result = hw(*path)
    assert (result.code, result.err) == (2, "")
    assert result.out == hw(*path, "--help").out


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_what_is_missing_is_named_with_what_was_expected(hw: Any, path: tuple[str, ...]) -> None:
    required = [parameter for parameter in COMMANDS[path].params if parameter.required]
    if required:
        assert_user_error(hw(*path), f"^hwnas: {label(required[0])}: is required; expected .{{5}}")


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_an_unknown_option_is_named_with_those_that_there_are(
    hw: Any, path: tuple[str, ...]
) -> None:
    words = ["x"] * 2 if path == ("front",) else []  # which takes -flops for an objective
    assert_user_error(hw(*path, *words, "--zqx"), "^hwnas: unknown option '--zqx'; known: --")
    long = [name for p in COMMANDS[path].params for name in p.opts if len(name) > 6]
    for name in (name for name in long if name.startswith("--")):
        misspelled = f"{name[:4]}{name[5:]}"
        result = hw(*path, *words, misspelled)
        assert_user_error(result, f"^hwnas: unknown option '{misspelled}'; did you mean .*'--")


def test_an_option_after_two_dashes_is_not_suggested_for_itself(hw: Any) -> None:
    result = hw("front", "gpt-s", "--", "-params", "latency@a100", "--best", "3")
    assert_user_error(result, "^hwnas: --best: is taken as a value after '--'")


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_an_option_without_its_value_is_named(hw: Any, path: tuple[str, ...]) -> None:
    for parameter in COMMANDS[path].params:
        if parameter.param_type_name == "option" and not parameter.is_flag:
            name = label(parameter)
            assert_user_error(hw(*path, name), f"^hwnas: {name}: expected a value, found none$")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["rnu"], "unknown command 'rnu'; did you mean 'run'?"),
        (["zzzz"], "unknown command 'zzzz'; known: audit, build, "),
        (["device", "ad"], "unknown command 'ad'; did you mean 'add'?"),
        (["list", "device"], "kind: expected one of optimizers, .*; did you mean 'devices'?"),
        (["plot", ".", "--format", "gif"], "--format: expected one of png, pdf, svg, found 'gif'"),
        (["plot", ".", "--format", ""], "--format: expected one of png, pdf, svg, found ''"),
        (
            ["compare", ".", "--metric", "normalized"],
            "--metric: expected one of .*found 'normalized'; did you mean 'normalised'?",
        ),
        (["export", "."], "--to: is required; expected one of optuna, csv, parquet"),
        (["list", "spaces", "more"], "list: expected no further argument, found 'more'"),
        (["device", "list", "more"], "device list: expected no further argument, found 'more'"),
        (["run", "x", "--executor", ""], "--executor: expected a name, such as process, found ''"),
        (
            ["run", "x", "--executor", "serial", "--set", "executor=process"],
            "--executor: expected no --set executor with it",
        ),
        (["compare", "--transfer", "--metrics", ""], "--metrics: expected .*, found ''"),
        (["export", ".", "--to", "optuna", "--storage", ""], "--storage: expected a URL"),
        (["init", "x.yaml", "--device", ""], "--device: expected one name, .*found ''"),
        (["init", "x.yaml", "--metric", "energy@a"], "--metric: expected one .*found 'energy@a'"),
        (["compare", ".", "--transfer"], "^hwnas: .: expected metrics with --transfer"),
        (["front", "file", "params", "flops"], "'file': a file of a space ends in .yaml; known:"),
        (["front", "folder", "params", "flops"], "'folder': a file of a space ends in .yaml"),
        (["query", "m.csv"], "^hwnas: m.csv: is a file, which is read by: hwnas query - < m.csv"),
        (["device", "show", "h100"], "'h100' is a published device"),
        (["device", "remove", "h100"], "unknown device 'h100'"),
    ],
)
def test_names_and_choices(hw: Any, files: Path, arguments: list[str], expected: str) -> None:
    pattern = expected.replace("?", "\\?")
    assert_user_error(hw(*arguments), pattern)


# Commands that read a file, with the file's place as {}.
READERS = [
    ["run", "{}"],
    ["run", "small.yaml", "--plugin", "{}"],
    ["query", ARCH, "--tables", "{}"],
    ["front", "gpt-s", "params", "flops", "--tables", "{}"],
    ["explore", "--no-browser", "--tables", "{}"],
    ["check", "{}.py"],
    ["list", "devices", "--space", "{}.yaml"],
    ["query", ARCH, "--space", "{}.yaml"],
    ["device", "add", "mine", "--from", "{}.csv"],
    ["device", "add", "mine", "--from", "{}.npz"],
    ["device", "add", "mine", "--from", "m.csv", "--workload-file", "{}.yaml"],
    ["fit", "{}.csv", "--metric", "latency", "--out", "t.npz"],
]


@pytest.mark.parametrize("arguments", READERS, ids=" ".join)
def test_files_to_read(hw: Any, files: Path, small: str, arguments: list[str]) -> None:
    missing = [word.format("missing") for word in arguments]
    assert_user_error(hw(*missing), r"missing(\.\w+)?: no such file")
    if "fit" in arguments:  # directories are runs there
        return
    for suffix in ("", ".py", ".yaml", ".csv", ".npz"):
        (files / f"place{suffix}").mkdir()
    place = [word.format("place") for word in arguments]
    assert_user_error(hw(*place), r"place(\.\w+)?: cannot be read: Is a directory")


# Commands that write a file, with the ends that its name may have.
WRITERS = [
    (["report", "run", "--out", "{}"], ""),
    (["export", "run", "--to", "csv", "--out", "{}"], ".csv"),
    (["fit", "m.csv", "--metric", "latency", "--out", "{}"], ".npz"),
    (["compare", "run", "run", "--plot", "{}"], ".png"),
    (["init", "{}", "--space", "gpt-s"], ""),
]


@pytest.mark.parametrize(("arguments", "suffix"), WRITERS, ids=lambda value: value and value[0])
def test_files_to_write(hw: Any, files: Path, arguments: list[str], suffix: str) -> None:
    def call(name: str) -> Any:
        return hw(*(word.format(name) for word in arguments))

    before = sorted(files.rglob("*"))
    if "compare" not in arguments:  # two runs are needed before it draws
        assert_user_error(call("folder"), "folder: (is a directory, expected a file|is there)")
        assert_user_error(call(f"no/x{suffix}"), f"no/x{suffix}: there is no directory no; make it")
        if suffix:
            assert_user_error(call("x.bin"), f"x.bin: expected a name that ends in {suffix}")
    assert sorted(files.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "small.yaml", "--out", "file"],
        ["plot", "run", "--out", "file"],
        ["device", "add", "mine", "--from", "m.csv", "--folder", "file"],
        ["device", "list", "--folder", "file"],
    ],
    ids=" ".join,
)
def test_files_in_place_of_directories(
    hw: Any, files: Path, small: str, arguments: list[str]
) -> None:
    assert_user_error(hw(*arguments), "^hwnas: file: is a file, expected a directory")
