"""Reports of runs on spaces of a user's own: their names, values and units."""

from __future__ import annotations

import copy
import csv
import itertools
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from matplotlib.transforms import Bbox

import hwnas
from hwnas.errors import InvalidInput
from hwnas.reports.comparison.comparison import compare
from hwnas.reports.html.page import render_page
from hwnas.reports.html.payload import report_payload
from hwnas.reports.plots import figures, kinds, style
from hwnas.reports.plots.attribution import attribution_table, fit_attribution
from hwnas.reports.plots.features import (
    Feature,
    architecture_features,
    explained_variance,
    feature_groups,
    select_features,
)
from hwnas.reports.plots.parallel_coordinates import plot_parallel_coordinates
from hwnas.reports.plots.sampled_architectures import measured_architectures
from hwnas.reports.summary_table import summary_table
from hwnas.runner.results import Result

sys.path.insert(0, str(Path(__file__).parent))
from own_spaces import HOSTILE, MEANING, SPACES, UNIT, run_on

GPT_NAMES = ("embed_dim", "n_layer", "mlp_ratio", "n_head")
NEVER = {"difference", "ranks", "scatter"}  # one optimizer, no device
LAYERED = {"layered", "bare-layers"}


@pytest.fixture(scope="module")
def own_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    folder = tmp_path_factory.mktemp("own")
    return {name: run_on(space, folder / name) for name, space in SPACES.items()}


@pytest.mark.parametrize("name", SPACES)
def test_every_kind_is_drawn_or_says_what_is_missing(
    own_runs: dict[str, Result], tmp_path: Path, name: str
) -> None:
    drawings = {d.kind: d for d in kinds.draw_each(own_runs[name], ["all"], out=tmp_path)}
    assert list(drawings) == list(kinds.KINDS)
    missing = {kind for kind, drawing in drawings.items() if drawing.reason}
    assert missing == NEVER | (set() if name in LAYERED else {"attribution"})
    for drawing in drawings.values():
        assert "\n" not in drawing.reason
        assert bool(drawing.files) != bool(drawing.reason)
        assert not any(word in drawing.reason for word in GPT_NAMES)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("kind", ["fronts", "parallel", "distribution", "effect", "attribution"])
def test_labels_are_own_names_and_do_not_overlap(
    own_runs: dict[str, Result], name: str, kind: str
) -> None:
    result = own_runs[name]
    if kind == "attribution" and name not in LAYERED:
        with pytest.raises(InvalidInput, match="has no layers to attribute to"):
            figures.attribution_figure(result)
        return
    figure = kinds.KINDS[kind].figure(result)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    page = Bbox.from_bounds(0, 0, *canvas.get_width_height()).padded(1)
    texts = [text.get_text() for text in figure.findobj(Text)]
    # Units are those of the backend, which is not there any more.
    assert any(UNIT in text for text in texts)
    assert any(r"m\$" in text for text in texts)
    assert not any(word in text for text in texts for word in (*GPT_NAMES, "rchitecture"))
    if kind in ("parallel", "effect", "distribution"):
        own = [*result.space.choices, *result.space.layers]
        assert any(choice in text for text in texts for choice in own)
    for axes in figure.axes:
        boxes = [
            label.get_window_extent(renderer)
            for label in axes.get_xticklabels()
            if label.get_text() and label.get_rotation() == 0
        ]
        if kind != "fronts":
            assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
        title = axes.title.get_window_extent(renderer)
        assert page.containsx(title.x0)
        assert page.containsx(title.x1)
    suptitle = figure.findobj(lambda item: item is figure._suptitle)[0]
    box = suptitle.get_window_extent(renderer)
    assert page.containsx(box.x0)
    assert page.containsx(box.x1)


def test_texts_are_shown_as_they_are(own_runs: dict[str, Result]) -> None:
    """Neither a formula, nor hidden from a legend, nor markup."""
    figure = figures.distribution_figure(own_runs["layered"])
    (axes,) = (
        axes
        for axes in figure.axes[:6]
        if axes.get_legend().get_title().get_text() == "most frequent activation"
    )
    labels = [text.get_text().strip() for text in axes.get_legend().get_texts()]
    assert labels == ["relu", "_tanh", style.plain(HOSTILE)]
    assert style.plain("a\nb  c") == "a b c"
    assert len(style.plain("x" * 99)) == 24


