"""A number format that the processor emulates is named in one line, with its cost."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from hwnas.errors import HwnasWarning
from hwnas.profiling.meters import emulation
from hwnas.profiling.meters.emulation import cpu_flags, emulation_ratio, warn_if_emulated

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def fresh_ratios() -> Iterator[None]:
    emulation_ratio.cache_clear()
    yield
    emulation_ratio.cache_clear()


def set_processor(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], slowness: dict[torch.dtype, float]
) -> None:
    monkeypatch.setattr(emulation, "cpu_flags", lambda: flags)
    monkeypatch.setattr(emulation, "_seconds", lambda shape, dtype: slowness.get(dtype, 1.0))


@pytest.mark.parametrize("precision", ["bfloat16", "int8", "fp8"])
def test_emulated_bfloat16_is_named_with_its_cost(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_processor(monkeypatch, {"avx2", "avx512f"}, {torch.bfloat16: 12.3})
    with pytest.warns(HwnasWarning, match="bfloat16 is emulated.* 12 times .*precision: float32"):
        warn_if_emulated(CPU, precision)


@pytest.mark.parametrize(
    ("flags", "precision", "slowness"),
    [
        ({"avx2"}, "float32", 12.0),
        ({"avx512_bf16"}, "bfloat16", 12.0),
        ({"amx_bf16"}, "int8", 12.0),
        ({"asimd", "bf16"}, "bfloat16", 12.0),
        ({"avx512_fp16"}, "float16", 12.0),
        (set(), "bfloat16", 12.0),  # nothing is known of the processor
        ({"avx2"}, "bfloat16", 1.2),  # emulated at no cost
    ],
)
def test_nothing_is_said_of_others(
    flags: set[str], precision: str, slowness: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = {torch.bfloat16: slowness, torch.float16: slowness}
    set_processor(monkeypatch, flags, slow)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_emulated(CPU, precision)
        warn_if_emulated(torch.device("cuda"), precision)


def test_flags_are_read_as_linux_writes_them(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nflags\t\t: fpu avx2\n\nprocessor\t: 1\nflags\t: fpu\n")
    assert cpu_flags(file) == {"fpu", "avx2"}
    file.write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert cpu_flags(file) == {"fp", "asimd", "bf16"}
    assert cpu_flags(tmp_path / "missing") == set()


def test_the_products_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulation, "cpu_flags", lambda: {"fpu"})
    assert 0 < emulation_ratio("bfloat16") < 1e4
