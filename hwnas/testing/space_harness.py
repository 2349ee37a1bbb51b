"""Families of search spaces under test, and the spaces of a family on which they are checked."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from hwnas.errors import InvalidInput, UnknownName
from hwnas.registry import lookup
from hwnas.spaces import SearchSpace
from hwnas.spaces import space as space_of
from hwnas.spaces.families import settings_of_space
from hwnas.testing.checks import Subject
from hwnas.typing import Codes

_N_SAMPLES = 300  # codes on which most checks rely
_MAX_LISTED = 20_000  # members of a space that is listed completely
_NAME = "check"  # of a space that settings define


class SpaceUnderTest(Subject):
    """Family of search spaces under test.

    Parameters
    ----------
    tested
        Registered name, or class.
    space
        The only space to check, by itself or by its name.
    **settings
        Settings of a space to check, in place of the named ones.

    Raises
    ------
    UnknownName, InvalidInput
        There is no such family, space or setting, or nothing to check.
    """

    def __init__(
        self,
        tested: str | type[SearchSpace],
        *,
        space: SearchSpace | str | None = None,
        **settings: Any,
    ) -> None:
        # Not by the parent: a family's settings are those of one of its spaces.
        self.kind, self.tested, self.settings = "space", tested, settings
        self.cls = lookup("space", tested)
        for key in settings:
            if key not in (parameters := settings_of_space(self.cls)):
                raise UnknownName(f"setting of space {self}:", key, parameters)
        if not (space or settings or self.cls.named):
            raise InvalidInput(
                f"space {self}: names no spaces; give the settings of one, with --set or as "
                "keyword arguments"
            )
        if space is not None:
            only = space_of(space) if isinstance(space, str) else space
            if not isinstance(only, self.cls):
                raise InvalidInput(f"space {only.name!r}: expected one of the family {self}")
            self._given = [only]
        else:
            # A wrong setting is the user's mistake, not a failure of the class.
            self._given = [self._space_of(settings)] if settings else []

    def _space_of(self, settings: dict[str, Any]) -> SearchSpace:
        parameters = settings_of_space(self.cls)
        required = [key for key, p in parameters.items() if p.default is p.empty]
        if missing := [key for key in required if key not in settings]:
            raise InvalidInput(
                f"space {self} needs {', '.join(required)}; missing: {', '.join(missing)}"
            )
        space: SearchSpace = self.cls(_NAME, **settings)
        return space

    @property
    def arguments(self) -> dict[str, Any]:
        """Settings of one space of the family."""
        named = [*self.cls.named.values(), {}]
        return dict(self.settings or named[0])

    @cached_property
    def spaces(self) -> list[SearchSpace]:
        """The spaces to check."""
        return self._given or [self.cls(name, **s) for name, s in self.cls.named.items()]

    @property
    def small_spaces(self) -> list[SearchSpace]:
        """Those of at most 20,000 members."""
        return [space for space in self.spaces if space.size <= _MAX_LISTED]

    def codes(self, space: SearchSpace) -> Codes:
        """Return canonical codes of a space, by another way than its own `sample`."""
        rng = np.random.default_rng(0)
        highs = space.cardinalities
        return space.canonical(rng.integers(0, highs, size=(_N_SAMPLES, len(highs))))
