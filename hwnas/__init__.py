"""hwnas: which language model should run on this hardware?

A search space of GPT-2-family architectures is searched by a plugin optimizer against a pluggable
backend. Names are loaded when they are first used, so that ``import hwnas`` needs nothing but the
standard library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwnas.backends import Backend, Evaluation
    from hwnas.errors import HwnasError, SpaceExhausted
    from hwnas.fronts import Front
    from hwnas.objectives import Metric, Objective
    from hwnas.optimizers import MultiFidelityOptimizer, Optimizer
    from hwnas.registry import optimizer, register_backend, register_optimizer
    from hwnas.api import Result, resume, run
    from hwnas.spaces import SearchSpace, space
    from hwnas.spaces.architecture import Architecture
    from hwnas.surrogates import surrogate

_HOMES = {
    "hwnas.spaces.architecture": ("Architecture",),
    "hwnas.backends": ("Backend", "Evaluation"),
    "hwnas.errors": ("HwnasError", "SpaceExhausted"),
    "hwnas.fronts": ("Front",),
    "hwnas.objectives": ("Metric", "Objective"),
    "hwnas.optimizers": ("MultiFidelityOptimizer", "Optimizer"),
    "hwnas.registry": ("optimizer", "register_backend", "register_optimizer"),
    "hwnas.api": ("Result", "resume", "run"),
    "hwnas.spaces": ("SearchSpace", "space"),
    "hwnas.surrogates": ("surrogate",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [  # noqa: RUF022 - the order of `_HOMES`
    "Architecture",
    "Backend",
    "Evaluation",
    "HwnasError",
    "SpaceExhausted",
    "Front",
    "Metric",
    "Objective",
    "MultiFidelityOptimizer",
    "Optimizer",
    "optimizer",
    "register_backend",
    "register_optimizer",
    "Result",
    "resume",
    "run",
    "SearchSpace",
    "space",
    "surrogate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'hwnas' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
