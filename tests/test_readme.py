"""Every example of the README runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hwnas.problem import load_experiment
from hwnas.yaml_loader import parse_yaml

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.split("\n")[3][:30])
def test_python(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hwnas.registry._registered", {"optimizer": {}, "backend": {}})
    exec(compile(code, "README.md", "exec"), {})
    assert list(tmp_path.rglob("summary.csv"))


def test_yaml() -> None:
    (text,) = blocks("yaml")
    assert load_experiment(parse_yaml(text))[0].name == "rtx3080-latency"


def test_images_exist() -> None:
    images = re.findall(r"!\[.+?\]\((.+?)\)", README)
    assert len(images) == 3
    for image in images:
        assert (Path(__file__).resolve().parents[1] / image).is_file()