def test_parallel_axes_are_the_choices(own_runs: dict[str, Result]) -> None:
    architectures = measured_architectures(own_runs["layered"])
    axes = figures.style.make_figure(1, "").subplots()
    lines = plot_parallel_coordinates(axes, architectures)
    names = [label.get_text().replace("\n", " ") for label in axes.get_xticklabels()]
    assert names == [
        "depth",
        "optimizer",
        "momentum",
        "rate (log)",
        "mean width",
        "most frequent activation",
        "dropout",
        f"a ({UNIT})",
        r"b (m\$)",
    ]
    segments = np.array(lines.get_segments())
    texts = [text.get_text() for text in axes.texts]
    for text in ("adam", "sgd", style.plain(HOSTILE), "off", "False", "True", "0.0001", "0.1"):
        assert text in texts
    # Momentum exists with one optimizer alone, and is at the lower end otherwise.
    is_sgd = segments[:, 1, 1] == 0.5
    assert 0 < is_sgd.sum() < len(is_sgd)
    assert (segments[~is_sgd, 2, 1] == 0).all()
    assert (segments[is_sgd, 2, 1] > 0.1).all()
    rates = np.unique(segments[:, 3, 1])
    np.testing.assert_allclose(rates, [0, 1 / 3, 2 / 3, 1], atol=1e-9)
    assert segments[:, :, 1].min() >= 0
    assert segments[:, :, 1].max() <= 1


def test_many_choices_are_reduced_to_those_that_explain_most(
    own_runs: dict[str, Result],
) -> None:
    figure = figures.parallel_figure(own_runs["wide"])
    assert "30 of 60 choices, those that explain most" in figure.get_suptitle()
    assert len(figure.axes[0].get_xticklabels()) == 32
    assert len(figures.effect_figure(own_runs["wide"]).axes) == 6 * 2
    rng = np.random.default_rng(0)
    features = {f"f{i}": Feature(rng.integers(0, 3, 200).astype(float)) for i in range(9)}
    values = np.stack([features["f7"].values, features["f2"].values * 9], axis=1)
    assert select_features(features, values, 2) == ["f2", "f7"]
    assert select_features(features, values, 9) == list(features)
    assert explained_variance(np.ones(3), [np.ones(3, dtype=bool)]) == 0


def test_features_summarize_present_layers() -> None:
    space = hwnas.space(SPACES["layered"])
    codes = space.sample(60, np.random.default_rng(0))
    features = architecture_features(space, codes)
    for i, config in enumerate(space.decode(codes)):
        assert features["depth"].values[i] == config["depth"]
        optimizer = features["optimizer"]
        assert optimizer.labels[int(optimizer.values[i])] == config["optimizer"]
        momentum = features["momentum"].values[i]
        assert momentum == config["momentum"] if "momentum" in config else np.isnan(momentum)
        assert features["mean width"].values[i] == pytest.approx(np.mean(config["width"]))
        frequent = features["most frequent activation"]
        counts = [config["activation"].count(text) for text in frequent.labels]
        assert counts[int(frequent.values[i])] == max(counts)
    assert [name for name, _ in feature_groups(features["momentum"])] == ["0", "0.5", "0.9", "off"]
    for feature in features.values():
        groups = [mask for _, mask in feature_groups(feature)]
        assert (np.sum(groups, axis=0) == 1).all()


def test_features_of_layers_that_may_be_absent() -> None:
    space = hwnas.space(
        {
            "name": "gated",
            "choices": {"depth": [0, 2]},
            "layers": {"gate": [False, True], "size": [1, 2], "kind": list("abcdefghij")},
            "conditions": {"size": {"gate": [True]}},
        }
    )
    # No layer; two without the gate; one with it.
    rows = [{"depth": 0}]
    rows += [{"depth": 2, "gate": [False, g], "size": [None, s], "kind": ["b", "c"]}
             for g, s in ((False, None), (True, 2))]  # fmt: skip
    features = architecture_features(space, space.encode(rows))
    np.testing.assert_array_equal(features["share gate"].values, [np.nan, 0.0, 0.5])
    np.testing.assert_array_equal(features["mean size"].values, [np.nan, np.nan, 2.0])
    np.testing.assert_array_equal(features["most frequent kind"].values, [np.nan, 1, 1])
    # Of many texts the most frequent ones are groups.
    groups = feature_groups(Feature(np.repeat(np.arange(10.0), range(1, 11)), tuple("abcdefghij")))
    assert [(name, mask.sum()) for name, mask in groups] == [
        ("f", 6),
        ("g", 7),
        ("h", 8),
        ("i", 9),
        ("j", 10),
        ("others", 15),
    ]


