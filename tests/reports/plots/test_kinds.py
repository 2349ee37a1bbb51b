"""The kinds of plots, and the files they go to."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from hwnas.errors import InvalidInput, UnknownName
from hwnas.reports.plots import kinds, style
from hwnas.runner.results import Result
from hwnas.spaces import SearchSpace


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_files(done: Result, tmp_path: Path, suffix: str) -> None:
    files = kinds.draw(done, ["fronts"], suffix=suffix, out=tmp_path)
    assert files == [tmp_path / f"fronts.{suffix}"]
    begins = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[suffix]
    assert files[0].read_bytes().startswith(begins)


def test_files_over_cost(done: Result, tmp_path: Path) -> None:
    assert kinds.draw(done, x="cost", out=tmp_path) == [
        tmp_path / "fronts.png",
        tmp_path / "hypervolume-cost.png",
    ]
    (file,) = kinds.draw(done, ["hypervolume"], x="evaluations", out=tmp_path)
    assert file == tmp_path / "hypervolume.png"
    assert file.read_bytes() != (tmp_path / "hypervolume-cost.png").read_bytes()
    with pytest.raises(InvalidInput, match="fronts: is not drawn over cost; only hypervolume can"):
        kinds.draw(done, ["hypervolume", "fronts"], x="cost", out=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_unknown_kind(done: Result, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="unknown kind of plot 'front'; did you mean 'fronts'"):
        kinds.draw(done, ["front"], out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_kinds_are_described() -> None:
    assert [row[0] for row in kinds.described()] == list(kinds.KINDS)
    assert all(row[-1].endswith(".") for row in kinds.described())
    drawn = {row[0]: row[1] for row in kinds.described()}
    assert drawn["fronts"] == "by default"
    assert drawn["attribution"] == "if asked for"


def test_looks_differ() -> None:
    looks = [tuple(map(str, style.look(i).values())) for i in range(40)]
    assert len(set(looks)) == 40
    assert len(set(style.COLOURS)) == len(style.COLOURS)


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_every_kind_is_rendered_with_labels_that_stay_apart(done: Result, kind: str) -> None:
    made = kinds.KINDS[kind].figure(done)
    assert made.get_suptitle()
    canvas = FigureCanvasAgg(made)
    canvas.draw()
    assert np.asarray(canvas.buffer_rgba()).std() > 0
    renderer = canvas.get_renderer()
    page = Bbox.from_bounds(0, 0, *canvas.get_width_height()).padded(1)
    for axes in made.axes:
        low, high = sorted(axes.get_xlim())
        labels = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        shown = [
            label.get_window_extent(renderer)
            for at, label in labels
            if low <= at <= high and label.get_text()
        ]
        for i, one in enumerate(shown):
            assert not any(one.overlaps(other) for other in shown[i + 1 :]), axes
        for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
            if text.get_text():
                box = text.get_window_extent(renderer)
                assert page.containsx(box.x0), text
                assert page.containsx(box.x1), text
                assert page.containsy(box.y0), text
                assert page.containsy(box.y1), text


def test_kinds_for_two_objectives_say_so_of_three(three: Result) -> None:
    for kind in ("attainment", "difference"):
        with pytest.raises(InvalidInput, match="expected a run with two objectives, found 3"):
            kinds.draw(three, [kind])
    for kind in ("parallel", "distribution", "effect", "correlation", "scatter"):
        assert kinds.draw(three, [kind])[0].exists()


def test_what_cannot_be_written_is_said(done: Result, tmp_path: Path) -> None:
    (tmp_path / "fronts.png").mkdir()
    with pytest.raises(InvalidInput, match=r"fronts.png: cannot be written: Is a directory"):
        kinds.draw(done, ["fronts"], out=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["fronts.png"]
    (tmp_path / "plots").touch()
    with pytest.raises(InvalidInput, match="plots: no plots can be put here"):
        kinds.draw(done, ["fronts"], out=tmp_path / "plots")


def test_a_space_without_choices_is_said(done: Result) -> None:
    none = copy.copy(done)
    none.space = SearchSpace(
        "none", embed_dim=[192], n_layer=[2], mlp_ratio=[2], n_head=[4], bias=[True]
    )
    codes = none.space.encode(none.space.decode([[0] * 7]))
    trials = replace(done.searches[0].trials, codes=codes.repeat(len(done.searches[0].trials), axis=0))
    none.searches = [replace(done.searches[0], trials=trials)]
    none.reference = replace(done.reference, best=None)
    for kind in ("effect", "distribution"):
        with pytest.raises(InvalidInput, match="the networks of none have nothing to choose"):
            kinds.KINDS[kind].figure(none)
