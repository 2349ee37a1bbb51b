"""Statistics of benchmarks/workloads.py, from rows whose answers are known."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hwnas
from hwnas import pareto
from hwnas.surrogates.tables import predict
from hwnas.surrogates.transfer import best_at

FOLDER = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(FOLDER))

import workloads_fronts as fronts  # noqa: E402
import workloads_measure as measuring  # noqa: E402
import workloads_pairs as pairing  # noqa: E402
import workloads_pieces as pieces  # noqa: E402
import workloads_plot as plotting  # noqa: E402
import workloads_processes as processes  # noqa: E402
import workloads_report as report  # noqa: E402
import workloads_rows as files  # noqa: E402
import workloads_statistics as statistics  # noqa: E402

# Coefficients of n_layer, sum of MLP sizes, sum of heads (and of keys and values), and bias.
COEFFICIENTS = {
    "latency": (0.3, 0.2, 0.02, 0.02, 0.1),
    "ttft.chat": (0.2, 0.1, 0.01, 0.01, 0.2),
    "tpot.chat": (0.5, 0.02, 0.001, 0.001, 0.3),
    "ttft.serve": (0.1, 0.4, 0.05, 0.05, 0.1),
    "tpot.serve": (0.1, 0.01, 0.3, 0.4, 0.1),
}


def linear_value(arch, metric):
    """Value of a metric that is exactly linear within each width."""
    layer, mlp, head, kv, flag = COEFFICIENTS[metric]
    if hasattr(arch, "mlp_ratio"):
        sums = mlp * sum(arch.mlp_ratio) + head * sum(arch.n_head) + flag * arch.bias
    else:
        sums = mlp * sum(arch.mlp_dim) / 512 + head * sum(arch.n_head)
        sums += kv * sum(arch.n_kv_head) + flag * arch.tied
    return arch.embed_dim / 100 * (1 + layer * arch.n_layer + sums)


def make_rows(name, count, *, shifts=(1.0,), card="NVIDIA TEST"):
    """Rows of the first networks of a space; later pieces hold the anchors times a shift."""
    archs = measuring.sample(hwnas.space(name))[:count]
    rows = []
    for piece, shift in enumerate(shifts, 1):
        for index, arch in enumerate(archs if piece == 1 else archs[: files.N_ANCHORS]):
            row = dict.fromkeys(files.COLUMNS, "")
            row |= {"arch": str(arch), "index": str(index), "piece": str(piece), "card": card}
            row |= {"anchor": "anchor" if index < files.N_ANCHORS else "", "date": "2026-01-01"}
            row |= {m: repr(shift * linear_value(arch, m)) for m in COEFFICIENTS}
            rows.append(row | {"seconds": "1.5", "forward": "8 x 1024 bfloat16"})
    return rows


@pytest.fixture(scope="module")
def gpt_s():
    return statistics.measured("gpt-s", make_rows("gpt-s", 60))


@pytest.fixture(scope="module")
def gpt_s_fronts(gpt_s):
    return fronts.find_fronts(gpt_s, statistics.METRICS)


@pytest.mark.parametrize("name", ["gpt-s", "gpt-l-wide", "llama-s"])
def test_linear_values_are_predicted_without_error(name):
    of = statistics.measured(name, make_rows(name, 60))
    for metric in COEFFICIENTS:
        assert statistics.held_out_error(of, metric) < 1e-10
    assert np.isnan(statistics.held_out_error(of, "energy"))


def test_heads_of_the_first_layer_are_seen():
    of = statistics.measured("llama-s", make_rows("llama-s", 120))
    assert statistics.first_layer_errors(of, "latency") == pytest.approx((0, 0), abs=1e-9)
    effects = np.array([(0.0, 1.0, 3.0)[[2, 4, 8].index(arch.n_head[0])] for arch in of.archs])
    of = replace(of, values=of.values | {"latency": 50 + of.values["latency"] + effects})
    without, with_it = statistics.first_layer_errors(of, "latency")
    assert without > 0.005
    assert with_it < 1e-9


@pytest.mark.parametrize(("own_share", "low", "high"), [(1.0, 0.99, 1.01), (0.0, -0.4, 0.4)])
def test_residuals_of_two_cards_tell_what_is_the_networks_own(own_share, low, high):
    """Deviations that both cards share correlate, noise of each does not."""
    cards, rng = [], np.random.default_rng(0)
    shared = rng.standard_normal(120)
    for level in (1.0, 2.0):
        of = statistics.measured("gpt-s", make_rows("gpt-s", 120))
        deviations = own_share * shared + (1 - own_share) * rng.standard_normal(120)
        values = level * of.values["latency"] * (1 + 0.01 * deviations)
        cards.append(replace(of, values=of.values | {"latency": values}))
    n, correlation = statistics.residual_correlation(*cards, "latency")
    assert n == 120
    assert low < correlation < high
    few = statistics.measured("gpt-s", make_rows("gpt-s", 20))
    assert np.isnan(statistics.residual_correlation(cards[0], few, "latency")[1])


def test_too_few_networks_have_no_error():
    of = statistics.measured("gpt-s", make_rows("gpt-s", 9))
    assert np.isnan(statistics.held_out_error(of, "latency"))


@given(st.integers(0, 1000), st.integers(5, 12))
def test_leave_one_out_equals_fits_without_each_value(seed, k):
    rng = np.random.default_rng(seed)
    x, y = np.column_stack([np.ones(k), rng.normal(size=(k, 2))]), rng.normal(size=k)
    expected = []
    for i in range(k):
        rest = np.arange(k) != i
        expected.append(y[i] - x[i] @ np.linalg.lstsq(x[rest], y[rest], rcond=None)[0])
    found = statistics.leave_one_out(x, y)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_a_value_on_which_a_coefficient_rests_has_no_error():
    x = np.array([[1.0, 0], [1, 0], [1, 1]])
    assert np.isnan(statistics.leave_one_out(x, np.array([1.0, 2, 5]))).tolist() == [0, 0, 1]


def test_repeatability_is_measured_from_the_first_piece():
    rows = make_rows("gpt-s", 12, shifts=(1.0, 1.02, 0.99))
    rows[12]["latency"] = repr(1.1 * float(rows[0]["latency"]))  # one anchor in the second piece
    again = statistics.repeatability(statistics.measured("gpt-s", rows), "latency")
    assert again.count == 20
    assert again.worst == pytest.approx(0.1)
    assert again.median == pytest.approx(0.015)  # ten of 0.01, nine of 0.02, one of 0.1
    assert again.shift == pytest.approx(0.02)


def test_one_piece_says_nothing_of_repeatability(gpt_s):
    assert statistics.repeatability(gpt_s, "latency") is None


def test_rank_correlation_overall_and_within_widths(gpt_s):
    assert statistics.rank_correlation(gpt_s, "latency", "latency") == (1.0, 1.0)
    # Equal to the width where it decides, opposite to the latency within it.
    opposite = 1000.0 * gpt_s.widths - gpt_s.values["latency"]
    of = replace(gpt_s, values=gpt_s.values | {"energy": opposite})
    overall, within = statistics.rank_correlation(of, "latency", "energy")
    assert within == pytest.approx(-1)
    assert overall > 0


@given(shifts=st.lists(st.floats(0.5, 2.0), min_size=1, max_size=4))
def test_networks_of_several_pieces_have_the_values_of_an_average_board(shifts):
    of = statistics.measured("gpt-s", make_rows("gpt-s", 12, shifts=tuple(shifts)))
    once = np.array([linear_value(arch, "latency") for arch in of.archs])
    average = np.exp(np.mean(np.log(shifts)))
    np.testing.assert_allclose(of.values["latency"], average * once, rtol=1e-6)


def test_one_odd_value_does_not_move_a_piece():
    rows = make_rows("gpt-s", 12, shifts=(1.0, 1.1))
    rows[12]["latency"] = repr(3.0 * float(rows[0]["latency"]))
    scales = pieces.piece_scales(rows, "latency")
    assert scales["2"] / scales["1"] == pytest.approx(1.1)


def test_a_piece_without_networks_of_another_stays_as_it_is():
    rows = make_rows("gpt-s", 12)
    assert pieces.piece_scales(rows, "latency") == {"1": 1.0}
    assert pieces.aligned(rows)[0]["latency"] == rows[0]["latency"]


def test_tables_hold_the_linear_model(gpt_s, gpt_s_fronts):
    codes = gpt_s.space.sample(200, np.random.default_rng(3))
    for metric in COEFFICIENTS:
        expected = [linear_value(arch, metric) for arch in gpt_s.space.decode(codes)]
        found = predict([gpt_s_fronts.tables[metric]], codes)[:, 0]
        np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_no_random_network_dominates_a_front(gpt_s, gpt_s_fronts):
    codes = gpt_s.space.sample(2000, np.random.default_rng(4))
    tables = [gpt_s_fronts.perplexity, gpt_s_fronts.tables["tpot.serve"]]
    random, best = predict(tables, codes), gpt_s_fronts.points("tpot.serve", "tpot.serve")
    assert (random[:, 1] >= best_at(random[:, 0], best) * (1 - 1e-9)).all()


def test_a_front_loses_nothing_by_its_own_metric(gpt_s_fronts):
    for metric in COEFFICIENTS:
        own = gpt_s_fronts.loss(metric, metric)
        assert (own.mean, own.worst) == (0, 0)
        assert own.hypervolume == pytest.approx(0, abs=1e-12)
        other = gpt_s_fronts.loss("latency", metric)
        assert 0 <= other.mean <= other.worst
        assert -1e-12 <= other.hypervolume < 1


def test_losses_of_points_by_hand():
    best = np.array([[1.0, 3.0], [2.0, 1.0]])
    points = np.array([[1.5, 3.0], [2.0, 2.0]])
    found = fronts.loss(points, best)
    # Reference (2.1, 3.2): areas 1.1 * 0.2 + 0.1 * 2 = 0.42 and 0.6 * 0.2 + 0.1 * 1 = 0.22.
    assert pareto.hypervolume(best, (2.1, 3.2)) == pytest.approx(0.42)
    assert found.hypervolume == pytest.approx(1 - 0.22 / 0.42)
    assert (found.mean, found.worst) == (0.5, 1.0)


def make_front_rows(of, found, count, slower=1.0):
    """Rows of measured pairs; those found for the forward pass decode slower than predicted."""
    rows = []
    for index, codes in enumerate(pairing.pairs_of(found, count)):
        for metric, arch in zip(("latency", "tpot.serve"), of.space.decode(codes), strict=True):
            row = dict.fromkeys(files.COLUMNS, "")
            row |= {"arch": str(arch), "index": str(index), "anchor": metric, "piece": "1"}
            row |= {m: repr(linear_value(arch, m)) for m in COEFFICIENTS}
            if metric == "latency":
                row["tpot.serve"] = repr(slower * linear_value(arch, "tpot.serve"))
            rows.append(row | {"card": "NVIDIA TEST", "date": "2026-01-01", "seconds": "1"})
    return rows


def test_pairs_have_equal_perplexity_and_their_second_decodes_faster(gpt_s_fronts):
    pairs = pairing.pairs_of(gpt_s_fronts, 7)
    tables = [gpt_s_fronts.perplexity, gpt_s_fronts.tables["tpot.serve"]]
    values = np.array([predict(tables, codes) for codes in pairs])
    assert values.shape == (7, 2, 2)
    assert (values[:, 1] <= values[:, 0]).all()
    own = gpt_s_fronts.points("tpot.serve", "tpot.serve")
    np.testing.assert_array_equal(values[:, 1, 1], best_at(values[:, 0, 0], own))


def test_chosen_pairs_can_be_read_where_they_are_measured(tmp_path):
    for row in make_rows("gpt-s", 60):
        files.append_row(tmp_path / "gpt-s.csv", row)
    pairing.choose_pairs(["gpt-s", "gpt-l"], count=3, folder=tmp_path)
    pairs = files.read_pairs(tmp_path / files.PAIRS_FILE)
    assert [(pair.space, pair.number) for pair in pairs] == [("gpt-s", k) for k in range(3)]
    assert len(hwnas.space("gpt-s").encode([arch for pair in pairs for arch in pair[2:]])) == 6


def test_verdict_compares_measured_pairs_with_predictions(gpt_s, gpt_s_fronts):
    found = pairing.verdict(gpt_s, gpt_s_fronts, make_front_rows(gpt_s, gpt_s_fronts, 5))
    assert found.pairs == 5
    assert found.measured == pytest.approx(found.predicted)
    assert max(found.errors.values()) < 1e-8
    rows = make_front_rows(gpt_s, gpt_s_fronts, 5, slower=1.25)
    rows[-1] |= {"failed": "out of memory"}
    slower = pairing.verdict(gpt_s, gpt_s_fronts, rows)
    assert slower.pairs == 4
    assert 1 + slower.measured[0] == pytest.approx(1.25 * (1 + slower.predicted[0]))
    assert slower.errors["tpot.serve"] == pytest.approx((1 - 1 / 1.25) / 2)
    assert pairing.verdict(gpt_s, gpt_s_fronts, rows[-1:]) is None


def test_plan_repeats_anchors_and_skips_what_is_known():
    texts = [str(k) for k in range(14)]
    assert measuring.plan(texts, [], (14, 3)) == [(k, k < 3) for k in range(14)]
    times = dict.fromkeys(files.TIMES, "1")
    energies = dict.fromkeys(files.ENERGIES, "1")
    empty = dict.fromkeys(files.COLUMNS, "")
    rows = [empty | {"arch": str(k)} | times | (energies if k < 4 else {}) for k in range(11)]
    rows.append(empty | {"arch": "12", "failed": "out of memory"})
    # Anchors again, two of them with energy; 10 has only times; 12 failed.
    expected = [(k, k < 2 or k >= 4) for k in range(10)] + [(10, True), (11, True), (13, True)]
    assert measuring.plan(texts, rows, (14, 14)) == expected


def test_the_sample_is_always_the_same():
    archs = measuring.sample(hwnas.space("gpt-s"))
    assert archs == measuring.sample(hwnas.space("gpt-s"))
    assert len(set(archs)) == len(archs) >= 120


def test_rows_survive_a_cut_and_merge_once(tmp_path):
    file = tmp_path / "a" / "gpt-s.csv"
    rows = make_rows("gpt-s", 3)
    for row in rows:
        files.append_row(file, row)
    assert files.read_rows(file) == rows
    file.write_text(file.read_text()[:-20])  # a killed process
    assert files.read_rows(file) == rows[:2]
    files.append_row(file, rows[2])
    assert files.read_rows(file) == rows
    for _ in range(2):
        files.merge(tmp_path / "a", tmp_path / "b")
    assert files.read_rows(tmp_path / "b" / "gpt-s.csv") == rows
    assert files.rows_of("gpt-s", [tmp_path / "a", tmp_path / "b", tmp_path / "none"]) == rows


def test_other_columns_are_refused(tmp_path):
    (tmp_path / "gpt-s.csv").write_text("arch,latency\n")
    with pytest.raises(ValueError, match=r"gpt-s\.csv: expected the columns arch,"):
        files.read_rows(tmp_path / "gpt-s.csv")


def test_the_page_says_what_the_rows_say(tmp_path, gpt_s, gpt_s_fronts):
    for name, count, shift in (("gpt-s", 60, 1.0), ("llama-s", 14, 1.02)):
        for row in make_rows(name, count, shifts=(1.0, shift)):
            files.append_row(tmp_path / f"{name}.csv", row)
    for row in make_rows("gpt-s-wide", 2, card="another card"):
        files.append_row(tmp_path / "gpt-s-wide.csv", row)
    for row in make_front_rows(gpt_s, gpt_s_fronts, 5):
        files.append_row(tmp_path / "front-gpt-s.csv", row)
    report.write_page(tmp_path, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "NVIDIA TEST; " in page
    assert "Rows from other cards are not used here: another card." in page
    assert "| gpt-s   |       60 |           0 |      0 |      2 |" in page
    assert re.search(r"\| gpt-s +\| +5 \| (\d+, \d+) +\| \1 +\| +0.00 \|", page)
    assert "| llama-s | 2.0, 2.0; +2.0 " in page
    assert "| gpt-s   | 0.00, 0.00; +0.00 " in page
    lost = gpt_s_fronts.loss("latency", "tpot.serve")
    assert f"on gpt-s {plotting.percent(lost.mean)} slower on average" in page
    assert (tmp_path / "page.png").stat().st_size > 10_000


def test_measuring_goes_on_where_it_stopped(tmp_path, capsys):
    arguments = {"count": 2, "n_energies": 0, "out": tmp_path, "device": "cpu", "small": True}
    measuring.measure(["llama-s"], seconds=60, **arguments)
    rows = files.read_rows(tmp_path / "small-llama-s.csv")
    assert [row["index"] for row in rows] == ["0", "1"]
    assert all(float(row[metric]) > 0 for row in rows for metric in files.TIMES)
    measuring.measure(["llama-s"], seconds=0, **arguments)
    assert "piece 2, 2 networks to measure" in capsys.readouterr().out
    assert files.read_rows(tmp_path / "small-llama-s.csv") == rows


def test_each_card_measures_all_networks(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(measuring, "N_ANCHORS", 1)
    arguments = {"count": 3, "n_energies": 0, "out": tmp_path, "device": "cpu", "small": True}
    measuring.measure(["llama-s"], seconds=60, **arguments)
    capsys.readouterr()
    measuring.measure(["llama-s"], seconds=0, **arguments)
    assert "piece 2, 1 networks to measure" in capsys.readouterr().out
    file = tmp_path / "small-llama-s.csv"
    rows = files.read_rows(file)
    file.unlink()
    for row in rows:
        files.append_row(file, row | {"card": "another card"})
    measuring.measure(["llama-s"], seconds=0, **arguments)
    assert "piece 2, 3 networks to measure" in capsys.readouterr().out


def test_values_of_two_cards_are_not_mixed():
    rows = [*make_rows("gpt-s", 4), *make_rows("gpt-s", 3, card="another card")]
    assert len(statistics.measured("gpt-s", rows).archs) == 4
    assert {row["card"] for row in statistics.measured("gpt-s", rows).rows} == {"NVIDIA TEST"}
    # The cards of devices that ship come first, in their order.
    h100, h200 = files.CARDS
    rows += [*make_rows("gpt-s", 5, card=h200), *make_rows("gpt-s", 2, card=h100)]
    assert statistics.main_card(rows) == h100
    assert len(statistics.measured("gpt-s", rows).archs) == 2


def test_committed_rows_are_small_and_readable():
    found = sorted(files.FOLDER.glob("*.csv"))
    assert sum(file.stat().st_size for file in found) <= report.MAX_BYTES
    for file in found:
        assert all(row["card"] and row["date"] for row in files.read_rows(file))


def test_repeats_in_fresh_processes_are_compared_with_their_median():
    values = {"a": (1.0, 1.02, 0.97), "b": (2.0,), "c": (4.0, 4.0)}
    rows = [
        {"arch": arch, "piece": str(i), "tpot.chat": repr(v), "energy": ""}
        for arch, numbers in values.items()
        for i, v in enumerate(numbers)
    ]
    assert processes.spread(rows, "tpot.chat") == pytest.approx((0.0, 0.03))
    assert processes.spread(rows, "energy") is None
    page = "\n".join(report.processes_section({"gpt-s": []}))
    assert page == ""
