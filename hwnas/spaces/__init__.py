"""Search spaces, and architectures as text.

::

    search_space.py     `SearchSpace`: codes, neighbours, conversion to configurations and back
    code_layout.py      the columns of a code; activity.py: which of them exist
    choices.py          validation of choices; choice_index.py: lookup of their values and texts
    layer_options.py    allowed combinations of a layer's choices
    enumeration.py      all members of a small space
    configuration.py    members with names of a user's own; values.py: their values and codes
    families.py         families of spaces, registered by name
    precision.py        precision of weights as a choice
    language_model.py   what all families of language models have in common
    gpt.py              GPT-2-family models: named spaces, constants, parameters and operations
    architecture.py     `Architecture`, a GPT-2-family model, and its string
    llama.py, llama_architecture.py    the same for Llama-family models
    shrunk_llama.py     smaller versions of one Llama-family model
    arch_input.py       architectures in lines, JSON or CSV
    factory.py          `space`: a search space by name or from a mapping; `load_space`: of a file
"""

from __future__ import annotations

from hwnas.spaces.activity import Group
from hwnas.spaces.configuration import Configuration
from hwnas.spaces.factory import load_space, space
from hwnas.spaces.families import register_space
from hwnas.spaces.gpt import CONTEXT, GPT_SPACES, HEAD_SIZE, VOCABULARY, GPTSpace, require_gpt
from hwnas.spaces.language_model import LanguageModelSpace, require_language_model
from hwnas.spaces.llama import LlamaSpace
from hwnas.spaces.llama_architecture import LlamaArchitecture
from hwnas.spaces.search_space import SearchSpace
from hwnas.spaces.shrunk_llama import ShrunkLlamaSpace
from hwnas.typing import Codes

__all__ = [
    "CONTEXT",
    "GPT_SPACES",
    "HEAD_SIZE",
    "VOCABULARY",
    "Codes",
    "Configuration",
    "GPTSpace",
    "Group",
    "LanguageModelSpace",
    "LlamaArchitecture",
    "LlamaSpace",
    "SearchSpace",
    "ShrunkLlamaSpace",
    "load_space",
    "register_space",
    "require_gpt",
    "require_language_model",
    "space",
]
