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
        (
            ["--metrics", "latency", "--out", "it.txt"],
            r"it\.txt: expected a name that ends in \.csv",
        ),
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
        assert (space.name, bench.name, metrics) == (
            "gpt-s",
            "cpu",
            ["latency@cpu", "peak_memory@cpu"],
        )
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
    assert result.out == f"net: README.md, config.json, model.safetensors ({params:,} parameters)\n"
    assert str(load_model(tmp_path / "net").arch) == arch
    assert_user_error(
        hw("build", arch, "--out", "net"), "net: is there already; choose another directory"
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
    assert result.out == "net: README.md, config.json, model.safetensors (18,352,384 parameters)\n"
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


# -- workloads and chosen networks -----------------------------------------------------------------

TINY = """
space: {name: tiny, embed_dim: [8, 16], n_layer: [1, 2], mlp_ratio: [1, 2], n_head: [1, 2],
        head_size: 4, context: 16, vocab_size: 20}
workloads: {talk: {prompt: 6, generate: 5, batch: 2, precision: float32}}
"""
NETWORKS = ("tiny-1-8-2-1-True", "tiny-2-16-1-2-1-2-False")
QUICK = ("--within", "1", "--max-seconds", "0.05", "--threads", "1", "--device", "cpu")


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    (tmp_path / "tiny.yaml").write_text(TINY)
    return "tiny.yaml"


def test_survey_of_a_workload(hw: Any, tiny: str, tmp_path: Path) -> None:
    options = ("--space", tiny, "--count", "1", "--out", "it.csv", "--workload", "talk", *QUICK)
    result = hw("profile", *options, "--metrics", "ttft,tpot")
    assert result.code == 0, result.err
    header = (tmp_path / "it.csv").read_text().splitlines()[0].split(",")
    assert header[3:7] == [
        "ttft.talk@cpu",
        "ttft.talk@cpu std",
        "tpot.talk@cpu",
        "tpot.talk@cpu std",
    ]
    assert "anchor: 2 layers of 16: ttft.talk@cpu " in result.err
    # A workload that other text defines in the same words is the same survey.
    (tmp_path / "w.yaml").write_text(
        TINY.partition("workloads")[1] + TINY.partition("workloads")[2]
    )
    more = hw(
        "profile", *options[:6], "--workload-file", "w.yaml", *QUICK, "--metrics", "ttft,tpot"
    )
    assert more.code == 0, more.err
    assert more.err == ""  # nothing is left to measure


def test_metrics_name_their_workloads(hw: Any, tiny: str) -> None:
    options = (NETWORKS[0], "--space", tiny, *QUICK, "--format", "csv", "--quiet")
    result = hw("profile", *options, "--metrics", "latency,tpot.talk")
    assert result.code == 0, result.err
    header = result.out.splitlines()[0].split(",")
    assert "tpot.talk@cpu" in header
    # Without --workload a bare metric is that of the forward pass.
    assert "latency@cpu" in header
    assert "latency.talk@cpu" not in header
    result = hw("profile", *options, "--metrics", "tpot.tlak")
    assert_user_error(result, "did you mean 'talk'")


def test_one_network(hw: Any, tiny: str) -> None:
    result = hw("profile", NETWORKS[0], "--space", tiny, *QUICK, "--metrics", "latency")
    assert result.code == 0, result.err
    header, row = result.out.splitlines()[:2]
    assert header.split() == ["metric", "unit", "measured", "std", "%"]
    assert re.match(r"latency@cpu +ms +[\d.]+ ", row)
    assert re.match(r"1 of 1: 1 layers of 8: latency@cpu [\d.]+ ms, [\d.]+ s\n", result.err)


def test_several_networks(hw: Any, tiny: str, tmp_path: Path) -> None:
    (tmp_path / "front.csv").write_text("perplexity,arch\n30," + NETWORKS[1] + "\n")
    options = ("--space", tiny, "--workload", "talk", *QUICK, "--metrics", "ttft,tpot", "--quiet")
    result = hw("profile", NETWORKS[0], "front.csv", *options)
    assert result.code == 0, result.err
    header, first, second = result.out.splitlines()[:3]
    assert header.split() == ["arch", "ttft.talk@cpu", "ms", "tpot.talk@cpu", "ms"]
    assert (first.split()[0], second.split()[0]) == NETWORKS
    assert result.err == ""
    full = hw("profile", *NETWORKS, *options, "--format", "csv").out.splitlines()
    assert full[0] == (
        "arch,ttft.talk@cpu,ttft.talk@cpu std,tpot.talk@cpu,tpot.talk@cpu std,imprecise,reason"
    )
    assert len(full) == 3
    import json

    (record,) = json.loads(hw("profile", NETWORKS[0], *options, "--format", "json").out)
    assert record["tpot.talk@cpu"] > 0


def test_imprecise_values_are_marked_on_the_terminal(hw: Any, tiny: str) -> None:
    options = ("--space", tiny, *QUICK, "--metrics", "latency", "--within", "0.0001")
    result = hw("profile", NETWORKS[0], *options)
    assert result.code == 0, result.err
    assert re.search(r"^latency@cpu +ms +[\d.]+ ! ", result.out, re.MULTILINE)
    assert "! missed the requested precision" in result.out
    assert "ms (imprecise), " in result.err


def test_networks_beside_the_surrogate(hw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from hwnas.profiling.errors import OutOfMemory
    from hwnas.profiling.meters import forward_pass

    arch = "gpt-s-10-192-" + "-".join(["2"] * 10 + ["4"] * 10) + "-True"
    profiler = "hwnas.profiling.device_profiler.DeviceProfiler"
    monkeypatch.setattr(f"{profiler}.build_model", lambda self, space, arch: None)
    result = SimpleNamespace(value=4.5, std=0.045, precise=True)
    monkeypatch.setattr(f"{profiler}.measure", lambda self, model, *arguments: result)
    monkeypatch.setattr(
        forward_pass, "environment", lambda device: SimpleNamespace(device_name="NVIDIA H100 80GB")
    )
    shown = hw("profile", arch, "--metrics", "latency", *QUICK).out.splitlines()
    known = hw(
        "query", arch, "--metric", "latency@h100", "--metric", "perplexity", "--format", "csv"
    )
    _, latency, perplexity = known.out.splitlines()[1].split(",")
    assert shown[0].split() == ["metric", "unit", "measured", "std", "%", "surrogate"]
    assert shown[1].split() == ["latency@cpu", "ms", "4.5", "1", f"{float(latency):.4g}"]
    assert shown[2].split() == ["perplexity", "-", "-", f"{float(perplexity):.4g}"]

    def out_of_memory(self: Any, model: Any, *arguments: Any) -> None:
        raise OutOfMemory("measuring it: not enough memory")

    monkeypatch.setattr(f"{profiler}.measure", out_of_memory)
    failed = hw("profile", arch, "--metrics", "latency", *QUICK, "--quiet")
    assert failed.code == 2
    assert failed.err == (
        "hwnas: 1 of 1 networks could not be measured: measuring it: not enough memory\n"
    )
    assert re.search(r"^latency@cpu +ms +- ", failed.out, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected networks, or for a survey --space, --count and --out; missing: --space"),
        (("--space", "tiny.yaml", "--count", "1"), "missing: --out"),
        ((NETWORKS[0], "--count", "1"), "--count and --out are those of a survey"),
        ((NETWORKS[0], "--out", "x.csv"), "--count and --out are those of a survey"),
        ((NETWORKS[0],), "argument 1: .*'tiny'"),
        (("nothing.csv", "--space", "tiny.yaml"), "nothing.csv: no such file"),
        (("empty.csv", "--space", "tiny.yaml"), "empty.csv: expected architectures, found none"),
        (("binary.csv", "--space", "tiny.yaml"), "binary.csv: expected UTF-8 text"),
        (("tiny-1-9-2-1-True", "--space", "tiny.yaml"), "argument 1: .*embed_dim"),
        ((NETWORKS[0], "--space", "tiny.yaml", "--workload", "tlak"), "did you mean 'talk'"),
        ((NETWORKS[0], "--space", "tiny.yaml", "--workload", "chat"), "--workload chat: .*context"),
        ((NETWORKS[0], "--space", "tiny.yaml", "--workload-file", "tiny.csv"), "tiny.csv: "),
        ((NETWORKS[0], "--space", "tiny.yaml", "--workload-file", "no.yaml"), "expected the key w"),
        ((NETWORKS[0], "--space", "tiny.yaml", "--workload-file", "bad.yaml"), "workloads: talk: "),
        ((NETWORKS[0], "--space", "tiny.yaml", "--workload-file", "none.yaml"), "expected the key"),
        ((NETWORKS[0], "--space", "tiny.yaml", "--metrics", "tpot"), "unknown metric 'tpot'"),
    ],
)
def test_errors_of_chosen_networks(
    hw: Any, tiny: str, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\xfd")
    (tmp_path / "no.yaml").write_text("space: gpt-s")
    (tmp_path / "none.yaml").write_text("workloads:")
    (tmp_path / "bad.yaml").write_text("workloads: {talk: {prompt: 0, generate: 1, batch: 1}}")
    assert_user_error(hw("profile", *arguments, "--device", "cpu"), message)


def test_networks_from_standard_input(hw: Any, tiny: str) -> None:
    options = ("--space", tiny, *QUICK, "--metrics", "latency")
    result = hw("profile", "-", *options, piped="\n".join(NETWORKS))
    assert result.code == 0, result.err
    assert result.err.splitlines()[1].startswith("2 of 2: ")
    assert_user_error(hw("profile", "-", *options), "expected architectures, found none")


def test_an_interrupt_keeps_what_was_measured(
    hw: Any, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hwnas.profiling.device_profiler import DeviceProfiler

    real, archs = DeviceProfiler.measure, []

    def measure(self: Any, model: Any, *arguments: Any) -> Any:
        archs.append(model.arch)
        if len(archs) == 2:
            raise KeyboardInterrupt
        return real(self, model, *arguments)

    monkeypatch.setattr(DeviceProfiler, "measure", measure)
    options = ("--space", tiny, *QUICK, "--metrics", "latency", "--format", "csv", "--quiet")
    result = hw("profile", *NETWORKS, *options)
    assert result.code == 2
    assert result.err == "hwnas: stopped after 1 of 2 networks\n"
    assert len(result.out.splitlines()) == 2


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA GeForce RTX 3080", "rtx3080"),
        ("NVIDIA RTX A6000", "a6000"),
        ("Tesla V100-SXM2-32GB", "v100"),
        ("Intel(R) Xeon(R) Gold 6242 CPU @ 2.80GHz", "cpu_xeon_gold"),
        ("AMD EPYC 7513 32-Core Processor", "cpu_amd_7513"),
        ("NVIDIA H200", None),
        ("NVIDIA L40S", None),
        ("Intel(R) Xeon(R) Platinum 8481C CPU", None),
    ],
)
def test_published_device_of_a_machine(model: str, name: str | None) -> None:
    from hwnas.cli.chosen_networks import published_device

    assert published_device(model) == name
