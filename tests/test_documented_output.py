"""Outputs that documents show have the columns, files and names of the real ones."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from documents import ROOT, Block, blocks_in
from typer.testing import CliRunner

from hwnas.cli.main import app
from hwnas.cli.shrink_command import member_line
from hwnas.experiment import read_experiment
from hwnas.shrinking.report import report_text
from hwnas.shrinking.selection import Member
from hwnas.spaces import LlamaArchitecture, space


def output_of(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def columns(line: str) -> list[str]:
    """Return the cells of a printed table's line, which two spaces separate."""
    return re.split(r" {2,}", line.strip())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("documented")


@pytest.fixture(scope="module")
def quickstart(folder: Path) -> str:
    """Output of a short quickstart."""
    out = str(folder / "quickstart")
    return output_of("run", "quickstart", "--out", out, "--set", "budget.evaluations=20")


@pytest.fixture(scope="module")
def sweep(folder: Path) -> Path:
    """Directory of the first sweep of docs/sweeps.md, shortened."""
    block = next(b for b in blocks_in("yaml") if b.text.startswith("name: devices\nsweep:"))
    (folder / "devices.yaml").write_text(block.text)
    out = folder / "devices"
    settings = ("--set", "budget.evaluations=6", "--set", "optimizers=[random]", "--set", "seeds=1")
    output_of("run", str(folder / "devices.yaml"), "--out", str(out), "--no-draw", *settings)
    return out


@pytest.fixture(scope="module")
def comparison(folder: Path) -> str:
    """Output of a comparison over as many problems as in the README."""
    runs = []
    for device in ("rtx2080", "rtx3080", "a6000", "a100", "v100", "P100", "h100", "cpu_xeon_gold"):
        runs.append(str(folder / device))
        settings = ["budget.evaluations=5", "seeds=3", "noise=false"]
        settings += [f"objectives=[perplexity, latency@{device}]", "optimizers=[random, uniform]"]
        changes = [word for setting in settings for word in ("--set", setting)]
        output_of("run", "quickstart", "--out", runs[-1], "--no-draw", *changes)
    return output_of("compare", *runs)


def check_quickstart(block: Block, quickstart: str, folder: Path) -> None:
    shown, real = block.text.splitlines(), quickstart.splitlines()
    (header,) = (line for line in shown if line.startswith("optimizer "))
    (real_header,) = (line for line in real if line.startswith("optimizer "))
    assert columns(header) == columns(real_header)
    # A row for each optimizer, with as many cells as columns.
    start = shown.index(header) + 1
    names = [entry.name for entry in read_experiment("quickstart")[0].optimizers]
    rows = [columns(line) for line in shown[start : start + len(names)]]
    assert [row[0] for row in rows] == names
    assert all(len(row) == len(columns(header)) for row in rows)
    # Lines of progress, one for each search, and the last line.
    progress = {line.partition(":")[0] for line in shown[: start - 1]}
    assert progress >= {f"{name} seed {seed}" for name in names for seed in (0, 1)}
    assert shown[-1] == real[-1].replace(str(folder), "runs")


def check_summary(block: Block, quickstart: str) -> None:
    """Check the table of a quickstart: its columns, and a row for each optimizer."""
    header, *rows = block.text.splitlines()
    (real,) = (line for line in quickstart.splitlines() if line.startswith("optimizer "))
    assert columns(header) == columns(real)
    names = [entry.name for entry in read_experiment("quickstart")[0].optimizers]
    assert [columns(row)[0] for row in rows] == names
    assert all(len(columns(row)) == len(columns(header)) for row in rows)
    # The rows of the first page, which was made at once.
    first = next(b for b in blocks_in("text") if b.document == "docs/quickstart.md")
    assert set(rows) <= set(first.text.splitlines())


def check_comparison(block: Block, comparison: str) -> None:
    """Headers of tables occur in the real output; sentences do, apart from their numbers."""
    real = {" ".join(columns(line)) for line in comparison.splitlines()}
    headers = [line for line in block.text.splitlines() if re.match(r"(rank|better) {2,}", line)]
    assert headers
    for line in headers:
        assert " ".join(columns(line)) in real, f"{line}\n{comparison}"


