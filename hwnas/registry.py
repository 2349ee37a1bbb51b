"""Names to classes: optimizers and backends, ours and strangers', found when they are asked for.

Three ways to register: an entry point of an installed package, in the group ``hwnas.optimizers`` or
``hwnas.backends``, the decorators here, and a file that uses them (`load_file`). A decorated class
goes before an entry point of the same name. Settings are checked against the constructor before it
is called. Wherever a name is taken, a class serves as well.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import sys
import traceback
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar, get_args

from hwnas.backends import Backend
from hwnas.errors import InvalidInput, MissingExtra, UnknownName
from hwnas.optimizers import MultiFidelityOptimizer, Optimizer
from hwnas.spaces import SearchSpace
from hwnas.spaces import space as space_of

Kind = Literal["optimizer", "backend"]
_T = TypeVar("_T")

_decorated: dict[Kind, dict[str, type]] = {"optimizer": {}, "backend": {}}
# What the framework passes itself, and a user may not set.
_RESERVED = {"self", "space", "n_objectives", "seed", "n_constraints", "fidelities", "noise"}


def register_optimizer(name: str) -> Callable[[type[_T]], type[_T]]:
    """Class decorator that makes an optimizer known by a name."""
    return _register("optimizer", name, Optimizer)


def register_backend(name: str) -> Callable[[type[_T]], type[_T]]:
    """Class decorator that makes a backend known by a name."""
    return _register("backend", name, Backend)


def _register(kind: Kind, name: str, base: type) -> Callable[[type[_T]], type[_T]]:
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise InvalidInput(f"{kind} name: expected letters, digits, '.', '_', '-', found {name!r}")

    def decorate(cls: type[_T]) -> type[_T]:
        if not (isinstance(cls, type) and issubclass(cls, base)):
            raise InvalidInput(f"{kind} {name!r}: expected a subclass of {base.__name__}")
        _decorated[kind][name] = cls
        return cls

    return decorate


def names(kind: Kind) -> list[str]:
    """The registered names of a kind, sorted."""
    return sorted({*_decorated[kind], *_entry_points(kind)})


@dataclass(frozen=True)
class PluginFile:
    """A file that registers optimizers or backends.

    Attributes
    ----------
    path
        Where it was, absolute.
    sha256
        Of the source that ran, as 64 hexadecimal digits.
    registered
        What it registered: kinds and names, in order.
    """

    path: Path
    sha256: str
    registered: tuple[tuple[Kind, str], ...]


_files: dict[tuple[Path, str], tuple[PluginFile, tuple[type, ...]]] = {}


def load_file(path: str | Path) -> PluginFile:
    """Run a Python file that registers optimizers or backends by the decorators.

    It runs once as long as its content stays the same; loading it again only makes its names mean
    its classes again. One that fails registers nothing.

    Raises
    ------
    InvalidInput
        There is no such file, it does not run, or it registers nothing.
    """
    file = Path(path)
    try:
        source = file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror or error}") from None
    sha256 = hashlib.sha256(source).hexdigest()
    key = file.resolve(), sha256
    if key not in _files:
        _files[key] = _run(path, key[0], source, sha256)
    loaded, classes = _files[key]
    for (kind, name), cls in zip(loaded.registered, classes, strict=True):
        _decorated[kind][name] = cls
    return loaded


def _run(
    given: str | Path, path: Path, source: bytes, sha256: str
) -> tuple[PluginFile, tuple[type, ...]]:
    """Run a plugin file and say what it registered."""
    before = {kind: dict(known) for kind, known in _decorated.items()}
    module = ModuleType(f"hwnas_file_{sha256[:16]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses and pickle look for it there
    new: list[tuple[Kind, str, type]] = []
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
        new = [
            (kind, name, cls)
            for kind, known in _decorated.items()
            for name, cls in known.items()
            if before[kind].get(name) is not cls
        ]
        if not new:
            raise InvalidInput(
                f"{given}: registers nothing, expected @hwnas.register_optimizer(NAME) or "
                "@hwnas.register_backend(NAME) on a class"
            )
    except (Exception, SystemExit) as error:
        raise InvalidInput(_at_fault(given, path, error)) from error
    finally:
        if not new:
            del sys.modules[module.__name__]
            _decorated.update(before)
    loaded = PluginFile(path, sha256, tuple((kind, name) for kind, name, _ in new))
    return loaded, tuple(cls for _, _, cls in new)


def _at_fault(given: str | Path, path: Path, error: BaseException) -> str:
    """One line on why a plugin file does not run, with the line of that file."""
    text = " ".join(str(error).split())
    if text.startswith(f"{given}: "):
        return text
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{given}, line {error.lineno}: SyntaxError: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    where = f", line {lines[-1]}" if lines else ""
    return f"{given}{where}: {type(error).__name__}: {text}"


def lookup(kind: Kind, name: str | type) -> type[Any]:
    """The class behind a name.

    Raises
    ------
    UnknownName
        Nothing is registered by that name.
    MissingExtra
        It needs a library that is not installed.
    InvalidInput
        What is registered is not of that kind.
    """
    if isinstance(name, type):
        return _of_kind(kind, name, name)
    if name in _decorated[kind]:
        return _decorated[kind][name]
    found = _entry_points(kind)
    if name not in found:
        raise UnknownName(kind, name, names(kind))
    try:
        cls = found[name].load()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if extra := _extra_of(missing, name):
            raise MissingExtra(f"{kind} {name!r}", missing, extra) from error
        raise InvalidInput(f"{kind} {name!r} needs {missing}, which is not installed") from error
    return _of_kind(kind, name, cls)


def kinds_of(name: str) -> list[Kind]:
    """What a registered name stands for: an optimizer, a backend, or each.

    Raises
    ------
    UnknownName
        Nothing is registered by that name.
    """
    kinds: tuple[Kind, ...] = get_args(Kind)
    found = [kind for kind in kinds if name in names(kind)]
    if not found:
        raise UnknownName("optimizer or backend", name, {n for kind in kinds for n in names(kind)})
    return found


def _of_kind(kind: Kind, name: str | type, cls: Any) -> type[Any]:
    base = Optimizer if kind == "optimizer" else Backend
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise InvalidInput(
            f"{_called(kind, name)}: expected a subclass of {base.__name__}, found {cls}"
        )
    return cls


def _called(kind: Kind, name: str | type) -> str:
    return f"{kind} {name!r}" if isinstance(name, str) else f"{kind} {name.__name__}"


def settings_of(cls: type[Any]) -> dict[str, inspect.Parameter]:
    """The settings of an optimizer or backend: the named parameters that a user may choose."""
    parameters = inspect.signature(cls).parameters
    gathered = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {
        name: p
        for name, p in parameters.items()
        if name not in _RESERVED and p.kind not in gathered
    }


def checked_settings(kind: Kind, name: str | type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as a constructor wants them, once they fit its names and annotations.

    Parameters
    ----------
    settings
        As a YAML gives them: a list serves where a tuple is wanted, nothing else is converted.

    Raises
    ------
    UnknownName
        There is no such setting.
    InvalidInput
        A setting's value is not of its annotated type, or a required one is missing.
    """
    import pydantic

    cls, what = lookup(kind, name), _called(kind, name)
    known = settings_of(cls)
    annotations = typing.get_type_hints(cls.__init__)
    checked: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in known:
            raise UnknownName(f"setting of {what}:", key, known)
        expected = pydantic.TypeAdapter(annotations.get(key, Any))
        try:
            checked[key] = expected.validate_json(json.dumps(value), strict=True)
        except (pydantic.ValidationError, TypeError) as error:
            why = error.errors()[0]["msg"] if isinstance(error, ValueError) else str(error)
            raise InvalidInput(f"setting {key!r} of {what}: {why}, found {value!r}") from error
    for key, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and key not in settings:
            raise InvalidInput(f"{what} needs the setting {key!r}")
    return checked


