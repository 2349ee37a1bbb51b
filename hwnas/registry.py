"""Registry of optimizers, backends, families of spaces and loggers: names to classes.

There are three ways to register: an entry point of an installed package, in the group
``hwnas.optimizers``, ``hwnas.backends``, ``hwnas.spaces`` or ``hwnas.loggers``; the decorators of
this module; and a file that uses them (`hwnas.plugin_files`). A decorated class takes precedence
over an entry point of the same name. Settings are checked against the constructor before it is
called. A class serves wherever a name does.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib import metadata
from numbers import Integral
from typing import Any, Literal, TypeVar

from hwnas.backends import Backend
from hwnas.errors import InvalidInput, MissingExtra, UnknownName
from hwnas.loggers import Logger
from hwnas.optimizers import MultiFidelityOptimizer, Optimizer
from hwnas.plugin_source import read_source
from hwnas.setting_checks import check_settings_of
from hwnas.setting_checks import describe_type as describe_type
from hwnas.setting_checks import settings_of as settings_of
from hwnas.spaces import SearchSpace, families
from hwnas.spaces import space as space_of
from hwnas.workloads import Workload

Kind = Literal["optimizer", "backend", "space", "logger"]
_CHECKED: tuple[Kind, ...] = ("optimizer", "backend", "space")  # kinds with conformance checks
_T = TypeVar("_T")

_registered: dict[Kind, dict[str, type]] = {
    "optimizer": {}, "backend": {}, "space": {}, "logger": {}
}  # fmt: skip


def register_optimizer(name: str) -> Callable[[type[_T]], type[_T]]:
    """Register an optimizer by a name: a class decorator.

    >>> import hwnas
    >>> @hwnas.register_optimizer("smallest")
    ... class Smallest(hwnas.Optimizer):
    ...     def ask(self, n):
    ...         return self.space.canonical([[0] * len(self.space.columns)])
    >>> hwnas.optimizer("smallest", "gpt-s", 2, seed=0).ask(1).shape
    (1, 27)
    """
    return _register("optimizer", name, Optimizer)


def register_backend(name: str) -> Callable[[type[_T]], type[_T]]:
    """Register a backend by a name: a class decorator, see `hwnas.Backend`.

    >>> import hwnas
    >>> import numpy as np
    >>> @hwnas.register_backend("depths")
    ... class Depths(hwnas.Backend):
    ...     metrics = {"depth": hwnas.Metric("layers")}
    ...
    ...     def evaluate(self, codes, objectives, *, seeds, fidelity=None):
    ...         return hwnas.Evaluation(np.array(self.space.n_layer, float)[codes[:, [1]]])
    """
    return _register("backend", name, Backend)


def register_logger(name: str) -> Callable[[type[_T]], type[_T]]:
    """Register a logger by a name: a class decorator, see `hwnas.Logger`.

    >>> import hwnas
    >>> @hwnas.register_logger("silent")
    ... class Silent(hwnas.Logger):
    ...     def log(self, search, update):
    ...         pass
    """
    return _register("logger", name, Logger)


def _register(kind: Kind, name: str, base: type) -> Callable[[type[_T]], type[_T]]:
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise InvalidInput(f"{kind} name: expected letters, digits, '.', '_', '-', found {name!r}")

    def decorate(cls: type[_T]) -> type[_T]:
        if not (isinstance(cls, type) and issubclass(cls, base)):
            raise InvalidInput(f"{kind} {name!r}: expected a subclass of {base.__name__}")
        _registered[kind][name] = cls
        return cls

    return decorate


def names(kind: Kind) -> list[str]:
    """Return the registered names of a kind, sorted."""
    if kind == "space":
        return families.family_names()
    return sorted({*_registered[kind], *_entry_points(kind)})


def registered_classes() -> dict[Kind, dict[str, type]]:
    """Return a copy of what decorators have registered so far, by kind and name."""
    classes = {kind: dict(classes) for kind, classes in _registered.items()}
    return {**classes, "space": dict(families.registered)}


def replace_registered(classes: Mapping[Kind, Mapping[str, type]]) -> None:
    """Let decorators have registered these classes and no others."""
    for kind in _registered:
        _registered[kind] = dict(classes.get(kind, {}))
    families.registered.clear()
    families.registered.update(classes.get("space", {}))


def lookup(kind: Kind, name: str | type) -> type[Any]:
    """Return the class behind a name.

    Raises
    ------
    UnknownName
        Nothing is registered by that name.
    MissingExtra
        It needs a library that is not installed.
    InvalidInput
        What is registered is not of that kind, or is written for another version of hwnas.
    """
    if isinstance(name, type):
        return _check_kind(kind, name, name)
    if kind == "space":
        return families.family(name)
    if name in _registered[kind]:
        return _registered[kind][name]
    # Entry points are loaded only now: a plugin's libraries can take seconds to import.
    entry_points = _entry_points(kind)
    if name not in entry_points:
        raise UnknownName(kind, name, names(kind))
    try:
        cls = entry_points[name].load()
    except ModuleNotFoundError as error:
        raise _missing_library(kind, name, error.name or "") from error
    except ImportError as error:
        # A name that a module of hwnas does not have; any other is a bug of the plugin.
        if not _is_of_hwnas(error.name or ""):
            raise
        raise _other_version(kind, name, str(error)) from error
    return _check_kind(kind, name, cls)


def documentation(kind: Kind, name: str) -> str:
    """Return the docstring of a registered class, without importing its libraries if possible.

    Raises
    ------
    UnknownName, MissingExtra, InvalidInput
        See `lookup`.

    Examples
    --------
    >>> documentation("optimizer", "random").partition(".")[0]
    'Random search'
    """
    point = _entry_points(kind).get(name)
    if name not in _registered[kind] and point is not None:
        source = read_source(point.module, point.attr)
        if source is not None:
            if source.missing:
                raise _missing_library(kind, name, source.missing)
            return inspect.cleandoc(source.docstring)
    return inspect.getdoc(lookup(kind, name)) or ""


def _missing_library(kind: Kind, name: str, module: str) -> MissingExtra | InvalidInput:
    """Return the error for a plugin whose import of a module fails."""
    missing = module.partition(".")[0]
    if _is_of_hwnas(module):
        return _other_version(kind, name, f"there is no module {module}")
    if extra := _extra_of(missing, name):
        return MissingExtra(f"{kind} {name!r}", missing, extra)
    return InvalidInput(f"{kind} {name!r} needs {missing}, which is not installed")


def _is_of_hwnas(module: str) -> bool:
    return module.partition(".")[0] in ("hwnas", "hwnas_plugins")


def _other_version(kind: Kind, name: str, reason: str) -> InvalidInput:
    """Return the error for a plugin that imports from hwnas what is not there."""
    return InvalidInput(
        f"{kind} {name!r} is written for another version of hwnas: {' '.join(reason.split())}; "
        "install versions that belong together"
    )


def kinds_of(name: str) -> list[Kind]:
    """Return the kinds that a name is registered for, of those that have conformance checks.

    Raises
    ------
    UnknownName
        Nothing is registered by that name.
    """
    matches = [kind for kind in _CHECKED if name in names(kind)]
    if not matches:
        raise UnknownName(
            "optimizer, backend or family of spaces",
            name,
            {n for kind in _CHECKED for n in names(kind)},
        )
    return matches


def _check_kind(kind: Kind, name: str | type, cls: Any) -> type[Any]:
    bases = {"optimizer": Optimizer, "backend": Backend, "space": SearchSpace, "logger": Logger}
    base: type = bases[kind]
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise InvalidInput(
            f"{_label(kind, name)}: expected a subclass of {base.__name__}, found {cls}"
        )
    return cls


def _label(kind: Kind, name: str | type) -> str:
    return f"{kind} {name!r}" if isinstance(name, str) else f"{kind} {name.__name__}"


def checked_settings(kind: Kind, name: str | type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Check settings against the names and annotations of a constructor, and convert them.

    Parameters
    ----------
    settings
        As in a YAML: a list becomes a tuple where one is annotated, nothing else is converted.

    Raises
    ------
    UnknownName
        There is no such setting.
    InvalidInput
        A setting's value is not of its annotated type, or a required one is missing.
    """
    return check_settings_of(lookup(kind, name), _label(kind, name), settings)


