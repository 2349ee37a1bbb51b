"""The rule that chooses the code of a training."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hwnas.profiling.training.compile_choice import EAGER_FLOPS, EAGER_SHARE, choose_code

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("seconds", "shared", "alone"),
    [
        (0.9, "off", "off"),
        (20, "blocks", "off"),
        (100, "blocks", "whole"),
        (250, "blocks", "whole"),
        (2000, "blocks", "whole"),
        (3000, "whole", "whole"),
    ],
)
def test_longer_trainings_have_faster_code(seconds: float, shared: str, alone: str) -> None:
    flops = seconds * EAGER_FLOPS
    assert choose_code("auto", CUDA, flops, can_share=True) == shared
    assert choose_code("auto", CUDA, flops, can_share=False) == alone
    peak = EAGER_FLOPS / EAGER_SHARE
    assert choose_code("auto", CUDA, flops, can_share=True, peak_flops=peak) == shared
    # A device of half the speed takes twice as long.
    half = choose_code("auto", CUDA, flops / 2, can_share=True, peak_flops=peak / 2)
    assert half == shared


@given(flops=st.floats(0, 1e30), can_share=st.booleans())
def test_a_cpu_is_not_compiled_for_and_a_choice_is_kept(flops: float, can_share: bool) -> None:
    assert choose_code("auto", CPU, flops, can_share=can_share) == "off"
    for choice in ("off", "blocks", "whole"):
        for device in (CPU, CUDA):
            assert choose_code(choice, device, flops, can_share=can_share) == choice
