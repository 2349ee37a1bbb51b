"""Kinds of plots and their files."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from hwnas.errors import InvalidInput, UnknownName
from hwnas.reports.plots import kinds, style
from hwnas.runner.results import Result
from hwnas.spaces import GPTSpace


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_files_have_the_format_of_their_suffix(
    finished_run: Result, tmp_path: Path, suffix: str
) -> None:
    files = kinds.draw(finished_run, ["fronts"], suffix=suffix, out=tmp_path)
    assert files == [tmp_path / f"fronts.{suffix}"]
    begins = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[suffix]
    assert files[0].read_bytes().startswith(begins)


def test_names_of_files_contain_the_x_axis(finished_run: Result, tmp_path: Path) -> None:
    assert kinds.draw(finished_run, x="cost", out=tmp_path) == [
        tmp_path / "fronts.png",
        tmp_path / "hypervolume-cost.png",
    ]
    (file,) = kinds.draw(finished_run, ["hypervolume"], x="evaluations", out=tmp_path)
    assert file == tmp_path / "hypervolume.png"
    assert file.read_bytes() != (tmp_path / "hypervolume-cost.png").read_bytes()
    with pytest.raises(InvalidInput, match="fronts: has no x axis cost; only hypervolume can"):
        kinds.draw(finished_run, ["hypervolume", "fronts"], x="cost", out=tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("draw", [kinds.draw, lambda *args, **kw: [*kinds.draw_each(*args, **kw)]])
def test_unknown_names_are_refused(
    finished_run: Result, tmp_path: Path, draw: Callable[..., object]
) -> None:
    with pytest.raises(UnknownName, match="unknown kind of plot 'front'; did you mean 'fronts'"):
        draw(finished_run, ["hypervolume", "front"], out=tmp_path)
    with pytest.raises(UnknownName, match="unknown x axis 'costs'; did you mean 'cost'"):
        draw(finished_run, ["hypervolume"], x="costs", out=tmp_path)
    with pytest.raises(InvalidInput, match="fronts: has no x axis cost; only hypervolume can"):
        draw(finished_run, ["hypervolume", "fronts"], x="cost", out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_each_kind_is_drawn_or_has_a_reason(three_objective_run: Result, tmp_path: Path) -> None:
    named = ["attainment", "fronts", "difference", "parallel", "fronts"]
    drawings = list(kinds.draw_each(three_objective_run, named, suffix="svg", out=tmp_path))
    assert [drawing.kind for drawing in drawings] == named[:-1]
    for drawing in drawings:
        if drawing.kind in ("attainment", "difference"):
            assert drawing.files == ()
            assert drawing.reason == "expected a run with two objectives, found 3"
        else:
            assert drawing.files == (tmp_path / f"{drawing.kind}.svg",)
            assert drawing.reason == ""
    files = {file for drawing in drawings for file in drawing.files}
    assert set(tmp_path.iterdir()) == files


def test_all_kinds(finished_run: Result, tmp_path: Path) -> None:
    drawings = list(kinds.draw_each(finished_run, ["all"], x="cost", out=tmp_path))
    assert [drawing.kind for drawing in drawings] == list(kinds.KINDS)
    assert [drawing.reason for drawing in drawings if drawing.reason] == []
    files = [file.name for drawing in drawings for file in drawing.files]
    assert {"fronts.png", "hypervolume-cost.png", "attribution.csv"} <= set(files)
    assert sorted(files) == sorted(file.name for file in tmp_path.iterdir())


def test_a_run_that_no_kind_can_draw_leaves_no_directory(
    three_objective_run: Result, tmp_path: Path
) -> None:
    drawings = list(kinds.draw_each(three_objective_run, ["difference"], out=tmp_path / "none"))
    assert [bool(drawing.reason) for drawing in drawings] == [True]
    assert not (tmp_path / "none").exists()


def test_kinds_are_described() -> None:
    assert [row[0] for row in kinds.describe_kinds()] == list(kinds.KINDS)
    assert all(row[-1].endswith(".") for row in kinds.describe_kinds())
    times = {row[0]: row[1] for row in kinds.describe_kinds()}
    assert times["fronts"] == "by default"
    assert times["attribution"] == "on request"


def test_line_styles_differ() -> None:
    styles = [tuple(map(str, style.line_style(i).values())) for i in range(40)]
    assert len(set(styles)) == 40
    assert len(set(style.COLOURS)) == len(style.COLOURS)


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_labels_of_every_kind_do_not_overlap(finished_run: Result, kind: str) -> None:
    figure = kinds.KINDS[kind].figure(finished_run)
    assert figure.get_suptitle()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    assert np.asarray(canvas.buffer_rgba()).std() > 0
    renderer = canvas.get_renderer()
    page = Bbox.from_bounds(0, 0, *canvas.get_width_height()).padded(1)
    for axes in figure.axes:
        # Tick labels inside the limits do not overlap each other.
        low, high = sorted(axes.get_xlim())
        labels = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        boxes = [
            label.get_window_extent(renderer)
            for at, label in labels
            if low <= at <= high and label.get_text()
        ]
        for a, b in itertools.combinations(boxes, 2):
            assert not a.overlaps(b), axes
        # Labels and titles are inside the page.
        for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
            if text.get_text():
                box = text.get_window_extent(renderer)
                assert page.containsx(box.x0), text
                assert page.containsx(box.x1), text
                assert page.containsy(box.y0), text
                assert page.containsy(box.y1), text


def test_kinds_for_two_objectives_refuse_three(three_objective_run: Result) -> None:
    for kind in ("attainment", "difference"):
        with pytest.raises(InvalidInput, match="expected a run with two objectives, found 3"):
            kinds.draw(three_objective_run, [kind])
    for kind in ("parallel", "distribution", "effect", "correlation", "scatter"):
        assert kinds.draw(three_objective_run, [kind])[0].exists()


def test_errors_of_files_are_reported(finished_run: Result, tmp_path: Path) -> None:
    (tmp_path / "fronts.png").mkdir()
    with pytest.raises(InvalidInput, match=r"fronts.png: is a directory, expected a file to write"):
        kinds.draw(finished_run, ["fronts"], out=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["fronts.png"]
    (tmp_path / "plots").touch()
    with pytest.raises(InvalidInput, match="plots: is a file, expected a directory to make"):
        kinds.draw(finished_run, ["fronts"], out=tmp_path / "plots")


def test_spaces_without_choices_are_refused(finished_run: Result) -> None:
    none = copy.copy(finished_run)
    none.space = GPTSpace(
        "none", embed_dim=[192], n_layer=[2], mlp_ratio=[2], n_head=[4], bias=[True]
    )
    # A run on a space with one architecture, on a backend without a known front.
    codes = none.space.encode(none.space.decode([[0] * 7]))
    trials = replace(
        finished_run.searches[0].trials,
        codes=codes.repeat(len(finished_run.searches[0].trials), axis=0),
    )
    none.searches = [replace(finished_run.searches[0], trials=trials)]
    none.reference = replace(finished_run.reference, best=None)
    for kind in ("effect", "distribution"):
        with pytest.raises(InvalidInput, match="the architectures of none have no choices"):
            kinds.KINDS[kind].figure(none)
