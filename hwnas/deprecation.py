"""Former names, which work for one more version with a `DeprecationWarning`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# Former module -> its replacement, and the names that are not there under the same name, each as
# "module:name".
FORMER_MODULES: dict[str, tuple[str, dict[str, str]]] = {
    "hwnas.architectures": ("hwnas.spaces.architecture", {}),
    "hwnas.experiments": (
        "hwnas.experiment",
        {
            "Problem": "hwnas.problem:Problem",
            "load": "hwnas.deprecation:_load_experiment",
            "load_form": "hwnas.experiment:validate_form",
            "load_plugins": "hwnas.experiment:run_plugin_files",
            "problem_of": "hwnas.problem:build_problem",
            "shipped": "hwnas.experiment:shipped_experiment",
        },
    ),
    "hwnas.metrics": ("hwnas.objectives", {}),
    "hwnas.results": (
        "hwnas.runner.results",
        {
            "CellResult": "hwnas.runner.search_result:SearchResult",
            "Trajectory": "hwnas.runner.search_result:Trajectory",
        },
    ),
    "hwnas.runs": ("hwnas.api", {}),
    "hwnas.store": ("hwnas.runner.storage", {}),
}


def warn_renamed(old: str, new: str, *, stacklevel: int = 3) -> None:
    """Warn that a name has changed; by default at the caller's caller."""
    warnings.warn(f"{old} is now called {new}", DeprecationWarning, stacklevel=stacklevel)


def accept_former_methods(cls: type[Any], names: dict[str, str]) -> None:
    """Let methods that a class defines by their former names serve by their new ones."""
    for old, new in names.items():
        if old in cls.__dict__:
            warn_renamed(f"{cls.__name__}.{old}", new, stacklevel=5)
            setattr(cls, new, cls.__dict__[old])


def accept_overridden_tell(cls: type[Any]) -> None:
    """Let a `tell` that an optimizer's class overrides serve as its `update`."""
    if "tell" in cls.__dict__:
        warn_renamed(f"{cls.__name__}.tell", "update", stacklevel=5)
        cls.update = _update_by_tell(cls, cls.__dict__["tell"])
        del cls.tell


def _update_by_tell(cls: type, tell: Callable[..., None]) -> Callable[..., None]:
    """Return an `update` that runs an overridden `tell`.

    While it runs, `Optimizer.tell` passes a call of ``super().tell`` to the `update` of the parent
    of `cls`.
    """

    def update(self: Any, *observations: Any, **extra: Any) -> None:
        # Nested for a chain of classes that all override `tell`.
        outer, self.class_in_tell = self.class_in_tell, cls
        try:
            tell(self, *observations, **extra)
        finally:
            self.class_in_tell = outer

    return update


class FormerModuleFinder:
    """Import hook that finds `FORMER_MODULES` and serves the names of their replacements.

    It is the finder and the loader in one, see `importlib.abc.MetaPathFinder` and
    `importlib.abc.Loader`; these are not imported because ``import hwnas`` has to be fast.
    """

    @classmethod
    def install(cls) -> None:
        """Add the hook behind all others, so that it is asked only for what they do not find."""
        if not any(isinstance(finder, cls) for finder in sys.meta_path):
            sys.meta_path.append(cls())

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the specification of a former module, ``None`` for any other."""
        if fullname not in FORMER_MODULES:
            return None
        return ModuleSpec(fullname, self)  # type: ignore[arg-type]  # a loader without its base

    def create_module(self, spec: ModuleSpec) -> None:
        """Return ``None``, by which importlib creates an empty module."""

    def exec_module(self, module: ModuleType) -> None:
        """Warn at the line of the import, and let the module pass on to its replacement."""
        replacement, renamed = FORMER_MODULES[module.__name__]
        # The warnings module skips importlib's frames: the next one is that of the import.
        warn_renamed(module.__name__, replacement)

        def find_attribute(name: str) -> Any:
            home, _, new_name = renamed.get(name, f"{replacement}:{name}").partition(":")
            try:
                return getattr(import_module(home), new_name)
            except AttributeError:
                message = f"module {module.__name__!r} has no attribute {name!r}"
                raise AttributeError(message) from None

        # A module-level __getattr__, see PEP 562.
        module.__dict__["__getattr__"] = find_attribute


def _load_experiment(*args: Any, **kwargs: Any) -> Any:
    """Return an experiment alone, as the former `hwnas.experiments.load` did."""
    experiment, _ = import_module("hwnas.problem").load_experiment(*args, **kwargs)
    return experiment