def optimizer(
    name: str | type[Optimizer],
    space: SearchSpace | str | Mapping[str, Any],
    n_objectives: int,
    *,
    seed: int,
    n_constraints: int = 0,
    fidelities: tuple[int, ...] | None = None,
    **settings: Any,
) -> Optimizer:
    """Build an optimizer by its registered name.

    Parameters
    ----------
    name
        Registered name, or a class.
    space
        Search space, or what `hwnas.space` makes one of.
    n_objectives
        Number of losses of an architecture.
    seed
        Only source of randomness.
    n_constraints
        Number of constraint violations that come with the losses.
    fidelities
        Fidelities that a multi-fidelity optimizer may ask for; one full measurement by default.
    **settings
        Settings of the optimizer.

    Raises
    ------
    UnknownName, InvalidInput, MissingExtra
        See `checked_settings`.

    Examples
    --------
    >>> import hwnas
    >>> optimizer = hwnas.optimizer("random", "gpt-s", 2, seed=0)
    >>> codes = optimizer.ask(3)  # (3, 27) int8
    >>> optimizer.tell(codes, [[3.0, 1.0], [2.0, 2.0], [4.0, 4.0]])
    >>> len(optimizer.recommend())
    2
    """
    settings = checked_settings("optimizer", name, settings)
    for argument, value, least in (("n_objectives", n_objectives, 1), ("seed", seed, 0)):
        if not isinstance(value, Integral) or value < least:
            raise InvalidInput(f"{argument}: expected at least {least}, found {value!r}")
    cls = lookup("optimizer", name)
    if not isinstance(space, SearchSpace):
        space = space_of(space)
    # Only these take fidelities.
    if issubclass(cls, MultiFidelityOptimizer):
        settings["fidelities"] = fidelities or (1,)
    instance = cls(space, n_objectives, seed=seed, n_constraints=n_constraints, **settings)
    assert isinstance(instance, Optimizer)
    return instance


