"""Search spaces, and architectures as text.

::

    architecture.py     `Architecture`, one member of a search space, and its string
    arch_input.py       architectures in lines, JSON or CSV
    search_space.py     `SearchSpace`: codes, neighbours, conversion to architectures and back
    code_layout.py      the columns of a code
    choices.py          validation of choices
    gpt.py              GPT-2-family models: named spaces, constants, parameters and operations
    factory.py          `space`: a search space by name or from a mapping; `load_space`: of a file
"""

from __future__ import annotations

from hwnas.spaces.code_layout import Group
from hwnas.spaces.factory import load_space, space
from hwnas.spaces.gpt import CONTEXT, GPT_SPACES, HEAD_SIZE, VOCABULARY
from hwnas.spaces.search_space import SearchSpace
from hwnas.typing import Codes

__all__ = [
    "CONTEXT",
    "GPT_SPACES",
    "HEAD_SIZE",
    "VOCABULARY",
    "Codes",
    "Group",
    "SearchSpace",
    "load_space",
    "space",
]
