"""Multi-objective neural architecture search: which language model should run on this hardware?

Optimizers, which are plugins, search a space of GPT-2-family architectures; backends evaluate the
architectures. Names are loaded on first use, so that ``import hwnas`` needs the standard library
only.

>>> import hwnas
>>> hwnas.space("gpt-s").n_layer
(10, 11, 12)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hwnas.deprecation import FormerModuleFinder

if TYPE_CHECKING:
    from hwnas import testing as testing
    from hwnas.api import Result, load, resume, run
    from hwnas.backends import Backend, Evaluation
    from hwnas.errors import HwnasError, SpaceExhausted
    from hwnas.fitting import fit
    from hwnas.fronts import Front
    from hwnas.loggers import Logger
    from hwnas.minimization import minimize
    from hwnas.objectives import Metric, Objective
    from hwnas.optimizers import MultiFidelityOptimizer, Optimizer
    from hwnas.registry import optimizer, register_backend, register_logger, register_optimizer
    from hwnas.spaces import SearchSpace, register_space, space
    from hwnas.spaces.architecture import Architecture
    from hwnas.surrogates import surrogate
    from hwnas.sweep_runs import run_sweep
    from hwnas.workloads import Workload

# Public names by the module that defines them.
_HOMES = {
    "hwnas.spaces.architecture": ("Architecture",),
    "hwnas.backends": ("Backend", "Evaluation"),
    "hwnas.errors": ("HwnasError", "SpaceExhausted"),
    "hwnas.fitting": ("fit",),
    "hwnas.fronts": ("Front",),
    "hwnas.loggers": ("Logger",),
    "hwnas.minimization": ("minimize",),
    "hwnas.objectives": ("Metric", "Objective"),
    "hwnas.optimizers": ("MultiFidelityOptimizer", "Optimizer"),
    "hwnas.registry": ("optimizer", "register_backend", "register_logger", "register_optimizer"),
    "hwnas.api": ("Result", "load", "resume", "run"),
    "hwnas.spaces": ("SearchSpace", "register_space", "space"),
    "hwnas.surrogates": ("surrogate",),
    "hwnas.sweep_runs": ("run_sweep",),
    "hwnas.workloads": ("Workload",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
# Modules that are available after ``import hwnas``.
_SUBMODULES = ("testing",)

__all__ = [  # noqa: RUF022 - the order of `_HOMES`
    "Architecture",
    "Backend",
    "Evaluation",
    "HwnasError",
    "SpaceExhausted",
    "fit",
    "Front",
    "Logger",
    "minimize",
    "Metric",
    "Objective",
    "MultiFidelityOptimizer",
    "Optimizer",
    "optimizer",
    "register_backend",
    "register_logger",
    "register_optimizer",
    "Result",
    "load",
    "resume",
    "run",
    "SearchSpace",
    "register_space",
    "space",
    "surrogate",
    "run_sweep",
    "Workload",
]


FormerModuleFinder.install()


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return import_module(f"hwnas.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'hwnas' has no attribute {name!r}")
    # From now on Python finds the name itself.
    value = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
