"""Pairs, twins and the page of benchmarks/confirmation.py, from rows whose answers are known."""

import sys
from pathlib import Path

import pytest

import hwnas
from hwnas.spaces.architecture import Architecture

FOLDER = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(FOLDER))

import confirmation_gguf as gguf  # noqa: E402
import confirmation_report as report  # noqa: E402
import confirmation_rows as files  # noqa: E402


def make_rows(ways):
    """Rows of all pairs, each network once: with each way, its times of both networks."""
    rows = []
    known = set()
    for pair in files.chosen_pairs():
        for way, times in ways.items():
            for role, arch, value in zip(files.ROLES, pair[2:], times, strict=True):
                if (arch, way) in known:
                    continue
                known.add((arch, way))
                row = dict.fromkeys(files.COLUMNS, "x") | {
                    "failed": "" if value else "no memory",
                    "std": "0.02",
                }
                row |= {"space": pair.space, "pair": str(pair.number), "role": role}
                rows.append(row | {"arch": arch, "way": way, "tpot": value and repr(value)})
    return rows


def test_the_second_of_ten_pairs_has_at_most_the_perplexity_of_the_first():
    pairs = files.chosen_pairs()
    assert [pair.space for pair in pairs] == ["gpt-s", "gpt-l"] * 5
    assert len({pair.number for pair in pairs if pair.space == "gpt-s"}) == 5
    for pair in pairs:
        assert pair.first != pair.second
        first, second = report.perplexities(pair.space, [pair.first, pair.second])
        assert second <= first


@pytest.mark.parametrize("scale", ["gpt-s", "gpt-l"])
def test_twins_have_the_weights_of_their_networks(scale):
    space = hwnas.space(scale)
    (pair, *_) = [pair for pair in files.chosen_pairs() if pair.space == scale]
    arch = space.parse(pair.first)
    twin = gguf.twin(arch)
    assert (twin.n_layer, twin.embed_dim, twin.n_head) == (
        arch.n_layer, arch.embed_dim, arch.n_head
    )  # fmt: skip
    mlp = sum(2 * ratio * arch.embed_dim**2 for ratio in arch.mlp_ratio)
    assert sum(3 * width * arch.embed_dim for width in twin.mlp_dim) == pytest.approx(mlp, rel=0.02)


def test_twin_of_unequal_layers():
    twin = gguf.twin(Architecture.parse("gpt-2-384-2-3-4-8-False"))
    assert str(twin) == "gpt-2-384-512-768-4-8-4-8-False"


def test_page(tmp_path):
    ways = {"hwnas": (3.0, 2.0), "static cache": (4.4, 4.0), "generate": (5.0, 6.0)}
    rows = make_rows({**ways, "generate compiled": ("", "")})
    for row in rows:
        files.append_row(tmp_path / "cuda.csv", row)
    assert files.read_rows([tmp_path / "cuda.csv", tmp_path / "none.csv"]) == rows
    assert len(files.measured_ways(rows)) == len(rows)
    report.write_page(tmp_path, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("| gpt-")]
    assert len(lines) == 10
    assert (
        "| 3.000 / 2.000 | +50.0 % | 4.400 / 4.000 | +10.0 % | 5.000 / 6.000 | -16.7 %" in lines[0]
    )
    assert "| hwnas | 10 | 10 | 10 | 50.0 % | 50.0 % | 0.0 points |" in page
    assert "| static cache | 10 | 10 | 10 | 10.0 % | 50.0 % | 40.0 points |" in page
    assert "| generate | 10 | 0 | 0 | -16.7 % | 50.0 % | 66.7 points |" in page
    assert "Failed: generate compiled: no memory" in page
    assert "is 0.5% of a time in the median, at most 1.0%." in page
    assert "llama.cpp" not in page