def check_tree(block: Block, root: Path) -> None:
    """Check that the files and folders of a tree exist below its first line."""
    # A line far to the right continues the description of the one before.
    _, *lines = re.sub(r"\n {20,}", " ", block.text).splitlines()
    parents: list[tuple[int, Path]] = []
    for line in lines:
        indent, name = len(line) - len(line.lstrip()), line.split()[0]
        parents = [(width, path) for width, path in parents if width < indent]
        parent = parents[-1][1] if parents else root
        pattern = re.sub(r"<\w+>", "*", name.rstrip("/"))
        matches = sorted(parent.glob(pattern))
        assert matches, f"{block}: {line.strip()}"
        if name.endswith("/"):
            assert matches[0].is_dir()
            parents.append((indent, matches[0]))
        elif name in ("summary.csv", "hypervolume.csv"):
            check_columns(line, matches[0])


def check_columns(line: str, file: Path) -> None:
    """Check the columns that a line of a tree names: ``a, b (explanation), c, ...``."""
    with file.open(encoding="utf-8") as lines:
        header = next(csv.reader(lines))
    names = re.sub(r"\(.*?\)", "", line.partition(file.name)[2])
    assert set(re.findall(r"[a-z_]+", names)) <= set(header), f"{file.name}: {header}"


def check_shrink_report(block: Block) -> None:
    """Check that a report of `hwnas shrink` has the lines of a real one, but for their numbers."""
    losses, depths = np.array([0.0, 0.1, 0.2]), np.zeros(3, dtype=int)
    search: Any = SimpleNamespace(
        codes=np.zeros((3, 1), dtype=np.int8), front=[2, 1, 0], times=np.array([3.0, 2.0, 1.0]),
        added=losses, predicted=losses, scored=losses,
    )  # fmt: skip
    members: Any = SimpleNamespace(
        name="base", size=3, decode=lambda codes: ["`base`"], depth_of=lambda c: depths[: len(c)]
    )

    def without_numbers(text: str) -> set[str]:
        text = re.sub(r"`[^|]*`", "ARCH", text)
        return {re.sub(r"nan|[\d.]+", "N", line) for line in text.splitlines() if line}

    real = report_text(members, search, "latency.mine@cpu", 1.0)
    assert without_numbers(block.text) <= without_numbers(real)


def check_exported_member(block: Block) -> None:
    """Check the line on an exported member of `hwnas shrink`."""
    folder, _, figures = block.text.partition(": ")
    share, *perplexities = map(float, re.findall(r"\d[\d.]*", figures))
    arch = LlamaArchitecture("base", 64, 1, (64,), (4,), (2,), tied=True)
    assert member_line(Member(arch, Path(folder), share / 100, *perplexities)) == block.text.strip()


def check_form(block: Block) -> None:
    """Check that the form of an architecture's string names the choices of a space."""
    gpt = space("gpt-s")
    names = re.findall(r"embed_dim|n_layer|mlp_ratio|n_head", block.text)
    assert set(names) <= {*gpt.choices, *gpt.layers}
    assert names == ["n_layer", "embed_dim", "mlp_ratio", "n_head"]


@pytest.mark.parametrize("block", blocks_in("text", ""), ids=str)
def test_text(block: Block, request: pytest.FixtureRequest) -> None:
    first = block.text.partition("\n")[0]
    folder: Callable[[], Path] = lambda: request.getfixturevalue("folder")  # noqa: E731
    if re.search(r"^random seed \d", block.text, re.MULTILINE):
        check_quickstart(block, request.getfixturevalue("quickstart"), folder())
    elif first.startswith("optimizer "):
        check_summary(block, request.getfixturevalue("quickstart"))
    elif re.search(r"mean rank", block.text):
        check_comparison(block, request.getfixturevalue("comparison"))
    elif first == "runs/<experiment>/":
        request.getfixturevalue("quickstart")
        check_tree(block, folder() / "quickstart")
    elif first == "runs/devices/":
        check_tree(block, request.getfixturevalue("sweep"))
    elif first == "hwnas/":
        # Folders of the top level follow those of the package.
        inside = block.text.partition("\nplugins/")
        check_tree(Block(block.document, block.line, "text", inside[0]), ROOT / "hwnas")
        top = f"./\n{inside[1].strip()}{inside[2]}"
        check_tree(Block(block.document, block.line, "text", top), ROOT)
    elif first.startswith("space - "):
        check_form(block)
    elif first.startswith("| prediction "):
        check_shrink_report(block)
    elif "of the time, perplexity" in first:
        check_exported_member(block)
    else:
        pytest.fail(f"{block}: a block of text that no test knows: {first}")
