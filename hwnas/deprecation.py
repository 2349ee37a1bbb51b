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
            "shipped": "hwnas.shipped_experiments:shipped_experiment",
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
    """Let methods that a class defines by their former names serve by their new ones.

    They leave the class, so that the former names mean those of the base class, which pass on.
    """
    for old, new in names.items():
        if old in cls.__dict__:
            warn_renamed(f"{cls.__name__}.{old}", new, stacklevel=5)
            setattr(cls, new, _run_by_former_name(cls, new, cls.__dict__[old]))
            delattr(cls, old)


def overriding_class(instance: object, new: str) -> type | None:
    """Return the class whose method of a former name is running in place of `new`, if any."""
    return getattr(instance, f"_class_in_{new}", None)


def call_renamed(instance: object, new: str, *args: Any) -> Any:
    """Call a method by its new name; within an override by the former name, that of the parent."""
    cls = overriding_class(instance, new)
    return getattr(instance if cls is None else super(cls, instance), new)(*args)


def _run_by_former_name(cls: type, new: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method `new` that runs one of a former name, and notes for its time whose it is.

    A call of the former name on ``super()`` ends in the base class, which passes it on to the
    parent of `cls`: to the instance itself it would recur without end.
    """

    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        # Nested for a chain of classes that all override by the former name.
        outer = overriding_class(self, new)
        setattr(self, f"_class_in_{new}", cls)
        try:
            return method(self, *args, **kwargs)
        finally:
            setattr(self, f"_class_in_{new}", outer)

    return run


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
