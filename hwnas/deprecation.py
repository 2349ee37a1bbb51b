"""Former names, which work for one more version with a `DeprecationWarning`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any


def warn_renamed(old: str, new: str, *, stacklevel: int = 3) -> None:
    """Warn that a name has changed; by default at the caller's caller."""
    warnings.warn(f"{old} is now called {new}", DeprecationWarning, stacklevel=stacklevel)


def accept_former_methods(cls: type[Any], names: dict[str, str]) -> None:
    """Let methods that a class defines by their former names serve by their new ones."""
    for old, new in names.items():
        if old in cls.__dict__:
            warn_renamed(f"{cls.__name__}.{old}", new, stacklevel=4)
            setattr(cls, new, cls.__dict__[old])


def accept_overridden_tell(cls: type[Any]) -> None:
    """Let a `tell` that an optimizer's class overrides serve as its `update`."""
    if "tell" in cls.__dict__:
        warn_renamed(f"{cls.__name__}.tell", "update", stacklevel=4)
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
