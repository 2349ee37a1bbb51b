"""Plugin files: Python files that register optimizers or backends when they run."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from hwnas import registry
from hwnas.errors import InvalidInput
from hwnas.files import unreadable
from hwnas.function_source import describe_fault
from hwnas.registry import Kind


@dataclass(frozen=True)
class PluginFile:
    """A file that has registered optimizers or backends.

    Attributes
    ----------
    path
        Its absolute path.
    sha256
        Hash of the source that ran, as 64 hexadecimal digits.
    registered
        Kinds and names that it registered, in order.
    """

    path: Path
    sha256: str
    registered: tuple[tuple[Kind, str], ...]


# A file of the same content runs once a process, so that its classes keep their identity.
_loaded: dict[tuple[Path, str], tuple[PluginFile, tuple[type, ...]]] = {}


def load_plugin_file(path: str | Path) -> PluginFile:
    """Run a Python file that registers optimizers or backends by the decorators.

    It runs once as long as its content stays the same; loading it again only makes its names refer
    to its classes again. A file that fails registers nothing.

    Raises
    ------
    InvalidInput
        The file is missing, raises an error or registers nothing.
    """
    file = Path(path)
    if "\0" in str(path):
        raise InvalidInput(f"expected the path of a plugin file without NUL, found {str(path)!r}")
    try:
        source = file.read_bytes()
    except OSError as error:
        raise InvalidInput(unreadable(path, error)) from None
    sha256 = hashlib.sha256(source).hexdigest()
    key = file.resolve(), sha256  # the file has been read: no link leads to itself
    if key not in _loaded:
        _loaded[key] = _run(path, key[0], source, sha256)
    plugin_file, classes = _loaded[key]
    # A second load only restores the names, in case another file has taken them since.
    registered = registry.registered_classes()
    for (kind, name), cls in zip(plugin_file.registered, classes, strict=True):
        registered.setdefault(kind, {})[name] = cls
    registry.replace_registered(registered)
    return plugin_file


def hash_of_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's content, as 64 hexadecimal digits."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _run(
    name: str | Path, path: Path, source: bytes, sha256: str
) -> tuple[PluginFile, tuple[type, ...]]:
    """Run a plugin file and return it with the classes that it registered."""
    # What a file registers is the difference between before and after.
    previous = registry.registered_classes()
    module = ModuleType(f"hwnas_file_{sha256[:16]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses and pickle look their classes up there
    new: list[tuple[Kind, str, type]] = []
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
        new = [
            (kind, class_name, cls)
            for kind, classes in registry.registered_classes().items()
            for class_name, cls in classes.items()
            if previous.get(kind, {}).get(class_name) is not cls
        ]
        if not new:
            raise InvalidInput(
                f"{name}: registers nothing, expected @hwnas.register_optimizer(NAME) or "
                "@hwnas.register_backend(NAME) on a class"
            )
    except (Exception, SystemExit) as error:
        raise InvalidInput(describe_fault(str(name), path, error)) from error
    finally:
        if not new:
            del sys.modules[module.__name__]
            registry.replace_registered(previous)
    registered = tuple((kind, class_name) for kind, class_name, _ in new)
    return PluginFile(path, sha256, registered), tuple(cls for _, _, cls in new)
