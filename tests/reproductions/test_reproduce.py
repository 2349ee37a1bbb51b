"""The whole of a reproduction: pictures, page, what is said, what is refused."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hwnas.errors import InvalidInput, UnknownName
from hwnas.reproductions import reproduce
from hwnas.reproductions.figures import FIGURES
from hwnas.reproductions.plan import Part

VOID = {"meta", "img", "br"}


class Checked(HTMLParser):
    """Keeps images and anchors; fails where tags are not closed in order."""

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
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_shows_every_figure(drawn: tuple[Path, list[str]]) -> None:
    page, said = drawn
    checked = Checked()
    checked.feed(page.read_text(encoding="utf-8"))
    assert not checked.open
    files = {f"figures/{f.parent.name}/{f.name}" for f in page.parent.glob("figures/*/*.png")}
    assert set(checked.images) == files
    for name in FIGURES:
        assert name in checked.anchors
    assert {link[1:] for link in checked.links if link.startswith("#")} <= checked.anchors
    assert said[0].startswith("4 experiments to run, 24 searches: about ")
    assert said[4].startswith("4 of 4: noise/gpt-s/a100")


def test_the_page_says_what_agrees_and_why_not(drawn: tuple[Path, list[str]]) -> None:
    text = drawn[0].read_text(encoding="utf-8")
    for word in ("agrees", "differs", "not tested", "bias=False is never tried", "MOASHA"):
        assert word in text
    assert "This is the quick selection" in text
    assert "have not been run yet" not in text
    assert re.search(r"With one fidelity it finds \d\.\d+ of the exact hypervolume", text)
    assert "no difference could be significant" in text  # below the ranks


def test_it_goes_on_where_it_stood(
    drawn: tuple[Path, list[str]], small: list[Part], tmp_path: Path
) -> None:
    page, _ = drawn
    said: list[str] = []
    again = reproduce.reproduce(
        "hw-gpt-bench", page.parent, figures=["fronts"], quick=True, say=said.append
    )
    assert again == page
    assert [line.partition(":")[0] for line in said] == ["figure fronts"]  # nothing was run
    text = page.read_text(encoding="utf-8")
    assert "correlations-gpt-s.png" in text  # drawn before
    assert "All searches" in text


def test_one_figure_runs_what_it_needs(small: list[Part], tmp_path: Path) -> None:
    said: list[str] = []
    page = reproduce.reproduce(
        "hw-gpt-bench", tmp_path, figures=["correlations"], quick=True, say=said.append
    )
    assert not (tmp_path / "runs").exists()
    assert len(said) == 1
    assert "correlations-gpt-s.png" in page.read_text(encoding="utf-8")


def test_what_is_there_can_be_drawn(small: list[Part], tmp_path: Path) -> None:
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


def test_wrong_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="unknown paper 'hw-gpt'; did you mean 'hw-gpt-bench'"):
        reproduce.reproduce("hw-gpt", tmp_path)
    with pytest.raises(UnknownName, match="unknown figure 'front'; did you mean 'fronts'"):
        reproduce.reproduce("hw-gpt-bench", tmp_path, figures=["front"])
    with pytest.raises(InvalidInput, match="workers: expected at least 1, found 0"):
        reproduce.reproduce("hw-gpt-bench", tmp_path, workers=0)
    assert not list(tmp_path.iterdir())


def test_figures_are_described() -> None:
    rows = reproduce.described()
    assert [row[0] for row in rows] == list(FIGURES)
    assert all(row[1].endswith(".") for row in rows)
