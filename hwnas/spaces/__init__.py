"""Search spaces, and architectures as people write them."""

from __future__ import annotations

from hwnas.spaces.search_space import (
    CONTEXT,
    GPT_SPACES,
    HEAD_SIZE,
    VOCABULARY,
    Group,
    SearchSpace,
    space,
)
from hwnas.typing import Codes

__all__ = [
    "CONTEXT",
    "GPT_SPACES",
    "HEAD_SIZE",
    "VOCABULARY",
    "Codes",
    "Group",
    "SearchSpace",
    "space",
]