def backend(
    name: str | type[Backend],
    space: SearchSpace,
    /,
    *,
    noise: bool = False,
    workloads: Mapping[str, Workload] | None = None,
    **settings: Any,
) -> Backend:
    """Build a backend by its registered name, or of a class.

    Parameters
    ----------
    name
        Registered name, or a class.
    space
        Its search space.
    noise
        Whether it draws noise.
    workloads
        Workloads that objectives may name; the built-in ones by default.
    **settings
        Settings of the backend.

    Raises
    ------
    UnknownName, InvalidInput, MissingExtra
        See `checked_settings`; also if the backend has no noise to draw.
    """
    settings = checked_settings("backend", name, settings)
    cls = lookup("backend", name)
    if noise:
        if "noise" not in inspect.signature(cls).parameters:
            raise InvalidInput(
                f"{_label('backend', name)} has no noise to draw, expected noise: false"
            )
        settings["noise"] = True
    takes_workloads = "workloads" in inspect.signature(cls).parameters
    if workloads is not None and takes_workloads:
        settings["workloads"] = workloads
    instance = cls(space, **settings)
    assert isinstance(instance, Backend)
    if workloads is not None and not takes_workloads:
        instance.workloads = workloads
    return instance


@cache
def _entry_points(kind: Kind) -> dict[str, metadata.EntryPoint]:
    return {point.name: point for point in metadata.entry_points(group=f"hwnas.{kind}s")}


def _extra_of(module: str, preferred: str = "") -> str | None:
    """Return the extra of hwnas that installs a module, read from the package's metadata.

    Of several extras the one of the preferred name, or else the first.
    """
    distribution = module.replace("_", "-").lower()
    try:
        requirements = metadata.requires("hwnas") or []
    except metadata.PackageNotFoundError:
        return None
    extras: list[str] = []
    for requirement in requirements:
        package = re.match(r"[A-Za-z0-9._-]+", requirement)
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", requirement)
        if package and extra and package[0].replace("_", "-").lower() == distribution:
            extras.append(extra[1])
    return preferred if preferred in extras else next(iter(extras), None)
