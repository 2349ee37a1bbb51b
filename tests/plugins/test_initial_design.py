"""Tests of the initial design of the additive optimizer."""

from __future__ import annotations

import numpy as np
import pytest
from hwnas_plugins._initial_design import corner_design

from hwnas.spaces import space


@pytest.mark.parametrize("name", ["gpt-s", "gpt-l-wide"])
def test_the_corners_of_every_width(name: str) -> None:
    own = space(name)
    codes = corner_design(own)
    assert own.is_valid(codes).all()
    assert len(np.unique(codes, axis=0)) == len(codes)
    top = own.cardinalities - 1
    largest = [
        arch for arch, code in zip(own.decode(codes), codes, strict=True) if (code == top).sum()
    ]
    assert largest
    for width in own.embed_dim:
        archs = [arch for arch in own.decode(codes) if arch.embed_dim == width]
        corners = {(a.n_layer, min(a.mlp_ratio), max(a.n_head)) for a in archs}
        low, high = own.mlp_ratio[0], own.mlp_ratio[-1]
        one_head, most_heads = own.n_head[0], own.n_head[-1]
        deep, shallow = own.n_layer[-1], own.n_layer[0]
        assert corners >= {
            (deep, high, most_heads),
            (shallow, low, one_head),
            (deep, high, one_head),
        }
        assert corners >= {(deep, low, most_heads)}
        assert all(len(set(a.mlp_ratio)) == len(set(a.n_head)) == 1 for a in archs)
    assert {arch.bias for arch in own.decode(codes)} == set(own.bias)
