"""The command check in a space of one's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import hwnas
from hwnas.spaces import load_space

sys.path.insert(0, str(Path(__file__).parent))
from command_line import SMALL

OWN = {
    "name": "mine",
    "embed_dim": [192, 384],
    "n_layer": [10],
    "mlp_ratio": [2, 4],
    "n_head": [4, 8],
}
FILES = {"a space": OWN, "an experiment": {**SMALL, "space": OWN}}


@pytest.mark.parametrize("content", FILES)
@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
def test_a_file_defines_a_space(tmp_path: Path, content: str, suffix: str) -> None:
    file = tmp_path / f"mine{suffix}"
    file.write_text(yaml.safe_dump(FILES[content]))
    assert load_space(str(file)).to_dict() == hwnas.space(OWN).to_dict()
    file.write_text(yaml.safe_dump({**SMALL, "space": "gpt-m"}))
    assert load_space(str(file)).to_dict() == load_space("gpt-m").to_dict()


@pytest.mark.parametrize("content", FILES)
@pytest.mark.parametrize("name", ["random", "surrogate"])
def test_checks_in_the_space_of_a_file(hw: Any, tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(FILES[content]))
    result = hw("check", name, "--space", "mine.yaml")
    assert result.code == 0, result.err
    assert "passed" in result.out


@pytest.mark.parametrize("kind", ["optimizer", "backend"])
@pytest.mark.parametrize("source", ["mine.yaml", "gpt-m", None])
def test_the_space_reaches_the_checks(
    hw: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, source: str | None
) -> None:
    calls = []
    monkeypatch.setattr("hwnas.testing.outcomes", lambda *a, **options: calls.append(options) or [])
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(OWN))
    name = {"optimizer": "nsga2", "backend": "surrogate"}[kind]
    options = [] if source is None else ["--space", source]
    assert hw("check", name, "--kind", kind, *options).code == 0
    assert [getattr(call.get("space"), "name", None) for call in calls] == [
        "mine" if source == "mine.yaml" else source
    ]


@pytest.mark.parametrize("name", ["gpt-s", "llama-s", "dtlz2"])
def test_the_name_of_a_space_checks_that_space(
    hw: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(
        "hwnas.testing.outcomes", lambda *a, **options: calls.append((a, options)) or []
    )
    assert hw("check", name).code == 0
    ((kind, family), options) = calls[0]
    assert kind == "space"
    assert name in hwnas.spaces.families.family(family).named
    assert options["space"].name == name


def test_settings_that_are_missing_are_named(hw: Any) -> None:
    result = hw("check", "llama", "--kind", "space", "--set", "embed_dim=[8]")
    assert result.code == 2
    assert "missing: n_layer, mlp_dim, n_head, n_kv_head" in result.err