def optimizer(
    name: str | type[Optimizer],
    space: SearchSpace | str,
    n_objectives: int,
    *,
    seed: int,
    n_constraints: int = 0,
    fidelities: tuple[int, ...] | None = None,
    **settings: Any,
) -> Optimizer:
    """An optimizer by its registered name.

    Parameters
    ----------
    name
        Registered name, or a class.
    space
        Where to search.
    n_objectives
        How many losses a network has.
    seed
        The only source of randomness.
    n_constraints
        How many signed violations come with the losses.
    fidelities
        For a multi-fidelity optimizer, what may be asked for; one full measurement by default.
    **settings
        Its own settings, checked.

    Raises
    ------
    UnknownName, InvalidInput, MissingExtra
        See `checked_settings`.
    """
    settings = checked_settings("optimizer", name, settings)
    cls = lookup("optimizer", name)
    if isinstance(space, str):
        space = space_of(space)
    if issubclass(cls, MultiFidelityOptimizer):
        settings["fidelities"] = fidelities or (1,)
    made = cls(space, n_objectives, seed=seed, n_constraints=n_constraints, **settings)
    assert isinstance(made, Optimizer)
    return made


def backend(
    name: str | type[Backend], space: SearchSpace, *, noise: bool = False, **settings: Any
) -> Backend:
    """A backend by its registered name, or of a class.

    Raises
    ------
    UnknownName, InvalidInput, MissingExtra
        See `checked_settings`; also when noise is asked of a backend that has none.
    """
    settings = checked_settings("backend", name, settings)
    cls = lookup("backend", name)
    if noise:
        if "noise" not in inspect.signature(cls).parameters:
            raise InvalidInput(
                f"{_called('backend', name)} has no noise to draw, expected noise: false"
            )
        settings["noise"] = True
    made = cls(space, **settings)
    assert isinstance(made, Backend)
    return made


@cache
def _entry_points(kind: Kind) -> dict[str, metadata.EntryPoint]:
    return {point.name: point for point in metadata.entry_points(group=f"hwnas.{kind}s")}


def _extra_of(module: str, preferred: str = "") -> str | None:
    """The extra of hwnas that brings a module, read from its own metadata.

    Of several the one that is called as what needs it, or else the first.
    """
    wanted = module.replace("_", "-").lower()
    try:
        requirements = metadata.requires("hwnas") or []
    except metadata.PackageNotFoundError:
        return None
    found: list[str] = []
    for requirement in requirements:
        package = re.match(r"[A-Za-z0-9._-]+", requirement)
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", requirement)
        if package and extra and package[0].replace("_", "-").lower() == wanted:
            found.append(extra[1])
    return preferred if preferred in found else next(iter(found), None)
