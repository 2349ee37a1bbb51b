"""A check: a function that says in its docstring what it demands, and returns what it saw."""

from __future__ import annotations

import contextlib
import inspect
import random
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hwnas.errors import MissingExtra, UnknownName
from hwnas.registry import checked_settings, lookup, settings_of

Result = Literal["passed", "failed", "not judged"]
MADE_UP = "no_such_setting"


class CheckFailed(AssertionError):
    """A check failed. Its text is one line: what was demanded, what was seen."""


class NotJudged(Exception):
    """What a check needs in order to judge is not there; its text says what."""


@dataclass(frozen=True)
class Outcome:
    """What a check came to.

    Attributes
    ----------
    check
        The check's name.
    result
        ``"not judged"`` where it does not apply, or where another failure is in its way.
    seen
        One line.
    """

    check: str
    result: Result
    seen: str


class Subject:
    """What is checked: a class, by its registered name or itself, with settings.

    Parameters
    ----------
    kind
        ``"optimizer"`` or ``"backend"``.
    tested
        A registered name, or a class.
    settings
        Its own settings.
    """

    def __init__(
        self, kind: Literal["optimizer", "backend"], tested: str | type, settings: dict[str, Any]
    ) -> None:
        self.kind: Literal["optimizer", "backend"] = kind
        self.tested = tested
        self.cls: type[Any] = lookup(kind, tested)
        checked_settings(kind, tested, settings)  # a user's mistake is not the class's
        self.settings = settings

    def __str__(self) -> str:
        return self.tested if isinstance(self.tested, str) else self.tested.__name__


@dataclass(frozen=True)
class Check:
    """One demand, which can be called on whatever should meet it.

    Attributes
    ----------
    kind
        Of what it is demanded: ``"optimizer"`` or ``"backend"``.
    name
        Short, as in the table that ``hwnas check`` prints.
    demands
        What must hold, in one sentence.
    judge
        Returns what it saw; raises `CheckFailed` with that alone.
    prepared
        Makes of a name or a class, a space and settings what `judge` takes.
    """

    kind: Literal["optimizer", "backend"]
    name: str
    demands: str
    judge: Callable[[Any], str]
    prepared: Callable[..., Any]

    def __str__(self) -> str:
        return self.name

    def __call__(self, tested: str | type, **how: Any) -> str:
        """Check a registered name or a class; `how` is as in `hwnas.testing`.

        Returns
        -------
        str
            What was seen.

        Raises
        ------
        CheckFailed
            It does not meet the demand.
        """
        return self.of(self.prepared(tested, **how))

    def of(self, subject: Subject) -> str:
        """Check what was prepared before, as `__call__` does."""
        try:
            with global_randomness_kept():
                return self.judge(subject)
        except NotJudged as reason:
            return f"not judged: {reason}"
        except MissingExtra:
            raise
        except CheckFailed as failure:
            raise CheckFailed(self._line(subject, str(failure))) from None
        except Exception as error:
            raise CheckFailed(self._line(subject, _raised(error))) from error

    def outcome(self, subject: Subject) -> Outcome:
        """The same without raising."""
        try:
            seen = self.of(subject)
        except CheckFailed as failure:
            return Outcome(self.name, "failed", str(failure).partition("; seen: ")[2])
        if seen.startswith("not judged: "):
            return Outcome(self.name, "not judged", seen.removeprefix("not judged: "))
        return Outcome(self.name, "passed", seen)

    def _line(self, subject: Subject, seen: str) -> str:
        return " ".join(f"{subject}: {self.name}: {self.demands}; seen: {seen}".split())


def check_of(
    kind: Literal["optimizer", "backend"],
    judge: Callable[[Any], str],
    prepared: Callable[..., Any],
) -> Check:
    """The check that a function with a docstring is."""
    demands = str(judge.__doc__).partition("\n\n")[0].rstrip(".")
    name = judge.__name__.replace("_", "-")
    return Check(kind, name, " ".join(demands.split()), judge, prepared)


def demand(condition: Any, seen: str) -> None:
    """Fail, unless a condition holds, with what was seen."""
    if not condition:
        raise CheckFailed(seen)


def well_formed(subject: Subject, required: tuple[str, ...]) -> None:
    """Demand a docstring, the parameters that the framework passes, and typed, named settings."""
    cls = subject.cls
    demand(cls.__doc__, "no docstring")
    parameters = inspect.signature(cls).parameters
    for parameter in parameters.values():
        gathers = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        demand(not gathers, f"the constructor takes {parameter}, which swallows a misspelt setting")
    for name in required:
        demand(name in parameters, f"the constructor does not take {name}")
    for name, parameter in settings_of(cls).items():
        typed = parameter.annotation is not parameter.empty
        demand(typed, f"setting {name} has no annotation to check a user's value against")


def refuses(make: Callable[[], Any]) -> None:
    """Demand that a made-up setting is refused."""
    try:
        make()
    except (UnknownName, TypeError):
        return
    raise CheckFailed(f"{MADE_UP}=1 was accepted")


# -- global randomness ---------------------------------------------------------------------------


def global_randomness() -> tuple[Any, Any, Any]:
    """State of the generators that belong to nobody: Python's, NumPy's and, if loaded, torch's."""
    torch = sys.modules.get("torch")
    theirs = torch.get_rng_state() if torch else None
    return random.getstate(), np.random.get_state(legacy=False), theirs  # noqa: NPY002


def set_global_randomness(state: tuple[Any, Any, Any]) -> None:
    """Put the generators into a state that they were in."""
    random.setstate(state[0])
    np.random.set_state(state[1])  # noqa: NPY002
    if state[2] is not None:
        sys.modules["torch"].set_rng_state(state[2])


def seed_global_randomness(seed: int) -> None:
    """Put the generators into a state of their own."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    if torch := sys.modules.get("torch"):
        torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())


def changed_randomness(before: tuple[Any, Any, Any]) -> list[str]:
    """Names of the generators that are no longer in a state that they were in."""
    after = global_randomness()
    changed = []
    if before[0] != after[0]:
        changed.append("random")
    if repr(before[1]) != repr(after[1]) or not np.array_equal(
        before[1]["state"].get("key", 0), after[1]["state"].get("key", 0)
    ):
        changed.append("numpy.random")
    if before[2] is not None and not bool((before[2] == after[2]).all()):
        changed.append("torch")
    return changed


@contextlib.contextmanager
def global_randomness_kept() -> Iterator[None]:
    """Afterwards the generators are as before: a check leaves no trace in its caller's numbers."""
    before = global_randomness()
    try:
        yield
    finally:
        set_global_randomness(before)


def _raised(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = str(Path(__file__).parent)
    theirs = [frame for frame in frames if not frame.filename.startswith(ours)]
    where = f" ({Path(theirs[-1].filename).name}, line {theirs[-1].lineno})" if theirs else ""
    return f"{type(error).__name__}: {error}{where}"
