"""Reproductions from end to end: figures, page, progress and errors."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hwnas.errors import InvalidInput, UnknownName
from hwnas.reproductions import reproduce
from hwnas.reproductions.figures import FIGURES
from hwnas.reproductions.plan import PlannedExperiment

VOID_TAGS = {"meta", "img", "br"}


class PageParser(HTMLParser):
    """Parser that collects images and anchors, and fails if tags are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[str] = []
        self.anchors: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "img":
            self.images.append(values["src"] or "")
            assert values["alt"]
        if "id" in values:
            self.anchors.add(values["id"] or "")
        if tag == "a":
            self.links.append(values["href"] or "")
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_has_every_figure(small_reproduction: tuple[Path, list[str]]) -> None:
    page, lines = small_reproduction
    parser = PageParser()
    parser.feed(page.read_text(encoding="utf-8"))
    assert not parser.open
    files = {f"figures/{f.parent.name}/{f.name}" for f in page.parent.glob("figures/*/*.png")}
    assert set(parser.images) == files
    for name in FIGURES:
        assert name in parser.anchors
    assert {link[1:] for link in parser.links if link.startswith("#")} <= parser.anchors
    assert lines[0].startswith("4 experiments to run, 24 searches: about ")
    assert lines[4].startswith("4 of 4: noise/gpt-s/a100")


def test_page_has_verdicts_and_reasons(small_reproduction: tuple[Path, list[str]]) -> None:
    text = small_reproduction[0].read_text(encoding="utf-8")
    for word in ("agrees", "differs", "not tested", "bias=False is never tried", "MOASHA"):
        assert word in text
    assert "This is the quick selection" in text
    assert "have not been run yet" not in text
    assert re.search(r"With one fidelity it finds \d\.\d+ of the exact hypervolume", text)
    assert "tests over problems need at least 7" in text  # below the ranks


def test_repeated_call_runs_nothing_again(
    small_reproduction: tuple[Path, list[str]], small: list[PlannedExperiment], tmp_path: Path
) -> None:
    page, _ = small_reproduction
    lines: list[str] = []
    second_page = reproduce.reproduce(
        "hw-gpt-bench", page.parent, figures=["fronts"], quick=True, say=lines.append
    )
    assert second_page == page
    assert [line.partition(":")[0] for line in lines] == ["figure fronts"]  # no experiment was run
    text = page.read_text(encoding="utf-8")
    assert "correlations-gpt-s.png" in text  # from the first call
    assert "All searches" in text


def test_one_figure_runs_only_required_experiments(
    small: list[PlannedExperiment], tmp_path: Path
) -> None:
    lines: list[str] = []
    page = reproduce.reproduce(
        "hw-gpt-bench", tmp_path, figures=["correlations"], quick=True, say=lines.append
    )
    assert not (tmp_path / "runs").exists()
    assert len(lines) == 1
    assert "correlations-gpt-s.png" in page.read_text(encoding="utf-8")


def test_existing_results_can_be_drawn(small: list[PlannedExperiment], tmp_path: Path) -> None:
    page = reproduce.reproduce(
        "hw-gpt-bench", tmp_path, figures=["calibration"], quick=True, run=False
    )
    with pytest.raises(InvalidInput, match="no reproduction is here yet; run it without --draw"):
        reproduce.reproduce(
            "hw-gpt-bench", tmp_path / "x", figures=["fronts"], quick=True, run=False
        )
    assert not (tmp_path / "x").exists()
    text = page.read_text(encoding="utf-8")
    assert "4 experiments have not been run yet" in text
    assert "All searches" not in text
    assert "calibration-gpt-s.png" in text
    assert not (tmp_path / "runs").exists()


def test_wrong_arguments_raise(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="unknown paper 'hw-gpt'; did you mean 'hw-gpt-bench'"):
        reproduce.reproduce("hw-gpt", tmp_path)
    with pytest.raises(UnknownName, match="unknown figure 'front'; did you mean 'fronts'"):
        reproduce.reproduce("hw-gpt-bench", tmp_path, figures=["front"])
    with pytest.raises(InvalidInput, match="workers: expected at least 1, found 0"):
        reproduce.reproduce("hw-gpt-bench", tmp_path, workers=0)
    assert not list(tmp_path.iterdir())


def test_describe_figures() -> None:
    rows = reproduce.describe_figures()
    assert [row[0] for row in rows] == list(FIGURES)
    assert all(row[1].endswith(".") for row in rows)
