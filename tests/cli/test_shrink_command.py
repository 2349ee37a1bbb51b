"""The command shrink."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from hwnas.profiling import save_model
from hwnas.profiling.gpt import GPT
from hwnas.profiling.llama import Llama
from hwnas.spaces import LlamaArchitecture
from hwnas.spaces.architecture import Architecture

sys.path.insert(0, str(Path(__file__).parent))
from command_line import assert_user_error

WORKLOAD = "workloads: {mine: {prompt: 8, generate: 2, batch: 1, precision: float32}}"


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model, a text and a workload in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    arch = LlamaArchitecture.parse("tiny-2-16-32-32-2-2-1-1-True")
    save_model(Llama(arch, head_size=8, context=16, vocab_size=257), "model")
    words = [f"the document {i} says that {i} follows {i - 1}" for i in range(60)]
    Path("text.txt").write_text("\n\n".join(words), encoding="utf-8")
    Path("work.yaml").write_text(WORKLOAD, encoding="utf-8")


SHRINK: tuple[str, ...] = (
    *("shrink", "model", "--out", "small", "--text", "text.txt", "--workload", "mine"),
    *("--workload-file", "work.yaml", "--device", "cpu", "--on", "cpu", "--window", "16"),
    *("--calibration-tokens", "128", "--held-out-tokens", "64", "--head-steps", "1"),
    *("--mlp-steps", "2", "--networks", "6", "--evaluations", "7", "--max-seconds", "0.02"),
    *("--max-perplexity", "100"),
)


def test_from_a_model_to_smaller_ones(hw: Any) -> None:
    result = hw(*SHRINK, "--at", "1", "--heal", "1500")
    assert result.code == 0, result.err
    assert result.out.startswith("# Smaller versions of tiny\n")
    assert "small/members/1: " in result.out
    assert "healed" in result.out
    assert Path("small/members/1/safetensors/model.safetensors").exists()
    assert hw("query", "--tables", "small/tables.npz", "--space", "small/space.yaml",
              piped=Path("small/front.csv").read_text()).code == 0  # fmt: skip
    front = hw("front", "small/space.yaml", "added_loss", "latency.mine@cpu", "--tables",
               "small/tables.npz", "--csv")  # fmt: skip
    assert front.code == 0, front.err
    again = hw(*SHRINK, "--quiet")
    assert (again.code, again.out, again.err) == (0, "", "")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (("--device", "mars"), "mars"),
        (("--workload", "serve"), "expected at most 16, the context of tiny"),
        (("--importance", "magic"), "unknown importance 'magic'"),
        (("--at", "1.5"), "--at: expected a share above 0 and at most 1, found 1.5"),
        (("--text", "none.txt"), "none.txt"),
    ],
)
def test_errors_of_users(changed: tuple[str, ...], reason: str, hw: Any) -> None:
    assert_user_error(hw(*SHRINK, *changed), reason)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (("--workload", "chta"), "unknown workload 'chta'; did you mean 'chat'"),
        (("--workload", "serve"), "expected at most 16, the context of tiny"),
        (("--max-perplexity", "0.5"), "max_perplexity: expected a number above 1, found 0.5"),
        (("--max-perplexity", "nan"), "max_perplexity: expected a number above 1, found nan"),
        (("--max-seconds", "-1"), "max_seconds: expected a number above 0, found -1.0"),
        (("--on", "gpu"), "device: expected auto, cpu, cuda or cuda:1, found 'gpu'"),
    ],
)
def test_what_is_refused_leaves_no_plan(changed: tuple[str, ...], reason: str, hw: Any) -> None:
    assert_user_error(hw(*SHRINK, *changed), reason)
    assert not Path("small").exists()


def test_other_models_are_refused(hw: Any) -> None:
    gpt = GPT(Architecture.parse("t-1-32-2-1-True"), head_size=16, context=8, vocab_size=257)
    save_model(gpt, "gpt")
    assert_user_error(hw("shrink", "gpt", "--out", "small"), "expected a Llama, found a model of")
    Path("other").mkdir()
    Path("other/config.json").write_text(json.dumps({"architectures": ["GPT2LMHeadModel"]}))
    reason = "expected a LlamaForCausalLM or a network of hwnas build, found GPT2LMHeadModel"
    assert_user_error(hw("shrink", "other", "--out", "small"), reason)
    assert not Path("small").exists()