def test_attribution_finds_the_effects_of_own_choices(own_runs: dict[str, Result]) -> None:
    result = own_runs["layered"]
    attribution = fit_attribution(result)
    assert attribution.choices == (
        ("width", 8, 32),
        ("activation", "relu", "_tanh"),
        ("activation", "relu", HOSTILE),
    )
    assert attribution.units == (UNIT, "m$")
    weights = 1 + np.arange(len(result.space.columns)) % 3
    expected = weights[result.space.layer_columns.T]  # of width, then of activation, (2, L)
    for w in range(len(attribution.widths)):
        np.testing.assert_allclose(attribution.effect[0, w, [0, 2]], expected, atol=0.1)
        np.testing.assert_allclose(attribution.effect[0, w, 1], expected[1] / 2, atol=0.1)
    header, rows = attribution_table(attribution)
    assert header[2:5] == [attribution.width_name, "choice", "layer"]
    assert {row[3] for row in rows} == {
        "width",
        "activation: relu to _tanh",
        f"activation: relu to {HOSTILE}",
    }
    # Without another choice outside the layers there is one line.
    bare = fit_attribution(own_runs["bare-layers"])
    assert (bare.width_name, bare.widths, bare.fixed) == ("", (2,), {})
    assert attribution_table(bare)[0][2:4] == ["choice", "layer"]


def test_attribution_goes_through_allowed_layers(tmp_path: Path) -> None:
    space = {
        "name": "heads",
        "choices": {"depth": [1, 2, 3]},
        "layers": {"head": [2, 4, 6], "kv": [2, 3], "free": [0, 1]},
        "allowed": [[h, k, f] for h in (2, 4, 6) for k in (2, 3) for f in (0, 1) if h % k == 0],
    }
    attribution = fit_attribution(run_on(space, tmp_path / "run"))
    names = [name for name, _, _ in attribution.choices]
    assert names == ["head", "kv", "free"]
    assert np.isfinite(attribution.effect).all()


def test_reading_a_run_needs_no_backend(own_runs: dict[str, Result]) -> None:
    for result in own_runs.values():
        fresh = Result(result.path)
        a, b = report_payload(fresh)["objectives"]
        assert (a["unit"], a["meaning"], b["unit"], b["meaning"]) == (UNIT, MEANING, "m$", "")
        assert summary_table(fresh)[1]
        assert "problem" not in vars(fresh)
    assert compare(list(own_runs.values())).notes


def test_metrics_are_recorded_with_the_run(own_runs: dict[str, Result], tmp_path: Path) -> None:
    shutil.copytree(own_runs["flat"].path, tmp_path / "copy")
    file = tmp_path / "copy" / "environment.json"
    content = json.loads(file.read_text())
    assert content["metrics"] == {
        "a": {"unit": UNIT, "meaning": MEANING},
        "b": {"unit": "m$", "meaning": ""},
    }
    # Without a record, as in older runs, or with a damaged one there are no units.
    for metrics in (None, 3, {"a": 3}, {"a": {"unit": "s"}}):
        file.write_text(json.dumps({**content, "metrics": metrics}))
        assert Result(tmp_path / "copy").units == {}
    file.unlink()
    assert Result(tmp_path / "copy").units == {}
    assert figures.fronts_figure(Result(tmp_path / "copy")).axes[0].get_xlabel() == "a"


def test_older_runs_of_the_surrogate_have_units(finished_run: Result) -> None:
    loaded = Result(finished_run.path)
    units = {"perplexity": "", "latency@rtx3080": "ms"}
    assert units.items() <= loaded.units.items()
    assert units.items() <= finished_run.units.items()
    old = copy.copy(finished_run)
    old.__dict__.pop("metrics", None)
    old.path = finished_run.path / "nowhere"
    assert old.units == units


@pytest.mark.parametrize("name", SPACES)
def test_a_page_has_names_and_values_as_data(own_runs: dict[str, Result], name: str) -> None:
    result = own_runs[name]
    data = report_payload(result)
    for key, choices in (("choices", result.space.choices), ("layers", result.space.layers)):
        payload = data["space"][key]
        assert {c["name"]: tuple(c["values"]) for c in payload} == choices
        assert all(c["texts"] == list(map(str, c["values"])) for c in payload)
    assert data["texts"] is None
    assert data["space"]["members"] == "configurations"
    text = render_page(result)
    assert text.count("</script") == 2
    assert MEANING not in text  # markup is escaped
    assert ["metrics.a.unit", UNIT] not in data["environment"]
    for file in result.path.glob("*/seed-*/front.csv"):
        with file.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert all(row["arch"] == str(result.space.parse(row["arch"])) for row in rows)
