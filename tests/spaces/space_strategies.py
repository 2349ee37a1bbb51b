"""Hypothesis strategies of search spaces."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from hwnas.spaces import GPT_SPACES, Codes, GPTSpace, SearchSpace, space

NAMED = {name: space(name) for name in GPT_SPACES}


def increasing(max_count: int, max_value: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(1, max_value), min_size=1, max_size=max_count, unique=True).map(
        sorted
    )


@st.composite
def custom_spaces(draw: st.DrawFn, choices: int = 4, max_depth: int = 7) -> SearchSpace:
    return GPTSpace(
        draw(st.from_regex(r"[a-z._]{1,5}(-[a-z][a-z0-9]?)?", fullmatch=True)),
        embed_dim=draw(increasing(choices, 4096)),
        n_layer=draw(increasing(choices, max_depth)),
        mlp_ratio=draw(increasing(choices, 8)),
        n_head=draw(increasing(choices, 32)),
        bias=draw(st.sampled_from([[False], [True], [False, True], [True, False]])),
        head_size=2 * draw(st.integers(1, 64)),
        context=draw(st.integers(1, 4096)),
        vocab_size=draw(st.integers(1, 100_000)),
    )


spaces = st.one_of(custom_spaces(), st.sampled_from(list(NAMED.values())))
small_spaces = custom_spaces(choices=2, max_depth=3)
seeds = st.integers(0, 2**32 - 1)


def sample_codes(search_space: SearchSpace, seed: int, n: int = 20) -> Codes:
    return search_space.sample(n, np.random.default_rng(seed))
