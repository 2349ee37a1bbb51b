"""The commands profile and build."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

import hwnas

sys.path.insert(0, str(Path(__file__).parent))
from command_line import ARCH, NO_SPACES, assert_user_error

PROFILE = ("profile", "--space", "gpt-s", "--count", "2", "--out", "it.csv", "--device", "cpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metrics", "latncy"], "unknown metric 'latncy'; did you mean 'latency'"),
        (["--space", "gpt-x"], "unknown space 'gpt-x'"),
        (["--precision", "foo"], "precision: expected one of auto, float32, bfloat16"),
        (["--metrics", "latency", "--tokens", "2000"], "tokens: expected at most 1024"),
        (["--metrics", "latency", "--out", "it.txt"], r"ends in \.csv, found it\.txt"),
        (["--count", "0"], "--count"),
    ],
)
def test_profile_errors(hw: Any, options: list[str], message: str) -> None:
    assert_user_error(hw(*PROFILE, *options), message)
    assert not list(Path().iterdir())


def test_profile(hw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from hwnas.profiling.survey.drift import Drift, Summary

    def survey(space: Any, bench: Any, metrics: Any, file: Path, **settings: Any) -> Summary:
        report = settings.pop("report")
        assert (space.name, bench.name, metrics) == ("gpt-s", "cpu", ["latency", "memory"])
        assert (str(file), bench.passes.batch_size, bench.within) == ("it.csv", 4, 0.02)
        assert settings == {"count": 2, "seed": 0, "anchor_every": 10}
        if report:
            row = {"arch": ARCH, "latency@cpu": "2.5", "seconds": "3", "reason": ""}
            report({**row, "role": "anchor"}, 0)
            report({**row, "role": "design"}, 1)
        return Summary(2, 0, 12.0, (Drift("latency@cpu", "ms", 3, 1.9, 2.1, 10.0),))

    monkeypatch.setattr("hwnas.profiling.survey.survey.run_survey", survey)
    arguments = (*PROFILE, "--metrics", "latency, memory", "--batch-size", "4", "--within", "0.02")
    result = hw(*arguments)
    assert result.code == 0
    assert result.err.splitlines() == [
        "anchor: 10 layers of 192: latency@cpu 2.5 ms, 3.0 s",
        "1 of 2: 10 layers of 192: latency@cpu 2.5 ms, 3.0 s",
    ]
    assert re.search(r"^latency@cpu +ms +3 +1\.9 +2\.1 +10\.00$", result.out, re.MULTILINE)
    assert result.out.endswith("it.csv: 2 architectures measured, 0 failed, 12 per minute\n")
    quiet = hw(*arguments, "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def test_interrupted_profile_prints_how_to_resume(hw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*arguments: Any, **settings: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hwnas.profiling.survey.survey.run_survey", stopped)
    message = r"stopped; it\.csv contains all results so far, the same command continues"
    assert_user_error(hw(*PROFILE), message)


def test_build(hw: Any, tmp_path: Path) -> None:
    from hwnas.profiling.export.safetensors import load_model
    from hwnas.spaces.architecture import Architecture

    arch = "gpt-s-10-192-" + "-".join(["2"] * 10 + ["4"] * 10) + "-True"
    result = hw("build", arch, "--out", "net")
    assert result.code == 0, result.err
    space = hwnas.space("gpt-s")
    params = int(space.params(space.encode([Architecture.parse(arch)]))[0])
    assert result.out == f"net: config.json, model.safetensors ({params:,} parameters)\n"
    assert str(load_model(tmp_path / "net").arch) == arch
    assert_user_error(
        hw("build", arch, "--out", "net"), "net/model.safetensors is there already|net/config"
    )
    assert_user_error(hw("build", "gpt-s-10", "--out", "other"), "expected")
    assert_user_error(hw("build", arch.replace("192", "200"), "--out", "other"), "embed_dim")
    (tmp_path / "x.pt").write_bytes(b"no checkpoint")
    assert_user_error(
        hw("build", arch, "--out", "other", "--checkpoint", "x.pt"), "x.pt: expected a checkp"
    )


def test_build_of_llama(hw: Any, tmp_path: Path) -> None:
    from hwnas.profiling.export.safetensors import load_model

    space = hwnas.space("llama-s")
    (arch,) = space.decode(space.canonical([[0] * len(space.columns)]))
    result = hw("build", str(arch), "--out", "net")
    assert result.code == 0, result.err
    assert result.out == "net: config.json, model.safetensors (18,352,384 parameters)\n"
    assert load_model(tmp_path / "net").arch == arch
    for text, message in (
        (str(arch).replace("256", "250"), "embed_dim"),
        (str(arch).replace("False", "maybe"), "expected SPACE-LAYERS-WIDTH"),
        ("llama-s-4-256-True", "expected SPACE-LAYERS-WIDTH"),
        (str(arch).replace("llama-s", "lama-s"), "unknown space 'lama-s'; did you mean 'llama-s'"),
    ):
        assert_user_error(hw("build", text, "--out", "other"), message)


def test_profile_of_llama(hw: Any, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(
        "space: {family: llama, name: tiny, embed_dim: [8, 16], n_layer: [1, 2], mlp_dim: [16], "
        "n_head: [2], n_kv_head: [1, 2], head_size: 4, context: 8, vocab_size: 20}"
    )
    options = ("--metrics", "latency", "--within", "1", "--threads", "1", "--count", "1")
    result = hw(*PROFILE, "--space", "tiny.yaml", *options)
    assert result.code == 0, result.err
    assert result.err.splitlines()[0].startswith("anchor: 2 layers of 16: latency@cpu ")
    assert "it.csv: 1 architectures measured, 0 failed" in result.out


def test_other_members_than_language_models(hw: Any, tmp_path: Path) -> None:
    (tmp_path / "mlp.yaml").write_text("space: {name: mlp, choices: {width: [16, 32]}}")
    message = "space 'mlp': expected language models, found other members"
    assert_user_error(hw(*PROFILE, "--space", "mlp.yaml"), message)
    assert_user_error(hw("build", ARCH, "--space", "mlp.yaml", "--out", "net"), message)


def test_build_of_a_space_in_a_yaml(hw: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "space: {name: mine, embed_dim: [8], n_layer: [1], mlp_ratio: [2], n_head: [1], "
        "head_size: 4, context: 8, vocab_size: 20}"
    )
    result = hw("build", "mine-1-8-2-1-True", "--space", "mine.yaml", "--out", "net")
    assert result.code == 0, result.err
    assert_user_error(hw("build", "mine-1-8-2-1-True", "--out", "other"), "unknown space 'mine'")


@pytest.mark.parametrize("name", NO_SPACES)
def test_files_that_define_no_space(hw: Any, tmp_path: Path, name: str) -> None:
    content, message = NO_SPACES[name]
    if name != "no file":
        (tmp_path / "none.yaml").write_bytes(
            content.encode() if isinstance(content, str) else content
        )
    for command in (("build", ARCH, "--out", "model"), PROFILE, ("check", "random")):
        assert_user_error(hw(*command, "--space", "none.yaml"), r"^hwnas: none\.yaml: .*" + message)
